//! What all handles of one state share, and both sides of the protocol: how a reader takes and
//! lets go of a copy, how a writer queues, holds the right to apply, and publishes.
//!
//! The argument for every ordering here is `docs/orderings.md`.

use std::cell::Cell;
use std::collections::VecDeque;
use std::mem;
use std::ptr;
use std::ptr::NonNull;
use std::sync::Arc as StdArc;
use std::time::Instant;

use crossbeam_utils::CachePadded;

use crate::apply::{Applier, Turn};
use crate::log::{Batch, Updates};
use crate::node::Node;
use crate::panics::Panics;
use crate::pool::{Content, Pool};
use crate::progress::Progress;
use crate::registry::{Registry, Slot};
use crate::results::{BacklogFull, MaintenanceResult, QueueResult, WorkerStatus};
use crate::sleep::Sleepers;
use crate::sync::atomic::{
    AtomicPtr, AtomicU64,
    Ordering::{Acquire, Relaxed, Release, SeqCst},
    fence,
};
use crate::sync::{Arc, Mutex, MutexGuard, UnsafeCell, barrier, local, thread, unless};
use crate::{HotReadState, Settings};

/// Ids are never reused, so that a thread can keep slots by id without keeping cores alive.
static NEXT_ID: std::sync::atomic::AtomicU64 = std::sync::atomic::AtomicU64::new(1);

local! {
    /// The cores whose right to apply this thread holds, innermost first.
    static WITHIN: Cell<*const Within> = Cell::new(ptr::null())
}

/// On the stack of [`Core::hold`], linked to that of the update around it.
struct Within {
    core: *const (),
    outer: *const Within,
}

/// Bit of `Core::right`: somebody holds the right to apply.
const APPLYING: u64 = 1;
/// Bit of `Core::right`: somebody else found it held, and the holder must look again before it
/// gives the right up. Set and cleared under the queue's lock only.
const AGAIN: u64 = 2;
/// Sequence numbers have 62 bits: at a billion updates a second, they last for 146 years.
const SEQ_SHIFT: u32 = 2;

pub(crate) struct Core<T: HotReadState> {
    /// What readers look at; written once for each publication.
    pub(crate) hot: CachePadded<Hot<T>>,
    /// Stored after the pointer, off its cache line: readers of the state do not need it.
    generation: CachePadded<AtomicU64>,
    pub(crate) progress: StdArc<Progress>,
    /// The right to apply, and the last sequence number given out: [`APPLYING`], [`AGAIN`], and
    /// the number from [`SEQ_SHIFT`] up. In one word, so that an uncontended update takes the
    /// right and its numbers in one step, and gives the right up in another.
    right: CachePadded<AtomicU64>,
    pub(crate) queue: CachePadded<Mutex<Queue<T>>>,
    /// Touched only with the right to apply.
    pool: UnsafeCell<Pool<T>>,
    pub(crate) settings: Settings,
}

pub(crate) struct Hot<T> {
    /// The copy that readers get. Never null.
    published: AtomicPtr<Node<T>>,
    /// Threads that wait for a copy to come free, or for a publication.
    pub(crate) sleepers: Sleepers,
    pub(crate) registry: Arc<Registry>,
    pub(crate) id: u64,
}

/// Behind the short lock, under which no user code runs.
pub(crate) struct Queue<T: HotReadState> {
    /// Batches that no holder has taken yet. Empty unless [`AGAIN`] is set.
    inbox: VecDeque<Batch<T>>,
    inbox_updates: usize,
    /// Somebody who found the right taken called `maintain`.
    thorough: bool,
    /// The last `HotRead` was dropped.
    pub(crate) closed: bool,
    /// What that left behind was dropped.
    disposed: bool,
    /// When the publication that is now blocked was first found so.
    pub(crate) blocked_since: Option<Instant>,
    /// `Clone` panicked, and something is not visible for want of a copy.
    pub(crate) no_clone: bool,
    /// Maintainers with nothing to do; a blocked publication wakes them.
    pub(crate) idle: Vec<thread::Thread>,
    /// Maintainers running.
    pub(crate) maintainers: usize,
}

// SAFETY: `T` and its actions are Send + Sync by the trait. Copies are shared with readers of
// many threads (Sync) and written, moved and dropped by whichever holds the right (Send).
unsafe impl<T: HotReadState> Send for Core<T> {}
// SAFETY: as above; `pool` is only touched with the right to apply.
unsafe impl<T: HotReadState> Sync for Core<T> {}

impl<T: HotReadState> Core<T> {
    pub(crate) fn new(initial: T, settings: Settings) -> Arc<Self> {
        barrier::prepare();
        // Made before anything else: if it panics there is nothing to take back.
        let second = initial.clone();
        let mut pool = Pool::new(settings.max_copies);
        for value in [initial, second] {
            let index = pool.add();
            let copy = &mut pool.copies[index];
            // SAFETY: a new node, known to nobody else.
            unsafe { Node::put(copy.node, value) };
            copy.content = Content::Live;
            pool.live += 1;
        }
        pool.copies[0].free = false;
        Arc::new(Self {
            hot: CachePadded::new(Hot {
                published: AtomicPtr::new(pool.published_node().as_ptr()),
                sleepers: Sleepers::new(),
                registry: Arc::new(Registry::new()),
                id: NEXT_ID.fetch_add(1, std::sync::atomic::Ordering::Relaxed),
            }),
            generation: CachePadded::new(AtomicU64::new(0)),
            progress: StdArc::new(Progress::new()),
            right: CachePadded::new(AtomicU64::new(0)),
            queue: CachePadded::new(Mutex::new(Queue {
                inbox: VecDeque::new(),
                inbox_updates: 0,
                thorough: false,
                closed: false,
                disposed: false,
                blocked_since: None,
                no_clone: false,
                idle: Vec::new(),
                maintainers: 0,
            })),
            pool: UnsafeCell::new(pool),
            settings,
        })
    }

    // ---- readers ----

    /// Is `held` the published copy? The hot path: one relaxed load, one compare.
    #[inline(always)]
    pub(crate) fn is_published(&self, held: *mut Node<T>) -> bool {
        // ORDERING: relaxed suffices. If the pointer is the one held, the reader acquired that
        // copy when it took it; the copy cannot have been rewritten and published again since,
        // because this reader's slot named it all the while.
        ptr::eq(self.hot.published.load(Relaxed), held)
    }

    /// Takes the published copy for the owner of `slot`, which held `old` (null: nothing).
    #[cold]
    #[inline(never)]
    pub(crate) fn move_forward(&self, slot: &Slot, old: *mut Node<T>) -> NonNull<Node<T>> {
        let (node, rounds) = self.take(slot);
        // What was let go of, the old copy or one named in passing, may be the one somebody
        // sleeps for. ORDERING: the fence in `take` stands between the slot and this load.
        if (rounds > 1 || !old.is_null()) && self.hot.sleepers.any() {
            self.hot.sleepers.wake();
        }
        node
    }

    /// Names the published copy in `slot` and validates it. Returns it, and how many rounds that
    /// took; lock-free, since another round means that somebody published meanwhile.
    #[inline]
    pub(crate) fn take(&self, slot: &Slot) -> (NonNull<Node<T>>, u32) {
        let mut candidate = self.hot.published.load(Relaxed);
        let mut rounds = 0;
        loop {
            rounds += 1;
            // ORDERING: release, because it also lets go of the copy named before: a writer that
            // reads this has all our reads of that one behind it.
            slot.held.store(
                candidate.cast(),
                unless(cfg!(hotread_fault = "relaxed_slot"), Release),
            );
            if !cfg!(hotread_fault = "no_reader_fence") {
                // ORDERING: against the fence in `publish`. Either our slot is seen by the scans
                // after that publication, or we see the new pointer and go round again.
                fence(SeqCst);
            }
            // ORDERING: acquire the contents of the copy that this pointer publishes.
            let now = self
                .hot
                .published
                .load(unless(cfg!(hotread_fault = "relaxed_validation"), Acquire));
            if now == candidate || cfg!(hotread_fault = "no_validation") {
                // SAFETY: `published` is never null.
                return (unsafe { NonNull::new_unchecked(candidate) }, rounds);
            }
            candidate = now;
        }
    }

    /// Lets go of `held` on behalf of the owner of `slot`.
    #[inline]
    pub(crate) fn let_go(&self, slot: &Slot, held: *mut Node<T>) {
        // ORDERING: release: our reads of the copy come before whatever a scan allows.
        slot.held.store(
            ptr::null_mut(),
            unless(cfg!(hotread_fault = "relaxed_slot"), Release),
        );
        barrier::light();
        // While `held` is published nobody waits for it. The load in `is_published` is recent
        // enough to tell: the barrier of a sleeper whom we must wake comes after the fence of the
        // publication it waits behind, and before our barrier.
        if self.hot.sleepers.any() && !self.is_published(held) {
            self.hot.sleepers.wake();
        }
    }

    // ---- writers ----

    /// Queues one batch, and applies it if nobody else is applying.
    #[inline]
    pub(crate) fn queue(&self, updates: Updates<T>) -> QueueResult {
        // Never refused: there are fewer sequence numbers than that.
        self.submit(updates, u64::MAX).unwrap_or_default()
    }

    /// As [`Core::queue`], unless more than `max_pending` updates would not be visible.
    pub(crate) fn try_queue(
        &self,
        updates: Vec<T::Action>,
    ) -> Result<QueueResult, BacklogFull<T::Action>> {
        let Some(max_pending) = self.settings.max_pending else {
            return Ok(self.queue(Updates::Many(updates)));
        };
        let refused = match self.submit(Updates::Many(updates), max_pending as u64) {
            Ok(result) => return Ok(result),
            Err(refused) => refused,
        };
        let maintained = self.maintain();
        match self.submit(refused.updates, max_pending as u64) {
            Ok(mut result) => {
                result.applied_updates += maintained.applied_updates;
                Ok(result)
            }
            Err(refused) => Err(BacklogFull {
                updates: refused.updates.into_vec(),
                pending: refused.pending as usize,
                max_pending,
            }),
        }
    }

    #[inline]
    fn submit(&self, updates: Updates<T>, max_pending: u64) -> Result<QueueResult, Refused<T>> {
        let len = updates.len();
        let (latest, queue) = match self.take_right(len as u64, max_pending) {
            Ok(taken) => taken,
            Err(pending) => return Err(Refused { updates, pending }),
        };
        let first = latest + 1;
        let mut result = QueueResult {
            first_seq: first,
            last_seq: latest + len as u64,
            queued_updates: len,
            ..QueueResult::default()
        };
        if let Some(mut queue) = queue {
            let batch = Batch { first, updates };
            if cfg!(hotread_fault = "reorder") {
                queue.inbox.push_front(batch);
            } else {
                queue.inbox.push_back(batch);
            }
            queue.inbox_updates += len;
            drop(queue);
            result.published = self.progress.visible(first, result.last_seq);
        } else {
            let turn = self.hold(true, |applier| {
                // Made where it stays: moving it around would cost as much as all of this.
                applier.take(Batch { first, updates });
                applier.advance(false);
            });
            result.applied_updates = turn.applied;
            result.published = self.progress.visible(first, result.last_seq);
            result.blocked_by_workers = turn.blocked && !result.published;
            turn.panics.resume();
        }
        Ok(result)
    }

    pub(crate) fn maintain(&self) -> MaintenanceResult {
        if let Ok((_, Some(mut queue))) = self.take_right(0, u64::MAX) {
            queue.thorough = true;
            return MaintenanceResult {
                busy: true,
                ..MaintenanceResult::default()
            };
        }
        let turn = self.hold(false, |applier| applier.advance(true));
        let result = MaintenanceResult {
            applied_updates: turn.applied,
            pruned_updates: turn.pruned,
            published: turn.published,
            blocked_by_workers: turn.blocked,
            busy: false,
        };
        turn.panics.resume();
        result
    }

    /// The last `HotRead` is gone: one last attempt, then what is still blocked is dropped.
    pub(crate) fn close(&self) {
        self.queue.lock().closed = true;
        // If somebody holds the right, it is this thread, inside an update; the holder will see
        // to it, since it looks again.
        if let Ok((_, None)) = self.take_right(0, u64::MAX) {
            let turn = self.hold(false, |applier| applier.advance(true));
            turn.panics.resume();
        }
    }

    /// Takes the right to apply or, if somebody holds it, makes them look again; in either case
    /// gives out the next `len` sequence numbers. Returns the last number before those and, if
    /// the right was held, the queue, locked, to leave there what the holder shall find.
    ///
    /// `Err`: more than `max_pending` updates would not be visible; so many are not now.
    #[inline]
    fn take_right(
        &self,
        len: u64,
        max_pending: u64,
    ) -> Result<(u64, Option<QueueGuard<'_, T>>), u64> {
        let mut queue = None;
        let mut right = self.right.load(Relaxed);
        loop {
            let latest = right >> SEQ_SHIFT;
            if max_pending < u64::MAX {
                // What was settled since `right` was loaded may be more than that knows of.
                let pending = latest.saturating_sub(self.progress.settled());
                if pending.saturating_add(len) > max_pending {
                    return Err(pending);
                }
            }
            let held = right & APPLYING != 0;
            if held && queue.is_none() {
                queue = Some(self.queue.lock());
                right = self.right.load(Relaxed);
                continue;
            }
            let again = held && !cfg!(hotread_fault = "no_again");
            let next =
                (latest + len) << SEQ_SHIFT | APPLYING | if again { AGAIN } else { right & AGAIN };
            // ORDERING: acquire what the previous holder did to the pool.
            match self
                .right
                .compare_exchange_weak(right, next, Acquire, Relaxed)
            {
                Ok(_) => return Ok((latest, queue.filter(|_| held))),
                Err(now) => right = now,
            }
        }
    }

    /// Applies until nobody has asked for more; the caller has just taken the right.
    ///
    /// `work` is what it came for. `quick`: if that is all, nobody needs to be told anything.
    ///
    /// Does not unwind: panics of user code are in the turn it returns.
    #[inline]
    fn hold(&self, quick: bool, work: impl FnOnce(&mut Applier<'_, T>)) -> Turn {
        let here = Within {
            core: ptr::from_ref(self).cast(),
            outer: WITHIN.with(Cell::get),
        };
        WITHIN.with(|within| within.set(&here));
        let mut turn = Turn::default();
        self.with_pool(&mut turn, work);
        let quick = quick && !(turn.blocked || turn.no_clone || turn.was_noted);
        if !quick || !self.give_up_right() {
            self.hold_on(&mut turn);
        }
        WITHIN.with(|within| within.set(here.outer));
        turn
    }

    /// Gives the right up if nobody has asked for more.
    #[inline]
    fn give_up_right(&self) -> bool {
        let mut right = self.right.load(Relaxed);
        while right & AGAIN == 0 {
            // ORDERING: release what we did to the pool to the next holder.
            match self
                .right
                .compare_exchange_weak(right, right & !APPLYING, Release, Relaxed)
            {
                Ok(_) => return true,
                Err(now) => right = now,
            }
        }
        false
    }

    /// The rest of a turn in which there is more to do: others' batches, a blocked publication
    /// to be noted, the end.
    #[cold]
    #[inline(never)]
    fn hold_on(&self, turn: &mut Turn) {
        let mut intake = VecDeque::new();
        let idle = loop {
            let mut queue = self.queue.lock();
            // ORDERING: nobody else changes these bits while we hold the right and the lock.
            if self.right.fetch_and(!AGAIN, Relaxed) & AGAIN != 0 {
                mem::swap(&mut queue.inbox, &mut intake);
                queue.inbox_updates = 0;
                let thorough = mem::take(&mut queue.thorough);
                drop(queue);
                self.with_pool(turn, |applier| {
                    for batch in intake.drain(..) {
                        applier.take(batch);
                    }
                    applier.advance(thorough);
                });
                continue;
            }
            if queue.closed && !mem::replace(&mut queue.disposed, true) {
                drop(queue);
                self.with_pool(turn, |applier| applier.close());
                continue;
            }
            if !turn.blocked {
                queue.blocked_since = None;
            } else if queue.blocked_since.is_none() || turn.published {
                queue.blocked_since = Some(Instant::now());
            }
            queue.no_clone = turn.no_clone;
            self.with_pool(turn, |applier| applier.note());
            let idle = if turn.blocked || turn.no_clone || queue.closed {
                mem::take(&mut queue.idle)
            } else {
                Vec::new()
            };
            // ORDERING: as in `give_up_right`; under the lock, so that nobody has set `AGAIN`.
            self.right.fetch_and(!APPLYING, Release);
            drop(queue);
            if turn.no_clone {
                // Who left his wish with us must not sleep on: nobody will let go for him.
                self.wake_sleepers();
            }
            break idle;
        };
        for maintainer in idle {
            maintainer.unpark();
        }
    }

    #[inline]
    fn with_pool(&self, turn: &mut Turn, work: impl FnOnce(&mut Applier<'_, T>)) {
        self.pool.with_mut(|pool| {
            work(&mut Applier {
                core: self,
                // SAFETY: we hold the right to apply, so nobody else touches the pool; the lock
                // under which it was given up before orders that holder's writes before ours.
                pool: unsafe { &mut *pool },
                turn,
            });
        });
    }

    /// Makes `node` what readers get, and wakes whoever waited for `settled` or less.
    #[inline]
    pub(crate) fn publish(
        &self,
        node: NonNull<Node<T>>,
        generation: u64,
        seq: u64,
        settled: u64,
        panics: &mut Panics,
    ) {
        // SAFETY: the pool's nodes are alive.
        unsafe { Node::set_generation(node, generation) };
        if cfg!(hotread_fault = "generation_first") {
            self.generation.store(generation, Release);
        }
        // ORDERING: releases the contents of the copy, and all before them.
        self.hot.published.store(
            node.as_ptr(),
            unless(cfg!(hotread_fault = "relaxed_publish"), Release),
        );
        // ORDERING: release, after the pointer: who sees the number sees at least that copy.
        self.generation.store(generation, Release);
        self.progress.publish(seq, settled);
        if !cfg!(hotread_fault = "no_writer_fence") {
            // ORDERING: against the fence in `take`, and, for the sleepers below, against the
            // barrier of somebody who announces himself and then looks at what is settled.
            fence(SeqCst);
        }
        self.wake_sleepers();
        self.progress.wake(panics);
    }

    /// Says how far updates are visible or rejected, without a publication.
    pub(crate) fn settle(&self, settled: u64, panics: &mut Panics) {
        self.progress.settle(settled);
        fence(SeqCst);
        self.wake_sleepers();
        self.progress.wake(panics);
    }

    #[inline]
    pub(crate) fn wake_sleepers(&self) {
        if self.hot.sleepers.any() {
            self.hot.sleepers.wake();
        }
    }

    /// Is this thread inside an update of this very state?
    pub(crate) fn is_applying_here(&self) -> bool {
        let mut next = WITHIN.with(Cell::get);
        // SAFETY: each is on the stack of a `hold` further out on this thread, which has not
        // returned, and takes itself off the list when it does.
        while let Some(within) = unsafe { next.as_ref() } {
            if within.core == ptr::from_ref(self).cast() {
                return true;
            }
            next = within.outer;
        }
        false
    }

    // ---- observers ----

    /// Does somebody hold the right to apply? Under the queue's lock, a "no" stands until the
    /// next who takes it, and a holder that ends blocked has yet to take the lock after a "yes".
    pub(crate) fn is_applying(&self) -> bool {
        self.right.load(Relaxed) & APPLYING != 0
    }

    pub(crate) fn generation(&self) -> u64 {
        self.generation.load(Acquire)
    }

    pub(crate) fn latest_seq(&self) -> u64 {
        self.right.load(Acquire) >> SEQ_SHIFT
    }

    pub(crate) fn queued_update_count(&self) -> usize {
        let inbox = self.queue.lock().inbox_updates;
        inbox + self.progress.retained()
    }

    pub(crate) fn workers(&self) -> Vec<WorkerStatus> {
        let blocked_since = self.queue.lock().blocked_since;
        self.hot
            .registry
            .workers()
            .into_iter()
            .map(|(name, held)| {
                let held = NonNull::new(held.cast::<Node<T>>());
                let outdated = held.is_some_and(|held| !self.is_published(held.as_ptr()));
                let blocking_for = blocked_since
                    .filter(|_| outdated)
                    .map(|since| since.elapsed());
                WorkerStatus {
                    name,
                    // SAFETY: nodes live as long as the core; this reads the atomic beside the
                    // value, not the value, which only the slot's owner may.
                    generation: held.map(|held| unsafe { Node::generation(held) }),
                    blocking: blocking_for.is_some(),
                    blocking_for,
                }
            })
            .collect()
    }
}

impl<T: HotReadState> Drop for Core<T> {
    /// Runs on the thread of whoever was last, reader or writer.
    fn drop(&mut self) {
        self.hot.registry.close();
        let mut panics = Panics::default();
        self.pool.with_mut(|pool| {
            // SAFETY: nobody else is left.
            let pool = unsafe { &mut *pool };
            for copy in pool.copies.drain(..) {
                if copy.content != Content::Empty {
                    // SAFETY: it has a value, and no reader is left.
                    panics.run(|| unsafe { Node::clear(copy.node) });
                }
                // SAFETY: allocated by the pool, which has just let go of it.
                unsafe { Node::free(copy.node) };
            }
        });
        panics.resume();
    }
}

type QueueGuard<'a, T> = MutexGuard<'a, Queue<T>>;

struct Refused<T: HotReadState> {
    updates: Updates<T>,
    pending: u64,
}
