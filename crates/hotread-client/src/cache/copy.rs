//! A table in memory, as it is to be written to disk, and the operations that were not applied to it yet.

use super::file::MAX_TABLE_BYTES;
use hotread_proto::{ChangeOp, Digest, Head, Record};
use std::collections::{BTreeSet, HashSet};

/// Number of waiting operations above which only the last one of each key is kept.
const FOLD_AT: usize = 16_384;

/// The records of a table.
#[derive(Debug, Default)]
pub(super) struct Copy {
    records: BTreeSet<Record>,
    bytes: usize,
}

/// Reason a table is not kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum NotKept {
    #[error("the table is sealed, and must not be on disk unencrypted")]
    Sealed,
    #[error("the table has more than {} bytes of keys and values", MAX_TABLE_BYTES)]
    TooLarge,
    #[error("the copy's digest is not the table's; this is a bug in hotread-client")]
    Wrong,
}

impl Copy {
    pub(super) fn new(records: impl IntoIterator<Item = Record>) -> Self {
        let records: BTreeSet<Record> = records.into_iter().collect();
        let bytes = records.iter().map(Record::size).sum();
        Self { records, bytes }
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &Record> {
        self.records.iter()
    }

    pub(super) fn apply(&mut self, ops: Vec<ChangeOp>) {
        for op in ops {
            let old = match op {
                ChangeOp::Put(record) => {
                    self.bytes += record.size();
                    self.records.replace(record)
                }
                ChangeOp::Delete { key, .. } => self.records.take(key.as_str().as_bytes()),
            };
            self.bytes -= old.map_or(0, |old| old.size());
        }
    }

    /// Checks that the table equals the one at `head`, and is small enough.
    pub(super) fn check(&self, head: &Head) -> Result<(), NotKept> {
        if self.bytes > MAX_TABLE_BYTES {
            return Err(NotKept::TooLarge);
        }
        let digest: Digest = self.records.iter().map(Record::hash).collect();
        let same = (digest, self.records.len() as u64) == (head.digest, head.records);
        same.then_some(()).ok_or(NotKept::Wrong)
    }
}

/// Operations that wait to be applied; once there are many, at most twice as many as the table has keys.
#[derive(Debug, Default)]
pub(super) struct Waiting {
    ops: Vec<ChangeOp>,
    /// Number of operations left by the last coalescing.
    folded: usize,
}

impl Waiting {
    pub(super) fn add(&mut self, ops: Vec<ChangeOp>) {
        if self.ops.is_empty() {
            // A batch names each key once.
            self.folded = ops.len();
            self.ops = ops;
            return;
        }
        self.ops.extend(ops);
        if self.ops.len() > FOLD_AT.max(2 * self.folded) {
            self.fold();
            self.folded = self.ops.len();
        }
    }

    pub(super) fn take(&mut self) -> Vec<ChangeOp> {
        self.folded = 0;
        std::mem::take(&mut self.ops)
    }

    /// Keeps the last operation of each key, in the order of arrival.
    fn fold(&mut self) {
        let mut later = HashSet::with_capacity(self.ops.len());
        let from_the_last = self.ops.iter().rev();
        let is_last: Vec<bool> = from_the_last.map(|op| later.insert(op.key())).collect();
        let mut is_last = is_last.into_iter().rev();
        self.ops.retain(|_| is_last.next() == Some(true));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::expiry::tests::put_at;
    use hotread_proto::{Key, Timestamp};

    fn put(key: &str, seq: u64) -> ChangeOp {
        put_at(key, seq, None)
    }

    fn delete(key: &str) -> ChangeOp {
        ChangeOp::delete(Key::new(key).unwrap())
    }

    fn keys(copy: &Copy) -> Vec<(&str, u64)> {
        copy.iter().map(|r| (r.key(), r.seq())).collect()
    }

    #[test]
    fn what_waits_is_bounded_and_the_last_of_each_key_counts() {
        let mut waiting = Waiting::default();
        for round in 0..100_000_u64 {
            waiting.add(vec![put("a", round), put("gone", round)]);
            waiting.add(vec![delete("gone"), put("b", round)]);
            assert!(waiting.ops.len() <= FOLD_AT + 2);
        }
        let mut copy = Copy::new([]);
        copy.apply(waiting.take());
        assert_eq!(keys(&copy), [("a", 99_999), ("b", 99_999)]);
        assert_eq!(copy.bytes, 2 * (1 + "general".len() + 1));
    }

    #[test]
    fn only_the_table_itself_is_kept() {
        let mut copy = Copy::new([]);
        copy.apply(vec![put("a", 1), put("b", 1)]);
        let mut head = Head {
            position: "0000000000000001:1".parse().unwrap(),
            digest: copy.iter().map(Record::hash).collect(),
            records: 2,
            at: Timestamp::EPOCH,
        };
        assert_eq!(copy.check(&head), Ok(()));
        copy.apply(vec![delete("b")]);
        assert_eq!(copy.check(&head), Err(NotKept::Wrong));
        head.records = 1;
        assert_eq!(copy.check(&head), Err(NotKept::Wrong));
        copy.bytes = MAX_TABLE_BYTES + 1;
        assert_eq!(copy.check(&head), Err(NotKept::TooLarge));
    }
}
