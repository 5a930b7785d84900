//! Replicas against a server that does what the test wants.

mod support;

use hotread_client::{Client, Code, Error, Record, Replica, Replicated, Status, WaitForError};
use hotread_client::{HotReadState, MapUpdate};
use hotread_proto::session::frame::Begin;
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;
use support::{Fake, HANG, until};
use tokio_tungstenite::tungstenite::Message;

type Numbers = HashMap<Arc<str>, u64>;

async fn client(server: &Fake) -> Client {
    let builder = Client::builder(&server.url()).name("test");
    let often = builder.ping_every(Duration::from_millis(20));
    often.connect().await.unwrap()
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
async fn a_table_that_began_anew_replaces_the_old_one() {
    let server = Fake::start().await;
    let old = server.put("old", "1");
    let replica = replica(&server).await;
    server.begin_anew(2);
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
}

/// Its code panics when it meets certain values.
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
async fn a_panic_while_an_update_is_applied_ends_the_replica_and_its_readers_keep_the_state() {
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
    // All of it was used up before.
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
async fn readers_that_hold_old_copies_block_what_is_waited_for_until_they_let_go() {
    let server = Fake::start().await;
    server.put("a", "0");
    let replica = replica(&server).await;
    let mut readers = Vec::new();
    let mut blocked = None;
    // Each reader holds another copy.
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
    let client = builder.connect().await.unwrap();
    assert!(!format!("{client:?}").contains("secret"));
    let replica = client.replica::<Numbers>("t").await.unwrap();
    assert_eq!(server.tokens(), [Some("Bearer hr_secret".to_owned())]);
    drop(replica);
    let bad = Client::builder(&server.url()).token("a\nb").connect().await;
    assert!(matches!(bad, Err(Error::BadUrl(_))));
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
