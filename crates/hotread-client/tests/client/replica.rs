//! Replicas against a server that does what the test wants.

use crate::common::{Fake, HANG, until};
use hotread_client::{
    Client, Code, ConnectionEvent, Error, HotReadState, MapUpdate, Record, RecordSet, Replica,
    Replicated, Status, WaitForError,
};
use hotread_proto::session::frame::Begin;
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio_tungstenite::tungstenite::Message;

type Numbers = HashMap<Arc<str>, u64>;

async fn client(server: &Fake) -> Client {
    let builder = Client::builder(&server.url()).name("test");
    let often = builder.ping_every(Duration::from_millis(20));
    often.build().unwrap()
}

async fn replica(server: &Fake) -> Replica<Numbers> {
    client(server).await.replica("t").await.unwrap()
}

fn value(replica: &Replica<Numbers>, key: &str) -> Option<u64> {
    replica.create_handle().current().get(key).copied()
}

#[tokio::test]
async fn a_replica_has_the_table_and_follows_it() {
    let server = Fake::start().await;
    server.put("a", "1");
    let second = server.put("b", "2");
    let replica = replica(&server).await;
    let mut reader = replica.create_handle();
    assert_eq!(replica.position(), second);
    assert_eq!(reader.current()["a"], 1);
    assert_eq!(reader.current().len(), 2);

    let at = server.commit(&[("a", None), ("b", Some("3")), ("c", Some("4"))]);
    replica.wait_for(at, HANG).await.unwrap();
    let expected = [("b".into(), 3), ("c".into(), 4)];
    assert_eq!(*reader.current(), HashMap::from(expected));
    assert_eq!((replica.position(), replica.lag()), (at, 0));
    assert_eq!(replica.status(), Status::Live);
}

#[tokio::test]
async fn an_empty_table_is_a_table() {
    let server = Fake::start().await;
    let replica: Replica<BTreeMap<Arc<str>, String>> =
        client(&server).await.replica("t").await.unwrap();
    assert!(replica.create_handle().current().is_empty());
    let at = server.put("a", r#""x""#);
    replica.wait_for(at, HANG).await.unwrap();
    assert_eq!(replica.create_handle().current()["a"], "x");
}

#[tokio::test]
async fn after_a_lost_connection_it_resumes_without_a_snapshot() {
    let server = Fake::start().await;
    server.put("a", "1");
    let replica = replica(&server).await;
    server.cut();
    let at = server.put("a", "2");
    replica.wait_for(at, HANG).await.unwrap();
    assert_eq!(value(&replica, "a"), Some(2));
    let begun = server.begun();
    assert_eq!(begun[0].0, Begin::Snapshot);
    assert!(begun.len() > 1);
    assert!(
        begun[1..].iter().all(|begun| begun.0 == Begin::Resume),
        "{begun:?}"
    );
}

#[tokio::test]
async fn a_recreated_table_replaces_the_old_one() {
    let server = Fake::start().await;
    let old = server.put("old", "1");
    let replica = replica(&server).await;
    server.recreate(2);
    let new = server.put("new", "2");
    replica.wait_for(new, HANG).await.unwrap();
    assert_eq!(replica.create_handle().current().len(), 1);
    assert_eq!(value(&replica, "new"), Some(2));
    let waited = replica.wait_for(old, HANG).await;
    assert_eq!(waited, Err(WaitForError::EpochChanged));
}

#[tokio::test]
async fn a_value_that_the_type_refuses_holds_the_replica_until_it_is_fixed() {
    let server = Fake::start().await;
    let good = server.put("a", "1");
    let replica = replica(&server).await;
    let bad = server.commit(&[("a", Some("2")), ("b", Some(r#""no number""#))]);
    let waited = replica.wait_for(bad, HANG).await;
    assert!(
        matches!(&waited, Err(WaitForError::Rejected(refused))
        if refused.key.as_str() == "b" && refused.seq == bad.seq),
        "{waited:?}"
    );
    // The transaction is not applied in part.
    assert_eq!((value(&replica, "a"), replica.position()), (Some(1), good));
    until("the server is told", || {
        server.nacks() == [("b".to_owned(), bad.seq)]
    })
    .await;
    assert!(matches!(replica.status(), Status::Rejected(_)));

    let fixed = server.put("b", "3");
    replica.wait_for(fixed, HANG).await.unwrap();
    assert_eq!(
        (value(&replica, "a"), value(&replica, "b")),
        (Some(2), Some(3))
    );
    assert_eq!(replica.status(), Status::Live);
}

#[tokio::test]
async fn without_any_state_a_refused_value_is_an_error() {
    let server = Fake::start().await;
    server.put("a", "[]");
    let refused = client(&server)
        .await
        .replica::<Numbers>("t")
        .await
        .unwrap_err();
    assert_eq!(refused.code(), Code::Rejected);
    assert_eq!(refused.body().key.unwrap().as_str(), "a");
    for choice in ["\"a\"", "delete", "cache_dir", "skip_bad_keys"] {
        assert!(refused.body().message.contains(choice), "{refused}");
    }
}

/// A state whose code panics at certain values.
#[derive(Clone, Debug)]
struct Fragile(Numbers);

impl HotReadState for Fragile {
    type Action = MapUpdate<Arc<str>, u64>;

    fn apply_update(&mut self, update: &Self::Action) {
        assert_ne!(*update, MapUpdate::Remove("panic".into()), "planted");
        self.0.apply_update(update);
    }
}

impl Replicated for Fragile {
    type Value = u64;

    fn empty() -> Self {
        Self(Numbers::empty())
    }

    fn put(key: &Arc<str>, record: &Record) -> Result<Self::Action, String> {
        assert_ne!(record.value(), b"13", "planted");
        Numbers::put(key, record)
    }

    fn delete(key: &Arc<str>) -> Self::Action {
        Numbers::delete(key)
    }
}

#[tokio::test]
async fn a_panic_while_a_value_is_read_is_a_refusal() {
    let server = Fake::start().await;
    let replica: Replica<Fragile> = client(&server).await.replica("t").await.unwrap();
    let bad = server.put("a", "13");
    let waited = replica.wait_for(bad, HANG).await;
    assert!(matches!(waited, Err(WaitForError::Rejected(refused))
        if refused.reason.contains("planted")));
    let fixed = server.put("a", "14");
    replica.wait_for(fixed, HANG).await.unwrap();
}

#[tokio::test]
async fn a_panicking_update_ends_the_replica_and_readers_keep_the_state() {
    let server = Fake::start().await;
    server.put("panic", "1");
    let replica: Replica<Fragile> = client(&server).await.replica("t").await.unwrap();
    let at = server.commit(&[("panic", None)]);
    let waited = replica.wait_for(at, HANG).await;
    assert!(matches!(waited, Err(WaitForError::Failed(body)) if body.code == Code::Rejected));
    assert_eq!(replica.create_handle().current().0["panic"], 1);
}

#[tokio::test]
async fn a_table_that_is_not_there_is_an_error() {
    let server = Fake::start().await;
    let refused = client(&server)
        .await
        .replica::<Numbers>("other")
        .await
        .unwrap_err();
    assert_eq!(refused.code(), Code::UnknownTable);
    let invalid = client(&server)
        .await
        .replica::<Numbers>("No!")
        .await
        .unwrap_err();
    assert_eq!(invalid.code(), Code::InvalidName);
}

#[tokio::test]
async fn what_is_no_session_is_given_up_and_tried_again() {
    let server = Fake::start().await;
    server.put("a", "1");
    server.send_garbage(vec![
        Message::text("no frame"),
        Message::binary(vec![1, 2, 3]),
        Message::text(r#"{"snapshot_end":{"at":1,"count":0,"digest":"x","time":"y"}}"#),
        Message::text(r#"{"pong":{"n":1,"head":1}}"#),
    ]);
    let replica = replica(&server).await;
    assert_eq!(value(&replica, "a"), Some(1));
    // All of the budget was used up before.
    assert_eq!(server.tokens().len(), 5);
}

#[tokio::test]
async fn a_silent_server_makes_the_replica_stale_and_it_keeps_its_state() {
    let server = Fake::start().await;
    server.put("a", "1");
    let replica = replica(&server).await;
    until("its age is known", || replica.age().is_some()).await;
    assert!(replica.fresh(HANG).is_ok());
    server.set_silent(true);
    until("it is stale", || {
        matches!(replica.status(), Status::Stale { .. })
    })
    .await;
    assert_eq!(value(&replica, "a"), Some(1));
    let stale = replica.fresh(Duration::from_millis(500)).unwrap_err();
    assert!(stale.age > Some(stale.max));

    server.set_silent(false);
    server.cut();
    until("it is live again", || replica.status() == Status::Live).await;
}

#[tokio::test]
async fn readers_with_old_copies_block_waiters_until_they_let_go() {
    let server = Fake::start().await;
    server.put("a", "0");
    let replica = replica(&server).await;
    let mut readers = Vec::new();
    let mut blocked = None;
    // Each reader refers to another copy.
    for n in 1..=4 {
        let mut reader = replica.create_handle();
        reader.refresh();
        readers.push(reader);
        let at = server.put("a", &n.to_string());
        let waited = replica.wait_for(at, Duration::from_secs(2)).await;
        if waited.is_err() {
            assert_eq!(waited, Err(WaitForError::Blocked));
            blocked = Some((n, at));
            break;
        }
    }
    let (n, at) = blocked.expect("there are no more than 4 copies");
    assert_eq!((n, replica.lag()), (4, 1));
    drop(readers);
    replica.wait_for(at, HANG).await.unwrap();
    assert_eq!(value(&replica, "a"), Some(4));
}

#[tokio::test]
async fn idle_readers_that_starve_another_are_named() {
    let server = Fake::start().await;
    server.put("a", "0");
    let replica = replica(&server).await;
    let mut idle = Vec::new();
    for n in 1..=3 {
        let mut reader = replica.named_reader(&format!("idle-{n}"));
        reader.refresh();
        idle.push(reader);
        let at = server.put("a", &n.to_string());
        replica.wait_for(at, HANG).await.unwrap();
    }
    let mut busy = replica.named_reader("busy");
    busy.refresh();
    assert_eq!(busy.get().unwrap()["a"], 3);
    let at = server.put("a", "4");
    until("it is blocked", || {
        matches!(replica.status(), Status::Blocked { .. })
    })
    .await;
    let Status::Blocked {
        reader, readers, ..
    } = replica.status()
    else {
        panic!("{:?}", replica.status());
    };
    assert!(reader.is_some_and(|name| name.starts_with("idle-")));
    assert_eq!(readers, 3);
    // One released reader is enough.
    idle[0].current();
    replica.wait_for(at, HANG).await.unwrap();
    until("it is live", || replica.status() == Status::Live).await;
    assert_eq!(busy.current()["a"], 4);
}

#[tokio::test]
async fn the_session_ends_with_the_last_clone_and_handles_read_on() {
    let server = Fake::start().await;
    server.put("a", "1");
    let replica = replica(&server).await;
    let clone = replica.clone();
    let mut reader = replica.create_handle();
    drop(replica);
    let at = server.put("a", "2");
    clone.wait_for(at, HANG).await.unwrap();
    assert_eq!(server.sessions(), 1);
    drop(clone);
    until("the session ends", || server.sessions() == 0).await;
    assert_eq!(reader.current()["a"], 2);
}

#[tokio::test]
async fn the_token_is_sent_and_never_shown() {
    let server = Fake::start().await;
    let builder = Client::builder(&server.url()).token("hr_secret");
    assert!(!format!("{builder:?}").contains("secret"));
    let client = builder.build().unwrap();
    assert!(!format!("{client:?}").contains("secret"));
    let replica = client.replica::<Numbers>("t").await.unwrap();
    assert_eq!(server.tokens(), [Some("Bearer hr_secret".to_owned())]);
    drop(replica);
    let bad = Client::builder(&server.url()).token("a\nb").build();
    assert!(matches!(bad, Err(Error::BadUrl(_))));
}

#[tokio::test]
async fn waiting_for_a_server_is_told_and_can_be_bounded() {
    let mut server = Fake::start().await;
    server.stop().await;
    let (told, mut events) = tokio::sync::mpsc::unbounded_channel();
    let builder = Client::builder(&server.url()).on_connection(move |table, event| {
        assert_eq!(table.as_str(), "t");
        // The test may have ended.
        let _ = told.send(event.clone());
    });
    let within = Duration::from_millis(200);
    let hasty = builder.clone().start_within(within).build().unwrap();
    for late in [
        hasty.replica::<Numbers>("t").await.map(drop).unwrap_err(),
        hasty.events("t", None).await.map(drop).unwrap_err(),
    ] {
        assert!(matches!(&late, Error::NotInTime { within: w, .. } if *w == within));
        assert!(late.to_string().contains("refused"), "{late}");
        let down = events.recv().await.unwrap();
        assert!(matches!(down, ConnectionEvent::Down { .. }));
    }
    let client = builder.build().unwrap();
    let starting = tokio::spawn(async move { client.replica::<Numbers>("t").await });
    let down = events.recv().await.unwrap();
    assert!(matches!(down, ConnectionEvent::Down { why } if why.contains("refused")));
    server.restart().await;
    let replica = starting.await.unwrap().unwrap();
    while events.recv().await.unwrap() != ConnectionEvent::Up {}
    server.stop().await;
    let down = events.recv().await.unwrap();
    assert!(matches!(down, ConnectionEvent::Down { .. }));
    drop(replica);
}

#[tokio::test]
async fn a_server_that_is_away_is_waited_for() {
    let server = Fake::start().await;
    server.set_silent(true);
    let client = client(&server).await;
    let mut starting = Box::pin(client.replica::<Numbers>("t"));
    let early = tokio::time::timeout(Duration::from_millis(100), &mut starting).await;
    assert!(early.is_err());
    server.set_silent(false);
    server.cut();
    assert!(starting.await.is_ok());
}

/// Keeps the runtime that follows a table from running, as if the process were stopped.
#[test]
fn a_replica_whose_task_gets_no_turn_is_not_live() {
    let servers = tokio::runtime::Runtime::new().unwrap();
    let server = servers.block_on(Fake::start());
    server.put("a", "1");
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()
        .unwrap();
    let replica = runtime.block_on(async { replica(&server).await });
    assert_eq!(replica.status(), Status::Live);
    let (release, held) = std::sync::mpsc::channel::<()>();
    runtime.spawn(async move { held.recv().is_err() });
    servers.block_on(until("it is stale", || {
        matches!(replica.status(), Status::Stale { .. })
    }));
    assert_eq!(value(&replica, "a"), Some(1));
    drop(release);
    servers.block_on(until("it is live", || replica.status() == Status::Live));
}

/// Shuts down the runtime that follows a table.
#[test]
fn a_replica_whose_runtime_is_gone_says_that_it_has_ended() {
    let servers = tokio::runtime::Runtime::new().unwrap();
    let server = servers.block_on(Fake::start());
    server.put("a", "1");
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let replica = runtime.block_on(async { replica(&server).await });
    assert_eq!(replica.status(), Status::Live);
    drop(runtime);
    assert!(matches!(replica.status(), Status::Failed(body) if body.code == Code::Closed));
    assert_eq!(value(&replica, "a"), Some(1));
}

/// A state whose code panics when a record is deleted.
#[derive(Clone, Debug)]
struct KeepsAll(Numbers);

impl HotReadState for KeepsAll {
    type Action = MapUpdate<Arc<str>, u64>;

    fn apply_update(&mut self, update: &Self::Action) {
        self.0.apply_update(update);
    }
}

impl Replicated for KeepsAll {
    type Value = u64;

    fn empty() -> Self {
        Self(Numbers::empty())
    }

    fn put(key: &Arc<str>, record: &Record) -> Result<Self::Action, String> {
        Numbers::put(key, record)
    }

    fn delete(_: &Arc<str>) -> Self::Action {
        panic!("planted: nothing goes");
    }
}

#[tokio::test]
async fn a_panic_while_a_deletion_is_read_ends_the_replica_with_its_words() {
    let server = Fake::start().await;
    server.put("a", "1");
    let replica: Replica<KeepsAll> = client(&server).await.replica("t").await.unwrap();
    let at = server.commit(&[("a", None)]);
    let waited = replica.wait_for(at, HANG).await;
    assert!(matches!(waited, Err(WaitForError::Failed(body)) if body.message.contains("planted")));
    assert!(matches!(replica.status(), Status::Failed(_)));
    assert_eq!(replica.create_handle().current().0["a"], 1);
}

#[tokio::test]
async fn a_replica_that_leaves_out_what_it_cannot_have_says_so() {
    let server = Fake::start().await;
    server.commit(&[("a", Some("1")), ("b", Some(r#""no number""#))]);
    let client = client(&server).await;
    let builder = client.replica_builder("t").skip_bad_keys(true);
    let replica: Replica<Numbers> = builder.start().await.unwrap();
    assert_eq!(
        (value(&replica, "a"), value(&replica, "b")),
        (Some(1), None)
    );
    let partial = |status| {
        matches!(status, Status::Partial { left_out: 1, first }
            if first.key.as_str() == "b" && first.seq == 1)
    };
    assert!(partial(replica.status()));
    assert_eq!(replica.left_out()[0].key.as_str(), "b");
    until("the server is told", || {
        server.nacks() == [("b".to_owned(), 1)]
    })
    .await;
    // The replica continues where one that leaves nothing out would stop.
    let at = server.put("a", "2");
    replica.wait_for(at, HANG).await.unwrap();
    assert!(partial(replica.status()));
    let at = server.put("b", "3");
    replica.wait_for(at, HANG).await.unwrap();
    assert_eq!(replica.status(), Status::Live);
    assert!(replica.left_out().is_empty());
}

#[tokio::test]
async fn records_can_be_kept_as_they_are() {
    let server = Fake::start().await;
    server.commit(&[
        ("a/1", Some("1.0")),
        ("a/2", Some("[ 2 ]")),
        ("b", Some("null")),
    ]);
    let replica: Replica<RecordSet> = client(&server).await.replica("t").await.unwrap();
    let mut reader = replica.reader();
    let keys = |records: &RecordSet| -> Vec<String> {
        records.prefix("a/").map(|r| r.key().to_owned()).collect()
    };
    assert_eq!(keys(reader.current()), ["a/1", "a/2"]);
    assert_eq!(reader.current().get("a/1").unwrap().value(), b"1.0");
    assert_eq!(reader.current().after("a/2").count(), 1);
    let at = server.commit(&[("a/1", None), ("b", Some("4"))]);
    replica.wait_for(at, HANG).await.unwrap();
    assert_eq!(keys(reader.current()), ["a/2"]);
    assert_eq!(reader.current().get("b").unwrap().seq(), at.seq);
    assert_eq!(reader.current().len(), 2);
}

#[tokio::test]
async fn a_reader_gets_the_state_only_as_long_as_it_is_fresh_enough() {
    let server = Fake::start().await;
    server.put("a", "1");
    let replica = replica(&server).await;
    let mut reader = replica.reader();
    until("it is fresh", || reader.fresh(HANG).is_ok()).await;
    assert_eq!(reader.fresh(HANG).unwrap()["a"], 1);
    server.set_silent(true);
    let max = Duration::from_millis(300);
    until("it gets stale", || reader.fresh(max).is_err()).await;
    let stale = reader.fresh(max).unwrap_err();
    assert!(stale.age > Some(max));
    assert!(stale.to_string().contains("300ms"), "{stale}");
    assert_eq!(reader.current()["a"], 1);
}

#[tokio::test]
async fn a_refusal_whose_body_comes_late_is_read_whole() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let task = tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            stream.read_buf(&mut head).await.unwrap();
        }
        let body = r#"{"code":"SEALED","message":"give the passphrase"}"#;
        let head = format!("HTTP/1.1 409 x\r\ncontent-length: {}\r\n\r\n", body.len());
        for part in [&head, &body[..10], &body[10..]] {
            stream.write_all(part.as_bytes()).await.unwrap();
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    });
    let client = Client::builder(&format!("http://{address}")).build();
    let refused = client.unwrap().replica::<Numbers>("t").await;
    assert_eq!(refused.unwrap_err().body().message, "give the passphrase");
    task.await.unwrap();
}
