//! Calls of those who follow a table: its changes, its records in memory, where it stands, and where its
//! history begins.

use super::Store;
use crate::error::ReadError;
use crate::pin::Pin;
use crate::read;
use crate::subscription::Subscription;
use crate::table::OpenTable;
use hotread::{HotRead, HotReadHandle};
use hotread_proto::{Head, Position, Records, TableName};
use std::sync::Arc;

impl Store {
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

    /// Keeps the changes after a position in the history, for as long as the [`Pin`] lives, though
    /// the limits of the table's [`History`](crate::History) say otherwise: for a reader that is
    /// about to go through them. No disk, one short lock.
    ///
    /// They may exceed each of these limits by so much: [`MAX_PINNED_CHANGES`](crate::MAX_PINNED_CHANGES),
    /// [`MAX_PINNED_BYTES`](crate::MAX_PINNED_BYTES), [`MAX_PINNED_AGE`](crate::MAX_PINNED_AGE). What is beyond that goes as if it were not pinned,
    /// and readers get [`ReadError::Gone`].
    ///
    /// A pin holds if the table's head is at that position or before it when the pin is made, and the
    /// table had a subscriber or another pin before. One that is farther back may be void at once,
    /// since its changes may be leaving at this moment: [`Pin::is_void`], or the reading, will say so.
    ///
    /// # Errors
    /// If there is no such table, or the position is of another epoch, or its history does not go
    /// back so far ([`ReadError::Gone`]; of a history that is short that may have become so since the
    /// position was the head: take the new one and try again); and if the store only reads, since
    /// the history is not its own then.
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
