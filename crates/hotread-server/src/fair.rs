//! Permits for a scarce resource, with a share for each caller and table, so that none of them starves the
//! others.

use crate::caller::Who;
use dashmap::DashMap;
use hotread_proto::TableName;
use std::sync::Arc;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Permits with shares: a fair semaphore.
pub(crate) struct Fair {
    max: usize,
    shares: Shares,
    all: Arc<Semaphore>,
    /// Shares of which there are permits, or for which a caller waits.
    taken: DashMap<Share, Arc<Semaphore>>,
    /// Reference held by each waiting caller.
    waiting: Arc<()>,
}

/// Maximum number of permits of each share.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Shares {
    pub(crate) of_caller: usize,
    pub(crate) of_table: usize,
    /// Share of a caller for one table, which leaves it permits for other tables.
    pub(crate) of_both: usize,
}

/// Owner of a share.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
enum Share {
    Both(Who, TableName),
    Caller(Who),
    Table(TableName),
}

/// A permit, returned when it is dropped.
pub(crate) struct Turn {
    _of_all: OwnedSemaphorePermit,
    _own: Vec<Seat>,
}

/// A share, kept while there is a permit of it or a caller waits for one.
struct Seat {
    fair: Arc<Fair>,
    share: Share,
    permit: Option<OwnedSemaphorePermit>,
}

impl Drop for Seat {
    fn drop(&mut self) {
        // A share is removed once its permit is returned.
        self.permit = None;
        let taken = &self.fair.taken;
        // Under the map's lock, as the look-up in `seat`, so that no other caller can get the semaphore
        // in the meantime.
        taken.remove_if(&self.share, |_, of| Arc::strong_count(of) == 1);
    }
}

impl Fair {
    /// Creates `max` permits, of which one caller may have `of_caller`.
    pub(crate) fn new(max: usize, of_caller: usize) -> Arc<Self> {
        let (of_table, of_both) = (max, of_caller);
        Self::with_shares(
            max,
            Shares {
                of_caller,
                of_table,
                of_both,
            },
        )
    }

    /// Creates `max` permits, with shares of at least one.
    pub(crate) fn with_shares(max: usize, shares: Shares) -> Arc<Self> {
        let max = max.min(Semaphore::MAX_PERMITS);
        Arc::new(Self {
            max,
            shares,
            all: Arc::new(Semaphore::new(max)),
            taken: DashMap::new(),
            waiting: Arc::default(),
        })
    }

    /// Waits for a permit of a caller: first come, first served within each share, and then among all.
    pub(crate) async fn next(self: &Arc<Self>, who: Who, table: Option<&TableName>) -> Turn {
        // The semaphores are never closed.
        const OPEN: &str = "a semaphore that is never closed";
        let _waiting = self.waiting.clone();
        // From the narrowest on, always in this order, so that no two callers wait for each other.
        let mut own = Vec::with_capacity(3);
        for share in shares(who, table) {
            let (mut seat, of) = self.seat(share);
            seat.permit = Some(of.acquire_owned().await.expect(OPEN));
            own.push(seat);
        }
        let of_all = self.all.clone().acquire_owned().await.expect(OPEN);
        Turn {
            _of_all: of_all,
            _own: own,
        }
    }

    /// Returns a permit of a caller, if one is free.
    pub(crate) fn try_next(self: &Arc<Self>, who: Who, table: Option<&TableName>) -> Option<Turn> {
        let mut own = Vec::with_capacity(3);
        for share in shares(who, table) {
            let (mut seat, of) = self.seat(share);
            seat.permit = Some(of.try_acquire_owned().ok()?);
            own.push(seat);
        }
        let of_all = self.all.clone().try_acquire_owned().ok()?;
        Some(Turn {
            _of_all: of_all,
            _own: own,
        })
    }

    /// Returns a place for one more permit of a share, and the semaphore of the share.
    fn seat(self: &Arc<Self>, share: Share) -> (Seat, Arc<Semaphore>) {
        let max = match share {
            Share::Both(..) => self.shares.of_both,
            Share::Caller(_) => self.shares.of_caller,
            Share::Table(_) => self.shares.of_table,
        };
        let max = max.clamp(1, Semaphore::MAX_PERMITS);
        let of = self.taken.entry(share.clone());
        let of = of.or_insert_with(|| Arc::new(Semaphore::new(max))).clone();
        let fair = self.clone();
        (
            Seat {
                fair,
                share,
                permit: None,
            },
            of,
        )
    }

    /// Returns the number of permits in use, and the number of callers that wait.
    pub(crate) fn depth(&self) -> (usize, usize) {
        let taken = self.max - self.all.available_permits();
        (taken, Arc::strong_count(&self.waiting) - 1)
    }
}

/// Returns the shares that a permit is part of, the narrowest first.
fn shares(who: Who, table: Option<&TableName>) -> impl Iterator<Item = Share> {
    let both = table.map(|table| Share::Both(who, table.clone()));
    let of_table = table.map(|table| Share::Table(table.clone()));
    both.into_iter().chain([Share::Caller(who)]).chain(of_table)
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures_util::FutureExt;

    const ONE: Who = Who::Token(1);
    const OTHER: Who = Who::Token(2);

    #[tokio::test]
    async fn one_caller_leaves_turns_for_others() {
        let fair = Fair::new(3, 2);
        let held = [fair.next(ONE, None).await, fair.next(ONE, None).await];
        let third = fair.next(ONE, None).now_or_never();
        assert!(third.is_none(), "its half is taken");
        assert!(fair.try_next(ONE, None).is_none());
        let other = fair.next(OTHER, None).now_or_never();
        let other = other.expect("there is one left");
        assert!(fair.try_next(OTHER, None).is_none(), "all are taken");
        assert_eq!(fair.depth(), (3, 0));
        drop(held);
        assert!(fair.next(ONE, None).now_or_never().is_some());
        drop(other);
        assert!(fair.taken.is_empty(), "no share is kept for nothing");
    }

    #[tokio::test]
    async fn turns_are_shared_among_tables_and_among_callers() {
        let shares = Shares {
            of_caller: 3,
            of_table: 3,
            of_both: 2,
        };
        let fair = Fair::with_shares(5, shares);
        let [searched, read] = ["searched", "read"].map(|name| TableName::new(name).unwrap());
        let take = |who, table| fair.try_next(who, Some(table));
        let held = [take(ONE, &searched), take(ONE, &searched)];
        assert!(held.iter().all(Option::is_some));
        assert!(take(ONE, &searched).is_none(), "its share of this table");
        let elsewhere = take(ONE, &read);
        assert!(elsewhere.is_some(), "the same caller, another table");
        let theirs = take(OTHER, &searched);
        assert!(theirs.is_some(), "another caller, the same table");
        assert!(take(OTHER, &searched).is_none(), "the table's share");
        assert!(take(OTHER, &read).is_some());
        drop((held, elsewhere, theirs));
        assert_eq!(fair.depth(), (0, 0));
        assert!(fair.taken.is_empty());
    }

    #[tokio::test]
    async fn one_that_gives_up_leaves_nothing_behind() {
        let fair = Fair::new(2, 1);
        let turn = fair.next(ONE, None).await;
        let mut waits = Box::pin(fair.next(ONE, None));
        assert!(waits.as_mut().now_or_never().is_none());
        assert_eq!(fair.depth(), (1, 1));
        drop(waits);
        assert_eq!(fair.depth(), (1, 0));
        drop(turn);
        assert_eq!(fair.depth(), (0, 0));
        assert!(fair.taken.is_empty());
    }
}
