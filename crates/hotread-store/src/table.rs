//! A table as the store knows it: its fixed properties, its live copies, and its feed.

use crate::error::{CommitError, StorageError, TableError};
use crate::feed::{Closed, Feed};
use crate::live::Live;
use crate::options::{TableInfo, TableOptions};
use crate::rows::{self, Values};
use crate::schema::Schema;
use crate::seal::{Passphrase, Seal, SealError, SealHeader};
use hotread_proto::{Epoch, Hasher, Head, Key, TableName, Timestamp, Value};
use rusqlite::{Connection, Row};
use std::collections::HashMap;
use std::fmt::Display;
use std::sync::{Arc, OnceLock, PoisonError, RwLock};

/// A table with its options. Rekeying begins another epoch; altering keeps copies and subscribers.
pub(crate) struct OpenTable {
    pub(crate) id: i64,
    pub(crate) name: TableName,
    pub(crate) epoch: Epoch,
    pub(crate) options: TableOptions,
    /// Set while its search index is being built: writes update the index, which cannot be searched
    /// yet.
    pub(crate) is_building: bool,
    pub(crate) created_at: Timestamp,
    /// Compiled when the first value is checked, so that the cost or failure of compiling a schema
    /// affects only the writers of its table.
    schema: OnceLock<Result<Schema, String>>,
    seal: Option<Arc<Sealing>>,
    /// Locked while the table is rekeyed, until the next incarnation is known.
    pub(crate) renewal: RwLock<()>,
    pub(crate) live: Arc<Live>,
    pub(crate) feed: Arc<Feed>,
}

struct Sealing {
    header: SealHeader,
    /// The epoch in which the table was sealed, to which its values are bound.
    epoch: Epoch,
    opened: OnceLock<Arc<Seal>>,
}

/// The content of a table's row.
pub(crate) struct TableRow {
    pub(crate) table: OpenTable,
    pub(crate) standing: Standing,
}

/// The head of a table, and the extent of its history.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Standing {
    pub(crate) head: Head,
    pub(crate) floor: u64,
    pub(crate) history_bytes: u64,
}

pub(crate) const TABLE_COLUMNS: &str = "epoch, head, digest, records, updated_at, floor, history_bytes, id, name, created_at, options, seal";

impl TableRow {
    /// Reads the columns of [`TABLE_COLUMNS`].
    pub(crate) fn read(row: &Row<'_>) -> Result<Self, StorageError> {
        let damaged = |e: &dyn Display| StorageError::corrupt(format!("a table's row: {e}"));
        let head = rows::read_head(row)?;
        let name: String = row.get(8)?;
        let name = TableName::new(&name).map_err(|e| damaged(&e))?;
        let options: String = row.get(10)?;
        let seal = row.get_ref(11)?.as_blob_or_null();
        let seal = seal.map_err(|_| damaged(&"its seal"))?;
        let seal = seal.map(Sealing::read).transpose();
        let standing = Standing {
            head,
            floor: rows::read_count(row, 5)?,
            history_bytes: rows::read_count(row, 6)?,
        };
        let table = OpenTable {
            id: row.get(7)?,
            live: Arc::new(Live::new(&name)),
            name,
            epoch: head.position.epoch,
            options: serde_json::from_str(&options).map_err(|e| damaged(&e))?,
            is_building: false,
            created_at: rows::read_time(row, 9)?,
            schema: OnceLock::new(),
            seal: seal.map_err(|e| damaged(&e))?.map(Arc::new),
            renewal: RwLock::new(()),
            feed: Arc::new(Feed::new(head, standing.floor)),
        };
        Ok(Self { table, standing })
    }

    pub(crate) fn info(&self) -> TableInfo {
        self.table.info(self.standing.head, self.standing.floor)
    }
}

/// Returns all tables, ordered by name.
pub(crate) fn read_all(db: &Connection) -> Result<Vec<TableRow>, StorageError> {
    let sql = format!("SELECT {TABLE_COLUMNS} FROM tables WHERE dropped_at IS NULL ORDER BY name");
    let mut tables = Vec::new();
    rows::each::<StorageError>(db, &sql, [], |row| {
        tables.push(TableRow::read(row)?);
        Ok(())
    })?;
    Ok(tables)
}

impl Sealing {
    /// Decodes the epoch and the header.
    fn read(blob: &[u8]) -> Result<Self, SealError> {
        let (epoch, header) = blob
            .split_first_chunk()
            .ok_or(SealError::HeaderLength { bytes: 0 })?;
        Ok(Self {
            header: SealHeader::decode(header)?,
            epoch: Epoch(u64::from_be_bytes(*epoch)),
            opened: OnceLock::new(),
        })
    }
}

/// Encodes a table's `seal` column.
pub(crate) fn seal_column(header: &SealHeader, epoch: Epoch) -> Vec<u8> {
    [&epoch.0.to_be_bytes()[..], &header.encode()[..]].concat()
}

impl OpenTable {
    /// Returns the same table with other options.
    pub(crate) fn altered(&self, options: TableOptions) -> Self {
        Self {
            id: self.id,
            name: self.name.clone(),
            epoch: self.epoch,
            is_building: self.is_building && !options.search,
            options,
            created_at: self.created_at,
            schema: OnceLock::new(),
            seal: self.seal.clone(),
            renewal: RwLock::new(()),
            live: self.live.clone(),
            feed: self.feed.clone(),
        }
    }

    pub(crate) fn info(&self, head: Head, floor: u64) -> TableInfo {
        TableInfo {
            name: self.name.clone(),
            position: head.position,
            floor,
            digest: head.digest,
            records: head.records,
            created_at: self.created_at,
            updated_at: head.at,
            options: self.options.clone(),
        }
    }

    /// Takes the keys of `known`, if it has them: for a table that this store has rekeyed.
    pub(crate) fn unseal_as(&self, known: &OpenTable) {
        if let (Some(seal), Some(known)) = (&self.seal, &known.seal)
            && seal.header == known.header
            && let Some(keys) = known.opened.get()
        {
            let _ = seal.opened.set(keys.clone());
        }
    }

    /// Waits until a new incarnation of the table that is being created is known.
    pub(crate) fn wait_renewed(&self) {
        drop(self.renewal.read().unwrap_or_else(PoisonError::into_inner));
    }

    /// Derives the table's keys. The first call takes tenths of a second.
    pub(crate) fn unseal(&self, passphrase: Option<&Passphrase>) -> Result<(), SealError> {
        if let Some(seal) = &self.seal
            && seal.opened.get().is_none()
        {
            let passphrase = passphrase.ok_or(SealError::NoPassphrase)?;
            let keys = Seal::open(passphrase, &seal.header)?;
            // Concurrent derivations have the same result.
            let _ = seal.opened.set(Arc::new(keys));
        }
        Ok(())
    }

    /// Sets the keys, which are known when the table has just been sealed.
    pub(crate) fn set_keys(&self, keys: Option<Seal>) {
        if let (Some(seal), Some(keys)) = (&self.seal, keys) {
            let _ = seal.opened.set(Arc::new(keys));
        }
    }

    pub(crate) fn is_sealed(&self) -> bool {
        self.seal.is_some()
    }

    /// Returns the keys of an unsealed table, and the epoch to which values are bound.
    pub(crate) fn seal(&self) -> Option<(&Seal, Epoch)> {
        let seal = self.seal.as_ref()?;
        Some((seal.opened.get()?, seal.epoch))
    }

    /// Returns the encoding of values, once the table is unsealed.
    pub(crate) fn values(&self) -> Values<'_> {
        Values {
            table: &self.name,
            seal: self.seal(),
        }
    }

    /// Returns the hasher of records, once the table is unsealed.
    pub(crate) fn hasher(&self) -> Hasher {
        self.seal().map_or(Hasher::PLAIN, |(seal, _)| seal.hasher())
    }

    /// Returns `true` if writes update a search index.
    pub(crate) fn is_indexed(&self) -> bool {
        self.options.search || self.is_building
    }

    /// Returns the schema, if there is one. It is compiled on the first call, for which concurrent
    /// calls wait.
    pub(crate) fn schema(&self) -> Result<Option<&Schema>, CommitError> {
        let Some(schema) = &self.options.schema else {
            return Ok(None);
        };
        let compiled = self.schema.get_or_init(|| Schema::compile(schema));
        compiled.as_ref().map(Some).map_err(|reason| {
            let (table, reason) = (self.name.clone(), reason.clone());
            CommitError::UnusableSchema { table, reason }
        })
    }

    pub(crate) fn check_schema(&self, key: &Key, value: &Value) -> Result<(), CommitError> {
        match self.schema()? {
            Some(schema) => self.check(schema, key, value),
            None => Ok(()),
        }
    }

    /// Checks a value against a schema that need not be the table's own.
    pub(crate) fn check(
        &self,
        schema: &Schema,
        key: &Key,
        value: &Value,
    ) -> Result<(), CommitError> {
        schema.check_record(&self.name, self.is_sealed(), key, value)
    }
}

/// The tables of the store, by name.
#[derive(Default)]
pub(crate) struct Registry(RwLock<HashMap<TableName, Arc<OpenTable>>>);

impl Registry {
    pub(crate) fn get(&self, name: &TableName) -> Option<Arc<OpenTable>> {
        let tables = self.0.read().unwrap_or_else(PoisonError::into_inner);
        tables.get(name).cloned()
    }

    /// Like [`get`](Self::get), with the error of writing calls.
    pub(crate) fn known(&self, name: &TableName) -> Result<Arc<OpenTable>, CommitError> {
        self.get(name).ok_or_else(|| CommitError::unknown(name))
    }

    /// Checks that no table has this name.
    pub(crate) fn check_free(&self, name: &TableName) -> Result<(), TableError> {
        match self.get(name) {
            Some(_) => Err(TableError::Exists {
                table: name.clone(),
            }),
            None => Ok(()),
        }
    }

    pub(crate) fn all(&self) -> Vec<Arc<OpenTable>> {
        let tables = self.0.read().unwrap_or_else(PoisonError::into_inner);
        tables.values().cloned().collect()
    }

    /// Adds a table that was read from disk, unless it is known already. Returns the table to use from
    /// now on.
    pub(crate) fn take_in(&self, read: OpenTable) -> Arc<OpenTable> {
        let known = self.get(&read.name);
        let known = known.filter(|known| (known.id, known.epoch) == (read.id, read.epoch));
        let table = match known {
            Some(known) if known.options == read.options => return known,
            Some(known) => Arc::new(known.altered(read.options)),
            None => Arc::new(read),
        };
        if let Some(old) = self.insert(table.clone())
            && !Arc::ptr_eq(&old.feed, &table.feed)
        {
            old.feed.close(Closed::Table);
        }
        table
    }

    /// Adds a table. Returns the table that had its name, whose feed the caller must close, with no
    /// lock held.
    pub(crate) fn insert(&self, table: Arc<OpenTable>) -> Option<Arc<OpenTable>> {
        let mut tables = self.0.write().unwrap_or_else(PoisonError::into_inner);
        tables.insert(table.name.clone(), table)
    }

    pub(crate) fn remove(&self, name: &TableName) {
        let mut tables = self.0.write().unwrap_or_else(PoisonError::into_inner);
        let old = tables.remove(name);
        drop(tables);
        if let Some(old) = old {
            old.feed.close(Closed::Table);
        }
    }

    /// Reconciles with the tables on disk: removes missing tables, and adds those whose incarnation or
    /// options are unknown.
    pub(crate) fn follow(&self, rows: Vec<TableRow>) {
        for known in self.all() {
            let is_there =
                |row: &TableRow| (row.table.id, &row.table.name) == (known.id, &known.name);
            if !rows.iter().any(is_there) {
                self.remove(&known.name);
            }
        }
        for TableRow { table, .. } in rows {
            self.take_in(table);
        }
    }
}
