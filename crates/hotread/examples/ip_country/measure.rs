//! Small tools: staleness, random numbers, and formatting of figures.

use std::ops;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

/// Queueing times of the last million batches.
pub struct QueuedAt {
    start: Instant,
    ns: Vec<AtomicU64>,
}

impl QueuedAt {
    pub fn new() -> Self {
        Self {
            start: Instant::now(),
            ns: (0..1 << 20).map(|_| AtomicU64::new(0)).collect(),
        }
    }

    fn now_ns(&self) -> u64 {
        self.start.elapsed().as_nanos() as u64
    }

    pub fn set(&self, batch: u64) {
        self.ns[batch as usize % self.ns.len()].store(self.now_ns(), Relaxed);
    }

    pub fn ages(&self, batches: ops::Range<u64>) -> impl Iterator<Item = Duration> {
        let now_ns = self.now_ns();
        let first = batches
            .start
            .max(batches.end.saturating_sub(self.ns.len() as u64));
        (first..batches.end).map(move |batch| {
            let then_ns = self.ns[batch as usize % self.ns.len()].load(Relaxed);
            Duration::from_nanos(now_ns.saturating_sub(then_ns))
        })
    }
}

/// SplitMix64: small, fast, and the same in every run.
pub struct Random(pub u64);

impl Random {
    pub fn below(&mut self, end: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut bits = self.0;
        bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (((bits ^ (bits >> 31)) as u128 * end as u128) >> 64) as usize
    }
}

/// Counts of durations, in steps of 6 %.
pub struct Histogram {
    counts: Vec<u64>,
    max: Duration,
}

impl Default for Histogram {
    fn default() -> Self {
        Self {
            counts: vec![0; 64 * 16],
            max: Duration::ZERO,
        }
    }
}

impl Histogram {
    pub fn record(&mut self, duration: Duration) {
        let ns = (duration.as_nanos() as u64).max(16);
        let power = ns.ilog2();
        let sixteenth = (ns >> (power - 4)) & 15;
        self.counts[power as usize * 16 + sixteenth as usize] += 1;
        self.max = self.max.max(duration);
    }

    pub fn merge(&mut self, other: &Self) {
        for (count, more) in self.counts.iter_mut().zip(&other.counts) {
            *count += more;
        }
        self.max = self.max.max(other.max);
    }

    /// The upper end of the step in which the quantile falls.
    pub fn quantile(&self, quantile: f64) -> Duration {
        let mut left = (self.counts.iter().sum::<u64>() as f64 * quantile).ceil() as u64;
        for (index, &count) in self.counts.iter().enumerate() {
            if count >= left {
                let ns = (17 + index as u64 % 16) << (index / 16).saturating_sub(4);
                return Duration::from_nanos(ns).min(self.max);
            }
            left -= count;
        }
        self.max
    }
}

pub fn duration(duration: Duration) -> String {
    let ns = duration.as_nanos() as f64;
    match ns {
        ..1e3 => format!("{ns:.0} ns"),
        1e3..1e6 => format!("{:.1} µs", ns / 1e3),
        1e6..1e9 => format!("{:.1} ms", ns / 1e6),
        _ => format!("{:.1} s", ns / 1e9),
    }
}

pub fn thousands(number: u64) -> String {
    let digits = number.to_string();
    let groups: Vec<_> = digits
        .as_bytes()
        .rchunks(3)
        .rev()
        .map(String::from_utf8_lossy)
        .collect();
    groups.join(",")
}
