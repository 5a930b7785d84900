//! Rules of the session that the simulation does not cover, one end at a time.

use hotread_proto::session::{
    Answer, End, Follow, FollowConfig, Mode, Output, Serve, ServeConfig, Status, Target, Want,
};
use hotread_proto::{
    Category, Code, Digest, Epoch, ErrorBody, Hasher, Head, Key, Position, Record, Timestamp, Value,
};
use std::sync::Arc;
use std::time::Duration;

pub const S: fn(u64) -> Duration = Duration::from_secs;

pub fn head(seq: u64) -> Head {
    let position = Position {
        epoch: Epoch(7),
        seq,
    };
    Head {
        position,
        digest: Digest::EMPTY,
        records: 0,
        at: Timestamp::EPOCH,
    }
}

pub fn serve() -> Serve {
    let config = ServeConfig {
        heartbeat: S(2),
        sealed: false,
    };
    Serve::new(config, head(5), 3, S(0))
}

pub fn frames(serve: &mut Serve) -> String {
    std::iter::from_fn(|| serve.poll_frame())
        .map(|frame| frame.to_string())
        .collect()
}

fn ended_with(serve: &mut Serve, what: &str) {
    let said = frames(serve);
    assert!(said.contains(what) && serve.is_over(), "{what}: {said}");
}

#[test]
fn hello_has_to_come_in_time_whatever_else_comes() {
    let mut serve = serve();
    for second in 1..10 {
        serve.handle_text(r#"{"later":1}"#, S(second));
    }
    serve.handle_timeout(S(9));
    assert!(!serve.is_over());
    serve.handle_timeout(S(10));
    ended_with(&mut serve, "TIMEOUT");
}

#[test]
fn a_client_that_breaks_a_rule_is_told_which() {
    for (text, code) in [
        ("no", "PROTOCOL_ERROR"),
        (r#"{"ping":{"n":1}}"#, "PROTOCOL_ERROR"),
        (r#"{"hello":{"v":0}}"#, "UNSUPPORTED_VERSION"),
        (r#"{"hello":{"v":1,"name":"a b"}}"#, "INVALID_NAME"),
        (
            r#"{"hello":{"v":1,"from":{"epoch":"0000000000000007","seq":5}}}"#,
            "PROTOCOL_ERROR",
        ),
        (
            r#"{"hello":{"v":1,"snapshot":false,"from":{"epoch":"0000000000000008","seq":5}}}"#,
            "EPOCH_CHANGED",
        ),
        (
            r#"{"hello":{"v":1,"snapshot":false,"from":{"epoch":"0000000000000007","seq":1}}}"#,
            "GONE",
        ),
        (
            r#"{"hello":{"v":1,"snapshot":false,"from":{"epoch":"0000000000000007","seq":18446744073709551615}}}"#,
            "EPOCH_CHANGED",
        ),
    ] {
        let mut serve = serve();
        serve.handle_text(text, S(1));
        ended_with(&mut serve, code);
    }
}

#[test]
fn what_was_not_sent_can_be_neither_acknowledged_nor_refused() {
    let nack = |seq: u64| format!(r#"{{"nack":{{"seq":{seq},"key":"k","reason":"no"}}}}"#);
    let ack = |seq: u64| format!(r#"{{"ack":{{"seq":{seq}}}}}"#);
    for about_nothing in [nack(0), nack(6), nack(u64::MAX), ack(6)] {
        let mut serve = serve();
        serve.handle_text(r#"{"hello":{"v":1,"snapshot":false}}"#, S(1));
        serve.handle_text(&about_nothing, S(1));
        ended_with(&mut serve, "PROTOCOL_ERROR");
    }
    let mut serve = serve();
    serve.handle_text(r#"{"hello":{"v":1,"snapshot":false}}"#, S(1));
    for about_something in [nack(1), nack(5), ack(5)] {
        serve.handle_text(&about_something, S(1));
    }
    assert!(!serve.is_over());
}

#[test]
fn a_client_that_sends_without_end_or_nothing_is_sent_away() {
    let mut flooded = serve();
    flooded.handle_text(r#"{"hello":{"v":1,"snapshot":false}}"#, S(1));
    for n in 0..300 {
        flooded.handle_text(&format!("{{\"ping\":{{\"n\":{n}}}}}"), S(1));
    }
    ended_with(&mut flooded, "RATE_LIMITED");
    let mut quiet = serve();
    quiet.handle_text(r#"{"hello":{"v":1,"snapshot":false}}"#, S(1));
    quiet.handle_timeout(S(13));
    ended_with(&mut quiet, "TIMEOUT");
}

#[test]
fn a_client_that_does_not_read_costs_no_queue() {
    let mut serve = serve();
    serve.handle_text(r#"{"hello":{"v":1,"snapshot":false}}"#, S(0));
    for second in 1..1_000 {
        serve.handle_text(&format!("{{\"ping\":{{\"n\":{second}}}}}"), S(second));
        serve.handle_timeout(S(second));
    }
    let frames: Vec<_> = std::iter::from_fn(|| serve.poll_frame()).collect();
    assert_eq!(frames.len(), 3, "{frames:?}");
    assert!(frames[0].starts_with("{\"welcome\""));
    assert_eq!(&*frames[1], r#"{"pong":{"n":999,"head":5}}"#);
}

#[test]
fn nothing_comes_before_the_welcome() {
    let mut serve = serve();
    let hello = r#"{"hello":{"v":1,"from":{"epoch":"0000000000000007","seq":4,"digest":"00000000000000000000000000000000"}}}"#;
    serve.handle_text(hello, S(1));
    serve.handle_text(r#"{"ping":{"n":1}}"#, S(1));
    assert_eq!(frames(&mut serve), "");
    let at = head(4).position;
    assert_eq!(serve.poll_want(), Some(Want::Digest { at }));
    serve.handle_answer(Answer::Digest(Some(Digest::EMPTY)));
    assert!(frames(&mut serve).starts_with("{\"welcome\""));
}

#[test]
fn a_goodbye_says_how_far_to_spread() {
    let mut serve = serve();
    let (reason, spread) = ("maintenance".to_owned(), S(3));
    serve.handle_end(End::Goodbye { reason, spread });
    ended_with(&mut serve, r#""spread_ms":3000"#);
}

struct Any;

impl Target for Any {
    type Action = ();

    fn put(&mut self, _: &Arc<str>, _: &Record) -> Result<(), String> {
        Ok(())
    }

    fn delete(&mut self, _: &Arc<str>) {}
}

fn config(mode: Mode) -> FollowConfig {
    FollowConfig {
        name: None,
        mode,
        skip_bad_keys: false,
        keep_ops: false,
        ping_every: Duration::ZERO,
        max_bytes: 1_000,
        waits_for_table: false,
        renews_token: false,
        servers: 1,
        seed: 1,
    }
}

fn follow(mode: Mode) -> Follow<Any> {
    let mut follow = Follow::new(Any, config(mode), S(0));
    follow.handle_timeout(S(0));
    follow.handle_connected(S(0));
    while follow.poll_output().is_some() {}
    follow
}

const BEGIN: &str = r#"{"welcome":{"v":1,"mode":"snapshot","epoch":"0000000000000007","head":5,"floor":1,"heartbeat_ms":2000}}"#;

fn txn(from: u64, to: u64, more: bool) -> String {
    let zeros = "0".repeat(32);
    format!(
        r#"{{"txn":{{"from":{from},"to":{to},"at":0,"digest":"{zeros}","count":0,"ops":[],"more":{more}}}}}"#
    )
}

fn end(at: u64, digest: u8) -> String {
    format!(r#"{{"snapshot_end":{{"at":{at},"count":0,"digest":"{digest:032x}","time":0}}}}"#)
}

fn heartbeat(at: u64, digest: u8) -> String {
    format!(r#"{{"heartbeat":{{"at":{at},"digest":"{digest:032x}","head":9}}}}"#)
}

fn leaves(mode: Mode, texts: &[String]) -> bool {
    let mut follow = follow(mode);
    for text in texts {
        follow.handle_text(text, S(1));
    }
    std::iter::from_fn(|| follow.poll_output()).any(|output| matches!(output, Output::Disconnect))
}

#[test]
fn a_replica_leaves_a_server_that_breaks_a_rule() {
    let replica = Mode::Replica { coalesce: false };
    let part = |n: u32| format!(r#"{{"snapshot":{{"part":{n},"records":[]}}}}"#);
    let begun = |rest: &[String]| {
        let mut texts = vec![BEGIN.to_owned(), part(1)];
        texts.extend_from_slice(rest);
        leaves(replica, &texts)
    };
    assert!(!begun(&[txn(5, 5, false), end(5, 0), txn(6, 6, false)]));
    assert!(!begun(&[r#"{"later":{}}"#.to_owned(), end(5, 0)]));
    assert!(!begun(&[heartbeat(1, 1), end(5, 0), heartbeat(5, 0)]));
    for (what, rest) in [
        ("a part out of turn", vec![part(3)]),
        ("a part after changes", vec![txn(5, 5, false), part(2)]),
        ("another digest", vec![end(5, 1)]),
        ("another end", vec![txn(5, 5, false), end(6, 0)]),
        ("an end between pieces", vec![txn(5, 5, true), end(5, 0)]),
        ("mixed pieces", vec![txn(5, 5, true), txn(6, 6, false)]),
        (
            "a gap in a snapshot",
            vec![txn(5, 5, false), txn(7, 7, false)],
        ),
        ("a gap", vec![end(5, 0), txn(7, 7, false)]),
        ("a repetition", vec![end(5, 0), txn(5, 5, false)]),
        ("no number", vec![txn(0, 0, false)]),
        (
            "the last number there is",
            vec![txn(5, u64::MAX, false), txn(1, 1, false)],
        ),
        ("a heartbeat elsewhere", vec![end(5, 0), heartbeat(4, 0)]),
        (
            "a heartbeat with another digest",
            vec![end(5, 0), heartbeat(5, 1)],
        ),
        ("a second welcome", vec![BEGIN.to_owned()]),
        ("no JSON", vec!["no".to_owned()]),
    ] {
        assert!(begun(&rest), "{what}");
    }
    let elsewhere = BEGIN.replace("\"snapshot\"", "\"resume\",\"seq\":9");
    assert!(leaves(replica, std::slice::from_ref(&elsewhere)));
    assert!(leaves(replica, &[end(5, 0)]), "before the welcome");
    let events = Mode::Events { from: None };
    assert!(!leaves(events, &[elsewhere.clone(), txn(10, 10, false)]));
    let last = elsewhere.replace("\"seq\":9", "\"seq\":18446744073709551615");
    assert!(leaves(events, &[last, txn(1, 1, false)]));
}

#[test]
fn a_replica_leaves_a_silent_server_and_never_spins() {
    let mut follow = follow(Mode::Replica { coalesce: false });
    follow.handle_text(BEGIN, S(0));
    follow.handle_timeout(S(1));
    assert!(follow.poll_timeout().is_some_and(|at| at > S(1)));
    follow.handle_timeout(S(6));
    let mut left = std::iter::from_fn(|| follow.poll_output());
    assert!(left.any(|output| matches!(output, Output::Disconnect)));
}

#[test]
fn a_replica_waits_as_a_server_asks_within_reason() {
    let wait = |seed, ending: &str| {
        let config = FollowConfig {
            seed,
            ..config(Mode::Replica { coalesce: false })
        };
        let mut follow = Follow::new(Any, config, S(0));
        follow.handle_timeout(S(0));
        follow.handle_connected(S(0));
        follow.handle_text(ending, S(0));
        follow.poll_timeout().unwrap()
    };
    let (first, most) = (Duration::from_millis(250), S(60));
    for (asked, least) in [(3_000, S(3)), (u64::MAX, most)] {
        let reset = format!(r#"{{"reset":{{"reason":"","retry_after_ms":{asked}}}}}"#);
        let waited = wait(1, &reset);
        assert!(waited >= least && waited <= least + first, "{waited:?}");
    }
    // Without a span the usual wait applies, so that clients do not all reconnect at once.
    let goodbye = r#"{"goodbye":{"reason":"","spread_ms":0}}"#;
    let waits: Vec<_> = (0..100).map(|seed| wait(seed, goodbye)).collect();
    assert!(waits.iter().all(|wait| *wait <= first), "{waits:?}");
    let long = waits.iter().filter(|wait| **wait > first / 10).count();
    assert!(long > 50, "{waits:?}");
}

/// Returns a replica that chooses among three servers.
fn one_of_three() -> Follow<Any> {
    let config = FollowConfig {
        servers: 3,
        ..config(Mode::Replica { coalesce: false })
    };
    Follow::new(Any, config, S(0))
}

/// Ends a connection that is being opened, and returns the time at which it ended.
type Ending = fn(&mut Follow<Any>, Duration) -> Duration;

#[test]
fn each_of_several_servers_is_tried_before_a_replica_waits() {
    let endings: [Ending; 5] = [
        |follow, now| {
            follow.handle_disconnected("cut", now);
            now
        },
        |follow, now| {
            follow.handle_refused(ErrorBody::new(Code::Busy, "no"), now);
            now
        },
        |follow, now| {
            follow.handle_connected(now);
            follow.handle_timeout(now + S(10));
            now + S(10)
        },
        |follow, now| {
            let goodbye = r#"{"goodbye":{"reason":"it stops","spread_ms":60000}}"#;
            follow.handle_connected(now);
            follow.handle_text(goodbye, now);
            now
        },
        |follow, now| {
            follow.handle_connected(now);
            follow.handle_text("no frame", now);
            now
        },
    ];
    for ending in endings {
        let (mut follow, mut now) = (one_of_three(), S(0));
        for attempt in 1..=9 {
            follow.handle_timeout(now);
            assert!(!follow.server_failed(), "the next one has not failed");
            let ended = ending(&mut follow, now);
            assert!(follow.server_failed());
            now = follow.poll_timeout().unwrap();
            assert_eq!(now == ended, attempt % 3 != 0, "{attempt}");
        }
    }
}

#[test]
fn a_server_that_ends_a_session_in_order_has_not_failed() {
    let endings: [Ending; 3] = [
        |follow, now| {
            follow.handle_text(r#"{"reset":{"reason":"too slow"}}"#, now);
            now
        },
        |follow, now| {
            let limited = r#"{"error":{"code":"RATE_LIMITED","message":"too many"}}"#;
            follow.handle_text(limited, now);
            now
        },
        |follow, now| {
            follow.handle_refused(ErrorBody::new(Code::TooLarge, "no"), now);
            now
        },
    ];
    for ending in endings {
        let mut follow = one_of_three();
        follow.handle_timeout(S(0));
        follow.handle_connected(S(0));
        let empty = r#"{"snapshot":{"part":1,"records":[]}}"#.to_owned();
        for text in [BEGIN.to_owned(), empty, end(5, 0)] {
            follow.handle_text(&text, S(0));
        }
        let ended = ending(&mut follow, S(1));
        assert!(!follow.server_failed());
        assert!(follow.poll_timeout().unwrap() > ended, "it waits");
    }
}

#[test]
fn a_replica_that_moves_says_what_it_has_and_a_good_session_ends_the_round() {
    let mut follow = one_of_three();
    follow.handle_timeout(S(0));
    follow.handle_disconnected("cut", S(0));
    follow.handle_timeout(S(0));
    follow.handle_connected(S(0));
    let empty = r#"{"snapshot":{"part":1,"records":[]}}"#.to_owned();
    for text in [BEGIN.to_owned(), empty, end(5, 0)] {
        follow.handle_text(&text, S(0));
    }
    while follow.poll_output().is_some() {}
    // After a minute, two further servers are tried without a wait.
    for second in 1..=59 {
        follow.handle_text(r#"{"pong":{"n":0,"head":5}}"#, S(second));
    }
    for now in [S(60), S(60)] {
        follow.handle_disconnected("cut", now);
        assert_eq!(follow.poll_timeout(), Some(now));
        follow.handle_timeout(now);
        follow.handle_connected(now);
        let said: Vec<_> = std::iter::from_fn(|| follow.poll_output()).collect();
        let has = r#""from":{"epoch":"0000000000000007","seq":5,"#;
        let hello =
            matches!(&said[..], [Output::Connect, Output::Send(hello)] if hello.contains(has));
        assert!(hello, "{said:?}");
    }
    follow.handle_disconnected("cut", S(60));
    assert!(follow.poll_timeout() > Some(S(60)));
}

#[test]
fn a_table_that_became_too_large_is_not_loaded_again_at_once() {
    let mut follow = follow(Mode::Replica { coalesce: false });
    let empty = r#"{"snapshot":{"part":1,"records":[]}}"#.to_owned();
    for text in [BEGIN.to_owned(), empty, end(5, 0)] {
        follow.handle_text(&text, S(1));
    }
    follow.handle_disconnected("cut", S(2));
    let at = follow.poll_timeout().unwrap();
    follow.handle_timeout(at);
    follow.handle_connected(at);
    let key = Key::new("k").unwrap();
    let value = Value::string(&"x".repeat(2_000)).unwrap();
    let (category, time) = (Category::GENERAL, Timestamp::EPOCH);
    let record = Record::new(&key, &value, &category, 6, time, None, &Hasher::PLAIN);
    let record = serde_json::to_string(&record).unwrap();
    let part = format!(r#"{{"snapshot":{{"part":1,"records":[{record}]}}}}"#);
    for text in [BEGIN, &part] {
        follow.handle_text(text, at);
    }
    assert!(follow.trouble().unwrap().contains("1000 bytes"));
    // The client keeps its state.
    assert!(matches!(follow.status(), Status::Stale { .. }));
    assert_eq!(follow.position().unwrap().seq, 5);
    let wait = follow.poll_timeout().unwrap() - at;
    assert!(wait >= S(60), "{wait:?}");
}

#[test]
fn what_does_not_exist_yet_is_waited_for_only_if_told_to() {
    let refused = |code: Code, waits: bool| {
        let mode = Mode::Replica { coalesce: false };
        let config = FollowConfig {
            waits_for_table: waits,
            ..config(mode)
        };
        let mut follow = Follow::new(Any, config, S(0));
        follow.handle_timeout(S(0));
        follow.handle_refused(ErrorBody::new(code, "no"), S(1));
        matches!(follow.status(), Status::Failed(_))
    };
    for code in [Code::UnknownTable, Code::Unauthenticated, Code::Forbidden] {
        assert!(refused(code, false) && !refused(code, true), "{code}");
    }
    assert!(refused(Code::UnsupportedVersion, true));
    assert!(!refused(Code::Busy, false));
}

#[test]
fn a_revoked_token_ends_events_unless_there_may_be_another() {
    let revoked = r#"{"error":{"code":"UNAUTHENTICATED","message":"revoked"}}"#;
    for renews in [false, true] {
        let config = FollowConfig {
            renews_token: renews,
            ..config(Mode::Events { from: None })
        };
        let mut follow = Follow::new(Any, config, S(0));
        follow.handle_timeout(S(0));
        follow.handle_connected(S(0));
        let resumed = BEGIN.replace("\"snapshot\"", "\"resume\",\"seq\":5");
        for text in [&resumed, revoked] {
            follow.handle_text(text, S(1));
        }
        let failed = matches!(follow.status(), Status::Failed(_));
        assert_eq!(failed, !renews);
        // A refusal before a session is final in either case.
        if renews {
            let at = follow.poll_timeout().unwrap();
            follow.handle_timeout(at);
            let body = ErrorBody::new(Code::Unauthenticated, "no");
            follow.handle_refused(body, at);
            assert!(matches!(follow.status(), Status::Failed(_)));
        }
    }
}
