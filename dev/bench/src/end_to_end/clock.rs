//! The clock that all processes of a measurement share.

/// Nanoseconds on the system's monotonic clock: stamps of different processes can be compared.
#[inline]
pub(super) fn now() -> u64 {
    let mut time = libc::timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    // SAFETY: the call writes to `time`, which lives through it, and to nothing else. It cannot
    // fail: Linux has this clock always.
    unsafe { libc::clock_gettime(libc::CLOCK_MONOTONIC, &mut time) };
    time.tv_sec.cast_unsigned() * 1_000_000_000 + time.tv_nsec.cast_unsigned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_goes_forward_and_counts_nanoseconds() {
        // The wall's clock is read before and after.
        let wall = std::time::Instant::now();
        let start = now();
        std::thread::sleep(std::time::Duration::from_millis(5));
        let passed = now() - start;
        let wall = wall.elapsed().as_nanos() as u64;
        assert!((5_000_000..=wall).contains(&passed), "{passed} of {wall}");
    }
}
