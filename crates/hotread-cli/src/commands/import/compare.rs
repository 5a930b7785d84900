//! Comparison of rows with the records of a table, some rows at a time, so that neither the files nor the
//! table have to fit in memory.

use super::interrupt;
use super::load::RECORD_BYTES;
use super::seen::{self, MAX_KEYS};
use crate::backend::Tables;
use crate::commands::record::expired;
use crate::output::count;
use anyhow::Result;
use hotread_proto::{Key, Put, Record, Scan, TableInfo, TableName};
use hotread_store::MAX_PAGE;
use serde::Serialize;
use std::collections::{BTreeMap, HashMap};

/// Keys that are shown for each kind of change.
const SHOWN: usize = 5;
/// Memory of the rows that are compared at a time, in bytes: enough for hundreds of thousands of common rows, so
/// that the pages of a server's table are read only a few times, even if the files are in no order.
const CHUNK_BYTES: usize = 64 << 20;

/// Records with the same kind of change.
#[derive(Debug, Default, Serialize)]
pub(super) struct Group {
    pub(super) count: u64,
    /// Keys of the first ones.
    first: Vec<String>,
}

impl Group {
    fn add(&mut self, key: &str) {
        self.count += 1;
        if self.first.len() < SHOWN {
            self.first.push(key.to_owned());
        }
    }

    fn remove(&mut self, key: &str) {
        self.count -= 1;
        self.first.retain(|first| first != key);
    }

    /// Formats the group as `3 records: "a", "b", "c"`.
    pub(super) fn tell(&self) -> String {
        let keys: Vec<_> = self.first.iter().map(|key| format!("{key:?}")).collect();
        let records = count(self.count, "record", "records");
        match (keys.is_empty(), self.count as usize > keys.len()) {
            (true, _) => records,
            (false, false) => format!("{records}: {}", keys.join(", ")),
            (false, true) => format!("{records}: {}, …", keys.join(", ")),
        }
    }
}

/// Effect of the last row with a key.
#[derive(Debug, Clone, Copy)]
enum Effect {
    Add,
    Change,
    Nothing,
}

impl Effect {
    fn of(record: Option<&Record>, put: &Put) -> Self {
        match record.filter(|record| !expired(record)) {
            None => Self::Add,
            Some(record) if is_same(record, put) => Self::Nothing,
            Some(_) => Self::Change,
        }
    }
}

fn is_same(record: &Record, put: &Put) -> bool {
    record.value() == put.value.as_bytes()
        && record.category() == put.category.as_str()
        && record.expires_at() == put.expires_at
}

/// The rows so far, compared with a table.
pub(super) struct Comparison<'a> {
    /// The table, if it exists.
    before: Option<&'a (Tables, TableInfo)>,
    table: &'a TableName,
    chunk_bytes: usize,
    /// Rows that were not compared yet: the last one of each key.
    rows: BTreeMap<Key, Put>,
    bytes: usize,
    /// The effect of each key, by its hash: at most [`MAX_KEYS`], which take 150 MB. Later keys are counted each
    /// time that they appear.
    effects: HashMap<u64, Effect>,
    held_bytes: usize,
    /// One group for each [`Effect`].
    groups: [Group; 3],
}

impl<'a> Comparison<'a> {
    pub(super) fn new(before: Option<&'a (Tables, TableInfo)>, table: &'a TableName) -> Self {
        Self {
            before,
            table,
            chunk_bytes: CHUNK_BYTES,
            rows: BTreeMap::new(),
            bytes: 0,
            effects: HashMap::new(),
            held_bytes: 0,
            groups: Default::default(),
        }
    }

    /// Takes a row.
    pub(super) fn add(&mut self, put: Put) -> Result<()> {
        self.bytes += put.size() + RECORD_BYTES;
        if let Some(before) = self.rows.insert(put.key.clone(), put) {
            self.bytes -= before.size() + RECORD_BYTES;
        }
        match self.bytes > self.chunk_bytes {
            true => self.finish(),
            false => Ok(()),
        }
    }

    /// Compares the rows that were not compared yet. Returns early if a signal arrives.
    pub(super) fn finish(&mut self) -> Result<()> {
        let rows = std::mem::take(&mut self.rows);
        self.bytes = 0;
        let Some((tables, info)) = self.before else {
            rows.values().for_each(|put| self.note(put, Effect::Add));
            return Ok(());
        };
        // From a file, each key is read. From a server, pages are read if they are fewer than the keys.
        if tables.is_remote() && rows.len() as u64 > info.records / MAX_PAGE as u64 {
            return self.compare_pages(tables, &rows);
        }
        for (key, put) in &rows {
            if interrupt::came() {
                break;
            }
            let record = tables.get(self.table, key)?;
            self.note(put, Effect::of(record.as_ref(), put));
        }
        Ok(())
    }

    /// Reads the part of the table that contains the keys of the rows. Rows and records are both in the order of
    /// their keys.
    fn compare_pages(&mut self, tables: &Tables, rows: &BTreeMap<Key, Put>) -> Result<()> {
        let mut scan = Scan {
            // A key sorts after each of its prefixes.
            after: rows.keys().next().and_then(without_last),
            limit: MAX_PAGE,
            ..Scan::default()
        };
        let mut rows = rows.values().peekable();
        while rows.peek().is_some() && !interrupt::came() {
            let page = tables.scan(self.table, &scan)?;
            for record in &page.records {
                while let Some(put) = rows.next_if(|put| put.key.as_str() < record.key()) {
                    self.note(put, Effect::Add);
                }
                if let Some(put) = rows.next_if(|put| put.key.as_str() == record.key()) {
                    self.note(put, Effect::of(Some(record), put));
                }
            }
            if page.next.is_none() {
                break;
            }
            scan.after = page.next;
            scan.epoch = Some(page.position.epoch);
        }
        rows.for_each(|put| self.note(put, Effect::Add));
        Ok(())
    }

    fn note(&mut self, put: &Put, effect: Effect) {
        let (key, hash) = (put.key.as_str(), seen::hash(put.key.as_str()));
        let known = match self.effects.len() < MAX_KEYS {
            true => self.effects.insert(hash, effect),
            false => self
                .effects
                .get_mut(&hash)
                .map(|known| std::mem::replace(known, effect)),
        };
        match known {
            Some(known) => self.groups[known as usize].remove(key),
            None => self.held_bytes += put.size() + RECORD_BYTES,
        }
        self.groups[effect as usize].add(key);
    }

    /// Returns the memory that all rows together would take, in bytes. A repeated key counts with its first row.
    pub(super) fn held_bytes(&self) -> usize {
        self.held_bytes + self.bytes
    }

    /// Returns `true` if there were no rows.
    pub(super) fn is_empty(&self) -> bool {
        self.effects.is_empty()
    }

    /// Returns the records whose keys no row has.
    pub(super) fn deleted(&self) -> Result<Group> {
        let Some((tables, info)) = self.before else {
            return Ok(Group::default());
        };
        let [_, changed, unchanged] = &self.groups;
        let count = info.records.saturating_sub(changed.count + unchanged.count);
        let mut first = Vec::new();
        let wanted = SHOWN.min(usize::try_from(count).unwrap_or(SHOWN));
        let mut scan = Scan {
            limit: MAX_PAGE,
            ..Scan::default()
        };
        // If only some of the keys are remembered, a record with another key may have a row as well.
        while first.len() < wanted && self.effects.len() < MAX_KEYS && !interrupt::came() {
            let page = tables.scan(self.table, &scan)?;
            let keys = page.records.iter().map(Record::key);
            let gone = keys.filter(|key| !self.effects.contains_key(&seen::hash(key)));
            first.extend(gone.take(wanted - first.len()).map(str::to_owned));
            if page.next.is_none() {
                break;
            }
            scan.after = page.next;
            scan.epoch = Some(page.position.epoch);
        }
        Ok(Group { count, first })
    }

    /// Returns the records that would be added and changed, and those that are equal to their rows.
    pub(super) fn groups(self) -> [Group; 3] {
        self.groups
    }
}

/// Returns a key without its last character, if the rest is a key.
fn without_last(key: &Key) -> Option<Key> {
    let (last, _) = key.as_str().char_indices().next_back()?;
    Key::new(&key.as_str()[..last]).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use hotread_proto::{TableOptions, Txn, Value};
    use hotread_store::Store;

    fn put(key: &str, value: &str) -> Put {
        Put::new(
            Key::new(key).unwrap(),
            Value::parse(value.as_bytes()).unwrap(),
        )
    }

    /// Keys are repeated in the same chunk, and in later ones.
    #[test]
    fn the_last_row_of_a_key_counts_in_chunks_of_any_size() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(dir.path().join("test.db")).unwrap();
        let table = TableName::new("t").unwrap();
        store.create_table(&table, TableOptions::default()).unwrap();
        let there = ["a", "b", "c", "d", "e"].map(|key| put(key, "1"));
        let txn = there.into_iter().fold(Txn::new(), Txn::put);
        store.commit(&table, txn).unwrap();
        let info = store.table_info(&table).unwrap();
        let before = (Tables::File(store), info);
        for chunk_bytes in [0, 2 * RECORD_BYTES, CHUNK_BYTES] {
            let mut comparison = Comparison::new(Some(&before), &table);
            comparison.chunk_bytes = chunk_bytes;
            for (key, value) in [
                ("a", "2"),
                ("new", "1"),
                ("b", "1"),
                ("a", "1"),
                ("b", "2"),
                ("new", "2"),
                ("c", "1"),
            ] {
                comparison.add(put(key, value)).unwrap();
            }
            comparison.finish().unwrap();
            let deleted = comparison.deleted().unwrap();
            assert_eq!(
                (deleted.count, deleted.first),
                (2, vec!["d".into(), "e".into()])
            );
            let groups = comparison.groups().map(|group| (group.count, group.first));
            let group = |keys: &[&str]| {
                let keys: Vec<String> = keys.iter().map(|&key| key.to_owned()).collect();
                (keys.len() as u64, keys)
            };
            assert_eq!(groups, [group(&["new"]), group(&["b"]), group(&["a", "c"])]);
        }
    }

    #[test]
    fn a_key_begins_with_what_is_left_without_its_last_character() {
        let of = |key: &str| without_last(&Key::new(key).unwrap());
        assert_eq!(of("a\u{1f600}").unwrap().as_str(), "a");
        assert_eq!(of("a"), None);
        assert_eq!(of("..a"), None);
    }
}
