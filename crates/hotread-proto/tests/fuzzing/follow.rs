//! A server that sends a replica anything in any order. Many frames are valid for a table, so that
//! the replica makes progress; some are nearly valid, and some are arbitrary text.

use super::{Input, commit};
use crate::table::{POISON, Table};
use hotread_proto::session::frame::{
    Begin, ClientFrame, Goodbye, Heartbeat, Pong, Reset, ServerFrame, Snapshot, SnapshotEnd, Txn,
    Welcome,
};
use hotread_proto::session::{
    Batch, Cause, Follow, FollowConfig, MAX_CLIENT_FRAME_BYTES, Mode, Output, Target, VERSION,
};
use hotread_proto::{ChangeOp, Code, Digest, ErrorBody, Head, Key, Position, Record, Records};
use std::borrow::Cow;
use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

/// Refuses values that begin like poison, if the flag is set.
struct Picky(bool);

enum Write {
    Put(Record),
    Delete(Arc<str>),
}

impl Target for Picky {
    type Action = Write;

    fn put(&mut self, _: &Arc<str>, record: &Record) -> Result<Write, String> {
        if self.0 && record.value().starts_with(POISON.as_bytes()) {
            return Err("poison\n".repeat(200));
        }
        Ok(Write::Put(record.clone()))
    }

    fn delete(&mut self, key: &Arc<str>) -> Write {
        Write::Delete(key.clone())
    }
}

struct Run {
    follow: Follow<Picky>,
    /// Set if the replica's state must be the table's, as long as the server is honest.
    whole: bool,
    refuses: bool,
    table: Table,
    now: Duration,
    part: u32,
    state: BTreeMap<String, Record>,
    at: Option<Position>,
    given: VecDeque<Position>,
    fresh_at: Option<Duration>,
}

pub fn follow(data: &[u8]) {
    let mut input = Input(data);
    let mut run = Run::new(&mut input);
    while !input.is_empty() {
        run.step(&mut input);
        run.check();
    }
}

impl Run {
    fn new(input: &mut Input<'_>) -> Self {
        let now = Duration::from_secs(1);
        let mut table = Table::new();
        for _ in 0..input.below(4) {
            commit(&mut table, input, now);
        }
        let kind = input.below(8);
        let from = (kind == 1).then(|| table.now().position);
        let config = FollowConfig {
            name: input.flag().then(|| "fuzz".to_owned()),
            mode: match kind {
                0 | 1 => Mode::Events { from },
                _ => Mode::Replica {
                    coalesce: kind == 2,
                },
            },
            skip_bad_keys: kind == 3,
            keep_ops: input.flag(),
            ping_every: input.time(),
            max_bytes: if kind == 4 { 100 } else { 1 << 20 },
            waits_for_table: false,
            renews_token: false,
            servers: 1 + kind as usize % 3,
            seed: u64::from(input.byte()),
        };
        let mut run = Self {
            follow: Follow::new(Picky(kind != 5), config, now),
            refuses: kind != 5,
            whole: kind > 1 && kind != 3,
            table,
            now,
            part: 0,
            state: BTreeMap::new(),
            at: None,
            given: VecDeque::new(),
            fresh_at: None,
        };
        if kind > 1 && input.flag() {
            // Without the values that it refuses.
            let state = run.table.state();
            if let Ok(batch) = run.follow.restore(&state.clone()) {
                run.apply(batch);
            }
        }
        run
    }

    fn step(&mut self, input: &mut Input<'_>) {
        let now = self.now;
        match input.below(20) {
            0 => {
                self.now += input.time();
                let mut tries = 0;
                while self.follow.poll_timeout().is_some_and(|at| at <= self.now) {
                    self.follow.handle_timeout(self.now);
                    tries += 1;
                    assert!(tries < 4, "it spins");
                }
            }
            1 => self.follow.handle_connected(now),
            2 => self.follow.handle_disconnected("lost", now),
            3 => {
                let code = Code::ALL[usize::from(input.byte()) % Code::ALL.len()];
                self.follow.handle_refused(ErrorBody::new(code, "no"), now);
            }
            4 => {
                if let Some(position) = self.given.pop_front() {
                    self.follow.handle_published(position, now);
                }
            }
            5 => commit(&mut self.table, input, now),
            6 if input.below(8) == 0 => self.table.recreate(now),
            6 => self.table.lose(u64::from(input.below(3))),
            7 => {
                let text = input.text();
                self.follow.handle_text(&text, now);
            }
            kind => {
                let Some(frame) = self.frame(kind - 8, input) else {
                    return;
                };
                let mut text = frame.encode();
                if input.below(8) == 0 {
                    text = spoilt(&text, input);
                }
                self.follow.handle_text(&text, now);
            }
        }
        self.poll();
    }

    /// Returns a frame that a server may send at this point.
    fn frame(&mut self, kind: u8, input: &mut Input<'_>) -> Option<ServerFrame<'static>> {
        let head = self.table.now();
        let seq = head.position.seq;
        let nearly = |seq: u64, input: &mut Input<'_>| match input.below(16) {
            0 => seq.wrapping_sub(1),
            1 => seq.wrapping_add(1),
            2 => u64::MAX,
            _ => seq,
        };
        let received = self.follow.received();
        let begins = |mode, input: &mut Input<'_>| Welcome {
            v: if input.below(32) == 0 { 2 } else { VERSION },
            mode,
            epoch: head.position.epoch,
            head: seq,
            floor: 1,
            seq: None,
            heartbeat_ms: input.time().as_millis() as u64,
            sealed: input.below(8) == 0,
            reason: input.flag().then(|| "because".to_owned()),
        };
        Some(match kind {
            0 => {
                self.part = 0;
                ServerFrame::Welcome(begins(Begin::Snapshot, input))
            }
            1 => {
                let from = received.unwrap_or(head.position);
                let seq = Some(nearly(from.seq, input));
                let epoch = from.epoch;
                let begin = begins(Begin::Resume, input);
                ServerFrame::Welcome(Welcome {
                    seq,
                    epoch,
                    ..begin
                })
            }
            2 => {
                self.part += 1;
                let records: Vec<Record> = self.table.state().iter().cloned().collect();
                // All of the transactions, or some.
                let (first, last) = match input.below(4) {
                    0 => (usize::from(input.below(6)), usize::from(input.below(12))),
                    _ => (0, records.len()),
                };
                let last = last.min(records.len());
                ServerFrame::Snapshot(Snapshot {
                    part: nearly(u64::from(self.part), input) as u32,
                    records: Cow::Owned(records[first.min(last)..last].to_vec()),
                })
            }
            3 => ServerFrame::SnapshotEnd(SnapshotEnd {
                at: nearly(seq, input),
                count: head.records,
                digest: head.digest,
                time: head.at,
            }),
            4..=6 => self.txn(kind == 4, input)?,
            7 => {
                let at = received.map_or(0, |at| at.seq);
                let digest = self.state_at(at).map_or(Digest::EMPTY, Records::digest);
                ServerFrame::Heartbeat(Heartbeat {
                    at: nearly(at, input),
                    digest,
                    head: nearly(seq, input),
                })
            }
            8 => ServerFrame::Pong(Pong {
                n: u64::from(input.byte()),
                head: nearly(seq, input),
            }),
            9 => ServerFrame::Reset(Reset {
                reason: input.text(),
                retry_after_ms: nearly(0, input),
            }),
            10 => ServerFrame::Goodbye(Goodbye {
                reason: input.text(),
                spread_ms: nearly(0, input),
            }),
            _ => {
                let code = Code::ALL[usize::from(input.byte()) % Code::ALL.len()];
                ServerFrame::Error(ErrorBody::new(code, input.text()))
            }
        })
    }

    /// Returns the table as it was, in its present epoch.
    fn state_at(&self, seq: u64) -> Option<&Records> {
        let mut at = Some(self.table.head);
        while let Some(id) = at {
            let commit = &self.table.commits[id];
            if commit.state.position().seq == seq {
                return Some(&commit.state);
            }
            at = commit.parent;
        }
        None
    }

    /// Returns a transaction from the replica's state to the next or the newest one, or a piece of
    /// it.
    fn txn(&self, folded: bool, input: &mut Input<'_>) -> Option<ServerFrame<'static>> {
        let newest = self.table.now().position.seq;
        let has = match self.follow.received() {
            Some(position) => position.seq,
            None => newest.saturating_sub(u64::from(input.below(3))),
        };
        let to = if folded { newest } else { has.checked_add(1)? };
        let (old, new) = (self.state_at(has)?, self.state_at(to)?);
        let mut ops: Vec<ChangeOp> = Vec::new();
        for record in new {
            if old.get(record.key()).map(Record::hash) != Some(record.hash()) {
                ops.push(ChangeOp::Put(record.clone()));
            }
        }
        for record in old {
            if new.get(record.key()).is_none() {
                ops.push(ChangeOp::delete(Key::new(record.key()).expect("a key")));
            }
        }
        let more = match input.below(4) {
            0 => {
                ops.truncate(ops.len() / 2);
                true
            }
            1 => {
                ops.drain(..ops.len() / 2);
                false
            }
            _ => false,
        };
        let Head {
            digest,
            at,
            records,
            ..
        } = new.head();
        Some(ServerFrame::Txn(Txn {
            from: has + 1,
            to,
            at,
            digest,
            count: records,
            actor: None,
            note: None,
            ops: Cow::Owned(ops),
            more,
        }))
    }

    fn poll(&mut self) {
        let mut outputs = 0;
        while let Some(output) = self.follow.poll_output() {
            outputs += 1;
            assert!(outputs < 40, "too much is to be done for one input");
            match output {
                Output::Send(text) => {
                    assert!(text.len() <= MAX_CLIENT_FRAME_BYTES);
                    let frame = ClientFrame::decode(&text).expect("a frame that cannot be read");
                    assert_ne!(frame, ClientFrame::Unknown);
                }
                Output::Apply(batch) => self.apply(batch),
                _ => {}
            }
        }
    }

    fn apply(&mut self, batch: Batch<Write>) {
        let Head {
            position,
            digest,
            records,
            ..
        } = batch.head;
        self.given.push_back(position);
        let old = self.at.replace(position);
        match batch.cause {
            Cause::First => assert!(old.is_none() || !self.whole, "a second first state"),
            Cause::Txn => {
                let old = old.filter(|old| old.epoch == position.epoch);
                assert!(old.is_none_or(|old| old.seq < position.seq), "it went back");
            }
            Cause::Snapshot { .. } => {}
        }
        for action in batch.actions {
            match action {
                Write::Put(record) => {
                    self.state.insert(record.key().to_owned(), record);
                }
                Write::Delete(key) => {
                    self.state.remove(&*key);
                }
            }
        }
        if self.whole {
            let sum: Digest = self.state.values().map(Record::hash).collect();
            assert_eq!(
                (sum, self.state.len() as u64),
                (digest, records),
                "not what was checked"
            );
            let poison = |record: &Record| record.value().starts_with(POISON.as_bytes());
            assert!(
                !self.refuses || !self.state.values().any(poison),
                "given out though refused"
            );
        }
    }

    fn check(&mut self) {
        assert!(!self.whole || self.follow.position() == self.at);
        let fresh_at = self.follow.fresh_at();
        assert!(fresh_at >= self.fresh_at && fresh_at <= Some(self.now));
        self.fresh_at = fresh_at;
    }
}

/// Returns the text with one byte changed, if the result is text.
fn spoilt(text: &str, input: &mut Input<'_>) -> String {
    let mut bytes = text.as_bytes().to_vec();
    let at = usize::from(input.byte()) * 256 + usize::from(input.byte());
    let at = at % bytes.len();
    bytes[at] = input.byte();
    String::from_utf8_lossy(&bytes).into_owned()
}
