//! Connection of one client in the simulation, and the rules for its frames.

use crate::client::Kind;
use crate::damage::Damage;
use crate::table::Table;
use hotread_proto::session::frame::{Begin, ClientFrame, Hello, ServerFrame};
use hotread_proto::session::{Serve, Want};
use hotread_proto::{Digest, Epoch, Head, Position};
use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

/// Longest time without progress of a session over a sound connection, if there is anything to
/// send.
const PROGRESS_WITHIN: Duration = Duration::from_secs(5);
/// Longest time without an attempt of a client without a connection: the longest wait, and the wait
/// that the server requests.
const BACK_WITHIN: Duration = Duration::from_secs(9);

/// Longest time in which a client notices that the server is gone: its wait for a welcome, and a
/// step.
const NOTICED_WITHIN: Duration = Duration::from_millis(10_100);

/// The server's end of a connection with its driver.
pub struct Session {
    pub serve: Serve,
    /// Transaction after which changes are kept for the session.
    pub pin: Option<u64>,
    pub want: Option<(Duration, Want)>,
    /// Set if the session must resume, judged by the table as it was when `hello` arrived.
    resumes: Option<bool>,
    hello: Option<Hello>,
    begun: bool,
    /// Time of the last heartbeat, or the last time at which none could be sent.
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

    /// Notes a heartbeat, or that none can be sent: before the welcome, or without room.
    pub fn beats(&mut self, now: Duration) {
        self.beat_at = now;
    }

    /// Checks that the heartbeat is in time, regardless of other frames.
    pub fn check_heartbeat(&self, every: Duration, now: Duration) {
        assert!(now <= self.beat_at + every, "no heartbeat came in time");
    }

    /// Passes a frame of the client to the server.
    pub fn hears(&mut self, text: &str, table: &Table) {
        if let Ok(ClientFrame::Hello(hello)) = ClientFrame::decode(text) {
            self.resumes = Some(may_resume(&hello, table));
            self.hello = Some(hello);
        }
    }

    /// Returns `true` once the beginning of the session was decided.
    pub fn has_begun(&self) -> bool {
        self.begun
    }

    /// Checks the decision about the beginning of the session. The table may have changed since
    /// `hello` arrived; a decision that was right at either time is accepted.
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

/// Implements the table in docs/wire.md.
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

/// Connection of one client, with its queued frames in order.
pub struct Link {
    /// Time at which the client learns the result of opening, and whether it succeeded.
    pub opening: Option<(Duration, bool)>,
    pub session: Option<Session>,
    /// Set if the client believes that the connection exists.
    pub client: bool,
    pub up: VecDeque<(Duration, String)>,
    pub down: VecDeque<(Duration, Arc<str>)>,
    /// Time before which nothing passes.
    pub silent_until: Duration,
    pub room: usize,
    pub speed: u64,
    /// Damage to the next frame that it applies to.
    pub damage: Option<Damage>,
    /// Set once a frame was damaged.
    pub damaged: bool,
    /// Set once the server has given the reason for the end.
    pub ended: bool,
    watch: Watch,
}

/// Observations about one connection.
#[derive(Debug, Default)]
struct Watch {
    epoch: Option<Epoch>,
    /// Head of the table at the beginning of the session.
    head: u64,
    in_snapshot: bool,
    reached: Option<Position>,
    /// Time of the last progress, or the last time at which none was possible.
    moved_at: Duration,
    /// Last time at which there was a connection or an attempt.
    busy_at: Duration,
    /// Last time at which the other end existed, or the client knew that it was gone.
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

    /// Removes what is left of the connection.
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

    /// Returns the next frame for the client, or what damage makes of it.
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

    /// Checks the order of a server's frames as specified in docs/wire.md.
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

    /// Returns `true` if the connection could carry everything during the last `span`.
    pub fn is_sound(&self, span: Duration, now: Duration) -> bool {
        self.client && self.session.is_some() && self.silent_until + span <= now
    }

    /// Checks that no end falls silent without a reason.
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
