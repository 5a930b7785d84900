//! A table within the committer's transaction: the queries of `evaluate`, and the rows that a change
//! writes. The benchmarks run the same statements without the rest.

use crate::error::{CommitError, StorageError};
use crate::rows::{self, signed, wide};
use crate::search_index;
use crate::table::OpenTable;
use hotread_proto::{
    Actor, Change, ChangeOp, Committed, Existing, Hasher, Head, ItemHash, Key, Position, Record,
    Remembered, TableView, Timestamp, TxnId,
};
use rusqlite::{CachedStatement, Connection, Row, params};
use std::borrow::Cow;

/// Sequence numbers of its table for which a transaction id is remembered: at least some hundred
/// groups, while a retry follows within seconds.
pub const REMEMBERED_TXNS: u64 = 10_000;
/// Transactions after which forgotten ids are removed.
const FORGET_EVERY: u64 = 1_024;

/// The statements of the write path, named here so that the benchmarks can run the same.
pub mod sql {
    /// Reads the record of a key, without its value.
    pub const EXISTING: &str =
        "SELECT seq, hash, expires_at FROM records WHERE table_id = ?1 AND key = ?2";
    /// The same, with its category.
    pub const FILED: &str =
        "SELECT seq, hash, expires_at, category FROM records WHERE table_id = ?1 AND key = ?2";
    /// Writes a whole record.
    pub const PUT: &str = "
        INSERT INTO records (table_id, key, seq, updated_at, hash, value, category, expires_at)
        VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)
        ON CONFLICT (table_id, key) DO UPDATE SET
            seq = excluded.seq, updated_at = excluded.updated_at, hash = excluded.hash,
            value = excluded.value, category = excluded.category,
            expires_at = excluded.expires_at";
    /// Deletes a record.
    pub const DELETE: &str = "DELETE FROM records WHERE table_id = ?1 AND key = ?2";
    /// Writes a transaction to the history.
    pub const CHANGE: &str = "
        INSERT INTO changes
            (place, table_id, seq, at, digest, records, bytes, ops, actor, note)
        VALUES (?1 << 40 | ?2, ?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)";
    /// Writes the head of a table, once for a group.
    pub const HEAD: &str = "
        UPDATE tables SET head = ?2, digest = ?3, records = ?4, updated_at = ?5, floor = ?6,
            history_bytes = ?7
        WHERE id = ?1";
    /// Adds to the number of applied entries, once for a group.
    pub const APPLIED: &str = "UPDATE meta SET value = value + ?1 WHERE name = 'applied'";
}

pub(crate) struct View<'a> {
    db: &'a Connection,
    table: &'a OpenTable,
    head: Head,
    /// The time of the transaction that is decided.
    at: Timestamp,
    hasher: Hasher,
    /// Requested keys whose record had expired.
    expired: Vec<Key>,
    /// Prepared once for a transaction, instead of once for each of its keys.
    existing: CachedStatement<'a>,
}

impl<'a> View<'a> {
    pub(crate) fn new(
        db: &'a Connection,
        table: &'a OpenTable,
        head: Head,
        at: Timestamp,
    ) -> Result<Self, StorageError> {
        let existing = db.prepare_cached(sql::EXISTING)?;
        Ok(Self {
            db,
            table,
            head,
            at: at.max(head.at),
            hasher: table.hasher(),
            expired: Vec::new(),
            existing,
        })
    }
}

impl TableView for View<'_> {
    type Error = StorageError;

    fn head(&self) -> Head {
        self.head
    }

    fn hasher(&self) -> &Hasher {
        &self.hasher
    }

    fn get(&mut self, key: &Key) -> Result<Option<Existing>, StorageError> {
        let mut rows = self.existing.query(params![self.table.id, key.as_str()])?;
        let Some(row) = rows.next()? else {
            return Ok(None);
        };
        let existing = existing(row, 0, String::new())?;
        if existing.is_expired(self.at) {
            self.expired.push(key.clone());
        }
        Ok(Some(existing))
    }

    fn get_filed(&mut self, key: &Key) -> Result<Option<Existing>, StorageError> {
        let key = params![self.table.id, key.as_str()];
        rows::first(self.db, sql::FILED, key, |row| {
            existing(row, 0, row.get(3)?)
        })
    }

    fn scan(&mut self, visit: &mut dyn FnMut(&str, Existing)) -> Result<(), StorageError> {
        let sql = "SELECT key, seq, hash, expires_at, category FROM records
             WHERE table_id = ?1 ORDER BY key";
        rows::each(self.db, sql, [self.table.id], |row| {
            let key = row.get_ref(0)?.as_str().map_err(StorageError::corrupt)?;
            // A damaged key must not become the key of a change.
            Key::new(key).map_err(StorageError::corrupt)?;
            visit(key, existing(row, 1, row.get(4)?)?);
            Ok(())
        })
    }

    fn remembered(&mut self, id: &TxnId) -> Result<Option<Remembered>, StorageError> {
        let sql =
            "SELECT seq, at, body FROM txn_ids WHERE table_id = ?1 AND txn_id = ?2 AND seq > ?3";
        let oldest = self.head.position.seq.saturating_sub(REMEMBERED_TXNS);
        let id = params![self.table.id, id.as_str(), signed(oldest)];
        rows::first(self.db, sql, id, |row| {
            let position = Position {
                seq: rows::read_count(row, 0)?,
                ..self.head.position
            };
            let at = rows::read_time(row, 1)?;
            Ok(Remembered {
                committed: Committed { position, at },
                body: rows::read_wide(row, 2)?,
            })
        })
    }
}

/// Reads an existing record from the columns `seq, hash, expires_at`, starting at `first`.
fn existing(row: &Row<'_>, first: usize, category: String) -> Result<Existing, StorageError> {
    Ok(Existing {
        seq: rows::read_count(row, first)?,
        hash: ItemHash(rows::read_wide(row, first + 1)?),
        category,
        expires_at: rows::read_expiry(row, first + 2)?,
    })
}

impl View<'_> {
    /// Returns `true` if the change increases the number of records, not counting those that had
    /// expired before it.
    pub(crate) fn grows_by(&self, change: &Change) -> bool {
        let had_expired = |op: &&ChangeOp| self.expired.iter().any(|old| old.as_str() == op.key());
        let again = match self.expired.is_empty() {
            true => 0,
            false => change.ops.iter().filter(had_expired).count(),
        };
        change.records + again as u64 > self.head.records
    }

    /// Writes a change, except for the table's head. Returns its bytes in the history.
    pub(crate) fn apply(&self, change: &Change) -> Result<u64, CommitError> {
        let Self { db, table, .. } = self;
        let values = table.values();
        let mut put = db.prepare_cached(sql::PUT)?;
        let mut stored = Vec::with_capacity(change.ops.len());
        for op in &change.ops {
            match op {
                ChangeOp::Put(record) => {
                    let value = values.close(Some(record.key()), record.seq(), record.value())?;
                    self.put(&mut put, record, &value)?;
                    stored.push(value);
                }
                ChangeOp::Delete { key, .. } => {
                    self.delete(key)?;
                    stored.push(Cow::Borrowed(&[]));
                }
            }
        }
        let mut ops = Vec::with_capacity(change.size() + 64 * change.ops.len() + 1);
        rows::write_ops(
            change.ops.iter().zip(stored.iter().map(|stored| &**stored)),
            &mut ops,
        );
        let seq = signed(change.position.seq);
        let actor = change.actor.as_ref().map(Actor::as_str);
        let note = change.note.as_ref().map(|note| note.as_str().as_bytes());
        let note = note.map(|note| values.close(None, change.position.seq, note));
        let note = note.transpose()?;
        let said = actor.map_or(0, str::len) + note.as_ref().map_or(0, |note| note.len());
        let bytes = (ops.len() + said) as u64;
        db.prepare_cached(sql::CHANGE)?.execute(params![
            table.id,
            seq,
            change.at.millis(),
            wide(change.digest.0),
            signed(change.records),
            signed(bytes),
            ops,
            actor,
            note,
        ])?;
        if let Some((id, body)) = &change.id {
            // An id that is used again after it was forgotten replaces the old one.
            let sql = "INSERT OR REPLACE INTO txn_ids (table_id, txn_id, seq, at, body)
                 VALUES (?1, ?2, ?3, ?4, ?5)";
            let (id, at) = (id.as_str(), change.at.millis());
            rows::execute(db, sql, params![table.id, id, seq, at, wide(*body)])?;
        }
        if change.position.seq.is_multiple_of(FORGET_EVERY) {
            let sql = "DELETE FROM txn_ids WHERE table_id = ?1 AND seq <= ?2";
            rows::execute(db, sql, params![table.id, seq - signed(REMEMBERED_TXNS)])?;
        }
        Ok(bytes)
    }

    fn put(
        &self,
        statement: &mut CachedStatement<'_>,
        record: &Record,
        stored: &[u8],
    ) -> rusqlite::Result<()> {
        statement.execute(params![
            self.table.id,
            record.key(),
            signed(record.seq()),
            record.updated_at().millis(),
            wide(record.hash().0),
            stored,
            record.category(),
            record.expires_at().map(Timestamp::millis),
        ])?;
        if self.table.is_indexed() {
            search_index::put(self.db, self.table.id, record.key(), record.value())?;
        }
        Ok(())
    }

    fn delete(&self, key: &Key) -> rusqlite::Result<()> {
        rows::execute(self.db, sql::DELETE, params![self.table.id, key.as_str()])?;
        if self.table.is_indexed() {
            search_index::delete(self.db, self.table.id, key.as_str())?;
        }
        Ok(())
    }
}
