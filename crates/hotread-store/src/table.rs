//! A table as the store knows it: what does not change as long as it lives, its live copies, and its feed.

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

/// A table with its options. Rekeyed it begins another epoch; altered it keeps copies and subscribers.
pub(crate) struct OpenTable {
    pub(crate) id: i64,
    pub(crate) name: TableName,
    pub(crate) epoch: Epoch,
    pub(crate) options: TableOptions,
    /// Its search index is being built: what is written goes into the index, and it cannot be searched yet.
    pub(crate) is_building: bool,
    pub(crate) created_at: Timestamp,
    /// Compiled when the first value is checked: a schema that is slow to compile, or of which that
    /// has become impossible, concerns those who write to its table.
    schema: OnceLock<Result<Schema, String>>,
    seal: Option<Arc<Sealing>>,
    /// Held while the table is rekeyed, until the next incarnation is known.
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

/// A table as its row has it.
pub(crate) struct TableRow {
    pub(crate) table: OpenTable,
    pub(crate) standing: Standing,
}

/// Where a table stands, its history included.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Standing {
    pub(crate) head: Head,
    pub(crate) floor: u64,
    pub(crate) history_bytes: u64,
}

pub(crate) const TABLE_COLUMNS: &str = "epoch, head, digest, records, updated_at, floor, history_bytes, id, name, created_at, options, seal";

impl TableRow {
    /// From the columns of [`TABLE_COLUMNS`].
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

/// All tables there are, ordered by name.
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
    /// The epoch, then the header.
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

/// What a table's `seal` column holds.
pub(crate) fn seal_column(header: &SealHeader, epoch: Epoch) -> Vec<u8> {
    [&epoch.0.to_be_bytes()[..], &header.encode()[..]].concat()
}

impl OpenTable {
    /// The same table with other options.
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

    /// Takes over the keys, if they are known there: of a table that this store has rekeyed.
    pub(crate) fn unseal_as(&self, known: &OpenTable) {
        if let (Some(seal), Some(known)) = (&self.seal, &known.seal)
            && seal.header == known.header
            && let Some(keys) = known.opened.get()
        {
            let _ = seal.opened.set(keys.clone());
        }
    }

    /// Waits for the table's next incarnation, if it is just being made.
    pub(crate) fn wait_renewed(&self) {
        drop(self.renewal.read().unwrap_or_else(PoisonError::into_inner));
    }

    /// Derives the table's keys, which takes tenths of a second the first time.
    pub(crate) fn unseal(&self, passphrase: Option<&Passphrase>) -> Result<(), SealError> {
        if let Some(seal) = &self.seal
            && seal.opened.get().is_none()
        {
            let passphrase = passphrase.ok_or(SealError::NoPassphrase)?;
            let keys = Seal::open(passphrase, &seal.header)?;
            // Two at once derive the same.
            let _ = seal.opened.set(Arc::new(keys));
        }
        Ok(())
    }

    /// Sets the keys, which are known when the table was sealed just now.
    pub(crate) fn set_keys(&self, keys: Option<Seal>) {
        if let (Some(seal), Some(keys)) = (&self.seal, keys) {
            let _ = seal.opened.set(Arc::new(keys));
        }
    }

    pub(crate) fn is_sealed(&self) -> bool {
        self.seal.is_some()
    }

    /// The keys and the epoch that values are bound to, once the table is unsealed.
    pub(crate) fn seal(&self) -> Option<(&Seal, Epoch)> {
        let seal = self.seal.as_ref()?;
        Some((seal.opened.get()?, seal.epoch))
    }

    /// For reading and writing values, once the table is unsealed.
    pub(crate) fn values(&self) -> Values<'_> {
        Values {
            table: &self.name,
            seal: self.seal(),
        }
    }

    /// How records are hashed, once the table is unsealed.
    pub(crate) fn hasher(&self) -> Hasher {
        self.seal().map_or(Hasher::PLAIN, |(seal, _)| seal.hasher())
    }

    /// Tells whether what is written goes into a search index.
    pub(crate) fn is_indexed(&self) -> bool {
        self.options.search || self.is_building
    }

    /// The schema, if there is one: compiled the first time, which others wait for meanwhile.
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

    /// Whether a value would fit this schema, if it were the table's.
    pub(crate) fn check(
        &self,
        schema: &Schema,
        key: &Key,
        value: &Value,
    ) -> Result<(), CommitError> {
        schema.check_record(&self.name, self.is_sealed(), key, value)
    }
}

/// The tables that there are, by name.
#[derive(Default)]
pub(crate) struct Registry(RwLock<HashMap<TableName, Arc<OpenTable>>>);

impl Registry {
    pub(crate) fn get(&self, name: &TableName) -> Option<Arc<OpenTable>> {
        let tables = self.0.read().unwrap_or_else(PoisonError::into_inner);
        tables.get(name).cloned()
    }

    /// As [`get`](Self::get), for those who write.
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

    /// Takes in a table from disk, unless it is known. Gives the one that is used from now on.
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

    /// Gives back the table that had this name; its feed is the caller's to close, with no lock held.
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

    /// What is on disk may be other than what was known: takes tables out that are not there, and
    /// takes in those that are there in an incarnation, or with options, that are not known.
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
