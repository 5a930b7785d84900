//! Readers while others wait: 1, 8 and 64 handles that one thread polls one after another, while
//! no thread waits, while a maintainer runs, and while 1, 10 and 100 threads sit in
//! `wait_published`.
//!
//! All handles hold a copy, and so does one more handle, the stalled one. An update is published, and
//! the next one is blocked: the threads that wait for it go to sleep. Then each handle moves to the published
//! copy, which is the first of the timed calls. The others are `quiescent()` of a handle that is
//! still on the old copy; `current()` when nothing is new; and at last `quiescent()` of the stalled
//! handle, the only call that unblocks the waiting update and has a thread to wake. Needless
//! wake-ups before that are counted exactly: the times that a thread went to sleep in one wait.
//!
//! Timing begins when all waiting threads sleep, with the lines that the calls need in the cache: so
//! the work of the waiting threads on their way to sleep does not matter.

mod cycle;

use self::cycle::{Others, Work, bare_store, measure};
use crate::peers::{HotReadCurrent, Published};
use crate::report::{Figure, Goal};
use crate::rounds::{Plan, Rounds, Table, Unit};
use crate::states::Config;

const READERS: [usize; 3] = [1, 8, 64];
const LABELS: [&str; 3] = ["1 reader", "8 readers", "64 readers"];

/// Situations, a row each.
const SITUATIONS: [(&str, Others); 5] = [
    (NO_THREAD, Others::None),
    ("HotRead, a maintainer runs", Others::Maintainer),
    (ONE_THREAD, Others::Waiting(1)),
    ("HotRead, 10 threads wait", Others::Waiting(10)),
    ("HotRead, 100 threads wait", Others::Waiting(100)),
];
const ONE_THREAD: &str = "HotRead, 1 thread waits";
const NO_THREAD: &str = "HotRead, no thread waits";
const BARE_STORE: &str = "a store to a line that another core has read";

/// Columns of each number of readers: p50, p99 and maximum of each kind of call, and sleeps.
const COLUMNS: usize = 13;
const MOVED: usize = 0;
const UNCHANGED: usize = 3;
const LEFT: usize = 6;
const LAST: usize = 9;
const SLEEPS: usize = 12;

/// Bounds of the goals. While threads wait for an update of another state, the same calls take
/// up to a quarter longer, and one in a hundred up to 200 ns more: 100 threads that went to sleep
/// have displaced some lines of the caches. Waking a single thread takes 2,000 ns and more.
mod allowed {
    /// Multiple of the time without waiting threads.
    pub(super) const RATIO: f64 = 1.25;
    /// On top of a p50: two steps of the clock.
    pub(super) const P50_NS: f64 = 2.0;
    /// On top of a p99.
    pub(super) const P99_NS: f64 = 200.0;
    /// On top of the p99 of means of thousands of calls: an interrupt.
    pub(super) const MEAN_NS: f64 = 2.0;
    /// Sleeps in one wait: one, and some in which a thread waits for a lock for a moment.
    pub(super) const SLEEPS: f64 = 1.1;
    /// Multiple of the time to wake the only waiting thread; two wake-ups would be 2.
    pub(super) const ONE_WAKE_UP: f64 = 1.5;
}

pub(super) fn run(plan: &Plan) -> Figure {
    let columns = LABELS.into_iter().flat_map(|label| {
        let calls = ["p50", "p99", "max"].map(|name| (format!("{label}, {name}"), Unit::Ns));
        let calls = calls.into_iter().cycle().take(12);
        calls.chain([(label.to_owned(), Unit::Count)])
    });
    let mut rounds = Rounds::new("waiting", columns);
    for (index, readers) in READERS.into_iter().enumerate() {
        let work = Work {
            readers,
            cycles: plan.pick(if readers == 1 { 100 } else { 30 }, 3),
        };
        let column = index * COLUMNS;
        for (name, others) in SITUATIONS {
            rounds.add(name, column, move || {
                measure::<HotReadCurrent<Config>>(&others, &work)
            });
        }
        rounds.add("hotread 0.1.2, no thread waits", column, move || {
            measure::<Published<Config>>(&Others::None, &work)
        });
        if readers == 1 {
            let work = Work {
                cycles: 10 * work.cycles,
                ..work
            };
            rounds.add(BARE_STORE, column, move || bare_store(&work));
        }
    }
    let all = rounds.run(plan.pick(7, 1));

    let of_calls = |title: &str, first: usize| {
        let columns = (0..READERS.len()).flat_map(move |readers| {
            (0..3).map(move |percentile| readers * COLUMNS + first + percentile)
        });
        all.pick(title, columns)
    };
    let sleeps = (0..READERS.len()).map(|readers| readers * COLUMNS + SLEEPS);
    Figure::new(
        "Readers while others wait",
        "One thread polls 1, 8 or 64 handles of a 64-byte struct one after another, right after \
         a publication. One more handle stalls on the old copy and blocks the next update, for \
         which no thread waits, or a maintainer, or 1, 10 or 100 threads in `wait_published`, all \
         asleep. Only the last handle that releases the old copy has a thread to wake.",
    )
    .goals(goals(&all))
    .notes([
        "hotread 0.1.2 has handles but no call that waits; left-right has neither.",
        "A waiting thread looks at slots until it finds one that holds the copy. The owner of that \
         slot then stores to a line that another core has read, and a full fence waits until the \
         line is its own again; the row of the bare store shows the time of that by itself.",
        "A thread that is woken only when its update is visible sleeps once. Waking a thread takes \
         2 µs and more, so a single needless wake-up shows in every time; the goals allow a \
         quarter, and 2 ns for a p50 and 200 ns for a p99: the cost of the same threads when they \
         wait for another state.",
    ])
    .tables([
        of_calls("current() right after a publication", MOVED),
        of_calls(
            "current() when nothing is new, means of 4,096 calls",
            UNCHANGED,
        ),
        of_calls(
            "quiescent() of a handle that is not the last on its copy",
            LEFT,
        ),
        of_calls("quiescent() of the last handle on the old copy", LAST),
        all.pick(
            "Times that a waiting thread went to sleep in one wait",
            sleeps,
        ),
    ])
}

fn goals(all: &Table) -> Vec<Goal> {
    let columns = |metric| (0..READERS.len()).map(move |readers| readers * COLUMNS + metric);
    // The worst ratio of all waiting situations, for all numbers of readers.
    let worst = |metric, allowance| {
        let ratios = SITUATIONS[1..].iter().flat_map(|(others, _)| {
            columns(metric)
                .map(|column| all.ratio_allowing((others, column), (NO_THREAD, column), allowance))
        });
        ratios.fold(f64::NAN, f64::max)
    };
    let (p50_ns, p99_ns) = (allowed::P50_NS, allowed::P99_NS);
    let mut goals = Vec::new();
    for (call, metric, p50_ns, p99_ns) in [
        ("current() after a publication", MOVED, p50_ns, p99_ns),
        (
            "current() when nothing is new",
            UNCHANGED,
            0.0,
            allowed::MEAN_NS,
        ),
        ("quiescent(), not the last", LEFT, p50_ns, p99_ns),
    ] {
        for (percentile, metric, ns) in [("p50", metric, p50_ns), ("p99", metric + 1, p99_ns)] {
            let without = match ns {
                0.0 => "without".to_owned(),
                ns => format!("(without + {ns} ns)"),
            };
            let what = format!("{call}, {percentile}: while others wait / {without}, the worst");
            goals.push(Goal::at_most(what, allowed::RATIO, worst(metric, ns)));
        }
    }
    let wakes = |(others, column)| all.ratio((others, column), (ONE_THREAD, column));
    let many = SITUATIONS[3..].iter().map(|(others, _)| *others);
    goals.push(Goal::at_most(
        "quiescent(), the last, p50: 10 or 100 threads wait / 1 (one wake-up), the worst",
        allowed::ONE_WAKE_UP,
        many.flat_map(|others| columns(LAST).map(move |column| (others, column)))
            .map(wakes)
            .fold(f64::NAN, f64::max),
    ));
    let waiting = SITUATIONS[2..].iter();
    goals.push(
        Goal::at_most(
            "sleeps of a thread in one wait, the worst",
            allowed::SLEEPS,
            waiting
                .flat_map(|(others, _)| columns(SLEEPS).map(|column| all.median(others, column)))
                .fold(f64::NAN, f64::max),
        )
        .in_unit("times"),
    );
    goals
}
