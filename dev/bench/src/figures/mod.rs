//! The figures, one module each; the first lines of a module state its question and its method.

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
use crate::target::{Entry, entries};

/// The report of these figures.
pub const ABOUT: About = About {
    name: "in-process",
    title: "HotRead compared with its peers: in-process reads and updates",
    command: "cargo bench -p hotread-bench --bench inprocess",
    profile: report::BENCH_PROFILE,
    rules,
};

fn rules(machine: &Machine) -> String {
    format!(
        "\
- All peers of a figure run in one process on the same data, interleaved in rounds that each start with another peer; every peer is rebuilt in every round.
- Cells are medians over the rounds; in brackets, the cell divided by HotRead's in the same column. Goals are medians of the ratios within each round.
- All maps of a figure hash with clones of one `std::hash::RandomState` (SipHash-1-3); keys are drawn before the clock starts.
- Clock: {}.
- Threads are not pinned. Rows with more threads than the {} cores measure the scheduler as well.
",
        machine.clock, machine.cores
    )
}

/// All figures, in the order of the report.
pub const ALL: [Entry; 13] = entries![
    "reads" => reads: "a read while nothing changes",
    "closure" => closure: "a read by closure, without a handle to manage",
    "after-publication" => after_publication: "the first read after a publication",
    "flow" => flow: "reads while updates flow",
    "updates" => updates: "updates of a map of 100,000 entries and of a struct",
    "visibility" => visibility: "from an update until another thread sees it",
    "handles" => handles: "publication with 1 to 10,000 handles",
    "burst" => burst: "updates after a burst of handles",
    "waiting" => waiting: "readers while others wait for an update",
    "stalled-reader" => stalled: "all other threads while one reader holds its copy",
    "contended-writers" => contended: "1 to 8 threads that update at once",
    "conc-map" => conc_map: "conc-map-bench's mixes",
    "evmap-mix" => evmap_mix: "evmap's readers and writers",
];
