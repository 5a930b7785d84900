//! How far the sequence of updates has come, and who waits for it to come further.
//!
//! An allocation of its own and without the state's type, so that a future that waits for a
//! publication keeps neither the state nor the core alive.

use std::collections::{BTreeMap, VecDeque};
use std::task::Waker;

use crossbeam_utils::CachePadded;

use crate::panics::Panics;
use crate::results::WaitError;
use crate::sync::Mutex;
use crate::sync::atomic::{
    AtomicBool, AtomicU64, AtomicUsize,
    Ordering::{Acquire, Relaxed, Release, SeqCst},
    fence,
};

/// Rejected batches whose numbers are remembered for those who ask later. Each stands for a
/// panic, so a program that has more of them has other worries.
const MAX_REJECTED: usize = 1024;

pub(crate) struct Progress {
    line: CachePadded<Line>,
    /// Set once anything was rejected, so that the usual question needs no lock.
    any_rejected: AtomicBool,
    rejected: Mutex<Rejected>,
    waiters: Mutex<Waiters>,
    /// Number of entries in `waiters`.
    waiting: AtomicUsize,
    closed: AtomicBool,
}

/// What each publication writes.
struct Line {
    /// The last update that readers can see.
    published_seq: AtomicU64,
    /// Every update up to here is visible or rejected.
    settled: AtomicU64,
    /// Updates in the log.
    retained: AtomicUsize,
}

#[derive(Default)]
struct Rejected {
    /// First and last number of each rejected batch, ascending.
    ranges: VecDeque<(u64, u64)>,
    /// Up to here, what was rejected is no longer known.
    forgotten: u64,
}

#[derive(Default)]
struct Waiters {
    next_id: u64,
    by_seq: BTreeMap<(u64, u64), Waker>,
}

/// The key of a registered waker.
pub(crate) type WaiterKey = (u64, u64);

impl Progress {
    pub(crate) fn new() -> Self {
        Self {
            line: CachePadded::new(Line {
                published_seq: AtomicU64::new(0),
                settled: AtomicU64::new(0),
                retained: AtomicUsize::new(0),
            }),
            any_rejected: AtomicBool::new(false),
            rejected: Mutex::default(),
            waiters: Mutex::default(),
            waiting: AtomicUsize::new(0),
            closed: AtomicBool::new(false),
        }
    }

    // ---- the holder of the right to apply ----

    #[inline]
    pub(crate) fn publish(&self, seq: u64, settled: u64) {
        // ORDERING: release, after the pointer: who sees these sees at least that copy.
        self.line.published_seq.store(seq, Release);
        self.settle(settled);
    }

    #[inline]
    pub(crate) fn settle(&self, settled: u64) {
        self.line.settled.store(settled, Release);
    }

    /// Remembers a rejected batch; before `settle` passes it.
    pub(crate) fn reject(&self, first: u64, last: u64) {
        let mut rejected = self.rejected.lock();
        // Not always the last: a batch may panic at its second attempt, after a later one was
        // rejected at the first.
        let at = rejected.ranges.partition_point(|&(_, end)| end < first);
        match at.checked_sub(1).map(|before| &mut rejected.ranges[before]) {
            Some(range) if range.1 + 1 == first => range.1 = last,
            _ => rejected.ranges.insert(at, (first, last)),
        }
        if rejected.ranges.len() > MAX_REJECTED
            && let Some((_, last)) = rejected.ranges.pop_front()
        {
            rejected.forgotten = rejected.forgotten.max(last);
        }
        drop(rejected);
        self.any_rejected.store(true, Release);
    }

    #[inline]
    pub(crate) fn set_retained(&self, updates: usize) {
        self.line.retained.store(updates, Relaxed);
    }

    pub(crate) fn close(&self, panics: &mut Panics) {
        self.closed.store(true, Release);
        fence(SeqCst);
        self.wake(panics);
    }

    /// Wakes the futures whose wait is over. The caller's full barrier is behind what it stored.
    #[inline]
    pub(crate) fn wake(&self, panics: &mut Panics) {
        if self.waiting.load(Relaxed) != 0 {
            self.wake_waiters(panics);
        }
    }

    #[cold]
    fn wake_waiters(&self, panics: &mut Panics) {
        let everybody = self.closed.load(Acquire);
        let settled = self.settled();
        let mut waiters = self.waiters.lock();
        let rest = if everybody {
            BTreeMap::new()
        } else {
            waiters.by_seq.split_off(&(settled + 1, 0))
        };
        let ready = std::mem::replace(&mut waiters.by_seq, rest);
        self.waiting.store(waiters.by_seq.len(), Relaxed);
        drop(waiters);
        for waker in ready.into_values() {
            panics.run(|| waker.wake());
        }
    }

    // ---- everybody ----

    pub(crate) fn published_seq(&self) -> u64 {
        self.line.published_seq.load(Acquire)
    }

    #[inline]
    pub(crate) fn settled(&self) -> u64 {
        self.line.settled.load(Acquire)
    }

    pub(crate) fn retained(&self) -> usize {
        self.line.retained.load(Relaxed)
    }

    /// Is this batch visible?
    #[inline]
    pub(crate) fn visible(&self, first: u64, last: u64) -> bool {
        self.settled() >= last && (!self.any_rejected.load(Acquire) || self.verdict(first).is_ok())
    }

    /// The end of a wait for `seq`, if it has come.
    pub(crate) fn outcome(&self, seq: u64) -> Option<Result<(), WaitError>> {
        if self.settled() >= seq {
            Some(self.verdict(seq))
        } else if self.closed.load(Acquire) {
            // Settled may have moved just before the closing.
            Some(if self.settled() >= seq {
                self.verdict(seq)
            } else {
                Err(WaitError::Closed)
            })
        } else {
            None
        }
    }

    /// What became of an update that is settled.
    fn verdict(&self, seq: u64) -> Result<(), WaitError> {
        let rejected = self.rejected.lock();
        // The first range that does not end before `seq`.
        let index = rejected.ranges.partition_point(|&(_, last)| last < seq);
        match rejected.ranges.get(index) {
            Some(&(first, _)) if first <= seq => Err(WaitError::Rejected),
            _ if seq <= rejected.forgotten && seq > 0 => Err(WaitError::Forgotten),
            _ => Ok(()),
        }
    }

    /// Registers a waker for `seq`; a full barrier and another look at the outcome must follow.
    pub(crate) fn register(&self, seq: u64, waker: Waker) -> WaiterKey {
        let mut waiters = self.waiters.lock();
        let key = (seq, waiters.next_id);
        waiters.next_id += 1;
        waiters.by_seq.insert(key, waker);
        self.waiting.store(waiters.by_seq.len(), Relaxed);
        drop(waiters);
        // ORDERING: against the fence between a publication and its look at `waiting`.
        fence(SeqCst);
        key
    }

    /// Takes a waker back; it is returned so that it drops outside the lock.
    pub(crate) fn unregister(&self, key: WaiterKey) -> Option<Waker> {
        let mut waiters = self.waiters.lock();
        let waker = waiters.by_seq.remove(&key);
        self.waiting.store(waiters.by_seq.len(), Relaxed);
        waker
    }

    /// Wakes every future, so that each looks again whether a maintainer is still there.
    pub(crate) fn wake_everybody(&self, panics: &mut Panics) {
        let mut waiters = self.waiters.lock();
        let everybody = std::mem::take(&mut waiters.by_seq);
        self.waiting.store(0, Relaxed);
        drop(waiters);
        for waker in everybody.into_values() {
            panics.run(|| waker.wake());
        }
    }
}
