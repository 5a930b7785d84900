//! The budget of a unit of work on behalf of a caller: a time limit, and a flag by which the caller
//! cancels it.

use crate::error::StorageError;
use rusqlite::Connection;
use std::ffi::c_int;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// Instructions of SQLite's virtual machine between two checks of a budget: a few tens of microseconds
/// of work, compared with which the check costs nothing.
const LOOK_EVERY: c_int = 1_000;

/// A time limit for a unit of work, and a way to cancel it earlier: see
/// [`Store::within`](crate::Store::within).
///
/// Clones share one budget, so that one thread may work within it and another one cancel it.
#[derive(Debug, Clone)]
pub struct Budget(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    until: Option<Instant>,
    cancelled: AtomicBool,
}

impl Budget {
    /// Returns a budget of this duration, starting now.
    #[must_use]
    pub fn lasting(limit: Duration) -> Self {
        Self::new(Instant::now().checked_add(limit))
    }

    /// Returns a budget that lasts until it is cancelled.
    #[must_use]
    pub fn unlimited() -> Self {
        Self::new(None)
    }

    fn new(until: Option<Instant>) -> Self {
        let cancelled = AtomicBool::new(false);
        Self(Arc::new(Inner { until, cancelled }))
    }

    /// Cancels the work, which fails with [`StorageError::Interrupted`] within a few milliseconds.
    /// Completed work is unaffected.
    pub fn cancel(&self) {
        // ORDERING: no other data depends on the flag.
        self.0.cancelled.store(true, Ordering::Relaxed);
    }

    /// Returns the remaining time: `None` without a limit, zero after a cancellation.
    #[must_use]
    pub fn left(&self) -> Option<Duration> {
        if self.0.cancelled.load(Ordering::Relaxed) {
            return Some(Duration::ZERO);
        }
        let until = self.0.until?;
        Some(until.saturating_duration_since(Instant::now()))
    }

    /// Returns `true` if the work must end.
    #[must_use]
    pub fn is_spent(&self) -> bool {
        self.left() == Some(Duration::ZERO)
    }

    /// Returns an error if the work must end: for loops outside SQLite.
    ///
    /// # Errors
    /// [`StorageError::Interrupted`].
    pub fn check(&self) -> Result<(), StorageError> {
        match self.is_spent() {
            true => Err(StorageError::Interrupted),
            false => Ok(()),
        }
    }

    /// Makes SQLite check the budget during every statement on this connection.
    pub(crate) fn watch(&self, db: &mut Connection) -> rusqlite::Result<()> {
        let budget = self.clone();
        db.progress_handler(LOOK_EVERY, Some(move || budget.is_spent()))
    }
}

/// Removes the budget from a connection before its next use.
pub(crate) fn unwatch(db: &mut Connection) -> rusqlite::Result<()> {
    db.progress_handler(0, None::<fn() -> bool>)
}

#[cfg(test)]
mod tests {
    use super::*;

    const ENDLESS: &str =
        "WITH RECURSIVE n(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM n) SELECT count(*) FROM n";

    fn run(budget: &Budget) -> StorageError {
        let mut db = Connection::open_in_memory().unwrap();
        budget.watch(&mut db).unwrap();
        let ended: rusqlite::Result<i64> = db.query_row(ENDLESS, [], |row| row.get(0));
        unwatch(&mut db).unwrap();
        let one: i64 = db.query_row("SELECT 1", [], |row| row.get(0)).unwrap();
        assert_eq!(one, 1, "the connection can be used by others");
        ended.unwrap_err().into()
    }

    #[test]
    fn endless_work_ends_with_its_time() {
        let budget = Budget::lasting(Duration::from_millis(50));
        assert_eq!(budget.check(), Ok(()));
        assert_eq!(run(&budget), StorageError::Interrupted);
        assert_eq!(budget.check(), Err(StorageError::Interrupted));
    }

    #[test]
    fn endless_work_ends_when_it_is_cancelled() {
        let budget = Budget::unlimited();
        assert_eq!(budget.left(), None);
        let other = budget.clone();
        let working = std::thread::spawn(move || run(&other));
        budget.cancel();
        assert_eq!(working.join().unwrap(), StorageError::Interrupted);
        assert!(budget.is_spent());
    }
}
