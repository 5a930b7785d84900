//! The cost of a publication with 1 to 10,000 handles, since it looks at every handle's slot.
//!
//! Quiet handles hold no copy. In the rows of holding handles, every handle moves to the new copy
//! after each publication (not timed), so that the next publication finds a free copy. One thread does everything:
//! the slots are in its cache, except where 10,000 of them exceed it.

use crate::clock;
use crate::peers::*;
use crate::report::{Figure, Goal};
use crate::rounds::{Plan, Rounds, Unit};
use crate::states::Config;
use crate::stats;

const COUNTS: [usize; 5] = [1, 10, 100, 1_000, 10_000];
const LABELS: [&str; 5] = ["1", "10", "100", "1,000", "10,000"];
/// The columns behind the counts: nanoseconds a handle, from 1 to 1,000 and from 1,000 to 10,000.
const SLOPES: [&str; 2] = ["a handle, up to 1,000", "a handle, 1,000 to 10,000"];
const QUIET: &str = "HotRead, quiet handles";

pub(super) fn run(plan: &Plan) -> Figure {
    let publications = plan.pick(3_000_000usize, 150_000);
    let columns = Unit::Ns.of(LABELS).into_iter().chain(Unit::Ns.of(SLOPES));
    let mut rounds = Rounds::new("One publication, by number of handles", columns);
    let mut add = |name, row: fn(usize) -> Vec<f64>| {
        rounds.add(name, 0, move || row(publications));
    };
    add(QUIET, quiet::<HotReadCurrent<Config>>);
    add(
        "HotRead, handles holding the copy",
        holding::<HotReadCurrent<Config>>,
    );
    add("left-right", quiet::<LeftRight<Config>>);
    add("hotread 0.1.2, quiet handles", quiet::<Published<Config>>);
    add(
        "hotread 0.1.2, handles holding",
        holding::<Published<Config>>,
    );
    let all = rounds.run(plan.pick(9, 1));
    let goals = [
        Goal::at_most(
            "a quiet handle (from 1 to 10,000)",
            2.0,
            (all.median(QUIET, 4) - all.median(QUIET, 0)) / 9_999.0,
        )
        .in_unit("ns"),
        Goal::at_most(
            "linear: a quiet handle beyond 1,000 / up to 1,000",
            2.0,
            all.ratio((QUIET, 6), (QUIET, 5)),
        ),
    ];
    Figure::new(
        "Publication with many handles",
        "One thread publishes updates of a 64-byte struct while handles exist: quiet ones, or ones \
         that all hold the current copy and move on after each publication (untimed).",
    )
    .goals(goals)
    .notes([
        "One thread touches all slots here. A slot whose owner runs on another core and has just \
             written it costs a cache miss instead.",
    ])
    .tables([
        all.pick("One publication, by number of handles", 0..5),
        all.pick("What each handle adds", 5..7),
    ])
}

fn quiet<P: Share<Config>>(publications: usize) -> Vec<f64> {
    row(|count| publication::<P>(count, false, publications))
}

fn holding<P: Share<Config>>(publications: usize) -> Vec<f64> {
    row(|count| publication::<P>(count, true, publications))
}

fn row(cost: impl Fn(usize) -> f64) -> Vec<f64> {
    let mut row = COUNTS.map(cost).to_vec();
    row.push((row[3] - row[0]) / (COUNTS[3] - COUNTS[0]) as f64);
    row.push((row[4] - row[3]) / (COUNTS[4] - COUNTS[3]) as f64);
    row
}

/// Median nanoseconds of one publication with `count` handles.
fn publication<P: Share<Config>>(count: usize, holding: bool, publications: usize) -> f64 {
    let (peer, mut writer) = P::build(Config::stamped(0));
    let mut readers: Vec<P::Reader> = (0..count).map(|_| peer.reader()).collect();
    for reader in &mut readers {
        reader.read(|_| ());
        reader.rest();
    }
    // Holding handles have to move after each publication; with other handles, publications are timed in
    // groups, so that the clock does not matter.
    let group = if holding {
        1
    } else {
        (1_000 / count).clamp(1, 64) as u64
    };
    let groups = (publications / (count + 100)).clamp(30, 20_000) as u64 / group;
    let mut stamps = 1u64..;
    let samples: Vec<f64> = (0..groups.max(30))
        .map(|_| {
            if holding {
                readers.iter_mut().for_each(|reader| reader.read(|_| ()));
            }
            let mut visible = true;
            let start = clock::fenced();
            for n in stamps.by_ref().take(group as usize) {
                visible &= writer.update(Config::stamped(n));
            }
            let ticks = clock::fenced() - start;
            assert!(visible, "no handle is on an old copy");
            clock::ns(ticks.saturating_sub(clock::overhead())) / group as f64
        })
        .collect();
    // The first ones warm up.
    stats::median(&samples[samples.len() / 8..])
}
