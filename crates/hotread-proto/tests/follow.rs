//! Rules of the replica's end of a session, one by one. The test plays the server.

use hotread_proto::session::frame::{
    Begin, Goodbye, Heartbeat, ServerFrame, Snapshot, SnapshotEnd, Txn, Welcome,
};
use hotread_proto::session::{
    Batch, Cause, Follow, FollowConfig, MAX_SERVER_FRAME_BYTES, Mode, Output, Status, Target,
};
use hotread_proto::{
    Actor, Category, ChangeOp, Code, Digest, Epoch, ErrorBody, Hasher, Key, Note, Record,
    Timestamp, Value,
};
use std::borrow::Cow;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

const S: fn(u64) -> Duration = Duration::from_secs;
const EPOCH: Epoch = Epoch(7);

/// Refuses strings, and quotes them in the reason.
struct NoStrings;

impl Target for NoStrings {
    type Action = (String, Option<String>);

    fn put(&mut self, key: &Arc<str>, record: &Record) -> Result<Self::Action, String> {
        let value = std::str::from_utf8(record.value()).unwrap();
        match value.starts_with('"') {
            true => Err(format!("{value}\nis a string")),
            false => Ok((key.to_string(), Some(value.to_owned()))),
        }
    }

    fn delete(&mut self, key: &Arc<str>) -> Self::Action {
        (key.to_string(), None)
    }
}

/// The server's table, and a replica that follows it.
struct Pair {
    follow: Follow<NoStrings>,
    table: BTreeMap<String, Record>,
    seq: u64,
    now: Duration,
    sent: Vec<String>,
    batches: Vec<Batch<(String, Option<String>)>>,
    failed: Option<ErrorBody>,
}

fn record(key: &str, json: &str, seq: u64, category: &str) -> Record {
    let key = Key::new(key).unwrap();
    let value = Value::parse(json.as_bytes()).unwrap();
    let category = Category::new(category).unwrap();
    let at = Timestamp::EPOCH;
    Record::new(&key, &value, &category, seq, at, None, &Hasher::PLAIN)
}

impl Pair {
    fn new() -> Self {
        Self::with(|_| ())
    }

    fn with(change: impl FnOnce(&mut FollowConfig)) -> Self {
        let mut config = FollowConfig {
            name: None,
            mode: Mode::Replica { coalesce: true },
            skip_bad_keys: false,
            keep_ops: true,
            ping_every: S(1),
            max_bytes: 1 << 30,
            waits_for_table: false,
            renews_token: false,
            servers: 1,
            seed: 3,
        };
        change(&mut config);
        Self {
            follow: Follow::new(NoStrings, config, S(0)),
            table: BTreeMap::new(),
            seq: 0,
            now: S(0),
            sent: Vec::new(),
            batches: Vec::new(),
            failed: None,
        }
    }

    /// Carries out the replica's requests. Returns `true` if it asked to close the connection.
    fn settle(&mut self) -> bool {
        let mut closed = false;
        while let Some(output) = self.follow.poll_output() {
            match output {
                Output::Send(frame) => self.sent.push(frame),
                Output::Disconnect => closed = true,
                Output::Apply(batch) => {
                    self.follow.handle_published(batch.head.position, self.now);
                    self.batches.push(batch);
                }
                Output::Failed(body) => self.failed = Some(body),
                _ => {}
            }
        }
        closed
    }

    fn open(&mut self) {
        self.now = self.follow.poll_timeout().unwrap().max(self.now);
        self.follow.handle_timeout(self.now);
        self.settle();
        self.follow.handle_connected(self.now);
        self.settle();
    }

    fn say(&mut self, frame: ServerFrame<'_>) -> bool {
        self.follow.handle_text(&frame.encode(), self.now);
        self.settle()
    }

    fn welcome(&self, mode: Begin) -> Welcome {
        Welcome {
            v: 1,
            mode,
            epoch: EPOCH,
            head: self.seq,
            floor: 1,
            seq: (mode == Begin::Resume).then_some(self.seq),
            heartbeat_ms: 2_000,
            sealed: false,
            reason: None,
        }
    }

    fn digest(&self) -> Digest {
        self.table.values().map(Record::hash).collect()
    }

    fn snapshot(&mut self) {
        let records: Vec<Record> = self.table.values().cloned().collect();
        self.say(ServerFrame::Welcome(self.welcome(Begin::Snapshot)));
        self.parts(records);
    }

    fn parts(&mut self, records: Vec<Record>) {
        self.say(ServerFrame::Snapshot(Snapshot {
            part: 1,
            records: Cow::Owned(records),
        }));
        self.say(ServerFrame::SnapshotEnd(SnapshotEnd {
            at: self.seq,
            count: self.table.len() as u64,
            digest: self.digest(),
            time: Timestamp::EPOCH,
        }));
    }

    /// Commits a transaction. Returns `true` if the replica then asked to close the connection.
    fn commit(&mut self, ops: &[(&str, Option<&str>)]) -> bool {
        self.seq += 1;
        let mut sent = Vec::new();
        for (key, json) in ops {
            sent.push(match json {
                None => {
                    self.table.remove(*key);
                    ChangeOp::delete(Key::new(key).unwrap())
                }
                Some(json) => {
                    let record = record(key, json, self.seq, "general");
                    self.table.insert((*key).to_owned(), record.clone());
                    ChangeOp::Put(record)
                }
            });
        }
        self.say(ServerFrame::Txn(Txn {
            from: self.seq,
            to: self.seq,
            at: Timestamp::EPOCH,
            digest: self.digest(),
            count: self.table.len() as u64,
            actor: Some(Actor::new("ops").unwrap()),
            note: Some(Note::new(&format!("because of {}", self.seq)).unwrap()),
            ops: Cow::Owned(sent),
            more: false,
        }))
    }

    fn heartbeat(&mut self) {
        self.say(ServerFrame::Heartbeat(Heartbeat {
            at: self.seq,
            digest: self.digest(),
            head: self.seq,
        }));
    }

    /// Returns the net effect of the batches since the last call.
    fn actions(&mut self) -> Vec<(String, Option<String>)> {
        self.batches
            .drain(..)
            .flat_map(|batch| batch.actions)
            .collect()
    }
}

/// Creates a replica that has `a`.
fn live() -> Pair {
    let mut pair = Pair::new();
    pair.open();
    pair.snapshot();
    pair.commit(&[("a", Some("1"))]);
    assert_eq!(pair.follow.status(), Status::Live);
    pair.actions();
    pair
}

#[test]
fn failed_connections_do_not_change_since_when_it_is_stale() {
    let mut pair = live();
    pair.now = S(5);
    pair.heartbeat();
    pair.now = S(6);
    pair.follow.handle_disconnected("lost", pair.now);
    let since = Some(S(5));
    assert_eq!(pair.follow.status(), Status::Stale { since });
    for _ in 0..3 {
        pair.open();
        assert_eq!(pair.follow.status(), Status::Stale { since });
        pair.follow.handle_disconnected("lost again", pair.now);
        assert_eq!(pair.follow.status(), Status::Stale { since });
    }
}

#[test]
fn a_replica_that_began_with_a_kept_copy_has_never_heard_anything() {
    let mut source = live();
    source.commit(&[("b", Some("2"))]);
    let head = source.follow.received().unwrap();
    let records = hotread_proto::Records::new(
        hotread_proto::Head {
            position: head,
            digest: source.digest(),
            records: 2,
            at: Timestamp::EPOCH,
        },
        source.table.values().cloned(),
    );
    let mut pair = Pair::new();
    let batch = pair.follow.restore(&records).unwrap();
    assert_eq!((batch.cause, batch.actions.len()), (Cause::First, 2));
    assert_eq!(pair.follow.status(), Status::Stale { since: None });
    pair.open();
    assert!(
        pair.sent[0].contains(&source.digest().to_string()),
        "{:?}",
        pair.sent
    );
    pair.follow.handle_disconnected("lost", pair.now);
    assert_eq!(pair.follow.status(), Status::Stale { since: None });
    (pair.table, pair.seq) = (source.table, source.seq);
    pair.open();
    pair.say(ServerFrame::Welcome(pair.welcome(Begin::Resume)));
    assert_eq!(pair.follow.status(), Status::Live);
    pair.commit(&[("b", None)]);
    assert_eq!(pair.actions(), [("b".to_owned(), None)]);
}

#[test]
fn a_batch_of_one_transaction_says_who_and_why() {
    let said = |batch: &Batch<_>| {
        let actor = batch.actor.as_ref().map(Actor::to_string);
        (actor, batch.note.as_ref().map(Note::to_string))
    };
    let mut pair = Pair::new();
    pair.open();
    pair.snapshot();
    assert_eq!(
        said(&pair.batches[0]),
        (None, None),
        "a snapshot has no author"
    );
    pair.commit(&[("a", Some("1"))]);
    let wanted = (Some("ops".to_owned()), Some("because of 1".to_owned()));
    assert_eq!(said(&pair.batches[1]), wanted);
    // The change is withheld until the value is fixed; both transactions then form one batch.
    pair.commit(&[("a", Some("\"no number\""))]);
    assert_eq!(pair.batches.len(), 2);
    pair.commit(&[("a", Some("2"))]);
    assert_eq!(
        (pair.batches[2].from, said(&pair.batches[2])),
        (2, (None, None))
    );
    pair.commit(&[("a", None)]);
    let wanted = (Some("ops".to_owned()), Some("because of 4".to_owned()));
    assert_eq!(said(&pair.batches[3]), wanted);
}

#[test]
fn a_server_of_another_version_is_not_tried_for_ever() {
    let mut pair = Pair::new();
    pair.open();
    let mut welcome = pair.welcome(Begin::Snapshot);
    welcome.v = 2;
    assert!(pair.say(ServerFrame::Welcome(welcome)));
    assert_eq!(pair.failed.unwrap().code, Code::UnsupportedVersion);
}

#[test]
fn errors_that_pass_are_waited_for_and_others_are_told() {
    for (code, passes) in [
        (Code::Internal, true),
        (Code::ReadersStalled, true),
        (Code::Busy, true),
        (Code::Forbidden, false),
        (Code::Unknown, false),
    ] {
        let mut pair = Pair::new();
        pair.open();
        pair.follow
            .handle_refused(ErrorBody::new(code, "no"), pair.now);
        pair.settle();
        assert_eq!(pair.failed.is_none(), passes, "{code}");
    }
}

/// The transient codes must be those that the specification lists.
#[test]
fn the_errors_that_pass_are_those_of_the_specification() {
    let text = include_str!("../../../docs/wire.md");
    let (_, rest) = text.split_once("unless the code says so:").unwrap();
    let (listed, _) = rest.split_once("The same holds").unwrap();
    for &code in Code::ALL {
        let mut pair = Pair::new();
        pair.open();
        pair.follow
            .handle_refused(ErrorBody::new(code, "no"), pair.now);
        pair.settle();
        let said = listed.contains(&format!("`{code}`"));
        assert_eq!(pair.failed.is_none(), said, "{code}");
    }
}

#[test]
fn a_goodbye_without_a_span_is_followed_by_the_usual_wait() {
    let mut waits = Vec::new();
    for seed in 0..20 {
        let mut pair = Pair::with(|config| config.seed = seed);
        pair.open();
        let reason = "maintenance".to_owned();
        let spread_ms = 0;
        assert!(pair.say(ServerFrame::Goodbye(Goodbye { reason, spread_ms })));
        waits.push(pair.follow.poll_timeout().unwrap() - pair.now);
    }
    let longest = waits.iter().max().unwrap();
    assert!((100..=250).contains(&longest.as_millis()), "{waits:?}");
}

#[test]
fn a_frame_that_is_too_large_is_not_read() {
    let mut pair = live();
    let padding = " ".repeat(MAX_SERVER_FRAME_BYTES);
    let frame = format!("{{\"pong\":{{\"n\":1,\"head\":1}}}}{padding}");
    pair.follow.handle_text(&frame, pair.now);
    assert!(pair.settle());
}

#[test]
fn reasons_are_one_line_and_those_of_a_sealed_table_quote_nothing() {
    for (sealed, told) in [(false, true), (true, false)] {
        let mut pair = Pair::new();
        pair.open();
        let mut welcome = pair.welcome(Begin::Snapshot);
        welcome.sealed = sealed;
        pair.say(ServerFrame::Welcome(welcome));
        pair.parts(Vec::new());
        pair.commit(&[("a", Some("\"secret\""))]);
        let Status::Rejected(refused) = pair.follow.status() else {
            panic!("{:?}", pair.follow.status());
        };
        assert_eq!(refused.reason.contains("secret"), told, "{refused}");
        assert!(!refused.reason.contains('\n'));
        let nack = pair.sent.iter().find(|frame| frame.contains("nack"));
        assert_eq!(nack.unwrap().contains("secret"), told);
    }
}

#[test]
fn left_out_records_are_known_until_they_are_fixed() {
    let mut pair = Pair::with(|config| config.skip_bad_keys = true);
    pair.open();
    pair.snapshot();
    pair.commit(&[("a", Some("1")), ("b", Some("\"x\"")), ("c", Some("\"y\""))]);
    let skipped = |pair: &Pair| -> Vec<String> {
        let skipped = pair.follow.skipped();
        skipped.map(|refused| refused.key.to_string()).collect()
    };
    assert_eq!(skipped(&pair), ["b", "c"]);
    assert_eq!(pair.follow.skipped_count(), 2);
    assert_eq!(pair.follow.status(), Status::Live);
    // A snapshot with the same records must not make the replica forget the refusals.
    pair.follow.handle_disconnected("lost", pair.now);
    pair.open();
    pair.snapshot();
    assert_eq!(skipped(&pair), ["b", "c"]);
    pair.actions();
    pair.commit(&[("b", Some("2")), ("c", None)]);
    assert_eq!(pair.follow.skipped_count(), 0);
    let told = [
        ("b".to_owned(), Some("2".to_owned())),
        ("c".to_owned(), None),
    ];
    assert_eq!(pair.actions(), told);
}

#[test]
fn records_that_differ_in_category_alone_are_given_out_again() {
    let mut pair = live();
    pair.follow.handle_disconnected("lost", pair.now);
    pair.table
        .insert("a".to_owned(), record("a", "1", 1, "other"));
    pair.open();
    pair.snapshot();
    assert_eq!(pair.actions(), [("a".to_owned(), Some("1".to_owned()))]);
    pair.follow.handle_disconnected("lost", pair.now);
    pair.open();
    pair.snapshot();
    assert_eq!(pair.actions(), []);
}
