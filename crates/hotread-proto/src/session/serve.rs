//! The server's end of one connection.
//!
//! It holds a place in the table's sequence of changes and asks for what comes next when the
//! connection has room for it, so a slow client costs a number and not a queue.

use super::encode::{Encoded, Part, txn_frames};
use super::fold::Fold;
use super::frame::{
    Begin, ClientFrame, Goodbye, Has, Heartbeat, Hello, Nack, Pong, Reset, ServerFrame,
    SnapshotEnd, Welcome,
};
use super::serving::{Answer, End, Event, ServeConfig, Want};
use super::{VERSION, is_client_name, reason};
use crate::digest::Digest;
use crate::evaluate::Head;
use crate::position::Position;
use crate::response::{Code, ErrorBody};
use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

/// A client says hello within this time, or is sent away.
const HELLO_WITHIN: Duration = Duration::from_secs(10);
/// A client that was not heard of for so many heartbeats is gone. It pings once in each.
const SILENT_HEARTBEATS: u32 = 6;
/// Frames that a client may send at once.
const FRAME_BURST: f64 = 200.0;
/// Frames a second that a client may send for long: pings and acknowledgements need a few.
const FRAMES_PER_SECOND: f64 = 50.0;
/// A client that lets transactions be folded, and is behind by more than this many, gets folded ones:
/// what a busy table commits in a tenth of a second.
const FOLD_BEHIND: u64 = 1_024;
/// Most transactions that are folded into one.
const FOLD_CHANGES: u64 = 65_536;
/// Most bytes of keys and values that are folded into one: what a session holds in memory.
const FOLD_BYTES: usize = 8 << 20;
/// How long a client waits before it tries again what failed at the server.
const RETRY_AFTER_MS: u64 = 1_000;

#[derive(Debug)]
enum Phase {
    /// Nobody has said hello.
    Waiting,
    /// The digest at the client's position was asked for.
    Comparing { hello: Hello, has: Has },
    /// Parts are being sent.
    Parts {
        number: u32,
        after: Option<Arc<str>>,
        /// Where the earliest and the latest part were read.
        reads: Option<(Head, u64)>,
    },
    /// The changes up to `target` complete the snapshot.
    Completing { parts: u32, target: u64 },
    /// Every change is sent when it comes.
    Following,
    /// What is queued is still sent, and nothing else.
    Over,
}

#[derive(Debug, PartialEq)]
enum Asked {
    Nothing,
    /// To be handed out by `poll_want`.
    Next(Want),
    /// Handed out, not answered.
    Waiting,
}

/// The server's end of one connection. Times are those of any monotonic clock.
#[derive(Debug)]
pub struct Serve {
    config: ServeConfig,
    /// Where the table stands.
    head: Head,
    floor: u64,
    phase: Phase,
    coalesce: bool,
    /// Where the table stood after the last transaction that was sent.
    sent: Head,
    frames: VecDeque<Arc<str>>,
    /// Changes that come next.
    changes: VecDeque<Arc<Encoded>>,
    fold: Option<Fold>,
    asked: Asked,
    events: VecDeque<Event>,
    heartbeat_at: Duration,
    opened_at: Duration,
    heard_at: Duration,
    /// Frames that the client may still send, as of `heard_at`.
    allowance: f64,
    /// The answer to the newest ping. One is enough: it says more than those before it, and a client
    /// that sends but does not read costs no more.
    pong: Option<Pong>,
    heartbeat_due: bool,
}

impl Serve {
    /// A connection was opened to a table that stands at `head` and whose history begins with `floor`.
    #[must_use]
    pub fn new(config: ServeConfig, head: Head, floor: u64, now: Duration) -> Self {
        Self {
            heartbeat_at: now + config.heartbeat,
            config,
            head,
            floor,
            phase: Phase::Waiting,
            coalesce: false,
            sent: head,
            frames: VecDeque::new(),
            changes: VecDeque::new(),
            fold: None,
            asked: Asked::Nothing,
            events: VecDeque::new(),
            opened_at: now,
            heard_at: now,
            allowance: FRAME_BURST,
            pong: None,
            heartbeat_due: false,
        }
    }

    // ---- in ----

    /// The table stands here now. To be called with what is newest before each
    /// [`handle_text`](Self::handle_text): a pong must not claim less than what was acknowledged
    /// before its ping.
    pub fn handle_head(&mut self, head: Head, floor: u64) {
        if head.position.epoch != self.head.position.epoch {
            self.handle_end(End::Dropped);
        } else if head.position.seq >= self.head.position.seq {
            self.head = head;
            self.floor = floor;
        }
    }

    /// A frame came.
    pub fn handle_text(&mut self, text: &str, now: Duration) {
        if self.is_ending() {
            return;
        }
        let quiet = now.saturating_sub(self.heard_at).as_secs_f64();
        self.heard_at = now;
        self.allowance = (self.allowance + quiet * FRAMES_PER_SECOND).min(FRAME_BURST) - 1.0;
        if self.allowance < 0.0 {
            let message = format!(
                "more than {FRAMES_PER_SECOND} frames a second; acknowledge several transactions at once"
            );
            return self.fail(ErrorBody::new(Code::RateLimited, message));
        }
        match ClientFrame::decode(text) {
            Ok(frame) => self.handle_frame(frame),
            Err(bad) => self.fail(bad.body()),
        }
    }

    fn handle_frame(&mut self, frame: ClientFrame) {
        let waiting = matches!(self.phase, Phase::Waiting);
        match frame {
            ClientFrame::Hello(hello) if waiting => self.greet(hello),
            ClientFrame::Hello(_) => self.protocol_error("hello was said already"),
            ClientFrame::Unknown => {}
            _ if waiting => self.protocol_error("the first frame must be hello"),
            ClientFrame::Ack { seq } if seq > self.sent.position.seq => {
                self.protocol_error("an acknowledgement of what was not sent");
            }
            ClientFrame::Ack { seq } => self.events.push_back(Event::Ack { seq }),
            ClientFrame::Nack(nack) => {
                let reason = reason(&nack.reason);
                self.events.push_back(Event::Nack(Nack { reason, ..nack }));
            }
            ClientFrame::Ping { n } => {
                let head = self.head.position.seq;
                self.pong = Some(Pong { n, head });
            }
        }
    }

    /// To the [`Want`] that [`poll_want`](Self::poll_want) gave last.
    pub fn handle_answer(&mut self, answer: Answer) {
        if self.is_ending() || self.asked != Asked::Waiting {
            return;
        }
        self.asked = Asked::Nothing;
        match answer {
            Answer::Digest(digest) => self.compared(digest),
            Answer::Part(part) => self.add_part(&part),
            Answer::Changes(changes) => self.add_changes(changes),
            Answer::Gone => self.reset("the session fell behind the history that is kept", 0),
            Answer::Failed(body) => {
                self.reset(&body.message, RETRY_AFTER_MS);
                self.events.push_back(Event::Failed(body));
            }
        }
    }

    /// To be called when the time that [`poll_timeout`](Self::poll_timeout) gave has come.
    pub fn handle_timeout(&mut self, now: Duration) {
        if self.is_ending() {
            return;
        }
        if now >= self.silent_at() {
            let message = if matches!(self.phase, Phase::Waiting) {
                "no hello came in time"
            } else {
                "nothing was heard of the client; it pings once in each heartbeat"
            };
            return self.fail(ErrorBody::new(Code::Timeout, message));
        }
        if now >= self.heartbeat_at {
            self.heartbeat_at = now + self.config.heartbeat;
            self.heartbeat_due = true;
        }
    }

    /// The session is to end.
    pub fn handle_end(&mut self, end: End) {
        if self.is_ending() {
            return;
        }
        match end {
            End::Dropped => self.reset("the table was dropped, or began anew", 0),
            End::Goodbye { reason, spread } => {
                self.end(&ServerFrame::Goodbye(Goodbye {
                    reason,
                    spread_ms: spread.as_millis() as u64,
                }));
            }
            End::Error(body) => self.fail(body),
        }
    }

    // ---- out ----

    /// What is needed to go on, if anything is. At most one at a time.
    pub fn poll_want(&mut self) -> Option<Want> {
        match std::mem::replace(&mut self.asked, Asked::Waiting) {
            Asked::Next(want) => Some(want),
            other => {
                self.asked = other;
                None
            }
        }
    }

    /// The next frame to be sent. To be called when the connection has room for one; it may turn out
    /// that something is [wanted](Self::poll_want) first.
    pub fn poll_frame(&mut self) -> Option<Arc<str>> {
        loop {
            if let Some(frame) = self.frames.pop_front() {
                return Some(frame);
            }
            if let Some(frame) = self.sign_of_life() {
                return Some(frame.encode().into());
            }
            if let Some(next) = self.changes.pop_front() {
                self.take(&next);
                continue;
            }
            self.ask();
            if self.frames.is_empty() {
                return None;
            }
        }
    }

    /// Pongs and heartbeats: between transactions, and not before the welcome.
    fn sign_of_life(&mut self) -> Option<ServerFrame<'static>> {
        if matches!(
            self.phase,
            Phase::Waiting | Phase::Comparing { .. } | Phase::Over
        ) {
            return None;
        }
        if let Some(pong) = self.pong.take() {
            return Some(ServerFrame::Pong(pong));
        }
        std::mem::take(&mut self.heartbeat_due).then(|| {
            ServerFrame::Heartbeat(Heartbeat {
                at: self.sent.position.seq,
                digest: self.sent.digest,
                head: self.head.position.seq,
            })
        })
    }

    /// Something to be shown, counted or logged.
    pub fn poll_event(&mut self) -> Option<Event> {
        self.events.pop_front()
    }

    /// When [`handle_timeout`](Self::handle_timeout) is to be called.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Duration> {
        (!self.is_ending()).then(|| self.heartbeat_at.min(self.silent_at()))
    }

    /// Is everything said? Then the connection is to be closed.
    #[must_use]
    pub fn is_over(&self) -> bool {
        self.is_ending() && self.frames.is_empty()
    }

    /// The last transaction that was sent.
    #[must_use]
    pub fn sent(&self) -> u64 {
        self.sent.position.seq
    }

    // ---- how it begins ----

    fn greet(&mut self, hello: Hello) {
        if hello.v < VERSION {
            let message = format!(
                "version {} of the protocol is not spoken here any more; update the client to one that speaks {VERSION}",
                hello.v
            );
            return self.fail(ErrorBody::new(Code::UnsupportedVersion, message));
        }
        if hello
            .name
            .as_deref()
            .is_some_and(|name| !is_client_name(name))
        {
            let message = "a client's name has 1 to 64 of the characters A-Z a-z 0-9 . _ -";
            return self.fail(ErrorBody::new(Code::InvalidName, message));
        }
        self.coalesce = hello.coalesce;
        let Some(has) = hello.from else {
            if hello.snapshot {
                return self.begin_snapshot(hello, None);
            }
            return self.resume(hello, self.head);
        };
        if has.digest.is_none() && hello.snapshot {
            return self.protocol_error("a client that keeps records must say their digest");
        }
        let Head { position, .. } = self.head;
        let seq = has.seq;
        if has.epoch != position.epoch {
            self.begin_anew(hello, Code::EpochChanged, "the table began anew");
        } else if seq > position.seq {
            let reason = format!("the table has not come to {seq} yet: its past became another");
            self.begin_anew(hello, Code::EpochChanged, &reason);
        } else if seq + 1 < self.floor {
            let reason = format!("the history begins with {}, after {seq}", self.floor);
            self.begin_anew(hello, Code::Gone, &reason);
        } else if seq == position.seq {
            let digest = Some(self.head.digest);
            self.phase = Phase::Comparing { hello, has };
            self.compared(digest);
        } else {
            let epoch = has.epoch;
            self.phase = Phase::Comparing { hello, has };
            self.asked = Asked::Next(Want::Digest {
                at: Position { epoch, seq },
            });
        }
    }

    fn compared(&mut self, digest: Option<Digest>) {
        let Phase::Comparing { hello, has } = std::mem::replace(&mut self.phase, Phase::Waiting)
        else {
            return;
        };
        let seq = has.seq;
        match digest {
            // At seq 0 there is no row of the history to compare with, nor anything in the table.
            None if seq != 0 => {
                let reason = format!("the history does not have {seq} any more");
                self.begin_anew(hello, Code::Gone, &reason);
            }
            there => {
                let digest = there.unwrap_or(Digest::EMPTY);
                if has.digest.is_some_and(|has| has != digest) {
                    let reason = format!("the digest at {seq} differs: its past became another");
                    return self.begin_anew(hello, Code::EpochChanged, &reason);
                }
                let epoch = has.epoch;
                let at = Head {
                    position: Position { epoch, seq },
                    digest,
                    ..self.head
                };
                self.resume(hello, at);
            }
        }
    }

    fn begin_anew(&mut self, hello: Hello, code: Code, reason: &str) {
        if hello.snapshot {
            return self.begin_snapshot(hello, Some(reason.to_owned()));
        }
        let message = format!("{reason}; changes in between cannot be told, read the whole table");
        self.fail(ErrorBody::new(code, message));
    }

    fn resume(&mut self, hello: Hello, at: Head) {
        self.sent = at;
        self.phase = Phase::Following;
        self.welcome(hello, Begin::Resume, Some(at.position.seq), None);
    }

    fn begin_snapshot(&mut self, hello: Hello, reason: Option<String>) {
        self.phase = Phase::Parts {
            number: 1,
            after: None,
            reads: None,
        };
        self.welcome(hello, Begin::Snapshot, None, reason);
    }

    fn welcome(&mut self, hello: Hello, mode: Begin, seq: Option<u64>, reason: Option<String>) {
        let welcome = Welcome {
            v: VERSION,
            mode,
            epoch: self.head.position.epoch,
            head: self.head.position.seq,
            floor: self.floor,
            seq,
            heartbeat_ms: self.config.heartbeat.as_millis() as u64,
            sealed: self.config.sealed,
            reason: reason.clone(),
        };
        self.send(&ServerFrame::Welcome(welcome));
        self.events.push_back(Event::Begun {
            name: hello.name,
            mode,
            reason,
        });
    }

    // ---- how it goes on ----

    /// Nothing is at hand: what comes next?
    fn ask(&mut self) {
        if self.asked != Asked::Nothing {
            return;
        }
        match &self.phase {
            Phase::Parts { number, after, .. } => {
                self.asked = Asked::Next(Want::Part {
                    number: *number,
                    after: after.clone(),
                });
            }
            Phase::Completing { parts, target } if self.sent.position.seq >= *target => {
                let end = SnapshotEnd {
                    at: self.sent.position.seq,
                    count: self.sent.records,
                    digest: self.sent.digest,
                    time: self.sent.at,
                };
                self.events.push_back(Event::SnapshotSent { parts: *parts });
                self.phase = Phase::Following;
                self.send(&ServerFrame::SnapshotEnd(end));
            }
            Phase::Completing { .. } | Phase::Following => self.ask_for_changes(),
            Phase::Waiting | Phase::Comparing { .. } | Phase::Over => {}
        }
    }

    fn ask_for_changes(&mut self) {
        let has = match &self.fold {
            Some(fold) => fold
                .head
                .map_or(self.sent.position.seq, |head| head.position.seq),
            None => self.sent.position.seq,
        };
        if has < self.head.position.seq {
            let following = matches!(self.phase, Phase::Following);
            if self.coalesce && following && self.head.position.seq - has > FOLD_BEHIND {
                self.fold.get_or_insert_with(|| Fold::new(has + 1));
            }
            self.asked = Asked::Next(Want::Changes { after: has });
        } else {
            self.unfold();
        }
    }

    fn add_part(&mut self, part: &Part) {
        let Phase::Parts { number, reads, .. } = &self.phase else {
            return;
        };
        let (number, read) = (*number, part.head());
        if read.position.epoch != self.head.position.epoch {
            return self.handle_end(End::Dropped);
        }
        let (first, last) = reads.map_or((read, read.position.seq), |(first, last)| {
            let earlier = read.position.seq < first.position.seq;
            let first = if earlier { read } else { first };
            (first, last.max(read.position.seq))
        });
        self.frames.push_back(part.text().clone());
        self.phase = match part.last() {
            Some(last_key) => Phase::Parts {
                number: number + 1,
                after: Some(last_key.clone()),
                reads: Some((first, last)),
            },
            None => {
                self.sent = first;
                Phase::Completing {
                    parts: number,
                    target: last.max(self.head.position.seq),
                }
            }
        };
    }

    fn add_changes(&mut self, changes: Vec<Arc<Encoded>>) {
        let has = self
            .fold
            .as_ref()
            .and_then(|fold| fold.head)
            .map_or(self.sent.position.seq, |head| head.position.seq);
        let epoch = self.head.position.epoch;
        if changes
            .iter()
            .any(|next| next.change().position.epoch != epoch)
        {
            return self.handle_end(End::Dropped);
        }
        let in_order = (has + 1..)
            .zip(&changes)
            .all(|(seq, next)| next.change().position.seq == seq);
        debug_assert!(
            in_order && !changes.is_empty(),
            "the answer to another question"
        );
        if !in_order {
            let message = "the server lost its place in the table's changes";
            return self.fail(ErrorBody::new(Code::Internal, message));
        }
        let Some(fold) = &mut self.fold else {
            self.changes.extend(changes);
            return;
        };
        for next in changes {
            fold.add(next.change());
        }
        if fold.bytes() >= FOLD_BYTES || fold.len() >= FOLD_CHANGES {
            self.unfold();
        }
    }

    /// Sends what was folded.
    fn unfold(&mut self) {
        let Some(fold) = self.fold.take() else { return };
        let Some(head) = fold.head else { return };
        let (from, transactions) = (fold.from, fold.len());
        self.frames.extend(txn_frames(from, head, &fold.into_ops()));
        self.sent = head;
        self.events.push_back(Event::Folded { transactions });
    }

    fn take(&mut self, next: &Encoded) {
        self.frames.extend(next.frames().iter().cloned());
        self.sent = next.change().head();
        // What completes a snapshot ends exactly there.
        if let Phase::Completing { target, .. } = self.phase
            && self.sent.position.seq == target
        {
            let rest = std::mem::take(&mut self.changes);
            self.ask();
            self.changes = rest;
        }
    }

    // ---- how it ends ----

    fn is_ending(&self) -> bool {
        matches!(self.phase, Phase::Over)
    }

    fn silent_at(&self) -> Duration {
        match self.phase {
            // Other frames do not put it off.
            Phase::Waiting => self.opened_at + HELLO_WITHIN,
            _ => self.heard_at + self.config.heartbeat * SILENT_HEARTBEATS,
        }
    }

    fn send(&mut self, frame: &ServerFrame<'_>) {
        self.frames.push_back(frame.encode().into());
    }

    fn end(&mut self, last: &ServerFrame<'_>) {
        self.changes.clear();
        self.fold = None;
        self.asked = Asked::Nothing;
        self.phase = Phase::Over;
        self.send(last);
    }

    fn reset(&mut self, why: &str, retry_after_ms: u64) {
        let reason = reason(why);
        self.end(&ServerFrame::Reset(Reset {
            reason,
            retry_after_ms,
        }));
    }

    fn fail(&mut self, body: ErrorBody) {
        self.events.push_back(Event::Failed(body.clone()));
        self.end(&ServerFrame::Error(body));
    }

    fn protocol_error(&mut self, what: &str) {
        self.fail(ErrorBody::new(Code::ProtocolError, what));
    }
}
