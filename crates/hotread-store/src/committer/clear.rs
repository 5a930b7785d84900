//! Deletes the remains of dropped tables in bounded batches between groups. A drop itself is one short
//! transaction, in `admin`; the tables that it has marked are found here, even after a restart.

use super::Committer;
use crate::error::{CommitError, TableError};
use crate::rows;
use crate::search_index::{self, set_aside_names};
use crate::table::OpenTable;
use rusqlite::types::Value;
use rusqlite::{Connection, params};

/// Maximum number of rows of one batch, which takes a few milliseconds: a waiting group is next.
const MAX_ROWS: usize = 1_000;
/// Maximum number of bytes of one batch, except that its last row may exceed them. The pages of large values
/// are freed one by one, so that a batch of this size takes about as long as [`MAX_ROWS`] small rows.
const MAX_BYTES: u64 = 4 << 20;

/// The rows and bytes that a batch may still delete.
struct Left {
    rows: usize,
    bytes: u64,
}

impl Left {
    fn whole_batch() -> Self {
        Self {
            rows: MAX_ROWS,
            bytes: MAX_BYTES,
        }
    }

    fn is_some(&self) -> bool {
        self.rows > 0 && self.bytes > 0
    }
}

/// Deletes rows of a dropped table from the first key on, within what is left of the batch. `only` is
/// the condition for its rows, where `?1` is its id, and `bytes` the size of a row. Returns `true` if
/// the batch may delete more, in which case no row is left.
fn delete(
    db: &Connection,
    id: i64,
    left: &mut Left,
    [table, only, key, bytes]: [&str; 4],
) -> rusqlite::Result<bool> {
    let sql = format!("SELECT {key}, {bytes} FROM {table} WHERE {only} ORDER BY {key} LIMIT ?2");
    let mut last: Option<Value> = None;
    {
        let mut statement = db.prepare_cached(&sql)?;
        let mut rows = statement.query(params![id, left.rows as i64])?;
        while left.is_some()
            && let Some(row) = rows.next()?
        {
            left.rows -= 1;
            let bytes: i64 = row.get(1)?;
            left.bytes = left.bytes.saturating_sub(bytes.unsigned_abs());
            last = Some(row.get(0)?);
        }
    }
    if let Some(last) = last {
        let sql = format!("DELETE FROM {table} WHERE {only} AND {key} <= ?2");
        rows::execute(db, &sql, params![id, last])?;
    }
    Ok(left.is_some())
}

impl Committer {
    /// Deletes a batch of the remains of the first dropped table. Returns `true` if there may be more.
    pub(crate) fn clear_dropped(&mut self) -> Result<bool, CommitError> {
        let db = self.db()?;
        let sql = "SELECT id FROM tables WHERE dropped_at IS NOT NULL ORDER BY dropped_at LIMIT 1";
        let Some(id) = rows::first(db, sql, [], |row| row.get(0))? else {
            return Ok(false);
        };
        let mut left = Left::whole_batch();
        self.transaction::<_, CommitError>(|txn| Ok(clear(txn, id, &mut left)?))?;
        Ok(true)
    }

    /// Deletes a batch of an index that a table no longer has, or that a process has left half built.
    /// Returns `true` if there may be more.
    pub(crate) fn clear_search(&mut self, table: &OpenTable) -> Result<bool, TableError> {
        let current = self.current(table)?;
        if current.is_indexed() {
            // Another caller has begun the next index, which it does only after all of the old one is
            // deleted.
            return Ok(false);
        }
        let id = current.id;
        self.transaction::<_, TableError>(|txn| {
            let mut left = Left::whole_batch();
            if !clear_index(txn, id, &mut left)? {
                return Ok(true);
            }
            let is_left = search_index::exists(txn, id)?;
            if is_left {
                search_index::set_aside(txn, id)?;
            }
            Ok(is_left)
        })
    }
}

/// Deletes the remains of a dropped table within the batch, the table's own row last.
fn clear(db: &Connection, id: i64, left: &mut Left) -> rusqlite::Result<()> {
    if !clear_index(db, id, left)? {
        return Ok(());
    }
    let own = "table_id = ?1";
    for rows in [
        ["records", own, "key", "length(value)"],
        ["changes", rows::CHANGES_OF_TABLE, "place", "bytes"],
        ["txn_ids", own, "txn_id", "0"],
    ] {
        if !delete(db, id, left, rows)? {
            return Ok(());
        }
    }
    db.execute("DELETE FROM tables WHERE id = ?1", [id])?;
    Ok(())
}

/// Deletes the remains of an index that was set aside, within the batch. Returns `true` if nothing is
/// left.
fn clear_index(db: &Connection, id: i64, left: &mut Left) -> rusqlite::Result<bool> {
    if !delete(db, id, left, ["search_rows", "table_id = ?1", "key", "0"])? {
        return Ok(false);
    }
    for (table, bytes) in set_aside_names(id).into_iter().zip(["length(block)", "0"]) {
        if db.table_exists(None, table.as_str())? {
            if !delete(db, id, left, [&table, "?1 = ?1", "id", bytes])? {
                return Ok(false);
            }
            db.execute_batch(&format!("DROP TABLE {table}"))?;
        }
    }
    Ok(true)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Store, TableOptions};
    use hotread_proto::{Key, Put, TableName, Txn, Value as Json};

    /// Returns the records that are left after each batch, given their number and the size of their
    /// values.
    fn batches(records: usize, bytes: usize) -> Vec<i64> {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("test.db");
        let store = Store::open(&path).unwrap();
        let table = TableName::new("t").unwrap();
        store.create_table(&table, TableOptions::default()).unwrap();
        let value = Json::string(&"x".repeat(bytes)).unwrap();
        let keys: Vec<_> = (0..records).map(|n| Key::new(&n.to_string())).collect();
        for keys in keys.chunks((8_000_000 / (bytes + 100)).min(1_000)) {
            let put = |key: &Result<Key, _>| Put::new(key.clone().unwrap(), value.clone());
            let txn = keys.iter().map(put).fold(Txn::new(), Txn::put);
            store.commit(&table, txn).unwrap();
        }
        drop(store);
        let db = Connection::open(&path).unwrap();
        let mut left = Vec::new();
        while left.last() != Some(&0) {
            clear(&db, 1, &mut Left::whole_batch()).unwrap();
            let sql = "SELECT count(*) FROM records";
            left.push(db.query_row(sql, [], |row| row.get(0)).unwrap());
        }
        left
    }

    #[test]
    fn a_batch_is_bounded_in_rows_and_in_bytes() {
        assert_eq!(batches(2_500, 1), [1_500, 500, 0]);
        // The record that exceeds the bound is the last one of its batch.
        assert_eq!(batches(12, 1_000_000), [7, 2, 0]);
    }
}
