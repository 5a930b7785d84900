//! The synchronization primitives of this crate, selected in one place: std's in production, loom's
//! or shuttle's under a model, an instrumentable mutex under ThreadSanitizer.
//!
//! No other module names `std::sync::atomic`, `std::thread` or a mutex directly, so that the code
//! that is checked is the code that ships.

#[path = "sync/barrier.rs"]
pub(crate) mod barrier;

pub(crate) mod atomic {
    #[cfg(hotread_loom)]
    pub(crate) use loom::sync::atomic::{
        AtomicBool, AtomicPtr, AtomicU8, AtomicU64, AtomicUsize, Ordering, fence,
    };
    #[cfg(hotread_shuttle)]
    pub(crate) use shuttle::sync::atomic::{
        AtomicBool, AtomicPtr, AtomicU8, AtomicU64, AtomicUsize, Ordering, fence,
    };
    #[cfg(not(any(hotread_loom, hotread_shuttle)))]
    pub(crate) use std::sync::atomic::{
        AtomicBool, AtomicPtr, AtomicU8, AtomicU64, AtomicUsize, Ordering, fence,
    };
}

#[cfg(hotread_loom)]
pub(crate) use loom::sync::Arc;
#[cfg(not(hotread_loom))]
pub(crate) use std::sync::Arc;

pub(crate) mod thread {
    #[cfg(hotread_loom)]
    pub(crate) use super::loom_thread::{Builder, Thread, current, park, park_timeout};
    #[cfg(hotread_shuttle)]
    pub(crate) use shuttle::thread::{Builder, Thread, current, park, park_timeout};
    #[cfg(not(any(hotread_loom, hotread_shuttle)))]
    pub(crate) use std::thread::{Builder, Thread, current, park, park_timeout};
}

#[cfg(hotread_loom)]
#[path = "sync/loom_thread.rs"]
mod loom_thread;

/// `thread_local!` with the constant initializer that makes the access free where std allows it.
#[cfg(hotread_loom)]
macro_rules! local {
    ($(#[$attr:meta])* static $name:ident: $type:ty = $init:expr) => {
        loom::thread_local! { $(#[$attr])* static $name: $type = $init }
    };
}
#[cfg(hotread_shuttle)]
macro_rules! local {
    ($(#[$attr:meta])* static $name:ident: $type:ty = $init:expr) => {
        shuttle::thread_local! { $(#[$attr])* static $name: $type = $init }
    };
}
#[cfg(not(any(hotread_loom, hotread_shuttle)))]
macro_rules! local {
    ($(#[$attr:meta])* static $name:ident: $type:ty = $init:expr) => {
        std::thread_local! { $(#[$attr])* static $name: $type = const { $init } }
    };
}
pub(crate) use local;

/// A mutex without poisoning: no user code ever runs under one of this crate's locks, so a panic
/// cannot leave the data behind them half changed.
#[derive(Default)]
pub(crate) struct Mutex<T>(imp::Mutex<T>);

#[cfg(hotread_loom)]
mod imp {
    pub(crate) use loom::sync::{Mutex, MutexGuard};
}
#[cfg(hotread_shuttle)]
mod imp {
    pub(crate) use shuttle::sync::{Mutex, MutexGuard};
}
#[cfg(hotread_tsan)]
mod imp {
    pub(crate) use parking_lot::{Mutex, MutexGuard};
}
#[cfg(not(any(hotread_loom, hotread_shuttle, hotread_tsan)))]
mod imp {
    pub(crate) use std::sync::{Mutex, MutexGuard};
}

pub(crate) use imp::MutexGuard;

impl<T> Mutex<T> {
    pub(crate) fn new(value: T) -> Self {
        Self(imp::Mutex::new(value))
    }

    #[cfg(not(hotread_tsan))]
    pub(crate) fn lock(&self) -> MutexGuard<'_, T> {
        self.0
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    #[cfg(hotread_tsan)]
    pub(crate) fn lock(&self) -> MutexGuard<'_, T> {
        self.0.lock()
    }
}

/// An `UnsafeCell` whose accesses the models can see. loom checks their causality; under shuttle
/// they are counted, and overlapping ones fail, because the optimizer would hide a race.
pub(crate) struct UnsafeCell<T: ?Sized> {
    #[cfg(hotread_shuttle)]
    accesses: std::sync::atomic::AtomicIsize,
    #[cfg(hotread_loom)]
    inner: loom::cell::UnsafeCell<T>,
    #[cfg(not(hotread_loom))]
    inner: std::cell::UnsafeCell<T>,
}

impl<T> UnsafeCell<T> {
    pub(crate) fn new(value: T) -> Self {
        Self {
            #[cfg(hotread_shuttle)]
            accesses: std::sync::atomic::AtomicIsize::new(0),
            #[cfg(hotread_loom)]
            inner: loom::cell::UnsafeCell::new(value),
            #[cfg(not(hotread_loom))]
            inner: std::cell::UnsafeCell::new(value),
        }
    }

    /// Runs `f` on a pointer that it may only read through.
    #[cfg(any(test, hotread_loom, hotread_shuttle))]
    #[allow(dead_code, reason = "only the models read through a cell")]
    pub(crate) fn with<R>(&self, f: impl FnOnce(*const T) -> R) -> R {
        #[cfg(hotread_shuttle)]
        let _access = shuttle_access::enter(&self.accesses, false);
        #[cfg(hotread_loom)]
        return self.inner.with(f);
        #[cfg(not(hotread_loom))]
        f(self.inner.get())
    }

    /// Runs `f` on a pointer that it may write through, if no other thread uses the cell in the
    /// meantime.
    #[inline]
    pub(crate) fn with_mut<R>(&self, f: impl FnOnce(*mut T) -> R) -> R {
        #[cfg(hotread_shuttle)]
        let _access = shuttle_access::enter(&self.accesses, true);
        #[cfg(hotread_loom)]
        return self.inner.with_mut(f);
        #[cfg(not(hotread_loom))]
        f(self.inner.get())
    }
}

#[cfg(hotread_shuttle)]
mod shuttle_access {
    use std::sync::atomic::{AtomicIsize, Ordering::Relaxed};

    /// Count of readers, or -1 for a writer. shuttle runs one thread at a time, so plain relaxed
    /// counting is exact; the yields let other threads run in the middle of an access.
    pub(super) struct Access<'a>(&'a AtomicIsize, isize);

    pub(super) fn enter(count: &AtomicIsize, write: bool) -> Access<'_> {
        let now = count.load(Relaxed);
        assert!(
            now == 0 || (now > 0 && !write),
            "a copy is written while another thread uses it"
        );
        let step = if write { -1 } else { 1 };
        count.store(now + step, Relaxed);
        shuttle::thread::yield_now();
        Access(count, step)
    }

    impl Drop for Access<'_> {
        fn drop(&mut self) {
            if !std::thread::panicking() {
                shuttle::thread::yield_now();
            }
            self.0.store(self.0.load(Relaxed) - self.1, Relaxed);
        }
    }
}

/// Record of the threads that hold rights to apply, so that none waits for itself.
pub(crate) mod holding {
    use std::cell::Cell;

    local! {
        /// Number of rights to apply, of any states, that this thread holds. A count rather than a
        /// list of stack frames: coroutines may end in another order than they began.
        static HELD: Cell<usize> = Cell::new(0)
    }

    #[inline]
    pub(crate) fn enter() {
        HELD.with(|held| held.set(held.get() + 1));
    }

    #[inline]
    pub(crate) fn leave() {
        HELD.with(|held| held.set(held.get() - 1));
    }

    /// Returns `true` if this thread holds a right to apply.
    pub(crate) fn any() -> bool {
        HELD.with(|held| held.get() != 0)
    }

    /// Returns a number that no other thread has while this one lives; never 0.
    #[cfg(not(any(hotread_loom, hotread_shuttle)))]
    #[inline]
    pub(crate) fn thread() -> usize {
        HELD.with(|held| std::ptr::from_ref(held).addr())
    }

    #[cfg(any(hotread_loom, hotread_shuttle))]
    pub(crate) fn thread() -> usize {
        static NEXT: std::sync::atomic::AtomicUsize = std::sync::atomic::AtomicUsize::new(1);
        local! {
            static NUMBER: Cell<usize> = Cell::new(0)
        }
        NUMBER.with(|number| {
            if number.get() == 0 {
                number.set(NEXT.fetch_add(1, std::sync::atomic::Ordering::Relaxed));
            }
            number.get()
        })
    }
}

/// Clocks, where available: not in a model, which must be repeatable, and not in a browser.
pub(crate) mod clock {
    use std::time::Instant;

    const NONE: bool = cfg!(any(
        hotread_loom,
        hotread_shuttle,
        all(target_family = "wasm", target_os = "unknown")
    ));

    #[inline]
    pub(crate) fn now() -> Option<Instant> {
        (!NONE).then(Instant::now)
    }

    /// Returns the time, if there is enough work that taking the time costs little in comparison.
    #[inline]
    pub(crate) fn if_many(batches: u64) -> Option<Instant> {
        (batches >= 1024).then(now).flatten()
    }
}
