//! Records a second from a file of newline-delimited JSON into an empty table, in transactions of
//! 1,000 puts: the store reads, parses, and submits without waiting for each answer; the bare loop
//! has the rows ready and commits each 1,000.
//!
//! The file is ordered by key, as exports are. Both begin with a new database.

use std::fs::File;
use std::path::PathBuf;
use std::rc::Rc;
use std::time::{Duration, Instant, SystemTime};

use hotread_proto::{Put, Timestamp, Txn};
use hotread_store::import::{Format, Input, Options, Rows};
use hotread_store::{Store, Synchronous};

use super::bare::{self, Loop, Mirror};
use super::data::{self, BATCH};
use super::scratch::{self, Plan};
use super::{BARE, OURS};
use crate::report::{Figure, Goal};
use crate::rounds::{Rounds, Unit, columns};

const COLUMNS: [(Unit, &[&str]); 2] = [
    (Unit::PerSecond, &["records", "bytes of the file"]),
    (Unit::Ns, &["time"]),
];

pub(super) fn run(plan: &Plan) -> Figure {
    let records = plan.pick(1_000_000, 10_000);
    let path = plan.scratch.file("records.ndjson");
    let bytes = data::write_ndjson(&path, records).expect("the folder is writable");
    let source = Rc::new((plan.clone(), path.clone()));

    let row = move |time: Duration| {
        let seconds = time.as_secs_f64();
        let (records, bytes) = (records as f64, bytes as f64);
        vec![records / seconds, bytes / seconds, seconds * 1e9]
    };
    let mut rounds = Rounds::new("Import, a second", columns(&COLUMNS));
    let ours = source.clone();
    rounds.add(OURS, 0, move || row(hotread(&ours, records)));
    rounds.add(BARE, 0, move || row(bare(&source, records)));
    let all = rounds.run(plan.pick(3, 1));
    // If this fails, the file is removed at the end.
    let _ = std::fs::remove_file(path);
    Figure::new(
        "Importing records",
        format!(
            "{records} records from a file of newline-delimited JSON ({} MB, in the page cache, \
             ordered by key) into an empty table at FULL, {BATCH} puts a transaction, until the \
             last one is on disk. The bare loop writes the same rows without reading or parsing a \
             file.",
            bytes / 1_000_000
        ),
    )
    .goals([Goal::at_least(
        "HotRead / bare rusqlite",
        0.8,
        all.ratio((OURS, 0), (BARE, 0)),
    )])
    .notes([
        "The store parses on one thread and writes on another, and commits waiting transactions \
             together: up to 32 MiB with one fsync. The bare loop commits each transaction.",
    ])
    .tables([all])
}

/// An empty table in a database of its own.
fn empty(plan: &Plan) -> scratch::Database {
    plan.scratch.copy(0)
}

/// The file's records, as many as make a transaction.
fn batches(path: &PathBuf) -> impl Iterator<Item = Vec<Put>> {
    let file = File::open(path).expect("the file was just written");
    let input = Input::new(file, None).expect("the file is readable");
    let options = Options::new(Format::Ndjson);
    let mut rows = Rows::new(input, &options).expect("the file is readable");
    std::iter::from_fn(move || {
        let mut batch = Vec::with_capacity(BATCH);
        while batch.len() < BATCH {
            let Some(row) = rows.next_row().expect("the file is readable") else {
                break;
            };
            batch.push(row.expect("the rows are valid").put);
        }
        (!batch.is_empty()).then_some(batch)
    })
}

fn as_txn(batch: Vec<Put>) -> Txn {
    batch.into_iter().fold(Txn::new(), Txn::put)
}

fn hotread((plan, path): &(Plan, PathBuf), records: usize) -> Duration {
    let copy = empty(plan);
    let store: Store = copy.open(Synchronous::Full);
    let table = data::table();
    let start = Instant::now();
    let mut tickets = Vec::new();
    for batch in batches(path) {
        let submitted = store.submit(&table, as_txn(batch));
        tickets.push(submitted.expect("it is within the limits"));
    }
    for ticket in tickets {
        ticket.wait().expect("it commits");
    }
    let took = start.elapsed();
    let info = store.table_info(&table).expect("the table is there");
    assert_eq!(info.records, records as u64);
    took
}

fn bare((plan, path): &(Plan, PathBuf), records: usize) -> Duration {
    let copy = empty(plan);
    let db = bare::writer(&copy.path, Synchronous::Full).expect("the copy is a database");
    let mut mirror = Mirror::of(&db).expect("the copy has the table");
    let mut statements = Loop::new(&db).expect("the schema is the store's");
    let mut took = Duration::ZERO;
    for batch in batches(path) {
        let at = Timestamp::from(SystemTime::now());
        let group = [mirror.prepare(as_txn(batch), at)];
        let start = Instant::now();
        statements.group(&group).expect("SQLite writes");
        took += start.elapsed();
    }
    let sql = "SELECT count(*) FROM records";
    let written: i64 = db
        .query_row(sql, [], |row| row.get(0))
        .expect("they can be counted");
    assert_eq!(written, records as i64);
    took
}
