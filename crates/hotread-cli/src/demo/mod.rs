//! `hotread demo`: a server, workers that hold replicas, and faults that they survive. Each is a process
//! of its own on this machine; all of them are gone afterwards.
//!
//! The parts are in `phases`; `verdict` judges their results.

mod dataset;
mod display;
mod fleet;
mod phases;
mod process;
mod protocol;
mod verdict;
mod worker;
mod writer;

use crate::args::{Child, DemoArgs, ShowArgs};
use crate::exit::{Exit, signalled};
use crate::output::{Out, count};
use anyhow::{Context, Result};
use dataset::Source;
use display::{Display, span};
use fleet::{Fleet, Worker};
use hotread_client::Client;
use phases::Stage;
use process::Server;
use protocol::Task;
use serde::Serialize;
use std::io::Write;
use std::net::Ipv4Addr;
use std::path::Path;
use std::process::ExitCode;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};
use tokio::runtime::{Builder, Runtime};
use tokio::signal::unix::SignalKind;
use verdict::{Check, Facts};
use writer::Writer;

/// Longest wait of the demo for any step, far beyond the time that a slow machine takes.
const WAIT: Duration = Duration::from_secs(60);
/// Exit codes of programs that a signal ended start here.
const BY_SIGNAL: u8 = 128;

/// Results, for programs.
#[derive(Serialize)]
struct Results {
    ok: bool,
    verdict: String,
    seconds: f64,
    #[serde(flatten)]
    facts: Facts,
    checks: Vec<Check>,
}

/// Runs the demo, or one of the processes that it consists of.
pub(crate) fn run(json: bool, args: DemoArgs, out: &mut Out) -> Result<ExitCode> {
    match args.child {
        Some(Child::Attached { parent, args }) => process::become_attached(parent, &args)?,
        Some(Child::Worker) => worker::run(out)?,
        None => return begin(json, &args.show, out),
    }
    Ok(ExitCode::SUCCESS)
}

/// Creates a runtime on this thread: see `Process::start`.
fn runtime() -> Result<Runtime> {
    Builder::new_current_thread()
        .enable_all()
        .build()
        .context("no runtime could be started")
}

/// Locks a mutex whose value every change leaves intact, even if a thread panicked.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Runs the demo until it ends or a signal arrives. In either case, all processes are ended and all
/// files removed.
fn begin(json: bool, args: &ShowArgs, out: &mut Out) -> Result<ExitCode> {
    let runtime = runtime()?;
    let shown = runtime.block_on(async {
        let kinds = [
            SignalKind::interrupt,
            SignalKind::terminate,
            SignalKind::hangup,
        ];
        let stopped = signalled(kinds.map(|kind| kind()))?;
        tokio::select! {
            shown = show(json, args, out) => shown,
            kind = stopped => {
                // If stderr is closed, the note is lost.
                let _ = writeln!(std::io::stderr(), "hotread: stopped; nothing is left running");
                let signal = u8::try_from(kind.as_raw_value()).unwrap_or(0);
                Ok(ExitCode::from(BY_SIGNAL.saturating_add(signal)))
            }
        }
    });
    // Calls that still wait for a stopped server are abandoned.
    runtime.shutdown_background();
    shown
}

async fn show(json: bool, args: &ShowArgs, out: &mut Out) -> Result<ExitCode> {
    let began = Instant::now();
    let mut stage = start(args, Display::new(out, json)).await?;
    phases::reads(&mut stage).await?;
    phases::updates(&mut stage).await?;
    phases::poison(&mut stage).await?;
    phases::outage(&mut stage).await?;
    if args.claims_too_much() {
        stage.writer.claim_too_much();
    }
    phases::proof(&mut stage).await?;
    // Ends the processes, and removes the folder.
    let (mut display, facts) = stage.end();
    let checks = facts.judge();
    let results = Results {
        ok: checks.iter().all(|check| check.ok),
        verdict: facts.sentence(&checks),
        seconds: began.elapsed().as_secs_f64(),
        facts,
        checks,
    };
    match json {
        true => display.out.json(&results)?,
        false => conclude(&mut display, &results)?,
    }
    Ok(match results.ok {
        true => ExitCode::SUCCESS,
        false => Exit::Error.into(),
    })
}

/// Starts the server and the workers.
async fn start<'a>(args: &ShowArgs, mut display: Display<'a>) -> Result<Stage<'a>> {
    let folder = tempfile::Builder::new()
        .prefix("hotread-demo-")
        .tempdir()
        .context("cannot create a temporary folder; set TMPDIR to a writable folder")?;
    let dir = folder.path();
    let source = Source::choose(args, dir)?;
    display.heading(
        "HotRead: a table that is on disk once, and in the memory of every process that reads it",
    )?;
    display.part(
        "1  Start",
        "A server, its workers and a writer, all on this machine and each a process of its own. A \
         worker holds a replica: the table as a map of its own type, in its own memory, which the \
         server keeps up to date.",
    )?;
    display.prose(&format!("Records: {}.", source.name))?;
    display.command(&source.command())?;
    display.doing("importing");
    source.import(dir).await?;
    display.doing("starting the server");
    let server = Server::start(dir, (Ipv4Addr::LOCALHOST, 0).into()).await?;
    let url = format!("http://{}", server.address);
    let client = Client::builder(&url).name("demo").build()?;
    display.doing("reading the records");
    let writer = Arc::new(Writer::new(client, &source).await?);
    display.command("hotread serve --db demo.db --listen 127.0.0.1:0")?;
    display.command(&format!("export HOTREAD_URL={url}"))?;
    display.doing("starting the workers");
    let task = Task {
        server: url.clone(),
        table: source.table.to_owned(),
        name: String::new(),
        kind: writer.records.kind,
    };
    let fleet = Fleet::start(args.workers, dir, task, display.bar.clone()).await?;
    display.done();
    let records = writer.records.keys.len() as u64;
    let id = server.process.id();
    display.value("server", &format!("process {id}; {url}"))?;
    display.value("database", &describe(dir, records))?;
    for Worker { process, facts, .. } in &fleet.workers {
        let (id, load) = (process.id(), span(facts.load_ms / 1e3));
        let loaded = count(facts.loaded_records, "record", "records");
        let value = format!("process {id}; {loaded} loaded in {load}");
        display.value(&facts.name, &value)?;
    }
    Ok(Stage {
        display,
        time: args.seconds,
        writer,
        facts: Facts {
            records,
            ..Facts::default()
        },
        fleet,
        server,
        dir: folder,
    })
}

/// Describes the place of the database; an fsync in memory has no effect.
fn describe(dir: &Path, records: u64) -> String {
    let records = count(records, "record", "records");
    let mut place = format!("{records}, SQLite, in {}", dir.display());
    #[cfg(target_os = "linux")]
    {
        /// Type that `statfs` reports for tmpfs.
        const TMPFS: u64 = 0x0102_1994;
        if rustix::fs::statfs(dir).is_ok_and(|fs| u64::try_from(fs.f_type) == Ok(TMPFS)) {
            place +=
                " (which is in memory: an fsync costs nothing there. Set TMPDIR to measure a disk)";
        }
    }
    place
}

/// Prints the verdict, and the next things to try.
fn conclude(display: &mut Display<'_>, results: &Results) -> Result<()> {
    display.prose("Read back, and compared with the list of everything that was acknowledged:")?;
    for check in &results.checks {
        display.check(check.ok, &check.text)?;
    }
    display.verdict(results.ok, &results.verdict)?;
    let about = format!(
        "That took {:.0} s; the server, the workers and the database are gone. \
         `cargo install --locked --path crates/hotread-cli` installs the command.",
        results.seconds
    );
    display.part("What next", &about)?;
    let commands: &[&str] = match results.ok {
        true => &[
            "hotread demo --data yours.csv --key id   # the same with your records",
            "hotread serve --db app.db                # a server to keep",
            "cargo doc --open -p hotread-client       # a replica in your program",
        ],
        false => &["hotread demo --json   # all figures, for a report"],
    };
    let mut commands = commands.iter();
    commands.try_for_each(|command| display.command(command))
}
