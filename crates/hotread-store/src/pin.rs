//! Keeping the beginning of a table's history where it is for a while.

use crate::error::ReadError;
use crate::feed::Closed;
use crate::table::OpenTable;
use hotread_proto::Position;
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

/// Keeps the changes after a position in a table's history: see [`Store::pin`](crate::Store::pin).
/// Dropping it lets them go. Takes some bytes, and a short lock when it is made and dropped.
#[must_use = "the history is pinned for as long as this lives"]
pub struct Pin {
    table: Arc<OpenTable>,
    after: Position,
}

impl Pin {
    /// Pins what the table's history has after the position.
    pub(crate) fn new(table: Arc<OpenTable>, after: Position) -> Result<Self, ReadError> {
        if after.epoch != table.epoch {
            return Err(ReadError::NeverThere {
                table: table.name.clone(),
                from: after,
                head: table.feed.head().position,
            });
        }
        table.feed.pin(after.seq);
        // From here on it is undone by its drop.
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
