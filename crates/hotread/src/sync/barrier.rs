//! The asymmetric barrier between letting go of a copy and going to sleep.
//!
//! A reader that lets go stores its slot and then looks for sleepers; a sleeper announces itself
//! and then looks at the slots. Each needs a full barrier between its two steps, or both can
//! miss the other and the wake-up is lost. Sleepers are rare and readers are not, so where Linux
//! offers `membarrier` the sleeper makes every running thread of the process execute the
//! barrier, and the reader's side costs nothing. See membarrier(2) and Mathieu Desnoyers'
//! work on `sys_membarrier`, which liburcu uses the same way.

#[cfg(all(target_os = "linux", not(any(loom, shuttle, miri, hotread_tsan))))]
mod imp {
    use std::sync::atomic::{
        AtomicU8,
        Ordering::{Relaxed, SeqCst},
        compiler_fence, fence,
    };

    const UNKNOWN: u8 = 0;
    const ASYMMETRIC: u8 = 1;
    const SYMMETRIC: u8 = 2;

    static MODE: AtomicU8 = AtomicU8::new(UNKNOWN);

    fn membarrier(command: libc::c_int) -> bool {
        // SAFETY: membarrier takes two integers and touches no memory of ours.
        unsafe { libc::syscall(libc::SYS_membarrier, command, 0, 0) == 0 }
    }

    /// Registers the process for `membarrier`; called before the first reader exists.
    pub(crate) fn prepare() {
        if MODE.load(Relaxed) == UNKNOWN {
            let registered = membarrier(libc::MEMBARRIER_CMD_REGISTER_PRIVATE_EXPEDITED);
            let mode = if registered { ASYMMETRIC } else { SYMMETRIC };
            // The first answer stands: a reader must not stop fencing, nor start, for another.
            let _ = MODE.compare_exchange(UNKNOWN, mode, Relaxed, Relaxed);
        }
    }

    /// The reader's half.
    #[inline]
    pub(crate) fn light() {
        if MODE.load(Relaxed) == ASYMMETRIC {
            // The compiler must keep the order; the sleeper makes the processor keep it.
            compiler_fence(SeqCst);
        } else {
            fence(SeqCst);
        }
    }

    /// The sleeper's half. `false`: the kernel refused, and the sleeper must poll.
    pub(crate) fn heavy() -> bool {
        fence(SeqCst);
        MODE.load(Relaxed) != ASYMMETRIC
            || membarrier(libc::MEMBARRIER_CMD_PRIVATE_EXPEDITED)
            // A checkpointed or otherwise rebuilt process may have lost its registration.
            || (membarrier(libc::MEMBARRIER_CMD_REGISTER_PRIVATE_EXPEDITED)
                && membarrier(libc::MEMBARRIER_CMD_PRIVATE_EXPEDITED))
    }
}

#[cfg(not(all(target_os = "linux", not(any(loom, shuttle, miri, hotread_tsan)))))]
mod imp {
    use crate::sync::atomic::{Ordering::SeqCst, fence};

    pub(crate) fn prepare() {}

    #[inline]
    pub(crate) fn light() {
        if !cfg!(hotread_fault = "no_barrier_letting_go") {
            fence(SeqCst);
        }
    }

    pub(crate) fn heavy() -> bool {
        fence(SeqCst);
        true
    }
}

pub(crate) use imp::{heavy, light, prepare};
