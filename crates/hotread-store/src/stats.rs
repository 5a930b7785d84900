//! Counters of a store's work.

use crate::error::StorageError;
pub use hotread_proto::http::{Histogram, Stats};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

/// Upper bounds of the durations of commits, [`Stats::group_us`] and [`Stats::commit_us`], in
/// microseconds: from a COMMIT without an fsync to a failing disk.
pub const COMMIT_BOUNDS_US: &[u64] = &[
    50, 100, 250, 500, 1_000, 2_500, 5_000, 10_000, 25_000, 50_000, 100_000, 250_000, 500_000,
    1_000_000, 2_500_000, 10_000_000,
];

/// Upper bounds of the numbers of transactions in a group, [`Stats::group_sizes`], up to the largest
/// possible group.
pub const GROUP_BOUNDS: &[u64] = &[1, 2, 4, 8, 16, 32, 64, 128, 256, 512];

/// A histogram that is being filled.
struct Ranges {
    bounds: &'static [u64],
    counts: Box<[Counter]>,
    sum: Counter,
}

impl Ranges {
    fn new(bounds: &'static [u64]) -> Self {
        Self {
            bounds,
            counts: (0..=bounds.len()).map(|_| Counter::default()).collect(),
            sum: Counter::default(),
        }
    }

    fn add(&self, number: u64) {
        let range = self.bounds.partition_point(|&bound| bound < number);
        self.counts[range].add(1);
        self.sum.add(number);
    }

    fn read(&self) -> Histogram {
        Histogram {
            bounds: self.bounds.to_vec(),
            counts: self.counts.iter().map(Counter::read).collect(),
            sum: self.sum.read(),
        }
    }
}

/// A number that only grows.
#[derive(Default)]
pub(crate) struct Counter(AtomicU64);

// ORDERING: the counters are for display, and no other data depends on them.
impl Counter {
    pub(crate) fn add(&self, number: u64) {
        self.0.fetch_add(number, Ordering::Relaxed);
    }

    fn read(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

pub(crate) struct Counters {
    committed: Counter,
    groups: Counter,
    pub(crate) refused: Counter,
    pub(crate) failed: Counter,
    pub(crate) whole_replacements: Counter,
    wal_held: AtomicBool,
    halted: Mutex<Option<StorageError>>,
    group_us: Ranges,
    commit_us: Ranges,
    group_sizes: Ranges,
}

impl Default for Counters {
    fn default() -> Self {
        Self {
            committed: Counter::default(),
            groups: Counter::default(),
            refused: Counter::default(),
            failed: Counter::default(),
            whole_replacements: Counter::default(),
            wal_held: AtomicBool::new(false),
            halted: Mutex::new(None),
            group_us: Ranges::new(COMMIT_BOUNDS_US),
            commit_us: Ranges::new(COMMIT_BOUNDS_US),
            group_sizes: Ranges::new(GROUP_BOUNDS),
        }
    }
}

// ORDERING: as for the counters above.
impl Counters {
    /// Counts a committed group, with its total duration and that of its COMMIT.
    pub(crate) fn group(&self, transactions: usize, all: Duration, commit: Duration) {
        let micros = |time: Duration| u64::try_from(time.as_micros()).unwrap_or(u64::MAX);
        let transactions = transactions as u64;
        self.groups.add(1);
        self.committed.add(transactions);
        self.group_sizes.add(transactions);
        self.group_us.add(micros(all));
        self.commit_us.add(micros(commit));
    }

    pub(crate) fn wal_held(&self, held: bool) {
        self.wal_held.store(held, Ordering::Relaxed);
    }

    pub(crate) fn is_wal_held(&self) -> bool {
        self.wal_held.load(Ordering::Relaxed)
    }

    pub(crate) fn halted(&self, cause: Option<&StorageError>) {
        *self.halted.lock().unwrap_or_else(PoisonError::into_inner) = cause.cloned();
    }

    /// Fails with the cause that prevents writing.
    pub(crate) fn check(&self) -> Result<(), StorageError> {
        let halted = self.halted.lock().unwrap_or_else(PoisonError::into_inner);
        halted.clone().map_or(Ok(()), Err)
    }

    pub(crate) fn read(&self) -> Stats {
        Stats {
            committed: self.committed.read(),
            groups: self.groups.read(),
            refused: self.refused.read(),
            failed_groups: self.failed.read(),
            whole_replacements: self.whole_replacements.read(),
            wal_held: self.is_wal_held(),
            halted: self.check().err().map(|e| e.to_string()),
            group_us: self.group_us.read(),
            commit_us: self.commit_us.read(),
            group_sizes: self.group_sizes.read(),
            ..Stats::default()
        }
    }
}
