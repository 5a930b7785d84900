//! The figures of durable tables: `hotread-store` compared with a bare `rusqlite` that runs the
//! same statements, and with a plain `BTreeMap` of the same rows.
//!
//! The bare loop ([`bare`]) is the limit: its rows, hashes and digests are computed before it is
//! timed, so the difference is the work that the store adds: deciding, hashing, encoding, the way to the
//! committer's thread and back, and the live table. A test compares the files that both leave.

pub mod bare;
pub mod child;
pub(crate) mod commits;
mod cores;
pub(crate) mod data;
mod import;
mod memory;
mod open;
mod reads;
pub(crate) mod scratch;

#[cfg(test)]
mod tests;

pub use scratch::Scratch;

use crate::report::{self, About, Machine};
use crate::target::{self, entries};

type Entry = target::Entry<scratch::Files>;

/// The report of these figures.
pub const ABOUT: About = About {
    name: "store",
    title: "HotRead's store compared with bare SQLite",
    command: "cargo bench -p hotread-bench --bench store",
    profile: report::BENCH_PROFILE,
    rules,
};

/// The figures of the store, in the order of the report.
pub const ALL: [Entry; 5] = entries![
    "store-commits" => commits: "committed transactions a second",
    "store-import" => import: "records a second from a file into a table",
    "store-open" => open: "from opening a file to the first read",
    "store-memory" => memory: "memory of a live table",
    "store-reads" => reads: "reads of a live table while the committer runs flat out",
];

/// HotRead's row.
const OURS: &str = "HotRead";
/// The limit's row.
const BARE: &str = "bare rusqlite";

fn rules(machine: &Machine) -> String {
    format!(
        "\
- Bare rusqlite runs the statements of the store's write path, in the same order, prepared once, on a database of the same schema with the same pragmas. Its rows, hashes, digests and history entries are computed before the clock starts. A test compares the tables that the store and the bare loop leave behind.
- All files are on the same {}, next to the benchmark's program. Every measurement begins with a fresh copy of a database that was synced to disk. `FULL` and `NORMAL` are values of SQLite's `synchronous`, which the store's setting of the same name selects.
- Records have keys of 16 bytes, compact JSON values of about {} bytes, the category `general`, and never expire.
- Peers are interleaved in rounds that each start with another one. Cells are medians over the rounds; in brackets, the cell divided by HotRead's in the same column. Goals are medians of the ratios within each round.
- Measurements of a whole process, opening and memory, run in a process of their own. The page cache is warm; an unwarmed disk would slow all peers by the same reads.
- Cores: {}. Threads are not pinned unless a figure says so.
",
        scratch::file_system(target::folder()),
        data::VALUE_BYTES,
        machine.cores,
    )
}
