//! Reads while updates flow: one reader looks random keys up in a map of 1,000 entries, flat out,
//! while one writer replaces values at 1,000, 10,000 and 100,000 updates a second and flat out.
//!
//! In the base line, the writer's thread spins without writing, so that the load of the machine is the
//! same. All rates of one peer follow each other, so their ratio belongs to one moment. Latencies
//! are of single reads, between fenced stamps, less the stamps' own cost; their maximum contains
//! the interruptions by other programs. A second table has maps of other sizes: a reader's loss of
//! rate depends on how much of both copies fits in its caches.

use std::hint::black_box;
use std::rc::Rc;
use std::sync::atomic::AtomicBool;
use std::time::{Duration, Instant};

use super::support::{Drawn, Rate, StopOnDrop, cells, pace};
use crate::clock;
use crate::peers::*;
use crate::report::{Figure, Goal};
use crate::rounds::{Plan, Rounds, Table, Unit};
use crate::states::Map;
use crate::stats::{self, Histogram};

const RATES: [Rate; 5] = [
    Rate::Never,
    Rate::PerSecond(1_000),
    Rate::PerSecond(10_000),
    Rate::PerSecond(100_000),
    Rate::FlatOut,
];
/// The rate at which maps of other sizes are read.
const PACED: Rate = RATES[3];
const SIZES: [(&str, usize); 4] = [
    ("map of 100", 100),
    ("map of 1,000", 1_000),
    ("map of 10,000", 10_000),
    ("map of 100,000", 100_000),
];
/// Parts of a measurement of throughput.
const WINDOWS: u64 = 25;
const RATE_LABELS: [&str; 5] = ["none", "1k/s", "10k/s", "100k/s", "flat out"];
const LATENCY_LABELS: [&str; 4] = ["p50", "p99", "p99.9", "max"];

pub(super) fn run(plan: &Plan) -> Figure {
    let drawn = Drawn::new(1_000, 1 << 14);
    let time = plan.millis(100, 15);
    let mut columns = Vec::from(Unit::PerSecond.of(RATE_LABELS));
    columns.extend(Unit::PerSecond.of(["at 100k/s", "flat out"]));
    columns.extend(
        [LATENCY_LABELS; 2]
            .concat()
            .iter()
            .map(|label| (*label, Unit::Ns)),
    );
    let mut rounds = Rounds::new("Reads a second", columns);
    cells!(rounds, Kv<u64>, [
        HotReadCurrent<Map<u64>>, ArcSwapCache<Map<u64>>, ArcSwapLoad<Map<u64>>,
        LeftRight<Map<u64>>, EvMap<u64>, Published<Map<u64>>, Papaya<u64>, Dash<u64>,
        SccHashMap<u64>, StdRwLock<Map<u64>>, ParkingLotRwLock<Map<u64>>, Watch<Map<u64>>,
        liburcu Qsbr<Map<u64>>,
    ], 0 => all_rates(drawn, time));
    let all = rounds.run(plan.pick(7, 1));

    let by_size = by_size(plan, time);

    let goals = [1, 2, 3].map(|rate| {
        let what = format!("lookups at {} updates / without", RATE_LABELS[rate]);
        Goal::at_least(what, 0.95, all.ratio(("HotRead", rate), ("HotRead", 0)))
    });
    Figure::new(
        "Reads while updates flow",
        "One reader looks random keys up in a map of 1,000 entries, flat out; one writer on \
         another thread replaces values. Without updates, the writer's thread spins.",
    )
    .goals(goals)
    .notes([
        "scc's HashIndex takes no part: a lookup during an update of its key can miss the key.",
        "arc-swap and liburcu copy the map of 1,000 entries for every update; a HotRead update \
         that finds both copies in use is applied together with the next one.",
        "One reader and one writer leave no core for other work: the maxima contain interrupts and \
         other processes, for every peer alike.",
    ])
    .tables([
        all.pick("Lookups a second, by updates a second", 0..5),
        all.pick("Updates a second by the writer", 5..7),
        all.pick("Latency of a lookup at 100k updates/s", 7..11),
        all.pick("Latency of a lookup with a writer flat out", 11..15),
        by_size,
    ])
}

/// Share of its rate that a reader keeps during 100,000 updates a second, by the size of the map.
fn by_size(plan: &Plan, time: Duration) -> Table {
    let columns = Unit::Percent.of(SIZES.map(|(label, _)| label));
    let title = "Lookups a second at 100k updates/s, of those without, by the size of the map";
    let mut rounds = Rounds::new(title, columns);
    for (column, (_, len)) in SIZES.into_iter().enumerate() {
        let drawn = Drawn::new(len, 1 << 14);
        cells!(rounds, Kv<u64>, [
            HotReadCurrent<Map<u64>>, LeftRight<Map<u64>>, Published<Map<u64>>, Dash<u64>,
        ], column => kept(drawn, time));
    }
    rounds.run(plan.pick(7, 1))
}

fn kept<P: Kv<u64>>(drawn: &Rc<Drawn<u64>>, time: &Duration) -> Vec<f64> {
    let [without, during] = [Rate::Never, PACED].map(|rate| throughput::<P>(drawn, rate, *time).0);
    vec![100.0 * during / without]
}

fn all_rates<P: Kv<u64>>(drawn: &Rc<Drawn<u64>>, time: &Duration) -> Vec<f64> {
    let mut reads = Vec::new();
    let mut writes = Vec::new();
    for rate in RATES {
        let (read, written) = throughput::<P>(drawn, rate, *time);
        reads.push(read);
        writes.push(written);
    }
    let mut row = reads;
    row.extend(&writes[3..]);
    row.extend(latency::<P>(drawn, PACED, *time));
    row.extend(latency::<P>(drawn, RATES[4], *time));
    row
}

/// Runs `read` on this thread while another one writes at `rate`; returns updates a second.
fn beside_writer<P: Kv<u64>>(
    drawn: &Drawn<u64>,
    rate: Rate,
    read: impl FnOnce(&mut P::Reader),
) -> f64 {
    let (peer, mut writer) = P::build(drawn.map.clone());
    let mut reader = peer.reader();
    let stop = AtomicBool::new(false);
    let draws = &drawn.draws;
    let mut per_second = 0.0;
    std::thread::scope(|scope| {
        let writing = scope.spawn(|| {
            writer.attach();
            let start = Instant::now();
            let count = pace(rate, &stop, |n| {
                let key = draws[(n as usize).wrapping_mul(7) % draws.len()];
                writer.insert(key, n);
            });
            let per_second = count as f64 / start.elapsed().as_secs_f64();
            writer.detach();
            per_second
        });
        reader.attach();
        {
            let _stop = StopOnDrop(&stop);
            read(&mut reader);
        }
        reader.rest();
        reader.detach();
        per_second = writing.join().expect("writers do not panic");
    });
    per_second
}

/// Reads and updates a second.
fn throughput<P: Kv<u64>>(drawn: &Drawn<u64>, rate: Rate, time: Duration) -> (f64, f64) {
    let mut reads_per_second = 0.0;
    let writes_per_second = beside_writer::<P>(drawn, rate, |reader| {
        let mut chunks = drawn.draws.chunks_exact(1_024).cycle();
        let mut lookups = |time: u64| {
            let (start, mut count) = (clock::now(), 0);
            while clock::now() < start + time {
                let mut sum = 0u64;
                for key in chunks.next().expect("a cycle does not end") {
                    let reader = black_box(&mut *reader);
                    sum = sum.wrapping_add(reader.get(key).expect("keys are never removed"));
                }
                black_box(sum);
                count += 1_024;
            }
            count as f64 / clock::ns(clock::now() - start) * 1e9
        };
        lookups(clock::ticks(time) / 8);
        // The median of the windows leaves out those in which the reader was interrupted.
        let window = clock::ticks(time) / WINDOWS;
        let windows: Vec<f64> = (0..WINDOWS).map(|_| lookups(window)).collect();
        reads_per_second = stats::median(&windows);
    });
    (reads_per_second, writes_per_second)
}

/// p50, p99, p99.9 and maximum of a single read, in nanoseconds.
fn latency<P: Kv<u64>>(drawn: &Drawn<u64>, rate: Rate, time: Duration) -> Vec<f64> {
    let mut histogram = Histogram::default();
    beside_writer::<P>(drawn, rate, |reader| {
        let end = clock::now() + clock::ticks(time);
        'reading: loop {
            for key in &drawn.draws {
                let start = clock::fenced();
                black_box(reader.get(key));
                let stop = clock::fenced();
                histogram.record((stop - start).saturating_sub(clock::overhead()));
                if stop > end {
                    break 'reading;
                }
            }
        }
    });
    clock::ns_at(&histogram, [50.0, 99.0, 99.9, 100.0]).to_vec()
}
