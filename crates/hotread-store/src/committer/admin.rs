//! Creating, dropping and rekeying tables: jobs that the committer runs between groups.

use super::{Committer, not_open, write_standing};
use crate::error::{CommitError, StorageError, TableError};
use crate::feed::Closed;
use crate::options::{TableInfo, TableOptions};
use crate::read;
use crate::rows::{Values, wide};
use crate::seal::{Seal, SealHeader};
use crate::search_index;
use crate::table::{self, OpenTable, Standing, TABLE_COLUMNS, TableRow};
use hotread_proto::{
    Category, Digest, Epoch, Head, ItemHash, Key, Position, Record, Records, TableName,
};
use rusqlite::{Connection, Transaction, TransactionBehavior, params};
use std::sync::Arc;
use zeroize::Zeroizing;

/// Returns a random epoch, for a new incarnation of a table.
fn random_epoch() -> Result<Epoch, StorageError> {
    Ok(Epoch(getrandom::u64()?))
}

/// Returns the content of a table's `options` column.
pub(crate) fn options_column(options: &TableOptions) -> Result<String, TableError> {
    serde_json::to_string(options).map_err(|e| TableError::InvalidSchema {
        reason: e.to_string(),
    })
}

/// Reads a table's row back, as the next process that opens the database does.
pub(super) fn read_back(db: &Connection, id: i64) -> Result<TableRow, StorageError> {
    let sql = format!("SELECT {TABLE_COLUMNS} FROM tables WHERE id = ?1");
    db.query_row(&sql, [id], |row| Ok(TableRow::read(row)))?
}

/// Context of an error of [`Committer::scrub`].
const NOT_SCRUBBED: &str =
    "what was deleted may still be in the file: scrub it again once the cause is fixed";

impl Committer {
    /// Runs `work` as one transaction. After a failed COMMIT the content of the disk is unknown, as for
    /// a group.
    pub(crate) fn transaction<R, E: From<CommitError>>(
        &mut self,
        work: impl FnOnce(&Transaction<'_>) -> Result<R, E>,
    ) -> Result<R, E> {
        let db = self.db().map_err(CommitError::from)?;
        let txn = db
            .transaction_with_behavior(TransactionBehavior::Immediate)
            .map_err(CommitError::from)?;
        let done = work(&txn)?;
        if let Err(e) = txn.commit() {
            let cause = StorageError::from(e);
            self.halt(cause.clone(), Vec::new());
            return Err(CommitError::Unknown { cause }.into());
        }
        Ok(done)
    }

    pub(crate) fn create_table(
        &mut self,
        name: &TableName,
        options: &TableOptions,
        seal: Option<(Seal, SealHeader)>,
    ) -> Result<TableInfo, TableError> {
        self.db()?;
        self.registry.check_free(name)?;
        let epoch = random_epoch()?;
        let now = self.now();
        let column = seal
            .as_ref()
            .map(|(_, header)| table::seal_column(header, epoch));
        let row = self.transaction::<_, TableError>(|txn| {
            let text = options_column(options)?;
            txn.execute(
                "INSERT INTO tables (name, epoch, head, floor, digest, records, history_bytes,
                    created_at, updated_at, options, seal)
                 VALUES (?1, ?2, 0, 1, ?3, 0, 0, ?4, ?4, ?5, ?6)",
                params![
                    name.as_str(),
                    epoch.0.cast_signed(),
                    wide(Digest::EMPTY.0),
                    now.millis(),
                    text,
                    column
                ],
            )?;
            let id = txn.last_insert_rowid();
            if options.search {
                search_index::create(txn, id)?;
            }
            Ok(read_back(txn, id)?)
        })?;
        Ok(self.enter(row, seal.map(|(seal, _)| seal), |_| {}))
    }

    /// Registers a table or its next incarnation, and makes it available to others.
    pub(super) fn enter(
        &mut self,
        row: TableRow,
        seal: Option<Seal>,
        with: impl FnOnce(&OpenTable),
    ) -> TableInfo {
        let info = row.info();
        let TableRow { table, standing } = row;
        table.set_keys(seal);
        with(&table);
        self.standing.insert(table.id, standing);
        self.registry.insert(Arc::new(table));
        info
    }

    /// Frees the name. The rows, of which there may be millions, are left to `clear`.
    pub(crate) fn drop_table(&mut self, name: &TableName) -> Result<(), TableError> {
        self.db()?;
        let table = self.registry.known(name)?;
        let now = self.now();
        self.transaction::<_, TableError>(|txn| {
            // An index whose building was interrupted exists as well.
            if search_index::exists(txn, table.id)? {
                search_index::set_aside(txn, table.id)?;
            }
            // This name is invalid for a table, and unique.
            let name = format!("/{}", table.id);
            txn.execute(
                "UPDATE tables SET name = ?2, dropped_at = ?3 WHERE id = ?1",
                params![table.id, name, now.millis()],
            )?;
            Ok(())
        })?;
        self.standing.remove(&table.id);
        self.registry.remove(name);
        Ok(())
    }

    /// Encrypts every value under the keys of another passphrase, deletes the history, whose values are
    /// bound to the old keys, and begins a new epoch. Takes time in proportion to the size of the
    /// table.
    pub(crate) fn rekey(
        &mut self,
        table: &Arc<OpenTable>,
        new: (Seal, SealHeader),
    ) -> Result<TableInfo, TableError> {
        self.db()?;
        // The state that the commits before this job have left.
        let current = self.registry.get(&table.name);
        let current = current.filter(|current| current.id == table.id);
        let (Some(table), Some(standing)) = (current, self.standing(table)) else {
            return Err(CommitError::unknown(&table.name).into());
        };
        let table = &table;
        let (seal, header) = new;
        let epoch = random_epoch()?;
        let mut records = Vec::new();
        // Readers that fail to decrypt rows wait on this lock for the new keys.
        let renewal = table.renewal.write();
        // Overwrites the remains of old rows in their pages.
        self.secure_delete(true)?;
        let sealed = self.transaction::<_, TableError>(|txn| {
            let hasher = seal.hasher();
            let values = Values {
                table: &table.name,
                seal: Some((&seal, epoch)),
            };
            records = read::all_records(txn, table).map_err(CommitError::from)?;
            let mut put = txn.prepare(
                "UPDATE records SET hash = ?3, value = ?4 WHERE table_id = ?1 AND key = ?2",
            )?;
            let mut digest = Digest::EMPTY;
            for record in &mut records {
                let sealed = values.close(Some(record.key()), record.seq(), record.value())?;
                let hash = hasher.item(record.key(), record.seq(), record.value());
                digest = digest.with(hash);
                put.execute(params![table.id, record.key(), wide(hash.0), sealed])?;
                *record = rehashed(record, hash)?;
            }
            let seq = standing.head.position.seq;
            let head = Head {
                position: Position { epoch, seq },
                digest,
                ..standing.head
            };
            for of in ["changes", "txn_ids"] {
                txn.execute(&format!("DELETE FROM {of} WHERE table_id = ?1"), [table.id])?;
            }
            let standing = Standing {
                head,
                floor: seq + 1,
                history_bytes: 0,
            };
            write_standing(txn, table.id, &standing)?;
            txn.execute(
                "UPDATE tables SET epoch = ?2, seal = ?3 WHERE id = ?1",
                params![
                    table.id,
                    epoch.0.cast_signed(),
                    table::seal_column(&header, epoch)
                ],
            )?;
            Ok(read_back(txn, table.id)?)
        });
        // After a failed COMMIT there is no connection, and the next one begins with the default.
        let _ = self.secure_delete(false);
        let row = sealed?;
        let head = row.standing.head;
        let info = self.enter(row, Some(seal), |next| {
            next.live.adopt(&table.live, || Records::new(head, records));
        });
        drop(renewal);
        table.feed.close(Closed::Table);
        Ok(info)
    }

    fn secure_delete(&mut self, on: bool) -> Result<(), CommitError> {
        let db = self.db.as_ref().ok_or_else(not_open)?;
        Ok(db.pragma_update(None, "secure_delete", on)?)
    }

    /// Removes everything of deleted rows from the file and its WAL.
    pub(crate) fn scrub(&mut self) -> Result<(), CommitError> {
        let scrubbed = self.rewrite();
        scrubbed.map_err(|e| e.within(NOT_SCRUBBED).into())
    }

    fn rewrite(&mut self) -> Result<(), StorageError> {
        let db = self.db()?;
        // `VACUUM` copies the whole database to a file: in memory the copy would need as much memory.
        db.execute_batch("PRAGMA temp_store = FILE")?;
        let done = (|| {
            db.execute_batch("PRAGMA secure_delete = ON; VACUUM")?;
            let busy = "PRAGMA wal_checkpoint(TRUNCATE)";
            db.query_row(busy, [], |row| row.get(0))
        })();
        db.execute_batch("PRAGMA secure_delete = OFF; PRAGMA temp_store = MEMORY")?;
        match done {
            Ok(0_i64) => Ok(()),
            Ok(_) => {
                let detail = "a reader keeps the log; close it".into();
                Err(StorageError::Locked { detail })
            }
            Err(e) => Err(rusqlite::Error::into(e)),
        }
    }
}

fn rehashed(record: &Record, hash: ItemHash) -> Result<Record, TableError> {
    let key = Key::new(record.key()).map_err(StorageError::corrupt)?;
    let category = Category::new(record.category()).map_err(StorageError::corrupt)?;
    let value = Zeroizing::new(record.value().to_vec());
    let (seq, at, expires) = (record.seq(), record.updated_at(), record.expires_at());
    Ok(Record::from_parts(
        &key, &value, &category, seq, at, expires, hash, true,
    ))
}
