//! Altering of tables. A new schema is checked against the existing records on the caller's thread, and
//! the committer checks only the changes since then.

use super::Committer;
use super::admin::{options_column, read_back};
use crate::error::{CommitError, StorageError, TableError};
use crate::options::{TableInfo, TableOptions};
use crate::read::{self, Pool};
use crate::replace::{MAX_REST_BYTES, changed_keys, follow};
use crate::rows::{self, RECORD_COLUMNS};
use crate::schema::Schema;
use crate::search_index;
use crate::table::OpenTable;
use hotread_proto::{Key, Position, TableName, Value};
use rusqlite::{Connection, Row, params};
use std::collections::BTreeSet;
use std::sync::Arc;

/// Maximum number of records that are indexed in one piece of work, for which other writers wait: some ten
/// milliseconds.
const MAX_INDEXED: usize = 1_000;
/// Maximum number of bytes of values in such a piece, except that its last value may exceed them.
const MAX_INDEXED_BYTES: usize = 1 << 20;

/// A schema that the records of a table fit, up to a position.
pub(crate) struct Checked {
    schema: Schema,
    at: Position,
}

impl Checked {
    /// Checks all records of a table. Returns `None` if the history lacks changes that were made
    /// in the meantime.
    pub(crate) fn new(
        pool: &Pool,
        table: &OpenTable,
        schema: Schema,
    ) -> Result<Option<Self>, CommitError> {
        let at = read::at_head(pool, table, |txn, head, _| {
            let sql = format!("SELECT {RECORD_COLUMNS} FROM records r WHERE r.table_id = ?1");
            rows::each(txn, &sql, [table.id], |row| {
                check_record(table, &schema, row)
            })?;
            Ok::<_, CommitError>(head.position)
        })?;
        let mut checked = Self { schema, at };
        let followed = checked.catch_up(pool, table)?;
        Ok(followed.then_some(checked))
    }

    /// Checks the changes since the last check. Returns `false` if the history lacks a part of them.
    pub(crate) fn catch_up(&mut self, pool: &Pool, table: &OpenTable) -> Result<bool, CommitError> {
        follow(pool, table, |txn, head| {
            self.follow(txn, table, head.position, u64::MAX)
        })
    }

    /// Checks the changes up to `head`, and returns the bytes of history that were read. Returns `None`
    /// if the history lacks a part of them, or if they exceed `max_bytes`.
    fn follow(
        &mut self,
        db: &Connection,
        table: &OpenTable,
        head: Position,
        max_bytes: u64,
    ) -> Result<Option<u64>, CommitError> {
        let mut keys = BTreeSet::new();
        let mut touch = |key| _ = keys.insert(key);
        let Some(bytes) = changed_keys(db, table, self.at, head, max_bytes, &mut touch)? else {
            return Ok(None);
        };
        let sql =
            format!("SELECT {RECORD_COLUMNS} FROM records r WHERE r.table_id = ?1 AND r.key = ?2");
        for key in &keys {
            let key = params![table.id, key.as_str()];
            rows::each(db, &sql, key, |row| check_record(table, &self.schema, row))?;
        }
        self.at = head;
        Ok(Some(bytes))
    }
}

fn check_record(table: &OpenTable, schema: &Schema, row: &Row<'_>) -> Result<(), CommitError> {
    let record = rows::read_record(row, &table.values())?;
    let key = Key::new(record.key()).map_err(StorageError::corrupt)?;
    let value = Value::parse(record.value()).map_err(StorageError::corrupt)?;
    table.check(schema, &key, &value)
}

impl Committer {
    /// Changes the options of a table. Returns `None` if the table has changed too much since the
    /// check.
    pub(crate) fn alter(
        &mut self,
        table: &Arc<OpenTable>,
        options: TableOptions,
        name: &TableName,
        checked: Option<Checked>,
    ) -> Result<Option<TableInfo>, TableError> {
        let current = self.current(table)?;
        let unknown = || CommitError::unknown(&table.name);
        let standing = self.standing(table).ok_or_else(unknown)?;
        if !Arc::ptr_eq(&current, table) || options.search && !table.is_indexed() {
            return Ok(None);
        }
        let is_renamed = *name != table.name;
        if is_renamed {
            self.registry.check_free(name)?;
        }
        let head = standing.head;
        if let Some(mut checked) = checked
            && checked
                .follow(self.db()?, table, head.position, MAX_REST_BYTES)?
                .is_none()
        {
            return Ok(None);
        }
        let renamed = self.transaction::<_, TableError>(|txn| {
            let text = options_column(&options)?;
            let sql = "UPDATE tables SET options = ?2, name = ?3 WHERE id = ?1";
            txn.execute(sql, params![table.id, text, name.as_str()])?;
            if table.options.search && !options.search {
                search_index::set_aside(txn, table.id)?;
            }
            let renamed = is_renamed.then(|| read_back(txn, table.id));
            Ok(renamed.transpose()?)
        })?;
        if let Some(row) = renamed {
            // Acts as a drop for users of the old name, and as a table with its whole content under the
            // new one.
            self.registry.remove(&table.name);
            return Ok(Some(self.enter(row, None, |_| {})));
        }
        let altered = table.altered(options);
        let info = altered.info(head, standing.floor);
        self.registry.insert(Arc::new(altered));
        Ok(Some(info))
    }

    /// Returns the current incarnation of a table, regardless of its options.
    pub(super) fn current(&mut self, table: &OpenTable) -> Result<Arc<OpenTable>, TableError> {
        self.db()?;
        let current = self.registry.get(&table.name);
        current
            .filter(|current| current.id == table.id)
            .ok_or_else(|| CommitError::unknown(&table.name).into())
    }

    /// Begins an index for records that are written from now on. A process that ends before the index
    /// is complete leaves a part of it, which is deleted before the next one is begun.
    pub(crate) fn begin_index(&mut self, table: &OpenTable) -> Result<(), TableError> {
        let current = self.current(table)?;
        if current.is_indexed() {
            return Ok(());
        }
        self.transaction::<_, TableError>(|txn| Ok(search_index::create(txn, current.id)?))?;
        let mut building = current.altered(current.options.clone());
        building.is_building = true;
        self.registry.insert(Arc::new(building));
        Ok(())
    }

    /// Sets aside the index that is being built, if there is one. Later writes do not update it.
    pub(crate) fn abandon_index(&mut self, table: &OpenTable) -> Result<(), TableError> {
        let current = self.current(table)?;
        if !current.is_building {
            return Ok(());
        }
        self.transaction::<_, TableError>(|txn| Ok(search_index::set_aside(txn, current.id)?))?;
        let mut plain = current.altered(current.options.clone());
        plain.is_building = false;
        self.registry.insert(Arc::new(plain));
        Ok(())
    }

    /// Adds some records that the index lacks, in the order of their keys. Returns the last key, or
    /// `None` if there are no more or the index was removed.
    pub(crate) fn index_some(
        &mut self,
        table: &OpenTable,
        after: &str,
    ) -> Result<Option<String>, TableError> {
        let current = self.current(table)?;
        if !current.is_building {
            return Ok(None);
        }
        self.transaction(|txn| {
            let sql =
                "SELECT key, value FROM records r WHERE table_id = ?1 AND key > ?2 AND NOT EXISTS
                    (SELECT 1 FROM search_rows s WHERE s.table_id = ?1 AND s.key = r.key)
                 ORDER BY key LIMIT ?3";
            let mut statement = txn.prepare_cached(sql)?;
            let mut rows = statement.query(params![table.id, after, MAX_INDEXED as i64])?;
            let (mut last, mut bytes) = (None, 0);
            while bytes < MAX_INDEXED_BYTES
                && let Some(row) = rows.next()?
            {
                let key: String = row.get(0)?;
                let value: Vec<u8> = row.get(1)?;
                bytes += value.len();
                search_index::put(txn, table.id, &key, &value)?;
                last = Some(key);
            }
            Ok(last)
        })
    }
}
