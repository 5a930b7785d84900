//! 1, 2, 4 and 8 threads that update a map of 1,000 entries at once, without a pause: with no
//! reader, and with one that looks keys up without a pause. And one thread that updates every
//! 200 µs, together with 1 and 8 of those.
//!
//! Updates count when they are applied and visible, with the time until then. Every call is timed,
//! since the maximum must not miss a single long one: one stamp a call, from the end of one
//! to the end of the next, which every peer pays alike. A row of threads that update nothing shows
//! the machine's cost of that number of threads. Another thread counts the queued
//! updates every millisecond, and ends a run in which there are too many.

mod threads;

use std::rc::Rc;
use std::time::Duration;

use self::threads::{Setting, contend};
use super::support::{Drawn, cells};
use crate::clock;
use crate::peers::*;
use crate::report::{Figure, Goal};
use crate::rounds::{Plan, Rounds, Table, Unit};
use crate::states::Map;

/// Writing threads; `true` with a reader.
const CROWDS: [(usize, bool); 8] = [
    (1, false),
    (2, false),
    (4, false),
    (8, false),
    (1, true),
    (2, true),
    (4, true),
    (8, true),
];
const LABELS: [&str; 8] = [
    "1 writer",
    "2 writers",
    "4 writers",
    "8 writers",
    "1, busy reader",
    "2, busy reader",
    "4, busy reader",
    "8, busy reader",
];
/// Writing threads next to a light writer.
const HEAVY: [usize; 2] = [1, 8];
const LIGHT_LABELS: [&str; 4] = [
    "p99 with 1",
    "p99 with 8",
    "longest with 1",
    "longest with 8",
];

/// Measured of each crowd, in neighbouring columns.
const METRICS: [Unit; 6] = [
    Unit::PerSecond,
    Unit::Ns,
    Unit::Ns,
    Unit::Count,
    Unit::Bytes,
    Unit::Count,
];
const RATE: usize = 0;
const P99: usize = 1;
const LONGEST: usize = 2;
const BACKLOG: usize = 3;
const MEMORY: usize = 4;
const STOPPED: usize = 5;
/// The first column of the light writer: its p99s, its longest calls, and the guard's.
const LIGHT: usize = CROWDS.len() * METRICS.len();

/// All columns of one metric.
const fn columns_of(metric: usize) -> [usize; CROWDS.len()] {
    let mut columns = [metric; CROWDS.len()];
    let mut crowd = 0;
    while crowd < columns.len() {
        columns[crowd] += crowd * METRICS.len();
        crowd += 1;
    }
    columns
}

/// Updates queued that end a run: some hundred megabytes.
const GUARD_UPDATES: usize = 5_000_000;

/// Allowances for HotRead above 0.1.2: a second row of 0.1.2 in HotRead's place needs them
/// to meet the goals on a quiet machine.
mod allowed {
    /// A tick of a kernel at 250 Hz: a call in which a time slice ends lasts n or n + 1 ticks, by
    /// chance.
    pub(super) const LONGEST_NS: f64 = 4e6;
    /// Relative, of the p99 of millions of calls.
    pub(super) const P99_RATIO: f64 = 1.1;
    /// With no reader: a few microseconds of work.
    pub(super) const QUIET_UPDATES: f64 = 1_000.0;
    /// Memory of those updates, and of the steps in which threads report what they allocate.
    pub(super) const QUIET_BYTES: f64 = 64e3;
    /// Updates of one tick at 10 M/s: a reader that loses its core blocks them, for one tick more or
    /// less.
    pub(super) const BUSY_UPDATES: f64 = 40_000.0;
    /// Memory of those updates, in a log that grows by doubling.
    pub(super) const BUSY_BYTES: f64 = 2.5e6;
}

const OURS: &str = "HotRead";
const BEFORE: &str = "hotread 0.1.2";
const BARE: &str = "bare threads (no updates)";

pub(super) fn run(plan: &Plan) -> Figure {
    let all = measure(plan);
    let pick = |title: &str, metric| all.pick(title, columns_of(metric));
    let light = LIGHT..LIGHT + LIGHT_LABELS.len();
    let light = all.pick(
        "Updates of a light writer, every 200 µs, with other writing threads",
        light,
    );
    Figure::new(
        "Many threads update at once",
        "Threads replace values of a map of 1,000 entries without a pause, with no reader or with \
         one that looks keys up without a pause; left-right and evmap have their one writer \
         behind a mutex, as their documentation recommends. Updates count when they are applied \
         and visible, with the time until then.",
    )
    .goals(goals(&all))
    .notes(notes(&all))
    .tables([
        without_bare(pick("Updates applied and visible, a second", RATE)),
        pick("p99 of one update", P99),
        pick("Longest update", LONGEST),
        pick("Updates queued at most", BACKLOG).only_hotread(),
        without_bare(pick("Memory taken at most", MEMORY)),
        light,
    ])
}

/// HotRead and 0.1.2 three times a round, in turns: the goals compare these two.
macro_rules! all_peers {
    ($rounds:ident, $column:expr, $measure:ident($($setup:ident),*)) => {
        cells!($rounds, Kv<u64>, [
            HotReadCurrent<Map<u64>>, Published<Map<u64>>, HotReadCurrent<Map<u64>>,
            Published<Map<u64>>, HotReadCurrent<Map<u64>>, Published<Map<u64>>, BareThreads<u64>,
            TwoMaps<u64>, LeftRight<Map<u64>>, EvMap<u64>, ArcSwapLoad<Map<u64>>, Papaya<u64>,
            Dash<u64>, SccHashMap<u64>, StdRwLock<Map<u64>>, ParkingLotRwLock<Map<u64>>,
            Watch<Map<u64>>,
        ], $column => $measure($($setup),*));
    };
}

fn measure(plan: &Plan) -> Table {
    let drawn = Drawn::new(1_000, 1 << 14);
    let time = plan.millis(80, 5);
    let columns = LABELS
        .into_iter()
        .flat_map(|label| METRICS.map(|unit| (label, unit)));
    let columns = columns.chain(Unit::Ns.of(LIGHT_LABELS));
    let columns = columns.chain([("light", Unit::Count)]);
    let mut rounds = Rounds::new("contended", columns);
    for (crowd, (writers, reader)) in CROWDS.into_iter().enumerate() {
        let column = crowd * METRICS.len();
        let setting = setting(writers, reader, time);
        all_peers!(rounds, column, of_crowd(drawn, setting));
    }
    all_peers!(rounds, LIGHT, beside_crowds(drawn, time));
    rounds.run(plan.pick(3, 1))
}

fn setting(writers: usize, reader: bool, time: Duration) -> Setting {
    Setting {
        writers,
        reader,
        light: false,
        time,
        guard: GUARD_UPDATES,
    }
}

/// The metrics of one crowd, in their order.
fn of_crowd<P: Kv<u64>>(drawn: &Rc<Drawn<u64>>, setting: &Setting) -> Vec<f64> {
    let outcome = contend::<P>(drawn, *setting);
    let [p99, longest] = clock::ns_at(&outcome.calls, [99.0, 100.0]);
    vec![
        outcome.per_second,
        p99,
        longest,
        outcome.backlog as f64,
        outcome.memory as f64,
        f64::from(u8::from(outcome.stopped)),
    ]
}

/// A light writer's p99 with each of the crowds, its longest call, and runs that were stopped.
fn beside_crowds<P: Kv<u64>>(drawn: &Rc<Drawn<u64>>, time: &Duration) -> Vec<f64> {
    let outcomes = HEAVY.map(|writers| {
        let setting = Setting {
            light: true,
            ..setting(writers, false, *time)
        };
        contend::<P>(drawn, setting)
    });
    let [p99, longest] = [99.0, 100.0].map(|p| {
        let runs = outcomes.iter();
        runs.map(move |run| clock::ns_at(&run.light, [p])[0])
    });
    let stopped = outcomes.iter().filter(|run| run.stopped).count() as f64;
    p99.chain(longest).chain([stopped]).collect()
}

fn without_bare(mut table: Table) -> Table {
    table.rows.retain(|row| row.peer != BARE);
    table
}

/// HotRead in no column worse than 0.1.2: one goal for each metric, of the worst of four crowds.
fn goals(all: &Table) -> Vec<Goal> {
    let within =
        |column, allowance| all.ratio_allowing((OURS, column), (BEFORE, column), allowance);
    let mut goals = Vec::new();
    for (place, crowds, updates, bytes) in [
        (
            "no reader",
            0..4,
            allowed::QUIET_UPDATES,
            allowed::QUIET_BYTES,
        ),
        (
            "busy reader",
            4..8,
            allowed::BUSY_UPDATES,
            allowed::BUSY_BYTES,
        ),
    ] {
        let what = |metric: &str, below: &str| {
            format!("{place}: {metric}, HotRead / {below}, worst of 1 to 8 threads")
        };
        let ratios = |metric: usize, allowance: f64| {
            let columns = columns_of(metric)[crowds.clone()].to_vec();
            columns
                .into_iter()
                .map(move |column| within(column, allowance))
        };
        let lowest = ratios(RATE, 0.0).fold(f64::NAN, f64::min);
        goals.push(Goal::at_least(
            what("updates/s applied", "0.1.2"),
            1.0,
            lowest,
        ));
        let queued = format!("(0.1.2 + {})", Unit::Count.format(updates));
        let memory = format!("(0.1.2 + {})", Unit::Bytes.format(bytes));
        for (metric, below, target, column, allowance) in [
            ("p99", "0.1.2", allowed::P99_RATIO, P99, 0.0),
            (
                "longest call",
                "(0.1.2 + 4 ms)",
                1.0,
                LONGEST,
                allowed::LONGEST_NS,
            ),
            ("queued", &queued, 1.0, BACKLOG, updates),
            ("memory", &memory, 1.0, MEMORY, bytes),
        ] {
            let highest = ratios(column, allowance).fold(f64::NAN, f64::max);
            goals.push(Goal::at_most(what(metric, below), target, highest));
        }
    }
    for (index, heavy) in HEAVY.into_iter().enumerate() {
        for (metric, column) in [("p99", LIGHT), ("longest call", LIGHT + HEAVY.len())] {
            let what = format!("light writer with {heavy}: {metric}, HotRead / (0.1.2 + 4 ms)");
            let ratio = within(column + index, allowed::LONGEST_NS);
            goals.push(Goal::at_most(what, 1.0, ratio));
        }
    }
    goals
}

fn notes(all: &Table) -> Vec<String> {
    let mut notes =
        vec![
        "A call that finds another thread at work may return at once, sleep, or do that thread's \
         work as well: rate, longest call and queue belong together. `bare threads` update \
         nothing: with more threads than cores, their longest call is the wait for a core.".into(),
        "Goals compare with 0.1.2, and allow by how much a second row of 0.1.2 may exceed the \
         first: a tick of the scheduler (4 ms) for the longest call, a tenth for the p99; with no \
         reader 1,000 queued updates and 64 kB, with a busy reader 40,000 and 2.5 MB: the backlog \
         of one more tick without a core.".into(),
    ];
    let guarded = columns_of(STOPPED).into_iter().zip(LABELS);
    for (column, crowd) in guarded.chain([(LIGHT + LIGHT_LABELS.len(), "light writer")]) {
        for row in &all.rows {
            let runs = &row.samples[column];
            let stopped: f64 = runs.iter().sum();
            if stopped > 0.0 {
                notes.push(format!(
                    "**Stopped early**, with more than {GUARD_UPDATES} updates queued: {}, \
                     {crowd}, {stopped} times in {} rounds.",
                    row.peer,
                    runs.len()
                ));
            }
        }
    }
    notes
}
