//! Real processes over real sockets: the server and the replicas are killed with -9 in a loop while several
//! writers write, and replicas follow through a connection that delays, cuts, truncates and repeats bytes.
//! Then the table is dropped and re-created, the database is restored from a backup, and a tail of
//! acknowledged transactions is lost, as a power failure may lose it with `synchronous = NORMAL`.
//!
//! No acknowledged transaction is lost except where that is allowed. Every state that a replica shows is
//! one that the table had, states never go back, and in the end each replica shows the head.
//!
//! `HOTREAD_CHAOS_KILLS` sets the number of kills of the server, 4 by default, and `HOTREAD_CHAOS_SEED` the
//! faults of the connection.

mod judge;
mod process;
mod proxy;

use self::judge::{Content, Ledger, Seen};
use self::process::{Follower, HANG, Process, TABLE};
use hotread_client::{Client, Scan, TableOptions};
use hotread_store::Store;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};
use tokio::task::JoinSet;

const WRITERS: u64 = 3;
const REPLICAS: usize = 3;
/// Transactions that are acknowledged before the next step.
const STRETCH: usize = 40;

fn setting(name: &str, unless: u64) -> u64 {
    std::env::var(name).map_or(unless, |text| text.parse().unwrap())
}

async fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let began = Instant::now();
    while !holds() {
        assert!(began.elapsed() < HANG, "it never comes: {what}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

/// Writers, which repeat each number until it is acknowledged, and then write the next one.
struct Writers {
    stop: Arc<AtomicBool>,
    tasks: JoinSet<()>,
}

impl Writers {
    fn start(client: &Client, ledger: &Arc<Mutex<Ledger>>, from: u64) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let mut tasks = JoinSet::new();
        for writer in 0..WRITERS {
            let (client, ledger, stop) = (client.clone(), ledger.clone(), stop.clone());
            tasks.spawn(async move {
                for n in from.. {
                    let key = format!("{writer}/{}", n % 5);
                    let id = format!("{from}-{writer}-{n}");
                    let committed = loop {
                        let put = hotread_client::Put::new(
                            hotread_client::Key::new(&key).unwrap(),
                            hotread_client::Value::parse(n.to_string().as_bytes()).unwrap(),
                        );
                        let mut txn = hotread_client::Txn::new().put(put);
                        txn.id = Some(hotread_client::TxnId::new(&id).unwrap());
                        // A transaction with the same id is committed once, however often it is repeated.
                        match client.txn(TABLE, txn).await {
                            Ok(committed) => break committed,
                            Err(_) => tokio::time::sleep(Duration::from_millis(20)).await,
                        }
                    };
                    let at = committed.position;
                    let epoch = at.epoch.to_string();
                    ledger.lock().unwrap().ack(&epoch, at.seq, &key, n);
                    if stop.load(Ordering::Relaxed) {
                        return;
                    }
                }
            });
        }
        Self { stop, tasks }
    }

    /// Stops the writers, after everything they began is acknowledged.
    async fn stop(mut self) {
        self.stop.store(true, Ordering::Relaxed);
        while let Some(ended) = self.tasks.join_next().await {
            ended.unwrap();
        }
    }
}

/// Returns the server's table.
async fn table(client: &Client) -> Seen {
    let page = client.scan(TABLE, &Scan::default()).await.unwrap();
    let number = |record: &hotread_client::Record| {
        let value = std::str::from_utf8(record.value()).unwrap();
        (record.key().to_owned(), value.parse().unwrap())
    };
    Seen {
        epoch: page.position.epoch.to_string(),
        seq: page.position.seq,
        content: page.records.iter().map(number).collect(),
    }
}

/// Waits until all is at rest: the table equals what was acknowledged, and each replica equals the table.
async fn settle(client: &Client, ledger: &Arc<Mutex<Ledger>>, followers: &[Follower]) {
    let has = table(client).await;
    ledger.lock().unwrap().judge_table(&has).unwrap();
    for follower in followers {
        let there = || {
            let last = follower.last();
            last.is_some_and(|last| {
                (last.seq, &last.epoch) == (has.seq, &has.epoch) && last.content == has.content
            })
        };
        until("a replica shows the head", there).await;
    }
}

/// Copies the database on disk, including the write-ahead log, while no process has it open.
fn copy_files(from: &Path, to: &Path) {
    let _ = std::fs::remove_dir_all(to);
    std::fs::create_dir(to).unwrap();
    for file in std::fs::read_dir(from).unwrap() {
        let file = file.unwrap();
        std::fs::copy(file.path(), to.join(file.file_name())).unwrap();
    }
}

async fn serve(address: SocketAddr, database: &Path) -> (Process, SocketAddr) {
    let database = database.to_owned();
    let started = tokio::task::spawn_blocking(move || Process::server(address, &database));
    started.await.unwrap()
}

#[test]
fn kills_lose_nothing_acknowledged_and_replicas_catch_up() {
    if let Some(role) = hotread_testkit::part() {
        return process::run(&role);
    }
    let mut runtime = tokio::runtime::Builder::new_multi_thread();
    let runtime = runtime.worker_threads(2).enable_all().build().unwrap();
    runtime.block_on(kill_and_judge());
}

async fn kill_and_judge() {
    let kills = setting("HOTREAD_CHAOS_KILLS", 4);
    let seed = setting("HOTREAD_CHAOS_SEED", 1);
    println!("HOTREAD_CHAOS_SEED={seed} HOTREAD_CHAOS_KILLS={kills}");
    let dir = hotread_testkit::folder();
    let (files, kept) = (dir.path().join("files"), dir.path().join("kept"));
    std::fs::create_dir(&files).unwrap();
    let database = files.join("test.db");
    let (mut server, address) = serve("127.0.0.1:0".parse().unwrap(), &database).await;
    let client = Client::builder(&format!("http://{address}"));
    let client = client.build().unwrap();
    let options = TableOptions::default();
    let made = client.create_table(TABLE, &options).await.unwrap();
    let ledger = Arc::new(Mutex::new(Ledger::default()));
    let begin = |seen: Seen| {
        let mut ledger = ledger.lock().unwrap();
        ledger.begin(seen.epoch, seen.seq, seen.content);
    };
    begin(Seen {
        epoch: made.position.epoch.to_string(),
        seq: 0,
        content: Content::new(),
    });
    let (through, done) = proxy::start(address, seed).await;
    let mut followers: Vec<_> = (0..REPLICAS).map(|_| Follower::start(through)).collect();
    let mut killed = Vec::new();
    let acked = || ledger.lock().unwrap().acked();
    let stretch = async || {
        let enough = acked() + STRETCH;
        until("enough is acknowledged", || acked() >= enough).await;
    };

    // Killed at any moment, with transactions in flight.
    let writers = Writers::start(&client, &ledger, 0);
    for kill in 0..kills {
        stretch().await;
        drop(server);
        (server, _) = serve(address, &database).await;
        stretch().await;
        let at = usize::try_from(kill).unwrap() % REPLICAS;
        let next = Follower::start(through);
        // The drop kills it; the states that it has shown remain.
        killed.push(std::mem::replace(&mut followers[at], next).seen.clone());
    }
    writers.stop().await;
    settle(&client, &ledger, &followers).await;

    // A power failure loses recently acknowledged transactions: an older state of the same epoch.
    let before = table(&client).await;
    drop(server);
    copy_files(&files, &kept);
    (server, _) = serve(address, &database).await;
    let writers = Writers::start(&client, &ledger, 1_000_000);
    stretch().await;
    writers.stop().await;
    settle(&client, &ledger, &followers).await;
    drop(server);
    copy_files(&kept, &files);
    begin(before);
    (server, _) = serve(address, &database).await;
    let writers = Writers::start(&client, &ledger, 2_000_000);
    stretch().await;
    stretch().await;
    writers.stop().await;
    settle(&client, &ledger, &followers).await;

    // An older state from a backup, with another epoch.
    drop(server);
    let (backup, live) = (dir.path().join("backup.db"), database.clone());
    tokio::task::spawn_blocking(move || {
        let store = Store::open(kept.join("test.db")).unwrap();
        store.backup(&backup).unwrap();
        drop(store);
        std::fs::remove_dir_all(live.parent().unwrap()).unwrap();
        std::fs::create_dir(live.parent().unwrap()).unwrap();
        Store::restore(&backup, &live).unwrap();
    })
    .await
    .unwrap();
    (server, _) = serve(address, &database).await;
    begin(table(&client).await);
    let writers = Writers::start(&client, &ledger, 3_000_000);
    stretch().await;
    writers.stop().await;
    settle(&client, &ledger, &followers).await;

    // Dropped and re-created.
    client.drop_table(TABLE).await.unwrap();
    client.create_table(TABLE, &options).await.unwrap();
    begin(table(&client).await);
    let writers = Writers::start(&client, &ledger, 4_000_000);
    stretch().await;
    writers.stop().await;
    settle(&client, &ledger, &followers).await;
    drop(server);

    let mut shown = 0;
    for seen in followers
        .iter()
        .map(|follower| &follower.seen)
        .chain(&killed)
    {
        let seen = seen.lock().unwrap().clone();
        shown += seen.len();
        ledger.lock().unwrap().judge_replica(&seen).unwrap();
    }
    let done: Vec<_> = done.iter().map(|n| n.load(Ordering::Relaxed)).collect();
    println!(
        "{} acknowledged, {shown} states shown; delayed, cut, truncated, repeated: {done:?}",
        acked()
    );
    assert!(
        done.iter().all(|&times| times > 0),
        "the connection was too good"
    );
    assert!(shown >= REPLICAS * 4, "they showed something");
}
