//! The server under attack: a process of its own, so that its memory can be measured. It also writes to its
//! tables, without a pause, so that there are changes to follow.

use hotread_proto::{Key, Put, Replace, TableName, Txn, Value};
use hotread_server::{Options, Server};
use hotread_store::{CommitError, Store, Synchronous, TableOptions};
use rustix::process::{Pid, Signal, kill_process};
use std::ffi::OsString;
use std::fs::File;
use std::io::{BufRead, BufReader, Read};
use std::net::SocketAddr;
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

/// Variable with the child's database.
const DATABASE: &str = "HOTREAD_HOSTILE_DATABASE";
/// Variable with the most connections of one address; all together may have twice that.
const MAX_CONNECTIONS: &str = "HOTREAD_HOSTILE_CONNECTIONS";
/// Variable that adds tables for callers that ask for much work.
const WORKING: &str = "HOTREAD_HOSTILE_WORKING";
/// Variable with the time limit for the head of a request, and for a peer that receives nothing.
const PATIENCE_MS: &str = "HOTREAD_HOSTILE_PATIENCE";
/// File with its standard error.
const ERRORS: &str = "errors";
/// A small table that changes all the time, and a large one, which is slow to load.
pub(crate) const BUSY: &str = "busy";
pub(crate) const LARGE: &str = "large";
/// Records of the large table, and bytes of each: 12 MB.
pub(crate) const RECORDS: usize = 3_000;
const RECORD_BYTES: usize = 4_000;
/// A table with a full-text index, whose records all have words with common prefixes; and one whose values
/// are checked by the most expensive schema that is allowed.
pub(crate) const SEARCHED: &str = "searched";
pub(crate) const CHECKED: &str = "checked";
/// Records of the searched table.
const SEARCHED_RECORDS: usize = 30_000;
/// Records that a replacement can change.
pub(crate) const REPLACED: usize = 20_000;
/// Changes of the busy table before it is served: 4 MB, and more than memory keeps.
const PAST: usize = 1_200;
/// Changes in one transaction, to save time.
const GROUP: usize = 400;
/// Pause between two changes of each table.
const PAUSE: Duration = Duration::from_millis(20);
/// Time for running work once it is told to stop.
pub(crate) const DRAIN: Duration = Duration::from_secs(1);
/// Time for which its runtime keeps an idle blocking thread.
pub(crate) const KEEP_ALIVE: Duration = Duration::from_secs(1);
/// Default of its patience.
pub(crate) const PATIENCE: Duration = Duration::from_secs(2);
/// Memory that the server may take for bodies and answers.
pub(crate) const BUFFERED: usize = 128 << 20;

/// The process.
pub(crate) struct Victim {
    child: Child,
    pub(crate) address: SocketAddr,
    dir: tempfile::TempDir,
}

impl Victim {
    /// Starts it with tables for callers that ask for much work.
    pub(crate) async fn working(connections: usize) -> Self {
        Self::start_as(connections, PATIENCE, true, Vec::new()).await
    }

    /// Starts it with these variables in its environment.
    pub(crate) async fn with(environment: Vec<(&'static str, OsString)>) -> Self {
        Self::start_as(100, PATIENCE, false, environment).await
    }

    /// Starts it with a limit of `connections` of one address, and twice as many of all, and a time limit
    /// for silent peers.
    pub(crate) async fn start(connections: usize, patience: Duration) -> Self {
        Self::start_as(connections, patience, false, Vec::new()).await
    }

    /// Starts it. Each test begins with this call, at which the child process takes another path than the
    /// test.
    async fn start_as(
        connections: usize,
        patience: Duration,
        working: bool,
        environment: Vec<(&'static str, OsString)>,
    ) -> Self {
        let test = hotread_testkit::this_test();
        let started = tokio::task::spawn_blocking(move || match hotread_testkit::part() {
            Some(_) => run(),
            None => Self::spawn(&test, connections, patience, working, environment),
        });
        started.await.unwrap()
    }

    fn spawn(
        test: &str,
        connections: usize,
        patience: Duration,
        working: bool,
        environment: Vec<(&'static str, OsString)>,
    ) -> Self {
        let dir = hotread_testkit::folder();
        let errors = File::create(dir.path().join(ERRORS)).unwrap();
        let mut child = hotread_testkit::process(test, "server")
            .env(DATABASE, dir.path().join("test.db"))
            .env(MAX_CONNECTIONS, connections.to_string())
            .env(WORKING, working.to_string())
            .env(PATIENCE_MS, patience.as_millis().to_string())
            .envs(environment)
            .stdin(Stdio::piped())
            .stderr(errors)
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let address = lines
            .by_ref()
            .map(|line| line.unwrap())
            .find_map(|line| Some(line.strip_prefix("at ")?.parse().unwrap()));
        // The harness's later output must have a reader, too.
        std::thread::spawn(move || lines.for_each(drop));
        Self {
            child,
            address: address.expect("it says where it listens"),
            dir,
        }
    }

    /// Returns its standard error so far.
    pub(crate) fn errors(&self) -> String {
        std::fs::read_to_string(self.dir.path().join(ERRORS)).unwrap()
    }

    /// Returns its resident anonymous memory, in bytes.
    pub(crate) fn resident(&self) -> usize {
        let path = format!("/proc/{}/status", self.child.id());
        let status = std::fs::read_to_string(path).unwrap();
        let line = status.lines().find_map(|l| l.strip_prefix("RssAnon:"));
        let kib = line.unwrap().trim().strip_suffix(" kB").unwrap();
        kib.parse::<usize>().unwrap() << 10
    }

    /// Tells it to stop, and waits until it has. Returns the time that took; `None`: it took too long.
    pub(crate) fn stop(&mut self, within: Duration) -> Option<Duration> {
        drop(self.child.stdin.take());
        let began = Instant::now();
        while began.elapsed() < within {
            if let Some(status) = self.child.try_wait().unwrap() {
                assert!(status.success(), "{status}");
                return Some(began.elapsed());
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        None
    }

    /// Stops or continues the process.
    pub(crate) fn signal(&self, signal: Signal) {
        let child = Pid::from_child(&self.child);
        kill_process(child, signal).unwrap();
    }

    pub(crate) fn is_running(&mut self) -> bool {
        self.child.try_wait().unwrap().is_none()
    }
}

impl Drop for Victim {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprint!("{}", self.errors());
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Runs the child, until its standard input ends.
fn run() -> ! {
    let path = std::env::var(DATABASE).unwrap();
    let connections: usize = std::env::var(MAX_CONNECTIONS).unwrap().parse().unwrap();
    let store = Store::builder(path).synchronous(Synchronous::Normal);
    let store = store.open().unwrap();
    for name in [BUSY, LARGE] {
        let table = TableName::new(name).unwrap();
        store.create_table(&table, TableOptions::default()).unwrap();
    }
    let filler = "x".repeat(RECORD_BYTES);
    let records = (0..RECORDS).map(|n| put(&format!("{n:06}"), &format!("\"{filler}\"")));
    let all = Replace::new(records.collect());
    let large = TableName::new(LARGE).unwrap();
    store.replace(&large, all).unwrap();
    // A past that memory no longer has.
    let busy = TableName::new(BUSY).unwrap();
    for group in 0..PAST / GROUP {
        let submit = |n: usize| {
            let value = format!("\"{filler}{group} {n}\"");
            store.submit(&busy, Txn::new().put(put("past", &value)))
        };
        for ticket in (0..GROUP).map(submit).collect::<Vec<_>>() {
            ticket.unwrap().wait().unwrap();
        }
    }
    if std::env::var(WORKING).unwrap() == "true" {
        prepare(&store);
    }
    for name in [BUSY, LARGE] {
        let (store, table) = (store.clone(), TableName::new(name).unwrap());
        std::thread::spawn(move || {
            for n in 0_u64.. {
                // Large enough that a client that does not read is soon behind.
                let value = format!(
                    "{{\"n\":{n},\"pad\":\"{filler}\"}}",
                    filler = "y".repeat(1_000)
                );
                let key = format!("busy {}", n % 100);
                let put = Txn::new().put(put(&key, &value));
                match store.commit(&table, put) {
                    // The queue is full of other callers' writes.
                    Ok(_) | Err(CommitError::Busy { .. }) => {}
                    Err(error) => panic!("{error}"),
                }
                std::thread::sleep(PAUSE);
            }
        });
    }
    let millis = std::env::var(PATIENCE_MS).unwrap().parse().unwrap();
    let mut options = Options::default();
    options.heartbeat_ms = 500;
    options.max_connections = 2 * connections;
    options.max_connections_per_peer = connections;
    options.head_timeout_ms = millis;
    options.write_timeout_ms = millis;
    options.max_buffered_bytes = BUFFERED;
    options.max_replace_body_bytes = BUFFERED / 4;
    options.max_replace_changes = REPLACED;
    options.drain_ms = DRAIN.as_millis() as u64;
    let serve = async {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        println!("\nat {}", listener.local_addr().unwrap());
        let server = Server::builder(store).options(options).build().unwrap();
        // On a thread of its own, because the runtime's threads are the server's.
        let (ended, parent) = tokio::sync::oneshot::channel::<()>();
        std::thread::spawn(move || {
            let _ = std::io::stdin().read_to_end(&mut Vec::new());
            drop(ended);
        });
        let gone = async { drop(parent.await) };
        server.serve(listener, gone).await.unwrap();
    };
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .thread_keep_alive(KEEP_ALIVE)
        .enable_all()
        .build();
    runtime.unwrap().block_on(serve);
    // The writers end with the process.
    std::process::exit(0);
}

/// Creates tables for callers that ask for much work.
fn prepare(store: &Store) {
    let [searched, checked] = [SEARCHED, CHECKED].map(|name| TableName::new(name).unwrap());
    let options = TableOptions {
        search: true,
        ..TableOptions::default()
    };
    store.create_table(&searched, options).unwrap();
    let text = "\"wa wab wabc wabcd wb wbc wbcd wc wcd wd we wf wg wh wi wj\"";
    let records = (0..SEARCHED_RECORDS).map(|n| put(&format!("{n:06}"), text));
    let all = Replace {
        records: records.collect(),
        ..Replace::default()
    };
    store.replace(&searched, all).unwrap();
    let parts: Vec<_> = (0..1_000)
        .map(|n| format!(r#"{{"minimum":-{n}}}"#))
        .collect();
    let schema = format!(r#"{{"items":{{"allOf":[{}]}}}}"#, parts.join(","));
    let options = TableOptions {
        schema: Some(Value::parse(schema.as_bytes()).unwrap()),
        ..TableOptions::default()
    };
    store.create_table(&checked, options).unwrap();
}

fn put(key: &str, json: &str) -> Put {
    let value = Value::parse(json.as_bytes()).unwrap();
    Put::new(Key::new(key).unwrap(), value)
}
