//! `hotread demo`: a server, workers that hold replicas, and what happens to them. All in processes of
//! their own, all on this machine, all gone afterwards.
//!
//! The parts are in `phases`; `verdict` says what they must have found.

mod child;
mod clock;
mod dataset;
mod display;
mod fleet;
mod http;
mod phases;
mod protocol;
mod server;
mod verdict;
mod worker;
mod writers;

use crate::args::{Child, DemoArgs, ShowArgs};
use crate::exit::{Exit, Failure};
use crate::output::{Out, count};
use anyhow::{Context, Result, bail};
use child::Process;
use dataset::{Records, Source};
use display::{Display, span};
use fleet::{Fleet, Ready};
use hotread_client::Client;
use hotread_proto::ErrorBody;
use phases::Stage;
use serde::Serialize;
use server::Server;
use std::io::Write;
use std::path::Path;
use std::process::ExitCode;
use std::time::{Duration, Instant};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::oneshot;
use verdict::{Check, Facts, Outage, Poison, Updates, WorkerFacts, Writes};
use writers::Writers;

/// How long the demo waits for anything before it says that it does not come. Far beyond what a slow
/// machine takes.
const WAIT: Duration = Duration::from_secs(60);
/// Exit codes of programs that a signal ended begin here.
const BY_SIGNAL: u8 = 128;

/// The results, for programs.
#[derive(Serialize)]
struct Results<'a> {
    ok: bool,
    verdict: &'a str,
    seconds: f64,
    #[serde(flatten)]
    facts: &'a Facts,
    checks: &'a [Check],
}

/// Shows it, or is one of the processes that it consists of.
pub(crate) fn run(json: bool, args: DemoArgs, out: &mut Out) -> Result<ExitCode> {
    match args.child {
        Some(Child::Attached { parent, args }) => child::become_attached(parent, &args)?,
        Some(Child::Worker(args)) => worker::run(&args, out)?,
        None => return begin(json, &args.show, out),
    }
    Ok(ExitCode::SUCCESS)
}

/// Shows it, unless a signal comes first. Everything that was started and made is ended and removed
/// either way.
fn begin(json: bool, args: &ShowArgs, out: &mut Out) -> Result<ExitCode> {
    // On one thread, this one: see `Process::start`.
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("the demo's runtime could not be started")?;
    let shown = runtime.block_on(async {
        let stopped = stopped()?;
        tokio::select! {
            shown = show(json, args, out) => shown,
            signal = stopped => {
                // If nobody hears it, nothing is lost.
                let _ = writeln!(std::io::stderr(), "hotread: stopped; nothing is left running");
                Ok(ExitCode::from(BY_SIGNAL.saturating_add(signal)))
            }
        }
    });
    // Calls that still wait for a server which is gone are of no interest.
    runtime.shutdown_background();
    shown
}

/// The number of the signal that asks for the demo's end.
fn stopped() -> Result<impl Future<Output = u8>> {
    let on = |kind| signal(kind).context("signals cannot be waited for");
    let mut interrupt = on(SignalKind::interrupt())?;
    let mut terminate = on(SignalKind::terminate())?;
    let mut hangup = on(SignalKind::hangup())?;
    Ok(async move {
        let kind = tokio::select! {
            _ = interrupt.recv() => SignalKind::interrupt(),
            _ = terminate.recv() => SignalKind::terminate(),
            _ = hangup.recv() => SignalKind::hangup(),
        };
        u8::try_from(kind.as_raw_value()).unwrap_or(0)
    })
}

async fn show(json: bool, args: &ShowArgs, out: &mut Out) -> Result<ExitCode> {
    let began = Instant::now();
    // Before the processes in `Stage`, so that it is dropped after they have ended.
    let dir = tempfile::Builder::new()
        .prefix("hotread-demo-")
        .tempdir()
        .context("no temporary folder can be made; set TMPDIR to a folder that can be written")?;
    let facts = perform(json, args, dir.path(), out).await?;
    let checks = facts.judge();
    let ok = checks.iter().all(|check| check.ok);
    let sentence = facts.sentence(&checks);
    let seconds = began.elapsed().as_secs_f64();
    if json {
        out.json(&Results {
            ok,
            verdict: &sentence,
            seconds,
            facts: &facts,
            checks: &checks,
        })?;
    } else {
        conclude(&mut Display::new(out, json), &checks, &sentence, seconds)?;
    }
    Ok(match ok {
        true => ExitCode::SUCCESS,
        false => Exit::Error.into(),
    })
}

/// Shows all parts; what was found.
async fn perform(json: bool, args: &ShowArgs, dir: &Path, out: &mut Out) -> Result<Facts> {
    let mut stage = start(json, args, dir, out).await?;
    phases::reads(&mut stage).await?;
    phases::updates(&mut stage).await?;
    phases::poison(&mut stage).await?;
    phases::outage(&mut stage).await?;
    if args.claims_too_much() {
        stage.writers.claim_too_much();
    }
    stage.display.heading("6  Verdict")?;
    phases::proof(&mut stage).await?;
    Ok(stage.facts)
}

/// Starts the server and the workers.
async fn start<'a>(json: bool, args: &ShowArgs, dir: &Path, out: &'a mut Out) -> Result<Stage<'a>> {
    let source = Source::choose(args, dir)?;
    let mut display = Display::new(out, json);
    display.heading(
        "HotRead: a table that is on disk once, and in the memory of every process that reads it",
    )?;
    display.heading("1  Start")?;
    display.prose(
        "A server, its workers and a writer, all on this machine and each a process of its own. A \
         worker holds a replica: the table as a map of its own type, in its own memory, which the \
         server keeps up to date.",
    )?;
    display.prose(&format!("Records: {}.", source.name))?;
    display.command(&source.import())?;
    display.doing("importing");
    import(&source, dir).await?;
    display.doing("starting the server");
    let server = Server::start(dir).await?;
    let client = Client::builder(&server.url).name("demo").build()?;
    display.doing("reading the records");
    let records = Records::load(&client, &source).await?;
    display.command("hotread serve --db demo.db --listen 127.0.0.1:0")?;
    display.command(&format!("export HOTREAD_URL={}", server.url))?;
    display.doing("starting the workers");
    let live = display.live();
    let (fleet, ready) = Fleet::start(
        args.workers,
        dir,
        &server.url,
        &source.table,
        records.kind,
        live,
    )
    .await?;
    let first = client.table_info(source.table.as_str()).await?.position.seq;
    display.done();
    display.row(
        "server",
        &format!("process {}; {}", server.id(), server.url),
    )?;
    display.row("database", &describe(dir, records.keys.len()))?;
    for (worker, ready) in fleet.workers.iter().zip(&ready) {
        let loaded = count(ready.records as u64, "record", "records");
        let load = span(ready.load);
        display.row(
            &worker.name,
            &format!("process {}; {loaded} loaded in {load}", worker.id()),
        )?;
    }
    let facts = facts(records.keys.len(), &fleet, &ready);
    let writers = Writers::new(client.clone(), source.table.clone(), records);
    Ok(Stage {
        display,
        source,
        time: args.seconds,
        fleet,
        server,
        writers,
        client,
        first,
        facts,
    })
}

/// Runs `hotread import`, as a user does.
async fn import(source: &Source, dir: &Path) -> Result<()> {
    let (end, ended) = oneshot::channel();
    let mut end = Some(end);
    let each = move |line: Option<String>| {
        if line.is_none()
            && let Some(end) = end.take()
        {
            // If nobody waits for it, the demo is about to end.
            let _ = end.send(());
        }
    };
    let args = source.import_args(&server::database(dir));
    let (mut process, stdin) = Process::start("import", dir, args, each)?;
    drop(stdin);
    // However large the file is. Ctrl-C ends it.
    ended
        .await
        .context("the import was not heard of any more")?;
    if process.wait()?.success() {
        return Ok(());
    }
    let words = process.last_words();
    match serde_json::from_str::<ErrorBody>(&words) {
        Ok(body) => Err(Failure::with(Exit::Error, body).into()),
        Err(_) => bail!("the records could not be imported: {words}"),
    }
}

/// Where the database is, and whether an fsync does anything there.
fn describe(dir: &Path, records: usize) -> String {
    let records = count(records as u64, "record", "records");
    let place = format!("{records}, SQLite, in {}", dir.display());
    match in_memory(dir) {
        true => format!(
            "{place} (which is in memory: an fsync costs nothing there. Set TMPDIR to measure a disk)"
        ),
        false => place,
    }
}

#[cfg(target_os = "linux")]
fn in_memory(dir: &Path) -> bool {
    /// What `statfs` calls tmpfs.
    const TMPFS: u64 = 0x0102_1994;
    rustix::fs::statfs(dir).is_ok_and(|fs| u64::try_from(fs.f_type) == Ok(TMPFS))
}

#[cfg(not(target_os = "linux"))]
fn in_memory(_dir: &Path) -> bool {
    false
}

/// What is known after the start.
fn facts(records: usize, fleet: &Fleet, ready: &[Ready]) -> Facts {
    let worker = |(worker, ready): (&fleet::Worker, &Ready)| WorkerFacts {
        name: worker.name.clone(),
        loaded_records: ready.records as u64,
        load_ms: ready.load.as_secs_f64() * 1e3,
        ..WorkerFacts::default()
    };
    Facts {
        records: records as u64,
        workers: fleet.workers.iter().zip(ready).map(worker).collect(),
        updates: Updates::default(),
        poison: Poison::default(),
        outage: Outage::default(),
        writes: Writes::default(),
    }
}

/// The verdict, and what to do with it.
fn conclude(
    display: &mut Display<'_>,
    checks: &[Check],
    sentence: &str,
    seconds: f64,
) -> Result<()> {
    let ok = checks.iter().all(|check| check.ok);
    display.prose("Read back, and compared with the list of everything that was acknowledged:")?;
    for check in checks {
        display.check(check.ok, &check.text)?;
    }
    display.verdict(ok, sentence)?;
    display.heading("What next")?;
    display.prose(&format!(
        "That took {seconds:.0} s; the server, the workers and the database are gone. \
         `cargo install --locked --path crates/hotread-cli` installs the command."
    ))?;
    let commands: &[&str] = match ok {
        true => &[
            "hotread demo --data yours.csv --key id   # the same with your records",
            "hotread serve --db app.db                # a server to keep",
            "cargo doc --open -p hotread-client       # a replica in your program",
        ],
        false => &["hotread demo --json   # all figures, for a report"],
    };
    commands
        .iter()
        .try_for_each(|command| display.command(command))
}
