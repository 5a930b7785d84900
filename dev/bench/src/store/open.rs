//! From opening a file to the first read: the store with its live table in both copies, compared with a
//! SELECT of all rows into a `BTreeMap`. Each measurement is a process of its own; the file is in
//! the page cache.

use std::rc::Rc;

use super::OURS;
use super::child::{Peer, measure};
use super::scratch::Plan;
use crate::report::{Figure, Goal};
use crate::rounds::{Rounds, Unit};

const ALL_COLUMNS: &str = "bare SELECT, all columns";
const KEY_AND_VALUE: &str = "bare SELECT, key and value";
/// Time that is fast enough, in seconds.
const GOAL_S: f64 = 2.0;
/// Multiple of the bare SELECT's time that is fast enough.
const GOAL_RATIO: f64 = 1.5;

pub(super) fn run(plan: &Plan) -> Figure {
    let records = plan.pick(1_000_000, 10_000);
    let path = Rc::new(plan.scratch.base(records));
    // Warms the page cache.
    measure(Peer::KeyAndValue, &path, records, 0);
    let mut rounds = Rounds::new("Time until the first read", [("time", Unit::Ns)]);
    for (peer, name) in Peer::ALL
        .into_iter()
        .zip([OURS, ALL_COLUMNS, KEY_AND_VALUE])
    {
        let path = path.clone();
        rounds.add(name, 0, move || vec![measure(peer, &path, records, 0).0]);
    }
    let all = rounds.run(plan.pick(5, 1));
    let enough = (all.median(ALL_COLUMNS, 0) / 1e9 * GOAL_RATIO).max(GOAL_S);
    Figure::new(
        "Opening until the first read",
        format!(
            "A process opens a database with a table of {records} records and reads one of them. \
             HotRead has the table in memory by then, twice, with the writer ready; the bare \
             SELECT has it in one `BTreeMap` of owned rows, built at once from rows in order. The \
             page cache is warm."
        ),
    )
    .goals([Goal::at_most(
        format!(
            "HotRead: {GOAL_S} s, or {GOAL_RATIO} × the bare SELECT of all columns if that is more"
        ),
        enough,
        all.median(OURS, 0) / 1e9,
    )
    .in_unit("s")])
    .notes([format!(
        "HotRead / bare SELECT of all columns: {:.2} ×; of key and value: {:.2} ×.",
        all.ratio((OURS, 0), (ALL_COLUMNS, 0)),
        all.ratio((OURS, 0), (KEY_AND_VALUE, 0)),
    )])
    .tables([all])
}
