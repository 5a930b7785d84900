//! What a store can say of its work.

use crate::error::StorageError;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

/// Counts of one store since it was opened, and how it is doing. Read one after the other: they need
/// not fit together exactly.
#[derive(Debug, Clone, Default, PartialEq, Eq, serde::Serialize)]
#[non_exhaustive]
pub struct Stats {
    /// Transactions committed.
    pub committed: u64,
    /// Groups they were committed in, each with one fsync if the store is `Full`.
    pub groups: u64,
    /// Transactions refused.
    pub refused: u64,
    /// Groups that failed as a whole.
    pub failed_groups: u64,
    /// Transactions that wait for the committer.
    pub waiting: usize,
    /// Bytes of keys and values in them.
    pub waiting_bytes: usize,
    /// Size of the write-ahead log, in bytes. It shrinks when no reader needs its older part.
    pub wal_bytes: u64,
    /// Why nothing is written at the moment; `None`: all is well.
    pub halted: Option<String>,
}

#[derive(Default)]
pub(crate) struct Counters {
    committed: AtomicU64,
    groups: AtomicU64,
    refused: AtomicU64,
    failed: AtomicU64,
    halted: Mutex<Option<String>>,
}

// ORDERING: the counters are for people; each stands for itself.
impl Counters {
    pub(crate) fn group(&self, transactions: usize) {
        self.groups.fetch_add(1, Ordering::Relaxed);
        self.committed
            .fetch_add(transactions as u64, Ordering::Relaxed);
    }

    pub(crate) fn refused(&self) {
        self.refused.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn failed(&self) {
        self.failed.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn halted(&self, cause: Option<&StorageError>) {
        *self.halted.lock().unwrap_or_else(PoisonError::into_inner) = cause.map(|e| e.to_string());
    }

    pub(crate) fn read(&self) -> Stats {
        Stats {
            committed: self.committed.load(Ordering::Relaxed),
            groups: self.groups.load(Ordering::Relaxed),
            refused: self.refused.load(Ordering::Relaxed),
            failed_groups: self.failed.load(Ordering::Relaxed),
            halted: self
                .halted
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .clone(),
            ..Stats::default()
        }
    }
}
