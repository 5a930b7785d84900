//! A read by closure: `HotRead::read(|state| …)`, which any thread can call without a handle to
//! manage and which holds nothing afterwards, beside the other ways that pay at every read.

use super::reads::{ALIKE, map_read, struct_read};
use super::support::{Drawn, cells};
use crate::peers::*;
use crate::report::{Figure, Goal};
use crate::rounds::{Plan, Rounds, Table, Unit};
use crate::states::{Config, Map};

pub(super) fn run(plan: &Plan) -> Figure {
    let small = Drawn::new(1_000, 4_096 * 4);
    let large = Drawn::new(100_000, 4_096 * 32);
    let samples = plan.pick(200, 40);
    let passes = plan.pick(6, 1);
    let small_passes = passes * 6;
    let mut rounds = Rounds::new(
        "Time of one read",
        &[
            ("64-byte struct", Unit::Ns),
            ("map of 1,000", Unit::Ns),
            ("map of 100,000", Unit::Ns),
        ],
    );
    cells!(rounds, 0, Share<Config>, [
        HotReadClosure<Config>, HotReadCurrent<Config>, LeftRight<Config>, ArcSwapLoad<Config>,
        StdRwLock<Config>, ParkingLotRwLock<Config>,
    ], struct_read(samples));
    cells!(rounds, 1, Kv<u64>, [
        Whole<HotReadClosure<Map<u64>>>, Whole<HotReadCurrent<Map<u64>>>,
        Whole<LeftRight<Map<u64>>>, Whole<ArcSwapLoad<Map<u64>>>, Whole<StdRwLock<Map<u64>>>,
        Whole<ParkingLotRwLock<Map<u64>>>,
    ], map_read(small, small_passes));
    cells!(rounds, 2, Kv<u64>, [
        Whole<HotReadClosure<Map<u64>>>, Whole<HotReadCurrent<Map<u64>>>,
        Whole<LeftRight<Map<u64>>>, Whole<ArcSwapLoad<Map<u64>>>, Whole<StdRwLock<Map<u64>>>,
        Whole<ParkingLotRwLock<Map<u64>>>,
    ], map_read(large, passes));

    let table = rounds.run(plan.pick(31, 2));
    let rivals = [
        "left-right",
        "ArcSwap::load",
        "std RwLock",
        "parking_lot RwLock",
    ];
    let goals = rivals.iter().map(|rival| against(&table, rival)).collect();
    Figure {
        id: "closure",
        title: "A read by closure",
        method: "The same reads, by `HotRead::read(|state| …)`: no handle to manage, nothing held \
                 between two reads."
            .into(),
        tables: vec![table],
        goals,
        notes: vec![
            "The goals are 1.0, and 2 % for noise, as for reads through a handle: in a map of 100,000 \
             a look-up misses caches, which hides most of what the reads differ in."
                .into(),
        ],
    }
}

/// The worst of the three workloads against one rival.
fn against(table: &Table, rival: &str) -> Goal {
    let ratios =
        (0..3).map(|column| table.ratio(("HotRead, read(|s| …)", column), (rival, column)));
    Goal::at_most(
        format!("read(|s| …) / {rival}, worst of the three"),
        ALIKE,
        ratios.fold(0.0, f64::max),
    )
}
