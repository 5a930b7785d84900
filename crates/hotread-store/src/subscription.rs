//! Following a table: from memory as long as one keeps up, from the history on disk otherwise.

use crate::error::ReadError;
use crate::feed::{Closed, Taken};
use crate::read::{self, MAX_CHANGES, Pool};
use crate::table::Table;
use hotread_proto::{Change, Position};
use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Every change of a table after a position, in order and without a gap.
///
/// It holds no queue of its own. A subscriber that falls behind reads the history from disk; one
/// that falls behind that is told so by [`ReadError::Gone`], and nothing is left out silently.
pub struct Subscription {
    pool: Pool,
    table: Arc<Table>,
    /// The last change that was handed out.
    at: Position,
    /// What was read from the history beyond it.
    history: VecDeque<Arc<Change>>,
}

impl Subscription {
    pub(crate) fn new(pool: Pool, table: Arc<Table>, from: Position) -> Result<Self, ReadError> {
        table.feed.join();
        // From here on it is dropped properly.
        let mut subscription = Self {
            pool,
            table,
            at: from,
            history: VecDeque::new(),
        };
        // Also tells whether the history goes back so far.
        subscription.read_history()?;
        Ok(subscription)
    }

    fn read_history(&mut self) -> Result<(), ReadError> {
        let changes = read::changes(&self.pool, &self.table, self.at, MAX_CHANGES)?;
        self.history.extend(changes.into_iter().map(Arc::new));
        Ok(())
    }

    /// The next change, if it comes within `patience`.
    ///
    /// # Errors
    /// [`ReadError::Gone`] if this subscriber has fallen behind the history that is kept, and
    /// [`ReadError::UnknownTable`] if the table was dropped or began a new epoch. Neither changes if
    /// one tries again: take the whole table, and subscribe from there. [`ReadError::Closed`] once
    /// the store was closed and everything was handed out. [`ReadError::Storage`] may pass.
    pub fn next(&mut self, patience: Duration) -> Result<Option<Arc<Change>>, ReadError> {
        let deadline = Instant::now() + patience;
        loop {
            if let Some(change) = self.history.pop_front() {
                self.at = change.position;
                return Ok(Some(change));
            }
            let patience = deadline.saturating_duration_since(Instant::now());
            match self.table.feed.take(self.at.seq + 1, patience) {
                Taken::Change(change) => {
                    self.at = change.position;
                    return Ok(Some(change));
                }
                Taken::Behind => self.read_history()?,
                Taken::Waiting => return Ok(None),
                Taken::Closed(Closed::Store) => return Err(ReadError::Closed),
                Taken::Closed(Closed::Table) => {
                    return Err(ReadError::UnknownTable {
                        table: self.table.name.clone(),
                    });
                }
            }
        }
    }

    /// The last change that was handed out, or where the subscription began.
    #[must_use]
    pub fn position(&self) -> Position {
        self.at
    }

    /// How many changes this subscriber is behind.
    #[must_use]
    pub fn lag(&self) -> u64 {
        self.table.feed.head().seq.saturating_sub(self.at.seq)
    }
}

impl Drop for Subscription {
    fn drop(&mut self) {
        self.table.feed.leave();
    }
}

impl std::fmt::Debug for Subscription {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Subscription")
            .field("table", &self.table.name)
            .field("at", &self.at)
            .finish_non_exhaustive()
    }
}
