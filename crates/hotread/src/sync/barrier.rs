//! The asymmetric barrier between letting go of a copy and going to sleep.
//!
//! A reader that lets go stores its slot and then looks for a leader; a leader installs itself and
//! then looks at the slots. Each needs a full barrier between its two steps, or each can miss the
//! other and the wake-up is lost. Leaders are rare and readers are not, so where Linux offers
//! `membarrier` the leader makes every running thread of the process execute the barrier, and the
//! reader's side is a compiler fence. See membarrier(2) and Mathieu Desnoyers' work on
//! `sys_membarrier`, which liburcu uses the same way.
//!
//! `--cfg hotread_no_membarrier` avoids the system call, for sandboxes that kill a process for it
//! rather than refuse it; both sides then pay a fence.

#[cfg(all(
    target_os = "linux",
    not(any(
        hotread_loom,
        hotread_shuttle,
        hotread_tsan,
        hotread_no_membarrier,
        miri
    ))
))]
mod imp {
    use std::sync::atomic::{
        AtomicU8,
        Ordering::{Relaxed, SeqCst},
        compiler_fence, fence,
    };

    /// Commands of membarrier(2), from the kernel's interface: not every version of `libc` has them
    /// for every target.
    const PRIVATE_EXPEDITED: libc::c_int = 1 << 3;
    const REGISTER_PRIVATE_EXPEDITED: libc::c_int = 1 << 4;

    const UNKNOWN: u8 = 0;
    const ASYMMETRIC: u8 = 1;
    const SYMMETRIC: u8 = 2;

    static MODE: AtomicU8 = AtomicU8::new(UNKNOWN);

    fn membarrier(command: libc::c_int) -> bool {
        // SAFETY: membarrier takes two integers and touches no memory of the process.
        unsafe { libc::syscall(libc::SYS_membarrier, command, 0, 0) == 0 }
    }

    /// Registers the process for `membarrier`; called before the first reader exists.
    pub(crate) fn prepare() {
        if MODE.load(Relaxed) == UNKNOWN {
            let registered = membarrier(REGISTER_PRIVATE_EXPEDITED);
            let mode = if registered { ASYMMETRIC } else { SYMMETRIC };
            // The first answer stays in effect: a reader must neither stop nor start fencing
            // because of another.
            let _ = MODE.compare_exchange(UNKNOWN, mode, Relaxed, Relaxed);
        }
    }

    /// Executes the reader's half.
    #[inline]
    pub(crate) fn light() {
        if MODE.load(Relaxed) == ASYMMETRIC {
            // The compiler must keep the order; the leader makes the processor keep it.
            compiler_fence(SeqCst);
        } else {
            fence(SeqCst);
        }
    }

    /// Executes the leader's half. `false`: the kernel refused, and the leader must poll.
    pub(crate) fn heavy() -> bool {
        fence(SeqCst);
        MODE.load(Relaxed) != ASYMMETRIC
            || membarrier(PRIVATE_EXPEDITED)
            // A checkpointed or otherwise rebuilt process may have lost its registration.
            || (membarrier(REGISTER_PRIVATE_EXPEDITED)
                && membarrier(PRIVATE_EXPEDITED))
    }
}

#[cfg(not(all(
    target_os = "linux",
    not(any(
        hotread_loom,
        hotread_shuttle,
        hotread_tsan,
        hotread_no_membarrier,
        miri
    ))
)))]
mod imp {
    use crate::sync::atomic::{Ordering::SeqCst, fence};

    pub(crate) fn prepare() {}

    #[inline]
    pub(crate) fn light() {
        fence(SeqCst);
    }

    pub(crate) fn heavy() -> bool {
        fence(SeqCst);
        true
    }
}

pub(crate) use imp::{heavy, light, prepare};

/// Executes a full fence that a compare-and-swap follows. On x86 the compare-and-swap is one
/// itself, so only the compiler has to keep the order.
#[inline]
pub(crate) fn before_rmw() {
    if cfg!(all(
        any(target_arch = "x86_64", target_arch = "x86"),
        not(any(hotread_loom, hotread_shuttle, hotread_tsan, miri))
    )) {
        std::sync::atomic::compiler_fence(std::sync::atomic::Ordering::SeqCst);
    } else {
        crate::sync::atomic::fence(crate::sync::atomic::Ordering::SeqCst);
    }
}

/// Keeps the code that follows that compare-and-swap behind it.
#[inline]
pub(crate) fn after_rmw() {
    std::sync::atomic::compiler_fence(std::sync::atomic::Ordering::SeqCst);
}
