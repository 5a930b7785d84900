//! Tables that get other options. A new schema is checked against what is there on the caller's thread, and the
//! committer only looks through what has changed meanwhile.

use super::Committer;
use super::admin::options_column;
use crate::error::{CommitError, StorageError, TableError};
use crate::options::{TableInfo, TableOptions};
use crate::read::{self, Pool};
use crate::replace::{MAX_REST_BYTES, changed_keys, follow};
use crate::rows::{self, RECORD_COLUMNS};
use crate::schema::Schema;
use crate::table::OpenTable;
use hotread_proto::{Key, Position, Value};
use rusqlite::{Connection, Row, params};
use std::collections::BTreeSet;
use std::sync::Arc;

/// A schema that the records of a table fit, up to a position.
pub(crate) struct Checked {
    schema: Schema,
    at: Position,
}

impl Checked {
    /// Checks all records of a table. `None`: the history lacks what has changed meanwhile.
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
        let followed = follow(pool, table, |txn, head| {
            checked.follow(txn, table, head.position, u64::MAX)
        })?;
        Ok(followed.then_some(checked))
    }

    /// Checks what has changed up to `head`, and gives the bytes of history that were read for it; `None`: the
    /// history does not have all of it, or it comes to more than `max_bytes`.
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
    /// Gives a table other options. `None`: it has changed too much since it was checked.
    pub(crate) fn alter(
        &mut self,
        table: &Arc<OpenTable>,
        options: TableOptions,
        checked: Option<Checked>,
    ) -> Result<Option<TableInfo>, TableError> {
        self.db()?;
        let current = self.registry.get(&table.name);
        let (Some(current), Some(standing)) = (current, self.standing(table)) else {
            return Err(CommitError::unknown(&table.name).into());
        };
        if !Arc::ptr_eq(&current, table) {
            return Ok(None);
        }
        let head = standing.head;
        if let Some(mut checked) = checked
            && checked
                .follow(self.db()?, table, head.position, MAX_REST_BYTES)?
                .is_none()
        {
            return Ok(None);
        }
        self.transaction::<_, TableError>(|txn| {
            let text = options_column(&options)?;
            let sql = "UPDATE tables SET options = ?2 WHERE id = ?1";
            txn.execute(sql, params![table.id, text])?;
            Ok(())
        })?;
        let altered = table.altered(options);
        let info = altered.info(head, standing.floor);
        self.registry.insert(Arc::new(altered));
        Ok(Some(info))
    }
}
