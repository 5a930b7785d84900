//! The processes that are killed: servers, and replicas that print the states that they show.

use super::judge::{Content, Seen};
use hotread_client::Client;
use hotread_server::Server;
use hotread_store::{Store, Synchronous};
use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read};
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, Stdio};
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// Variables with a child's database and its server's address.
const DATABASE: &str = "HOTREAD_CHAOS_DATABASE";
const ADDRESS: &str = "HOTREAD_CHAOS_ADDRESS";
pub(crate) const TABLE: &str = "t";
/// The test whose program the children run.
const TEST: &str = "chaos::kills_lose_nothing_acknowledged_and_replicas_catch_up";
/// Time after which a test counts as hanging.
pub(crate) const HANG: Duration = Duration::from_secs(600);

/// A child process, killed with -9 when it is dropped.
pub(crate) struct Process(Child);

impl Process {
    fn spawn(role: &str, address: SocketAddr, database: &Path) -> Self {
        let child = hotread_testkit::process(TEST, role)
            .env(ADDRESS, address.to_string())
            .env(DATABASE, database)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn();
        Self(child.unwrap())
    }

    /// Starts a server, at any port if it is 0, and waits until it listens.
    pub(crate) fn server(address: SocketAddr, database: &Path) -> (Self, SocketAddr) {
        let mut process = Self::spawn("server", address, database);
        let out = process.0.stdout.take().unwrap();
        let mut lines = BufReader::new(out).lines().map_while(Result::ok);
        let at = lines.find_map(|line| line.strip_prefix("at ").map(|at| at.parse().unwrap()));
        (process, at.expect("the server listens"))
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // SIGKILL.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A replica in a process of its own, and all states that it has shown.
pub(crate) struct Follower {
    _process: Process,
    pub(crate) seen: Arc<Mutex<Vec<Seen>>>,
}

impl Follower {
    pub(crate) fn start(server: SocketAddr) -> Self {
        let mut process = Process::spawn("replica", server, Path::new(""));
        let out = process.0.stdout.take().unwrap();
        let seen = Arc::<Mutex<Vec<Seen>>>::default();
        let shown = seen.clone();
        std::thread::spawn(move || {
            // A line that was cut off by the kill is ignored.
            for line in BufReader::new(out).lines().map_while(Result::ok) {
                let Some(line) = line.strip_prefix("shows ") else {
                    continue;
                };
                let Ok((epoch, seq, content)) = serde_json::from_str(line) else {
                    continue;
                };
                let shows = Seen {
                    epoch,
                    seq,
                    content,
                };
                shown.lock().unwrap().push(shows);
            }
        });
        Self {
            _process: process,
            seen,
        }
    }

    pub(crate) fn last(&self) -> Option<Seen> {
        self.seen.lock().unwrap().last().cloned()
    }
}

/// Runs the child, until it is killed or its parent is gone.
pub(crate) fn run(role: &str) {
    std::thread::spawn(|| {
        let _ = std::io::stdin().read_to_end(&mut Vec::new());
        std::process::exit(0);
    });
    let address: SocketAddr = std::env::var(ADDRESS).unwrap().parse().unwrap();
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .unwrap();
    match role {
        "server" => runtime.block_on(serve(address)),
        _ => runtime.block_on(follow(address)),
    }
}

async fn serve(address: SocketAddr) {
    let store = Store::builder(std::env::var(DATABASE).unwrap()).synchronous(Synchronous::Normal);
    let store = store.open().unwrap();
    let listener = hotread_testkit::listen_again(address);
    let listener = tokio::net::TcpListener::from_std(listener).unwrap();
    println!("\nat {}", listener.local_addr().unwrap());
    let server = Server::builder(store).heartbeat(Duration::from_millis(300));
    let server = server.build().unwrap();
    server
        .serve(listener, std::future::pending())
        .await
        .unwrap();
}

async fn follow(address: SocketAddr) {
    let client = Client::builder(&format!("http://{address}"));
    let client = client.ping_every(Duration::from_millis(200));
    let client = client.build().unwrap();
    let replica = loop {
        // The proxy may break any attempt.
        match client.replica::<BTreeMap<Arc<str>, u64>>(TABLE).await {
            Ok(replica) => break replica,
            Err(_) => tokio::time::sleep(Duration::from_millis(20)).await,
        }
    };
    let mut reader = replica.create_handle();
    let mut last = None;
    loop {
        let position = replica.position();
        let content: Content = reader
            .current()
            .iter()
            .map(|(key, number)| (key.to_string(), *number))
            .collect();
        reader.quiescent();
        // The content is of that position or a later one.
        let shows = (position.epoch.to_string(), position.seq, content);
        if last.as_ref() != Some(&shows) {
            println!("\nshows {}", serde_json::to_string(&shows).unwrap());
            last = Some(shows);
        }
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}
