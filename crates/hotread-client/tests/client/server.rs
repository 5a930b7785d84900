//! The client against the real server, over real connections.

use crate::common::server::Api;
use crate::common::{HANG, until};
use hotread_client::{
    Actor, Alter, ChangeOp, Client, Code, Condition, Error, Key, Note, Op, Put, PutOptions,
    RecordSet, Removal, Replace, Replica, Role, Scan, Status, TableName, TableOptions, Timestamp,
    Txn, Value, WaitForError,
};
use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

type Numbers = HashMap<Arc<str>, u64>;

fn put(key: &str, json: &str) -> Put {
    Put::new(
        Key::new(key).unwrap(),
        Value::parse(json.as_bytes()).unwrap(),
    )
}

fn value(replica: &Replica<Numbers>, key: &str) -> Option<u64> {
    replica.create_handle().current().get(key).copied()
}

#[tokio::test]
async fn a_table_is_altered_under_its_replicas() {
    let api = Api::start().await;
    let client = api.client(None).await;
    let replica: Replica<Numbers> = client.replica("t").await.unwrap();
    client.put("t", "a", &1).await.unwrap();
    let small = Value::parse(br#"{"maximum":5}"#).unwrap();
    let info = client.alter("t", &Alter::new().schema(small)).await;
    assert_eq!(info.unwrap().position.seq, 1);
    let error = client.put("t", "a", &6).await.unwrap_err();
    assert_eq!(error.code(), Code::SchemaViolation);
    let at = client.put("t", "a", &5).await.unwrap();
    replica.wait_for(at, HANG).await.unwrap();
    let smaller = Value::parse(br#"{"maximum":4}"#).unwrap();
    let error = client.alter("t", &Alter::new().schema(smaller)).await;
    assert_eq!(error.unwrap_err().code(), Code::SchemaViolation);
    let typed = client.table::<u64>("t").await.unwrap();
    let info = typed.alter(&Alter::new().no_schema()).await.unwrap();
    assert_eq!(info.options, TableOptions::default());
    assert_eq!(replica.status(), Status::Live);
}

#[tokio::test]
async fn what_was_written_is_read_by_all_who_wait_for_it() {
    let api = Api::start().await;
    let client = api.client(None).await;
    let first: Replica<Numbers> = client.replica("t").await.unwrap();
    let second: Replica<RecordSet> = api.client(None).await.replica("t").await.unwrap();
    for n in 1..=50_u64 {
        let at = client.put("t", "a", &n).await.unwrap();
        assert_eq!(at.seq, n);
        first.wait_for(at, HANG).await.unwrap();
        second.wait_for(at, HANG).await.unwrap();
        assert_eq!(value(&first, "a"), Some(n));
        let seq = second.reader().current().get("a").unwrap().seq();
        assert_eq!(seq, n);
    }
    let at = client.delete("t", "a").await.unwrap();
    first.wait_for(at, HANG).await.unwrap();
    assert!(first.create_handle().current().is_empty());
    until("it is fresh", || first.fresh(HANG).is_ok()).await;
}

#[tokio::test]
async fn a_replica_has_what_the_server_has_after_all_kinds_of_changes() {
    let api = Api::start().await;
    let client = api.client(None).await;
    let replica: Replica<RecordSet> = client.replica("t").await.unwrap();
    let txn = Txn::new()
        .put(put("a", "1"))
        .put(put("b", "[2]"))
        .put(put("c", "null"));
    client.txn("t", txn).await.unwrap();
    let absent = Some(Condition::Absent);
    let refused = client.put_record("t", put("a", "9"), absent).await;
    assert_eq!(refused.unwrap_err().code(), Code::PreconditionFailed);
    let new = Replace::new(vec![put("a", "1"), put("d", "4")]);
    let replaced = client.replace("t", new).await.unwrap();
    assert_eq!((replaced.written, replaced.deleted), (1, 2));
    replica
        .wait_for(replaced.committed.position, HANG)
        .await
        .unwrap();
    let page = client.scan("t", &Scan::default()).await.unwrap();
    let mut reader = replica.reader();
    let ours = serde_json::to_string(&reader.current().iter().collect::<Vec<_>>()).unwrap();
    assert_eq!(ours, serde_json::to_string(&page.records).unwrap());
    assert_eq!(page.position, replica.position());
}

#[tokio::test]
async fn a_write_without_category_and_expiry_takes_none_over() {
    let api = Api::start().await;
    let client = api.client(None).await;
    let mut whole = put("k", "1");
    whole.category = hotread_proto::Category::new("a").unwrap();
    whole.expires_at = Some(hotread_client::Timestamp::MAX);
    client.put_record("t", whole, None).await.unwrap();
    let before = client.get("t", "k").await.unwrap().unwrap();
    assert_eq!(
        (before.category(), before.expires_at().is_some()),
        ("a", true)
    );
    client.put("t", "k", &2).await.unwrap();
    let after = client.get("t", "k").await.unwrap().unwrap();
    assert_eq!((after.category(), after.expires_at()), ("general", None));
}

#[tokio::test]
async fn a_value_that_is_refused_is_shown_and_its_fix_goes_through() {
    let api = Api::start().await;
    let client = api.client(None).await;
    let good = client.put("t", "a", &1).await.unwrap();
    let replica: Replica<Numbers> = client.replica("t").await.unwrap();
    let bad = client.put("t", "a", "no number").await.unwrap();
    let waited = replica.wait_for(bad, HANG).await;
    assert!(matches!(waited, Err(WaitForError::Rejected(refused)) if refused.seq == bad.seq));
    let later = client.put("t", "b", &2).await.unwrap();
    let waited = replica.wait_for(later, Duration::from_millis(500)).await;
    assert!(matches!(waited, Err(WaitForError::Rejected(refused)) if refused.seq == bad.seq));
    assert_eq!((replica.position(), value(&replica, "a")), (good, Some(1)));
    let began = Instant::now();
    loop {
        let status = client.status().await.unwrap();
        let nack = status.sessions.first().and_then(|it| it.last_nack.as_ref());
        if nack.is_some_and(|nack| nack.reason.contains("no number")) {
            break;
        }
        assert!(began.elapsed() < HANG, "{status:?}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let fixed = client.put("t", "a", &3).await.unwrap();
    replica.wait_for(fixed, HANG).await.unwrap();
    assert_eq!(
        (value(&replica, "a"), value(&replica, "b")),
        (Some(3), Some(2))
    );
    assert_eq!(replica.status(), Status::Live);
}

#[tokio::test]
async fn a_table_that_is_dropped_and_made_again_is_another_one() {
    let api = Api::start().await;
    let client = api.client(None).await;
    let old = client.put("t", "old", &1).await.unwrap();
    let replica: Replica<Numbers> = client.replica("t").await.unwrap();
    client.drop_table("t").await.unwrap();
    until("it is stale", || {
        matches!(replica.status(), Status::Stale { .. })
    })
    .await;
    assert_eq!(value(&replica, "old"), Some(1));
    client
        .create_table("t", &TableOptions::default())
        .await
        .unwrap();
    let new = client.put("t", "new", &2).await.unwrap();
    replica.wait_for(new, HANG).await.unwrap();
    assert_eq!(
        (value(&replica, "old"), value(&replica, "new")),
        (None, Some(2))
    );
    let waited = replica.wait_for(old, HANG).await;
    assert_eq!(waited, Err(WaitForError::EpochChanged));
}

#[tokio::test]
async fn a_revoked_token_ends_the_session_and_the_replica_keeps_what_it_has() {
    let api = Api::start().await;
    let anonymous = api.client(None).await;
    let admin = anonymous.create_token("root", Role::Admin, None).await;
    let admin = api.client(Some(&admin.unwrap().secret)).await;
    let only_t = [TableName::new("t").unwrap()];
    let token = admin.create_token("reader", Role::Read, Some(&only_t));
    let token = token.await.unwrap();
    let reader = api.client(Some(&token.secret)).await;
    admin.put("t", "a", &1).await.unwrap();
    let replica: Replica<Numbers> = reader.replica("t").await.unwrap();
    let refused = reader.put("t", "a", &2).await.unwrap_err();
    assert_eq!(refused.code(), Code::Forbidden);
    let refused = anonymous.replica::<Numbers>("t").await;
    assert_eq!(refused.unwrap_err().code(), Code::Unauthenticated);
    admin.revoke_token(&token.info.id).await.unwrap();
    until("it is stale", || {
        matches!(replica.status(), Status::Stale { .. })
    })
    .await;
    until("it knows why", || {
        replica.trouble().is_some_and(|why| why.contains("token"))
    })
    .await;
    assert_eq!(value(&replica, "a"), Some(1));
    let ids = admin.tokens().await.unwrap();
    assert_eq!(ids.len(), 1);
}

#[tokio::test]
async fn a_replica_outlives_restarts_of_the_server_and_its_writes_go_through() {
    let mut api = Api::start().await;
    let client = api.client(None).await;
    client.put("t", "a", &0).await.unwrap();
    let replica: Replica<Numbers> = client.replica("t").await.unwrap();
    for n in 1..=3_u64 {
        api.stop().await;
        until("it is stale", || {
            matches!(replica.status(), Status::Stale { .. })
        })
        .await;
        assert_eq!(value(&replica, "a"), Some(n - 1));
        // Sent while the server is away, and repeated until it is back.
        let writer = client.clone();
        let written = tokio::spawn(async move { writer.put("t", "a", &n).await });
        api.start_again().await;
        let at = written.await.unwrap().unwrap();
        replica.wait_for(at, HANG).await.unwrap();
        assert_eq!((value(&replica, "a"), at.seq), (Some(n), n + 1));
    }
    // On a busy machine a connection may just have been too silent again.
    until("it is live", || replica.status() == Status::Live).await;
}

#[tokio::test]
async fn events_come_one_by_one_and_a_gap_is_told() {
    let mut options = TableOptions::default();
    options.history.max_changes = 10;
    let api = Api::with_table(&options).await;
    let client = api.client(None).await;
    let mut positions = Vec::new();
    for n in 1..=5 {
        positions.push(client.put("t", "a", &n).await.unwrap());
    }
    let mut events = client.events("t", Some(positions[1])).await.unwrap();
    assert_eq!(events.from(), positions[1]);
    for at in &positions[2..] {
        let event = events.next().await.unwrap().unwrap();
        assert_eq!((event.head.position, event.ops.len()), (*at, 1));
    }
    let at = client.delete("t", "a").await.unwrap();
    assert_eq!(events.next().await.unwrap().unwrap().head.position, at);
    drop(events);
    // The history is trimmed a few changes at a time.
    let began = Instant::now();
    let gone = loop {
        client.put("t", "a", &1).await.unwrap();
        match client.events("t", Some(positions[0])).await {
            Ok(_) => assert!(began.elapsed() < HANG),
            Err(error) => break error,
        }
    };
    assert_eq!(gone.code(), Code::Gone);
    let mut other = positions[0];
    other.epoch.0 ^= 1;
    let changed = client.events("t", Some(other)).await.unwrap_err();
    assert_eq!(changed.code(), Code::EpochChanged);
}

#[tokio::test]
async fn events_say_whether_a_record_expired_or_was_deleted() {
    let api = Api::start().await;
    let client = api.client(None).await;
    let mut events = client.events("t", None).await.unwrap();
    let old = Put {
        expires_at: Some(Timestamp::from_millis(1).unwrap()),
        ..put("old", "1")
    };
    client.put_record("t", old, None).await.unwrap();
    client.put("t", "a", &1).await.unwrap();
    client.delete("t", "a").await.unwrap();
    let mut removed = Vec::new();
    while removed.len() < 2 {
        let event = tokio::time::timeout(HANG, events.next()).await.unwrap();
        for op in event.unwrap().unwrap().ops {
            if let ChangeOp::Delete { key, cause } = op {
                removed.push((key.to_string(), cause));
            }
        }
    }
    removed.sort_by(|one, other| one.0.cmp(&other.0));
    let expected = [
        ("a".to_owned(), Removal::Deleted),
        ("old".to_owned(), Removal::Expired),
    ];
    assert_eq!(removed, expected);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_replicas_of_one_client_follow_together() {
    let api = Api::start().await;
    let client = api.client(None).await;
    client.put("t", "a", &0).await.unwrap();
    let mut replicas: Vec<Replica<Numbers>> = Vec::new();
    for _ in 0..50 {
        replicas.push(client.replica("t").await.unwrap());
    }
    for n in 1..=20_u64 {
        let at = client.put("t", "a", &n).await.unwrap();
        for replica in &replicas {
            replica.wait_for(at, HANG).await.unwrap();
            assert_eq!(value(replica, "a"), Some(n));
        }
    }
    drop(replicas);
    let began = Instant::now();
    while !client.status().await.unwrap().sessions.is_empty() {
        assert!(began.elapsed() < HANG, "sessions do not end");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test]
async fn a_large_table_is_loaded_and_followed() {
    let api = Api::start().await;
    let client = api.client(None).await;
    let filler = "x".repeat(100);
    let value = |n: u64| format!("{{\"n\":{n},\"filler\":\"{filler}\"}}");
    let records = (0..30_000).map(|n| put(&format!("key/{n}"), &value(n)));
    let new = Replace::new(records.collect());
    client.replace("t", new).await.unwrap();
    let replica: Replica<HashMap<Arc<str>, serde_json::Value>> = client.replica("t").await.unwrap();
    assert_eq!(replica.create_handle().current().len(), 30_000);
    // A transaction that does not fit into a frame.
    let mut txn = Txn::new();
    txn.ops = (0..1_000)
        .map(|n| Op::Put(put(&format!("key/{n}"), &value(n + 1))))
        .collect();
    let at = client.txn("t", txn).await.unwrap();
    replica.wait_for(at.position, HANG).await.unwrap();
    assert_eq!(replica.create_handle().current()["key/999"]["n"], 1_000);
    let emptied = Replace::new(Vec::new()).unguarded();
    let at = client.replace("t", emptied).await.unwrap();
    replica.wait_for(at.committed.position, HANG).await.unwrap();
    assert!(replica.create_handle().current().is_empty());
}

#[tokio::test]
async fn a_table_beyond_the_replicas_limit_is_refused() {
    let api = Api::start().await;
    let client = api.client(None).await;
    client.put("t", "a", &"x".repeat(2_000)).await.unwrap();
    let builder = client.replica_builder("t").max_table_bytes(1_000);
    let refused = builder.start::<RecordSet>().await.unwrap_err();
    assert_eq!(refused.code(), Code::TooLarge);
}

#[tokio::test]
async fn a_replica_beyond_its_limit_keeps_its_state_until_there_is_room() {
    let api = Api::start().await;
    let client = api.client(None).await;
    let small = client.put("t", "a", &"x".repeat(100)).await.unwrap();
    let start = || client.replica_builder("t").max_table_bytes(1_000).start();
    let replica: Replica<RecordSet> = start().await.unwrap();
    assert_eq!(replica.table_bytes(), 1 + 102 + "general".len());
    let large = client.put("t", "b", &"x".repeat(2_000)).await.unwrap();
    until(
        "it says so",
        || matches!(replica.status(), Status::TooLarge { max: 1_000, bytes } if bytes > 2_000),
    )
    .await;
    let waited = replica.wait_for(large, Duration::from_millis(100)).await;
    assert!(matches!(waited, Err(WaitForError::TooLarge { .. })));
    assert_eq!(replica.position(), small);
    // The same at the start.
    let refused = start().await.map(|_: Replica<RecordSet>| ()).unwrap_err();
    assert_eq!(refused.code(), Code::TooLarge);
    let fits = client.put("t", "b", &"x").await.unwrap();
    replica.wait_for(fits, HANG).await.unwrap();
    until("it is live", || replica.status() == Status::Live).await;
    assert_eq!(replica.create_handle().current().len(), 2);
}

#[tokio::test]
async fn a_missing_table_or_token_is_waited_for_if_told_to() {
    let api = Api::start().await;
    let admin = api.client(None).await;
    let dir = tempfile::TempDir::new().unwrap();
    let file = dir.path().join("token");
    let builder = || Client::builder(&api.url()).token_file(&file);
    // Without the file there is no token: an error, unless the client waits.
    let refused = builder().build().unwrap().replica::<Numbers>("new").await;
    assert_eq!(refused.unwrap_err().code(), Code::Unauthenticated);
    let patient = builder().wait_for_tables(true).build().unwrap();
    let waiting = patient.clone();
    let replica = tokio::spawn(async move { waiting.replica::<Numbers>("new").await });
    let events = tokio::spawn(async move { patient.events("new", None).await });
    let root = admin.create_token("root", Role::Admin, None).await.unwrap();
    let admin = api.client(Some(&root.secret)).await;
    let token = admin.create_token("reader", Role::Read, None).await;
    std::fs::write(&file, format!("{}\n", token.unwrap().secret)).unwrap();
    let refused = builder().build().unwrap().replica::<Numbers>("new").await;
    assert_eq!(refused.unwrap_err().code(), Code::UnknownTable);
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert!(!replica.is_finished() && !events.is_finished());
    admin
        .create_table("new", &TableOptions::default())
        .await
        .unwrap();
    let at = admin.put("new", "a", &1).await.unwrap();
    let replica = replica.await.unwrap().unwrap();
    replica.wait_for(at, HANG).await.unwrap();
    assert!(events.await.unwrap().unwrap().from().seq <= 1);
}

#[tokio::test]
async fn a_token_is_changed_under_replicas_events_and_calls() {
    let api = Api::start().await;
    let anonymous = api.client(None).await;
    let root = anonymous.create_token("root", Role::Admin, None).await;
    let admin = api.client(Some(&root.unwrap().secret)).await;
    let first = admin.create_token("one", Role::Write, None).await.unwrap();
    let secret = Arc::new(std::sync::Mutex::new(first.secret));
    let given = secret.clone();
    let client = Client::builder(&api.url())
        .ping_every(Duration::from_millis(50))
        .token_provider(move || Ok(given.lock().unwrap().clone()))
        .build()
        .unwrap();
    let replica: Replica<Numbers> = client.replica("t").await.unwrap();
    let mut events = client.events("t", None).await.unwrap();
    let mut old = first.info.id;
    for n in 1..=3_u64 {
        let next = admin.create_token("next", Role::Write, None).await.unwrap();
        *secret.lock().unwrap() = next.secret;
        admin.revoke_token(&old).await.unwrap();
        old = next.info.id;
        let at = client.put("t", "a", &n).await.unwrap();
        replica.wait_for(at, HANG).await.unwrap();
        let event = events.next().await.unwrap().unwrap();
        assert_eq!(event.head.position, at);
    }
    // A provider that returns the same token again leads to an error.
    admin.revoke_token(&old).await.unwrap();
    let refused = client.put("t", "a", &4).await.unwrap_err();
    assert_eq!(refused.code(), Code::Unauthenticated);
}

#[tokio::test]
async fn unread_events_come_without_a_gap_or_end_with_the_reason() {
    let mut options = TableOptions::default();
    options.history.max_changes = 10;
    let mut api = Api::with_table(&options).await;
    let client = api.client(None).await;
    let from = client.put("t", "a", &0).await.unwrap();
    let mut events = client.events("t", Some(from)).await.unwrap();
    // More than is received ahead, more than is kept, and a restart, while the test does not read.
    for n in 1..=100 {
        client.put("t", "a", &n).await.unwrap();
        if n % 50 == 0 {
            api.stop().await;
            api.start_again().await;
        }
    }
    let mut last = from.seq;
    let reason = loop {
        let next = tokio::time::timeout(HANG, events.next());
        match next.await.expect("it does not hang") {
            Some(Ok(event)) => {
                assert_eq!(event.head.position.seq, last + 1);
                last += 1;
                if last == 101 {
                    return; // All of them were there.
                }
            }
            Some(Err(error)) => break error,
            None => panic!("it ended without a reason after {last}"),
        }
    };
    assert_eq!(reason.code(), Code::Gone);
    assert!(last > from.seq && events.next().await.is_none());
}

#[tokio::test]
async fn a_replica_that_is_cut_off_hides_what_has_expired_if_told_to() {
    let mut api = Api::start().await;
    let client = api.client(None).await;
    let soon = std::time::SystemTime::now() + Duration::from_secs(5);
    let mut grant = put("grant", "1");
    grant.expires_at = Some(soon.into());
    client.put_record("t", grant, None).await.unwrap();
    let at = client.put("t", "other", &2).await.unwrap();
    let builder = client.replica_builder("t").hide_expired(true);
    let hiding: Replica<Numbers> = builder.start().await.unwrap();
    let plain: Replica<RecordSet> = client.replica("t").await.unwrap();
    hiding.wait_for(at, HANG).await.unwrap();
    let before = (value(&hiding, "grant"), std::time::SystemTime::now());
    if before.1 < soon {
        assert_eq!(before.0, Some(1));
    }
    api.stop().await;
    until("it is hidden", || value(&hiding, "grant").is_none()).await;
    assert!(std::time::SystemTime::now() >= soon);
    assert_eq!(value(&hiding, "other"), Some(2));
    let mut reader = plain.reader();
    let record = reader
        .current()
        .get("grant")
        .expect("it goes on to show it");
    assert!(record.is_expired(std::time::SystemTime::now()));
    assert!(!record.is_expired(hotread_client::Timestamp::EPOCH));
    api.start_again().await;
    let renewed = client.put("t", "grant", &3).await.unwrap();
    hiding.wait_for(renewed, HANG).await.unwrap();
    assert_eq!(value(&hiding, "grant"), Some(3));
}

#[test]
fn programs_without_a_runtime_do_the_same() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let api = runtime.block_on(Api::start());
    let url = format!("http://{}", api.address);
    let client = Client::builder(&url).build_blocking().unwrap();
    let replica: hotread_client::blocking::Replica<Numbers> = client.replica("t").unwrap();
    let mut events = client.events("t", None).unwrap();
    let mut reader = replica.reader();
    for n in 1..=5_u64 {
        let at = client.put("t", "a", &n).unwrap();
        replica.wait_for(at, HANG).unwrap();
        assert_eq!(reader.current()["a"], n);
        assert_eq!(events.next().unwrap().unwrap().head.position, at);
    }
    let mut skipping = client.replica_builder("t").skip_bad_keys(true);
    skipping = skipping.max_table_bytes(1 << 20);
    let skipping: hotread_client::blocking::Replica<Numbers> = skipping.start_blocking().unwrap();
    let at = client.put("t", "bad", "text").unwrap();
    skipping.wait_for(at, HANG).unwrap();
    assert!(matches!(
        skipping.status(),
        Status::Partial { left_out: 1, .. }
    ));
    assert!(matches!(client.get("t", "b"), Ok(None)));
    let unknown = client.replica::<Numbers>("other");
    assert!(matches!(unknown, Err(Error::Api { body, .. }) if body.code == Code::UnknownTable));
}

#[tokio::test]
async fn events_and_changes_say_who_and_why() {
    let api = Api::start().await;
    let anonymous = api.client(None).await;
    let start = anonymous.table_info("t").await.unwrap().position;
    let mut events = anonymous.events("t", None).await.unwrap();
    let note = |text: &str| Note::new(text).unwrap();
    let txn = Txn::new().put(put("a", "0")).note(note("before tokens"));
    anonymous.txn("t", txn).await.unwrap();
    let mut seen = vec![events.next().await.unwrap().unwrap()];
    drop(events);

    let token = anonymous.create_token("deploy", Role::Admin, None).await;
    let client = api.client(Some(&token.unwrap().secret)).await;
    let mut events = client.events("t", None).await.unwrap();
    let table = client.table::<u64>("t").await.unwrap();
    table.put("a", &1).await.unwrap();
    let options = PutOptions::new().note("because");
    table.put_with("a", &2, options).await.unwrap();
    let txn = table.txn().delete("a").unwrap().note("done").unwrap();
    txn.commit().await.unwrap();
    let new = Replace::new(vec![put("b", "1")]).note(note("weekly"));
    table.replace_with(new).await.unwrap();
    while seen.len() < 5 {
        let event = tokio::time::timeout(HANG, events.next()).await.unwrap();
        seen.push(event.unwrap().unwrap());
    }
    let text = |actor: &Option<Actor>, note: &Option<Note>| {
        let actor = actor.as_ref().map(Actor::to_string);
        (actor, note.as_ref().map(Note::to_string))
    };
    let deploy = Some("deploy".to_owned());
    let wanted = [
        (None, Some("before tokens".to_owned())),
        (deploy.clone(), None),
        (deploy.clone(), Some("because".to_owned())),
        (deploy.clone(), Some("done".to_owned())),
        (deploy, Some("weekly".to_owned())),
    ];
    let told: Vec<_> = seen.iter().map(|it| text(&it.actor, &it.note)).collect();
    assert_eq!(told, wanted);
    let changes = client.changes("t", start, None).await.unwrap().changes;
    let kept: Vec<_> = changes.iter().map(|it| text(&it.actor, &it.note)).collect();
    assert_eq!(kept, wanted);
}
