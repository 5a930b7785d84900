//! What dropped tables leave behind, deleted in bounded batches between groups. Dropping itself is one
//! short transaction, in `admin`; what it marks is found here, also after a restart.

use super::Committer;
use crate::error::{CommitError, TableError};
use crate::rows;
use crate::search_index::{self, sizes, words};
use crate::table::OpenTable;
use rusqlite::types::Value;
use rusqlite::{Connection, OptionalExtension, params};

/// Most rows that one batch deletes: some milliseconds, which a group that has come meanwhile waits.
/// Then it is its turn.
const MAX_ROWS: usize = 1_000;
/// Most bytes that one batch deletes, a last row that is larger aside: the pages of large values are
/// freed one by one, so that this takes about as long as [`MAX_ROWS`] small ones.
const MAX_BYTES: u64 = 4 << 20;

/// What a batch may still delete.
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

/// Rows of one kind, in the order of a key.
struct Rows<'a> {
    table: &'a str,
    /// Which of its rows; `?1` is the dropped table's id.
    only: &'static str,
    key: &'static str,
    /// Bytes of a row that count.
    bytes: &'static str,
}

impl Rows<'_> {
    /// Deletes from the first key on as many as are left. Fewer than there are: then nothing is left.
    fn delete(&self, db: &Connection, id: i64, left: &mut Left) -> rusqlite::Result<()> {
        let Self {
            table,
            only,
            key,
            bytes,
        } = self;
        let mut last: Option<Value> = None;
        {
            let mut statement = db.prepare_cached(&format!(
                "SELECT {key}, {bytes} FROM {table} WHERE {only} ORDER BY {key} LIMIT ?2"
            ))?;
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
            db.prepare_cached(&format!("DELETE FROM {table} WHERE {only} AND {key} <= ?2"))?
                .execute(params![id, last])?;
        }
        Ok(())
    }
}

impl Committer {
    /// Deletes a batch of what dropped tables have left behind, those first that were dropped first.
    /// Says whether there may be more.
    pub(crate) fn clear_dropped(&mut self) -> Result<bool, CommitError> {
        let db = self.db()?;
        let id: Option<i64> = db
            .prepare_cached(
                "SELECT id FROM tables WHERE dropped_at IS NOT NULL ORDER BY dropped_at LIMIT 1",
            )
            .and_then(|mut statement| statement.query_row([], |row| row.get(0)).optional())?;
        let Some(id) = id else { return Ok(false) };
        let mut left = Left::whole_batch();
        self.transaction::<_, CommitError>(|txn| Ok(clear(txn, id, &mut left)?))?;
        Ok(true)
    }
}

impl Committer {
    /// Deletes a batch of the index that a table has no longer, or that a process has left half built. Says
    /// whether there may be more.
    pub(crate) fn clear_search(&mut self, table: &OpenTable) -> Result<bool, TableError> {
        let current = self.current(table)?;
        if current.is_indexed() {
            // Another caller has begun the next one, which it does not before all is cleared.
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

/// Deletes what is left of a dropped table, as far as that is in the batch; its own row last.
fn clear(db: &Connection, id: i64, left: &mut Left) -> rusqlite::Result<()> {
    if !clear_index(db, id, left)? {
        return Ok(());
    }
    let own = "table_id = ?1";
    for (table, only, key, bytes) in [
        ("records", own, "key", "length(value)"),
        ("changes", rows::CHANGES_OF_TABLE, "place", "bytes"),
        ("txn_ids", own, "txn_id", "0"),
    ] {
        let rows = Rows {
            table,
            only,
            key,
            bytes,
        };
        rows.delete(db, id, left)?;
        if !left.is_some() {
            return Ok(());
        }
    }
    db.execute("DELETE FROM tables WHERE id = ?1", [id])?;
    Ok(())
}

/// Deletes what is left of an index that was set aside, as far as that is in the batch; `true` if nothing is left.
fn clear_index(db: &Connection, id: i64, left: &mut Left) -> rusqlite::Result<bool> {
    let rows = Rows {
        table: "search_rows",
        only: "table_id = ?1",
        key: "key",
        bytes: "0",
    };
    rows.delete(db, id, left)?;
    if !left.is_some() {
        return Ok(false);
    }
    for (table, bytes) in [(words(id), "length(block)"), (sizes(id), "0")] {
        if !db.table_exists(None, table.as_str())? {
            continue;
        }
        let rows = Rows {
            table: &table,
            only: "?1 = ?1",
            key: "id",
            bytes,
        };
        rows.delete(db, id, left)?;
        if !left.is_some() {
            return Ok(false);
        }
        db.execute_batch(&format!("DROP TABLE {table}"))?;
    }
    Ok(true)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Store, TableOptions};
    use hotread_proto::{Key, Put, TableName, Txn, Value as Json};

    /// Records that are left after each batch, of so many with values of so many bytes.
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
        // The one that goes beyond the bound is the last one.
        assert_eq!(batches(12, 1_000_000), [7, 2, 0]);
    }
}
