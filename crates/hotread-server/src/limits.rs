//! Limits on the server's memory. Each limit of requests that is not an option is a constant here.

use crate::caller::Who;
use crate::error::Failure;
use dashmap::DashMap;
use hotread_proto::Code;
use hotread_proto::limits::{MAX_TXN_BYTES, MAX_VALUE_BYTES};
use hotread_store::MAX_PAGE_BYTES;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Weak};
use std::time::Duration;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Largest request line and headers of a request, in bytes: room for an escaped key of 512 bytes, and for
/// browsers' headers.
pub(crate) const MAX_HEAD_BYTES: usize = 16 << 10;
/// Buffer of a connection in each direction, in bytes. A head that does not fit is refused unread; one that
/// fits can be answered with the reason.
pub(crate) const MAX_BUFFER_BYTES: usize = 64 << 10;

/// Largest body with one value, of a record or a schema, in bytes: with white space, and the JSON around
/// the value.
pub(crate) const MAX_RECORD_BODY: usize = 2 * MAX_VALUE_BYTES + (64 << 10);
/// Largest body with a transaction, in bytes: JSON may take twice the size of its content.
pub(crate) const MAX_TXN_BODY: usize = 2 * MAX_TXN_BYTES;
/// Largest body with a token, in bytes: room for hundreds of tables.
pub(crate) const MAX_TOKEN_BODY: usize = 64 << 10;

/// Time that a body may take before the rate counts.
pub(crate) const BODY_GRACE: Duration = Duration::from_secs(10);
/// Lowest rate of a body after that, in bytes per second: below any link that a fleet runs over. Memory is
/// held in the meantime.
pub(crate) const MIN_BODY_RATE: u64 = 16 << 10;

/// Memory taken for a page before it is read, in bytes: its records, of which the last may exceed the page,
/// and their JSON in a buffer that doubles.
pub(crate) const PAGE_MEMORY: usize = 3 * (MAX_PAGE_BYTES + MAX_VALUE_BYTES);
/// Bytes of changes that end an answer; a larger change is alone in its answer.
pub(crate) const CHANGES_BYTES: usize = 2 << 20;
/// Maximum number of records of a search's answer: the best matches. They are read in one go.
pub(crate) const MAX_FOUND: usize = 100;
/// Longest query of a search, in bytes.
pub(crate) const MAX_QUERY_BYTES: usize = 1 << 10;

/// Bytes of a permit: permits are counted with 32 bits.
const UNIT: usize = 4 << 10;
/// Number of known callers above which those that hold no memory are removed.
const MANY_CALLERS: usize = 1_024;
/// Interval between checks for released memory.
const GIVE_BACK_EVERY: Duration = Duration::from_secs(5);
/// Bytes below which the allocator may keep released memory.
const WORTH_GIVING_BACK: usize = 32 << 20;

/// Memory for all requests and answers together; half of it for one caller. No caller waits for memory,
/// because a waiting caller would hold memory that others wait for.
pub(crate) struct Budgets {
    all: Arc<Semaphore>,
    /// Memory of one caller, in units.
    each: usize,
    /// Bytes that were released since memory was last returned to the system.
    released: AtomicUsize,
    callers: DashMap<Who, Weak<Semaphore>>,
}

/// Memory budget of one caller.
#[derive(Clone)]
pub(crate) struct Budget {
    own: Arc<Semaphore>,
    budgets: Arc<Budgets>,
}

fn units(bytes: usize) -> u32 {
    u32::try_from(bytes.div_ceil(UNIT)).unwrap_or(u32::MAX)
}

impl Budgets {
    pub(crate) fn new(bytes: usize) -> Arc<Self> {
        Arc::new(Self {
            all: Arc::new(Semaphore::new(units(bytes) as usize)),
            each: units(bytes / 2) as usize,
            released: AtomicUsize::new(0),
            callers: DashMap::new(),
        })
    }

    /// Returns the budget of a caller.
    pub(crate) fn of(self: &Arc<Self>, who: Who) -> Budget {
        if self.callers.len() > MANY_CALLERS {
            self.callers.retain(|_, own| own.strong_count() > 0);
        }
        let mut known = self.callers.entry(who).or_default();
        let own = known.upgrade().unwrap_or_else(|| {
            let new = Arc::new(Semaphore::new(self.each));
            *known = Arc::downgrade(&new);
            new
        });
        let budgets = self.clone();
        Budget { own, budgets }
    }

    /// Returns memory to the system after much of it was released, while this future is polled.
    pub(crate) async fn give_back(&self) {
        loop {
            tokio::time::sleep(GIVE_BACK_EVERY).await;
            // ORDERING: the count is independent.
            if self.released.load(Ordering::Relaxed) >= WORTH_GIVING_BACK {
                self.released.store(0, Ordering::Relaxed);
                // The task cannot panic; without the runtime there is no memory to return.
                let given = tokio::task::spawn_blocking(hotread::memory::give_back);
                drop(given.await);
            }
        }
    }
}

impl Budget {
    /// Takes all of `bytes`, or none of them, without waiting.
    ///
    /// # Errors
    /// `BUSY` if they are not free at the moment, and `TOO_LARGE` if they exceed the caller's share.
    pub(crate) fn take(&self, bytes: usize) -> Result<Held, Failure> {
        self.check(units(bytes) as usize)?;
        let (own, all) = self.permits(units(bytes))?;
        let budget = self.clone();
        Ok(Held { own, all, budget })
    }

    /// Checks that so large a number of units can ever be taken.
    fn check(&self, units: usize) -> Result<(), Failure> {
        if units <= self.budgets.each {
            return Ok(());
        }
        let (bytes, max) = (units.saturating_mul(UNIT), self.budgets.each * UNIT);
        let message = format!(
            "this takes {bytes} bytes in memory, and one caller may take {max}, half of the server's \
             max_buffered_bytes; ask for less or send less at once, or raise that limit"
        );
        Err(Failure::new(Code::TooLarge, message))
    }

    /// Takes units from the caller's budget and from that of all.
    fn permits(&self, units: u32) -> Result<(OwnedSemaphorePermit, OwnedSemaphorePermit), Failure> {
        let permit = |of: &Arc<Semaphore>| {
            let permit = of.clone().try_acquire_many_owned(units);
            permit.map_err(|_| {
                let message = "requests and answers take all the memory that is set aside for \
                               them; try again later";
                Failure::new(Code::Busy, message)
            })
        };
        Ok((permit(&self.own)?, permit(&self.budgets.all)?))
    }
}

/// A part of the budget, returned when it is dropped.
pub(crate) struct Held {
    own: OwnedSemaphorePermit,
    all: OwnedSemaphorePermit,
    budget: Budget,
}

impl Held {
    /// Returns the size in bytes, rounded up.
    pub(crate) fn bytes(&self) -> usize {
        self.all.num_permits() * UNIT
    }

    /// Changes the size, as if it had been taken for `bytes`.
    pub(crate) fn resize(&mut self, bytes: usize) -> Result<(), Failure> {
        let (wanted, has) = (units(bytes) as usize, self.all.num_permits());
        if wanted > has {
            self.budget.check(wanted)?;
            let (own, all) = self.budget.permits(units((wanted - has) * UNIT))?;
            self.own.merge(own);
            self.all.merge(all);
        } else {
            drop((self.own.split(has - wanted), self.all.split(has - wanted)));
            self.released(has - wanted);
        }
        Ok(())
    }

    /// Records that `units` were released.
    fn released(&self, units: usize) {
        // Small amounts are not worth a pass of the allocator.
        if units > 16 {
            let released = &self.budget.budgets.released;
            released.fetch_add(units * UNIT, Ordering::Relaxed);
        }
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.released(self.all.num_permits());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_that_is_held_is_not_given_out_twice() {
        let budgets = Budgets::new(20 * UNIT);
        let budget = budgets.of(Who::Token(1));
        let mut held = budget.take(6 * UNIT).unwrap();
        assert!(budget.take(5 * UNIT).is_err());
        let never = budget.take(11 * UNIT).err().unwrap();
        assert_eq!(never.body().code, Code::TooLarge);
        let never = held.resize(11 * UNIT).unwrap_err();
        assert_eq!(never.body().code, Code::TooLarge);
        held.resize(UNIT + 1).unwrap();
        let other = budget.take(8 * UNIT).unwrap();
        assert!(held.resize(3 * UNIT).is_err());
        drop(other);
        held.resize(10 * UNIT).unwrap();
        drop(held);
        let half = budget.take(10 * UNIT).unwrap();
        assert!(budgets.of(Who::Token(1)).take(UNIT).is_err());
        let rest = budgets.of(Who::Token(2)).take(10 * UNIT);
        assert!(rest.is_ok(), "one caller leaves half for others");
        assert!(budgets.of(Who::Token(3)).take(UNIT).is_err());
        drop((half, rest));
        assert!(budget.take(10 * UNIT).is_ok());
    }
}
