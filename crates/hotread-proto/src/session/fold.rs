//! Several transactions as one: of each key only what became of it last.

use crate::evaluate::{Change, ChangeOp, Head};
use std::collections::BTreeMap;

/// Transactions that follow each other without a gap, folded by key.
#[derive(Debug)]
pub(super) struct Fold {
    /// The first transaction.
    pub(super) from: u64,
    /// Where the table stands after the last one; `None`: there is none yet.
    pub(super) head: Option<Head>,
    last: BTreeMap<Box<str>, ChangeOp>,
    bytes: usize,
}

impl Fold {
    pub(super) fn new(from: u64) -> Self {
        Self {
            from,
            head: None,
            last: BTreeMap::new(),
            bytes: 0,
        }
    }

    pub(super) fn add(&mut self, change: &Change) {
        for op in &change.ops {
            self.bytes += op.size();
            if let Some(old) = self.last.insert(op.key().into(), op.clone()) {
                self.bytes -= old.size();
            }
        }
        self.head = Some(change.head());
    }

    /// How many transactions it has.
    pub(super) fn len(&self) -> u64 {
        self.head
            .map_or(0, |head| head.position.seq + 1 - self.from)
    }

    /// Bytes of keys, categories and values.
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    pub(super) fn into_ops(self) -> Vec<ChangeOp> {
        self.last.into_values().collect()
    }
}
