//! The recent changes of a table in memory, shared by all its subscribers. A subscriber that falls
//! behind them reads the history on disk; no subscriber has a queue of its own. The feed also answers,
//! without disk access, for the table's head, its floor and its pins.

use crate::ticket::wake;
use hotread_proto::{Change, Head};
use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::task::Waker;
use std::time::Duration;

/// Maximum number of changes that are kept in memory for a table with subscribers.
const MAX_RECENT: usize = 1_024;
/// Maximum number of bytes of keys and values in them. The latest change is kept regardless of its size.
const MAX_RECENT_BYTES: usize = 16 << 20;

pub(crate) struct Feed {
    recent: Mutex<Recent>,
    /// Signalled when a change arrives or the feed is closed.
    moved: Condvar,
}

struct Recent {
    /// The head after the last change, even if that change is not kept.
    head: Head,
    /// The first change that the history on disk keeps.
    floor: u64,
    /// The last changes without a gap, kept while there are subscribers.
    changes: VecDeque<Arc<Change>>,
    bytes: usize,
    subscribers: usize,
    /// The seat of the next subscriber.
    next_seat: u64,
    /// The wakers of waiting tasks, at most one for each subscriber.
    wakers: HashMap<u64, Waker>,
    /// The number of pins at each position.
    pins: BTreeMap<u64, usize>,
    closed: Option<Closed>,
}

/// The reason no further change will arrive.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Closed {
    /// The table was dropped, or began another epoch.
    Table,
    /// The store was closed.
    Store,
}

/// The feed's answer to a request for a change.
pub(crate) enum Taken {
    Change(Arc<Change>),
    /// The change is no longer in memory; the history may have it.
    Behind,
    /// The change does not exist yet.
    Waiting,
    /// The change will never exist.
    Closed(Closed),
}

/// The identity of a subscriber, by which its waker is kept.
pub(crate) struct Seat(u64);

impl Recent {
    fn take(&self, seq: u64) -> Taken {
        if seq > self.head.position.seq {
            return self.closed.map_or(Taken::Waiting, Taken::Closed);
        }
        let first = self.head.position.seq + 1 - self.changes.len() as u64;
        match seq.checked_sub(first) {
            Some(at) => Taken::Change(self.changes[at as usize].clone()),
            None if self.closed == Some(Closed::Table) => Taken::Closed(Closed::Table),
            None => Taken::Behind,
        }
    }
}

impl Feed {
    pub(crate) fn new(head: Head, floor: u64) -> Self {
        let recent = Recent {
            head,
            floor,
            changes: VecDeque::new(),
            bytes: 0,
            subscribers: 0,
            next_seat: 0,
            wakers: HashMap::new(),
            pins: BTreeMap::new(),
            closed: None,
        };
        Self {
            recent: Mutex::new(recent),
            moved: Condvar::new(),
        }
    }

    fn lock(&self) -> MutexGuard<'_, Recent> {
        self.recent.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds committed changes, after which the history begins at `floor`.
    pub(crate) fn push(&self, changes: &[Arc<Change>], floor: u64) {
        let Some(last) = changes.last() else { return };
        let mut recent = self.lock();
        recent.head = last.head();
        recent.floor = floor;
        if recent.subscribers == 0 {
            return;
        }
        recent.bytes += changes.iter().map(|change| change.size()).sum::<usize>();
        recent.changes.extend(changes.iter().cloned());
        while recent.changes.len() > MAX_RECENT
            || (recent.bytes > MAX_RECENT_BYTES && recent.changes.len() > 1)
        {
            let oldest = recent.changes.pop_front().expect("there are several");
            recent.bytes -= oldest.size();
        }
        self.wake_all(recent);
    }

    fn wake_all(&self, mut recent: MutexGuard<'_, Recent>) {
        let sleepers: Vec<_> = recent.wakers.drain().map(|(_, waker)| waker).collect();
        drop(recent);
        self.moved.notify_all();
        wake(sleepers);
    }

    /// Takes the change `seq`, waiting for it for at most `patience`.
    pub(crate) fn take(&self, seq: u64, patience: Duration) -> Taken {
        let recent = self.lock();
        let (recent, _) = self
            .moved
            .wait_timeout_while(recent, patience, |recent| {
                seq > recent.head.position.seq && recent.closed.is_none()
            })
            .unwrap_or_else(PoisonError::into_inner);
        recent.take(seq)
    }

    /// Takes the change `seq`; if it does not exist yet, `waker` is woken when it may.
    ///
    /// No wake-up is lost. The look-up of the change and the storing of the waker are one step under
    /// the lock. In [`push`](Self::push) and [`close`](Self::close), the event that makes a look-up
    /// succeed and the taking of the wakers are one step as well. If the look-up is first, its waker is
    /// taken, and nothing can fail before it is woken; if it is second, it succeeds.
    pub(crate) fn poll(&self, seq: u64, seat: &Seat, waker: &Waker) -> Taken {
        // Wakers are user code, which must not run under the lock: they are neither cloned nor dropped
        // there.
        let waker = waker.clone();
        let mut recent = self.lock();
        let taken = recent.take(seq);
        let old = match taken {
            Taken::Waiting => recent.wakers.insert(seat.0, waker),
            _ => recent.wakers.remove(&seat.0),
        };
        drop(recent);
        drop(old);
        taken
    }

    pub(crate) fn head(&self) -> Head {
        self.lock().head
    }

    pub(crate) fn floor(&self) -> u64 {
        self.lock().floor
    }

    /// Raises the floor without a commit.
    pub(crate) fn set_floor(&self, floor: u64) {
        self.lock().floor = floor;
    }

    /// Keeps the changes after `seq` in the history.
    pub(crate) fn pin(&self, seq: u64) {
        *self.lock().pins.entry(seq).or_default() += 1;
    }

    pub(crate) fn unpin(&self, seq: u64) {
        let mut recent = self.lock();
        if let Some(pins) = recent.pins.get_mut(&seq) {
            *pins -= 1;
            if *pins == 0 {
                recent.pins.remove(&seq);
            }
        }
    }

    /// Returns the position after which changes are wanted, by pins or by a follower that may pin them
    /// next.
    pub(crate) fn wanted_after(&self) -> u64 {
        let recent = self.lock();
        // Pins before the history want nothing more.
        let mut pins = recent.pins.range(recent.floor.saturating_sub(1)..);
        let pinned = pins.next().map(|(&seq, _)| seq);
        let is_followed = recent.subscribers > 0 || !recent.pins.is_empty();
        let unpublished = is_followed.then_some(recent.head.position.seq);
        let wanted = pinned.into_iter().chain(unpublished).min();
        wanted.unwrap_or(u64::MAX)
    }

    pub(crate) fn closed(&self) -> Option<Closed> {
        self.lock().closed
    }

    pub(crate) fn join(&self) -> Seat {
        let mut recent = self.lock();
        recent.subscribers += 1;
        recent.next_seat += 1;
        Seat(recent.next_seat)
    }

    pub(crate) fn leave(&self, seat: &Seat) {
        let mut recent = self.lock();
        recent.subscribers -= 1;
        let waker = recent.wakers.remove(&seat.0);
        if recent.subscribers == 0 {
            recent.changes = VecDeque::new();
            recent.bytes = 0;
        }
        drop(recent);
        drop(waker);
    }

    pub(crate) fn close(&self, why: Closed) {
        let mut recent = self.lock();
        recent.closed.get_or_insert(why);
        self.wake_all(recent);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use hotread_proto::{Digest, Epoch, Position, Timestamp};
    use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
    use std::task::Wake;

    fn head(seq: u64) -> Head {
        let epoch = Epoch(1);
        Head {
            position: Position { epoch, seq },
            digest: Digest::EMPTY,
            records: 0,
            at: Timestamp::EPOCH,
        }
    }

    fn change(seq: u64) -> Arc<Change> {
        let head = head(seq);
        Arc::new(Change {
            position: head.position,
            at: head.at,
            digest: head.digest,
            records: head.records,
            ops: Vec::new(),
            id: None,
            actor: None,
            note: None,
        })
    }

    #[derive(Default)]
    struct Flag(AtomicBool);

    impl Flag {
        fn is_up(&self) -> bool {
            self.0.load(Ordering::SeqCst)
        }
    }

    impl Wake for Flag {
        fn wake(self: Arc<Self>) {
            self.0.store(true, Ordering::SeqCst);
        }
    }

    fn spin_until(reached: impl Fn() -> bool) {
        for turn in 0_u64.. {
            if reached() {
                return;
            }
            // There may be a single core.
            match turn % 1_000 {
                999 => std::thread::yield_now(),
                _ => std::hint::spin_loop(),
            }
        }
    }

    /// Runs `act` on another thread while a task polls, which must find something or be woken.
    fn look_during(act: fn(&Feed)) {
        const ROUNDS: u64 = 30_000;
        let feed = Mutex::new(Arc::new(Feed::new(head(0), 1)));
        let (begun, ended) = (AtomicU64::new(0), AtomicU64::new(0));
        let (waited, lost) = std::thread::scope(|scope| {
            scope.spawn(|| {
                for round in 1..=ROUNDS {
                    spin_until(|| begun.load(Ordering::SeqCst) == round);
                    let feed = feed.lock().unwrap().clone();
                    // Vary the moment.
                    (0..round % 97).for_each(|_| std::hint::spin_loop());
                    act(&feed);
                    ended.store(round, Ordering::SeqCst);
                }
            });
            let (mut waited, mut lost) = (0, 0);
            for round in 1..=ROUNDS {
                let feed = {
                    let mut current = feed.lock().unwrap();
                    *current = Arc::new(Feed::new(head(0), 1));
                    current.clone()
                };
                let (seat, flag) = (feed.join(), Arc::<Flag>::default());
                let waker = flag.clone().into();
                begun.store(round, Ordering::SeqCst);
                (0..round % 89).for_each(|_| std::hint::spin_loop());
                let found = !matches!(feed.poll(1, &seat, &waker), Taken::Waiting);
                spin_until(|| ended.load(Ordering::SeqCst) == round);
                // Both threads are done, and so are their wake-ups.
                waited += u64::from(!found);
                lost += u64::from(!found && !flag.is_up());
                feed.leave(&seat);
            }
            (waited, lost)
        });
        assert!(waited > 0, "no task has waited");
        assert_eq!(lost, 0, "of {waited} that waited");
    }

    #[test]
    fn a_change_that_comes_while_a_task_looks_wakes_it_or_is_found() {
        look_during(|feed| feed.push(&[change(1)], 1));
    }

    #[test]
    fn a_feed_that_is_closed_while_a_task_looks_wakes_it_or_is_found_closed() {
        look_during(|feed| feed.close(Closed::Store));
    }

    #[test]
    fn one_waker_is_kept_for_each_that_waits_and_none_for_others() {
        let feed = Feed::new(head(0), 1);
        let kept = || feed.lock().wakers.len();
        let (one, other) = (feed.join(), feed.join());
        let flags = [(); 3].map(|()| Arc::<Flag>::default());
        let wakers = flags.each_ref().map(|flag| flag.clone().into());
        for waker in &wakers[..2] {
            assert!(matches!(feed.poll(1, &one, waker), Taken::Waiting));
            assert_eq!(kept(), 1);
        }
        assert!(matches!(feed.poll(1, &other, &wakers[2]), Taken::Waiting));
        assert_eq!(kept(), 2);
        feed.push(&[change(1)], 1);
        assert_eq!(kept(), 0);
        let up = flags.each_ref().map(|flag| flag.is_up());
        assert_eq!(up, [false, true, true], "the last one of each is woken");
        assert!(matches!(feed.poll(1, &one, &wakers[0]), Taken::Change(_)));
        assert!(matches!(feed.poll(2, &one, &wakers[0]), Taken::Waiting));
        feed.leave(&one);
        assert_eq!(kept(), 0);
        assert_eq!(Arc::strong_count(&flags[0]), 2, "this one and its waker");
    }

    #[test]
    fn what_pins_and_followers_want_is_what_lies_after_the_first_of_them() {
        let feed = Feed::new(head(50), 11);
        assert_eq!(feed.wanted_after(), u64::MAX);
        for (after, wanted) in [(30, 30), (20, 20), (20, 20), (60, 20)] {
            feed.pin(after);
            assert_eq!(feed.wanted_after(), wanted);
        }
        // The pinned position is before the floor, so this pin wants nothing.
        feed.pin(9);
        assert_eq!(feed.wanted_after(), 20);
        feed.pin(10);
        assert_eq!(feed.wanted_after(), 10);
        feed.set_floor(12);
        assert_eq!(feed.wanted_after(), 20);
        for (after, wanted) in [(10, 20), (20, 20), (20, 30), (9, 30)] {
            feed.unpin(after);
            assert_eq!(feed.wanted_after(), wanted);
        }
        // The next change is wanted as well, because a follower may be about to pin it.
        feed.unpin(30);
        assert_eq!(feed.wanted_after(), 50);
        feed.unpin(60);
        assert_eq!(feed.wanted_after(), u64::MAX);
        let seat = feed.join();
        assert_eq!(feed.wanted_after(), 50);
        feed.leave(&seat);
        assert_eq!(feed.wanted_after(), u64::MAX);
    }
}
