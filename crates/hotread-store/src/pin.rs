//! What a table's followers ask without its disk: where it stands, where its history begins, and
//! that this beginning does not move on for a while.

use crate::error::ReadError;
use crate::feed::Closed;
use crate::store::Store;
use crate::table::OpenTable;
use hotread_proto::{Head, Position, TableName};
use std::sync::Arc;
use std::time::Duration;

/// By how many changes a pin may make a table's history longer than its options say: what a busy
/// table commits while a large snapshot of it is on its way.
pub const MAX_PINNED_CHANGES: u64 = 100_000;
/// By how many bytes of keys and values a pin may make a table's history larger: as much again as a
/// history has by default.
pub const MAX_PINNED_BYTES: u64 = 256 << 20;
/// By how much a pin may make a table's history older: a snapshot that takes longer has failed.
pub const MAX_PINNED_AGE: Duration = Duration::from_secs(60 * 60);

/// Keeps the changes after a position in a table's history: see [`Store::pin`]. Dropping it lets them
/// go. Takes some bytes, and a short lock when it is made and dropped.
#[must_use = "the history is pinned for as long as this lives"]
pub struct Pin {
    table: Arc<OpenTable>,
    after: Position,
}

impl Pin {
    /// The changes after this position are kept.
    #[must_use]
    pub fn position(&self) -> Position {
        self.after
    }

    /// Has it come to nothing? The changes are gone, because more was committed meanwhile than pins
    /// may keep, or because the table was dropped or began a new epoch. It stays so.
    #[must_use]
    pub fn is_void(&self) -> bool {
        let feed = &self.table.feed;
        feed.closed() == Some(Closed::Table) || feed.floor() > self.after.seq.saturating_add(1)
    }
}

impl Drop for Pin {
    fn drop(&mut self) {
        self.table.feed.unpin(self.after.seq);
    }
}

impl std::fmt::Debug for Pin {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Pin")
            .field("table", &self.table.name)
            .field("after", &self.after)
            .finish_non_exhaustive()
    }
}

impl Store {
    /// Where a table stands: after the last change that its subscribers were given, which is at least
    /// the last one that was acknowledged before this call. No disk, one short lock.
    ///
    /// # Errors
    /// If there is no such table; and if the store only reads: then nobody tells it, and
    /// [`table`](Self::table) asks the disk.
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
    /// They may exceed each of these limits by so much: [`MAX_PINNED_CHANGES`],
    /// [`MAX_PINNED_BYTES`], [`MAX_PINNED_AGE`]. What is beyond that goes as if it were not pinned,
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
        let table = self.followed(table)?;
        if after.epoch != table.epoch {
            return Err(ReadError::NeverThere {
                table: table.name.clone(),
                from: after,
                head: table.feed.head().position,
            });
        }
        table.feed.pin(after.seq);
        // From here on it is undone by its drop.
        let pin = Pin { table, after };
        if !pin.is_void() {
            return Ok(pin);
        }
        let table = &pin.table;
        Err(match table.feed.closed() {
            Some(Closed::Table) => ReadError::UnknownTable {
                table: table.name.clone(),
            },
            _ => ReadError::Gone {
                table: table.name.clone(),
                floor: table.feed.floor(),
            },
        })
    }

    /// A table whose changes this store is told of.
    fn followed(&self, name: &TableName) -> Result<Arc<OpenTable>, ReadError> {
        if self.is_read_only() {
            return Err(ReadError::NotTold);
        }
        let table = self.0.registry.get(name);
        table.ok_or_else(|| ReadError::UnknownTable {
            table: name.clone(),
        })
    }
}
