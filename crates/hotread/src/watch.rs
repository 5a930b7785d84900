//! The leader: the one waiter that readers wake when they let go of an outdated copy.
//!
//! However many threads and tasks wait for a publication, at most one of them watches the slots;
//! the others wait for the publication itself (`progress`). A reader that lets go of an outdated
//! copy loads one pointer. Only if a leader is installed does the reader look for another holder of
//! that copy, and only the last reader to let go wakes the leader.

use std::ptr;
use std::sync::Arc as StdArc;
use std::task::Waker;
use std::time::Duration;

use crossbeam_utils::CachePadded;

use crate::panics::Panics;
use crate::registry::{Registry, Slot};
use crate::sync::atomic::{
    AtomicBool, AtomicPtr,
    Ordering::{AcqRel, Acquire, Relaxed, Release},
};
use crate::sync::thread;

/// Longest sleep of a waiter that may not be woken, because the kernel refused the barrier or
/// `Clone` panicked. The waiter then looks for itself.
pub(crate) const POLL: Duration = Duration::from_millis(1);

pub(crate) struct Watch {
    /// Null while no leader watches. The pointer owns a reference count.
    leader: AtomicPtr<Leader>,
    /// A slot that held the copy last let go of: the first place to look for another holder. On a
    /// cache line of its own: some readers write it, while all others read the line of `leader`.
    hint: CachePadded<AtomicPtr<Slot>>,
}

/// A thread or a task that can lead repeatedly.
pub(crate) struct Leader {
    notify: Notify,
    /// Set while the entry is installed and no reader has taken it.
    armed: AtomicBool,
}

enum Notify {
    Thread(thread::Thread),
    Task(Waker),
}

impl Leader {
    /// Creates an entry for the calling thread.
    pub(crate) fn thread() -> StdArc<Self> {
        Self::new(Notify::Thread(thread::current()))
    }

    pub(crate) fn task(waker: Waker) -> StdArc<Self> {
        Self::new(Notify::Task(waker))
    }

    fn new(notify: Notify) -> StdArc<Self> {
        StdArc::new(Self {
            notify,
            armed: AtomicBool::new(false),
        })
    }

    /// Returns `true` if a wake-up is still to come. Otherwise it has happened, and user code that
    /// ran since may have used up the thread's token: then the thread must look again rather than
    /// park.
    pub(crate) fn is_armed(&self) -> bool {
        self.armed.load(Acquire)
    }

    /// Wakes the leader. For a thread, this costs a store and perhaps a system call. A task's waker
    /// is user code, whose panic must not reach an unrelated reader.
    fn wake(&self) {
        self.armed.store(false, Release);
        match &self.notify {
            Notify::Thread(thread) => thread.unpark(),
            Notify::Task(waker) => {
                Panics::default().run(|| waker.wake_by_ref());
            }
        }
    }
}

impl Watch {
    pub(crate) fn new() -> Self {
        Self {
            leader: AtomicPtr::new(ptr::null_mut()),
            hint: CachePadded::new(AtomicPtr::new(ptr::null_mut())),
        }
    }

    /// Returns `true` if there is a leader. Every reader that lets go pays this load.
    #[inline(always)]
    pub(crate) fn is_led(&self) -> bool {
        !self.leader.load(Acquire).is_null()
    }

    /// Installs `leader` if there is none, and returns `true` if it leads. A heavy barrier and a
    /// last look at the slots must follow before it sleeps.
    pub(crate) fn lead(&self, leader: &StdArc<Leader>) -> bool {
        let ours = StdArc::as_ptr(leader).cast_mut();
        // Set even if it leads already: the reader that took it before may have cleared it only
        // since.
        leader.armed.store(true, Relaxed);
        if ptr::eq(self.leader.load(Acquire), ours) {
            return true;
        }
        let owned = StdArc::into_raw(StdArc::clone(leader)).cast_mut();
        // ORDERING: release the entry to the reader that takes it.
        let installed = self
            .leader
            .compare_exchange(ptr::null_mut(), owned, AcqRel, Relaxed)
            .is_ok();
        if !installed {
            leader.armed.store(false, Relaxed);
            // SAFETY: made by `into_raw` above and not handed over.
            drop(unsafe { StdArc::from_raw(owned) });
        }
        installed
    }

    /// Ends the lead of `leader`, unless a reader has done so.
    pub(crate) fn resign(&self, leader: &StdArc<Leader>) {
        let ours = StdArc::as_ptr(leader).cast_mut();
        if self
            .leader
            .compare_exchange(ours, ptr::null_mut(), AcqRel, Relaxed)
            .is_ok()
        {
            leader.armed.store(false, Relaxed);
            // SAFETY: the exchange took the count that `lead` stored.
            drop(unsafe { StdArc::from_raw(ours) });
        }
    }

    /// Takes the leader, if there is one, and wakes it.
    #[cold]
    pub(crate) fn wake(&self) {
        let leader = self.leader.swap(ptr::null_mut(), AcqRel);
        if !leader.is_null() {
            // SAFETY: the swap took the count that `lead` stored.
            let leader = unsafe { StdArc::from_raw(leader) };
            leader.wake();
            // A task's waker is user code, and so is dropping it.
            Panics::default().run(|| drop(leader));
        }
    }

    /// Returns `true` if another reader holds `copy`. The caller has let go of the copy and passed
    /// a full fence since.
    ///
    /// `number` differs for each publication.
    pub(crate) fn is_held_elsewhere(
        &self,
        registry: &Registry,
        copy: *mut (),
        number: u64,
    ) -> bool {
        let hint = self.hint.load(Acquire);
        // SAFETY: slots live as long as the registry, which outlives `self`.
        if unsafe { hint.as_ref() }.is_some_and(|slot| slot.held.load(Acquire) == copy) {
            return true;
        }
        // Draw one holder at random: then it is rarely the next to let go, and among n readers
        // about log n have to scan the slots, in any order.
        let seed = number.wrapping_mul(0x9E37_79B9_7F4A_7C15);
        match registry.draw_holder(copy, seed) {
            Some(slot) => {
                self.hint.store(slot.as_ptr(), Release);
                true
            }
            None => false,
        }
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.wake();
    }
}
