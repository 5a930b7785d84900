//! The figures, one module each; the first lines of a module say what it asks and how it answers.

mod after_publication;
mod burst;
mod closure;
mod conc_map;
mod contended;
mod evmap_mix;
mod flow;
mod handles;
mod reads;
mod stalled;
pub(crate) mod support;
mod updates;
mod visibility;
mod waiting;

use crate::report::{self, About, Machine};
use crate::target::Entry;

/// The report of these figures.
pub const ABOUT: About = About {
    name: "in-process",
    title: "HotRead beside its peers: in-process reads and updates",
    command: "cargo bench -p hotread-bench --bench inprocess",
    profile: report::BENCH_PROFILE,
    rules,
};

fn rules(machine: &Machine) -> String {
    format!(
        "\
- All peers of a figure run in one process on the same data, interleaved in rounds that each start with another peer; every peer is rebuilt in every round.
- Cells are medians over the rounds; in brackets, the cell divided by HotRead's in the same column. Goals are medians of the ratios within each round.
- All maps of a figure hash with clones of one `std::hash::RandomState` (SipHash-1-3); keys are drawn before anything is timed.
- Clock: {}.
- Threads are not pinned. Rows with more threads than the {} cores measure the scheduler as well.
",
        machine.clock, machine.cores
    )
}

/// All figures, in the order of the report.
pub const ALL: [Entry; 13] = [
    Entry::new("reads", "a read while nothing changes", reads::run),
    Entry::new(
        "closure",
        "a read by closure, without a handle to manage",
        closure::run,
    ),
    Entry::new(
        "after-publication",
        "the first read after a publication",
        after_publication::run,
    ),
    Entry::new("flow", "reads while updates flow", flow::run),
    Entry::new(
        "updates",
        "updates of a map of 100,000 entries and of a struct",
        updates::run,
    ),
    Entry::new(
        "visibility",
        "from an update to another thread seeing it",
        visibility::run,
    ),
    Entry::new(
        "handles",
        "publication beside 1 to 10,000 handles",
        handles::run,
    ),
    Entry::new("burst", "updates after a burst of handles", burst::run),
    Entry::new(
        "waiting",
        "readers while others wait for an update",
        waiting::run,
    ),
    Entry::new(
        "stalled-reader",
        "everyone else while one reader holds its copy",
        stalled::run,
    ),
    Entry::new(
        "contended-writers",
        "1 to 8 threads that update at once",
        contended::run,
    ),
    Entry::new("conc-map", "conc-map-bench's mixes", conc_map::run),
    Entry::new("evmap-mix", "evmap's readers and writers", evmap_mix::run),
];
