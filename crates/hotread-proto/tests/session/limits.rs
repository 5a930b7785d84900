//! Limits of both ends: lengths of frames and reasons, and which numbers count as sent.

use crate::rules::{S, frames, head, serve};
use hotread_proto::limits::{
    MAX_ACTOR_BYTES, MAX_CATEGORY_BYTES, MAX_KEY_BYTES, MAX_NOTE_BYTES, MAX_VALUE_BYTES,
};
use hotread_proto::session::frame::{ClientFrame, Nack, ServerFrame};
use hotread_proto::session::{
    Answer, Encoded, End, Event, MAX_CLIENT_FRAME_BYTES, MAX_REASON_BYTES, MAX_SERVER_FRAME_BYTES,
    PART_BYTES, PART_RECORDS, Part, Serve, Want,
};
use hotread_proto::{
    Actor, Category, Change, ChangeOp, Code, Epoch, ErrorBody, Hasher, Head, Key, Note, Position,
    Record, Records, Timestamp, Value,
};
use std::sync::Arc;

const HELLO: &str = r#"{"hello":{"v":1}}"#;

/// Text from strangers must not control or fill the screen of the people who see it.
const LONG: &str = "long \u{1b}[31m\n\u{9b}";

fn long() -> String {
    LONG.repeat(1_000)
}

fn is_one_short_line(text: &str) -> bool {
    !text.is_empty() && text.len() <= MAX_REASON_BYTES && !text.chars().any(char::is_control)
}

fn failed(serve: &mut Serve) -> Option<ErrorBody> {
    std::iter::from_fn(|| serve.poll_event()).find_map(|event| match event {
        Event::Failed(body) => Some(body),
        _ => None,
    })
}

#[test]
fn before_a_snapshot_is_complete_nothing_counts_as_sent() {
    let mut fresh = serve();
    assert_eq!(fresh.sent(), 0);
    fresh.handle_text(HELLO, S(1));
    assert_eq!(fresh.sent(), 0);
    frames(&mut fresh);
    fresh.handle_timeout(S(2));
    let heartbeat = frames(&mut fresh);
    assert!(
        heartbeat.contains(r#""at":0"#) && heartbeat.contains(r#""head":5"#),
        "{heartbeat}"
    );
    for about_a_state in [
        r#"{"ack":{"seq":5}}"#,
        r#"{"ack":{"seq":0}}"#,
        r#"{"nack":{"seq":5,"key":"k","reason":"r"}}"#,
    ] {
        let mut serve = serve();
        serve.handle_text(HELLO, S(1));
        serve.handle_text(about_a_state, S(1));
        let body = failed(&mut serve).expect(about_a_state);
        assert_eq!(body.code, Code::ProtocolError, "{about_a_state}");
    }
    let mut resumed = serve();
    resumed.handle_text(r#"{"hello":{"v":1,"snapshot":false}}"#, S(1));
    assert_eq!(resumed.sent(), 5);
    resumed.handle_text(r#"{"ack":{"seq":5}}"#, S(1));
    assert!(!resumed.is_over());
}

#[test]
fn reasons_and_messages_are_one_short_line() {
    let (key, reason) = (Key::new("k").unwrap(), LONG.repeat(100));
    let text = ClientFrame::Nack(Nack {
        seq: 5,
        key,
        reason,
    })
    .encode();
    assert!(text.len() <= MAX_CLIENT_FRAME_BYTES);
    let mut following = serve();
    following.handle_text(r#"{"hello":{"v":1,"snapshot":false}}"#, S(1));
    following.handle_text(&text, S(1));
    let nack = std::iter::from_fn(|| following.poll_event()).find_map(|event| match event {
        Event::Nack(nack) => Some(nack.reason),
        _ => None,
    });
    assert!(nack.is_some_and(|reason| is_one_short_line(&reason)));

    let internal = || ErrorBody::new(Code::Internal, long());
    let mut wrong = serve();
    wrong.handle_end(End::Error(internal()));
    let mut asked = serve();
    asked.handle_text(HELLO, S(1));
    frames(&mut asked);
    assert!(matches!(asked.poll_want(), Some(Want::Part { .. })));
    asked.handle_answer(Answer::Failed(internal()));
    for serve in [&mut wrong, &mut asked] {
        let body = failed(serve).unwrap();
        assert!(is_one_short_line(&body.message), "{body:?}");
    }
    let mut leaving = serve();
    let (reason, spread) = (long(), S(1));
    leaving.handle_end(End::Goodbye { reason, spread });
    for serve in [wrong, asked, leaving] {
        let mut serve = serve;
        let text = serve.poll_frame().unwrap();
        let said = match ServerFrame::decode(&text).unwrap() {
            ServerFrame::Error(body) => body.message,
            ServerFrame::Reset(reset) => reset.reason,
            ServerFrame::Goodbye(goodbye) => goodbye.reason,
            other => panic!("{other:?}"),
        };
        assert!(
            text.len() < 2 * MAX_REASON_BYTES && is_one_short_line(&said),
            "{text}"
        );
    }
}

#[test]
fn what_a_server_says_is_cut_where_it_is_read() {
    let long = serde_json::to_string(&long()).unwrap();
    for text in [
        format!(r#"{{"reset":{{"reason":{long}}}}}"#),
        format!(r#"{{"goodbye":{{"reason":{long}}}}}"#),
        format!(r#"{{"error":{{"code":"BUSY","message":{long}}}}}"#),
        format!(
            r#"{{"welcome":{{"v":1,"mode":"snapshot","epoch":"0000000000000007","head":5,"floor":1,"heartbeat_ms":2000,"reason":{long}}}}}"#
        ),
    ] {
        let said = match ServerFrame::decode(&text).unwrap() {
            ServerFrame::Reset(reset) => reset.reason,
            ServerFrame::Goodbye(goodbye) => goodbye.reason,
            ServerFrame::Error(body) => body.message,
            ServerFrame::Welcome(welcome) => welcome.reason.unwrap(),
            other => panic!("{other:?}"),
        };
        assert!(is_one_short_line(&said), "{text}");
    }
}

#[test]
fn a_frame_of_a_client_may_be_so_long_and_no_longer() {
    let padded = |bytes: usize| {
        let (start, end) = (r#"{"hello":{"v":1,"later":""#, r#""}}"#);
        format!(
            "{start}{}{end}",
            "x".repeat(bytes - start.len() - end.len())
        )
    };
    let mut longest = serve();
    longest.handle_text(&padded(MAX_CLIENT_FRAME_BYTES), S(1));
    assert!(frames(&mut longest).starts_with("{\"welcome\""));
    let mut longer = serve();
    longer.handle_text(&padded(MAX_CLIENT_FRAME_BYTES + 1), S(1));
    assert_eq!(failed(&mut longer).unwrap().code, Code::ProtocolError);
    assert!(frames(&mut longer).starts_with("{\"error\""));
}

/// Creates records whose frame is as long as possible: every byte of the names needs an escape.
fn longest(records: usize, bytes_each: usize, value: &Value) -> Vec<Record> {
    let last = Timestamp::from_millis(253_402_300_799_998).unwrap();
    let category = Category::new(&"\\".repeat(MAX_CATEGORY_BYTES)).unwrap();
    let key_bytes = (bytes_each - MAX_CATEGORY_BYTES - value.as_bytes().len()).min(MAX_KEY_BYTES);
    (0..records)
        .map(|n| {
            // Distinct keys of the same length: n in binary.
            let key: String = (0..key_bytes)
                .map(|bit| if n >> bit.min(63) & 1 == 1 { '"' } else { '\\' })
                .collect();
            let key = Key::new(&key).unwrap();
            let hasher = &Hasher::PLAIN;
            Record::new(&key, value, &category, u64::MAX, last, Some(last), hasher)
        })
        .collect()
}

#[test]
fn the_longest_frames_of_a_server_fit() {
    let small = Value::parse(b"0").unwrap();
    // One byte less for each, since actor and note count as well.
    let many = longest(PART_RECORDS, PART_BYTES / PART_RECORDS - 1, &small);
    let large =
        Value::parse(format!("\"{}\"", "x".repeat(MAX_VALUE_BYTES - 2)).as_bytes()).unwrap();
    let one = longest(1, MAX_VALUE_BYTES + 1_000, &large);
    for records in [many, one] {
        let head = Head {
            position: Position {
                epoch: Epoch(u64::MAX),
                seq: u64::MAX,
            },
            ..head(5)
        };
        let part = Part::read(&Records::new(head, records.clone()), u32::MAX, None);
        assert_eq!((part.records(), part.last()), (records.len(), None));
        let change = Change {
            position: head.position,
            at: head.at,
            id: None,
            actor: Some(Actor::new(&"\"".repeat(MAX_ACTOR_BYTES)).unwrap()),
            note: Some(Note::new(&"\\".repeat(MAX_NOTE_BYTES)).unwrap()),
            ops: records.into_iter().map(ChangeOp::Put).collect(),
            digest: head.digest,
            records: u64::MAX,
        };
        let encoded = Encoded::new(Arc::new(change));
        assert_eq!(encoded.frames().len(), 1);
        for text in [part.text(), &encoded.frames()[0]] {
            let room = MAX_SERVER_FRAME_BYTES.checked_sub(text.len());
            assert!(room.is_some_and(|room| room > 1_000), "{room:?}");
        }
    }
}
