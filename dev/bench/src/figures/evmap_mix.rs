//! evmap's own benchmark: threads that only read and threads that only write, all at random keys
//! of a span of 10,000, uniform or Zipf with exponent 1.03, for a while. Every write publishes.

use std::rc::Rc;
use std::sync::Barrier;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use super::support::{Drawn, cells};
use crate::peers::*;
use crate::report::Figure;
use crate::rounds::{Plan, Rounds, Table, Unit};
use crate::states::{Map, keys, map_of};
use crate::workload::{self, Zipf};

const SPAN: usize = 10_000;
const EXPONENT: f64 = 1.03;
const READERS: [usize; 4] = [1, 2, 8, 32];
const WRITERS: [usize; 3] = [1, 2, 4];
/// Columns: for each number of writers, for each number of readers.
const LABELS: [&str; 12] = [
    "1r 1w", "2r 1w", "8r 1w", "32r 1w", "1r 2w", "2r 2w", "8r 2w", "32r 2w", "1r 4w", "2r 4w",
    "8r 4w", "32r 4w",
];

struct Work {
    drawn: Drawn<u64>,
    time: Duration,
    /// `true` to leave out most combinations of readers and writers.
    quick: bool,
}

pub(super) fn run(plan: &Plan) -> Figure {
    let uniform = measure(plan, "uniform", |rng, count| {
        workload::uniform(rng, SPAN, count)
    });
    let zipf = Zipf::new(SPAN, EXPONENT);
    let skewed = measure(plan, "Zipf 1.03", |rng, count| zipf.draws(rng, count));
    let mut tables = Vec::new();
    for (name, all) in [("uniform", &uniform), ("Zipf 1.03", &skewed)] {
        let part = |title: &str, metric| {
            let first = metric * LABELS.len();
            all.pick(format!("{title}, {name}"), first..first + LABELS.len())
        };
        tables.push(part("Reads a second", 0));
        tables.push(part("Writes a second", 1));
        tables.push(part("Writes visible at return", 2).only_hotread());
    }
    Figure::new(
        "evmap's readers and writers",
        "r threads read and w threads write random keys of a span of 10,000, uniform or Zipf with \
         exponent 1.03; every write publishes. Published as measured.",
    )
    .notes([
        "With more threads than cores most readers are asleep at any time. One that sleeps on \
             a HotRead handle holds its copy, so that updates queue up until it wakes: writes are \
             accepted at full speed but become visible late. A worker that may sleep calls \
             `quiescent()`, reads by closure, or allows more copies. left-right, evmap and the \
             locks make the writer wait only if the reader sleeps within a read.",
    ])
    .tables(tables)
}

fn measure(
    plan: &Plan,
    name: &str,
    draw: impl Fn(&mut fastrand::Rng, usize) -> Vec<usize>,
) -> Table {
    let keys = keys::<u64>(SPAN);
    let indices = draw(&mut fastrand::Rng::with_seed(9), 1 << 16);
    let work = Rc::new(Work {
        drawn: Drawn {
            map: map_of(&keys, &Default::default()),
            draws: workload::pick(&keys, &indices),
        },
        time: plan.millis(60, 4),
        quick: plan.quick,
    });
    let units = [Unit::PerSecond, Unit::PerSecond, Unit::Percent];
    let columns = units.into_iter().flat_map(|unit| unit.of(LABELS));
    let mut rounds = Rounds::new(name, columns);
    cells!(rounds, Kv<u64>, [
        HotReadCurrent<Map<u64>>, HotReadCurrent<Map<u64>, 4>, HotReadClosure<Map<u64>>,
        LeftRight<Map<u64>>, EvMap<u64>, Published<Map<u64>>, Papaya<u64>, Dash<u64>,
        SccHashMap<u64>, StdRwLock<Map<u64>>, ParkingLotRwLock<Map<u64>>,
    ], 0 => all_counts(work));
    rounds.run(plan.pick(3, 1))
}

fn all_counts<P: Kv<u64>>(work: &Rc<Work>) -> Vec<f64> {
    let mut runs = Vec::new();
    for writers in WRITERS {
        for readers in READERS {
            if work.quick && (readers > 8 || writers != readers.min(4)) {
                runs.push([f64::NAN; 3]);
                continue;
            }
            runs.push(read_and_write::<P>(work, readers, writers));
        }
    }
    let column = |value: usize| runs.iter().map(move |run| run[value]);
    column(0).chain(column(1)).chain(column(2)).collect()
}

/// Reads and writes a second, and the percentage of writes that were visible at return.
fn read_and_write<P: Kv<u64>>(work: &Work, readers: usize, writers: usize) -> [f64; 3] {
    let (peer, writer) = P::build(work.drawn.map.clone());
    let writer = P::share(writer);
    let (barrier, stop) = (Barrier::new(readers + writers + 1), AtomicBool::new(false));
    let draws = |thread| work.drawn.of_thread(thread, readers + writers);
    let [mut reads, mut writes, mut visible] = [0u64; 3];
    // The scheduler decides when threads begin and end: the time runs from the first beginning
    // to the last end.
    let (mut first, mut last) = (None::<Instant>, Instant::now());
    let mut ran = |(began, ended): (Instant, Instant)| {
        first = Some(first.map_or(began, |first| first.min(began)));
        last = last.max(ended);
    };
    std::thread::scope(|scope| {
        let (barrier, stop) = (&barrier, &stop);
        let reading: Vec<_> = (0..readers)
            .map(|thread| {
                let (mut reader, keys) = (peer.reader(), draws(thread));
                scope.spawn(move || {
                    reader.attach();
                    barrier.wait();
                    let (began, mut count) = (Instant::now(), 0u64);
                    for key in keys {
                        std::hint::black_box(reader.get(key));
                        count += 1;
                        if stop.load(Ordering::Relaxed) {
                            break;
                        }
                    }
                    reader.rest();
                    reader.detach();
                    (count, (began, Instant::now()))
                })
            })
            .collect();
        let writing: Vec<_> = (0..writers)
            .map(|thread| {
                let (mut writer, keys) = (writer.clone(), draws(readers + thread));
                scope.spawn(move || {
                    barrier.wait();
                    let (began, mut count, mut visible) = (Instant::now(), 0u64, 0u64);
                    for key in keys {
                        visible += u64::from(writer.insert(*key, count));
                        count += 1;
                        if stop.load(Ordering::Relaxed) {
                            break;
                        }
                    }
                    (count, visible, (began, Instant::now()))
                })
            })
            .collect();
        barrier.wait();
        std::thread::sleep(work.time);
        stop.store(true, Ordering::Relaxed);
        for thread in reading {
            let (count, time) = thread.join().expect("readers do not panic");
            reads += count;
            ran(time);
        }
        for thread in writing {
            let (count, seen, time) = thread.join().expect("writers do not panic");
            writes += count;
            visible += seen;
            ran(time);
        }
    });
    let seconds = first.map_or(f64::NAN, |first| (last - first).as_secs_f64());
    let visible = visible as f64 / writes.max(1) as f64 * 100.0;
    [reads as f64 / seconds, writes as f64 / seconds, visible]
}
