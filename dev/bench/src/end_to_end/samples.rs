//! Stamps: the times at which each update was written and acknowledged and each watcher had it, and the
//! resulting durations.

use std::io::{self, Write};
use std::sync::atomic::{AtomicU64, Ordering};

use super::clock;
use crate::process::Role;
use crate::stats::percentiles;

/// The times at which one watcher had each update. Sampling takes one store.
pub(super) struct Seen(Box<[AtomicU64]>);

impl Seen {
    /// Room for a number of updates.
    pub(super) fn new(updates: usize) -> Self {
        Self((0..updates).map(|_| AtomicU64::new(0)).collect())
    }

    /// Stamps the arrival of update `number`. Only the first call counts; numbers beyond the room are ignored.
    #[inline]
    pub(super) fn stamp(&self, number: u64) {
        if let Some(stamp) = self.0.get(number as usize)
            && stamp.load(Ordering::Relaxed) == 0
        {
            stamp.store(clock::now(), Ordering::Relaxed);
        }
    }

    /// The arrival of each update, on the clock of all processes; 0 for a missing one.
    pub(super) fn stamps(&self) -> impl Iterator<Item = u64> {
        self.0.iter().map(|stamp| stamp.load(Ordering::Relaxed))
    }

    /// Returns `true` if all of the first `updates` have arrived.
    pub(super) fn has_all(&self, updates: usize) -> bool {
        self.stamps().take(updates).all(|stamp| stamp != 0)
    }

    /// Writes the first `updates` stamps, little endian.
    pub(super) fn write(&self, updates: usize, out: &mut impl Write) -> io::Result<()> {
        let mut stamps = self.stamps().take(updates);
        stamps.try_for_each(|stamp| out.write_all(&stamp.to_le_bytes()))
    }
}

/// Receives the stamps of one watcher from its process; `None` for updates that never arrived.
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
    /// Just after the answer.
    pub(super) acknowledged: u64,
}

/// Percentiles that the tables show.
pub(super) const PERCENTILES: [f64; 4] = [50.0, 99.0, 99.9, 100.0];

/// Nanoseconds that updates took to all watchers, as [`PERCENTILES`].
pub(super) struct Propagation {
    /// From before the write call.
    pub(super) from_call: [f64; 4],
    /// From its answer. Negative where the watcher had the value before the writer had its answer.
    pub(super) from_answer: [f64; 4],
    /// Number of updates that never reached a watcher.
    pub(super) missing: usize,
}

impl Propagation {
    /// Durations of the updates to all watchers; the first `warm_up` updates do not count.
    pub(super) fn of(written: &[Written], seen: &[Vec<Option<u64>>], warm_up: usize) -> Self {
        let (mut from_call, mut from_answer, mut missing) = (Vec::new(), Vec::new(), 0);
        for watcher in seen {
            for (written, seen) in written.iter().zip(watcher).skip(warm_up) {
                let Some(seen) = seen else {
                    missing += 1;
                    continue;
                };
                let after = |stamp: u64| (seen.cast_signed() - stamp.cast_signed()) as f64;
                from_call.push(after(written.called));
                from_answer.push(after(written.acknowledged));
            }
        }
        Self {
            from_call: percentiles(&from_call, PERCENTILES),
            from_answer: percentiles(&from_answer, PERCENTILES),
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
        assert_eq!(found.from_call[0], 40.0);
        assert_eq!(found.from_call[3], 60.0);
        assert_eq!(found.from_answer[0], -10.0);
    }

    #[test]
    fn nothing_seen_is_no_number() {
        let found = Propagation::of(&[written(1)], &[vec![None]], 0);
        assert!(found.from_call[0].is_nan() && found.missing == 1);
    }
}
