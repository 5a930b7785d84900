//! Encoding and decoding of frames: a large change in pieces, and malformed frames.

use hotread_proto::limits::{MAX_ACTOR_BYTES, MAX_NOTE_BYTES};
use hotread_proto::session::frame::{ClientFrame, Hello, Pong, ServerFrame, Txn};
use hotread_proto::session::{Encoded, PART_BYTES, PART_RECORDS};
use hotread_proto::{
    Actor, Category, Change, ChangeOp, Digest, Epoch, Hasher, Key, Note, Position, Record,
    Timestamp, Value,
};
use std::sync::Arc;

/// Creates a record whose key, category and value have this many bytes together.
fn record(bytes: usize) -> ChangeOp {
    let (key, category) = (Key::new("k").unwrap(), Category::GENERAL);
    let around = "k".len() + category.as_str().len() + "\"\"".len();
    let value = Value::string(&"x".repeat(bytes - around)).unwrap();
    let hasher = Hasher::PLAIN;
    let at = Timestamp::EPOCH;
    ChangeOp::Put(Record::new(&key, &value, &category, 1, at, None, &hasher))
}

fn change(ops: Vec<ChangeOp>) -> Change {
    Change {
        position: Position {
            epoch: Epoch(1),
            seq: 1,
        },
        at: Timestamp::EPOCH,
        digest: Digest::EMPTY,
        records: 1,
        ops,
        id: None,
        actor: None,
        note: None,
    }
}

fn fitting(change: &Change) -> usize {
    Txn::of(change).piece(0).ops.len()
}

#[test]
fn a_large_change_comes_in_pieces_that_lose_nothing() {
    assert_eq!(fitting(&change(Vec::new())), 0);
    assert_eq!(
        fitting(&change(vec![record(20); PART_RECORDS + 1])),
        PART_RECORDS
    );
    let large = change(vec![record(PART_BYTES + 1), record(20)]);
    assert_eq!(fitting(&large), 1, "one that is too large comes alone");
    let four = change(vec![record(PART_BYTES / 3); 4]);
    assert_eq!(fitting(&four), 3);
    let whole = Txn::of(&four);
    let (first, last) = (whole.piece(0), whole.piece(3));
    assert!(first.more && !last.more && last.ops.len() == 1);
    assert_eq!(Encoded::new(Arc::new(four.clone())).frames().len(), 2);
}

#[test]
fn actor_and_note_count_in_the_size_of_a_frame() {
    let mut full = change(vec![record(PART_BYTES / 2); 2]);
    assert_eq!(fitting(&full), 2);
    full.note = Some(Note::new("n").unwrap());
    assert_eq!(full.size(), PART_BYTES + 1);
    assert_eq!(fitting(&full), 1);
    full.note = None;
    full.actor = Some(Actor::new("a").unwrap());
    assert_eq!(fitting(&full), 1);

    // Each piece has both.
    full.actor = Some(Actor::new(&"a".repeat(MAX_ACTOR_BYTES)).unwrap());
    full.note = Some(Note::new(&"\"".repeat(MAX_NOTE_BYTES)).unwrap());
    let encoded = Encoded::new(Arc::new(full.clone()));
    assert_eq!(encoded.frames().len(), 2);
    for frame in encoded.frames() {
        let Ok(ServerFrame::Txn(piece)) = ServerFrame::decode(frame) else {
            panic!("no transaction");
        };
        assert_eq!(
            (piece.actor, piece.note),
            (full.actor.clone(), full.note.clone())
        );
    }
}

#[test]
fn what_is_not_known_is_passed_over() {
    let frame = ClientFrame::decode(r#"{"later":[{}],"ping":{"n":7,"more":1}}"#);
    assert_eq!(frame, Ok(ClientFrame::Ping { n: 7 }));
    assert_eq!(
        ClientFrame::decode(r#"{"later":1}"#),
        Ok(ClientFrame::Unknown)
    );
    assert_eq!(ClientFrame::decode("{}"), Ok(ClientFrame::Unknown));
    let frame = ServerFrame::decode(r#"{"pong":{"head":2,"n":1}}"#);
    assert!(matches!(
        frame,
        Ok(ServerFrame::Pong(Pong { n: 1, head: 2 }))
    ));
}

#[test]
fn what_is_no_frame_is_refused() {
    for text in [
        "",
        "[]",
        "1",
        r#"{"ping":{}}"#,
        r#"{"ping":{"n":-1}}"#,
        r#"{"ping":{"n":1}}{}"#,
        r#"{"ping":{"n":1},"ping":{"n":2}}"#,
        r#"{"ping":{"n":1},"ack":{"seq":2}}"#,
        r#"{"hello":{}}"#,
        r#"{"ping":[1]}"#,
        r#"{"hello":{"v":1,"name":null}}"#,
        r#"{"hello":{"v":1,"from":null}}"#,
        r#"{"hello":{"v":1,"from":["00c0ffee00c0ffee",7]}}"#,
        r#"{"hello":{"v":1,"from":{"epoch":"00c0ffee00c0ffee","seq":7,"digest":null}}}"#,
        r#"{"hello":{"v":1,"coalesce":null}}"#,
    ] {
        assert!(ClientFrame::decode(text).is_err(), "{text}");
    }
    let deep = format!("{{\"later\":{}", "[".repeat(100_000));
    assert!(ClientFrame::decode(&deep).is_err());
    for text in [
        r#"{"txn":{"from":1,"to":1,"at":0,"digest":"00000000000000000000000000000000","count":0,"ops":[{"patch":{}}]}}"#,
        r#"{"welcome":{"v":1,"mode":"later"}}"#,
    ] {
        assert!(ServerFrame::decode(text).is_err(), "{text}");
    }
}

#[test]
fn hello_needs_a_version_only() {
    let frame = ClientFrame::decode(r#"{"hello":{"v":1}}"#);
    let hello = Hello {
        v: 1,
        name: None,
        from: None,
        coalesce: false,
        snapshot: true,
    };
    assert_eq!(frame, Ok(ClientFrame::Hello(hello)));
}
