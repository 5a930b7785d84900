//! Turns at what holds memory for as long as a peer takes to read it, such as loading a table: so many
//! in all, and half of them for one caller, so that nobody keeps the others waiting by being slow.

use crate::rate::Who;
use dashmap::DashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Turns.
pub(crate) struct Fair {
    max: usize,
    all: Arc<Semaphore>,
    /// Only callers that have a turn, or wait for one.
    callers: DashMap<Who, Arc<Semaphore>>,
    waiting: AtomicUsize,
}

/// A turn; given back when it is dropped.
pub(crate) struct Turn {
    // In this order: a caller is forgotten once its permit is back.
    _of_all: OwnedSemaphorePermit,
    _own: OwnedSemaphorePermit,
    _seat: Seat,
}

/// A caller, for as long as it has a turn or waits for one.
struct Seat {
    fair: Arc<Fair>,
    who: Who,
    of: Option<Arc<Semaphore>>,
}

impl Drop for Seat {
    fn drop(&mut self) {
        self.of = None;
        let callers = &self.fair.callers;
        // Under the map's lock, as is the look-up in `seat`: nobody gets hold of it meanwhile.
        callers.remove_if(&self.who, |_, of| Arc::strong_count(of) == 1);
    }
}

/// One that waits, for the count.
struct Waiting<'a>(&'a AtomicUsize);

impl<'a> Waiting<'a> {
    // ORDERING: the number is for people.
    fn new(count: &'a AtomicUsize) -> Self {
        count.fetch_add(1, Ordering::Relaxed);
        Self(count)
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Fair {
    /// `max` turns at a time, at least two.
    pub(crate) fn new(max: usize) -> Arc<Self> {
        Arc::new(Self {
            max,
            all: Arc::new(Semaphore::new(max)),
            callers: DashMap::new(),
            waiting: AtomicUsize::new(0),
        })
    }

    /// Waits for a turn; first come, first served among a caller's, and then among all.
    pub(crate) async fn next(self: &Arc<Self>, who: Who) -> Turn {
        // The semaphores are never closed.
        const OPEN: &str = "a semaphore that is never closed";
        let seat = self.seat(who);
        let own = seat.of.clone().expect("it is there until it is dropped");
        let _waiting = Waiting::new(&self.waiting);
        let own = own.acquire_owned().await.expect(OPEN);
        let of_all = self.all.clone().acquire_owned().await.expect(OPEN);
        Turn {
            _of_all: of_all,
            _own: own,
            _seat: seat,
        }
    }

    fn seat(self: &Arc<Self>, who: Who) -> Seat {
        let each = (self.max / 2).max(1);
        let of = self.callers.entry(who);
        let of = of.or_insert_with(|| Arc::new(Semaphore::new(each))).clone();
        Seat {
            fair: self.clone(),
            who,
            of: Some(of),
        }
    }

    /// Turns that are taken, and those who wait for one.
    pub(crate) fn depth(&self) -> (usize, usize) {
        let taken = self.max - self.all.available_permits();
        (taken, self.waiting.load(Ordering::Relaxed))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures_util::FutureExt;

    const ONE: Who = Who::Token(1);
    const OTHER: Who = Who::Token(2);

    #[tokio::test]
    async fn one_caller_leaves_turns_for_others() {
        let fair = Fair::new(4);
        let held = [fair.next(ONE).await, fair.next(ONE).await];
        assert!(fair.next(ONE).now_or_never().is_none(), "its half is taken");
        let other = fair.next(OTHER).now_or_never().expect("there is one left");
        assert_eq!(fair.depth(), (3, 0));
        drop(held);
        assert!(fair.next(ONE).now_or_never().is_some());
        drop(other);
        assert_eq!(fair.depth(), (0, 0));
    }

    #[tokio::test]
    async fn who_gives_up_waiting_is_forgotten_and_costs_no_turn() {
        let fair = Fair::new(2);
        let held = fair.next(ONE).await;
        let mut waits = Box::pin(fair.next(ONE));
        assert!((&mut waits).now_or_never().is_none());
        assert_eq!(fair.depth(), (1, 1));
        drop(waits);
        drop(held);
        assert_eq!(fair.depth(), (0, 0));
        assert!(fair.callers.is_empty());
        assert!(fair.next(ONE).now_or_never().is_some());
    }
}
