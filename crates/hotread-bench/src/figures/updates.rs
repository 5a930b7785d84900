//! Updates of a map of 100,000 entries, with `u64` and `Arc<str>` keys: one by one (each is
//! published) and in batches of 100 (each batch is), with nobody reading and beside one reader that
//! looks random keys up without a pause.
//!
//! The limit is what two copies cost at least: the same inserts into two maps under one
//! uncontended lock. Keys exist already, so no map grows; the clone of an `Arc<str>` key for its
//! update is part of every peer's cost.

use std::hint::black_box;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use super::support::{Drawn, cells, millis};
use crate::clock;
use crate::peers::*;
use crate::report::svg::Chart;
use crate::report::{Figure, Goal};
use crate::rounds::{Plan, Rounds, Table, Unit};
use crate::states::{Key, Map};
use crate::stats;

const ENTRIES: usize = 100_000;
const BATCH: usize = 100;
/// Parts of a measurement, each with a mean of its own.
const WINDOWS: u32 = 25;
const LIMIT: &str = "two maps, one lock";

const COLUMNS: [(&str, Unit); 6] = [
    ("one by one, quiet", Unit::Ns),
    ("batches of 100, quiet", Unit::Ns),
    ("one by one, busy reader", Unit::Ns),
    ("one by one, busy reader", Unit::Percent),
    ("batches of 100, busy reader", Unit::Ns),
    ("batches of 100, busy reader", Unit::Percent),
];
const TIMES: [usize; 4] = [0, 1, 2, 4];
const VISIBLE: [usize; 2] = [3, 5];

pub(super) fn run(plan: &Plan) -> Figure {
    let numbers = measure::<u64>("u64 keys", plan);
    let strings = measure::<Arc<str>>("Arc<str> keys", plan);
    let mut goals = Vec::new();
    for (keys, table) in [("u64 keys", &numbers), ("Arc<str> keys", &strings)] {
        let ratio = |over: &str, under: &str, column| table.ratio((over, column), (under, column));
        goals.push(Goal::at_most(
            format!("{keys}, one by one, quiet: HotRead / limit"),
            1.5,
            ratio("HotRead", LIMIT, 0),
        ));
        goals.push(Goal::at_most(
            format!("{keys}, batches of 100, quiet: HotRead / limit"),
            1.1,
            ratio("HotRead", LIMIT, 1),
        ));
        for (column, place) in [(0, "quiet"), (2, "busy reader")] {
            goals.push(Goal::at_least(
                format!("{keys}, one by one, {place}: left-right publishing each / HotRead"),
                5.0,
                ratio("left-right", "HotRead", column),
            ));
        }
        goals.push(Goal::at_least(
            format!("{keys}, one by one, quiet: cloning behind ArcSwap / HotRead"),
            100.0,
            ratio("ArcSwap::load", "HotRead", 0),
        ));
    }
    let times = |table: &Table, keys| table.pick(format!("Time of one update, {keys}"), TIMES);
    let visible = |table: &Table, keys| {
        let mut visible = table.pick(format!("Updates visible at return, {keys}"), VISIBLE);
        visible
            .rows
            .retain(|row| row.peer.to_lowercase().starts_with("hotread"));
        visible
    };
    let (number_times, string_times) = (
        times(&numbers, "u64 keys"),
        times(&strings, "Arc<str> keys"),
    );
    let mut charts = Vec::new();
    for column in 0..4 {
        for (keys, table) in [
            ("u64 keys", &number_times),
            ("Arc<str> keys", &string_times),
        ] {
            let title = format!("{keys}, {}", table.columns[column].label);
            charts.push(Chart::bars(table, column).titled(&title));
        }
    }
    Figure {
        id: "updates",
        title: "Updates of a map of 100,000 entries",
        method: "Existing keys get new values, one by one (each published) or in batches of 100 \
                 (each published), with nobody reading or beside one busy reader on another core. \
                 Times are per update. The limit is the same inserts into two maps under one \
                 uncontended lock."
            .into(),
        charts,
        tables: vec![
            number_times,
            visible(&numbers, "u64 keys"),
            string_times,
            visible(&strings, "Arc<str> keys"),
        ],
        goals,
        notes: vec![
            "An update that HotRead cannot publish because the reader is still on the other copy \
             returns at once and is published with a later one; the tables of visible updates say \
             how often that was. left-right and the locks wait instead."
                .into(),
            "`ArcSwap::load` stands for cloning behind ArcSwap: its writer clones the map for every \
             update or batch (`ArcSwap::rcu`)."
                .into(),
            "papaya, dashmap, scc and the locks keep one copy and change it in place; evmap and \
             left-right keep two."
                .into(),
        ],
    }
}

macro_rules! all_peers {
    ($rounds:ident, $column:expr, $key:ty, $measure:ident($($setup:ident),*)) => {
        cells!($rounds, $column, Kv<$key>, [
            Whole<HotReadCurrent<Map<$key>>>, TwoMaps<$key>, Whole<LeftRight<Map<$key>>>,
            EvMap<$key>, Whole<Published<Map<$key>>>, Whole<ArcSwapLoad<Map<$key>>>,
            Papaya<$key>, Dash<$key>, SccHashMap<$key>, Whole<StdRwLock<Map<$key>>>,
            Whole<ParkingLotRwLock<Map<$key>>>, Whole<Watch<Map<$key>>>,
        ], $measure::<$key>($($setup),*));
    };
}

fn measure<K: Key>(title: &str, plan: &Plan) -> Table {
    let drawn = Drawn::<K>::new(ENTRIES, 1 << 17);
    let time = millis(plan, 30, 3);
    let mut rounds = Rounds::new(title, &COLUMNS);
    for (batch, quiet_column, busy_column) in [(1, 0, 2), (BATCH, 1, 4)] {
        all_peers!(rounds, quiet_column, K, quiet(drawn, batch, time));
        all_peers!(rounds, busy_column, K, busy(drawn, batch, time));
    }
    rounds.run(plan.pick(7, 1))
}

/// Nanoseconds an update, and the percentage that was visible at return.
fn update_for<K: Key, W: KvWrite<K>>(
    writer: &mut W,
    draws: &[K],
    batch: usize,
    time: Duration,
) -> (f64, f64) {
    let (mut calls, mut visible) = (0u64, 0u64);
    let mut update = |batches: &[K], value: u64| {
        let published = match batches {
            [key] => writer.insert(key.clone(), value),
            keys => writer.insert_all(keys, value),
        };
        calls += 1;
        visible += u64::from(published);
    };
    let mut batches = draws.chunks_exact(batch).cycle().zip(1u64..);
    // Nanoseconds an update over at least `time`, looking at the clock after `between` calls.
    let mut run = |time: Duration, between: usize| {
        let start = clock::now();
        let end = start + clock::ticks(time);
        let mut updates = 0;
        loop {
            for (keys, value) in batches.by_ref().take(between) {
                update(black_box(keys), value);
                updates += keys.len();
            }
            let now = clock::now();
            if now > end {
                return clock::ns(now - start) / updates as f64;
            }
        }
    };
    // An eighth of the time to warm up: both copies are touched, logs have grown. Looking at the
    // clock costs as much as a cheap update, so from then on once in some microseconds.
    let warm = run(time / 8, 1) * batch as f64;
    let between = (5_000.0 / warm).clamp(1.0, 64.0) as usize;
    // Windows long enough to contain what happens only now and then, and a median that leaves out
    // interruptions.
    let windows: Vec<f64> = (0..WINDOWS).map(|_| run(time / WINDOWS, between)).collect();
    (
        stats::median(&windows),
        visible as f64 / calls as f64 * 100.0,
    )
}

fn quiet<P: Kv<K>, K: Key>(drawn: &Rc<Drawn<K>>, batch: &usize, time: &Duration) -> Vec<f64> {
    let (peer, mut writer) = P::build(drawn.map.clone());
    // One reader exists and has read, but holds nothing.
    let mut reader = peer.reader();
    reader.attach();
    black_box(reader.get(&drawn.draws[0]));
    reader.rest();
    let (ns, _) = update_for(&mut writer, &drawn.draws, *batch, *time);
    reader.detach();
    vec![ns]
}

fn busy<P: Kv<K>, K: Key>(drawn: &Rc<Drawn<K>>, batch: &usize, time: &Duration) -> Vec<f64> {
    let (peer, mut writer) = P::build(drawn.map.clone());
    let mut reader = peer.reader();
    let (draws, stop) = (&drawn.draws, AtomicBool::new(false));
    let mut row = Vec::new();
    std::thread::scope(|scope| {
        scope.spawn(|| {
            reader.attach();
            // The other half of the draws, so that reader and writer do not walk in step.
            for key in draws[draws.len() / 2..].iter().cycle() {
                black_box(reader.get(key));
                if stop.load(Ordering::Relaxed) {
                    break;
                }
            }
            reader.rest();
            reader.detach();
        });
        let (ns, visible) = update_for(&mut writer, draws, *batch, *time);
        stop.store(true, Ordering::Relaxed);
        row.extend([ns, visible]);
    });
    row
}
