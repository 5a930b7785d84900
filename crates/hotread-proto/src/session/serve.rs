//! The server's end of one connection.
//!
//! It keeps only a position in the table's sequence of changes, and asks for the next ones when the
//! connection has room. A slow client therefore costs a number instead of a queue.

mod begin;
mod stream;

use super::encode::Encoded;
use super::fold::Fold;
use super::frame::{ClientFrame, Goodbye, Has, Heartbeat, Hello, Pong, Reset, ServerFrame};
use super::serving::{Answer, End, Event, ServeConfig, Want};
use super::{MAX_CLIENT_FRAME_BYTES, one_line};
use crate::digest::Digest;
use crate::position::Position;
use crate::response::{Code, ErrorBody};
use crate::time::Timestamp;
use crate::view::Head;
use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

/// Longest time from the upgrade to `hello`.
const HELLO_WITHIN: Duration = Duration::from_secs(10);
/// Number of heartbeats without a frame after which a client counts as gone. A client pings once in
/// each.
const SILENT_HEARTBEATS: u32 = 6;
/// Number of frames that a client may send at once.
const FRAME_BURST: f64 = 200.0;
/// Sustained rate of frames that a client may send; pings and acknowledgements need a few per
/// second.
const FRAMES_PER_SECOND: f64 = 50.0;
/// Number of pending transactions beyond which they are coalesced, if the client allows it: as many
/// as a busy table commits in a tenth of a second.
const FOLD_BEHIND: u64 = 1_024;
/// Maximum number of transactions that are coalesced into one.
const FOLD_CHANGES: u64 = 65_536;
/// Maximum number of bytes of keys and values that are coalesced into one, which bounds the memory
/// of a session.
const FOLD_BYTES: usize = 8 << 20;
/// Shortest wait of a client after a failure at the server, in milliseconds.
const RETRY_AFTER_MS: u64 = 1_000;

#[derive(Debug)]
enum Phase {
    /// No `hello` has arrived.
    Waiting,
    /// The digest at the client's position was requested.
    Comparing { hello: Hello, has: Has },
    /// Parts are being sent.
    Parts {
        number: u32,
        after: Option<Arc<str>>,
        /// State of the earliest part, and position of the latest one.
        reads: Option<(Head, u64)>,
    },
    /// The changes up to `target` complete the snapshot.
    Completing { parts: u32, target: u64 },
    /// Each change is sent when it is committed.
    Following,
    /// Queued frames are still sent, and nothing else.
    Over,
}

#[derive(Debug, PartialEq)]
enum Asked {
    Nothing,
    /// To be returned by `poll_want`.
    Next(Want),
    /// Returned, and not answered yet.
    Waiting,
}

/// The server's end of one connection. Times are those of any monotonic clock.
#[derive(Debug)]
pub struct Serve {
    config: ServeConfig,
    /// Current state of the table.
    head: Head,
    floor: u64,
    phase: Phase,
    coalesce: bool,
    /// State of the table after the last transaction that was sent, or that the client had at the
    /// beginning of the session.
    sent: Head,
    frames: VecDeque<Arc<str>>,
    /// Changes to send next.
    changes: VecDeque<Arc<Encoded>>,
    fold: Option<Fold>,
    asked: Asked,
    events: VecDeque<Event>,
    heartbeat_at: Duration,
    opened_at: Duration,
    heard_at: Duration,
    /// Frames that the client may still send, as of `heard_at`.
    allowance: f64,
    /// Answer to the newest ping. It supersedes earlier ones, so that a client that sends without
    /// reading costs no more memory.
    pong: Option<Pong>,
    heartbeat_due: bool,
}

impl Serve {
    /// Creates the end of a new connection to a table with this head and floor.
    #[must_use]
    pub fn new(config: ServeConfig, head: Head, floor: u64, now: Duration) -> Self {
        Self {
            heartbeat_at: now + config.heartbeat,
            config,
            head,
            floor,
            phase: Phase::Waiting,
            coalesce: false,
            sent: nothing(head),
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

    /// Updates the state of the table. Must be called with the newest state before each
    /// [`handle_text`](Self::handle_text): a pong must not name a smaller head than one that was
    /// acknowledged before its ping.
    pub fn handle_head(&mut self, head: Head, floor: u64) {
        if head.position.epoch != self.head.position.epoch {
            self.handle_end(End::Dropped);
        } else if head.position.seq >= self.head.position.seq {
            self.head = head;
            self.floor = floor;
        }
    }

    /// Handles a frame.
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
        if text.len() > MAX_CLIENT_FRAME_BYTES {
            let message = format!("a frame of a client has at most {MAX_CLIENT_FRAME_BYTES} bytes");
            return self.fail(ErrorBody::new(Code::ProtocolError, message));
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
            ClientFrame::Ack { .. } | ClientFrame::Nack(_) if !self.is_following() => {
                self.protocol_error(
                    "ack and nack are about a state, which the client does not have yet",
                );
            }
            ClientFrame::Ack { seq } if seq > self.sent.position.seq => {
                self.protocol_error("an acknowledgement of what was not sent");
            }
            ClientFrame::Nack(nack) if nack.seq == 0 || nack.seq > self.sent.position.seq => {
                self.protocol_error("a refusal of what was not sent");
            }
            ClientFrame::Ack { seq } => self.events.push_back(Event::Ack { seq }),
            ClientFrame::Nack(nack) => self.events.push_back(Event::Nack(nack)),
            ClientFrame::Ping { n } => {
                let head = self.head.position.seq;
                self.pong = Some(Pong { n, head });
            }
        }
    }

    /// Handles the answer to the [`Want`] that [`poll_want`](Self::poll_want) returned last.
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
                let body = in_one_line(body);
                self.reset(&body.message, RETRY_AFTER_MS);
                self.events.push_back(Event::Failed(body));
            }
        }
    }

    /// Handles the passing of time. Must be called at the time that
    /// [`poll_timeout`](Self::poll_timeout) returned.
    pub fn handle_timeout(&mut self, now: Duration) {
        if self.is_ending() {
            return;
        }
        if now >= self.silent_at() {
            let message = if matches!(self.phase, Phase::Waiting) {
                "no hello arrived in time"
            } else {
                "no frame of the client arrived in time; it must ping once in each heartbeat"
            };
            return self.fail(ErrorBody::new(Code::Timeout, message));
        }
        if now >= self.heartbeat_at {
            self.heartbeat_at = now + self.config.heartbeat;
            self.heartbeat_due = true;
        }
    }

    /// Ends the session.
    pub fn handle_end(&mut self, end: End) {
        if self.is_ending() {
            return;
        }
        match end {
            End::Dropped => self.reset("the table was dropped or has a new epoch", 0),
            End::Goodbye { reason, spread } => self.end(&ServerFrame::Goodbye(Goodbye {
                reason: one_line(&reason),
                spread_ms: spread.as_millis() as u64,
            })),
            End::Error(body) => self.fail(body),
        }
    }

    // ---- out ----

    /// Returns the data that the session needs to continue, if any. At most one want is open at a
    /// time.
    pub fn poll_want(&mut self) -> Option<Want> {
        match std::mem::replace(&mut self.asked, Asked::Waiting) {
            Asked::Next(want) => Some(want),
            other => {
                self.asked = other;
                None
            }
        }
    }

    /// Returns the next frame to send. Must be called when the connection has room for one;
    /// afterwards data may be [wanted](Self::poll_want).
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

    /// Pongs and heartbeats, which are sent between transactions and after the welcome.
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

    /// Returns the next event to show, count or log.
    pub fn poll_event(&mut self) -> Option<Event> {
        self.events.pop_front()
    }

    /// Returns the time at which [`handle_timeout`](Self::handle_timeout) must be called.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Duration> {
        (!self.is_ending()).then(|| self.heartbeat_at.min(self.silent_at()))
    }

    /// Returns `true` once all frames have been sent and the connection should be closed.
    #[must_use]
    pub fn is_over(&self) -> bool {
        self.is_ending() && self.frames.is_empty()
    }

    /// Returns the last transaction that was sent, or that the client had at the beginning of the
    /// session; 0 before that.
    #[must_use]
    pub fn sent(&self) -> u64 {
        self.sent.position.seq
    }

    // ---- how it ends ----

    fn is_following(&self) -> bool {
        matches!(self.phase, Phase::Following)
    }

    fn is_ending(&self) -> bool {
        matches!(self.phase, Phase::Over)
    }

    fn silent_at(&self) -> Duration {
        match self.phase {
            // Other frames do not extend the time for `hello`.
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
        let reason = one_line(why);
        let reset = Reset {
            reason,
            retry_after_ms,
        };
        self.end(&ServerFrame::Reset(reset));
    }

    fn fail(&mut self, body: ErrorBody) {
        let body = in_one_line(body);
        self.events.push_back(Event::Failed(body.clone()));
        self.end(&ServerFrame::Error(body));
    }

    fn protocol_error(&mut self, what: &str) {
        self.fail(ErrorBody::new(Code::ProtocolError, what));
    }
}

/// State of a client that was sent nothing of this table.
fn nothing(head: Head) -> Head {
    let Position { epoch, .. } = head.position;
    Head {
        position: Position { epoch, seq: 0 },
        digest: Digest::EMPTY,
        records: 0,
        at: Timestamp::EPOCH,
    }
}

fn in_one_line(mut body: ErrorBody) -> ErrorBody {
    body.message = one_line(&body.message);
    body
}
