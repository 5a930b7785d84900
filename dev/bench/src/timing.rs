//! Timed loops.

use std::sync::atomic::{AtomicBool, Ordering};

use crate::clock;
use crate::stats;

/// Median nanoseconds of one of `calls` calls, over `samples` runs of a loop of them, after one
/// run that does not count.
pub(crate) fn ns_per_call(samples: usize, calls: usize, mut calls_loop: impl FnMut()) -> f64 {
    calls_loop();
    let per_call: Vec<f64> = (0..samples)
        .map(|_| {
            let start = clock::now();
            calls_loop();
            clock::ns(clock::now() - start) / calls as f64
        })
        .collect();
    stats::median(&per_call)
}

/// Sets a flag when dropped, so that a panic also stops a paced writer.
pub(crate) struct StopOnDrop<'a>(pub(crate) &'a AtomicBool);

impl Drop for StopOnDrop<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}
