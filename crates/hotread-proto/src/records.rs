//! Tables in memory.

use crate::digest::{Digest, Hasher};
use crate::evaluate::{Change, ChangeOp};
use crate::position::Position;
use crate::record::Record;
use crate::record_set::RecordSet;
use crate::time::Timestamp;
use crate::view::Head;
use hotread::HotReadState;
use std::collections::btree_set;
use std::ops::Bound;
use std::sync::Arc;

/// The records of a table as of one transaction, ordered by key: the state of a live table.
///
/// A look-up searches a B-tree, with a cache miss for each key that it compares with. For look-ups
/// by hash, or of values that are parsed already, keep a state of your own and feed it the changes.
#[derive(Debug, Clone)]
pub struct Records {
    head: Head,
    records: RecordSet,
}

impl Records {
    /// Creates a table in the state `head` with these records, in any order.
    #[must_use]
    pub fn new(head: Head, records: impl IntoIterator<Item = Record>) -> Self {
        Self {
            head,
            records: records.into_iter().collect(),
        }
    }

    /// Returns the record with this key.
    #[must_use]
    pub fn get(&self, key: &str) -> Option<&Record> {
        self.records.get(key)
    }

    /// Returns the number of records.
    #[must_use]
    pub fn len(&self) -> usize {
        self.records.len()
    }

    /// Returns `true` if there are no records.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.records.is_empty()
    }

    /// Iterates over all records in the order of their keys' bytes.
    pub fn iter(&self) -> btree_set::Iter<'_, Record> {
        self.records.iter()
    }

    /// Iterates over the records whose keys begin with `prefix`, in order.
    pub fn prefix<'a>(&'a self, prefix: &'a str) -> impl Iterator<Item = &'a Record> + 'a {
        self.records.prefix(prefix)
    }

    /// Iterates over the records after this key, in order: the continuation of a scan.
    pub fn after<'a>(&'a self, key: &str) -> impl Iterator<Item = &'a Record> + use<'a> {
        self.records.after(key)
    }

    pub(crate) fn from<'a>(&'a self, key: Bound<&str>) -> btree_set::Range<'a, Record> {
        self.records.from(key)
    }

    /// Returns the position of the last transaction that the state contains.
    #[must_use]
    pub fn position(&self) -> Position {
        self.head.position
    }

    /// Returns the digest after that transaction, as it was committed.
    #[must_use]
    pub fn digest(&self) -> Digest {
        self.head.digest
    }

    /// Returns the commit time of that transaction.
    #[must_use]
    pub fn at(&self) -> Timestamp {
        self.head.at
    }

    /// Returns position, digest, number of records and time of the state.
    #[must_use]
    pub fn head(&self) -> Head {
        self.head
    }

    /// Hashes every record, and returns `true` if the hashes, their sum and the number of records
    /// are right.
    #[must_use]
    pub fn verify(&self, hasher: &Hasher) -> bool {
        self.records.iter().all(|record| record.verify(hasher))
            && self.records.iter().map(Record::hash).collect::<Digest>() == self.head.digest
            && self.records.len() as u64 == self.head.records
    }
}

impl<'a> IntoIterator for &'a Records {
    type Item = &'a Record;
    type IntoIter = btree_set::Iter<'a, Record>;

    fn into_iter(self) -> Self::IntoIter {
        self.iter()
    }
}

impl HotReadState for Records {
    type Action = Arc<Change>;

    /// # Panics
    /// If the change is not the next one of this table; it is then not applied at all.
    fn apply_update(&mut self, change: &Arc<Change>) {
        let mut next = self.head.position;
        next.seq += 1;
        assert_eq!(
            change.position, next,
            "a table's changes are applied one after another"
        );
        for op in &change.ops {
            match op {
                ChangeOp::Put(record) => self.records.put(record.clone()),
                ChangeOp::Delete { key, .. } => self.records.delete(key.as_str()),
            }
        }
        self.head = change.head();
    }
}
