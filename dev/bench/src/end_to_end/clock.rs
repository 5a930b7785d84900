//! The clock that all processes of a measurement share.

use rustix::time::{ClockId, clock_gettime};

/// Nanoseconds on the system's monotonic clock: stamps of different processes can be compared.
#[inline]
pub(super) fn now() -> u64 {
    let time = clock_gettime(ClockId::Monotonic);
    time.tv_sec.cast_unsigned() * 1_000_000_000 + time.tv_nsec.cast_unsigned()
}
