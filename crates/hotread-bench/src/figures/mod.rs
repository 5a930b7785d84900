//! The figures, one module each; the first lines of a module say what it asks and how it answers.

mod after_publication;
mod closure;
mod conc_map;
mod contended;
mod evmap_mix;
mod flow;
mod handles;
mod reads;
mod stalled;
mod support;
mod updates;
mod visibility;

use crate::report::Figure;
use crate::rounds::Plan;

/// A figure that can be measured.
pub struct Entry {
    /// Its name on the command line and in file names.
    pub id: &'static str,
    /// What it asks.
    pub asks: &'static str,
    /// Measures it.
    pub run: fn(&Plan) -> Figure,
}

/// All figures, in the order of the report.
pub const ALL: [Entry; 11] = [
    Entry {
        id: "reads",
        asks: "a read while nothing changes",
        run: reads::run,
    },
    Entry {
        id: "closure",
        asks: "a read by closure, without a handle to manage",
        run: closure::run,
    },
    Entry {
        id: "after-publication",
        asks: "the first read after a publication",
        run: after_publication::run,
    },
    Entry {
        id: "flow",
        asks: "reads while updates flow",
        run: flow::run,
    },
    Entry {
        id: "updates",
        asks: "updates of a map of 100,000 entries",
        run: updates::run,
    },
    Entry {
        id: "visibility",
        asks: "from an update to another thread seeing it",
        run: visibility::run,
    },
    Entry {
        id: "handles",
        asks: "publication beside 1 to 10,000 handles",
        run: handles::run,
    },
    Entry {
        id: "stalled-reader",
        asks: "everyone else while one reader holds its copy",
        run: stalled::run,
    },
    Entry {
        id: "contended-writers",
        asks: "1 to 8 threads that update at once",
        run: contended::run,
    },
    Entry {
        id: "conc-map",
        asks: "conc-map-bench's mixes",
        run: conc_map::run,
    },
    Entry {
        id: "evmap-mix",
        asks: "evmap's readers and writers",
        run: evmap_mix::run,
    },
];
