//! Records as of an earlier transaction: `hotread get --at`.
//!
//! The history is read backwards from the position, in pieces that double in size: at most one piece more than
//! twice the history between the position and the last change of a record before it. For a record that did not
//! exist yet, the history is read to its beginning. For all records with a prefix, it is read once for all of
//! those that were changed later, and they are held in memory.

use crate::backend::Tables;
use crate::exit::Failure;
use anyhow::Result;
use hotread_proto::{
    Change, ChangeOp, Code, Key, MAX_CHANGES, Position, Record, TableInfo, TableName,
};
use hotread_store::{MAX_PAGE, Scan};
use std::collections::{BTreeMap, HashMap, HashSet};

/// Transactions in the first piece of history: about a page of a database, and a short answer of a server.
const FIRST_PIECE: usize = 16;

/// Maximum memory for the records of a prefix, in bytes: as much as a history has by default.
const MAX_HELD_BYTES: usize = 256 << 20;
/// Memory that a record takes in addition to its text.
const RECORD_BYTES: usize = 200;

/// Reads some of the changes after a position, like [`Tables::changes`].
type Read<'a> = &'a mut dyn FnMut(Position, usize) -> Result<Vec<Change>>;

/// Returns the records with these keys as of a position, in the order of the keys.
///
/// # Errors
/// If the history does not go back far enough.
pub(super) fn records(
    tables: &Tables,
    table: &TableName,
    keys: &[Key],
    at: Position,
) -> Result<Vec<Option<Record>>> {
    let info = info_at(tables, table, at)?;
    let now = |key| tables.get(table, key);
    let now: Vec<Option<Record>> = keys.iter().map(now).collect::<Result<_>>()?;
    let unchanged = |record: &Option<Record>| matches!(record, Some(it) if it.seq() <= at.seq);
    let changed = keys.iter().zip(&now).filter(|(_, now)| !unchanged(now));
    let mut wanted: HashSet<&str> = changed.map(|(key, _)| key.as_str()).collect();
    let mut read = |from, limit| tables.changes(table, from, limit);
    let mut held = Held::new(MAX_HELD_BYTES);
    let then = last_changes(at, info.floor, &mut wanted, &mut read, &mut held)?;
    if info.floor > 1 && !wanted.is_empty() {
        // A record that is absent now, and was not changed since the position, was absent then.
        let absent = keys.iter().zip(&now).filter(|(_, now)| now.is_none());
        let absent = absent.map(|(key, _)| key.as_str());
        let absent = absent.filter(|key| wanted.contains(key)).collect();
        let head = tables.table(table)?.position.seq;
        let untouched = untouched(at, head, absent, &mut read)?;
        let untold =
            |key: &&Key| wanted.contains(key.as_str()) && !untouched.contains(key.as_str());
        if let Some(key) = keys.iter().find(untold) {
            return Err(too_early(&info, key.as_str(), at).into());
        }
    }
    let records = keys
        .iter()
        .zip(now)
        .map(|(key, now)| match unchanged(&now) {
            true => now,
            false => then.get(key.as_str()).cloned().flatten(),
        });
    Ok(records.collect())
}

/// Returns the records whose keys begin with a prefix as of a position, in the order of their keys.
///
/// # Errors
/// If the history does not go back far enough, or there are more records than may be held in memory.
pub(super) fn with_prefix(
    tables: &Tables,
    table: &TableName,
    prefix: String,
    at: Position,
) -> Result<Vec<Record>> {
    let info = info_at(tables, table, at)?;
    let mut held = Held::new(MAX_HELD_BYTES);
    let mut records = BTreeMap::new();
    let mut scan = Scan {
        prefix: prefix.clone(),
        limit: MAX_PAGE,
        epoch: Some(at.epoch),
        ..Scan::default()
    };
    loop {
        let page = tables.scan(table, &scan)?;
        for record in page.records {
            if record.seq() <= at.seq {
                held.hold(&record)?;
                records.insert(record.key().to_owned(), record);
            }
        }
        scan.after = page.next;
        if scan.after.is_none() {
            break;
        }
    }
    // The other records were changed after the position, some of them while the pages were read.
    let head = tables.table(table)?.position.seq;
    let mut read = |from, limit| tables.changes(table, from, limit);
    let mut changed = HashSet::new();
    let mut from = at;
    while from.seq < head {
        let changes = read(from, MAX_CHANGES)?;
        let Some(newest) = changes.last() else { break };
        from = newest.position;
        for op in changes.iter().flat_map(|change| &change.ops) {
            let key = op.key();
            if key.starts_with(&prefix) && !records.contains_key(key) && !changed.contains(key) {
                held.take(key.len())?;
                changed.insert(key.to_owned());
            }
        }
    }
    let mut wanted = changed.iter().map(String::as_str).collect();
    let then = last_changes(at, info.floor, &mut wanted, &mut read, &mut held)?;
    if info.floor > 1
        && let Some(key) = wanted.iter().min()
    {
        return Err(too_early(&info, key, at).into());
    }
    for (key, record) in then {
        if let Some(record) = record {
            records.insert(key.to_owned(), record);
        }
    }
    Ok(records.into_values().collect())
}

/// Returns the description of a table, which has been at the position.
fn info_at(tables: &Tables, table: &TableName, at: Position) -> Result<TableInfo> {
    let info = tables.table(table)?;
    if at.epoch != info.position.epoch || at.seq > info.position.seq {
        // This call returns the error for such a position.
        tables.changes(table, at, 1)?;
    }
    Ok(info)
}

fn too_early(info: &TableInfo, key: &str, at: Position) -> Failure {
    let message = format!(
        "the history of table {} begins at seq {}, and does not show {key:?} at seq {}; ask for a later one",
        info.name, info.floor, at.seq
    );
    Failure::new(Code::Gone, message)
}

/// Memory for records and keys, up to a limit.
struct Held {
    left_bytes: usize,
    max_bytes: usize,
}

impl Held {
    fn new(max_bytes: usize) -> Self {
        Self {
            left_bytes: max_bytes,
            max_bytes,
        }
    }

    fn hold(&mut self, record: &Record) -> Result<()> {
        self.take(record.size())
    }

    fn let_go(&mut self, record: &Record) {
        self.left_bytes += record.size() + RECORD_BYTES;
    }

    fn take(&mut self, bytes: usize) -> Result<()> {
        let left = self.left_bytes.checked_sub(bytes + RECORD_BYTES);
        self.left_bytes = left.ok_or_else(|| {
            let message = format!(
                "these records take more than {} MiB of memory; ask for fewer of them, with a longer prefix",
                self.max_bytes >> 20
            );
            Failure::new(Code::TooLarge, message)
        })?;
        Ok(())
    }
}

/// Returns the record of each key as of a position, or `None` if its last change until then was a deletion. A
/// key without a change in the history, which begins at `floor`, stays in `wanted`.
fn last_changes<'a>(
    at: Position,
    floor: u64,
    wanted: &mut HashSet<&'a str>,
    read: Read<'_>,
    held: &mut Held,
) -> Result<HashMap<&'a str, Option<Record>>> {
    let mut all = HashMap::new();
    let (mut end, lowest) = (at.seq, floor.saturating_sub(1));
    let mut piece = FIRST_PIECE;
    while !wanted.is_empty() && end > lowest {
        let start = end.saturating_sub(piece as u64).max(lowest);
        let mut last = HashMap::new();
        let mut from = start;
        // An answer may have fewer changes than were requested. The changes of one piece are within the limit of a
        // request.
        while from < end {
            let position = Position { seq: from, ..at };
            let changes = read(position, (end - from) as usize)?;
            let Some(newest) = changes.last() else { break };
            from = newest.position.seq;
            for op in changes.into_iter().flat_map(|change| change.ops) {
                if let Some(&key) = wanted.get(op.key()) {
                    let record = put(op);
                    record.iter().try_for_each(|record| held.hold(record))?;
                    if let Some(Some(before)) = last.insert(key, record) {
                        held.let_go(&before);
                    }
                }
            }
        }
        wanted.retain(|key| !last.contains_key(key));
        all.extend(last);
        end = start;
        piece = (2 * piece).min(MAX_CHANGES);
    }
    Ok(all)
}

/// Returns the record that an operation left.
fn put(op: ChangeOp) -> Option<Record> {
    match op {
        ChangeOp::Put(record) => Some(record),
        ChangeOp::Delete { .. } => None,
    }
}

/// Returns those of the keys that were not changed after a position, up to `head`.
fn untouched<'a>(
    at: Position,
    head: u64,
    mut keys: HashSet<&'a str>,
    read: Read<'_>,
) -> Result<HashSet<&'a str>> {
    let (mut from, mut piece) = (at, FIRST_PIECE);
    while !keys.is_empty() && from.seq < head {
        let changes = read(from, piece)?;
        let Some(newest) = changes.last() else { break };
        from = newest.position;
        for op in changes.iter().flat_map(|change| &change.ops) {
            keys.remove(op.key());
        }
        piece = (2 * piece).min(MAX_CHANGES);
    }
    Ok(keys)
}

#[cfg(test)]
mod tests {
    use super::*;
    use hotread_proto::{Digest, Epoch, Timestamp};

    const ALL: u64 = 100_000;

    /// Returns a reader of a history in which each transaction changes one key: the one that `name` returns,
    /// otherwise the sequence number. `rows` counts the transactions that were read.
    fn history(
        rows: &mut u64,
        name: impl Fn(u64) -> Option<&'static str>,
    ) -> impl FnMut(Position, usize) -> Result<Vec<Change>> {
        move |from, limit| {
            let last = ALL.min(from.seq + limit.min(MAX_CHANGES) as u64);
            let change = |seq: u64| {
                let key = name(seq).map_or_else(|| seq.to_string(), str::to_owned);
                *rows += 1;
                Change {
                    position: Position { seq, ..from },
                    at: Timestamp::from_millis(0).unwrap(),
                    digest: Digest::EMPTY,
                    records: 0,
                    ops: vec![ChangeOp::delete(Key::new(&key).unwrap())],
                    id: None,
                    actor: None,
                    note: None,
                }
            };
            Ok((from.seq + 1..=last).map(change).collect())
        }
    }

    fn at(seq: u64) -> Position {
        Position {
            epoch: Epoch(1),
            seq,
        }
    }

    fn plenty() -> Held {
        Held::new(MAX_HELD_BYTES)
    }

    #[test]
    fn memory_is_bounded() {
        let mut held = Held::new(1 << 20);
        held.take((1 << 20) - RECORD_BYTES).unwrap();
        let error = held.take(1).unwrap_err().to_string();
        assert!(
            error.starts_with("these records take more than 1 MiB"),
            "{error}"
        );
    }

    #[test]
    fn no_more_is_read_than_twice_what_lies_between() {
        for (seq, changed) in [
            (ALL, ALL),
            (90_000, 89_990),
            (50_000, 49_000),
            (ALL, 20_000),
        ] {
            let mut rows = 0;
            let name = |seq| (seq == changed || seq == 7).then_some("k");
            let mut wanted = HashSet::from(["k"]);
            let mut read = history(&mut rows, name);
            let then = last_changes(at(seq), 1, &mut wanted, &mut read, &mut plenty()).unwrap();
            drop(read);
            assert!(then.contains_key("k") && wanted.is_empty());
            let between = seq - changed;
            assert!(rows <= 2 * between + FIRST_PIECE as u64, "{rows} {between}");
        }
    }

    #[test]
    fn what_is_not_in_the_history_stays_wanted() {
        let mut rows = 0;
        let mut wanted = HashSet::from(["99999", "100000", "never"]);
        let mut read = history(&mut rows, |_| None);
        let then = last_changes(at(99_999), 90_001, &mut wanted, &mut read, &mut plenty()).unwrap();
        drop(read);
        assert!(then.contains_key("99999"));
        assert_eq!(wanted, HashSet::from(["100000", "never"]));
        assert_eq!(rows, 9_999, "each once");
    }

    #[test]
    fn a_key_that_was_touched_later_is_told_by_what_lies_between() {
        let mut rows = 0;
        let mut read = history(&mut rows, |seq| (seq == 60_000).then_some("k"));
        let left = untouched(at(59_900), ALL, HashSet::from(["k"]), &mut read).unwrap();
        drop(read);
        assert!(left.is_empty());
        assert!(rows <= 2 * 100 + FIRST_PIECE as u64, "{rows}");
        let mut read = history(&mut rows, |_| None);
        let left = untouched(at(ALL - 20), ALL, HashSet::from(["k"]), &mut read).unwrap();
        assert_eq!(left, HashSet::from(["k"]));
    }
}
