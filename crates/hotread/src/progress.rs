//! Progress of the sequence of updates, and the waiters for further progress.
//!
//! Allocated separately and without the state's type, so that a future that waits for a publication
//! keeps neither the state nor its copies alive.

use std::collections::{BTreeMap, VecDeque};
use std::task::Waker;

use crossbeam_utils::CachePadded;

use crate::panics::Panics;
use crate::results::WaitError;
use crate::sync::atomic::{
    AtomicBool, AtomicU64, AtomicUsize,
    Ordering::{Acquire, Relaxed, Release, SeqCst},
    fence,
};
use crate::sync::{Mutex, holding};

/// Rejected batches whose numbers are remembered for waiters that ask later. Each is the result of
/// a panic, so a program with more of them has larger problems.
pub(crate) const MAX_REJECTED: usize = 1024;

pub(crate) struct Progress {
    line: CachePadded<Line>,
    rejected: Mutex<Rejected>,
    waiters: Mutex<Waiters>,
    closed: AtomicBool,
}

/// Fields that each publication writes, and those that it reads.
struct Line {
    /// Number of publications so far.
    generation: AtomicU64,
    /// Number of the last update that readers can see.
    published_seq: AtomicU64,
    /// Every update up to this number is visible or rejected.
    settled: AtomicU64,
    /// Updates in the log and, under the queue's lock, in the inbox.
    retained: AtomicUsize,
    /// Number of the last update that was ever rejected: later updates need no look at the list.
    last_rejected: AtomicU64,
    /// Number of entries in `waiters`.
    waiting: AtomicUsize,
    /// The thread that holds the right to apply; see `sync::holding`.
    holder: AtomicUsize,
}

#[derive(Default)]
struct Rejected {
    /// First and last number of each rejected batch, ascending.
    ranges: VecDeque<(u64, u64)>,
    /// Rejections up to this number are no longer known.
    forgotten: u64,
}

#[derive(Default)]
struct Waiters {
    next_id: u64,
    by_kind: [BTreeMap<(u64, u64), Waker>; 3],
}

/// The event that a waiter waits for; also tells its ability to lead in the meantime.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Waiting {
    /// A thread, for an update to be settled. Can lead.
    Thread = 0,
    /// A task, for an update to be settled.
    Task = 1,
    /// A task, for a generation to be published.
    Change = 2,
}

/// The key of a registered waker.
#[derive(Clone, Copy)]
pub(crate) struct WaiterKey(Waiting, (u64, u64));

impl Waiters {
    fn len(&self) -> usize {
        self.by_kind.iter().map(BTreeMap::len).sum()
    }
}

impl Progress {
    pub(crate) fn new() -> Self {
        Self {
            line: CachePadded::new(Line {
                generation: AtomicU64::new(0),
                published_seq: AtomicU64::new(0),
                settled: AtomicU64::new(0),
                retained: AtomicUsize::new(0),
                last_rejected: AtomicU64::new(0),
                waiting: AtomicUsize::new(0),
                holder: AtomicUsize::new(0),
            }),
            rejected: Mutex::default(),
            waiters: Mutex::default(),
            closed: AtomicBool::new(false),
        }
    }

    // ---- the holder of the right to apply ----

    /// Records a publication; a full fence and [`Progress::wake`] must follow.
    #[inline]
    pub(crate) fn publish(&self, generation: u64, seq: u64, settled: u64) {
        // ORDERING: release, after the pointer: a thread that sees these sees at least that copy.
        self.line.generation.store(generation, Release);
        self.line.published_seq.store(seq, Release);
        self.line.settled.store(settled, Release);
    }

    /// Records how far updates are visible or rejected, without a publication.
    pub(crate) fn settle(&self, settled: u64) {
        self.line.settled.store(settled, Release);
    }

    /// Remembers a rejected batch. Called before `settled` passes it.
    pub(crate) fn reject(&self, first: u64, last: u64) {
        let mut rejected = self.rejected.lock();
        // Not always at the end: a batch may panic at its second attempt, after a later one was
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
        let last = last.max(self.line.last_rejected.load(Relaxed));
        self.line.last_rejected.store(last, Release);
    }

    /// Records that this thread holds the right to apply.
    #[inline]
    pub(crate) fn begin_turn(&self) {
        self.line.holder.store(holding::thread(), Relaxed);
    }

    /// Clears that record, before the right is given up.
    #[inline]
    pub(crate) fn end_turn(&self) {
        self.line.holder.store(0, Relaxed);
    }

    /// Returns `true` if this thread is inside an update of this very state.
    pub(crate) fn is_applying_here(&self) -> bool {
        // ORDERING: a thread reads its own store or another thread's, which differs.
        self.line.holder.load(Relaxed) == holding::thread()
    }

    pub(crate) fn add_retained(&self, updates: usize) {
        self.set_retained(self.retained() + updates);
    }

    #[inline]
    pub(crate) fn set_retained(&self, updates: usize) {
        self.line.retained.store(updates, Release);
    }

    pub(crate) fn close(&self, panics: &mut Panics) {
        self.closed.store(true, Release);
        fence(SeqCst);
        self.wake(panics);
    }

    #[inline]
    pub(crate) fn has_waiters(&self) -> bool {
        self.line.waiting.load(Relaxed) != 0
    }

    /// Wakes the waiters whose wait is over. The caller has passed a full barrier since its stores.
    #[inline]
    pub(crate) fn wake(&self, panics: &mut Panics) {
        if self.has_waiters() {
            self.wake_waiters(panics);
        }
    }

    #[cold]
    fn wake_waiters(&self, panics: &mut Panics) {
        let everyone = self.closed.load(Acquire);
        let reached = [self.settled(), self.settled(), self.generation()];
        let mut waiters = self.waiters.lock();
        let ready: Vec<_> = (waiters.by_kind.iter_mut().zip(reached))
            .map(|(waiting, reached)| {
                let rest = match everyone {
                    true => BTreeMap::new(),
                    false => waiting.split_off(&(reached + 1, 0)),
                };
                std::mem::replace(waiting, rest)
            })
            .collect();
        self.line.waiting.store(waiters.len(), Relaxed);
        drop(waiters);
        for waker in ready.into_iter().flat_map(BTreeMap::into_values) {
            panics.run(|| waker.wake());
        }
    }

    // ---- any thread ----

    pub(crate) fn generation(&self) -> u64 {
        self.line.generation.load(Acquire)
    }

    pub(crate) fn published_seq(&self) -> u64 {
        self.line.published_seq.load(Acquire)
    }

    #[inline]
    pub(crate) fn settled(&self) -> u64 {
        self.line.settled.load(Acquire)
    }

    pub(crate) fn retained(&self) -> usize {
        self.line.retained.load(Acquire)
    }

    pub(crate) fn is_closed(&self) -> bool {
        self.closed.load(Acquire)
    }

    /// Returns `true` if this batch is visible.
    #[inline]
    pub(crate) fn visible(&self, first: u64, last: u64) -> bool {
        self.settled() >= last && self.verdict(first).is_ok()
    }

    /// Returns the outcome of a wait for `seq`, if the wait is over.
    pub(crate) fn outcome(&self, seq: u64) -> Option<Result<(), WaitError>> {
        if self.settled() >= seq {
            Some(self.verdict(seq))
        } else if self.is_closed() {
            // `settled` may have moved just before the closing.
            Some(if self.settled() >= seq {
                self.verdict(seq)
            } else {
                Err(WaitError::Closed)
            })
        } else {
            None
        }
    }

    /// Returns the outcome of an update that is settled.
    #[inline]
    fn verdict(&self, seq: u64) -> Result<(), WaitError> {
        if seq > self.line.last_rejected.load(Acquire) {
            return Ok(());
        }
        self.look_up(seq)
    }

    #[cold]
    fn look_up(&self, seq: u64) -> Result<(), WaitError> {
        let rejected = self.rejected.lock();
        // Find the first range that does not end before `seq`.
        let index = rejected.ranges.partition_point(|&(_, last)| last < seq);
        match rejected.ranges.get(index) {
            Some(&(first, _)) if first <= seq => Err(WaitError::Rejected),
            _ if seq <= rejected.forgotten && seq > 0 => Err(WaitError::Forgotten),
            _ => Ok(()),
        }
    }

    /// Registers a waker for an update or a generation; the caller must check that target again
    /// afterwards.
    pub(crate) fn register(&self, kind: Waiting, target: u64, waker: Waker) -> WaiterKey {
        let mut waiters = self.waiters.lock();
        let key = (target, waiters.next_id);
        waiters.next_id += 1;
        waiters.by_kind[kind as usize].insert(key, waker);
        self.line.waiting.store(waiters.len(), Relaxed);
        drop(waiters);
        // ORDERING: against the fence between a publication and its look at `waiting`.
        fence(SeqCst);
        WaiterKey(kind, key)
    }

    /// Removes a waker and returns it, so that it drops outside the lock.
    pub(crate) fn unregister(&self, WaiterKey(kind, key): WaiterKey) -> Option<Waker> {
        let mut waiters = self.waiters.lock();
        let waker = waiters.by_kind[kind as usize].remove(&key);
        self.line.waiting.store(waiters.len(), Relaxed);
        waker
    }

    /// Wakes one thread that waits, if there is one, so that it becomes the leader.
    pub(crate) fn wake_successor(&self) -> bool {
        let waiters = self.waiters.lock();
        let Some(waker) = waiters.by_kind[Waiting::Thread as usize].values().next() else {
            return false;
        };
        let waker = waker.clone();
        drop(waiters);
        // A thread's waker is of this crate, and only unparks it.
        waker.wake();
        true
    }
}
