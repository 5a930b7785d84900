//! A counting allocator, for the figure that reports memory.
//!
//! It forwards to the system's allocator. It counts only while [`count`] is on; otherwise it costs
//! one load of a flag that never changes and a predicted branch, for every peer alike.

use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};

static COUNTING: AtomicBool = AtomicBool::new(false);
static LIVE_BYTES: AtomicI64 = AtomicI64::new(0);

/// The allocator; a bench target installs it with `#[global_allocator]`.
pub struct Counting;

/// Starts (from zero) or stops counting.
pub fn count(on: bool) {
    LIVE_BYTES.store(0, Ordering::Relaxed);
    COUNTING.store(on, Ordering::Relaxed);
}

/// Bytes allocated minus bytes freed since [`count`] was turned on.
pub fn live_bytes() -> i64 {
    LIVE_BYTES.load(Ordering::Relaxed)
}

#[inline]
fn changed(bytes: i64) {
    if COUNTING.load(Ordering::Relaxed) {
        LIVE_BYTES.fetch_add(bytes, Ordering::Relaxed);
    }
}

// SAFETY: every call is forwarded unchanged to `System`, which upholds the contract; counting
// neither allocates nor unwinds.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        changed(layout.size() as i64);
        // SAFETY: the caller's promises are those that `System` asks for.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        changed(-(layout.size() as i64));
        // SAFETY: as above; `pointer` came from `System` with this layout.
        unsafe { System.dealloc(pointer, layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        changed(layout.size() as i64);
        // SAFETY: as above.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, new_size: usize) -> *mut u8 {
        changed(new_size as i64 - layout.size() as i64);
        // SAFETY: as above.
        unsafe { System.realloc(pointer, layout, new_size) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_live_bytes_only_while_on() {
        let layout = Layout::from_size_align(4096, 8).expect("a valid layout");
        count(true);
        // SAFETY: the layout is not empty; the pointer is freed below with the same layout.
        let pointer = unsafe { Counting.alloc(layout) };
        assert!(!pointer.is_null());
        assert_eq!(live_bytes(), 4096);
        // SAFETY: allocated above with this layout, freed once.
        unsafe { Counting.dealloc(pointer, layout) };
        assert_eq!(live_bytes(), 0);
        count(false);
        changed(99);
        assert_eq!(live_bytes(), 0);
    }
}
