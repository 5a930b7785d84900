//! Pins, which keep the beginning of a table's history in place for a while.

use crate::error::ReadError;
use crate::feed::Closed;
use crate::table::OpenTable;
use hotread_proto::Position;
use std::sync::Arc;
use std::time::Duration;

/// Maximum number of changes by which a pin may extend a table's history beyond its options: those that a
/// busy table commits while a large snapshot of it is being sent.
pub const MAX_PINNED_CHANGES: u64 = 100_000;
/// Maximum number of bytes of keys and values by which a pin may extend a table's history: as many again as a
/// history has by default.
pub const MAX_PINNED_BYTES: u64 = 256 << 20;
/// Longest age by which a pin may extend a table's history: a snapshot that takes longer has failed.
pub const MAX_PINNED_AGE: Duration = Duration::from_secs(60 * 60);

/// A guard that keeps the changes after a position in a table's history: see
/// [`Store::pin`](crate::Store::pin). Dropping it releases them. Takes a few bytes, and a short lock
/// when it is created and dropped.
#[must_use = "the history is pinned for as long as this lives"]
pub struct Pin {
    table: Arc<OpenTable>,
    after: Position,
}

impl Pin {
    /// Pins the changes of the table's history after the position.
    pub(crate) fn new(table: Arc<OpenTable>, after: Position) -> Result<Self, ReadError> {
        if after.epoch != table.epoch {
            return Err(ReadError::NeverThere {
                table: table.name.clone(),
                from: after,
                head: table.feed.head().position,
            });
        }
        table.feed.pin(after.seq);
        // From here on, the drop of the pin undoes this.
        let pin = Self { table, after };
        if !pin.is_void() {
            return Ok(pin);
        }
        let table = &pin.table;
        Err(match table.feed.closed() {
            Some(Closed::Table) => ReadError::unknown(&table.name),
            _ => ReadError::Gone {
                table: table.name.clone(),
                floor: table.feed.floor(),
            },
        })
    }

    /// Returns the position after which changes are kept.
    #[must_use]
    pub fn position(&self) -> Position {
        self.after
    }

    /// Returns `true` if the pinned changes are gone, because more was committed meanwhile than pins
    /// may keep, or because the table was dropped or began a new epoch. A void pin stays void.
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
