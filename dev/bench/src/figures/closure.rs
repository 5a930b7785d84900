//! A read by closure: `HotRead::read(|state| …)`, which any thread can call without a handle to
//! manage and which holds no copy afterwards, compared with the other ways that pay at every read.

use super::reads::{ALIKE, map_read, struct_read};
use super::support::{Drawn, cells};
use crate::peers::*;
use crate::report::{Figure, Goal};
use crate::rounds::{Plan, Rounds, Unit};
use crate::states::{Config, Map};

const OURS: &str = "HotRead, read(|s| …)";
const COLUMNS: [&str; 3] = ["64-byte struct", "map of 1,000", "map of 100,000"];

pub(super) fn run(plan: &Plan) -> Figure {
    let small = Drawn::new(1_000, 4_096 * 4);
    let large = Drawn::new(100_000, 4_096 * 32);
    let samples = plan.pick(200, 40);
    let passes = plan.pick(6, 1);
    let small_passes = passes * 6;
    let mut rounds = Rounds::new("Time of one read", Unit::Ns.of(COLUMNS));
    cells!(rounds, Share<Config>, [
        HotReadClosure<Config>, HotReadCurrent<Config>, LeftRight<Config>, ArcSwapLoad<Config>,
        StdRwLock<Config>, ParkingLotRwLock<Config>,
    ], 0 => struct_read(samples));
    cells!(rounds, Kv<u64>, [
        HotReadClosure<Map<u64>>, HotReadCurrent<Map<u64>>, LeftRight<Map<u64>>,
        ArcSwapLoad<Map<u64>>, StdRwLock<Map<u64>>, ParkingLotRwLock<Map<u64>>,
    ], 1 => map_read(small, small_passes), 2 => map_read(large, passes));

    let table = rounds.run(plan.pick(31, 2));
    // The worst of the three workloads against each rival.
    let goals = [
        "left-right",
        "ArcSwap::load",
        "std RwLock",
        "parking_lot RwLock",
    ]
    .map(|rival| {
        let ratios = [0, 1, 2].map(|column| table.ratio((OURS, column), (rival, column)));
        let what = format!("read(|s| …) / {rival}, worst of the three");
        Goal::at_most(what, ALIKE, ratios.into_iter().fold(0.0, f64::max))
    });
    Figure::new(
        "A read by closure",
        "The same reads, by `HotRead::read(|state| …)`: no handle to manage, no copy held between \
         two reads.",
    )
    .goals(goals)
    .notes([
        "The goals are 1.0, and 2 % for noise, as for reads through a handle: in a map of \
             100,000 a look-up misses caches, which hides most of the difference between the reads.",
    ])
    .tables([table])
}
