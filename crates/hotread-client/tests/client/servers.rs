//! Clients of several servers: two over one store, one server behind two proxies, and servers of different
//! databases.

use crate::common::proxy::Says::{Instead, Nothing, Truth};
use crate::common::proxy::{Cable, Proxy};
use crate::common::server::{Api, Pair, list, snapshots};
use crate::common::{Fake, HANG, Reply, Scripted, until};
use hotread_client::{
    Client, Code, Error, Events, Key, Put, Replica, Status, TableOptions, Txn, Value,
};
use hotread_proto::session::frame::Begin;
use hotread_testkit::BlackHole;
use std::collections::HashMap;
use std::future::Future;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::time::timeout;

type Numbers = HashMap<Arc<str>, u64>;

/// Longer than any move between servers takes on a busy machine, and shorter than the patience of those who
/// wait for the test.
const MOVED: Duration = Duration::from_secs(60);

/// Waits for what a client does only if it moves in time.
async fn soon<T>(moves: impl Future<Output = T>) -> T {
    timeout(MOVED, moves).await.expect("the client moves")
}

fn client_of(url: &str) -> Client {
    let builder = Client::builder(url).ping_every(Duration::from_millis(50));
    builder.build().unwrap()
}

/// Returns a client that begins with this server.
pub fn beginning_with(first: SocketAddr, addresses: &[SocketAddr]) -> Client {
    let (url, first) = (list(addresses), format!("http://{first}"));
    let mut clients = (0..1_000).map(|_| client_of(&url));
    let found = clients.find(|client| client.server() == first);
    found.expect("the order is random")
}

fn value(replica: &Replica<Numbers>, key: &str) -> Option<u64> {
    replica.create_handle().current().get(key).copied()
}

/// Writes values, and follows each.
async fn write(client: &Client, replica: &Replica<Numbers>, events: &mut Events, values: [u64; 3]) {
    for n in values {
        let at = soon(client.put("t", "a", &n)).await.unwrap();
        assert_eq!(at.seq, n, "each write is applied once");
        replica.wait_for(at, MOVED).await.unwrap();
        assert_eq!(value(replica, "a"), Some(n));
        let event = soon(events.next()).await.unwrap().unwrap();
        assert_eq!(event.head.position, at);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sessions_and_writes_move_when_their_server_dies() {
    let mut pair = Pair::start().await;
    let client = client_of(&pair.url());
    let replica: Replica<Numbers> = client.replica("t").await.unwrap();
    let mut events = client.events("t", None).await.unwrap();
    write(&client, &replica, &mut events, [1, 2, 3]).await;
    let first = pair.named(client.server());
    assert_eq!(replica.server().as_deref(), Some(client.server()));
    assert_eq!(snapshots(pair.addresses[first]).await, 1);

    pair.kill(first).await;
    write(&client, &replica, &mut events, [4, 5, 6]).await;
    let second = pair.named(client.server());
    assert_ne!(second, first);
    assert_eq!(replica.server().as_deref(), Some(client.server()));
    assert_eq!(snapshots(pair.addresses[second]).await, 0, "it resumed");

    // The first one is back, and the client stays where it is until the second one stops.
    pair.start_again(first);
    write(&client, &replica, &mut events, [7, 8, 9]).await;
    assert_eq!(pair.named(client.server()), second);
    assert_eq!(pair.named(&replica.server().unwrap()), second);
    pair.stop(second).await;
    write(&client, &replica, &mut events, [10, 11, 12]).await;
    assert_eq!(pair.named(client.server()), first);
    assert_eq!(snapshots(pair.addresses[first]).await, 0, "it resumed");
    until("it is live", || replica.status() == Status::Live).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn while_all_servers_are_down_clients_wait_for_the_first_to_return() {
    let mut pair = Pair::start().await;
    let client = client_of(&pair.url());
    client.put("t", "a", &1).await.unwrap();
    let replica: Replica<Numbers> = client.replica("t").await.unwrap();
    let first = pair.named(client.server());
    for at in 0..2 {
        pair.kill(at).await;
    }
    until("it notices", || replica.server().is_none()).await;
    assert!(matches!(replica.status(), Status::Stale { .. }));
    let error = client.put("t", "a", &0).await.unwrap_err();
    // Each was tried, and refused the connection.
    assert_eq!(error.code(), Code::Unreachable);
    let named = |address| error.to_string().contains(&format!("http://{address}: "));
    assert!(pair.addresses.iter().all(named), "{error}");
    let writer = client.clone();
    let waits = tokio::spawn(async move { writer.put("t", "a", &2).await });
    pair.start_again(1 - first);
    let at = soon(waits).await.unwrap().unwrap();
    assert_eq!(at.seq, 2);
    replica.wait_for(at, MOVED).await.unwrap();
    assert_eq!(pair.named(&replica.server().unwrap()), 1 - first);
    assert_eq!(snapshots(pair.addresses[1 - first]).await, 0);
}

#[tokio::test]
async fn a_session_that_is_lost_goes_on_at_the_next_server() {
    let (one, other) = (Fake::start().await, Fake::start().await);
    // The same table at both.
    for server in [&one, &other] {
        server.put("a", "1");
    }
    let client = beginning_with(one.address, &[one.address, other.address]);
    let replica: Replica<Numbers> = client.replica("t").await.unwrap();
    let mut events = client.events("t", None).await.unwrap();
    // The first one would accept another connection at once.
    one.cut();
    let at = other.put("a", "2");
    replica.wait_for(at, MOVED).await.unwrap();
    assert_eq!(
        soon(events.next()).await.unwrap().unwrap().head.position,
        at
    );
    let begun = |server: &Fake| -> Vec<Begin> {
        let begun = server.begun().into_iter();
        begun.map(|(begin, _)| begin).collect()
    };
    assert_eq!(begun(&one), [Begin::Snapshot, Begin::Resume]);
    assert_eq!(begun(&other), [Begin::Resume, Begin::Resume]);
    assert_eq!(client.server(), other.url());
}

#[tokio::test]
async fn a_silent_server_is_left() {
    let api = Api::start().await;
    let cables = [Cable::to(api.address).await, Cable::to(api.address).await];
    let addresses = [cables[0].address, cables[1].address];
    let client = beginning_with(addresses[0], &addresses);
    let replica: Replica<Numbers> = client.replica("t").await.unwrap();
    let mut events = client.events("t", None).await.unwrap();
    assert_eq!(snapshots(api.address).await, 1);
    cables[0].silence();
    // Another client writes, so that only the silence of the sessions is noticed.
    let at = api.client(None).await.put("t", "a", &1).await.unwrap();
    replica.wait_for(at, MOVED).await.unwrap();
    assert_eq!(
        soon(events.next()).await.unwrap().unwrap().head.position,
        at
    );
    let second = format!("http://{}", addresses[1]);
    assert_eq!(
        (client.server(), replica.server().as_deref()),
        (&*second, Some(&*second))
    );
    assert_eq!(snapshots(api.address).await, 1, "it resumed");

    // A call notices as well.
    let url = list(&addresses);
    let quick = || {
        Client::builder(&url)
            .max_silence(Duration::from_millis(300))
            .build()
            .unwrap()
    };
    let mut quick = std::iter::repeat_with(quick);
    let quick = quick.find(|client| client.server() != second).unwrap();
    assert_eq!(soon(quick.put("t", "a", &2)).await.unwrap().seq, 2);
    assert_eq!(quick.server(), second);
}

#[tokio::test]
async fn a_black_hole_is_left_after_one_attempt() {
    let api = Api::start().await;
    let hole = BlackHole::open();
    let client = beginning_with(hole.address, &[hole.address, api.address]);
    // A change without an id: it cannot have arrived.
    let options = TableOptions::default();
    soon(client.create_table("new", &options)).await.unwrap();
    assert_eq!(client.server(), api.url());
    // All that follows goes to the other one at once.
    let began = Instant::now();
    let replica: Replica<Numbers> = soon(client.replica("new")).await.unwrap();
    let at = client.put("new", "a", &1).await.unwrap();
    replica.wait_for(at, HANG).await.unwrap();
    assert!(
        began.elapsed() < Duration::from_secs(5),
        "{:?}",
        began.elapsed()
    );
    let session = beginning_with(hole.address, &[hole.address, api.address]);
    let followed: Replica<Numbers> = soon(session.replica("new")).await.unwrap();
    assert_eq!(
        (value(&followed, "a"), session.server()),
        (Some(1), &*api.url())
    );
}

const BUSY: &str = r#"{"code":"BUSY","message":"too much is waiting"}"#;

fn busy(times: usize) -> Vec<Reply> {
    (0..times)
        .map(|_| Reply::Answer(503, BUSY.to_owned()))
        .collect()
}

#[tokio::test]
async fn a_write_is_tried_at_each_server_under_one_id_before_each_wait() {
    // More answers than are asked for.
    let servers = [
        Scripted::start(busy(9)).await,
        Scripted::start(busy(9)).await,
    ];
    let client = client_of(&list(&servers.each_ref().map(|server| server.address)));
    let began = Instant::now();
    let error = client.put("t", "a", &1).await.unwrap_err();
    assert_eq!(error.code(), Code::Busy);
    // Five waits, as with one server: from 50 ms to 0.8 s at the least.
    let waited = began.elapsed();
    assert!(waited >= Duration::from_millis(1_550), "{waited:?}");
    let mut bodies = Vec::new();
    for server in &servers {
        let requests = server.requests();
        assert_eq!(requests.len(), 6);
        bodies.extend(requests.into_iter().map(|(_, body)| body));
    }
    assert!(bodies[0].contains("\"id\""), "{}", bodies[0]);
    assert!(bodies.iter().all(|body| *body == bodies[0]), "{bodies:?}");
}

#[tokio::test]
async fn a_server_that_is_busy_costs_one_attempt_and_no_wait() {
    let (busy, api) = (Scripted::start(busy(1)).await, Api::start().await);
    let client = beginning_with(busy.address, &[busy.address, api.address]);
    for n in 1..=3 {
        assert_eq!(client.put("t", "a", &n).await.unwrap().seq, n);
        assert_eq!(client.server(), api.url());
    }
    assert_eq!(busy.requests().len(), 1);
}

/// Returns a server behind two proxies, in the order in which the client tries them.
async fn twice() -> (Api, Client, [Proxy; 2]) {
    let api = Api::start().await;
    let same = str::to_owned;
    let proxies = [
        Proxy::start(api.address, same).await,
        Proxy::start(api.address, same).await,
    ];
    let client = beginning_with(
        proxies[0].address,
        &[proxies[0].address, proxies[1].address],
    );
    (api, client, proxies)
}

#[tokio::test]
async fn a_write_whose_answer_is_lost_is_repeated_elsewhere_and_applied_once() {
    let (api, client, proxies) = twice().await;
    for (n, lie) in (1..).zip([
        Nothing,
        Instead("HTTP/1.1 502 x\r\nconnection: close\r\ncontent-length: 0\r\n\r\n"),
        Instead("HTTP/1.1 200 x\r\nconnection: close\r\ncontent-length: 6\r\n\r\n<html>"),
    ]) {
        let first = usize::from(client.server() != proxies[0].url());
        proxies[first].says(&[lie]);
        assert_eq!(client.put("t", "a", &n).await.unwrap().seq, n);
        assert_eq!(client.server(), proxies[1 - first].url());
    }
    // Without any answer, the id finds out.
    for proxy in &proxies {
        proxy.says(&[const { Nothing }; 6]);
    }
    let unknown = client.put("t", "a", &4).await.unwrap_err();
    let Error::CommitUnknown { id, .. } = unknown else {
        panic!("{unknown:?}")
    };
    let put = Put::new(Key::new("a").unwrap(), Value::parse(b"4").unwrap());
    let txn = Txn {
        id: Some(id),
        ..Txn::new().put(put)
    };
    assert_eq!(client.txn("t", txn).await.unwrap().position.seq, 4);
    let info = api.client(None).await.table_info("t").await.unwrap();
    assert_eq!(info.position.seq, 4);
}

#[tokio::test]
async fn a_change_without_an_id_goes_elsewhere_only_if_it_was_never_sent() {
    let options = TableOptions::default();
    let (api, client, proxies) = twice().await;
    proxies[0].says(&[Nothing]);
    // The other one would forward it, and take its mark from the script.
    proxies[1].says(&[Truth]);
    let lost = client.create_table("one", &options).await.unwrap_err();
    assert!(matches!(lost, Error::OutcomeUnknown { .. }), "{lost:?}");
    assert_eq!(proxies[1].script.lock().unwrap().len(), 1);
    // The next call goes there all the same.
    assert_eq!(client.server(), proxies[1].url());
    assert!(client.table_info("one").await.is_ok());

    let busy = Scripted::start(busy(2)).await;
    let client = beginning_with(busy.address, &[busy.address, api.address]);
    let refused = client.create_table("two", &options).await.unwrap_err();
    assert_eq!(refused.code(), Code::Busy);
    assert_eq!(client.server(), api.url());
    assert_eq!(
        client.table_info("two").await.unwrap_err().code(),
        Code::UnknownTable
    );

    let closed = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let refusing = closed.local_addr().unwrap();
    drop(closed);
    let client = beginning_with(refusing, &[refusing, api.address]);
    client.create_table("two", &options).await.unwrap();
    assert_eq!(client.server(), api.url());
}

#[tokio::test]
async fn another_database_is_loaded_with_a_reason_and_never_mixed_in() {
    let (mut one, other) = (Fake::start().await, Fake::start().await);
    one.put("a", "1");
    one.put("only here", "2");
    // The same epoch and position, with another content.
    other.put("a", "3");
    let at = other.put("b", "4");
    let client = beginning_with(one.address, &[one.address, other.address]);
    let replica: Replica<Numbers> = client.replica("t").await.unwrap();
    assert_eq!((replica.position(), value(&replica, "a")), (at, Some(1)));
    one.stop().await;
    let theirs = Numbers::from([("a".into(), 3), ("b".into(), 4)]);
    soon(until("it is loaded", || {
        *replica.create_handle().current() == theirs
    }))
    .await;
    let (begin, reason) = other.begun().remove(0);
    assert_eq!(begin, Begin::Snapshot);
    assert!(reason.unwrap().contains("digest at 2 differs"));

    // Another epoch, and a client that wants each transaction.
    let (mut one, other) = (Fake::start().await, Fake::start().await);
    one.put("a", "1");
    other.recreate(2);
    other.put("a", "2");
    let client = beginning_with(one.address, &[one.address, other.address]);
    let replica: Replica<Numbers> = client.replica("t").await.unwrap();
    let mut events = client.events("t", None).await.unwrap();
    one.stop().await;
    let error = soon(events.next()).await.unwrap().unwrap_err();
    assert_eq!(error.code(), Code::EpochChanged);
    soon(until("it is loaded", || value(&replica, "a") == Some(2))).await;
    let begun = other.begun();
    let reason = begun.iter().find_map(|(_, reason)| reason.as_deref());
    assert_eq!(reason, Some("the table has a new epoch"));
}

#[test]
fn programs_without_a_runtime_move_as_well() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let mut pair = runtime.block_on(Pair::start());
    let client = hotread_client::blocking::Client::new(&pair.url()).unwrap();
    let table = client.table::<u64>("t").unwrap();
    let mut events = client.events("t", None).unwrap();
    let mut reader = table.reader();
    for n in 1..=6 {
        if n == 4 {
            let first = pair.named(client.server());
            runtime.block_on(pair.kill(first));
        }
        let at = table.put("a", &n).unwrap();
        table.wait_for(at, MOVED).unwrap();
        assert_eq!(reader.current()["a"], n);
        let event = events.next_within(MOVED).unwrap().unwrap();
        assert_eq!((event.head.position, at.seq), (at, n));
    }
    assert_eq!(table.server().as_deref(), Some(client.server()));
}

#[tokio::test]
async fn a_copy_on_disk_is_that_of_all_servers_of_the_client() {
    let mut pair = Pair::start().await;
    let dir = tempfile::tempdir().unwrap();
    let urls = [
        list(&pair.addresses),
        list(&[pair.addresses[1], pair.addresses[0]]),
    ];
    let client = |url: &str| Client::builder(url).cache_dir(dir.path()).build().unwrap();
    let saving = client(&urls[0]);
    saving.put("t", "a", &1).await.unwrap();
    let replica: Replica<Numbers> = saving.replica("t").await.unwrap();
    replica.save().await.unwrap();
    drop(replica);
    for at in 0..2 {
        pair.kill(at).await;
    }
    let offline: Replica<Numbers> = client(&urls[1]).replica("t").await.unwrap();
    assert!(matches!(offline.status(), Status::Offline { .. }));
    assert_eq!(value(&offline, "a"), Some(1));
}

#[test]
fn addresses_that_are_not_those_of_one_service_are_refused() {
    for url in [
        "http://a:1,https://b:1",
        "http://a:1,ws://a:1",
        "http://a:1,",
    ] {
        let refused = Client::new(url).unwrap_err();
        assert!(matches!(refused, Error::BadUrl(_)), "{refused:?}");
        assert_eq!(refused.code(), Code::BadConfig);
    }
}
