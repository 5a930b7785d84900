//! A table in memory.

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
/// A look-up is a search in a B-tree, with a cache miss for each key that it compares with. For
/// look-ups by hash, or of values that are parsed already, keep a state of your own and feed it the
/// changes.
#[derive(Debug, Clone)]
pub struct Records {
    head: Head,
    records: RecordSet,
}

impl Records {
    /// A table that stands at `head` and has these records, in any order.
    #[must_use]
    pub fn new(head: Head, records: impl IntoIterator<Item = Record>) -> Self {
        Self {
            head,
            records: records.into_iter().collect(),
        }
    }

    /// The record with this key.
    #[must_use]
    pub fn get(&self, key: &str) -> Option<&Record> {
        self.records.get(key)
    }

    /// How many there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.records.len()
    }

    /// Is there none?
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.records.is_empty()
    }

    /// All records, ordered by the bytes of their keys.
    pub fn iter(&self) -> btree_set::Iter<'_, Record> {
        self.records.iter()
    }

    /// The records whose keys begin with `prefix`, in order.
    pub fn prefix<'a>(&'a self, prefix: &'a str) -> impl Iterator<Item = &'a Record> + 'a {
        self.records.prefix(prefix)
    }

    /// The records after this key, in order: where a scan goes on.
    pub fn after<'a>(&'a self, key: &str) -> impl Iterator<Item = &'a Record> + use<'a> {
        self.records.after(key)
    }

    pub(crate) fn from<'a>(&'a self, key: Bound<&str>) -> btree_set::Range<'a, Record> {
        self.records.from(key)
    }

    /// The last transaction that this state contains.
    #[must_use]
    pub fn position(&self) -> Position {
        self.head.position
    }

    /// The digest after it, as it was committed.
    #[must_use]
    pub fn digest(&self) -> Digest {
        self.head.digest
    }

    /// When it was committed.
    #[must_use]
    pub fn at(&self) -> Timestamp {
        self.head.at
    }

    /// Where the table stands.
    #[must_use]
    pub fn head(&self) -> Head {
        self.head
    }

    /// Hashes every record: do they give the digest, and is their number right?
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
    /// If the change is not the next one of this table. No change is applied in part.
    fn apply_update(&mut self, change: &Arc<Change>) {
        let mut next = self.head.position;
        next.seq += 1;
        assert_eq!(
            change.position, next,
            "a table's changes are applied one after the other"
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
