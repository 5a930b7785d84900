//! Calls that read tables, on disk and in memory, and that follow them: their changes, their heads, and
//! the floors of their histories.

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
    /// Reads from a table that may be read. If the table began another epoch between the look-up and
    /// the read, tries once more.
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
            // Another process may have dropped the table, altered it, or created another one of that
            // name.
            true => read::table(&self.pool(), name)?.map(|row| registry.take_in(row.table)),
            false => registry.get(name),
        };
        let table = table.ok_or_else(|| ReadError::unknown(name))?;
        self.unseal(&table).map_err(ReadError::seal(name))?;
        Ok(table)
    }

    /// Returns the record with this key, as of the last commit.
    ///
    /// Takes a few microseconds in SQLite; for the hot path there is [`handle`](Self::handle).
    ///
    /// # Errors
    /// If there is no such table, or it cannot be read.
    pub fn get(&self, table: &TableName, key: &Key) -> Result<Option<Record>, ReadError> {
        self.reading(table, |table| read::get(&self.pool(), table, key))
    }

    /// Returns a page of records, ordered by the bytes of their keys.
    ///
    /// # Errors
    /// If there is no such table, or it cannot be read.
    pub fn scan(&self, table: &TableName, scan: &Scan) -> Result<Page, ReadError> {
        self.reading(table, |table| read::scan(&self.pool(), table, scan))
    }

    /// Returns the records that contain all the words of a query, the best match first.
    ///
    /// # Errors
    /// If there is no such table, it has no search index, or it cannot be read.
    pub fn search(&self, table: &TableName, search: &Search) -> Result<Found, ReadError> {
        self.reading(table, |table| read::search(&self.pool(), table, search))
    }

    /// Returns the changes after `from`, oldest first, at most `limit` and
    /// [`MAX_CHANGES`](crate::MAX_CHANGES). The result is empty if `from` is the head.
    ///
    /// # Errors
    /// If there is no such table, its history does not go back to `from` or never contained it, or it
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

    /// Like [`changes`](Self::changes), for callers that account for memory: `admit` receives the size in
    /// bytes of each change in the history before the change is read, and the first change that it
    /// rejects ends the result.
    ///
    /// # Errors
    /// Same as [`changes`](Self::changes).
    pub fn changes_admitted(
        &self,
        table: &TableName,
        from: Position,
        limit: usize,
        mut admit: impl FnMut(u64) -> bool,
    ) -> Result<Vec<Change>, ReadError> {
        // A second attempt happens only if the first one failed before it read anything.
        let admit = std::cell::RefCell::new(&mut admit);
        self.reading(table, |table| {
            let mut admit = admit.borrow_mut();
            read::changes(&self.pool(), table, from, limit, &mut **admit)
        })
    }

    /// Returns the digest of a table at a position, if the history has it.
    ///
    /// # Errors
    /// If there is no such table, or it cannot be read.
    pub fn digest_at(&self, table: &TableName, at: Position) -> Result<Option<Digest>, ReadError> {
        self.reading(table, |table| read::digest_at(&self.pool(), table, at))
    }

    /// Returns the whole table as of one moment: a snapshot of the live table if it is loaded,
    /// otherwise one read from disk.
    ///
    /// # Errors
    /// If there is no such table, or it cannot be read.
    pub fn snapshot(&self, table: &TableName) -> Result<Records, ReadError> {
        self.reading(table, |table| match table.live.warm() {
            // The live table of a store that only reads is never updated.
            Some(hot) if !self.is_read_only() => Ok(hot.snapshot()),
            _ => read::snapshot(table, &self.pool()),
        })
    }

    /// Returns a subscription to every change after `from`, in order and without a gap, for as long as
    /// the history goes back to the subscriber's position.
    ///
    /// # Errors
    /// Same as [`changes`](Self::changes); and if the store only reads, since it receives no changes.
    pub fn subscribe(&self, table: &TableName, from: Position) -> Result<Subscription, ReadError> {
        self.reading(table, |table| {
            if self.is_read_only() {
                return Err(ReadError::NotTold);
            }
            Subscription::new(self.pool(), table.clone(), from)
        })
    }

    /// Returns a handle on the live table, for a thread's hot loop. The first call loads the table:
    /// about a second for a million records.
    ///
    /// # Errors
    /// If there is no such table, or it cannot be read.
    pub fn handle(&self, table: &TableName) -> Result<HotReadHandle<Records>, ReadError> {
        self.live(table).map(|live| live.create_handle())
    }

    /// Returns the live table itself, to wait until changes are visible, to find readers that block a
    /// publication, or to name handles. Only the store may update it: an update queued by other code is
    /// lost, or panics.
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

    /// Returns the position and digest of a table after the last change that its subscribers received.
    /// That is at least the last change acknowledged before this call. Takes one short lock, and no
    /// disk access.
    ///
    /// # Errors
    /// If there is no such table; and if the store only reads, since it receives no changes:
    /// [`table_info`](Self::table_info) reads the head from disk.
    pub fn head(&self, table: &TableName) -> Result<Head, ReadError> {
        self.followed(table).map(|table| table.feed.head())
    }

    /// Returns the first sequence number that a table's history keeps, or `seq + 1` of the head if the
    /// history is empty. Takes one short lock, and no disk access. The floor only rises; one that is
    /// read before [`head`](Self::head) is at most one more than that.
    ///
    /// # Errors
    /// Same as [`head`](Self::head).
    pub fn floor(&self, table: &TableName) -> Result<u64, ReadError> {
        self.followed(table).map(|table| table.feed.floor())
    }

    /// Keeps the changes after a position in the history while the [`Pin`] lives, against the table's
    /// [`History`](crate::History): for a reader that is about to read them. Takes one short lock, and
    /// no disk access.
    ///
    /// The changes may exceed the limits of the history by
    /// [`MAX_PINNED_CHANGES`](crate::MAX_PINNED_CHANGES), [`MAX_PINNED_BYTES`](crate::MAX_PINNED_BYTES)
    /// and [`MAX_PINNED_AGE`](crate::MAX_PINNED_AGE). Changes beyond that are trimmed as if they were
    /// not pinned, and readers get [`ReadError::Gone`].
    ///
    /// A pin holds if, when it is made, the table's head is at that position or before it, and the
    /// table had a subscriber or another pin before. A pin farther back may be void immediately, because
    /// its changes may be being trimmed at that moment: [`Pin::is_void`] or the read reports it.
    ///
    /// # Errors
    /// If there is no such table, the position belongs to another epoch, or the history does not go back so
    /// far ([`ReadError::Gone`]; a short history may have moved past the position since it was the
    /// head: take the new head and try again); and if the store only reads, since another process owns
    /// the history then.
    pub fn pin(&self, table: &TableName, after: Position) -> Result<Pin, ReadError> {
        Pin::new(self.followed(table)?, after)
    }

    /// Returns the table, if this store receives its changes.
    fn followed(&self, name: &TableName) -> Result<Arc<OpenTable>, ReadError> {
        if self.is_read_only() {
            return Err(ReadError::NotTold);
        }
        let table = self.0.registry.get(name);
        table.ok_or_else(|| ReadError::unknown(name))
    }
}
