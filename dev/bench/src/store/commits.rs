//! Committed transactions a second: 64 callers that put one record each, one caller that puts 100
//! a transaction, and one that puts one by one; with an fsync for each group (`FULL`) and without
//! (`NORMAL`).
//!
//! Puts replace random records of a table that is loaded into memory, like any table with
//! readers; a second row has the table on disk only. The store is measured from its callers' side, so
//! their copies of keys and values count. The bare loop makes the same rows from one
//! thread: a COMMIT for each transaction, and a COMMIT for each 64, which is the most that
//! 64 callers can share.

use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant, SystemTime};

use hotread_proto::{Put, Timestamp};
use hotread_store::Synchronous;

use super::bare::{self, Loop, Mirror};
use super::data;
use super::scratch::Plan;
use super::{BARE, OURS};
use crate::report::{Figure, Goal};
use crate::rounds::{Rounds, Unit};
use crate::timing::StopOnDrop;

const COLD: &str = "HotRead, table not in memory";
const GROUPED: &str = "bare rusqlite, 64 a COMMIT";
const CALLERS: usize = 64;
/// Of both levels of durability.
const COLUMNS: [&str; 3] = ["64 callers", "batches of 100", "one by one"];
/// Callers, and puts of a transaction, of each column.
const SHAPES: [(usize, usize); 3] = [(CALLERS, 1), (1, 100), (1, 1)];

/// Setup of one cell.
#[derive(Clone)]
pub(crate) struct Setup {
    plan: Plan,
    records: usize,
    puts: Arc<Vec<Put>>,
    time: Duration,
    synchronous: Synchronous,
}

impl Setup {
    /// A table with a number of records, written to for a time.
    pub(crate) fn new(
        plan: &Plan,
        records: usize,
        synchronous: Synchronous,
        time: Duration,
    ) -> Self {
        Self {
            plan: plan.clone(),
            records,
            puts: Arc::new(data::shuffled_puts(records, 3)),
            time,
            synchronous,
        }
    }
}

pub(super) fn run(plan: &Plan) -> Figure {
    let records = plan.pick(100_000, 10_000);
    let setup = Setup::new(plan, records, Synchronous::Full, plan.millis(500, 100));
    let columns = [COLUMNS; 2].map(|labels| Unit::PerSecond.of(labels));
    let columns = columns.into_iter().flatten();
    let mut rounds = Rounds::new("Committed transactions a second", columns);
    for (level, synchronous) in [(0, Synchronous::Full), (1, Synchronous::Normal)] {
        for (shape, (callers, ops)) in SHAPES.into_iter().enumerate() {
            let column = level * SHAPES.len() + shape;
            let setup = Rc::new(Setup {
                synchronous,
                ..setup.clone()
            });
            for (name, live) in [(OURS, true), (COLD, false)] {
                let our = setup.clone();
                rounds.add(name, column, move || {
                    vec![hotread(&our, callers, ops, live)]
                });
            }
            let name = if callers == 1 { BARE } else { GROUPED };
            rounds.add(name, column, move || vec![bare(&setup, callers, ops)]);
        }
    }
    let all = rounds.run(plan.pick(5, 1));

    let mut goals = vec![Goal::at_least(
        "64 callers at FULL: HotRead / bare rusqlite one by one",
        5.0,
        all.ratio((OURS, 0), (BARE, 2)),
    )];
    for (column, level) in [(1, "FULL"), (4, "NORMAL")] {
        goals.push(Goal::at_least(
            format!("batches of 100 at {level}: HotRead / bare rusqlite"),
            0.8,
            all.ratio((OURS, column), (BARE, column)),
        ));
    }
    Figure::new(
        "Committed transactions",
        format!(
            "Puts of new values for random records of a table of {records} records: {CALLERS} \
             callers that each commit one put and wait; one caller that commits 100 at once; one \
             that commits one by one. A transaction of the bare loop looks up what exists, writes \
             the record and the history; the table's head and the counter of entries follow once \
             for each COMMIT."
        ),
    )
    .goals(goals)
    .notes([
        "The bare loop has no callers to wait for: its transactions are ready. For each put the \
         store also copies key and value (from the caller, and into the record), hashes the \
         record, encodes it for the history, and applies it to both copies of the live table; the \
         row of a table that is not in memory lacks the last step.",
        "One by one, each commit of the store wakes two threads, on the way to the committer's \
         thread and back. Beyond 10,000 transactions the store also trims its history, which the \
         bare loop does not.",
    ])
    .tables([
        all.pick(
            "Committed transactions a second at FULL: an fsync for each COMMIT",
            0..3,
        ),
        all.pick("Committed transactions a second at NORMAL", 3..6),
    ])
}

/// Committed transactions a second, counted by the callers.
fn hotread(setup: &Setup, callers: usize, ops: usize, live: bool) -> f64 {
    let copy = setup.plan.scratch.copy(setup.records);
    let store = copy.open(setup.synchronous);
    let table = data::table();
    let _live = live.then(|| store.live(&table).expect("the table is there"));
    let (stop, committed) = (AtomicBool::new(false), AtomicU64::new(0));
    let mut per_second = f64::NAN;
    std::thread::scope(|scope| {
        let _stop = StopOnDrop(&stop);
        for caller in 0..callers {
            let (store, table, puts) = (&store, &table, &setup.puts);
            let (stop, committed) = (&stop, &committed);
            scope.spawn(move || {
                let mut at = caller * (puts.len() / callers);
                while !stop.load(Ordering::Relaxed) {
                    let txn = data::txn(puts, at, ops);
                    store.commit(table, txn).expect("it is within the limits");
                    committed.fetch_add(1, Ordering::Relaxed);
                    at = (at + ops) % puts.len();
                }
            });
        }
        std::thread::sleep(setup.time / 4);
        let (start, before) = (Instant::now(), committed.load(Ordering::Relaxed));
        std::thread::sleep(setup.time);
        let after = committed.load(Ordering::Relaxed);
        per_second = (after - before) as f64 / start.elapsed().as_secs_f64();
    });
    per_second
}

/// Transactions a second of the bare loop, `txns` of them under each COMMIT.
pub(crate) fn bare(setup: &Setup, txns: usize, ops: usize) -> f64 {
    /// COMMITs between two looks at the clock.
    const CHUNK: usize = 16;

    let copy = setup.plan.scratch.copy(setup.records);
    let db = bare::writer(&copy.path, setup.synchronous).expect("the copy is a database");
    let mut mirror = Mirror::of(&db).expect("the copy has the table");
    let mut statements = Loop::new(&db).expect("the schema is the store's");
    let mut at = 0;
    let mut for_at_least = |time: Duration| {
        let (mut spent, mut committed) = (Duration::ZERO, 0);
        while spent < time {
            let mut prepare = || {
                let txn = data::txn(&setup.puts, at, ops);
                at = (at + ops) % setup.puts.len();
                mirror.prepare(txn, Timestamp::from(SystemTime::now()))
            };
            let group = |_| (0..txns).map(|_| prepare()).collect::<Vec<_>>();
            let groups: Vec<Vec<_>> = (0..CHUNK).map(group).collect();
            let start = Instant::now();
            for group in &groups {
                statements.group(group).expect("SQLite writes");
            }
            spent += start.elapsed();
            committed += CHUNK * txns;
        }
        committed as f64 / spent.as_secs_f64()
    };
    for_at_least(setup.time / 4);
    for_at_least(setup.time)
}
