//! Time from an update until another thread sees it.
//!
//! The writer stamps a struct of 64 bytes and updates; a reader on another core spins on reading
//! and stamps the moment at which it first sees the new value. The time stamp counters of the cores run in
//! step on all supported processors; a negative interval would disprove that and counts
//! as zero. The writer waits for the reader's acknowledgement and a random pause before the next update.
//! Updates for which both threads were on one core, taking turns by time slice, do not count.

use std::hint::{black_box, spin_loop};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use super::support::cells;
use crate::clock;
use crate::peers::*;
use crate::report::{Figure, Goal};
use crate::rounds::{Plan, Rounds, Unit};
use crate::states::Config;
use crate::stats::Histogram;

pub(super) fn run(plan: &Plan) -> Figure {
    let updates = plan.pick(20_000u64, 1_000);
    let limit = plan.millis(300, 50);
    let columns = ["p50", "p99", "p99.9", "max"];
    let mut rounds = Rounds::new("From update to sight", Unit::Ns.of(columns));
    cells!(rounds, Share<Config>, [
        HotReadCurrent<Config>, HotReadClosure<Config>, ArcSwapCache<Config>, ArcSwapLoad<Config>,
        LeftRight<Config>, Published<Config>, StdRwLock<Config>, ParkingLotRwLock<Config>,
        Watch<Config>, TripleBuffer, liburcu Qsbr<Config>,
    ], 0 => from_update_to_sight(updates, limit));

    let table = rounds.run(plan.pick(9, 2));
    let goals =
        vec![Goal::at_most("HotRead, p50", 1_000.0, table.median("HotRead", 0)).in_unit("ns")];
    Figure::new(
        "From an update until another thread sees it",
        "The writer stamps a 64-byte struct and updates; a reader that spins on another core \
         stamps the moment it first sees it.",
    )
    .goals(goals)
    .notes([
        "The maximum is of single events and contains preemption; with two cores, reader and \
             writer are alone only when no other program runs.",
    ])
    .tables([table])
}

/// The number of the update that ends a run.
const LAST: u64 = u64::MAX;

fn from_update_to_sight<P: Share<Config>>(updates: &u64, limit: &Duration) -> Vec<f64> {
    let (peer, mut writer) = P::build(Config::stamped(0));
    let mut reader = peer.reader();
    let seen = AtomicU64::new(0);
    let mut histogram = Histogram::default();
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let mut rng = fastrand::Rng::with_seed(11);
            let end = clock::now() + clock::ticks(*limit);
            writer.attach();
            for n in 1.. {
                let pause = clock::now() + rng.u64(500..5_000);
                while seen.load(Ordering::Acquire) != n - 1 || clock::now() < pause {
                    spin_loop();
                }
                let number = if n > *updates || pause > end { LAST } else { n };
                let mut config = Config::stamped(number);
                config.fields[2] = clock::core().unwrap_or(u64::MAX);
                config.fields[1] = clock::fenced();
                writer.update(black_box(config));
                if number == LAST {
                    break;
                }
            }
            writer.settle();
            writer.detach();
        });
        reader.attach();
        let mut last = 0;
        loop {
            let config = reader.read(|config| *config);
            let [number, stamp, writers_core, ..] = config.fields;
            if number == LAST {
                break;
            }
            if number != last {
                let took = clock::fenced().saturating_sub(stamp);
                if clock::core() != Some(writers_core) {
                    histogram.record(took);
                }
                last = number;
                seen.store(number, Ordering::Release);
            }
            spin_loop();
        }
        reader.rest();
        reader.detach();
    });
    clock::ns_at(&histogram, [50.0, 99.0, 99.9, 100.0]).to_vec()
}
