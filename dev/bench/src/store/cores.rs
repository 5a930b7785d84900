//! Which core a thread runs on, for the one figure that compares two threads on two cores.

/// The cores that this process may use.
#[cfg(target_os = "linux")]
pub(super) fn allowed() -> Vec<usize> {
    // SAFETY: the set is plain memory, for which zeroes are valid.
    let mut set: libc::cpu_set_t = unsafe { std::mem::zeroed() };
    // SAFETY: the set is as large as is said, and lives through the call; 0 is this thread.
    let failed = unsafe { libc::sched_getaffinity(0, size_of::<libc::cpu_set_t>(), &mut set) } != 0;
    if failed {
        return Vec::new();
    }
    (0..libc::CPU_SETSIZE as usize)
        // SAFETY: the index is within the set.
        .filter(|core| unsafe { libc::CPU_ISSET(*core, &set) })
        .collect()
}

/// Keeps this thread, and those that it starts from now on, on one core.
#[cfg(target_os = "linux")]
pub(super) fn pin(core: usize) {
    // SAFETY: as in `allowed`.
    let mut set: libc::cpu_set_t = unsafe { std::mem::zeroed() };
    // SAFETY: `allowed` names only cores within the set.
    unsafe { libc::CPU_SET(core, &mut set) };
    // SAFETY: as in `allowed`. If it fails, the thread runs where the system likes.
    unsafe { libc::sched_setaffinity(0, size_of::<libc::cpu_set_t>(), &set) };
}

/// No cores are known elsewhere, so no thread is pinned.
#[cfg(not(target_os = "linux"))]
pub(super) fn allowed() -> Vec<usize> {
    Vec::new()
}

/// Does nothing.
#[cfg(not(target_os = "linux"))]
pub(super) fn pin(_core: usize) {}
