//! All other threads while one reader holds its copy for a second.
//!
//! One writer stamps the time into a small state, flat out; one reader on another core reads the state,
//! flat out, and computes its age (over time, not over reads); a third thread takes
//! the state and sleeps on it. Measured before and during the hold: accepted updates, visible updates,
//! the writer's longest call, queued updates and their memory, the age of the state that the second reader
//! sees, and its longest call.

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use crate::alloc::Count;
use crate::clock;
use crate::peers::*;
use crate::report::{Figure, Goal};
use crate::rounds::{Plan, Rounds, Unit, columns};
use crate::states::LastStamp;
use crate::stats::Histogram;

const COLUMNS: [(Unit, &[&str]); 5] = [
    (
        Unit::PerSecond,
        &["accepted/s before", "accepted/s during", "visible/s during"],
    ),
    (Unit::Ns, &["longest update"]),
    (Unit::Count, &["queued at most"]),
    (Unit::Bytes, &["memory taken"]),
    (
        Unit::Ns,
        &[
            "staleness p50 before",
            "p50 during",
            "p99 before",
            "p99 during",
            "max during",
            "longest read during",
        ],
    ),
];
const TWO: &str = "HotRead, 2 copies";
const THREE: &str = "HotRead, 3 copies";

pub(super) fn run(plan: &Plan) -> Figure {
    let hold = plan.millis(1_000, 150);
    let mut rounds = Rounds::new("all", columns(&COLUMNS));
    let mut add = |name, stall: fn(Duration) -> Vec<f64>| rounds.add(name, 0, move || stall(hold));
    add(TWO, stall::<HotReadCurrent<LastStamp, 2>>);
    add(THREE, stall::<HotReadCurrent<LastStamp, 3>>);
    add("left-right", stall::<LeftRight<LastStamp>>);
    add("hotread 0.1.2", stall::<Published<LastStamp>>);
    add("arc-swap Cache", stall::<ArcSwapCache<LastStamp>>);
    add("std RwLock", stall::<StdRwLock<LastStamp>>);
    add("tokio watch", stall::<Watch<LastStamp>>);
    let all = rounds.run(plan.pick(3, 1));

    let hold_ns = hold.as_nanos() as f64;
    let longest = |copies| all.median(copies, 3) / hold_ns;
    let p50 = "three copies: others' p50 staleness during / before";
    let p99 = "three copies: others' p99 staleness during / before";
    let never_waits = "two copies: longest update / the hold (the writer never waits)";
    let goals = [
        (never_waits, 0.2, longest(TWO)),
        (
            "three copies: longest update / the hold",
            0.2,
            longest(THREE),
        ),
        (p50, 1.25, all.ratio((THREE, 7), (THREE, 6))),
        (p99, 1.5, all.ratio((THREE, 9), (THREE, 8))),
    ]
    .map(|(what, target, measured)| Goal::at_most(what, target, measured));
    Figure::new(
        "While one reader holds its copy",
        format!(
            "One writer and one reader run flat out while a third thread holds the state for {} \
             ms. Staleness is the age of the newest stamp that the other reader has seen, at a \
             random moment.",
            hold.as_millis()
        ),
    )
    .goals(goals)
    .notes([
        "With two copies, updates behind a stalled reader are accepted and logged but stay \
         invisible until it moves: staleness and log grow with the hold. A third copy removes \
         both. left-right's writer waits for the reader; so does a lock's writer, and with it \
         possibly other readers.",
        "Memory counts allocations during the hold that are not freed by its end.",
        "Visible updates are those that the other reader saw.",
    ])
    .tables([
        all.pick("The writer", 0..6),
        all.pick("Another reader", 6..12),
    ])
}

const WARM_UP: u64 = 0;
const BEFORE: u64 = 1;
const DURING: u64 = 2;
const AFTER: u64 = 3;
const END: u64 = 4;

#[derive(Default)]
struct Written {
    counts: [u64; 4],
    longest: u64,
    backlog: usize,
}

struct Seen {
    ages: Vec<Histogram>,
    longest: u64,
    /// Updates visible to the first and to the last read of the hold.
    visible: Option<(u64, u64)>,
}

fn stall<P: Share<LastStamp>>(hold: Duration) -> Vec<f64> {
    let (peer, mut writer) = P::build(LastStamp::default());
    let mut reader = peer.reader();
    let mut stalled = peer.reader();
    let phase = AtomicU64::new(WARM_UP);
    let memory = AtomicUsize::new(0);
    let before = hold / 4;
    let mut row = Vec::new();
    std::thread::scope(|scope| {
        let writing = scope.spawn(|| {
            writer.attach();
            let written = write(&mut writer, &phase);
            writer.detach();
            written
        });
        let reading = scope.spawn(|| {
            reader.attach();
            let seen = read(&mut reader, &phase);
            reader.rest();
            reader.detach();
            seen
        });
        std::thread::sleep(before / 2);
        phase.store(BEFORE, Ordering::Relaxed);
        std::thread::sleep(before);
        stalled.attach();
        stalled.read(|_| {
            let count = Count::start();
            phase.store(DURING, Ordering::Relaxed);
            std::thread::sleep(hold);
            let taken = count.live_bytes().max(0) as usize;
            memory.store(taken, Ordering::Relaxed);
            phase.store(AFTER, Ordering::Relaxed);
        });
        stalled.rest();
        stalled.detach();
        std::thread::sleep(before / 2);
        phase.store(END, Ordering::Relaxed);
        let written = writing.join().expect("writers do not panic");
        let seen = reading.join().expect("readers do not panic");
        row = summary(&written, &seen, before, hold);
        row[5] = memory.load(Ordering::Relaxed) as f64;
    });
    row
}

fn write<W: Write<LastStamp>>(writer: &mut W, phase: &AtomicU64) -> Written {
    let mut written = Written::default();
    loop {
        let now = phase.load(Ordering::Relaxed);
        if now == END {
            return written;
        }
        let start = clock::now();
        writer.update(start);
        let took = clock::now() - start;
        let count = &mut written.counts[now as usize];
        *count += 1;
        if touches_the_hold(now, phase) {
            written.longest = written.longest.max(took);
            if *count % 1_024 == 0 {
                written.backlog = written.backlog.max(writer.backlog());
            }
        }
    }
}

/// Returns `true` if a call that began in a phase and has just ended was under way during the hold.
fn touches_the_hold(began: u64, phase: &AtomicU64) -> bool {
    (BEFORE..=DURING).contains(&began) && phase.load(Ordering::Relaxed) >= DURING
}

fn read<R: Read<LastStamp>>(reader: &mut R, phase: &AtomicU64) -> Seen {
    let mut seen = Seen {
        ages: vec![Histogram::default(); 4],
        longest: 0,
        visible: None,
    };
    let (mut last_stamp, mut last_end) = (0, clock::now());
    loop {
        let began = phase.load(Ordering::Relaxed);
        if began == END {
            return seen;
        }
        let start = clock::now();
        let (stamp, count) = reader.read(|state| (state.stamp, state.count));
        let end = clock::now();
        let held_up = touches_the_hold(began, phase);
        if held_up {
            seen.longest = seen.longest.max(end - start);
        }
        if began == DURING && phase.load(Ordering::Relaxed) == DURING {
            let first = seen.visible.map_or(count, |(first, _)| first);
            seen.visible = Some((first, count));
        }
        if last_stamp != 0 {
            // From the last read to this one, the reader had the state of the last read: its age halfway,
            // weighted by the duration. So a blocking read counts with its full duration.
            let lasted = end - last_end;
            let age = (last_end.saturating_sub(last_stamp) + end.saturating_sub(last_stamp)) / 2;
            let in_phase = if held_up { DURING } else { began };
            seen.ages[in_phase as usize].record_weighted(age, lasted);
        }
        (last_stamp, last_end) = (stamp, end);
    }
}

fn summary(written: &Written, seen: &Seen, before: Duration, hold: Duration) -> Vec<f64> {
    // A reader whose read blocks during the hold sees no update become visible.
    let visible = seen.visible.map_or(0, |(first, last)| last - first);
    let age = |phase: u64, p| clock::ns_at(&seen.ages[phase as usize], [p])[0];
    vec![
        written.counts[BEFORE as usize] as f64 / before.as_secs_f64(),
        written.counts[DURING as usize] as f64 / hold.as_secs_f64(),
        visible as f64 / hold.as_secs_f64(),
        clock::ns(written.longest),
        written.backlog as f64,
        f64::NAN,
        age(BEFORE, 50.0),
        age(DURING, 50.0),
        age(BEFORE, 99.0),
        age(DURING, 99.0),
        age(DURING, 100.0),
        clock::ns(seen.longest),
    ]
}
