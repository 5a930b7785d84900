//! conc-map-bench's three mixes: ReadHeavy (98 % reads, 1 % inserts, 1 % removals), Exchange
//! (10/40/40 and 10 % updates) and RapidGrow (5/80/5/10, from an empty map), as bustle runs them:
//! each thread has keys of its own, inserts and removes them in order, and reads and updates
//! anywhere among them. Every write publishes.
//!
//! The figure is smaller than the original (a capacity of 2^16 instead of 2^25), so that runs of peers that
//! copy or wait still end: a run ends after all operations or a time limit.

use std::rc::Rc;
use std::sync::Barrier;
use std::time::{Duration, Instant};

use super::support::cells;
use crate::clock;
use crate::peers::*;
use crate::report::Figure;
use crate::rounds::{Plan, Rounds, Unit};
use crate::states::{Map, keys, map_of};
use crate::workload::{MIXES, Mix, Operation};

const THREADS: [usize; 3] = [1, 2, 4];
const LABELS: [&str; 3] = ["1", "2", "4"];

/// One mix for one number of threads, drawn before anything is timed.
struct Work {
    /// Keys of all threads; each thread has an equal share, the first part of which is filled in.
    keys: Vec<u64>,
    prefilled: Map<u64>,
    /// Operations with indices into the thread's share.
    streams: Vec<Vec<(Operation, usize)>>,
    limit: Duration,
}

impl Work {
    fn new(mix: Mix, threads: usize, log2: u32, limit: Duration) -> Rc<Self> {
        let capacity = 1usize << log2;
        let share = (2 * capacity / threads).next_power_of_two();
        let keys = keys::<u64>(share * threads);
        let filled = capacity * mix.prefill / 100 / threads;
        let first_keys: Vec<u64> = keys
            .chunks_exact(share)
            .flat_map(|share| &share[..filled])
            .copied()
            .collect();
        let mut prefilled = map_of(&first_keys, &Default::default());
        prefilled.reserve(capacity - prefilled.len());
        let mut rng = fastrand::Rng::with_seed(42);
        // As many operations as bustle: three quarters of the capacity.
        let operations = capacity * 3 / 4 / threads;
        let streams = (0..threads)
            .map(|_| mix.stream(&mut rng, share, filled, operations))
            .collect();
        Rc::new(Self {
            keys,
            prefilled,
            streams,
            limit,
        })
    }
}

pub(super) fn run(plan: &Plan) -> Figure {
    let mut tables = Vec::new();
    for mix in MIXES {
        let [read, insert, remove, update] = mix.percent.map(|(_, percent)| percent);
        let title = format!(
            "{} ({read} read / {insert} insert / {remove} remove / {update} update), operations a \
             second, by threads",
            mix.name
        );
        let mut rounds = Rounds::new(title, Unit::PerSecond.of(LABELS));
        for (column, threads) in THREADS.into_iter().enumerate() {
            let work = Work::new(mix, threads, plan.pick(16, 13), plan.millis(150, 8));
            cells!(rounds, Kv<u64>, [
                HotReadClosure<Map<u64>>, HotReadCurrent<Map<u64>>, LeftRight<Map<u64>>, EvMap<u64>,
                Published<Map<u64>>, ArcSwapLoad<Map<u64>>, Papaya<u64>, Dash<u64>, SccHashMap<u64>,
                StdRwLock<Map<u64>>, ParkingLotRwLock<Map<u64>>,
            ], column => operations_per_second(work));
        }
        tables.push(rounds.run(plan.pick(3, 1)));
    }
    Figure::new(
        "conc-map-bench's mixes",
        "Each thread reads and writes; every write publishes. Capacity 2^16, prefilled to 75 % \
         (RapidGrow: empty). Published as measured: these mixes are made for concurrent maps, and \
         HotRead is not one.",
    )
    .notes([
        "`HotRead` releases its copy after each read (a thread that reads and writes would \
         otherwise block its own updates); `HotRead, read(|s| …)` does so by itself.",
        "Peers without an update-if-present look the key up and then insert; threads own their \
         keys, so that is the same.",
    ])
    .tables(tables)
}

fn operations_per_second<P: Kv<u64>>(work: &Rc<Work>) -> Vec<f64> {
    let (peer, writer) = P::build(work.prefilled.clone());
    let writer = P::share(writer);
    let threads = work.streams.len();
    let (barrier, limit) = (Barrier::new(threads), work.limit);
    let share = work.keys.len() / threads;
    let (mut total, mut longest) = (0, 0.0f64);
    std::thread::scope(|scope| {
        let threads: Vec<_> = work
            .streams
            .iter()
            .zip(work.keys.chunks_exact(share))
            .map(|(stream, keys)| {
                let (mut reader, mut writer) = (peer.reader(), writer.clone());
                let barrier = &barrier;
                scope.spawn(move || {
                    reader.attach();
                    barrier.wait();
                    let start = Instant::now();
                    let done = perform(&mut reader, &mut writer, stream, keys, limit);
                    let seconds = start.elapsed().as_secs_f64();
                    reader.rest();
                    reader.detach();
                    (done, seconds)
                })
            })
            .collect();
        for thread in threads {
            let (done, seconds) = thread.join().expect("threads do not panic");
            total += done;
            longest = longest.max(seconds);
        }
    });
    vec![total as f64 / longest]
}

/// Performs the operations, or as many as fit into `limit`; returns their number.
fn perform<R: KvRead<u64>, W: KvWrite<u64>>(
    reader: &mut R,
    writer: &mut W,
    stream: &[(Operation, usize)],
    keys: &[u64],
    limit: Duration,
) -> usize {
    let end = clock::now() + clock::ticks(limit);
    for (index, (operation, key)) in stream.iter().enumerate() {
        let key = keys[*key];
        match operation {
            Operation::Read => {
                std::hint::black_box(reader.get(&key));
                reader.rest();
            }
            Operation::Insert => {
                writer.insert(key, index as u64);
            }
            Operation::Remove => {
                writer.remove(&key);
            }
            Operation::Update => {
                let present = reader.get(&key).is_some();
                reader.rest();
                if present {
                    writer.insert(key, index as u64);
                }
            }
        }
        if index % 16 == 0 && clock::now() > end {
            return index + 1;
        }
    }
    stream.len()
}
