//! One update after a burst of handles: 0, 1,000 and 100,000 handles are made, read, and dropped;
//! then a 64-byte struct is updated, with one quiet handle left.
//!
//! The first update after the burst may have to clean up, and finds the caches full of handles; it
//! is reported by itself. The goal concerns the updates that follow: a burst should leave no cost
//! for every later update. Memory that is kept for the next burst is reported as well.

use std::hint::black_box;
use std::time::Duration;

use super::support::cells;
use crate::alloc::Count;
use crate::clock;
use crate::peers::*;
use crate::report::{Figure, Goal};
use crate::rounds::{Plan, Rounds, Unit};
use crate::states::Config;
use crate::stats;

const COUNTS: [usize; 3] = [0, 1_000, 100_000];
const LABELS: [&str; 3] = ["0", "1,000", "100,000"];
/// Measured after each burst, in neighbouring columns.
const METRICS: [Unit; 3] = [Unit::Ns, Unit::Ns, Unit::Bytes];
const LATER: usize = 0;
const FIRST: usize = 1;
const KEPT: usize = 2;

/// Updates timed together.
const GROUP: u64 = 64;

pub(super) fn run(plan: &Plan) -> Figure {
    let time = plan.millis(40, 2);
    let columns = LABELS
        .into_iter()
        .flat_map(|label| METRICS.map(|unit| (label, unit)));
    let mut rounds = Rounds::new("burst", columns);
    for (index, count) in COUNTS.into_iter().enumerate() {
        cells!(rounds, Share<Config>, [
            HotReadCurrent<Config>, LeftRight<Config>, Published<Config>,
        ], index * METRICS.len() => after(count, time));
    }
    let all = rounds.run(plan.pick(11, 1));

    let pick = |title: &str, metric| {
        let columns = [0, 1, 2].map(|burst| burst * METRICS.len() + metric);
        all.pick(title, columns)
    };
    let goals = [1, 2].map(|burst| {
        let what = format!("HotRead, after {} handles / after none", LABELS[burst]);
        let burst = ("HotRead", burst * METRICS.len());
        Goal::at_most(what, 1.1, all.ratio(burst, ("HotRead", 0)))
    });
    Figure::new(
        "Updates after a burst of handles",
        "Handles are made, read and dropped; then a 64-byte struct is updated, with one quiet \
         handle left. Times are of one update.",
    )
    .goals(goals)
    .tables([
        pick("One update, after a burst of handles", LATER),
        pick("The first update after it", FIRST),
        pick("Memory kept after it", KEPT),
    ])
}

/// Time of an update after a burst of `count` handles, time of the first update, and memory kept.
fn after<P: Share<Config>>(count: &usize, time: &Duration) -> Vec<f64> {
    let (peer, mut writer) = P::build(Config::stamped(0));
    let mut quiet = used_reader(&peer);
    writer.update(Config::stamped(1));
    let memory = Count::start();
    let burst: Vec<P::Reader> = (0..*count).map(|_| used_reader(&peer)).collect();
    drop(burst);
    let kept = memory.live_bytes();
    drop(memory);

    let start = clock::fenced();
    writer.update(black_box(Config::stamped(2)));
    let first = (clock::fenced() - start).saturating_sub(clock::overhead());

    let (mut stamps, mut samples) = (3u64.., Vec::new());
    let end = clock::now() + clock::ticks(*time);
    while clock::now() < end || samples.len() < 8 {
        let start = clock::fenced();
        for stamp in stamps.by_ref().take(GROUP as usize) {
            writer.update(black_box(Config::stamped(stamp)));
        }
        let ticks = (clock::fenced() - start).saturating_sub(clock::overhead());
        samples.push(clock::ns(ticks) / GROUP as f64);
    }
    // The first ones warm up.
    let later = stats::median(&samples[samples.len() / 8..]);
    let newest = quiet.read(Config::stamp);
    assert_eq!(newest, stamps.start - 1, "all updates are visible");
    vec![later, clock::ns(first), kept as f64]
}

/// A reader that has read and is quiescent.
fn used_reader<P: Share<Config>>(peer: &P) -> P::Reader {
    let mut reader = peer.reader();
    black_box(reader.read(Config::stamp));
    reader.rest();
    reader
}
