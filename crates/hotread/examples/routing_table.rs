//! A routing table, read by worker threads while it changes.
//!
//! Shows a state of your own, batches that readers see whole or not at all, and the effects of a
//! worker that holds on to an old table: how it is identified, that no other thread waits for it,
//! and how the update that it blocks becomes visible. Checks on every request that it never saw
//! half of a batch.
//!
//! ```sh
//! cargo run --release -p hotread --example routing_table
//! ```

use std::collections::BTreeMap;
use std::error::Error;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::mpsc::{self, Receiver, Sender};
use std::thread;
use std::time::Duration;

use hotread::{HotRead, HotReadHandle, HotReadState, QueueResult};

/// Table from path prefixes to backends. The longest prefix decides.
#[derive(Clone, Default)]
struct Routes {
    by_prefix: BTreeMap<String, Backend>,
}

#[derive(Clone)]
struct Backend {
    /// Shared by the copies of the table, so that a second copy costs little.
    name: Arc<str>,
    release: u32,
}

#[derive(Clone)]
enum Change {
    Route(&'static str, Backend),
    Remove(&'static str),
}

impl HotReadState for Routes {
    type Action = Change;

    // Called once for each copy of the table, so it must do the same each time.
    fn apply_update(&mut self, change: &Change) {
        match change {
            Change::Route(prefix, backend) => {
                self.by_prefix.insert((*prefix).to_owned(), backend.clone());
            }
            Change::Remove(prefix) => {
                self.by_prefix.remove(*prefix);
            }
        }
    }
}

impl Routes {
    fn find(&self, path: &str) -> Option<&Backend> {
        let mut prefix = path;
        loop {
            if let Some(backend) = self.by_prefix.get(prefix) {
                return Some(backend);
            }
            (prefix, _) = prefix.rsplit_once('/')?;
        }
    }
}

fn route(prefix: &'static str, name: &str, release: u32) -> Change {
    let name = name.into();
    Change::Route(prefix, Backend { name, release })
}

/// Observations of one worker.
#[derive(Default)]
struct Served {
    requests: u64,
    by_release: BTreeMap<u32, u64>,
    unrouted: u64,
    /// Requests that saw two releases of routes that are deployed together.
    mixed: u64,
}

/// Handles requests until `stop` is set.
fn work(mut reader: HotReadHandle<Routes>, stop: &AtomicBool) -> Served {
    let mut served = Served::default();
    while !stop.load(Relaxed) {
        // Once for each request: the same table from beginning to end.
        let routes = reader.current();
        let page = routes.find("/api/orders/17");
        let admin = routes.find("/api/admin/users");
        served.requests += 1;
        match (page, admin) {
            (Some(page), Some(admin)) => {
                *served.by_release.entry(page.release).or_default() += 1;
                served.mixed += u64::from(page.release != admin.release);
            }
            _ => served.unrouted += 1,
        }
    }
    served
    // The handle is dropped here, and lets go of its copy.
}

/// Handles one long request, which keeps its table until `finish` receives a message.
fn one_long_request(
    mut reader: HotReadHandle<Routes>,
    started: Sender<()>,
    finish: Receiver<()>,
) -> Option<Arc<str>> {
    let routes = reader.current();
    let before = routes.by_prefix.len();
    // Both calls succeed while `main` lives; afterwards, an error needs no handling.
    let _ = started.send(());
    let _ = finish.recv();
    assert_eq!(routes.by_prefix.len(), before, "its table changed under it");
    // The next request gets the newest table.
    reader
        .current()
        .find("/files/a")
        .map(|b| Arc::clone(&b.name))
}

fn show(what: &str, table: &HotRead<Routes>, result: QueueResult) {
    let outcome = if result.published {
        "visible"
    } else if result.blocked_by_workers {
        "waits for a worker"
    } else {
        "being applied"
    };
    println!(
        "update {:>2}  generation {:>2}  {what}: {outcome}",
        result.last_seq,
        table.generation(),
    );
}

fn run() -> Result<(), Box<dyn Error>> {
    let second = Duration::from_secs(1);
    let table = HotRead::new(Routes::default());
    let result = table.queue_updates([
        route("", "web", 1),
        route("/api", "api", 1),
        route("/api/admin", "admin", 1),
    ]);
    show("first routes", &table, result);

    let stop = AtomicBool::new(false);
    let served = thread::scope(|scope| {
        // `stop` is set however this closure ends; the scope would wait forever otherwise.
        let _stop_guard = StopOnDrop(&stop);
        let workers: Vec<_> = (0..3)
            .map(|index| {
                let reader = table.create_named_handle(format!("worker {index}"));
                let stop = &stop;
                scope.spawn(move || work(reader, stop))
            })
            .collect();

        // Two routes change together: one batch.
        for release in 2..=4 {
            thread::sleep(Duration::from_millis(200));
            let result = table.queue_updates([
                route("/api", "api", release),
                route("/api/admin", "admin", release),
            ]);
            show(&format!("release {release}, both routes"), &table, result);
            // Waits, and then publishes, if a worker still held the other copy.
            table.wait_published(result.last_seq, second)?;
        }

        println!("\nA worker starts a long request, and keeps its table meanwhile.");
        let ((started, has_started), (finish, may_finish)) = (mpsc::channel(), mpsc::channel());
        let reader = table.create_named_handle("slow worker");
        let slow = scope.spawn(move || one_long_request(reader, started, may_finish));
        has_started.recv()?;

        let result = table.queue_update(route("/files", "files", 4));
        show("/files to files", &table, result);
        table.wait_published(result.last_seq, second)?;
        // There are two copies, the new one and the slow worker's. This call does not wait.
        let result = table.queue_updates([Change::Remove("/api/admin"), route("/files", "cdn", 4)]);
        show("/files to cdn", &table, result);
        if !result.blocked_by_workers {
            return Err("the update should have been blocked".into());
        }
        thread::sleep(Duration::from_millis(20)); // the others begin their next requests
        for worker in table.workers().iter().filter(|worker| worker.blocking) {
            println!(
                "           {} holds generation {}",
                worker.name.as_deref().unwrap_or("a worker"),
                worker.generation.unwrap_or_default(),
            );
        }
        let seen = table.read(|routes| routes.find("/files/a").map(|b| Arc::clone(&b.name)));
        println!(
            "           others continue with /files to {}",
            seen.as_deref().unwrap_or("?")
        );

        finish.send(())?;
        let next = slow.join().map_err(|_| "the slow worker panicked")?;
        println!(
            "\nThe long request is done; the worker's next one used {}.",
            next.as_deref().unwrap_or("?")
        );
        thread::sleep(Duration::from_millis(20));
        // The updates have stopped, so the blocked one is published only on request.
        let maintained = table.maintain();
        println!(
            "maintain(): published {}, blocked {}",
            maintained.published, maintained.blocked_by_workers
        );
        // If another worker was stopped on the old copy at this moment, waits until it goes on.
        table.wait_published(result.last_seq, second)?;
        let seen = table.read(|routes| routes.find("/files/a").map(|b| Arc::clone(&b.name)));
        if seen.as_deref() != Some("cdn") {
            return Err("the last update got lost".into());
        }

        stop.store(true, Relaxed);
        let served = workers.into_iter().map(|worker| worker.join());
        let served: Result<Vec<Served>, _> = served.collect();
        served.map_err(|_| Box::<dyn Error>::from("a worker panicked"))
    })?;
    report(&served)
}

fn report(served: &[Served]) -> Result<(), Box<dyn Error>> {
    let mut total = Served::default();
    for worker in served {
        total.requests += worker.requests;
        total.unrouted += worker.unrouted;
        total.mixed += worker.mixed;
        for (release, requests) in &worker.by_release {
            *total.by_release.entry(*release).or_default() += requests;
        }
    }
    println!("\n{} requests on {} workers:", total.requests, served.len());
    for (release, requests) in &total.by_release {
        println!("  release {release}  {requests:>12}");
    }
    println!(
        "  no route   {:>12}\n  mixed      {:>12}",
        total.unrouted, total.mixed
    );
    if total.unrouted + total.mixed > 0 {
        return Err("a worker met half of a batch".into());
    }
    Ok(())
}

struct StopOnDrop<'a>(&'a AtomicBool);

impl Drop for StopOnDrop<'_> {
    fn drop(&mut self) {
        self.0.store(true, Relaxed);
    }
}

fn main() -> ExitCode {
    if let Some(arg) = std::env::args_os().nth(1) {
        eprintln!("routing_table: takes no arguments, found {}", arg.display());
        return ExitCode::from(2);
    }
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("routing_table: {error}");
            ExitCode::FAILURE
        }
    }
}
