//! Threads that sleep until a copy comes free or something is published.
//!
//! A lock-free stack that is only ever pushed to or taken whole, so that a reader who lets go of
//! a wanted copy can wake the sleepers without a mutex, a condition variable or a `Waker`: all it
//! does is `unpark`. Taking it whole also transfers ownership, so nothing can be freed too early.

use std::ptr;
use std::sync::Arc as StdArc;

use crate::sync::atomic::{
    AtomicBool, AtomicPtr,
    Ordering::{Acquire, Relaxed, Release},
};
use crate::sync::thread;

pub(crate) struct Sleepers {
    /// Each pointer, here and in `next`, owns one reference count.
    head: AtomicPtr<Sleeper>,
}

/// One thread's entry, good for one stay; used again when a wake-up was not the awaited one.
pub(crate) struct Sleeper {
    thread: thread::Thread,
    /// In the stack, or taken from it by somebody who is about to `unpark`.
    listed: AtomicBool,
    next: AtomicPtr<Sleeper>,
}

impl Sleeper {
    pub(crate) fn new() -> StdArc<Self> {
        StdArc::new(Self {
            thread: thread::current(),
            listed: AtomicBool::new(false),
            next: AtomicPtr::new(ptr::null_mut()),
        })
    }
}

impl Sleeper {
    /// Will a wake-up come? If not, it has come, and the user code that ran since may have used up
    /// the thread's token: then it must look again rather than park.
    pub(crate) fn may_park(&self) -> bool {
        self.listed.load(Acquire)
    }
}

impl Sleepers {
    pub(crate) fn new() -> Self {
        Self {
            head: AtomicPtr::new(ptr::null_mut()),
        }
    }

    /// Is somebody there? The load that every letting go pays.
    #[inline(always)]
    pub(crate) fn any(&self) -> bool {
        !self.head.load(Acquire).is_null()
    }

    /// Announces a sleeper. A heavy barrier and a last look must follow before it parks.
    pub(crate) fn push(&self, sleeper: &StdArc<Sleeper>) {
        // Only its own thread sets the flag. If it is still set, the entry is in the stack, or
        // whoever took it has yet to unpark us: either way a wake-up will come.
        if sleeper.listed.load(Acquire) {
            return;
        }
        sleeper.listed.store(true, Relaxed);
        let entry = StdArc::into_raw(StdArc::clone(sleeper)).cast_mut();
        let mut head = self.head.load(Relaxed);
        loop {
            sleeper.next.store(head, Relaxed);
            // ORDERING: release the entry to whoever takes it.
            match self
                .head
                .compare_exchange_weak(head, entry, Release, Relaxed)
            {
                Ok(_) => return,
                Err(now) => head = now,
            }
        }
    }

    /// Wakes every sleeper; those whose wait is not over list themselves again.
    #[cold]
    #[inline(never)]
    pub(crate) fn wake(&self) {
        let mut entry = self.head.swap(ptr::null_mut(), Acquire);
        while !entry.is_null() {
            // SAFETY: the swap made this thread the only owner of the list, each entry of which
            // owns a reference count that `push` put there.
            let sleeper = unsafe { StdArc::from_raw(entry) };
            entry = sleeper.next.load(Relaxed);
            // ORDERING: release, after reading `next`: from here on its thread may list it again.
            sleeper.listed.store(false, Release);
            sleeper.thread.unpark();
        }
    }
}

impl Drop for Sleepers {
    fn drop(&mut self) {
        // Nobody sleeps on a core that is gone; entries of waits that timed out may remain.
        self.wake();
    }
}
