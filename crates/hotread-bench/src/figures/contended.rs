//! 1, 2, 4 and 8 threads that update a map of 1,000 entries at once, without a pause.
//!
//! Throughput counts updates that are visible by the end, and the time until they are. Every
//! eighth call is timed by itself for its p99 and its maximum.

use std::rc::Rc;
use std::sync::Barrier;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use super::support::{Drawn, cells, millis};
use crate::clock;
use crate::peers::*;
use crate::report::svg::Chart;
use crate::report::{Figure, Goal};
use crate::rounds::{Plan, Rounds, Unit};
use crate::states::Map;
use crate::stats::Histogram;

const THREADS: [usize; 4] = [1, 2, 4, 8];
const LABELS: [&str; 4] = ["1", "2", "4", "8"];

pub(super) fn run(plan: &Plan) -> Figure {
    let drawn = Drawn::new(1_000, 1 << 14);
    let time = millis(plan, 60, 8);
    let mut columns = Vec::new();
    for unit in [Unit::PerSecond, Unit::Ns, Unit::Ns] {
        columns.extend(LABELS.map(|label| (label, unit)));
    }
    let mut rounds = Rounds::new("contended", &columns);
    cells!(rounds, 0, Kv<u64>, [
        Whole<HotReadCurrent<Map<u64>>>, TwoMaps<u64>, Whole<LeftRight<Map<u64>>>, EvMap<u64>,
        Whole<Published<Map<u64>>>, Whole<ArcSwapLoad<Map<u64>>>, Papaya<u64>, Dash<u64>,
        SccHashMap<u64>, Whole<StdRwLock<Map<u64>>>, Whole<ParkingLotRwLock<Map<u64>>>,
        Whole<Watch<Map<u64>>>,
    ], all_thread_counts(drawn, time));
    let all = rounds.run(plan.pick(5, 1));

    let throughput = all.pick("Updates a second, by writing threads", 0..4);
    let p99 = all.pick("p99 of one update, by writing threads", 4..8);
    let goals = vec![Goal::at_least(
        "HotRead: updates/s of 8 threads / of 1 (no collapse)",
        0.5,
        all.ratio(("HotRead", 3), ("HotRead", 0)),
    )];
    Figure {
        id: "contended-writers",
        title: "Many threads update at once",
        method: "Threads replace values of a map of 1,000 entries without a pause; left-right and \
                 evmap have their one writer behind a mutex, as their documentation says. \
                 Throughput includes the time until everything is visible."
            .into(),
        charts: vec![
            Chart::lines(&throughput, 0..4, "writing threads"),
            Chart::lines(&p99, 0..4, "writing threads"),
        ],
        tables: vec![
            throughput,
            p99,
            all.pick("Longest update, by writing threads", 8..12),
        ],
        goals,
        notes: vec![
            "A HotRead update that finds another thread applying returns at once; that thread \
             applies it. So a call can be short while its update is not visible yet, and the \
             thread that applies can be held up for the others: the longest update shows it."
                .into(),
        ],
    }
}

fn all_thread_counts<P: Kv<u64>>(drawn: &Rc<Drawn<u64>>, time: &Duration) -> Vec<f64> {
    let runs = THREADS.map(|threads| contend::<P>(drawn, threads, *time));
    (0..3)
        .flat_map(|value| runs.map(|run| run[value]))
        .collect()
}

/// Updates a second, p99 and maximum of a call in nanoseconds.
fn contend<P: Kv<u64>>(drawn: &Drawn<u64>, threads: usize, time: Duration) -> [f64; 3] {
    let (_peer, writer) = P::build(drawn.map.clone());
    let mut writer = P::share(writer);
    let (barrier, stop) = (Barrier::new(threads + 1), AtomicBool::new(false));
    // Some thread may begin long before this one runs again, so each notes when it began.
    let (mut updates, mut calls) = (0, Histogram::new());
    let mut began = None;
    std::thread::scope(|scope| {
        let threads: Vec<_> = (0..threads)
            .map(|thread| {
                let (mut writer, barrier, stop) = (writer.clone(), &barrier, &stop);
                let first = drawn.draws.len() / threads * thread;
                let keys = drawn.draws[first..].iter().chain(&drawn.draws[..first]);
                scope.spawn(move || {
                    writer.attach();
                    barrier.wait();
                    let began = Instant::now();
                    let (mut count, mut calls) = (0u64, Histogram::new());
                    for key in keys.cycle() {
                        if count % 8 == 0 {
                            let start = clock::fenced();
                            writer.insert(*key, count);
                            let ticks = clock::fenced() - start;
                            calls.record(ticks.saturating_sub(clock::overhead()));
                        } else {
                            writer.insert(*key, count);
                        }
                        count += 1;
                        if stop.load(Ordering::Relaxed) {
                            break;
                        }
                    }
                    writer.detach();
                    (count, calls, began)
                })
            })
            .collect();
        barrier.wait();
        std::thread::sleep(time);
        stop.store(true, Ordering::Relaxed);
        for thread in threads {
            let (count, timed, start) = thread.join().expect("writers do not panic");
            began = Some(began.map_or(start, |began: Instant| began.min(start)));
            updates += count;
            calls.merge(&timed);
        }
    });
    writer.settle();
    let tick = clock::calibration().ns_per_tick;
    let seconds = began.map_or(f64::NAN, |began| began.elapsed().as_secs_f64());
    [
        updates as f64 / seconds,
        calls.percentile(99.0) * tick,
        clock::ns(calls.max()),
    ]
}
