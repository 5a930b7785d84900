//! One clock for all processes of the demo: `CLOCK_MONOTONIC` counts from the same moment in each.

use rustix::time::{ClockId, clock_gettime};
use std::time::Duration;

/// Nanoseconds since some moment that all processes of this machine share.
pub(super) fn now() -> u64 {
    let time = clock_gettime(ClockId::Monotonic);
    // It counts from the machine's start: neither is negative, and 64 bits last for 584 years.
    let (seconds, nanos) = (time.tv_sec.unsigned_abs(), time.tv_nsec.unsigned_abs());
    seconds * 1_000_000_000 + nanos
}

/// From one moment to another; nothing if the other was first.
pub(super) fn between(from: u64, to: u64) -> Duration {
    Duration::from_nanos(to.saturating_sub(from))
}

/// How long ago a moment was.
pub(super) fn since(then: u64) -> Duration {
    between(then, now())
}
