//! A worker: a process that holds a replica and reads it. It does what it is asked on stdin, says how
//! it is doing on stdout, and ends when stdin does.

mod lookup;
mod state;

use super::clock;
use super::protocol::{Ask, Entry, Now, PING_MS, Said, State, TICK_MS};
use crate::args::{Kind, WorkerArgs};
use crate::output::Out;
use anyhow::{Context, Result};
use hotread_client::{Client, Position, Replica, Status};
use lookup::Reader;
use serde::Deserialize;
use serde_json::{Map, Number, Value};
use state::{Table, Typed};
use std::cell::RefCell;
use std::io::{BufRead, Write};
use std::rc::Rc;
use std::thread;
use std::time::{Duration, Instant};
use tokio::sync::mpsc;

/// Questions and answers that wait: there is one of each at a time.
const QUEUE: usize = 16;
/// Most changes whose time is noted.
const MAX_STAMPS: usize = 1_000_000;
/// How long a watcher waits before it asks a replica again that cannot go on.
const HELD: Duration = Duration::from_millis(10);
/// How long it waits for the next change before it looks what keeps it.
const NEXT_CHANGE: Duration = Duration::from_secs(1);

/// Numbers of changes, and when a reader first saw them or later ones; `None`: nobody wants to know.
type Stamps = RefCell<Option<Vec<(u64, u64)>>>;

/// A record of the data that comes with the command.
#[derive(Debug, Clone, Deserialize, serde::Serialize)]
struct Vendor {
    #[serde(rename = "vendor")]
    name: String,
}

pub(super) fn run(args: &WorkerArgs, out: &mut Out) -> Result<()> {
    match args.kind {
        Kind::Vendor => work::<Vendor>(args, out),
        Kind::Object => work::<Map<String, Value>>(args, out),
        Kind::Text => work::<String>(args, out),
        Kind::Number => work::<Number>(args, out),
        Kind::List => work::<Vec<Value>>(args, out),
        Kind::Switch => work::<bool>(args, out),
    }
}

fn work<V: Typed>(args: &WorkerArgs, out: &mut Out) -> Result<()> {
    // One thread follows the table; readers have threads of their own.
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("the worker's runtime could not be started")?;
    let local = tokio::task::LocalSet::new();
    runtime.block_on(local.run_until(follow::<V>(args, out)))
}

async fn follow<V: Typed>(args: &WorkerArgs, out: &mut Out) -> Result<()> {
    let mut asks = questions();
    let began = Instant::now();
    let client = Client::builder(&args.server)
        .name(&args.name)
        .ping_every(Duration::from_millis(PING_MS))
        .build()?;
    let replica = match client.replica::<Table<V>>(args.table.as_str()).await {
        Ok(replica) => replica,
        Err(error) => {
            let message = error.to_string();
            return say(out, &Said::Failed { message });
        }
    };
    let load_us = micros(began.elapsed());
    let reader = Reader::new(replica.create_handle());
    let records = reader.records();
    say(out, &Said::Ready { records, load_us })?;

    let stamps = Rc::new(Stamps::default());
    tokio::task::spawn_local(watch(replica.clone(), stamps.clone()));
    let (answer, mut answers) = mpsc::channel(QUEUE);
    let mut tick = tokio::time::interval(Duration::from_millis(TICK_MS));
    tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        let said = tokio::select! {
            _ = tick.tick() => Said::Now(now(&replica, &reader)),
            Some(said) = answers.recv() => said,
            Some(ask) = asks.recv() => match ask {
                Ask::Read { millis } => {
                    reader.flat_out(Duration::from_millis(millis), answer.clone());
                    continue;
                }
                Ask::Http { millis } => {
                    let server = args.server.clone();
                    let table = args.table.clone();
                    reader.over_http(server, table, Duration::from_millis(millis), answer.clone());
                    continue;
                }
                Ask::Paced { on } => {
                    reader.paced(on);
                    Said::Done
                }
                Ask::Watch => {
                    *stamps.borrow_mut() = Some(Vec::new());
                    Said::Done
                }
                Ask::Seen => Said::Seen {
                    stamps: stamps.borrow_mut().take().unwrap_or_default(),
                },
                Ask::Values { keys } => Said::Values {
                    entries: values(&replica, &keys),
                },
            },
        };
        say(out, &said)?;
    }
}

/// Reads questions from stdin. When there are no more, the demo is over, and so is this process.
fn questions() -> mpsc::Receiver<Ask> {
    let (ask, asks) = mpsc::channel(QUEUE);
    thread::spawn(move || {
        for line in std::io::stdin().lock().lines() {
            let Ok(line) = line else { break };
            // A line that is cut off is the last one of a demo that was killed.
            let Ok(question) = serde_json::from_str(&line) else {
                break;
            };
            if ask.blocking_send(question).is_err() {
                break;
            }
        }
        std::process::exit(0);
    });
    asks
}

fn say(out: &mut Out, said: &Said) -> Result<()> {
    out.json(said)?;
    out.flush().context("cannot write to stdout")
}

/// When did a reader of this process see which change? A reader that is woken as soon as there is
/// something new asks for the current state, and looks at the clock.
async fn watch<V: Typed>(replica: Replica<Table<V>>, stamps: Rc<Stamps>) {
    let mut handle = replica.create_handle();
    loop {
        let Position { epoch, seq } = replica.position();
        let next = Position {
            epoch,
            seq: seq + 1,
        };
        if replica.wait_for(next, NEXT_CHANGE).await.is_err() {
            tokio::time::sleep(HELD).await;
            continue;
        }
        let seen = handle.current().seq();
        let at = clock::now();
        handle.quiescent();
        if let Some(stamps) = &mut *stamps.borrow_mut()
            && stamps.len() < MAX_STAMPS
        {
            stamps.push((seen, at));
        }
    }
}

fn now<V: Typed>(replica: &Replica<Table<V>>, reader: &Reader<V>) -> Now {
    // The clock before the age: what had that age a moment later was not older at `at`.
    let at = clock::now();
    let age_us = replica.age().map(micros);
    let (reads, misses) = reader.counts();
    Now {
        at,
        state: match replica.status() {
            Status::Live => State::Live,
            Status::Rejected(refused) => State::Rejected {
                key: refused.key.to_string(),
                seq: refused.seq,
                reason: refused.reason,
            },
            Status::Failed(body) => State::Failed {
                message: body.to_string(),
            },
            _ => State::Stale,
        },
        age_us,
        seq: replica.position().seq,
        reads,
        misses,
    }
}

/// What readers see under the keys.
fn values<V: Typed>(replica: &Replica<Table<V>>, keys: &[String]) -> Vec<Option<Entry>> {
    replica.state().read(|table| {
        let entry = |key: &String| {
            let (seq, value) = table.get(key)?;
            // Whatever was read from JSON can be written as JSON.
            let value = serde_json::to_value(value).ok()?;
            Some(Entry { seq, value })
        };
        keys.iter().map(entry).collect()
    })
}

fn micros(time: Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap_or(u64::MAX)
}
