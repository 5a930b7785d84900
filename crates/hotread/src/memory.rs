//! Return of free memory to the system.

/// Returns memory that the allocator keeps after it was freed to the system, for a process that has
/// just dropped large data, such as a large table. glibc's allocator otherwise keeps most of it, in
/// an arena for each thread. Does nothing on other targets.
///
/// Costs a pass over the free memory, a few milliseconds for each 100 MiB, during which other
/// threads may wait to allocate.
#[doc(hidden)]
pub fn give_back() {
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    // SAFETY: it may be called at any time and by any thread; it touches free memory only.
    unsafe {
        libc::malloc_trim(0);
    }
}
