//! The replica's end of a session, over all its connections. `follow/status.rs` has its status.

mod status;

use super::content::{Content, MAX_NACKS, Received, genuine};
use super::following::{Batch, FollowConfig, Mode, Output, Refused, Target};
use super::frame::{
    Begin, ClientFrame, Heartbeat, Hello, Nack, ServerFrame, Snapshot, SnapshotEnd, Txn, Welcome,
};
use super::freshness::Freshness;
use super::link::{Link, State};
use super::pieces::Pieces;
use super::staging::Staging;
use super::trouble::{Trouble, is_of_one_server, may_come, passes, protocol, within};
use super::{MAX_SERVER_FRAME_BYTES, MIN_HEARTBEAT, VERSION};
use crate::digest::Hasher;
use crate::position::{Epoch, Position};
use crate::records::Records;
use crate::response::{Code, ErrorBody};
use crate::txn::MAX_REPLACE_BYTES;
use crate::view::Head;
use std::collections::VecDeque;
use std::time::Duration;

/// Shortest time between acknowledgements, which inform operators.
const ACK_EVERY: Duration = Duration::from_millis(100);
/// Time in which the server is sent at most [`MAX_NACKS`] refused values: they are for people as
/// well, and a server limits the rate of frames.
const NACKS_EVERY: Duration = Duration::from_secs(1);
/// Wait before the next attempt to load a table that exceeded the replica's limit, in milliseconds:
/// each attempt may load all of it.
const TOO_LARGE_WAIT_MS: u64 = 60_000;

/// The replica's end of a session, for the whole life of the replica.
///
/// Times are those of any monotonic clock. The caller passes in connections, frames and times
/// (`handle_*`), and then does what [`poll_output`](Self::poll_output) returns until it returns
/// `None`.
#[derive(Debug)]
pub struct Follow<T: Target> {
    config: FollowConfig,
    link: Link,
    fresh: Freshness,
    content: Content<T>,
    staging: Option<Staging>,
    pieces: Pieces,
    /// Last known transaction of the table.
    head: u64,
    floor: u64,
    /// Position that readers see; `None` before they see the last snapshot, whose history may
    /// differ.
    published: Option<Position>,
    /// Batches that were handed to the caller and that readers are not known to see, oldest first,
    /// each with the number of snapshots before it.
    unpublished: VecDeque<(Position, u64)>,
    snapshots: u64,
    acked: u64,
    ack_at: Duration,
    ping_at: Duration,
    /// Earliest time for further refusals to be reported to the server.
    nacks_at: Duration,
    live: bool,
    /// Time of the last frame while the replica was live; `None` if it never was.
    live_until: Option<Duration>,
    out: VecDeque<Output<T::Action>>,
    failed: Option<ErrorBody>,
    /// Reason for the end of the last connection.
    trouble: Option<String>,
}

impl<T: Target> Follow<T> {
    /// Creates a replica without a state. It connects immediately.
    #[must_use]
    pub fn new(target: T, config: FollowConfig, now: Duration) -> Self {
        let replica = matches!(config.mode, Mode::Replica { .. });
        let mut content = Content::new(target, replica, config.skip_bad_keys, config.keep_ops);
        content.max_bytes = config.max_bytes;
        if let Mode::Events {
            from: Some(position),
        } = config.mode
        {
            content.begin_at(position);
        }
        Self {
            link: Link::new(config.seed, config.servers, now),
            config,
            fresh: Freshness::default(),
            content,
            staging: None,
            pieces: Pieces::default(),
            head: 0,
            floor: 0,
            published: None,
            unpublished: VecDeque::new(),
            snapshots: 0,
            nacks_at: now,
            acked: 0,
            ack_at: now,
            ping_at: now,
            live: false,
            live_until: None,
            out: VecDeque::new(),
            failed: None,
            trouble: None,
        }
    }

    /// Restores a saved and checked copy. Must be called before anything else.
    ///
    /// # Errors
    /// If the target refuses one of the values; the replica then has no state, as before.
    pub fn restore(&mut self, records: &Records) -> Result<Batch<T::Action>, Refused> {
        let batch = self.content.restore(records)?;
        self.head = batch.head.position.seq;
        let position = batch.head.position;
        self.unpublished.push_back((position, self.snapshots));
        Ok(batch)
    }

    // ---- in ----

    /// Reports that the connection is open.
    pub fn handle_connected(&mut self, now: Duration) {
        if !self.link.opened(now) {
            return;
        }
        let (coalesce, snapshot) = match self.config.mode {
            Mode::Replica { coalesce } => (coalesce, true),
            Mode::Events { .. } => (false, false),
        };
        let from = self.content.has();
        self.send(&ClientFrame::Hello(Hello {
            v: VERSION,
            name: self.config.name.clone(),
            from,
            coalesce,
            snapshot,
        }));
    }

    /// Reports that the connection was lost or could not be opened.
    pub fn handle_disconnected(&mut self, why: &str, now: Duration) {
        if !self.link.is_down() {
            self.disconnected(why, true, now);
        }
    }

    /// Reports that readers can see the batch with this position.
    pub fn handle_published(&mut self, position: Position, now: Duration) {
        let mut unpublished = std::iter::from_fn(|| self.unpublished.pop_front());
        let published = unpublished.find(|(next, _)| *next == position);
        // Batches from before the last snapshot say nothing about the table as it is now.
        if published != Some((position, self.snapshots)) {
            return;
        }
        self.published = Some(position);
        if self.live {
            self.fresh.reached(position.seq);
            self.acknowledge(now);
        }
    }

    /// Handles a frame.
    pub fn handle_text(&mut self, text: &str, now: Duration) {
        if self.link.is_down() || self.failed.is_some() {
            return;
        }
        self.link.heard_at = now;
        let done = if text.len() > MAX_SERVER_FRAME_BYTES {
            Err(protocol("a frame that is larger than frames may be"))
        } else {
            match ServerFrame::decode(text) {
                Ok(frame) => self.handle_frame(frame, now),
                Err(bad) => Err(Trouble::Protocol(bad.to_string())),
            }
        };
        match done {
            Ok(()) => {}
            Err(Trouble::Damaged(what)) => {
                self.content.distrust(what);
                self.give_up(what, true, now);
            }
            Err(Trouble::Protocol(what)) => self.give_up(&what, true, now),
            Err(Trouble::Again(what)) => self.give_up(&what, false, now),
            Err(Trouble::Refused(body)) => {
                self.out.push_back(Output::Disconnect);
                self.handle_refused(body, now);
            }
        }
    }

    /// Reports that part of a frame arrived and the rest is on its way, so that a slow connection
    /// does not count as lost. This does not affect the age of the content.
    pub fn handle_part(&mut self, now: Duration) {
        if self.link.is_up() {
            self.link.heard_at = now;
        }
    }

    /// Handles the passing of time. Must be called at the time that
    /// [`poll_timeout`](Self::poll_timeout) returned.
    pub fn handle_timeout(&mut self, now: Duration) {
        if self.failed.is_some() {
            return;
        }
        if self.link.open(now) {
            self.out.push_back(Output::Connect);
        } else if let Some(why) = self.link.overdue(now) {
            self.give_up(why, true, now);
        } else if self.link.is_up() {
            if now >= self.ping_at {
                self.ping(now);
            }
            self.acknowledge(now);
        }
    }

    // ---- out ----

    /// Returns the next action for the caller.
    pub fn poll_output(&mut self) -> Option<Output<T::Action>> {
        self.out.pop_front()
    }

    /// Returns the time at which [`handle_timeout`](Self::handle_timeout) must be called.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Duration> {
        if self.failed.is_some() {
            return None;
        }
        let mut at = self.link.deadline();
        if self.link.is_up() {
            at = at.min(self.ping_at);
            if self.owes_ack() {
                at = at.min(self.ack_at);
            }
        }
        Some(at)
    }

    // ---- frames ----

    fn handle_frame(&mut self, frame: ServerFrame<'static>, now: Duration) -> Result<(), Trouble> {
        let up = self.link.is_up();
        match frame {
            ServerFrame::Unknown => Ok(()),
            ServerFrame::Welcome(welcome) if !up => self.welcomed(welcome, now),
            ServerFrame::Error(body)
                if up && self.config.renews_token && body.code == Code::Unauthenticated =>
            {
                Err(Trouble::Again(body.message))
            }
            ServerFrame::Error(body) => Err(Trouble::Refused(body)),
            ServerFrame::Reset(reset) => {
                self.link.at_least(reset.retry_after_ms);
                Err(Trouble::Again(reset.reason))
            }
            ServerFrame::Goodbye(goodbye) => {
                self.link.spread(goodbye.spread_ms);
                Err(Trouble::Protocol(goodbye.reason))
            }
            _ if !up => Err(protocol("the first frame must be welcome")),
            ServerFrame::Welcome(_) => Err(protocol("a second welcome")),
            ServerFrame::Snapshot(part) => self.part(part),
            ServerFrame::SnapshotEnd(end) => self.snapshot_end(end, now),
            ServerFrame::Txn(txn) => self.txn(txn, now),
            ServerFrame::Heartbeat(heartbeat) => self.heartbeat(heartbeat),
            ServerFrame::Pong(pong) => {
                self.head = self.head.max(pong.head);
                let reached = self.published.map(|position| position.seq);
                // Before the snapshot is complete, readers may see a state of another epoch.
                self.fresh
                    .pong(pong.n, pong.head, reached.filter(|_| self.live));
                Ok(())
            }
        }
    }

    fn welcomed(&mut self, welcome: Welcome, now: Duration) -> Result<(), Trouble> {
        if !matches!(self.link.state, State::Greeting { .. }) {
            return Err(protocol("an unexpected welcome"));
        }
        if welcome.v != VERSION {
            let message = format!(
                "the server speaks version {} of the protocol, and this client {VERSION}; upgrade the \
                 older of the two",
                welcome.v
            );
            let body = ErrorBody::new(Code::UnsupportedVersion, message);
            return Err(Trouble::Refused(body));
        }
        self.link
            .welcomed(Duration::from_millis(welcome.heartbeat_ms), now);
        (self.head, self.floor) = (welcome.head, welcome.floor);
        self.content.sealed = welcome.sealed;
        self.acked = 0;
        match welcome.mode {
            Begin::Snapshot if self.content.keeps_records() => {
                self.staging = Some(Staging::new(welcome.epoch, welcome.reason));
            }
            Begin::Snapshot => return Err(protocol("a snapshot that was not requested")),
            Begin::Resume => self.resumed(welcome.epoch, welcome.seq)?,
        }
        self.ping(now);
        if self.live {
            // A server that has just met the replica does not know which values it refuses.
            self.nacks_at = now;
            self.complain(self.content.nacks(), now);
        }
        Ok(())
    }

    fn resumed(&mut self, epoch: Epoch, seq: Option<u64>) -> Result<(), Trouble> {
        let seq = seq.ok_or_else(|| protocol("a resumption without seq"))?;
        let position = Position { epoch, seq };
        match self.content.received {
            Some(head) if head.position == position => {}
            None if !self.content.keeps_records() => {
                self.content.begin_at(position);
            }
            _ => return Err(protocol("a resumption at another position than requested")),
        }
        self.live = true;
        Ok(())
    }

    fn part(&mut self, part: Snapshot<'static>) -> Result<(), Trouble> {
        let max = self.config.max_bytes;
        let staging = self
            .staging
            .as_mut()
            .ok_or_else(|| protocol("a part of a snapshot that did not begin"))?;
        let records = part.records.into_owned();
        if !self.content.sealed && !records.iter().all(|record| record.verify(&Hasher::PLAIN)) {
            return Err(Trouble::Damaged("a record's hash is wrong"));
        }
        staging.part(part.part, records)?;
        within(staging.bytes, max)
    }

    fn txn(&mut self, txn: Txn<'static>, now: Duration) -> Result<(), Trouble> {
        let Txn { from, to, more, .. } = txn;
        let said = (txn.actor, txn.note);
        if from == 0 || to < from {
            return Err(protocol("a transaction with an impossible number"));
        }
        let max = self.config.max_bytes.min(2 * MAX_REPLACE_BYTES);
        let ops = txn.ops.into_owned();
        if !genuine(&ops, from, to, self.content.sealed) {
            return Err(Trouble::Damaged("a record's hash or number is wrong"));
        }
        let Some(ops) = self.pieces.add((from, to), ops, more, max)? else {
            return Ok(());
        };
        if let Some(staging) = &mut self.staging {
            let next = staging.to.map_or(Some(from), |last| last.checked_add(1));
            if next != Some(from) {
                return Err(protocol("a gap between transactions"));
            }
            staging.change(to, ops);
            return within(staging.bytes, self.config.max_bytes);
        }
        let received = self.content.received;
        let received = received.ok_or_else(|| protocol("a transaction before its table"))?;
        if Some(from) != received.position.seq.checked_add(1) {
            return Err(protocol("a gap between transactions"));
        }
        let epoch = received.position.epoch;
        let head = Head {
            position: Position { epoch, seq: to },
            digest: txn.digest,
            records: txn.count,
            at: txn.at,
        };
        let received = self.content.change(from, head, ops, said)?;
        self.head = self.head.max(to);
        self.give_out(received, now)
    }

    fn snapshot_end(&mut self, end: SnapshotEnd, now: Duration) -> Result<(), Trouble> {
        let staging = self
            .staging
            .take()
            .ok_or_else(|| protocol("the end of a snapshot that did not begin"))?;
        if staging.to.is_some_and(|to| to != end.at) || self.pieces.are_open() {
            return Err(protocol(
                "a snapshot ends at another position than its changes",
            ));
        }
        let epoch = staging.epoch;
        let head = Head {
            position: Position { epoch, seq: end.at },
            digest: end.digest,
            records: end.count,
            at: end.time,
        };
        self.head = self.head.max(end.at);
        let received = self.content.snapshot(staging, head)?;
        self.live = true;
        self.published = None;
        self.snapshots += 1;
        self.give_out(received, now)
    }

    fn heartbeat(&mut self, heartbeat: Heartbeat) -> Result<(), Trouble> {
        self.head = self.head.max(heartbeat.head);
        let Some(head) = self.content.received.filter(|_| self.staging.is_none()) else {
            return Ok(());
        };
        if head.position.seq != heartbeat.at {
            return Err(protocol("the server reports a different position"));
        }
        self.content.learn(heartbeat.digest);
        if self.content.digest() != Some(heartbeat.digest) {
            return Err(Trouble::Damaged("the digest is another than the server's"));
        }
        Ok(())
    }

    fn give_out(&mut self, received: Received<T::Action>, now: Duration) -> Result<(), Trouble> {
        self.complain(received.news, now);
        if let Some(batch) = received.batch {
            let position = batch.head.position;
            self.unpublished.push_back((position, self.snapshots));
            self.out.push_back(Output::Apply(batch));
        }
        match received.again {
            Some(why) => Err(Trouble::Again(why.to_owned())),
            None => Ok(()),
        }
    }

    // ---- sending ----

    fn send(&mut self, frame: &ClientFrame) {
        self.out.push_back(Output::Send(frame.encode()));
    }

    fn ping(&mut self, now: Duration) {
        let every = self.config.ping_every;
        self.ping_at = now + every.clamp(MIN_HEARTBEAT, self.link.heartbeat);
        let n = self.fresh.ping(now);
        self.send(&ClientFrame::Ping { n });
    }

    /// Reports refused values to the server, unless others were reported just before.
    fn complain(&mut self, refused: Vec<Refused>, now: Duration) {
        if refused.is_empty() || now < self.nacks_at {
            return;
        }
        self.nacks_at = now + NACKS_EVERY;
        for Refused { key, seq, reason } in refused.into_iter().take(MAX_NACKS) {
            self.send(&ClientFrame::Nack(Nack { seq, key, reason }));
        }
    }

    fn owes_ack(&self) -> bool {
        self.live && self.published.is_some_and(|at| at.seq > self.acked)
    }

    fn acknowledge(&mut self, now: Duration) {
        if let Some(at) = self.published
            && self.owes_ack()
            && now >= self.ack_at
        {
            self.acked = at.seq;
            self.ack_at = now + ACK_EVERY;
            self.send(&ClientFrame::Ack { seq: at.seq });
        }
    }

    // ---- endings ----

    fn give_up(&mut self, why: &str, server_failed: bool, now: Duration) {
        self.out.push_back(Output::Disconnect);
        self.disconnected(why, server_failed, now);
    }

    fn disconnected(&mut self, why: &str, server_failed: bool, now: Duration) {
        self.out
            .retain(|output| !matches!(output, Output::Send(_) | Output::Connect));
        self.link.lost(server_failed, now);
        self.fresh.disconnected();
        self.staging = None;
        self.pieces.clear();
        if std::mem::take(&mut self.live) {
            self.live_until = Some(self.link.heard_at);
        }
        self.trouble = Some(why.to_owned());
    }

    /// Reports that the server refused the connection with an error. A replica that has a state
    /// keeps trying.
    pub fn handle_refused(&mut self, body: ErrorBody, now: Duration) {
        let events = matches!(self.config.mode, Mode::Events { .. });
        if body.code == Code::TooLarge {
            self.link.at_least(TOO_LARGE_WAIT_MS);
        }
        self.disconnected(&body.message, is_of_one_server(body.code), now);
        let waits = passes(body.code) || self.config.waits_for_table && may_come(body.code);
        if !waits && (events || self.content.position().is_none()) {
            self.failed = Some(body.clone());
            self.out.push_back(Output::Failed(body));
        }
    }
}
