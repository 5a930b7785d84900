//! Checks of `docs/wire.md` against the session: frames, limits, times, and whole sessions, which
//! are run through both ends.

#[path = "support/document.rs"]
mod document;
mod support;
#[path = "support/transcript.rs"]
mod transcript;

use document::Item;
use hotread_proto::session::frame::{ClientFrame, ServerFrame};
use hotread_proto::session::{
    Answer, Encoded, End, Event, Follow, FollowConfig, MAX_CLIENT_FRAME_BYTES, MAX_NAME_BYTES,
    MAX_REASON_BYTES, MAX_SERVER_FRAME_BYTES, MIN_HEARTBEAT, Mode, Output, PART_BYTES,
    PART_RECORDS, SUBPROTOCOL, Serve, ServeConfig, VERSION, Want, is_client_name,
};
use hotread_proto::{
    Body, Change, ChangeOp, Digest, Entry, Epoch, Hasher, Head, Key, Op, Outcome, Position, Put,
    Timestamp, Txn, Value, evaluate,
};
use serde_json::Value as Json;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;
use support::view::MapView;
use transcript::{Rates, Transcript};

const S: fn(u64) -> Duration = Duration::from_secs;
const MS: fn(u64) -> Duration = Duration::from_millis;

// ---- frames ----

/// Reads a frame and writes it again.
fn again(kind: &str, text: &str) -> String {
    match kind {
        "json client" | "json client-short" => {
            let frame = ClientFrame::decode(text).unwrap_or_else(|e| panic!("{e}: {text}"));
            assert_ne!(frame, ClientFrame::Unknown, "{text}");
            assert!(text.len() <= MAX_CLIENT_FRAME_BYTES);
            frame.encode()
        }
        _ => {
            let frame = ServerFrame::decode(text).unwrap_or_else(|e| panic!("{e}: {text}"));
            assert!(!matches!(frame, ServerFrame::Unknown), "{text}");
            check_hashes(&frame);
            frame.encode()
        }
    }
}

fn check_hashes(frame: &ServerFrame<'_>) {
    let records: Vec<_> = match frame {
        ServerFrame::Snapshot(part) => part.records.to_vec(),
        ServerFrame::Txn(txn) => {
            let put = |op: &ChangeOp| match op {
                ChangeOp::Put(record) => Some(record.clone()),
                ChangeOp::Delete { .. } => None,
            };
            txn.ops.iter().filter_map(put).collect()
        }
        _ => Vec::new(),
    };
    for record in records {
        let value = Value::parse(record.value()).unwrap();
        assert_eq!(record.value(), value.as_bytes(), "values are compact");
        let h = Hasher::PLAIN.item(record.key(), record.seq(), record.value());
        assert_eq!(record.hash(), h, "the hash of {}", record.key());
    }
}

/// Collects the names of all members in the notation of the document's tables, except those in
/// lists.
fn paths(json: &Json, before: &str, into: &mut BTreeSet<String>) {
    let Json::Object(members) = json else { return };
    for (name, member) in members {
        let path = format!("{before}{name}");
        paths(member, &format!("{path}."), into);
        into.insert(path);
    }
}

#[test]
fn every_frame_of_the_document_is_read_and_written_as_it_stands() {
    for item in document::items() {
        let Item::Block(kind, text) = item else {
            continue;
        };
        if !["json client", "json client-short", "json server"].contains(&kind.as_str()) {
            continue;
        }
        let shown: Json = serde_json::from_str(&text).unwrap();
        let mut written: Json = serde_json::from_str(&again(&kind, &text)).unwrap();
        if kind == "json client-short" {
            let (name, shown) = shown.as_object().unwrap().iter().next().unwrap();
            let written = written[name].as_object_mut().unwrap();
            written.retain(|name, _| shown.get(name).is_some());
            assert_eq!(&Json::Object(written.clone()), shown);
        } else {
            assert_eq!(written, shown);
        }
    }
}

#[test]
fn every_field_of_every_frame_is_in_the_table_below_it() {
    let mut kinds = BTreeMap::new();
    let mut shown = BTreeSet::new();
    for item in document::items() {
        match item {
            Item::Heading(_) => shown.clear(),
            Item::Block(kind, text) if ["json client", "json server"].contains(&kind.as_str()) => {
                let frame: Json = serde_json::from_str(&text).unwrap();
                let (name, members) = frame.as_object().unwrap().iter().next().unwrap();
                paths(members, "", &mut shown);
                *kinds.entry(format!("{kind} {name}")).or_insert(0) += 1;
            }
            Item::Table(rows) if rows[0] == ["field", ""] && !shown.is_empty() => {
                let listed = rows[1..]
                    .iter()
                    .map(|row| row[0].trim_matches('`').to_owned());
                assert_eq!(listed.collect::<BTreeSet<_>>(), shown);
                shown.clear();
            }
            _ => {}
        }
    }
    let all = [
        "json client ack",
        "json client hello",
        "json client nack",
        "json client ping",
        "json server error",
        "json server goodbye",
        "json server heartbeat",
        "json server pong",
        "json server reset",
        "json server snapshot",
        "json server snapshot_end",
        "json server txn",
        "json server welcome",
    ];
    assert_eq!(kinds.into_keys().collect::<Vec<_>>(), all);
}

// ---- limits and times ----

#[test]
fn every_limit_of_a_session_is_in_the_table_with_its_value() {
    let limits = [
        ("MAX_SERVER_FRAME_BYTES", MAX_SERVER_FRAME_BYTES),
        ("MAX_CLIENT_FRAME_BYTES", MAX_CLIENT_FRAME_BYTES),
        ("PART_BYTES", PART_BYTES),
        ("PART_RECORDS", PART_RECORDS),
        ("MIN_HEARTBEAT", MIN_HEARTBEAT.as_millis() as usize),
        ("MAX_NAME_BYTES", MAX_NAME_BYTES),
        ("MAX_REASON_BYTES", MAX_REASON_BYTES),
    ];
    let listed: BTreeMap<String, String> = document::rows(&["limit", "value", "of what"])
        .into_iter()
        .map(|row| (row[0].trim_matches('`').to_owned(), row[1].clone()))
        .collect();
    for (name, value) in limits {
        assert_eq!(listed.get(name), Some(&value.to_string()), "{name}");
    }
    let text = document::text();
    assert!(text.contains(&format!("`{SUBPROTOCOL}`")));
    assert!(text.contains(&format!("this is version {VERSION}")));
    assert!(is_client_name("api-7") && !is_client_name("api 7"));
}

/// Returns the number at the beginning of a rule's value.
fn rule(of: &str, name: &str) -> u64 {
    let rows = document::rows(&[of, "value"]);
    let row = rows.iter().find(|row| row[0] == name);
    let row = row.unwrap_or_else(|| panic!("no {of}: {name}"));
    let number = row[1].split(' ').next().unwrap();
    number.parse().unwrap_or_else(|_| panic!("{row:?}"))
}

fn of_server(name: &str) -> u64 {
    rule("rule of the server", name)
}

fn of_client(name: &str) -> u64 {
    rule("rule of the client", name)
}

fn head(seq: u64) -> Head {
    Head {
        position: Position {
            epoch: Epoch(7),
            seq,
        },
        digest: Digest::EMPTY,
        records: 0,
        at: Timestamp::EPOCH,
    }
}

fn serve(heartbeat: Duration, at: Head) -> Serve {
    let config = ServeConfig {
        heartbeat,
        sealed: false,
    };
    Serve::new(config, at, 1, S(0))
}

fn code(serve: &mut Serve) -> Option<String> {
    std::iter::from_fn(|| serve.poll_frame())
        .map(|frame| serde_json::from_str::<Json>(&frame).unwrap())
        .find_map(|frame| Some(frame["error"]["code"].as_str()?.to_owned()))
}

const HELLO: &str = r#"{"hello":{"v":1}}"#;

#[test]
fn a_server_waits_for_its_client_as_long_as_the_document_says() {
    let mut early = serve(S(3_600), head(0));
    assert_eq!(early.poll_timeout(), Some(S(of_server("`hello`"))));
    early.handle_timeout(S(of_server("`hello`")));
    assert_eq!(code(&mut early).as_deref(), Some("TIMEOUT"));

    let mut silent = serve(S(1), head(0));
    silent.handle_text(HELLO, S(5));
    let end = S(5 + of_server("silence"));
    silent.handle_timeout(end - MS(1));
    assert_eq!(code(&mut silent), None);
    silent.handle_timeout(end);
    assert_eq!(code(&mut silent).as_deref(), Some("TIMEOUT"));
}

#[test]
fn a_server_takes_as_many_frames_as_the_document_says() {
    let mut serve = serve(S(1), head(0));
    serve.handle_text(HELLO, S(0));
    for _ in 1..of_server("burst") {
        serve.handle_text(r#"{"ping":{"n":1}}"#, S(0));
    }
    assert_eq!(code(&mut serve), None);
    for _ in 0..of_server("rate") {
        serve.handle_text(r#"{"later":{}}"#, S(1));
    }
    assert_eq!(code(&mut serve), None);
    serve.handle_text(r#"{"ping":{"n":1}}"#, S(1));
    assert_eq!(code(&mut serve).as_deref(), Some("RATE_LIMITED"));
}

fn nothing_happened(seq: u64) -> Arc<Encoded> {
    Arc::new(Encoded::new(Arc::new(Change {
        position: head(seq).position,
        at: Timestamp::EPOCH,
        digest: Digest::EMPTY,
        records: 0,
        ops: Vec::new(),
        id: None,
        actor: None,
        note: None,
    })))
}

#[test]
fn a_server_folds_when_the_document_says_so() {
    for (behind, coalesce, folded) in [(0, true, false), (1, false, false), (1, true, true)] {
        let last = of_server("fold") + behind;
        let mut serve = serve(S(1), head(last));
        let hello = format!(
            r#"{{"hello":{{"v":1,"coalesce":{coalesce},"from":{{"epoch":"0000000000000007","seq":0,"digest":"{}"}}}}}}"#,
            Digest::EMPTY
        );
        serve.handle_text(&hello, S(0));
        let mut txns = Vec::new();
        while txns.last().is_none_or(|txn: &Json| txn["to"] != last) {
            match serve.poll_frame() {
                Some(frame) => {
                    let mut frame: Json = serde_json::from_str(&frame).unwrap();
                    if frame.get("txn").is_some() {
                        txns.push(frame["txn"].take());
                    }
                }
                None => match serve.poll_want().unwrap() {
                    Want::Digest { .. } => serve.handle_answer(Answer::Digest(None)),
                    Want::Changes { after } => {
                        let changes = (after + 1..=last).take(300).map(nothing_happened);
                        serve.handle_answer(Answer::Changes(changes.collect()));
                    }
                    want => panic!("{want:?}"),
                },
            }
        }
        assert_eq!(txns.len() == 1, folded, "{behind} {coalesce}");
        assert_eq!(txns[0]["from"], 1);
    }
}

fn follow(seed: u64) -> Follow<Rates> {
    let config = FollowConfig {
        name: None,
        mode: Mode::Replica { coalesce: false },
        skip_bad_keys: false,
        keep_ops: false,
        ping_every: S(3_600),
        max_bytes: usize::MAX,
        waits_for_table: false,
        renews_token: false,
        servers: 1,
        seed,
    };
    Follow::new(Rates, config, S(0))
}

/// Returns the frames that the replica sends, and discards other outputs.
fn sent(follow: &mut Follow<Rates>) -> Vec<String> {
    let output = std::iter::from_fn(|| follow.poll_output());
    let frame = |output| match output {
        Output::Send(frame) => Some(frame),
        _ => None,
    };
    output.filter_map(frame).collect()
}

fn connected(at: Duration, heartbeat_ms: u64) -> Follow<Rates> {
    let mut follow = follow(1);
    follow.handle_timeout(S(0));
    follow.handle_connected(at);
    let welcome = format!(
        r#"{{"welcome":{{"v":1,"mode":"snapshot","epoch":"0000000000000007","head":0,"floor":1,"heartbeat_ms":{heartbeat_ms}}}}}"#
    );
    follow.handle_text(&welcome, at);
    follow
}

#[test]
fn a_client_waits_for_its_server_as_long_as_the_document_says() {
    let mut opening = follow(1);
    assert_eq!(opening.poll_timeout(), Some(S(0)));
    opening.handle_timeout(S(0));
    assert_eq!(opening.poll_timeout(), Some(S(of_client("open"))));
    opening.handle_connected(S(3));
    assert_eq!(opening.poll_timeout(), Some(S(3 + of_client("`welcome`"))));

    let beat = 2_000;
    let mut live = connected(S(1), beat);
    assert_eq!(sent(&mut live).len(), 2, "hello and ping");
    live.handle_timeout(S(1) + MS(of_client("ping") * beat) - MS(1));
    assert!(sent(&mut live).is_empty());
    live.handle_timeout(S(1) + MS(of_client("ping") * beat));
    assert!(sent(&mut live)[0].starts_with(r#"{"ping""#));
    let silence = S(1) + MS(of_client("silence") * beat);
    live.handle_timeout(silence - MS(1));
    assert!(!std::iter::from_fn(|| live.poll_output()).any(|o| matches!(o, Output::Disconnect)));
    live.handle_timeout(silence);
    assert!(std::iter::from_fn(|| live.poll_output()).any(|o| matches!(o, Output::Disconnect)));

    // Heartbeats out of range are clamped.
    let next = |heartbeat_ms| connected(S(1), heartbeat_ms).poll_timeout().unwrap() - S(1);
    let text = document::text();
    let text = text.split_whitespace().collect::<Vec<_>>().join(" ");
    assert!(text.contains("less than 10 ms as 10 ms, and more than 60 s as 60 s"));
    assert_eq!((next(0), next(u64::MAX)), (MS(10), S(60)));
}

#[test]
fn a_client_comes_back_when_the_document_says_so() {
    let (first, longest) = (MS(of_client("first wait")), S(of_client("longest wait")));
    let asked = S(of_client("asked wait"));
    let mut waits = vec![Duration::ZERO; 8];
    let mut spread = Duration::ZERO;
    for seed in 0..300 {
        let mut follow = follow(seed);
        let mut now = S(0);
        for longest in &mut waits {
            follow.handle_timeout(now);
            follow.handle_disconnected("", now);
            let back = follow.poll_timeout().unwrap();
            *longest = (*longest).max(back - now);
            now = back;
        }
        follow.handle_timeout(now);
        follow.handle_connected(now);
        let goodbye = r#"{"goodbye":{"reason":"","spread_ms":3600000}}"#;
        follow.handle_text(goodbye, now);
        spread = spread.max(follow.poll_timeout().unwrap() - now);
    }
    let near = |wait: Duration, bound: Duration| wait <= bound && wait > bound.mul_f64(0.9);
    for (attempt, wait) in waits.into_iter().enumerate() {
        let bound = first.saturating_mul(1 << attempt).min(longest);
        assert!(near(wait, bound), "{attempt}: {wait:?}");
    }
    assert!(near(spread, asked), "{spread:?}");

    let healthy = S(of_client("healthy"));
    for (lasted, short) in [(healthy - MS(1), false), (healthy, true)] {
        let mut any_long = false;
        for seed in 0..50 {
            let mut follow = follow(seed);
            let mut now = S(0);
            for _ in 0..8 {
                follow.handle_timeout(now);
                follow.handle_disconnected("", now);
                now = follow.poll_timeout().unwrap();
            }
            follow.handle_timeout(now);
            follow.handle_connected(now);
            follow.handle_text(WELCOME, now);
            now += lasted;
            follow.handle_disconnected("", now);
            any_long |= follow.poll_timeout().unwrap() - now > first;
        }
        assert_eq!(any_long, !short, "{lasted:?}");
    }
}

const WELCOME: &str = r#"{"welcome":{"v":1,"mode":"snapshot","epoch":"0000000000000007","head":0,"floor":1,"heartbeat_ms":60000}}"#;

/// Creates a transaction that puts these records.
fn put_all(view: &mut MapView, values: &[(&str, &str)]) -> Arc<Encoded> {
    let put = |(key, value): &(&str, &str)| {
        Op::Put(Put {
            key: Key::new(key).unwrap(),
            value: Value::parse(value.as_bytes()).unwrap(),
            category: Default::default(),
            expires_at: None,
        })
    };
    let ops = values.iter().map(put).collect();
    let body = Body::Txn(Txn { ops, ..Txn::new() });
    let at = Timestamp::EPOCH;
    let Outcome::Committed(change) = evaluate(
        view,
        &Entry {
            at,
            actor: None,
            body,
        },
    )
    .unwrap() else {
        panic!("refused")
    };
    view.apply(&change);
    Arc::new(Encoded::new(Arc::new(change)))
}

fn publish(follow: &mut Follow<Rates>, now: Duration) -> Vec<String> {
    let mut frames = Vec::new();
    while let Some(output) = follow.poll_output() {
        match output {
            Output::Send(frame) => frames.push(frame),
            Output::Apply(batch) => follow.handle_published(batch.head.position, now),
            other => panic!("{other:?}"),
        }
    }
    frames
}

#[test]
fn a_client_says_no_more_than_the_document_says() {
    let mut view = MapView::new(&None);
    let epoch = view.head.position.epoch;
    let mut follow = follow(1);
    follow.handle_timeout(S(0));
    let _connect = follow.poll_output();
    follow.handle_connected(S(0));
    follow.handle_text(
        &WELCOME.replace("0000000000000007", &epoch.to_string()),
        S(0),
    );
    follow.handle_text(r#"{"snapshot":{"part":1,"records":[]}}"#, S(0));
    let end = format!(
        r#"{{"snapshot_end":{{"at":0,"count":0,"digest":"{}","time":"1970-01-01T00:00:00.000Z"}}}}"#,
        Digest::EMPTY
    );
    follow.handle_text(&end, S(0));
    publish(&mut follow, S(0));

    let acks = |frames: Vec<String>| frames.iter().filter(|f| f.starts_with(r#"{"ack""#)).count();
    let mut say = |follow: &mut Follow<Rates>, value, now| {
        for frame in put_all(&mut view, &[("a", value)]).frames() {
            follow.handle_text(frame, now);
        }
        publish(follow, now)
    };
    let every = MS(of_client("ack"));
    assert_eq!(acks(say(&mut follow, r#"{"rate":1}"#, S(1))), 1);
    assert_eq!(
        acks(say(&mut follow, r#"{"rate":2}"#, S(1) + every - MS(1))),
        0
    );
    follow.handle_timeout(S(1) + every);
    assert_eq!(acks(publish(&mut follow, S(1) + every)), 1);

    let names: Vec<String> = (0..50).map(|n| format!("k{n}")).collect();
    let bad: Vec<_> = names.iter().map(|name| (name.as_str(), "0")).collect();
    let mut nacks = 0;
    for frame in put_all(&mut view, &bad).frames() {
        follow.handle_text(frame, S(3));
        let frames = publish(&mut follow, S(3));
        nacks += frames
            .iter()
            .filter(|f| f.starts_with(r#"{"nack""#))
            .count();
    }
    assert_eq!(nacks as u64, of_client("nacks"));
}

#[test]
fn the_end_of_a_session_is_its_last_frame() {
    let ends = [
        (End::Dropped, "reset"),
        (
            End::Goodbye {
                reason: "the server is shutting down".to_owned(),
                spread: S(2),
            },
            "goodbye",
        ),
    ];
    for (end, kind) in ends {
        let mut serve = serve(S(1), head(0));
        serve.handle_text(HELLO, S(0));
        serve.handle_end(end);
        serve.handle_text(r#"{"ping":{"n":1}}"#, S(0));
        let frames: Vec<_> = std::iter::from_fn(|| serve.poll_frame()).collect();
        assert!(frames.last().unwrap().starts_with(&format!("{{\"{kind}\"")));
        // The document shows the same text.
        let last = serde_json::from_str::<Json>(frames.last().unwrap()).unwrap();
        let shown = last[kind]["reason"].as_str().unwrap();
        assert!(document::text().contains(shown), "{shown}");
        assert!(serve.is_over());
        assert!(
            std::iter::from_fn(|| serve.poll_event()).any(|e| matches!(e, Event::Begun { .. }))
        );
    }
}

// ---- whole sessions ----

#[test]
fn the_replica_and_its_server_follow_the_transcript() {
    let text = document::blocks("transcript replica");
    let mode = Mode::Replica { coalesce: true };
    Transcript::new(mode).run(&text[0]);
}

#[test]
fn the_consumer_and_its_server_follow_the_transcript() {
    let text = document::blocks("transcript events");
    let epoch = Epoch(0x00c0_ffee_00c0_ffee);
    let from = Some(Position { epoch, seq: 1 });
    Transcript::new(Mode::Events { from }).run(&text[0]);
}
