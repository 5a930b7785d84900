//! Measurements of a whole process, in processes of their own: the benchmark starts itself.
//!
//! A child opens a database, reads one record, and reports the time and the anonymous
//! memory since its start. On request it then updates random records, and reports its
//! memory again.

use std::collections::BTreeMap;
use std::collections::VecDeque;
use std::hint::black_box;
use std::path::{Path, PathBuf};
use std::time::Instant;

use fastrand::Rng;
use hotread_proto::Txn;
use hotread_store::{Store, Synchronous};
use serde::{Deserialize, Serialize};

use super::{bare, data};
use crate::process::{Failure, Role, Status, play};

/// The role of a child.
const ROLE: &str = "open";
/// Puts of each transaction of a child.
pub(super) const OPS: usize = 100;
/// Number of these transactions under way at once.
const AHEAD: usize = 8;

/// Way in which a child opens a database.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Peer {
    /// The store, with a live table.
    HotRead,
    /// A SELECT into a `BTreeMap` of rows.
    AllColumns,
    /// A SELECT into a `BTreeMap` from keys to values.
    KeyAndValue,
}

impl Peer {
    pub(super) const ALL: [Self; 3] = [Self::HotRead, Self::AllColumns, Self::KeyAndValue];
}

/// Measurements of a child: nanoseconds from before the file was opened until one record was read,
/// and memory after that and after the updates.
pub(super) type Measured = (f64, [Memory; 2]);

/// Memory since the child's start, in bytes: anonymous resident memory, and the part that SQLite has
/// allocated, mainly its page caches.
pub(super) type Memory = [f64; 2];

/// Starts a child on a database, and waits for its report.
pub(super) fn measure(peer: Peer, path: &Path, records: usize, updates: usize) -> Measured {
    let mut child = Role::start(ROLE, (peer, path, records, updates));
    let [first_read_ns, a, b, c, d] = child.hear_numbers();
    (first_read_ns, [[a, b], [c, d]])
}

/// Plays the part of a child.
///
/// # Errors
/// If the arguments are not those of `measure`.
pub fn main(arguments: &str) -> Result<(), String> {
    play(arguments, open).map_err(|failure| failure.to_string())
}

fn open((peer, path, records, updates): (Peer, PathBuf, usize, usize)) -> Result<(), Failure> {
    let (first_read_ns, [[a, b], [c, d]]) = match peer {
        Peer::HotRead => hotread(&path, records, updates),
        Peer::AllColumns => map(&path, records, updates, all_columns),
        Peer::KeyAndValue => map(&path, records, updates, key_and_value),
    };
    println!("{first_read_ns} {a} {b} {c} {d}");
    Ok(())
}

/// Memory since a start, or at the start.
fn memory_since(start: Memory) -> Memory {
    // SAFETY: it only reads a counter, at any time and from any thread.
    let sqlite = unsafe { rusqlite::ffi::sqlite3_memory_used() };
    [
        Status::of("self").anonymous - start[0],
        sqlite as f64 - start[1],
    ]
}

/// The record that is read first.
fn first_key(records: usize) -> String {
    data::key(records / 2).as_str().to_owned()
}

fn hotread(path: &Path, records: usize, updates: usize) -> Measured {
    let (key, table) = (first_key(records), data::table());
    let (before, start) = (memory_since([0.0; 2]), Instant::now());
    let store = Store::builder(path).synchronous(Synchronous::Normal);
    let store = store.open().expect("it is a database");
    let mut handle = store.handle(&table).expect("the table is there");
    black_box(handle.current().get(&key).expect("the record is there"));
    let first_read_ns = start.elapsed().as_nanos() as f64;
    let loaded = memory_since(before);

    let mut rng = Rng::with_seed(23);
    let mut tickets = VecDeque::new();
    for _ in 0..updates / OPS {
        let put = |txn: Txn, _| txn.put(data::put(rng.usize(..records), &mut rng));
        let txn = (0..OPS).fold(Txn::new(), put);
        tickets.push_back(store.submit(&table, txn).expect("it is within the limits"));
        if tickets.len() > AHEAD
            && let Some(oldest) = tickets.pop_front()
        {
            oldest.wait().expect("it commits");
        }
        // The reader reads, so that it holds no old copy.
        black_box(handle.current().get(&key));
    }
    for ticket in tickets {
        ticket.wait().expect("it commits");
    }
    black_box(handle.current().get(&key));
    (first_read_ns, [loaded, memory_since(before)])
}

/// The columns of a record in addition to its key, as their Rust types.
struct Columns {
    _seq: u64,
    _updated_at: i64,
    _hash: [u8; 16],
    _value: Vec<u8>,
    _category: String,
    _expires_at: Option<i64>,
}

const ALL_COLUMNS: &str =
    "SELECT key, value, seq, updated_at, hash, category, expires_at FROM records ORDER BY key";

fn all_columns(row: Option<&rusqlite::Row<'_>>, value: Vec<u8>) -> rusqlite::Result<Columns> {
    let Some(row) = row else {
        return Ok(Columns {
            _seq: 1,
            _updated_at: 1,
            _hash: [1; 16],
            _value: value,
            _category: "general".to_owned(),
            _expires_at: None,
        });
    };
    Ok(Columns {
        _seq: row.get::<_, i64>(2)?.cast_unsigned(),
        _updated_at: row.get(3)?,
        _hash: row.get(4)?,
        _value: value,
        _category: row.get(5)?,
        _expires_at: row.get(6)?,
    })
}

fn key_and_value(_: Option<&rusqlite::Row<'_>>, value: Vec<u8>) -> rusqlite::Result<Vec<u8>> {
    Ok(value)
}

/// Reads all rows into a map; `entry` makes the map's value from a row, or from a new value.
fn map<V>(
    path: &Path,
    records: usize,
    updates: usize,
    entry: fn(Option<&rusqlite::Row<'_>>, Vec<u8>) -> rusqlite::Result<V>,
) -> Measured {
    let key = first_key(records);
    let (before, start) = (memory_since([0.0; 2]), Instant::now());
    let db = bare::reader(path).expect("it is a database");
    let sql = match size_of::<V>() == size_of::<Vec<u8>>() {
        true => "SELECT key, value FROM records ORDER BY key",
        false => ALL_COLUMNS,
    };
    let mut statement = db.prepare(sql).expect("the schema is the store's");
    let rows = statement.query_map([], |row| {
        Ok((row.get::<_, String>(0)?, entry(Some(row), row.get(1)?)?))
    });
    let rows = rows.expect("the table can be read");
    let map: rusqlite::Result<BTreeMap<String, V>> = rows.collect();
    let mut map = map.expect("the table can be read");
    black_box(map.get(&key).expect("the record is there"));
    let first_read_ns = start.elapsed().as_nanos() as f64;
    let loaded = memory_since(before);

    let mut rng = Rng::with_seed(23);
    for _ in 0..updates {
        let put = data::put(rng.usize(..records), &mut rng);
        let value = entry(None, put.value.as_bytes().to_vec()).expect("nothing is read");
        let old = map.get_mut(put.key.as_str()).expect("the record is there");
        *old = value;
    }
    black_box(&map);
    (first_read_ns, [loaded, memory_since(before)])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_child_refuses_what_it_does_not_know() {
        assert!(main(r#"["unknown", "x.db", 1, 1]"#).is_err());
        assert!(main("[]").is_err());
    }
}
