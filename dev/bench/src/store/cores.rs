//! Pins threads to cores, for the one figure that compares two threads on two cores.

#[cfg(target_os = "linux")]
use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};

/// The cores that this process may use; none where the system does not reveal them, and then no thread is pinned.
pub(super) fn allowed() -> Vec<usize> {
    #[cfg(target_os = "linux")]
    if let Ok(set) = sched_getaffinity(None) {
        return (0..CpuSet::MAX_CPU)
            .filter(|core| set.is_set(*core))
            .collect();
    }
    Vec::new()
}

/// Pins this thread, and those that it starts from now on, to one core.
pub(super) fn pin(core: usize) {
    #[cfg(target_os = "linux")]
    {
        let mut set = CpuSet::new();
        set.set(core);
        // If this fails, the system chooses the core.
        let _ = sched_setaffinity(None, &set);
    }
    #[cfg(not(target_os = "linux"))]
    let _ = core;
}
