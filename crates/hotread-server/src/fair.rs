//! Turns at what is scarce, in shares, so that no caller and no table keeps the others waiting.

use crate::caller::Who;
use dashmap::DashMap;
use hotread_proto::TableName;
use std::sync::Arc;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Turns.
pub(crate) struct Fair {
    max: usize,
    shares: Shares,
    all: Arc<Semaphore>,
    /// Only those of which there are turns, or which are waited for.
    taken: DashMap<Share, Arc<Semaphore>>,
    /// Held by those who wait.
    waiting: Arc<()>,
}

/// How many turns there are at most of each kind.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Shares {
    pub(crate) of_caller: usize,
    pub(crate) of_table: usize,
    /// Of a caller for one table: what leaves it some for other tables.
    pub(crate) of_both: usize,
}

/// What has a share.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
enum Share {
    Both(Who, TableName),
    Caller(Who),
    Table(TableName),
}

/// A turn; given back when it is dropped.
pub(crate) struct Turn {
    _of_all: OwnedSemaphorePermit,
    _own: Vec<Seat>,
}

/// A share, for as long as there is a turn of it or a caller waits for one.
struct Seat {
    fair: Arc<Fair>,
    share: Share,
    permit: Option<OwnedSemaphorePermit>,
}

impl Drop for Seat {
    fn drop(&mut self) {
        // A share is forgotten once its permit is back.
        self.permit = None;
        let taken = &self.fair.taken;
        // Under the map's lock, as is the look-up in `seat`: nobody gets hold of it meanwhile.
        taken.remove_if(&self.share, |_, of| Arc::strong_count(of) == 1);
    }
}

impl Fair {
    /// `max` turns at a time, and `of_caller` of them for one caller.
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

    /// `max` turns at a time, in shares of at least one.
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

    /// Waits for a turn of a caller: first come, first served within each share, and then among all.
    pub(crate) async fn next(self: &Arc<Self>, who: Who, table: Option<&TableName>) -> Turn {
        // The semaphores are never closed.
        const OPEN: &str = "a semaphore that is never closed";
        let _waiting = self.waiting.clone();
        // From the narrowest on, always in this order, so that no two wait for each other.
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

    /// A turn of a caller, if there is one at this moment.
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

    /// A place for one more turn of a share, and the permits of the share.
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

    /// Turns that are taken, and those who wait for one.
    pub(crate) fn depth(&self) -> (usize, usize) {
        let taken = self.max - self.all.available_permits();
        (taken, Arc::strong_count(&self.waiting) - 1)
    }
}

/// The shares of which a turn takes part, the narrowest first.
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
