//! A counting allocator, for the figures that report memory.
//!
//! The allocator forwards to the system's. It counts only while a [`Count`] exists; otherwise it costs
//! one load of a flag that never changes and a predicted branch, for every peer alike. Each thread
//! sums its own allocations and reports them in steps of [`STEP_BYTES`], so
//! that counting does not make threads share one more cache line.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// Bytes that a thread allocates or frees before it reports them: the precision of the numbers,
/// for each thread that allocates.
pub const STEP_BYTES: i64 = 4096;

static COUNTING: AtomicBool = AtomicBool::new(false);
static LIVE_BYTES: AtomicI64 = AtomicI64::new(0);
static PEAK_BYTES: AtomicI64 = AtomicI64::new(0);

thread_local! {
    /// Bytes of this thread that [`LIVE_BYTES`] lacks.
    static OWN_BYTES: Cell<i64> = const { Cell::new(0) };
}

/// The allocator; a bench target installs it with `#[global_allocator]`.
pub struct Counting;

/// A period in which allocations are counted, from zero; ends when it is dropped.
pub struct Count {
    /// Permits one count at a time.
    _only: MutexGuard<'static, ()>,
}

static ONLY: Mutex<()> = Mutex::new(());

impl Count {
    /// Begins to count; waits for the end of another count.
    pub fn start() -> Self {
        let only = ONLY.lock().unwrap_or_else(PoisonError::into_inner);
        OWN_BYTES.set(0);
        LIVE_BYTES.store(0, Ordering::Relaxed);
        PEAK_BYTES.store(0, Ordering::Relaxed);
        COUNTING.store(true, Ordering::Relaxed);
        Self { _only: only }
    }

    /// Bytes allocated minus bytes freed since the start.
    pub fn live_bytes(&self) -> i64 {
        LIVE_BYTES.load(Ordering::Relaxed)
    }

    /// Maximum of [`Count::live_bytes`] since the start. While an allocation replaces a
    /// smaller one, only the larger one counts.
    pub fn peak_bytes(&self) -> i64 {
        PEAK_BYTES.load(Ordering::Relaxed)
    }
}

impl Drop for Count {
    fn drop(&mut self) {
        COUNTING.store(false, Ordering::Relaxed);
    }
}

#[inline]
fn changed(bytes: i64) {
    if COUNTING.load(Ordering::Relaxed) {
        let own = OWN_BYTES.get() + bytes;
        if own.abs() < STEP_BYTES {
            OWN_BYTES.set(own);
        } else {
            OWN_BYTES.set(0);
            let live = LIVE_BYTES.fetch_add(own, Ordering::Relaxed) + own;
            PEAK_BYTES.fetch_max(live, Ordering::Relaxed);
        }
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
    fn live_bytes_are_counted_while_there_is_a_count() {
        let layout = Layout::from_size_align(4096, 8).expect("a valid layout");
        let count = Count::start();
        // SAFETY: the layout is not empty; the pointer is freed below with the same layout.
        let pointer = unsafe { Counting.alloc(layout) };
        assert!(!pointer.is_null());
        assert_eq!(count.live_bytes(), 4096);
        // SAFETY: allocated above with this layout, freed once.
        unsafe { Counting.dealloc(pointer, layout) };
        assert_eq!(count.live_bytes(), 0);
        assert_eq!(count.peak_bytes(), 4096);
        for _ in 0..STEP_BYTES {
            changed(3);
        }
        assert!(count.live_bytes() > 2 * STEP_BYTES, "small amounts add up");
        drop(count);
        changed(9_999);
        let next = Count::start();
        assert_eq!((next.live_bytes(), next.peak_bytes()), (0, 0));
    }
}
