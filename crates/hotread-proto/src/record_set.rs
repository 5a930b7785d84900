//! Unparsed records by key: the content of a table in memory, and a state that can follow one.

use crate::record::Record;
use hotread::HotReadState;
use std::collections::{BTreeSet, btree_set};
use std::ops::Bound;
use std::sync::Arc;

/// The unparsed records of a table, by key: values as JSON text, with category, times and sequence
/// number. It accepts every value, and suits programs that pass values on or parse few of them.
///
/// A look-up searches a B-tree. Copies of the set share the records, and take 16 bytes for each.
#[derive(Debug, Clone, Default)]
pub struct RecordSet(BTreeSet<Record>);

/// An update of a [`RecordSet`].
#[derive(Debug, Clone)]
pub enum RecordUpdate {
    /// Inserts the record, or replaces the one with its key.
    Put(Record),
    /// Removes the record with this key, if there is one.
    Delete(Arc<str>),
}

impl RecordSet {
    /// Returns the record with this key.
    #[must_use]
    pub fn get(&self, key: &str) -> Option<&Record> {
        self.0.get(key.as_bytes())
    }

    /// Returns the number of records.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Returns `true` if there are no records.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Iterates over all records in the order of their keys' bytes.
    pub fn iter(&self) -> btree_set::Iter<'_, Record> {
        self.0.iter()
    }

    /// Iterates over the records whose keys begin with `prefix`, in order.
    pub fn prefix<'a>(&'a self, prefix: &'a str) -> impl Iterator<Item = &'a Record> + 'a {
        self.from(Bound::Included(prefix))
            .take_while(|record| record.key_bytes().starts_with(prefix.as_bytes()))
    }

    /// Iterates over the records after this key, in order.
    pub fn after<'a>(&'a self, key: &str) -> impl Iterator<Item = &'a Record> + use<'a> {
        self.from(Bound::Excluded(key))
    }

    pub(crate) fn from<'a>(&'a self, key: Bound<&str>) -> btree_set::Range<'a, Record> {
        let from = (key.map(str::as_bytes), Bound::Unbounded);
        self.0.range::<[u8], _>(from)
    }

    /// Inserts the record, or replaces the one with its key.
    pub(crate) fn put(&mut self, record: Record) {
        self.0.replace(record);
    }

    /// Removes the record with this key, if there is one.
    pub(crate) fn delete(&mut self, key: &str) {
        self.0.remove(key.as_bytes());
    }
}

impl FromIterator<Record> for RecordSet {
    /// Collects records in any order, each key at most once.
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
