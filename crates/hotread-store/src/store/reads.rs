//! Calls that read tables from disk.

use super::Store;
use crate::error::ReadError;
use crate::read::{self, Found, Page, Scan, Search};
use crate::table::OpenTable;
use hotread_proto::{Change, Digest, Key, Position, Record, Records, TableName};
use std::sync::Arc;

impl Store {
    /// A table that may be read. If it began another epoch between the look and the reading, once
    /// more.
    pub(crate) fn reading<R>(
        &self,
        name: &TableName,
        read: impl Fn(&Arc<OpenTable>) -> Result<R, ReadError>,
    ) -> Result<R, ReadError> {
        let table = self.readable(name)?;
        read(&table).or_else(|error| {
            table.wait_renewed();
            let now = self.readable(name)?;
            if Arc::ptr_eq(&now, &table) {
                Err(error)
            } else {
                read(&now)
            }
        })
    }

    fn readable(&self, name: &TableName) -> Result<Arc<OpenTable>, ReadError> {
        let registry = &self.0.registry;
        let table = match self.is_read_only() {
            // Another process may have dropped it, altered it, or made another one of that name.
            true => read::table(&self.pool(), name)?.map(|row| registry.take_in(row.table)),
            false => registry.get(name),
        };
        let table = table.ok_or_else(|| ReadError::unknown(name))?;
        self.unseal(&table).map_err(ReadError::seal(name))?;
        Ok(table)
    }

    /// The record with this key, as of the last commit.
    ///
    /// For the hot path there is [`handle`](Self::handle); this is some microseconds of SQLite.
    ///
    /// # Errors
    /// If there is no such table, or it cannot be read.
    pub fn get(&self, table: &TableName, key: &Key) -> Result<Option<Record>, ReadError> {
        self.reading(table, |table| read::get(&self.pool(), table, key))
    }

    /// A page of records, ordered by the bytes of their keys.
    ///
    /// # Errors
    /// If there is no such table, or it cannot be read.
    pub fn scan(&self, table: &TableName, scan: &Scan) -> Result<Page, ReadError> {
        self.reading(table, |table| read::scan(&self.pool(), table, scan))
    }

    /// The records that have all the words of a query, the best first.
    ///
    /// # Errors
    /// If there is no such table, or it was made without an index, or it cannot be read.
    pub fn search(&self, table: &TableName, search: &Search) -> Result<Found, ReadError> {
        self.reading(table, |table| read::search(&self.pool(), table, search))
    }

    /// The changes after `from`, oldest first, at most `limit` and [`MAX_CHANGES`](crate::MAX_CHANGES).
    /// None: `from` is the head.
    ///
    /// # Errors
    /// If there is no such table, or its history does not go back to `from` or never had it, or it
    /// cannot be read.
    pub fn changes(
        &self,
        table: &TableName,
        from: Position,
        limit: usize,
    ) -> Result<Vec<Change>, ReadError> {
        self.reading(table, |table| {
            read::changes(&self.pool(), table, from, limit, &mut read::some_bytes())
        })
    }

    /// As [`changes`](Self::changes), as far as `admit` takes them: it is told the bytes of each change
    /// in the history before that is read, and the first one that it does not take ends the answer. For
    /// callers that account for memory.
    ///
    /// # Errors
    /// As for [`changes`](Self::changes).
    pub fn changes_admitted(
        &self,
        table: &TableName,
        from: Position,
        limit: usize,
        mut admit: impl FnMut(u64) -> bool,
    ) -> Result<Vec<Change>, ReadError> {
        // Once more only if it failed before anything was read.
        let admit = std::cell::RefCell::new(&mut admit);
        self.reading(table, |table| {
            let mut admit = admit.borrow_mut();
            read::changes(&self.pool(), table, from, limit, &mut **admit)
        })
    }

    /// The digest of a table as of a position, if the history has it.
    ///
    /// # Errors
    /// If there is no such table, or it cannot be read.
    pub fn digest_at(&self, table: &TableName, at: Position) -> Result<Option<Digest>, ReadError> {
        self.reading(table, |table| read::digest_at(&self.pool(), table, at))
    }

    /// The whole table as of one moment: of the live table if it is loaded, otherwise read from disk
    /// in one go.
    ///
    /// # Errors
    /// If there is no such table, or it cannot be read.
    pub fn snapshot(&self, table: &TableName) -> Result<Records, ReadError> {
        self.reading(table, |table| match table.live.warm() {
            // In a store that only reads it stands still.
            Some(hot) if !self.is_read_only() => Ok(hot.snapshot()),
            _ => read::snapshot(table, &self.pool()),
        })
    }
}
