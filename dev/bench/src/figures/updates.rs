//! Updates of a map of 100,000 entries, with `u64` and `Arc<str>` keys, one by one (each is
//! published) and in batches of 100 (each batch is), with no reader and with one that looks random
//! keys up without a pause; and of a struct of 64 bytes, one by one, with no reader.
//!
//! The limit is the least cost of two copies: the same inserts into two maps, or two structs, under
//! one uncontended lock. Keys exist already, so no map grows; the clone of an `Arc<str>` key for its
//! update is part of every peer's cost.
//!
//! With no reader, each update is visible at return, and the median of short windows leaves
//! interruptions out. With a busy reader, an update may be accepted and become visible later: the
//! result is the time until all are visible, divided by their number.

use std::hint::black_box;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use super::support::{Drawn, StopOnDrop, cells, ns_per_call};
use crate::clock;
use crate::peers::*;
use crate::report::{Figure, Goal};
use crate::rounds::{Plan, Rounds, Table, Unit};
use crate::states::{Config, Key, Map};
use crate::stats;

const ENTRIES: usize = 100_000;
const BATCH: usize = 100;
/// Parts of a measurement, each with a mean of its own.
const WINDOWS: u32 = 25;
/// Updates of a struct timed together.
const LOOP: usize = 1_024;
/// Updates between two looks at the clock with a busy reader.
const BETWEEN_LOOKS: usize = 16;
const LIMIT: &str = "two maps, one lock";
const BEFORE: &str = "hotread 0.1.2";
const STRUCT_LIMIT: &str = "two copies, one lock";
/// No slower than 0.1.2 with a busy reader, within noise: depending on how reader and writer fall
/// into step, two rows of 0.1.2 differ by a tenth, and by more where other programs run.
const ALIKE: f64 = 1.1;

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
    let structs = measure_struct(plan);
    let numbers = measure::<u64>("u64 keys", plan);
    let strings = measure::<Arc<str>>("Arc<str> keys", plan);
    let against = |name: &str, target, rival| {
        let what = format!("64-byte struct, quiet: HotRead / {name}");
        Goal::at_most(what, target, structs.ratio(("HotRead", 0), (rival, 0)))
    };
    let mut goals = vec![
        against("left-right", 0.75, "left-right"),
        against("limit", 2.5, STRUCT_LIMIT),
    ];
    goals.extend(goals_of_map("u64 keys", &numbers));
    goals.extend(goals_of_map("Arc<str> keys", &strings));
    let times = |table: &Table, keys| table.pick(format!("Time of one update, {keys}"), TIMES);
    let visible = |table: &Table, keys| {
        let title = format!("Updates visible at return, {keys}");
        table.pick(title, VISIBLE).only_hotread()
    };
    Figure::new(
        "Updates of a map and of a struct",
        "Existing keys of a map of 100,000 get new values, one by one (each published) or in \
         batches of 100 (each published), with no reader or with one busy reader on another \
         core; a 64-byte struct is replaced, with one quiet handle. Times are per update; with the \
         reader, until all are visible. The limit is the same updates of two maps or structs \
         under one uncontended lock.",
    )
    .goals(goals)
    .notes([
        "An update that HotRead cannot publish because the reader is still on the other copy \
         returns at once and is published with a later one; the tables of visible updates show the \
         share of such updates, and the times include their wait. left-right and the locks wait \
         instead.",
        "`ArcSwap::load` represents cloning behind ArcSwap: its writer clones the map for every \
         update or batch (`ArcSwap::rcu`).",
        "papaya, dashmap, scc and the locks keep one copy and change it in place; evmap and \
         left-right keep two.",
        "The goal against 0.1.2 is 1.0, and a tenth for noise: two rows of the same code differ by \
         that much, depending on how reader and writer fall into step.",
    ])
    .tables([
        structs,
        times(&numbers, "u64 keys"),
        visible(&numbers, "u64 keys"),
        times(&strings, "Arc<str> keys"),
        visible(&strings, "Arc<str> keys"),
    ])
}

fn goals_of_map(keys: &str, table: &Table) -> Vec<Goal> {
    let [one_quiet, batch_quiet, one_busy, batch_busy] = TIMES;
    let ratio = |over, under, column| table.ratio((over, column), (under, column));
    let most = [
        ("one by one, quiet: HotRead / limit", 1.5, LIMIT, one_quiet),
        (
            "batches of 100, quiet: HotRead / limit",
            1.1,
            LIMIT,
            batch_quiet,
        ),
        (
            "one by one, busy reader: HotRead / 0.1.2",
            ALIKE,
            BEFORE,
            one_busy,
        ),
        (
            "batches of 100, busy reader: HotRead / 0.1.2",
            ALIKE,
            BEFORE,
            batch_busy,
        ),
    ];
    let publishing = "one by one, busy reader: left-right publishing each / HotRead";
    let cloning = "one by one, quiet: cloning behind ArcSwap / HotRead";
    let least = [
        (publishing, 3.0, "left-right", one_busy),
        (cloning, 100.0, "ArcSwap::load", one_quiet),
    ];
    let most = most.map(|(what, target, rival, column)| {
        let ratio = ratio("HotRead", rival, column);
        Goal::at_most(format!("{keys}, {what}"), target, ratio)
    });
    let least = least.map(|(what, target, rival, column)| {
        let ratio = ratio(rival, "HotRead", column);
        Goal::at_least(format!("{keys}, {what}"), target, ratio)
    });
    most.into_iter().chain(least).collect()
}

/// Time of one update of a struct.
fn measure_struct(plan: &Plan) -> Table {
    let samples = plan.pick(150usize, 10);
    let columns = Unit::Ns.of(["one by one, quiet"]);
    let mut rounds = Rounds::new("Time of one update, 64-byte struct", columns);
    cells!(rounds, Share<Config>, [
        HotReadCurrent<Config>, TwoCopies<Config>, LeftRight<Config>, Published<Config>,
        ArcSwapLoad<Config>, StdRwLock<Config>, ParkingLotRwLock<Config>, Watch<Config>,
        TripleBuffer,
    ], 0 => quiet_struct(samples));
    rounds.run(plan.pick(21, 1))
}

fn quiet_struct<P: Share<Config>>(samples: &usize) -> Vec<f64> {
    let (peer, mut writer) = P::build(Config::stamped(0));
    // One reader exists and has read, but is quiescent.
    let mut reader = peer.reader();
    reader.attach();
    black_box(reader.read(Config::stamp));
    reader.rest();
    let mut stamps = 1u64..;
    let ns = ns_per_call(*samples, LOOP, || {
        for stamp in stamps.by_ref().take(LOOP) {
            black_box(&mut writer).update(black_box(Config::stamped(stamp)));
        }
    });
    assert_eq!(reader.read(Config::stamp), stamps.start - 1);
    reader.detach();
    vec![ns]
}

fn measure<K: Key>(title: &str, plan: &Plan) -> Table {
    let drawn = Drawn::<K>::new(ENTRIES, 1 << 17);
    let time = plan.millis(30, 3);
    let mut rounds = Rounds::new(title, COLUMNS);
    for (batch, quiet_column, busy_column) in [(1, 0, 2), (BATCH, 1, 4)] {
        cells!(rounds, Kv<K>, [
            HotReadCurrent<Map<K>>, Published<Map<K>>, TwoMaps<K>, LeftRight<Map<K>>, EvMap<K>,
            ArcSwapLoad<Map<K>>, Papaya<K>, Dash<K>, SccHashMap<K>, StdRwLock<Map<K>>,
            ParkingLotRwLock<Map<K>>, Watch<Map<K>>,
        ], quiet_column => quiet::<K>(drawn, batch, time),
           busy_column => busy::<K>(drawn, batch, time));
        // How reader and writer fall into step varies most, so the two that are compared most
        // closely get more samples, in turns.
        cells!(rounds, Kv<K>, [
            HotReadCurrent<Map<K>>, Published<Map<K>>, HotReadCurrent<Map<K>>, Published<Map<K>>,
        ], busy_column => busy::<K>(drawn, batch, time));
    }
    rounds.run(plan.pick(7, 1))
}

/// Median nanoseconds an update, of short windows.
fn update_quietly<K: Key, W: KvWrite<K>>(
    writer: &mut W,
    draws: &[K],
    batch: usize,
    time: Duration,
) -> f64 {
    let mut batches = draws.chunks_exact(batch).cycle().zip(1u64..);
    // Nanoseconds an update over at least `time`, looking at the clock after `between` calls.
    let mut run = |time: Duration, between: usize| {
        let start = clock::now();
        let end = start + clock::ticks(time);
        let mut updates = 0;
        loop {
            for (keys, value) in batches.by_ref().take(between) {
                update(writer, black_box(keys), value);
                updates += keys.len();
            }
            let now = clock::now();
            if now > end {
                return clock::ns(now - start) / updates as f64;
            }
        }
    };
    // An eighth of the time to warm up: both copies are touched, logs have grown. Looking at the
    // clock costs as much as a cheap update, so afterwards it happens once in a few microseconds.
    let warm = run(time / 8, 1) * batch as f64;
    let between = (5_000.0 / warm).clamp(1.0, 64.0) as usize;
    // Windows long enough to contain rare work, and a median that leaves out
    // interruptions.
    let windows: Vec<f64> = (0..WINDOWS).map(|_| run(time / WINDOWS, between)).collect();
    stats::median(&windows)
}

/// Nanoseconds an update until all are visible, and the percentage that was visible at return.
fn update_until_visible<K: Key, W: KvWrite<K>>(
    writer: &mut W,
    draws: &[K],
    batch: usize,
    time: Duration,
) -> (f64, f64) {
    let mut batches = draws.chunks_exact(batch).cycle().zip(1u64..);
    let mut run = |time: Duration| {
        let start = clock::now();
        let end = start + clock::ticks(time);
        let (mut calls, mut visible) = (0u64, 0u64);
        while clock::now() < end {
            for (keys, value) in batches.by_ref().take(BETWEEN_LOOKS.div_ceil(batch)) {
                visible += u64::from(update(writer, black_box(keys), value));
                calls += 1;
            }
        }
        writer.settle();
        let updates = calls as f64 * batch as f64;
        let ns = clock::ns(clock::now() - start) / updates;
        (ns, visible as f64 / calls as f64 * 100.0)
    };
    // To warm up.
    run(time / 8);
    run(time)
}

/// Makes one update or one batch. Returns `true` if it was visible at return.
#[inline]
fn update<K: Key, W: KvWrite<K>>(writer: &mut W, keys: &[K], value: u64) -> bool {
    match keys {
        [key] => writer.insert(key.clone(), value),
        keys => writer.insert_all(keys, value),
    }
}

fn quiet<P: Kv<K>, K: Key>(drawn: &Rc<Drawn<K>>, batch: &usize, time: &Duration) -> Vec<f64> {
    let (peer, mut writer) = P::build(drawn.map.clone());
    // One reader exists and has read, but is quiescent.
    let mut reader = peer.reader();
    reader.attach();
    black_box(reader.get(&drawn.draws[0]));
    reader.rest();
    let ns = update_quietly(&mut writer, &drawn.draws, *batch, *time);
    reader.detach();
    vec![ns]
}

fn busy<P: Kv<K>, K: Key>(drawn: &Rc<Drawn<K>>, batch: &usize, time: &Duration) -> Vec<f64> {
    let (peer, mut writer) = P::build(drawn.map.clone());
    let mut reader = peer.reader();
    let (draws, stop) = (&drawn.draws, AtomicBool::new(false));
    let mut row = Vec::new();
    std::thread::scope(|scope| {
        let _stop = StopOnDrop(&stop);
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
        let (ns, visible) = update_until_visible(&mut writer, draws, *batch, *time);
        row.extend([ns, visible]);
    });
    row
}
