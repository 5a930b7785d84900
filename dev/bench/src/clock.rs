//! Time for short intervals.
//!
//! On x86-64 this is the time stamp counter, calibrated once against [`Instant`]: reading it costs
//! about as much as a few reads of a lock-free structure, where `Instant` costs three times that.
//! Loops are timed as a whole, so there the cost of the clock does not matter; single calls are
//! timed by [`fenced`] stamps, whose own cost ([`overhead`]) is measured and subtracted.
//! Elsewhere ticks are the nanoseconds of [`Instant`].

use std::sync::OnceLock;
use std::time::{Duration, Instant};

use crate::stats::{self, Histogram};

/// A stamp in ticks, for intervals of a loop.
#[inline(always)]
pub fn now() -> u64 {
    #[cfg(target_arch = "x86_64")]
    {
        // SAFETY: `rdtsc` exists on every x86-64 processor and touches no memory.
        unsafe { core::arch::x86_64::_rdtsc() }
    }
    #[cfg(not(target_arch = "x86_64"))]
    {
        since_start()
    }
}

/// A stamp that the processor reorders with neither earlier nor later work, for intervals of a single call.
#[inline(always)]
pub fn fenced() -> u64 {
    #[cfg(target_arch = "x86_64")]
    {
        use core::arch::x86_64::{_mm_lfence, _rdtsc};
        // SAFETY: `lfence` is part of SSE2, which every x86-64 processor has, and `rdtsc` of the
        // base set; neither touches memory.
        unsafe {
            _mm_lfence();
            let stamp = _rdtsc();
            _mm_lfence();
            stamp
        }
    }
    #[cfg(not(target_arch = "x86_64"))]
    {
        since_start()
    }
}

#[cfg(not(target_arch = "x86_64"))]
fn since_start() -> u64 {
    static START: OnceLock<Instant> = OnceLock::new();
    START.get_or_init(Instant::now).elapsed().as_nanos() as u64
}

/// The core that this thread runs on at the moment, if the system reveals it.
#[inline]
pub fn core() -> Option<u64> {
    #[cfg(target_os = "linux")]
    {
        Some(rustix::thread::sched_getcpu() as u64)
    }
    #[cfg(not(target_os = "linux"))]
    {
        None
    }
}

/// Conversion of this machine's ticks to nanoseconds.
#[derive(Clone, Copy, Debug)]
pub struct Calibration {
    /// Nanoseconds per tick.
    pub ns_per_tick: f64,
    /// Ticks between two [`fenced`] stamps with nothing in between (median).
    pub overhead_ticks: u64,
    /// Mean of the same: finer than the steps in which the clock advances.
    pub mean_overhead_ticks: f64,
    /// The smallest difference between two stamps that is not zero.
    pub resolution_ticks: u64,
    /// Nanoseconds of one `Instant::now()`, for the report.
    pub instant_ns: f64,
}

/// The calibration, done at the first call (takes 40 ms).
pub fn calibration() -> Calibration {
    static CALIBRATION: OnceLock<Calibration> = OnceLock::new();
    *CALIBRATION.get_or_init(|| {
        let (start_wall, start_ticks) = both();
        std::thread::sleep(Duration::from_millis(30));
        let (end_wall, end_ticks) = both();
        let wall = end_wall - start_wall;
        let ns_per_tick = wall.as_nanos() as f64 / (end_ticks - start_ticks) as f64;

        let mut empty: Vec<u64> = (0..10_001)
            .map(|_| {
                let start = fenced();
                fenced().saturating_sub(start)
            })
            .collect();
        empty.sort_unstable();

        let mut resolution_ticks = u64::MAX;
        let mut last = now();
        for _ in 0..10_000 {
            let stamp = now();
            if stamp > last {
                resolution_ticks = resolution_ticks.min(stamp - last);
            }
            last = stamp;
        }

        let start = now();
        for _ in 0..10_000 {
            std::hint::black_box(Instant::now());
        }
        let instant_ns = (now() - start) as f64 * ns_per_tick / 10_000.0;
        Calibration {
            ns_per_tick,
            overhead_ticks: empty[empty.len() / 2],
            mean_overhead_ticks: stats::trimmed_mean(
                &empty.iter().map(|ticks| *ticks as f64).collect::<Vec<_>>(),
            ),
            resolution_ticks,
            instant_ns,
        }
    })
}

/// Reads both clocks at one moment: the closest of some tries, so that an interruption between the
/// two does not matter.
fn both() -> (Instant, u64) {
    let tries = (0..64).map(|_| {
        let before = now();
        let wall = Instant::now();
        let after = now();
        (after - before, wall, before + (after - before) / 2)
    });
    let (_, wall, ticks) = tries
        .min_by_key(|(apart, ..)| *apart)
        .expect("there are tries");
    (wall, ticks)
}

/// Ticks as nanoseconds.
pub fn ns(ticks: u64) -> f64 {
    ticks as f64 * calibration().ns_per_tick
}

/// Percentiles (0 to 100) of ticks, as nanoseconds.
pub fn ns_at<const N: usize>(ticks: &Histogram, percentiles: [f64; N]) -> [f64; N] {
    percentiles.map(|p| ticks.percentile(p) * calibration().ns_per_tick)
}

/// A duration as ticks.
pub fn ticks(duration: Duration) -> u64 {
    (duration.as_nanos() as f64 / calibration().ns_per_tick) as u64
}

/// Ticks that two [`fenced`] stamps cost by themselves.
pub fn overhead() -> u64 {
    calibration().overhead_ticks
}

/// Nanoseconds of one call, from many that were timed between [`fenced`] stamps: their trimmed
/// mean, less the stamps' own cost.
pub fn ns_of_single_calls(ticks: &[u64]) -> f64 {
    let c = calibration();
    let ticks: Vec<f64> = ticks.iter().map(|ticks| *ticks as f64).collect();
    (stats::trimmed_mean(&ticks) - c.mean_overhead_ticks) * c.ns_per_tick
}

/// Describes the clock for the report.
pub fn describe() -> String {
    let c = calibration();
    let source = if cfg!(target_arch = "x86_64") {
        "the time stamp counter, calibrated against `Instant`"
    } else {
        "`Instant`"
    };
    format!(
        "{source}; it advances in steps of {:.1} ns here. A pair of fenced stamps around a single \
         call costs {:.0} ns, which is subtracted from single calls (`Instant::now()` alone costs \
         {:.0} ns)",
        ns(c.resolution_ticks),
        c.mean_overhead_ticks * c.ns_per_tick,
        c.instant_ns
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ticks_and_nanoseconds_agree_with_the_wall_clock() {
        let (start_wall, start) = both();
        std::thread::sleep(Duration::from_millis(20));
        let (end_wall, end) = both();
        let (measured, wall) = (ns(end - start), (end_wall - start_wall).as_nanos() as f64);
        assert!(
            (measured / wall - 1.0).abs() < 0.02,
            "clock says {measured} ns, wall says {wall} ns"
        );
        let one_ms = ticks(Duration::from_millis(1));
        assert!((ns(one_ms) / 1e6 - 1.0).abs() < 1e-3);
    }

    #[test]
    #[cfg(target_os = "linux")]
    fn the_core_is_one_of_the_machine() {
        let cores = std::fs::read_to_string("/proc/cpuinfo").expect("Linux has it");
        let core = core().expect("Linux can tell");
        assert!(
            core < 8 + cores.matches("processor").count() as u64 * 2,
            "{core}"
        );
    }

    #[test]
    fn an_empty_interval_costs_what_the_calibration_says() {
        // Other programs may slow some tries down, and the calibration.
        let tries = (0..50).map(|_| {
            let mut empty: Vec<u64> = (0..1001)
                .map(|_| {
                    let start = fenced();
                    fenced() - start
                })
                .collect();
            empty.sort_unstable();
            empty[500] as f64
        });
        let least = tries.fold(f64::INFINITY, f64::min);
        let claimed = overhead() as f64;
        assert!(
            least <= claimed * 2.0 + 20.0 && claimed <= least * 20.0 + 20.0,
            "measured {least} ticks, calibration says {claimed}"
        );
    }
}
