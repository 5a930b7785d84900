//! Stamps: when each update was written and acknowledged, when each watcher had it, and what
//! follows from the two.

use std::io::{self, Write};
use std::sync::atomic::{AtomicU64, Ordering};

use super::clock;
use crate::process::Role;
use crate::stats;

/// When one watcher had each update. Sampling takes one store.
pub(super) struct Seen(Box<[AtomicU64]>);

impl Seen {
    /// Room for so many updates.
    pub(super) fn new(updates: usize) -> Self {
        Self((0..updates).map(|_| AtomicU64::new(0)).collect())
    }

    /// Update `number` is there now. Only the first time counts; numbers beyond the room do not.
    #[inline]
    pub(super) fn stamp(&self, number: u64) {
        if let Some(stamp) = self.0.get(number as usize)
            && stamp.load(Ordering::Relaxed) == 0
        {
            stamp.store(clock::now(), Ordering::Relaxed);
        }
    }

    /// Whether the first `updates` have all been seen.
    pub(super) fn has_all(&self, updates: usize) -> bool {
        let mut stamps = self.0[..updates].iter();
        stamps.all(|stamp| stamp.load(Ordering::Relaxed) != 0)
    }

    /// Writes the first `updates` stamps, little endian.
    pub(super) fn write(&self, updates: usize, out: &mut impl Write) -> io::Result<()> {
        for stamp in &self.0[..updates] {
            out.write_all(&stamp.load(Ordering::Relaxed).to_le_bytes())?;
        }
        Ok(())
    }
}

/// The stamps of one watcher as its process reported them; `None` for what it never saw.
pub(super) fn receive(child: &mut Role, updates: usize) -> Vec<Option<u64>> {
    let mut bytes = vec![0; updates * size_of::<u64>()];
    child.read(&mut bytes);
    let (stamps, rest) = bytes.as_chunks();
    assert!(rest.is_empty());
    let stamps = stamps.iter().map(|bytes| u64::from_le_bytes(*bytes));
    stamps.map(|stamp| (stamp != 0).then_some(stamp)).collect()
}

/// One update as its writer saw it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Written {
    /// Just before the call.
    pub(super) called: u64,
    /// When the call had answered.
    pub(super) acknowledged: u64,
}

/// How long updates took to all watchers.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Propagation {
    /// From before the write call, in nanoseconds.
    pub(super) from_call: Spread,
    /// From its answer. Negative where the watcher had the value before the writer had its answer.
    pub(super) from_answer: Spread,
    /// How many updates watchers never had.
    pub(super) missing: usize,
}

/// Percentiles, in nanoseconds.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Spread {
    pub(super) p50: f64,
    pub(super) p99: f64,
    pub(super) p999: f64,
    pub(super) max: f64,
}

impl Spread {
    /// Of samples in any order; `NaN` for none.
    pub(super) fn of(samples: &[f64]) -> Self {
        let mut sorted = samples.to_vec();
        sorted.sort_unstable_by(f64::total_cmp);
        let [p50, p99, p999, max] =
            [50.0, 99.0, 99.9, 100.0].map(|p| stats::percentile_of_sorted(&sorted, p));
        Self {
            p50,
            p99,
            p999,
            max,
        }
    }

    /// In the order of the tables' columns.
    pub(super) fn columns(self) -> [f64; 4] {
        [self.p50, self.p99, self.p999, self.max]
    }
}

impl Propagation {
    /// Of so many updates, the first `warm_up` of which do not count, to all watchers.
    pub(super) fn of(written: &[Written], seen: &[Vec<Option<u64>>], warm_up: usize) -> Self {
        let (mut from_call, mut from_answer, mut missing) = (Vec::new(), Vec::new(), 0);
        for watcher in seen {
            let pairs = written.iter().zip(watcher).skip(warm_up);
            for (written, seen) in pairs {
                let Some(seen) = seen else {
                    missing += 1;
                    continue;
                };
                let after = |stamp: u64| seen.cast_signed() - stamp.cast_signed();
                from_call.push(after(written.called) as f64);
                from_answer.push(after(written.acknowledged) as f64);
            }
        }
        Self {
            from_call: Spread::of(&from_call),
            from_answer: Spread::of(&from_answer),
            missing,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(called: u64) -> Written {
        Written {
            called,
            acknowledged: called + 50,
        }
    }

    #[test]
    fn the_first_stamp_counts_and_no_number_is_too_large() {
        let seen = Seen::new(2);
        seen.stamp(0);
        let first = seen.0[0].load(Ordering::Relaxed);
        seen.stamp(0);
        seen.stamp(7);
        assert_eq!(seen.0[0].load(Ordering::Relaxed), first);
        assert!(seen.has_all(1) && !seen.has_all(2));
        let mut bytes = Vec::new();
        seen.write(2, &mut bytes).expect("memory takes everything");
        assert_eq!(bytes[..8], first.to_le_bytes());
        assert_eq!(bytes[8..], [0; 8]);
    }

    #[test]
    fn a_value_may_arrive_before_its_writer_has_the_answer() {
        let written = [written(1_000), written(2_000), written(3_000)];
        let seen = [
            vec![Some(9_999), Some(2_040), Some(3_040)],
            vec![Some(9_999), Some(2_060), None],
        ];
        let found = Propagation::of(&written, &seen, 1);
        assert_eq!(found.missing, 1);
        assert_eq!(found.from_call.p50, 40.0);
        assert_eq!(found.from_call.max, 60.0);
        assert_eq!(found.from_answer.p50, -10.0);
    }

    #[test]
    fn nothing_seen_is_no_number() {
        let found = Propagation::of(&[written(1)], &[vec![None]], 0);
        assert!(found.from_call.p50.is_nan() && found.missing == 1);
    }
}
