//! Records by key, as they are: what is in a table in memory, and a state that follows one.

use crate::record::Record;
use hotread::HotReadState;
use std::collections::{BTreeSet, btree_set};
use std::ops::Bound;
use std::sync::Arc;

/// The records of a table as they came, by key: values as JSON text, with category, times and sequence
/// number. It refuses nothing. For programs that pass values on, or parse few of them.
///
/// A look-up is a search in a B-tree. Its copies share the records, and take 16 bytes for each.
#[derive(Debug, Clone, Default)]
pub struct RecordSet(BTreeSet<Record>);

/// What becomes of a [`RecordSet`].
#[derive(Debug, Clone)]
pub enum RecordUpdate {
    /// The record is this now.
    Put(Record),
    /// There is no record with this key any more.
    Delete(Arc<str>),
}

impl RecordSet {
    /// The record with this key.
    #[must_use]
    pub fn get(&self, key: &str) -> Option<&Record> {
        self.0.get(key.as_bytes())
    }

    /// How many there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Is there none?
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// All of them, in the order of their keys' bytes.
    pub fn iter(&self) -> btree_set::Iter<'_, Record> {
        self.0.iter()
    }

    /// Those whose keys begin with `prefix`, in order.
    pub fn prefix<'a>(&'a self, prefix: &'a str) -> impl Iterator<Item = &'a Record> + 'a {
        self.from(Bound::Included(prefix))
            .take_while(|record| record.key_bytes().starts_with(prefix.as_bytes()))
    }

    /// Those behind this key, in order.
    pub fn after<'a>(&'a self, key: &str) -> impl Iterator<Item = &'a Record> + use<'a> {
        self.from(Bound::Excluded(key))
    }

    pub(crate) fn from<'a>(&'a self, key: Bound<&str>) -> btree_set::Range<'a, Record> {
        let from = (key.map(str::as_bytes), Bound::Unbounded);
        self.0.range::<[u8], _>(from)
    }

    /// The record with its key is this now.
    pub(crate) fn put(&mut self, record: Record) {
        self.0.replace(record);
    }

    /// There is no record with this key any more.
    pub(crate) fn delete(&mut self, key: &str) {
        self.0.remove(key.as_bytes());
    }
}

impl FromIterator<Record> for RecordSet {
    /// In any order, with each key once.
    fn from_iter<I: IntoIterator<Item = Record>>(records: I) -> Self {
        Self(records.into_iter().collect())
    }
}

impl<'a> IntoIterator for &'a RecordSet {
    type Item = &'a Record;
    type IntoIter = btree_set::Iter<'a, Record>;

    fn into_iter(self) -> Self::IntoIter {
        self.iter()
    }
}

impl HotReadState for RecordSet {
    type Action = RecordUpdate;

    fn apply_update(&mut self, update: &RecordUpdate) {
        match update {
            RecordUpdate::Put(record) => self.put(record.clone()),
            RecordUpdate::Delete(key) => self.delete(key),
        }
    }

    fn apply_owned(&mut self, update: RecordUpdate) {
        match update {
            RecordUpdate::Put(record) => self.put(record),
            RecordUpdate::Delete(key) => self.delete(&key),
        }
    }
}
