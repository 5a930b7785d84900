//! A client that sends anything, and a table and a connection that do anything, at the server's
//! end. A model of a replica reads the frames, and its digests must equal the table's.

use super::{Input, commit};
use crate::table::Table;
use hotread_proto::session::frame::{Begin, ClientFrame, Has, Hello, Nack, ServerFrame};
use hotread_proto::session::{
    Answer, End, MAX_REASON_BYTES, MAX_SERVER_FRAME_BYTES, Serve, ServeConfig, VERSION, Want,
};
use hotread_proto::{
    Body, ChangeOp, Code, Digest, Epoch, ErrorBody, Key, Position, Put, Record, Replace, Value,
};
use std::collections::BTreeMap;
use std::time::Duration;

/// More transactions than are sent singly to a client that allows coalescing.
const MANY: usize = 1_030;
/// Bound of the frames queued for a client that does not read: a welcome, an end, and the requested
/// content.
const MAX_QUEUED: usize = 400;

struct Run {
    serve: Serve,
    table: Table,
    now: Duration,
    want: Option<Want>,
    pin: Option<u64>,
    hello: Option<Hello>,
    /// Set if the client's digest is right.
    honest: bool,
    /// Number of the newest ping, and the table's head at that time.
    ping: Option<(u64, u64)>,
    heard: Heard,
    /// Set once many transactions were committed; they take long, so an input may do this once.
    many: bool,
    large: bool,
}

/// Expected content of a replica.
#[derive(Default)]
struct Heard {
    begin: Option<Begin>,
    epoch: Option<Epoch>,
    ended: bool,
    in_snapshot: bool,
    parts: u32,
    /// The last transaction.
    at: Option<u64>,
    more: bool,
    /// Records by key; `None` if the client has records that are unknown here.
    records: Option<BTreeMap<String, Record>>,
}

pub fn serve(data: &[u8]) {
    let mut input = Input(data);
    let mut run = Run::new(&mut input);
    while !input.is_empty() {
        run.step(&mut input);
    }
    run.send(usize::MAX);
}

impl Run {
    fn new(input: &mut Input<'_>) -> Self {
        let now = Duration::from_secs(1);
        let mut table = Table::new();
        for _ in 0..input.below(6) {
            commit(&mut table, input, now);
        }
        table.trim(usize::from(input.below(6)), u64::MAX);
        let config = ServeConfig {
            heartbeat: Duration::from_millis(10 + u64::from(input.byte()) * 10),
            sealed: input.flag(),
        };
        Self {
            serve: Serve::new(config, table.now(), table.floor, now),
            table,
            now,
            want: None,
            pin: None,
            hello: None,
            honest: true,
            ping: None,
            heard: Heard::default(),
            many: false,
            large: false,
        }
    }

    fn step(&mut self, input: &mut Input<'_>) {
        match input.below(20) {
            0 => {
                self.now += input.time();
                if self.serve.poll_timeout().is_some_and(|at| at <= self.now) {
                    self.serve.handle_timeout(self.now);
                    let next = self.serve.poll_timeout();
                    assert!(next.is_none_or(|at| at > self.now), "it spins");
                }
            }
            1 | 2 => self.hello(input),
            3 => self.says(&ClientFrame::Ack {
                seq: u64::from(input.byte()),
            }),
            4 => {
                let (seq, reason) = (u64::from(input.byte()), input.text());
                let key = Key::new("k1").expect("a short name");
                self.says(&ClientFrame::Nack(Nack { seq, key, reason }));
            }
            5 => self.says(&ClientFrame::Ping {
                n: u64::from(input.byte()),
            }),
            6 => {
                let text = input.text();
                self.hears(&text);
            }
            7 | 8 => {
                commit(&mut self.table, input, self.now);
                self.look();
            }
            9 => self.look(),
            10 => {
                self.table.trim(usize::from(input.below(8)), u64::MAX);
                self.look();
            }
            11..=13 => self.answer(input),
            14..=16 => self.send(1 + usize::from(input.below(16))),
            17 => match input.below(8) {
                0 => {
                    self.table.recreate(self.now);
                    self.look();
                }
                1 => self.serve.handle_end(End::Dropped),
                2 => {
                    let (reason, spread) = (input.text(), input.time());
                    self.serve.handle_end(End::Goodbye { reason, spread });
                }
                3 => {
                    let code = Code::ALL[usize::from(input.byte()) % Code::ALL.len()];
                    let body = ErrorBody::new(code, input.text().repeat(20));
                    self.serve.handle_end(End::Error(body));
                }
                _ => {}
            },
            18 if !self.many && input.below(8) == 0 => {
                self.many = true;
                for n in 0..MANY {
                    let (key, kind) = (n as u8, (n / 12) as u8);
                    commit(&mut self.table, &mut Input(&[0, key, kind, key]), self.now);
                }
                self.look();
            }
            19 if !self.large && input.below(4) == 0 => {
                self.large = true;
                let value = format!("\"{}\"", "x".repeat(400_000));
                let value = Value::parse(value.as_bytes()).expect("a string");
                let key = |n| Key::new(&format!("large{n}")).expect("a short name");
                let records = (0..3).map(|n| Put::new(key(n), value.clone())).collect();
                let body = Body::Replace(Replace::new(records).unguarded());
                self.table.commit(body, self.now);
                self.look();
            }
            _ => {}
        }
        while self.serve.poll_event().is_some() {}
    }

    /// Lets the server read the state of the table.
    fn look(&mut self) {
        self.serve.handle_head(self.table.now(), self.table.floor);
    }

    fn says(&mut self, frame: &ClientFrame) {
        self.hears(&frame.encode());
    }

    fn hears(&mut self, text: &str) {
        self.look();
        self.serve.handle_text(text, self.now);
        match ClientFrame::decode(text) {
            Ok(ClientFrame::Hello(hello)) if self.hello.is_none() => {
                self.honest = hello.from.is_none_or(|has| self.is_honest(has));
                self.hello = Some(hello);
            }
            Ok(ClientFrame::Ping { n }) => self.ping = Some((n, self.table.now().position.seq)),
            _ => {}
        }
    }

    fn is_honest(&self, Has { epoch, seq, digest }: Has) -> bool {
        let there = match seq {
            0 => Some(Digest::EMPTY),
            _ => self.table.digest_at(Position { epoch, seq }),
        };
        digest.is_none_or(|digest| there == Some(digest))
    }

    fn hello(&mut self, input: &mut Input<'_>) {
        let position = self.table.now().position;
        let from = match input.below(4) {
            0 => None,
            kind => {
                let seq = match input.below(4) {
                    0 => u64::from(input.byte()),
                    1 => u64::MAX - u64::from(input.byte()),
                    _ => position.seq.saturating_sub(u64::from(input.below(4))),
                };
                let at = Position { seq, ..position };
                let digest = match input.below(4) {
                    0 => None,
                    1 => Some(Digest::EMPTY),
                    _ => self.table.digest_at(at),
                };
                let epoch = if kind == 1 && input.flag() {
                    Epoch(99)
                } else {
                    at.epoch
                };
                Some(Has { epoch, seq, digest })
            }
        };
        let flags = input.byte();
        self.says(&ClientFrame::Hello(Hello {
            v: if flags & 0x70 == 0x70 {
                0
            } else {
                VERSION + u32::from(flags >> 7)
            },
            name: (flags & 4 == 4)
                .then(|| input.text())
                .filter(|name| name.len() < 99),
            from,
            coalesce: flags & 1 == 1,
            snapshot: flags & 2 == 0,
        }));
    }

    /// Answers the server's want with the table's content, or with a failure.
    fn answer(&mut self, input: &mut Input<'_>) {
        if self.want.is_none() {
            self.want = self.serve.poll_want();
        }
        assert!(
            self.want.is_none() || self.serve.poll_want().is_none(),
            "two at a time"
        );
        let Some(want) = self.want.take() else {
            return;
        };
        let answer = match (input.below(16), want) {
            (0, _) => Answer::Failed(ErrorBody::new(Code::Busy, input.text())),
            (1, _) => Answer::Gone,
            (_, Want::Digest { at }) => Answer::Digest(self.table.digest_at(at)),
            (_, Want::Part { number, after }) => {
                let pin = *self.pin.get_or_insert(self.table.floor - 1);
                Answer::Part(self.table.part(number, after, pin))
            }
            (most, Want::Changes { after }) => {
                let most = if most == 15 { MANY } else { usize::from(most) };
                match self.table.changes(after, most) {
                    Some(changes) if !changes.is_empty() => Answer::Changes(changes),
                    _ => Answer::Gone,
                }
            }
        };
        self.serve.handle_answer(answer);
    }

    fn send(&mut self, most: usize) {
        for n in 0..most {
            assert!(n < MAX_QUEUED + 2 * MANY, "frames without end");
            let Some(text) = self.serve.poll_frame() else {
                return;
            };
            assert!(text.len() <= MAX_SERVER_FRAME_BYTES, "{} bytes", text.len());
            let frame = ServerFrame::decode(&text).expect("a frame that cannot be read");
            assert_eq!(frame.encode(), &*text, "it is read as something else");
            match &frame {
                ServerFrame::Welcome(welcome) => {
                    assert!(
                        self.honest || welcome.mode == Begin::Snapshot,
                        "another past"
                    );
                }
                ServerFrame::Pong(pong) => assert_eq!(self.ping, Some((pong.n, pong.head))),
                _ => {}
            }
            self.heard.frame(frame, self.hello.as_ref());
        }
    }
}

impl Heard {
    fn frame(&mut self, frame: ServerFrame<'_>, hello: Option<&Hello>) {
        assert!(!self.ended, "a frame after the last one");
        let begun = self.begin.is_some();
        match frame {
            ServerFrame::Welcome(welcome) => {
                let hello = hello.expect("a welcome without hello");
                assert!(!begun, "a second welcome");
                assert!(welcome.floor <= welcome.head + 1 && welcome.v == VERSION);
                self.begin = Some(welcome.mode);
                self.epoch = Some(welcome.epoch);
                self.in_snapshot = welcome.mode == Begin::Snapshot;
                assert!(hello.snapshot || !self.in_snapshot, "a snapshot unasked");
                self.at = welcome.seq;
                if self.in_snapshot {
                    self.records = Some(BTreeMap::new());
                } else {
                    let from = hello.from.map_or(welcome.head, |has| has.seq);
                    assert_eq!(self.at, Some(from), "resumed elsewhere");
                }
            }
            ServerFrame::Snapshot(part) => {
                assert!(self.in_snapshot && self.at.is_none());
                self.parts += 1;
                assert_eq!(part.part, self.parts);
                let records = self.records.as_mut().expect("there is a snapshot");
                for record in part.records.iter() {
                    let behind = records
                        .last_key_value()
                        .is_none_or(|(last, _)| **last < *record.key());
                    assert!(behind, "records out of order");
                    records.insert(record.key().to_owned(), record.clone());
                }
            }
            ServerFrame::Txn(txn) => {
                assert!(begun && txn.to >= txn.from);
                let allowed = hello.is_some_and(|hello| hello.coalesce) && !self.in_snapshot;
                assert!(txn.from == txn.to || allowed, "folded unasked");
                match self.at {
                    Some(at) => assert_eq!(txn.from, at + 1, "a gap, or a repetition"),
                    None => assert!(self.in_snapshot),
                }
                self.more = txn.more;
                for op in txn.ops.iter() {
                    self.apply(op);
                }
                if !txn.more {
                    self.at = Some(txn.to);
                    if !self.in_snapshot {
                        self.compare(txn.digest, txn.count);
                    }
                }
            }
            ServerFrame::SnapshotEnd(end) => {
                assert!(self.in_snapshot && !self.more && self.parts > 0);
                assert!(self.at.is_none_or(|at| at == end.at), "it ends elsewhere");
                self.in_snapshot = false;
                self.at = Some(end.at);
                self.compare(end.digest, end.count);
            }
            ServerFrame::Heartbeat(heartbeat) => {
                assert!(begun && !self.more);
                assert!(self.in_snapshot || self.at == Some(heartbeat.at));
                assert!(heartbeat.at <= heartbeat.head);
            }
            ServerFrame::Pong(_) => assert!(begun),
            ServerFrame::Reset(reset) => self.end(&reset.reason),
            ServerFrame::Goodbye(goodbye) => self.end(&goodbye.reason),
            ServerFrame::Error(body) => self.end(&body.message),
            other => panic!("{other:?}"),
        }
    }

    fn apply(&mut self, op: &ChangeOp) {
        let Some(records) = &mut self.records else {
            return;
        };
        match op {
            ChangeOp::Put(record) => records.insert(record.key().to_owned(), record.clone()),
            ChangeOp::Delete { key, .. } => records.remove(key.as_str()),
        };
    }

    fn compare(&self, digest: Digest, count: u64) {
        if let Some(records) = &self.records {
            let sum: Digest = records.values().map(Record::hash).collect();
            assert_eq!(
                (sum, records.len() as u64),
                (digest, count),
                "not the table"
            );
        }
    }

    fn end(&mut self, said: &str) {
        self.ended = true;
        assert!(
            said.len() <= MAX_REASON_BYTES && !said.chars().any(char::is_control),
            "{said:?}"
        );
    }
}
