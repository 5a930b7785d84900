//! The data that all handles of one state share, and the readers' side of the protocol: how a
//! reader takes a copy and lets go of it. The writers' side is in `combiner`.
//!
//! The argument for every ordering is in `docs/orderings.md`.

use std::ptr;
use std::ptr::NonNull;
use std::sync::Arc as StdArc;

use crossbeam_utils::CachePadded;

use crate::HotReadState;
use crate::copies::Copies;
use crate::node::Node;
use crate::panics::Panics;
use crate::progress::Progress;
use crate::queue::Queue;
use crate::registry::{Registry, Slot};
use crate::results::WorkerStatus;
use crate::settings::Settings;
use crate::sync::atomic::{
    AtomicPtr, AtomicU64,
    Ordering::{Acquire, Relaxed, Release, SeqCst},
    fence,
};
use crate::sync::{Arc, Mutex, UnsafeCell, barrier};
use crate::tending::Tending;
use crate::watch::Watch;

/// Next id of a state. Ids are never reused, so that a thread can keep slots by id without keeping
/// states alive.
static NEXT_ID: std::sync::atomic::AtomicU64 = std::sync::atomic::AtomicU64::new(1);

pub(crate) struct Shared<T: HotReadState> {
    /// Fields that readers load; written once for each publication.
    pub(crate) hot: CachePadded<Hot<T>>,
    pub(crate) progress: StdArc<Progress>,
    /// The right to apply; see `combiner`.
    pub(crate) right: CachePadded<AtomicU64>,
    pub(crate) queue: CachePadded<Mutex<Queue<T>>>,
    /// Touched only by the holder of the right to apply.
    pub(crate) copies: UnsafeCell<Copies<T>>,
    /// Maintainer of the publications that no caller completes.
    pub(crate) tending: StdArc<Tending>,
    /// Number of panics of user code that were caught.
    pub(crate) panics: AtomicU64,
    pub(crate) settings: Settings,
}

pub(crate) struct Hot<T> {
    /// The copy that readers get. Never null.
    published: AtomicPtr<Node<T>>,
    pub(crate) watch: Watch,
    pub(crate) registry: StdArc<Registry>,
    pub(crate) id: u64,
}

// SAFETY: `T` and its actions are Send + Sync by the trait. Copies are shared with readers on many
// threads (Sync) and written, moved and dropped by the thread that holds the right (Send).
unsafe impl<T: HotReadState> Send for Shared<T> {}
// SAFETY: as above; `copies` is only touched with the right to apply.
unsafe impl<T: HotReadState> Sync for Shared<T> {}

impl<T: HotReadState> Shared<T> {
    pub(crate) fn new(initial: Box<T>, settings: Settings) -> Arc<Self> {
        barrier::prepare();
        let mut copies = Copies::new(settings.max_copies);
        let second = copies.add();
        // Cloned before anything else is made: a panic then leaves only a node to free.
        let mut panics = Panics::default();
        let made = panics.attempt(|| {
            // SAFETY: a new node, known to no other thread.
            unsafe { Node::fill(copies.all[second].node, || T::clone(&initial)) }
        });
        if let Err(payload) = made {
            // SAFETY: allocated by `add`, and still without a value.
            unsafe { Node::free(copies.all[second].node) };
            std::panic::resume_unwind(payload);
        }
        copies.revive(second, 0, 0);
        let first = copies.add();
        // SAFETY: a new node, known to no other thread.
        unsafe { Node::fill_boxed(copies.all[first].node, initial) };
        copies.revive(first, 0, 0);
        copies.all[first].free = false;
        copies.published = first;
        Arc::new(Self {
            hot: CachePadded::new(Hot {
                published: AtomicPtr::new(copies.published_node().as_ptr()),
                watch: Watch::new(),
                registry: Registry::new(),
                id: NEXT_ID.fetch_add(1, std::sync::atomic::Ordering::Relaxed),
            }),
            progress: StdArc::new(Progress::new()),
            right: CachePadded::new(AtomicU64::new(0)),
            queue: CachePadded::new(Mutex::new(Queue::new())),
            copies: UnsafeCell::new(copies),
            tending: StdArc::new(Tending::new(settings.limits.tick)),
            panics: AtomicU64::new(0),
            settings,
        })
    }

    /// Returns `true` if `held` is the published copy. The hot path: one relaxed load, one compare.
    #[inline(always)]
    pub(crate) fn is_published(&self, held: *mut Node<T>) -> bool {
        // ORDERING: relaxed suffices. If the pointer is the one held, the reader acquired that copy
        // when it took it. The copy cannot have been rewritten and published again since, because
        // this reader's slot has named it since then.
        ptr::eq(self.hot.published.load(Relaxed), held)
    }

    /// Takes the published copy for the owner of `slot`, which held `old` (null: no copy).
    ///
    /// All arguments are passed by value, so that the compiler may keep a handle's fields in
    /// registers.
    #[cold]
    #[inline(never)]
    pub(crate) fn move_forward(&self, slot: &Slot, old: *mut Node<T>) -> *mut Node<T> {
        let (node, passed) = self.take(slot);
        // ORDERING: the fences in `take` lie between the slot's store and this load.
        if self.hot.watch.is_led() {
            self.release_watched(old);
            self.release_watched(passed);
        }
        node.as_ptr()
    }

    /// Names the published copy in `slot` and validates it. Returns that copy, and another one that
    /// was named in passing, if any. Lock-free: another round means that there was a publication
    /// in the meantime.
    #[inline]
    pub(crate) fn take(&self, slot: &Slot) -> (NonNull<Node<T>>, *mut Node<T>) {
        let mut passed = ptr::null_mut();
        let mut candidate = self.hot.published.load(Relaxed);
        loop {
            // ORDERING: release, because the store also lets go of the copy named before: a writer
            // that reads it has all our reads of that copy behind it.
            slot.held.store(candidate.cast(), Release);
            // ORDERING: against the fence after a publication. Either the scans after that fence
            // see our slot, or we see the new pointer and take another round.
            fence(SeqCst);
            // ORDERING: acquire the contents of the copy that this pointer publishes.
            let now = self.hot.published.load(Acquire);
            if now == candidate {
                // SAFETY: `published` is never null.
                return (unsafe { NonNull::new_unchecked(candidate) }, passed);
            }
            self.pass(passed);
            passed = candidate;
            candidate = now;
        }
    }

    /// Reports a copy that was named in passing to the leader, before the slot names another one.
    #[inline]
    pub(crate) fn pass(&self, passed: *mut Node<T>) {
        if self.hot.watch.is_led() {
            self.release_watched(passed);
        }
    }

    /// Lets go of `held` for the owner of `slot`.
    #[inline]
    pub(crate) fn let_go(&self, slot: &Slot, held: *mut Node<T>) {
        // ORDERING: release: our reads of the copy come before any write that a scan permits.
        slot.held.store(ptr::null_mut(), Release);
        barrier::light();
        // ORDERING: the barrier lies between the slot's store and this load, against the heavy
        // barrier of a leader between its installation and its last look at the slots.
        if self.hot.watch.is_led() {
            // ORDERING: of the readers that held the copy, the one whose fence comes last sees that
            // all others have let go.
            fence(SeqCst);
            self.release_watched(held);
        }
    }

    /// Wakes the leader if `copy` is outdated and no other reader holds it. This reader has let go
    /// of the copy and passed a full fence since.
    #[cold]
    #[inline(never)]
    fn release_watched(&self, copy: *mut Node<T>) {
        if copy.is_null() || self.is_published(copy) {
            return;
        }
        // SAFETY: nodes live as long as the shared state. A generation that the copy got in the
        // meantime serves as well.
        let generation = unsafe { Node::generation(NonNull::new_unchecked(copy)) };
        let watch = &self.hot.watch;
        if !watch.is_held_elsewhere(&self.hot.registry, copy.cast(), generation) {
            watch.wake();
        }
    }

    pub(crate) fn wake_leader(&self) {
        if self.hot.watch.is_led() {
            self.hot.watch.wake();
        }
    }

    // ---- publishing, with the right to apply ----

    /// Publishes `node`. A full fence must follow before the next scan, and [`Progress::wake`]
    /// after that.
    #[inline]
    pub(crate) fn publish(&self, node: NonNull<Node<T>>, generation: u64, seq: u64, settled: u64) {
        // SAFETY: the nodes are alive.
        unsafe { Node::set_generation(node, generation) };
        // SAFETY: as above.
        unsafe { Node::set_seq(node, seq) };
        // ORDERING: releases the contents of the copy, and all before them.
        self.hot.published.store(node.as_ptr(), Release);
        self.progress.publish(generation, seq, settled);
    }

    /// Passes the fence that follows a publication, and wakes the waiters concerned.
    #[inline]
    pub(crate) fn announce(&self, panics: &mut Panics) {
        // ORDERING: against the fence in `take`, and against the barrier of a waiter that registers
        // and then loads `settled`.
        fence(SeqCst);
        self.progress.wake(panics);
    }

    // ---- observers ----

    pub(crate) fn queued_update_count(&self) -> usize {
        let queue = self.queue.lock();
        queue.inbox_updates() + self.progress.retained()
    }

    /// Returns `true` if a handle holds a copy that is not the published one.
    pub(crate) fn has_outdated_readers(&self) -> bool {
        let mut outdated = false;
        self.hot.registry.scan(|slot| {
            let held = slot.held.load(Acquire);
            outdated = !held.is_null() && !self.is_published(held.cast());
            !outdated
        });
        outdated
    }

    pub(crate) fn workers(&self) -> Vec<WorkerStatus> {
        let blocked_for = self.queue.lock().blocked_for();
        let workers = self.hot.registry.workers().into_iter();
        workers
            .map(|(name, held)| {
                let held = NonNull::new(held.cast::<Node<T>>());
                let outdated = held.is_some_and(|held| !self.is_published(held.as_ptr()));
                let blocking_for = blocked_for.filter(|_| outdated);
                WorkerStatus {
                    name,
                    // SAFETY: nodes live as long as the shared state. This reads the atomic next to
                    // the value; the value itself is only for the slot's owner.
                    generation: held.map(|held| unsafe { Node::generation(held) }),
                    blocking: blocking_for.is_some(),
                    blocking_for,
                }
            })
            .collect()
    }
}

impl<T: HotReadState> Drop for Shared<T> {
    /// Runs on the thread of the last owner, reader or writer.
    fn drop(&mut self) {
        self.hot.registry.close();
        let mut first = None;
        let mut panics = Panics::default();
        self.copies.with_mut(|copies| {
            // SAFETY: no other thread is left.
            let copies = unsafe { &mut *copies };
            while let Some(batch) = copies.log.pop_front() {
                batch.updates.discard(&mut panics);
            }
            for copy in copies.all.drain(..) {
                if copy.content != crate::copies::Content::Empty {
                    // SAFETY: it has a value, and no reader is left.
                    let cleared = panics.attempt(|| unsafe { Node::clear(copy.node) });
                    first = first.take().or(cleared.err());
                }
                // SAFETY: allocated by the copies, which no longer refer to it.
                unsafe { Node::free(copy.node) };
            }
        });
        if let Some(payload) = first {
            crate::panics::resume(payload);
        }
    }
}
