//! One client's connection in the simulation, and what is demanded of what travels on it.

use crate::client::Kind;
use crate::damage::Damage;
use crate::table::Table;
use hotread_proto::session::frame::{Begin, ClientFrame, Hello, ServerFrame};
use hotread_proto::session::{Serve, Want};
use hotread_proto::{Digest, Epoch, Head, Position};
use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

/// A session over a sound connection gets on within this time, if there is anything to be told.
const PROGRESS_WITHIN: Duration = Duration::from_secs(5);
/// A client without a connection tries again within this time: the longest wait, and what the server
/// asks for.
const BACK_WITHIN: Duration = Duration::from_secs(9);

/// A client that nobody answers any more notices within this time: as long as it waits for a welcome,
/// and a step.
const NOTICED_WITHIN: Duration = Duration::from_millis(10_100);

/// The server's end of a connection with its driver.
pub struct Session {
    pub serve: Serve,
    /// Changes after this one are kept for it.
    pub pin: Option<u64>,
    pub want: Option<(Duration, Want)>,
    /// Must the session resume, as far as the table was looked at when hello came?
    resumes: Option<bool>,
    hello: Option<Hello>,
    begun: bool,
    /// When a heartbeat was sent last, or could not be.
    beat_at: Duration,
}

impl Session {
    pub fn new(serve: Serve, now: Duration) -> Self {
        Self {
            serve,
            pin: None,
            want: None,
            resumes: None,
            hello: None,
            begun: false,
            beat_at: now,
        }
    }

    /// A heartbeat was sent, or none can be: before the welcome, or while there is no room.
    pub fn beats(&mut self, now: Duration) {
        self.beat_at = now;
    }

    /// It comes in time, whatever else is sent.
    pub fn check_heartbeat(&self, every: Duration, now: Duration) {
        assert!(now <= self.beat_at + every, "no heartbeat came in time");
    }

    /// A frame of the client reaches the server.
    pub fn hears(&mut self, text: &str, table: &Table) {
        if let Ok(ClientFrame::Hello(hello)) = ClientFrame::decode(text) {
            self.resumes = Some(may_resume(&hello, table));
            self.hello = Some(hello);
        }
    }

    /// Was it decided how it begins?
    pub fn has_begun(&self) -> bool {
        self.begun
    }

    /// It was decided how the session begins. The table may have changed since hello came; what it
    /// says at both times is right.
    pub fn check_beginning(&mut self, mode: Begin, table: &Table) {
        self.begun = true;
        let hello = self.hello.as_ref().expect("a beginning without hello");
        let now = may_resume(hello, table);
        let resumes = mode == Begin::Resume;
        assert!(
            self.resumes == Some(resumes) || now == resumes,
            "{mode:?} after {hello:?}, while the table is at {:?} with the history from {}",
            table.now(),
            table.floor
        );
    }
}

/// The table in docs/wire.md.
fn may_resume(hello: &Hello, table: &Table) -> bool {
    let Some(has) = hello.from else {
        return !hello.snapshot;
    };
    let (Head { position, .. }, seq) = (table.now(), has.seq);
    if has.epoch != position.epoch || seq > position.seq || seq + 1 < table.floor {
        return false;
    }
    let digest = match seq {
        0 => Some(Digest::EMPTY),
        _ => table.digest_at(Position { seq, ..position }),
    };
    digest.is_some_and(|digest| has.digest.is_none_or(|has| has == digest))
}

/// One client's connection. Frames wait in it in their order.
pub struct Link {
    /// When the client hears that it is open, or, with false, that it cannot be.
    pub opening: Option<(Duration, bool)>,
    pub session: Option<Session>,
    /// Does the client believe that there is a connection?
    pub client: bool,
    pub up: VecDeque<(Duration, String)>,
    pub down: VecDeque<(Duration, Arc<str>)>,
    /// Nothing comes through before this time.
    pub silent_until: Duration,
    pub room: usize,
    pub speed: u64,
    /// What happens to the next frame to which it can happen.
    pub damage: Option<Damage>,
    /// Did it happen on this connection?
    pub damaged: bool,
    /// Did the server say on this connection why it ends?
    pub ended: bool,
    watch: Watch,
}

/// What was told on this connection.
#[derive(Debug, Default)]
struct Watch {
    epoch: Option<Epoch>,
    /// The table's head when the session began.
    head: u64,
    in_snapshot: bool,
    reached: Option<Position>,
    /// When something was told last, or nothing could be.
    moved_at: Duration,
    /// When there was a connection, or an attempt at one.
    busy_at: Duration,
    /// When somebody was there at the other end, or the client knew that nobody is.
    answered_at: Duration,
}

impl Link {
    pub fn new(room: usize, speed: u64, now: Duration) -> Self {
        Self {
            opening: None,
            session: None,
            client: false,
            up: VecDeque::new(),
            down: VecDeque::new(),
            silent_until: now,
            room,
            speed,
            damage: None,
            damaged: false,
            ended: false,
            watch: Watch {
                busy_at: now,
                answered_at: now,
                ..Watch::default()
            },
        }
    }

    /// Nothing is left of the connection.
    pub fn clear(&mut self) {
        self.opening = None;
        self.session = None;
        self.client = false;
        self.up.clear();
        self.down.clear();
        (self.damaged, self.ended) = (false, false);
        let Watch {
            moved_at,
            busy_at,
            answered_at,
            ..
        } = self.watch;
        self.watch = Watch {
            moved_at,
            busy_at,
            answered_at,
            ..Watch::default()
        };
    }

    /// The next frame for the client, or what damage makes of it.
    pub fn next_down(&mut self, kind: Kind, now: Duration) -> Option<Vec<String>> {
        if !self.client || self.silent_until > now {
            return None;
        }
        self.down.front().filter(|(at, _)| *at <= now)?;
        let (_, text) = self.down.pop_front()?;
        self.check_frame(&text, kind, now);
        if let Some(damage) = self.damage
            && (kind != Kind::Events || damage.shows_without_records(&text))
            && let Some(instead) = damage.apply(&text)
        {
            (self.damage, self.damaged) = (None, true);
            return Some(instead);
        }
        Some(vec![text.as_ref().to_owned()])
    }

    /// What docs/wire.md says of the order of a server's frames.
    fn check_frame(&mut self, text: &str, kind: Kind, now: Duration) {
        let watch = &mut self.watch;
        assert!(!self.ended, "a frame after the last one: {text}");
        let at = |seq| watch.epoch.map(|epoch| Position { epoch, seq });
        let reached = match ServerFrame::decode(text).expect("a frame that cannot be read") {
            ServerFrame::Welcome(welcome) => {
                watch.epoch = Some(welcome.epoch);
                watch.head = welcome.head;
                watch.in_snapshot = welcome.mode == Begin::Snapshot;
                let epoch = welcome.epoch;
                welcome.seq.map(|seq| Position { epoch, seq })
            }
            ServerFrame::Snapshot(_) => {
                assert!(watch.in_snapshot, "a part of no snapshot");
                None
            }
            ServerFrame::Txn(txn) => {
                let folded = txn.from != txn.to;
                assert!(!folded || !watch.in_snapshot, "folded in a snapshot");
                assert!(!folded || kind != Kind::Events, "folded unasked");
                if txn.more {
                    watch.moved_at = now;
                    return;
                }
                at(txn.to)
            }
            ServerFrame::SnapshotEnd(end) => {
                watch.in_snapshot = false;
                assert!(
                    end.at >= watch.head,
                    "a snapshot from before the session: {text}"
                );
                at(end.at)
            }
            ServerFrame::Heartbeat(heartbeat) => {
                let at = watch.reached.map(|reached| reached.seq);
                assert!(
                    watch.in_snapshot || at == Some(heartbeat.at),
                    "a heartbeat elsewhere than at {at:?}: {text}"
                );
                return;
            }
            ServerFrame::Pong(_) => return,
            ServerFrame::Reset(_) | ServerFrame::Goodbye(_) | ServerFrame::Error(_) => {
                self.ended = true;
                return;
            }
            other => panic!("{other:?}"),
        };
        watch.reached = reached.or(watch.reached);
        watch.moved_at = now;
    }

    /// A connection that could carry everything for the last `span`?
    pub fn is_sound(&self, span: Duration, now: Duration) -> bool {
        self.client && self.session.is_some() && self.silent_until + span <= now
    }

    /// Nobody falls silent without a reason.
    pub fn check_progress(&mut self, at: Position, waits: bool, up: bool, now: Duration) {
        let watch = &mut self.watch;
        if self.client || self.opening.is_some() || !waits {
            watch.busy_at = now;
        }
        assert!(
            now < watch.busy_at + BACK_WITHIN,
            "it does not come back: {now:?}"
        );
        if !self.client || self.session.is_some() {
            watch.answered_at = now;
        }
        assert!(
            now < watch.answered_at + NOTICED_WITHIN,
            "it takes a dead connection for a live one"
        );
        let told = watch.reached == Some(at);
        if told || !up || !self.client || self.session.is_none() || self.silent_until > now {
            watch.moved_at = now;
        }
        assert!(
            now < watch.moved_at + PROGRESS_WITHIN,
            "the session silently stopped at {:?}, while the table is at {at:?}",
            watch.reached
        );
    }
}
