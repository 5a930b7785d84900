//! A worker: a process that holds a replica and reads it. It answers the questions on stdin, and ends
//! when stdin is closed.

use super::protocol::{Ask, Entries, Kind, Now, Rate, Sighting, State, Task, now};
use super::{WAIT, lock, runtime};
use crate::output::Out;
use anyhow::{Context, Result, bail};
use hotread_client::{
    Client, HotReadHandle, HotReadState, MapUpdate, Record, Replica, Replicated, Status,
};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Number, Value, from_str, to_value};
use std::collections::HashMap;
use std::hash::{BuildHasher, RandomState};
use std::hint::black_box;
use std::io::{self, Write};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

/// Interval at which the replica asks the server for its age.
const PING: Duration = Duration::from_millis(100);
/// Look-ups between two reads of the clock.
const BURST: usize = 1_024;
/// Pause of the paced reader after each burst.
const REST: Duration = Duration::from_millis(1);
/// Pause between two attempts at a replica that cannot continue.
const HELD: Duration = Duration::from_millis(10);

/// A record of the data that comes with the command.
#[derive(Clone, Serialize, Deserialize)]
struct Vendor {
    #[serde(rename = "vendor")]
    name: String,
}

pub(super) fn run(out: &mut Out) -> Result<()> {
    let mut lines = io::stdin().lines().map_while(Result::ok);
    let task: Task = from_str(&lines.next().context("the worker has no task")?)?;
    match task.kind {
        Kind::Vendor => work::<Vendor>(task, lines, out),
        Kind::Object => work::<Map<String, Value>>(task, lines, out),
        Kind::Text => work::<String>(task, lines, out),
        Kind::Number => work::<Number>(task, lines, out),
        Kind::List => work::<Vec<Value>>(task, lines, out),
        Kind::Switch => work::<bool>(task, lines, out),
    }
}

fn work<V: Typed>(task: Task, asks: impl Iterator<Item = String>, out: &mut Out) -> Result<()> {
    let mut answer = |answer: Value| {
        out.json(&answer)?;
        out.flush().context("cannot write to stdout")
    };
    // The runtime's thread follows the table; readers have threads of their own.
    let runtime = crate::commands::runtime(1)?;
    let began = now();
    let client = Client::builder(&task.server).name(&task.name);
    let client = client.ping_every(PING).build()?;
    let replica = runtime.block_on(client.replica::<Table<V>>(&task.table))?;
    let loaded = now() - began;
    // A random order, which no cache can predict.
    let order = RandomState::new();
    let mut keys: Vec<Arc<str>> = replica
        .state()
        .read(|it| it.records.keys().cloned().collect());
    keys.sort_by_cached_key(|key| order.hash_one(key));
    answer(to_value((keys.len(), loaded))?)?;
    let (keys, noted) = (keys.into(), Arc::default());
    let worker = Worker {
        task,
        replica,
        keys,
        noted,
    };
    runtime.spawn(worker.clone().watch());
    for ask in asks {
        answer(worker.answer(from_str(&ask)?)?)?;
    }
    Ok(())
}

/// Measurements of a worker's threads.
#[derive(Default)]
struct Noted {
    sightings: Vec<Sighting>,
    /// Look-ups of the paced reader.
    reads: u64,
    misses: u64,
}

/// State that the threads of a worker share.
#[derive(Clone)]
struct Worker<V: Typed> {
    task: Task,
    replica: Replica<Table<V>>,
    /// All keys.
    keys: Arc<[Arc<str>]>,
    noted: Arc<Mutex<Noted>>,
}

impl<V: Typed> Worker<V> {
    fn answer(&self, ask: Ask) -> Result<Value> {
        Ok(match ask {
            Ask::Now => to_value(self.now()?),
            Ask::Read { seconds } => {
                let mut handle = self.replica.create_handle();
                to_value(self.measure(seconds, BURST, |key| Ok(finds(&mut handle, key)))?)
            }
            Ask::Http { seconds } => to_value(self.over_http(seconds)?),
            Ask::Paced => {
                let reader = self.clone();
                thread::spawn(move || reader.read_paced());
                to_value(())
            }
            Ask::Seen => to_value(&lock(&self.noted).sightings),
            Ask::Values { keys } => {
                let read = |table: &Table<V>, key| {
                    let (seq, value) = table.records.get(key)?;
                    // A value that was read from JSON can be written as JSON.
                    Some((*seq, to_value(value).ok()?))
                };
                let read = |table: &_| keys.iter().map(|key| read(table, &**key)).collect();
                to_value(self.replica.state().read::<Entries>(read))
            }
        }?)
    }

    fn now(&self) -> Result<Now> {
        // The clock is read before the age, so that the age at `at` is not understated.
        let at = now();
        let age = self.replica.age().map(|age| age.as_secs_f64());
        let state = match self.replica.status() {
            Status::Live => State::Live,
            Status::Rejected(refused) => State::Rejected(refused.seq),
            Status::Failed(body) => bail!("the replica has failed: {body}"),
            _ => State::Stale,
        };
        let noted = lock(&self.noted);
        let (reads, misses) = (noted.reads, noted.misses);
        let seq = noted.sightings.last().map_or(0, |(seq, _)| *seq);
        Ok(Now {
            at,
            state,
            age,
            seq,
            reads,
            misses,
        })
    }

    /// Calls `look_up` with one key after another for some time; `look_up` returns `true` if it found
    /// a record. The clock is read after each burst.
    fn measure(
        &self,
        seconds: f64,
        burst: usize,
        mut look_up: impl FnMut(&str) -> Result<bool>,
    ) -> Result<Rate> {
        let (mut reads, mut misses) = (0_u64, 0);
        let mut keys = self.keys.iter().cycle();
        let start = now();
        loop {
            for key in keys.by_ref().take(burst) {
                misses += u64::from(!look_up(key)?);
                reads += 1;
            }
            let passed = now() - start;
            if passed >= seconds {
                return Ok((reads as f64 / passed, misses));
            }
        }
    }

    /// Looks keys up as a program without a replica does: a request, and the answer's value as the type
    /// that it has in the program.
    fn over_http(&self, seconds: f64) -> Result<Rate> {
        let runtime = runtime()?;
        let client = Client::new(&self.task.server)?;
        let rate = self.measure(seconds, 1, |key| {
            let found = runtime.block_on(client.get(&self.task.table, key))?;
            let value: Option<V> = found.map(|record| record.value_as()).transpose()?;
            Ok(black_box(value).is_some())
        });
        rate.context("a look-up over HTTP")
    }

    /// Looks keys up with pauses, until the process ends.
    fn read_paced(&self) {
        let mut handle = self.replica.create_handle();
        let mut keys = self.keys.iter().cycle();
        loop {
            let burst = keys.by_ref().take(BURST);
            let misses = burst.filter(|key| !finds(&mut handle, key)).count() as u64;
            handle.quiescent();
            let mut noted = lock(&self.noted);
            noted.reads += BURST as u64;
            noted.misses += misses;
            drop(noted);
            thread::sleep(REST);
        }
    }

    /// Records when a reader of this process sees which change: a reader that is woken by each new state
    /// loads the current state, and reads the clock.
    async fn watch(self) {
        let mut handle = self.replica.create_handle();
        loop {
            let mut next = self.replica.position();
            next.seq += 1;
            let seen = handle.current().seq;
            let at = now();
            handle.quiescent();
            lock(&self.noted).sightings.push((seen, at));
            while self.replica.wait_for(next, WAIT).await.is_err() {
                tokio::time::sleep(HELD).await;
            }
        }
    }
}

fn finds<V: Typed>(handle: &mut HotReadHandle<Table<V>>, key: &str) -> bool {
    black_box(handle.current().records.get(black_box(key))).is_some()
}

/// Type of the values in a worker.
trait Typed: DeserializeOwned + Serialize + Clone + Send + Sync + 'static {}

impl<V: DeserializeOwned + Serialize + Clone + Send + Sync + 'static> Typed for V {}

/// A table in a worker. `HashMap<Arc<str>, V>` alone would suffice; this type also keeps the numbers of
/// the transactions, so that a reader can tell which changes the state that it sees contains.
#[derive(Clone)]
struct Table<V> {
    /// Records, each with the transaction that wrote it.
    records: HashMap<Arc<str>, (u64, V)>,
    /// The newest transaction that wrote a record.
    seq: u64,
}

impl<V: Typed> HotReadState for Table<V> {
    type Action = MapUpdate<Arc<str>, (u64, V)>;

    fn apply_update(&mut self, update: &Self::Action) {
        if let MapUpdate::Insert(_, (seq, _)) = update {
            self.seq = self.seq.max(*seq);
        }
        self.records.apply_update(update);
    }
}

impl<V: Typed> Replicated for Table<V> {
    type Value = V;

    fn empty() -> Self {
        let (records, seq) = (HashMap::new(), 0);
        Self { records, seq }
    }

    fn put(key: &Arc<str>, record: &Record) -> Result<Self::Action, String> {
        let value = record.value_as().map_err(|error| error.to_string())?;
        Ok(MapUpdate::Insert(key.clone(), (record.seq(), value)))
    }

    fn delete(key: &Arc<str>) -> Self::Action {
        MapUpdate::Remove(key.clone())
    }
}
