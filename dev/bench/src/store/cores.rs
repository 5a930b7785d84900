//! Which core a thread runs on, for the one figure that compares two threads on two cores.

#[cfg(target_os = "linux")]
use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};

/// The cores that this process may use; none where that cannot be told, and no thread is pinned.
pub(super) fn allowed() -> Vec<usize> {
    #[cfg(target_os = "linux")]
    if let Ok(set) = sched_getaffinity(None) {
        return (0..CpuSet::MAX_CPU)
            .filter(|core| set.is_set(*core))
            .collect();
    }
    Vec::new()
}

/// Keeps this thread, and those that it starts from now on, on one core.
pub(super) fn pin(core: usize) {
    #[cfg(target_os = "linux")]
    {
        let mut set = CpuSet::new();
        set.set(core);
        // If it fails, the thread runs where the system likes.
        let _ = sched_setaffinity(None, &set);
    }
    #[cfg(not(target_os = "linux"))]
    let _ = core;
}
