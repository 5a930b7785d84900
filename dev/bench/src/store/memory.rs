//! Anonymous resident memory of a live table in two copies, compared with one `BTreeMap` of the same rows:
//! the growth of a process since before it opened the file, as the system counts it, without
//! trimming. Each measurement is a process of its own.

use super::OURS;
use super::child::{OPS, Peer, measure};
use super::scratch::Plan;
use crate::report::{Figure, Goal};
use crate::rounds::{Rounds, Unit};

const ALL_COLUMNS: &str = "bare BTreeMap, all columns";
const KEY_AND_VALUE: &str = "bare BTreeMap, key and value";
const COLUMNS: [&str; 4] = [
    "loaded",
    "of it SQLite's",
    "after updates",
    "of it SQLite's",
];

pub(super) fn run(plan: &Plan) -> Figure {
    let records = plan.pick(1_000_000, 10_000);
    let updates = plan.pick(100_000, 1_000);
    let mut rounds = Rounds::new("Bytes a record", Unit::Bytes.of(COLUMNS));
    for (peer, name) in Peer::ALL
        .into_iter()
        .zip([OURS, ALL_COLUMNS, KEY_AND_VALUE])
    {
        let plan = plan.clone();
        rounds.add(name, 0, move || {
            // Only the store writes to the file.
            let copy = (peer == Peer::HotRead).then(|| plan.scratch.copy(records));
            let path = copy
                .as_ref()
                .map_or_else(|| plan.scratch.base(records), |copy| copy.path.clone());
            let (_, memory) = measure(peer, &path, records, updates);
            let bytes = memory.as_flattened().iter();
            bytes.map(|bytes| bytes / records as f64).collect()
        });
    }
    let all = rounds.run(plan.pick(3, 1));
    let than = |under, column| all.ratio((OURS, column), (under, column));
    Figure::new(
        "Memory of a live table",
        format!(
            "Anonymous resident memory (`RssAnon`) by which a process has grown since before it \
             opened a database of {records} records: HotRead with the table loaded, twice, and all \
             other parts of a store that writes; the others with one `BTreeMap` of owned rows and \
             the connection for reading them. Then again after {updates} updates of random \
             records: HotRead's are committed, {OPS} at a time; the others' replace the value in \
             the map. In bytes a record."
        ),
    )
    .goals([
        Goal::at_most(
            "loaded: HotRead / one BTreeMap with the same columns",
            1.5,
            than(ALL_COLUMNS, 0),
        ),
        Goal::at_most(
            "after updates: HotRead / one BTreeMap with the same columns",
            1.5,
            than(ALL_COLUMNS, 2),
        ),
    ])
    .notes([
        format!(
            "HotRead / one BTreeMap of key and value only: {:.2} × loaded, {:.2} × after updates.",
            than(KEY_AND_VALUE, 0),
            than(KEY_AND_VALUE, 2)
        ),
        "SQLite's part consists of its page caches: up to 64 MiB for the store's writer and 2 MiB \
         for a reader. They do not grow with the table."
            .into(),
    ])
    .tables([all])
}
