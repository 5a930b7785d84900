//! Sync sessions over real sockets: a store, a server, and replicas that the client's end of the protocol
//! drives.

use crate::common::replica::{self, Replica, connect, connect_with, next_frame, say};
use futures_util::stream::{SplitSink, SplitStream};
use futures_util::{SinkExt, StreamExt};
use hotread_proto::session::frame::{ClientFrame, Hello, ServerFrame};
use hotread_proto::session::{Cause, SUBPROTOCOL};
use hotread_proto::{Code, Key, Put, Replace, TableName, Txn, Value};
use hotread_server::Server;
use hotread_store::{Role, Store, TableOptions};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tokio_tungstenite::tungstenite::Message;

/// A server on a free port, over a store in a directory of its own.
struct Running {
    store: Option<Store>,
    address: SocketAddr,
    stop: Option<oneshot::Sender<()>>,
    task: JoinHandle<()>,
    dir: tempfile::TempDir,
}

fn table() -> TableName {
    TableName::new("t").unwrap()
}

fn put(key: &str, json: &str) -> Put {
    Put::new(
        Key::new(key).unwrap(),
        Value::parse(json.as_bytes()).unwrap(),
    )
}

impl Running {
    async fn start() -> Self {
        let dir = hotread_testkit::folder();
        let store = Store::open(dir.path().join("s.db")).unwrap();
        store
            .create_table(&table(), TableOptions::default())
            .unwrap();
        Self::over(store, dir, "127.0.0.1:0".parse().unwrap()).await
    }

    async fn over(store: Store, dir: tempfile::TempDir, address: SocketAddr) -> Self {
        let listener = TcpListener::from_std(hotread_testkit::listen_again(address)).unwrap();
        let address = listener.local_addr().unwrap();
        let server = Server::builder(store.clone())
            .heartbeat(Duration::from_millis(200))
            .goodbye_spread(Duration::ZERO)
            .build()
            .unwrap();
        let (stop, stopped) = oneshot::channel::<()>();
        let task = tokio::spawn(async move {
            let stopped = async {
                let _ = stopped.await;
            };
            server.serve(listener, stopped).await.unwrap();
        });
        Self {
            store: Some(store),
            address,
            stop: Some(stop),
            task,
            dir,
        }
    }

    fn store(&self) -> &Store {
        self.store.as_ref().unwrap()
    }

    fn commit(&self, txn: Txn) -> u64 {
        let committed = self.store().commit(&table(), txn).unwrap();
        committed.position.seq
    }

    /// Stops the server, and starts another one over the same file at the same address.
    async fn restart(mut self) -> Self {
        drop(self.stop.take());
        self.task.await.unwrap();
        drop(self.store.take());
        let store = Store::open(self.dir.path().join("s.db")).unwrap();
        Self::over(store, self.dir, self.address).await
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_replica_loads_the_table_and_then_follows_it() {
    let running = Running::start().await;
    for n in 0..100 {
        running.commit(Txn::new().put(put(&format!("k{n}"), &n.to_string())));
    }
    let mut replica = Replica::new(running.address, "t");
    replica.until(100).await;
    assert_eq!(replica.causes, [Cause::First]);
    let seq = running.commit(
        Txn::new()
            .put(put("k5", "\"new\""))
            .delete(Key::new("k6").unwrap()),
    );
    replica.until(seq).await;
    assert_eq!(replica.state["k5"], "\"new\"");
    assert!(!replica.state.contains_key("k6"));
    assert_eq!(replica.state.len(), 99);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_table_of_many_parts_that_is_written_to_meanwhile_arrives_whole() {
    let running = Running::start().await;
    let filler = "x".repeat(2_000);
    let records = (0..3_000).map(|n| put(&format!("{n:05}"), &format!("\"{filler}{n}\"")));
    let all = Replace::new(records.collect());
    running.store().replace(&table(), all).unwrap();
    let store = running.store().clone();
    let writer = std::thread::spawn(move || {
        let mut last = 0;
        for n in 0..500 {
            let key = format!("{:05}", n * 6);
            let txn = Txn::new()
                .put(put(&key, &n.to_string()))
                .delete(Key::new(&format!("{:05}", n * 6 + 3)).unwrap());
            last = store.commit(&table(), txn).unwrap().position.seq;
        }
        last
    });
    let mut replicas: Vec<_> = (0..4).map(|_| Replica::new(running.address, "t")).collect();
    let last = tokio::task::spawn_blocking(|| writer.join().unwrap())
        .await
        .unwrap();
    for replica in &mut replicas {
        replica.until(last).await;
        let table = running.store().snapshot(&table()).unwrap();
        assert_eq!(replica.state.len(), table.len());
        for record in &table {
            assert_eq!(replica.state[record.key()].as_bytes(), record.value());
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn after_a_restart_a_replica_resumes_without_a_snapshot() {
    let running = Running::start().await;
    running.commit(Txn::new().put(put("a", "1")));
    let mut replica = Replica::new(running.address, "t");
    replica.until(1).await;
    let running = running.restart().await;
    let seq = running.commit(Txn::new().put(put("b", "2")));
    replica.until(seq).await;
    assert_eq!(replica.causes, [Cause::First, Cause::Txn]);
    assert_eq!(replica.state.len(), 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_table_that_is_made_again_is_noticed() {
    let running = Running::start().await;
    for n in 0..5 {
        running.commit(Txn::new().put(put(&format!("k{n}"), "1")));
    }
    let mut replica = Replica::new(running.address, "t");
    replica.until(5).await;
    running.store().drop_table(&table()).unwrap();
    running
        .store()
        .create_table(&table(), TableOptions::default())
        .unwrap();
    let seq = running.commit(Txn::new().put(put("only", "1")));
    replica.until_state(|state| state.len() == 1).await;
    assert_eq!(replica.position().unwrap().seq, seq);
    assert!(
        matches!(replica.causes[1], Cause::Snapshot { .. }),
        "{:?}",
        replica.causes
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_refused_value_stops_the_replica_until_it_is_fixed() {
    let running = Running::start().await;
    running.commit(Txn::new().put(put("a", "1")));
    let mut replica = Replica::new(running.address, "t");
    replica.until(1).await;
    running.commit(Txn::new().put(put("a", "\"poison\"")).put(put("b", "1")));
    running.commit(Txn::new().put(put("c", "1")));
    replica.until_rejected().await;
    assert_eq!(replica.position().unwrap().seq, 1);
    assert_eq!(replica.state.len(), 1);
    let seq = running.commit(Txn::new().put(put("a", "2")));
    replica.until(seq).await;
    assert_eq!(replica.state.len(), 3);
    assert_eq!(replica.state["a"], "2");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_no_session_of_ours_is_refused_before_it_begins() {
    let running = Running::start().await;
    let refused = connect(running.address, "nothing", Some(SUBPROTOCOL))
        .await
        .unwrap_err();
    assert_eq!(refused, (404, Some(Code::UnknownTable)));
    for protocol in [None, Some("hotread.v9+json")] {
        let refused = connect(running.address, "t", protocol).await.unwrap_err();
        assert_eq!(refused, (400, Some(Code::BadRequest)), "{protocol:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_session_that_breaks_the_rules_is_told_so() {
    let running = Running::start().await;
    let old = ClientFrame::Hello(Hello {
        v: 0,
        name: None,
        from: None,
        coalesce: false,
        snapshot: true,
    });
    for (text, code) in [
        ("not json".to_owned(), Code::ProtocolError),
        (r#"{"ping":{"n":1}}"#.to_owned(), Code::ProtocolError),
        (old.encode(), Code::UnsupportedVersion),
    ] {
        let mut socket = connect(running.address, "t", Some(SUBPROTOCOL))
            .await
            .unwrap();
        say(&mut socket, text.clone()).await;
        match next_frame(&mut socket).await {
            Some(ServerFrame::Error(body)) => assert_eq!(body.code, code, "{text}"),
            other => panic!("{text}: {other:?}"),
        }
        assert!(next_frame(&mut socket).await.is_none(), "{text}");
    }
    let mut socket = connect(running.address, "t", Some(SUBPROTOCOL))
        .await
        .unwrap();
    say(
        &mut socket,
        format!(r#"{{"later":"{}"}}"#, "x".repeat(100_000)),
    )
    .await;
    match next_frame(&mut socket).await {
        // A connection that is cut with unread bytes may be reset before the error is read.
        Some(ServerFrame::Error(body)) => assert_eq!(body.code, Code::ProtocolError),
        other => assert!(other.is_none(), "too large a frame: {other:?}"),
    }
}

/// Opens a session with a token, or without one, and reads its welcome.
async fn welcomed(running: &Running, secret: Option<&str>) -> replica::Socket {
    let mut socket = connect_with(running.address, "t", secret).await.unwrap();
    say(
        &mut socket,
        r#"{"hello":{"v":1,"snapshot":false}}"#.to_owned(),
    )
    .await;
    match next_frame(&mut socket).await {
        Some(ServerFrame::Welcome(_)) => socket,
        other => panic!("{other:?}"),
    }
}

/// Checks that the session's last frame reports that the token is no longer valid.
async fn is_shut_out(mut socket: replica::Socket) {
    loop {
        match next_frame(&mut socket).await {
            Some(ServerFrame::Error(body)) => {
                assert_eq!(body.code, Code::Unauthenticated);
                break;
            }
            Some(ServerFrame::Txn(_)) => panic!("a change came after the token was gone"),
            Some(_) => {}
            None => panic!("it ended without a word"),
        }
    }
    assert!(next_frame(&mut socket).await.is_none());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tokens_changed_by_another_process_end_their_sessions() {
    let running = Running::start().await;
    let store = running.store().clone();
    let anonymous = welcomed(&running, None).await;
    let admin = store.create_token("root", Role::Admin, None).unwrap();
    // Later changes are not for them.
    running.commit(Txn::new().put(put("a", "1")));
    is_shut_out(anonymous).await;
    let refused = connect_with(running.address, "t", None).await.unwrap_err();
    assert_eq!(refused, (401, Some(Code::Unauthenticated)));

    let reader = store.create_token("r", Role::Read, Some(vec![table()]));
    let reader = reader.unwrap();
    let (theirs, ours) = (
        welcomed(&running, Some(&reader.secret)).await,
        welcomed(&running, Some(&admin.secret)).await,
    );
    store.revoke_token(&reader.info.id).unwrap();
    running.commit(Txn::new().put(put("b", "1")));
    is_shut_out(theirs).await;
    let mut ours = ours;
    loop {
        match next_frame(&mut ours).await {
            Some(ServerFrame::Txn(txn)) if txn.to == 2 => break,
            Some(ServerFrame::Error(body)) => panic!("{body:?}"),
            Some(_) => {}
            None => panic!("it ended"),
        }
    }
    let other = store.create_token(
        "o",
        Role::Read,
        Some(vec![TableName::new("other").unwrap()]),
    );
    let other = other.unwrap().secret;
    let refused = connect_with(running.address, "t", Some(&other))
        .await
        .unwrap_err();
    assert_eq!(refused, (403, Some(Code::Forbidden)));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_token_that_is_revoked_over_http_ends_its_sessions_at_once() {
    let running = Running::start().await;
    let admin = running
        .store()
        .create_token("root", Role::Admin, None)
        .unwrap();
    let reader = running.store().create_token("r", Role::Read, None).unwrap();
    let session = welcomed(&running, Some(&reader.secret)).await;
    let url = format!("http://{}/v1/tokens/{}", running.address, reader.info.id);
    let asked = reqwest::Client::new()
        .delete(url)
        .bearer_auth(&admin.secret);
    assert_eq!(asked.send().await.unwrap().status().as_u16(), 200);
    is_shut_out(session).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_that_is_slow_after_its_snapshot_need_not_load_again() {
    const CHANGES: u64 = 300;
    let running = Running::start().await;
    let (store, table) = (running.store(), TableName::new("busy").unwrap());
    let mut options = TableOptions::default();
    options.history.max_changes = 20;
    store.create_table(&table, options).unwrap();
    let value = format!("\"{}\"", "x".repeat(200_000));
    let commit = || {
        let txn = Txn::new().put(put("k", &value));
        store.commit(&table, txn).unwrap().position.seq
    };
    let first = commit();
    let protocol = Some(SUBPROTOCOL);
    let mut socket = connect(running.address, "busy", protocol).await.unwrap();
    let hello = r#"{"hello":{"v":1,"snapshot":true}}"#;
    say(&mut socket, hello.to_owned()).await;
    loop {
        match next_frame(&mut socket).await {
            Some(ServerFrame::SnapshotEnd(end)) => break assert_eq!(end.at, first),
            frame => assert!(frame.is_some()),
        }
    }
    // While it is busy with that, and only pings, more is committed than the connection and the history can
    // hold.
    let (sink, mut stream, pinging) = pinging(socket);
    for _ in 0..CHANGES {
        tokio::task::block_in_place(commit);
    }
    let mut at = first;
    while at < first + CHANGES {
        let Some(Ok(Message::Text(text))) = stream.next().await else {
            panic!("the connection ended after {at}");
        };
        match ServerFrame::decode(&text).unwrap() {
            ServerFrame::Txn(txn) => {
                assert_eq!(txn.from, at + 1);
                at = txn.to;
            }
            ServerFrame::Heartbeat(_) | ServerFrame::Pong(_) => {}
            other => panic!("after {at}: {other:?}"),
        }
    }
    // Once it has caught up, the history is trimmed to its limit.
    let ack = Message::text(ClientFrame::Ack { seq: at }.encode());
    sink.lock().await.send(ack).await.unwrap();
    let began = std::time::Instant::now();
    while store.floor(&table).unwrap() <= first {
        assert!(
            began.elapsed() < Duration::from_secs(60),
            "it is kept for good"
        );
        tokio::task::block_in_place(commit);
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert!(!pinging.is_finished(), "the session goes on");
    pinging.abort();
}

type Sink = Arc<tokio::sync::Mutex<SplitSink<replica::Socket, Message>>>;

/// A connection whose client sends a ping ten times a second, regardless of what it reads.
fn pinging(socket: replica::Socket) -> (Sink, SplitStream<replica::Socket>, JoinHandle<()>) {
    let (sink, stream) = socket.split();
    let sink = Arc::new(tokio::sync::Mutex::new(sink));
    let pings = sink.clone();
    let pinging = tokio::spawn(async move {
        for n in 0.. {
            let ping = Message::text(ClientFrame::Ping { n }.encode());
            if pings.lock().await.send(ping).await.is_err() {
                return;
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    });
    (sink, stream, pinging)
}

/// More values of [`LARGE`] bytes than the connection of a client that reads nothing can hold.
const UNREAD: u64 = 50;
const LARGE: usize = 200_000;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_snapshot_that_ends_behind_the_recent_changes_is_let_go_of() {
    let running = Running::start().await;
    let (store, table) = (running.store(), TableName::new("busy").unwrap());
    let mut options = TableOptions::default();
    options.history.max_changes = 20;
    store.create_table(&table, options).unwrap();
    let value = format!("\"{}\"", "x".repeat(LARGE));
    let commit = |n: u64| {
        let txn = Txn::new().put(put(&format!("{:02}", n % UNREAD), &value));
        store.commit(&table, txn).unwrap().position.seq
    };
    let all = || tokio::task::block_in_place(|| (0..UNREAD).map(commit).max().unwrap());
    let first = all();
    let protocol = Some(SUBPROTOCOL);
    let mut socket = connect(running.address, "busy", protocol).await.unwrap();
    let hello = r#"{"hello":{"v":1,"snapshot":true}}"#;
    say(&mut socket, hello.to_owned()).await;
    let (sink, mut stream, pinging) = pinging(socket);
    let mut frame = async || loop {
        match stream.next().await {
            Some(Ok(Message::Text(text))) => break ServerFrame::decode(&text).unwrap(),
            Some(Ok(_)) => {}
            over => panic!("the connection ended: {over:?}"),
        }
    };
    // The connection is full of parts, then of changes up to the snapshot's end; when the client reads the
    // end, the changes after it are only in the history.
    let mut records = 0;
    let mut head = first;
    while records < UNREAD {
        if let ServerFrame::Snapshot(part) = frame().await {
            if records == 0 {
                head = all();
            }
            records += part.records.len() as u64;
        }
    }
    // More than the server has in memory, and the piece of the history that may have the end.
    for _ in 0..3 {
        head += UNREAD;
        assert_eq!(all(), head);
    }
    let (mut at, mut snapshot) = (0, 0);
    while at < head {
        match frame().await {
            ServerFrame::SnapshotEnd(end) => {
                assert!((first..head).contains(&end.at), "{}", end.at);
                (at, snapshot) = (end.at, end.at);
            }
            ServerFrame::Txn(txn) => at = at.max(txn.to),
            ServerFrame::Heartbeat(_) | ServerFrame::Pong(_) => {}
            other => panic!("after {at}: {other:?}"),
        }
    }
    // The session's permit and the history are released, as after any snapshot, once the client has caught
    // up.
    let began = std::time::Instant::now();
    while store.floor(&table).unwrap() <= snapshot {
        assert!(
            began.elapsed() < Duration::from_secs(60),
            "it is kept for good"
        );
        // Small, so that the limit of pinned history is not reached.
        let small = Txn::new().put(put("small", "1"));
        tokio::task::block_in_place(|| store.commit(&table, small).unwrap());
        if let ServerFrame::Txn(txn) = frame().await {
            at = txn.to;
        }
        let ack = Message::text(ClientFrame::Ack { seq: at }.encode());
        sink.lock().await.send(ack).await.unwrap();
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    pinging.abort();
}
