//! Memory that is free, given back to the system.

/// Gives the system back what the allocator keeps of freed memory: for a process that has just let go of
/// much, such as a large table. glibc's allocator keeps most of it otherwise, in an arena for each thread.
/// Elsewhere it does nothing.
///
/// Costs a pass over the free memory, some milliseconds for each 100 MiB, during which other threads may
/// wait to allocate.
#[doc(hidden)]
pub fn give_back() {
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    // SAFETY: it may be called at any time and by any thread; it touches free memory only.
    unsafe {
        libc::malloc_trim(0);
    }
}
