//! Calls that read tables, on disk and in memory, and that follow them: their changes, where they stand, and
//! where their history begins.

use super::Store;
use crate::error::ReadError;
use crate::pin::Pin;
use crate::read::{self, Found, Page, Scan, Search};
use crate::subscription::Subscription;
use crate::table::OpenTable;
use hotread::{HotRead, HotReadHandle};
use hotread_proto::{Change, Digest, Head, Key, Position, Record, Records, TableName};
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

    /// Every change after `from`, in order and without a gap, for as long as the history goes back
    /// to where the subscriber is.
    ///
    /// # Errors
    /// As for [`changes`](Self::changes); and if the store only reads: then nobody tells it.
    pub fn subscribe(&self, table: &TableName, from: Position) -> Result<Subscription, ReadError> {
        self.reading(table, |table| {
            if self.is_read_only() {
                return Err(ReadError::NotTold);
            }
            Subscription::new(self.pool(), table.clone(), from)
        })
    }

    /// A handle on the live table, for a thread's hot loop. The first one loads the table: about a
    /// second for a million records.
    ///
    /// # Errors
    /// If there is no such table, or it cannot be read.
    pub fn handle(&self, table: &TableName) -> Result<HotReadHandle<Records>, ReadError> {
        self.live(table).map(|live| live.create_handle())
    }

    /// The live table itself, to wait for changes to become visible, to see who holds them up, or to
    /// name handles. Its state is the store's to change: an update queued by anyone else is lost,
    /// or panics.
    ///
    /// # Errors
    /// If there is no such table, or it cannot be read.
    pub fn live(&self, table: &TableName) -> Result<HotRead<Records>, ReadError> {
        let pool = self.pool();
        self.reading(table, |table| {
            let load = || read::load(table, &pool);
            table.live.get(load, || read::snapshot(table, &pool))
        })
    }

    /// Where a table stands: after the last change that its subscribers were given, which is at least
    /// the last one that was acknowledged before this call. No disk, one short lock.
    ///
    /// # Errors
    /// If there is no such table; and if the store only reads: then nobody tells it, and
    /// [`table_info`](Self::table_info) asks the disk.
    pub fn head(&self, table: &TableName) -> Result<Head, ReadError> {
        self.followed(table).map(|table| table.feed.head())
    }

    /// The first sequence number that a table's history keeps; `seq + 1` if it keeps none. No disk,
    /// one short lock. It only rises; asked before [`head`](Self::head), it is at most one more than
    /// that.
    ///
    /// # Errors
    /// As for [`head`](Self::head).
    pub fn floor(&self, table: &TableName) -> Result<u64, ReadError> {
        self.followed(table).map(|table| table.feed.floor())
    }

    /// Keeps the changes after a position in the history, for as long as the [`Pin`] lives, though the table's
    /// [`History`](crate::History) says otherwise: for a reader that is about to go through them. No disk, one short
    /// lock.
    ///
    /// They may exceed its limits by [`MAX_PINNED_CHANGES`](crate::MAX_PINNED_CHANGES),
    /// [`MAX_PINNED_BYTES`](crate::MAX_PINNED_BYTES) and [`MAX_PINNED_AGE`](crate::MAX_PINNED_AGE). What is beyond
    /// that goes as if it were not pinned, and readers get [`ReadError::Gone`].
    ///
    /// A pin holds if the table's head is at that position or before it when the pin is made, and the table had a
    /// subscriber or another pin before. One that is farther back may be void at once, since its changes may be
    /// leaving at this moment: [`Pin::is_void`], or the reading, will say so.
    ///
    /// # Errors
    /// If there is no such table, or the position is of another epoch, or its history does not go back so far
    /// ([`ReadError::Gone`]; of a short history that may have become so since the position was the head: take the
    /// new one and try again); and if the store only reads, since the history is not its own then.
    pub fn pin(&self, table: &TableName, after: Position) -> Result<Pin, ReadError> {
        Pin::new(self.followed(table)?, after)
    }

    /// A table whose changes this store is told of.
    fn followed(&self, name: &TableName) -> Result<Arc<OpenTable>, ReadError> {
        if self.is_read_only() {
            return Err(ReadError::NotTold);
        }
        let table = self.0.registry.get(name);
        table.ok_or_else(|| ReadError::unknown(name))
    }
}
