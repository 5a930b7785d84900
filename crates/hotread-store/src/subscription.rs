//! Following a table: from memory while the subscriber keeps up, otherwise from the history on disk.

use crate::error::ReadError;
use crate::feed::{Closed, Seat, Taken};
use crate::read::{self, Pool};
use crate::table::OpenTable;
use hotread_proto::{Change, MAX_CHANGES, Position};
use std::collections::VecDeque;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

/// Every change of a table after a position, in order and without a gap.
///
/// A subscription has no queue of its own. A subscriber that falls behind the changes in memory reads
/// the history from disk; one that falls behind the history gets [`ReadError::Gone`]. No change is
/// skipped silently.
pub struct Subscription {
    pool: Pool,
    table: Arc<OpenTable>,
    seat: Seat,
    /// The last change that was returned.
    at: Position,
    /// Changes after `at` that were read from the history.
    history: VecDeque<Arc<Change>>,
}

/// The result of [`Subscription::poll_next`].
#[derive(Debug, Clone)]
pub enum Recent {
    /// The next change.
    Change(Arc<Change>),
    /// The change is no longer in memory. Call [`Subscription::next`] with zero patience where blocking
    /// is allowed, which reads it from disk; then poll again.
    Behind,
}

impl Subscription {
    pub(crate) fn new(
        pool: Pool,
        table: Arc<OpenTable>,
        from: Position,
    ) -> Result<Self, ReadError> {
        let seat = table.feed.join();
        // From here on, `drop` leaves the feed.
        let mut subscription = Self {
            pool,
            table,
            seat,
            at: from,
            history: VecDeque::new(),
        };
        // Also checks that the history goes back so far.
        subscription.read_history()?;
        // Later reads are not part of the work that created the subscription.
        subscription.pool = subscription.pool.within(None);
        Ok(subscription)
    }

    fn read_history(&mut self) -> Result<(), ReadError> {
        let (pool, table, admit) = (&self.pool, &self.table, &mut read::some_bytes());
        let changes = read::changes(pool, table, self.at, MAX_CHANGES, admit)?;
        self.history.extend(changes.into_iter().map(Arc::new));
        Ok(())
    }

    /// Returns the next change if it arrives within `patience`.
    ///
    /// # Errors
    /// [`ReadError::Gone`] if this subscriber has fallen behind the history, and
    /// [`ReadError::UnknownTable`] if the table was dropped or began a new epoch. Both are permanent:
    /// take the whole table, and subscribe from there. [`ReadError::Closed`] once the store was closed
    /// and all changes were returned. [`ReadError::Storage`] may be temporary.
    pub fn next(&mut self, patience: Duration) -> Result<Option<Arc<Change>>, ReadError> {
        let deadline = Instant::now() + patience;
        loop {
            if let Some(change) = self.history.pop_front() {
                return Ok(Some(self.hand_out(change)));
            }
            let patience = deadline.saturating_duration_since(Instant::now());
            match self.table.feed.take(self.at.seq + 1, patience) {
                Taken::Change(change) => return Ok(Some(self.hand_out(change))),
                Taken::Behind => self.read_history()?,
                Taken::Waiting => return Ok(None),
                Taken::Closed(why) => return Err(self.ended(why)),
            }
        }
    }

    /// Returns the next change, for tasks: never blocks and never uses the disk. Of several calls, the
    /// waker of the last one is woken when there is a change, and when the table or the store is
    /// closed. Spurious wake-ups are possible.
    ///
    /// # Errors
    /// The permanent ones of [`next`](Self::next): the table was dropped or began a new epoch, or the
    /// store was closed and all changes were returned. A subscriber that has fallen behind the history
    /// learns it from `next`, after [`Recent::Behind`].
    pub fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Result<Recent, ReadError>> {
        if let Some(change) = self.history.pop_front() {
            return Poll::Ready(Ok(Recent::Change(self.hand_out(change))));
        }
        let next = self.at.seq + 1;
        match self.table.feed.poll(next, &self.seat, cx.waker()) {
            Taken::Change(change) => Poll::Ready(Ok(Recent::Change(self.hand_out(change)))),
            Taken::Behind => Poll::Ready(Ok(Recent::Behind)),
            Taken::Waiting => Poll::Pending,
            Taken::Closed(why) => Poll::Ready(Err(self.ended(why))),
        }
    }

    fn hand_out(&mut self, change: Arc<Change>) -> Arc<Change> {
        self.at = change.position;
        change
    }

    fn ended(&self, why: Closed) -> ReadError {
        match why {
            Closed::Store => ReadError::Closed,
            Closed::Table => ReadError::unknown(&self.table.name),
        }
    }

    /// Returns the position of the last change that was returned, or the start of the subscription.
    #[must_use]
    pub fn position(&self) -> Position {
        self.at
    }

    /// Returns the number of changes that this subscriber is behind the head.
    #[must_use]
    pub fn lag(&self) -> u64 {
        let head = self.table.feed.head().position;
        head.seq.saturating_sub(self.at.seq)
    }
}

impl Drop for Subscription {
    fn drop(&mut self) {
        self.table.feed.leave(&self.seat);
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
