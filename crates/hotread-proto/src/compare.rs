//! Comparison of replacements with their table before evaluation, so that the writer is occupied
//! for the differences and not for the whole table.

use crate::digest::ItemHash;
use crate::name::{Key, said_bytes};
use crate::position::Position;
use crate::refusal::Refusal;
use crate::txn::{Put, Replace};
use crate::view::{Existing, TableView};
use std::collections::BTreeSet;
use std::sync::Arc;
use zeroize::Zeroize;

/// A replacement with its differences from one state of the table.
///
/// The table may change before the replacement is evaluated. Each key that changes meanwhile is
/// reported with [`touch`](Self::touch), and [`advance`](Self::advance) records how far this is
/// done. Clones share the records.
#[derive(Debug, Clone)]
pub struct Compared {
    compared: Arc<Differences>,
    /// Position of the state that the differences and the touched keys together describe; `None` if
    /// the id of the replacement was found to be committed already.
    at: Option<Position>,
    /// Keys that changed since the comparison.
    touched: BTreeSet<Key>,
}

#[derive(Debug)]
struct Differences {
    new: Replace,
    /// Hash of the replacement's body, if it has an id.
    body: Option<u128>,
    /// Indices of the records in the order of their keys, each key once.
    sorted: Vec<u32>,
    differences: Vec<Difference>,
    /// Set if the values must be overwritten on drop.
    secret: bool,
}

/// Difference of one record.
#[derive(Debug, Clone)]
pub(crate) enum Difference {
    /// The record at index `place` of the replacement is new, or differs from an old one with this
    /// hash.
    Put { place: u32, old: Option<ItemHash> },
    /// The old record is to be deleted.
    Gone { key: Key, old: ItemHash },
}

impl Drop for Differences {
    fn drop(&mut self) {
        if self.secret {
            self.new.zeroize();
        }
    }
}

impl Compared {
    /// Compares a replacement with a table. Costs a pass over the table, and memory for the
    /// differences, at most `max_changes` records.
    ///
    /// # Errors
    /// If the table could not be read. A refusal of the replacement is not an error.
    pub fn new<V: TableView>(
        view: &mut V,
        new: Replace,
        max_changes: usize,
    ) -> Result<Result<Self, Refusal>, V::Error> {
        if let Some(refusal) = empties(&new) {
            return Ok(Err(refusal));
        }
        let head = view.head();
        let hasher = view.hasher().clone();
        let mut compared = Differences {
            body: new.id.as_ref().map(|_| new.body_hash(&hasher)),
            sorted: Vec::new(),
            differences: Vec::new(),
            secret: hasher.is_keyed(),
            new,
        };
        let done = |compared, at| {
            Ok(Ok(Self {
                compared: Arc::new(compared),
                at,
                touched: BTreeSet::new(),
            }))
        };
        if let Some(id) = &compared.new.id
            && view.remembered(id)?.is_some()
        {
            return done(compared, None);
        }
        let stale = stale(&compared.new, head.position.seq);
        // Sequence numbers only grow: an outdated condition stays outdated.
        if let Some(Refusal::TableSeq { expected, actual }) = stale
            && expected < actual
        {
            return Ok(Err(Refusal::TableSeq { expected, actual }));
        }
        compared.sorted = by_key(&compared.new.records);
        let (mut changed, mut deleted) = (0, 0);
        let differences = &mut compared.differences;
        let visit = |difference| {
            changed += 1;
            deleted += u64::from(matches!(difference, Difference::Gone { .. }));
            // Differences beyond the limit are counted for the message.
            if changed <= max_changes {
                differences.push(difference);
            }
        };
        differ(view, &compared.new.records, &compared.sorted, visit)?;
        if let Some(refusal) = deletes_too_much(&compared.new, deleted, head.records) {
            // If the state differs from the expected one, the caller has to look at that first.
            return Ok(Err(stale.unwrap_or(refusal)));
        }
        if changed > max_changes {
            let (changed, max) = (changed as u64, max_changes as u64);
            return Ok(Err(Refusal::TooManyChanges { changed, max }));
        }
        done(compared, Some(head.position))
    }

    /// Returns the position of the state that the differences describe; `None` if a transaction
    /// with the same id was committed before, so that the differences do not matter.
    #[must_use]
    pub fn at(&self) -> Option<Position> {
        self.at
    }

    /// Reports that a record was changed since the comparison; evaluation compares it again.
    pub fn touch(&mut self, key: Key) {
        self.touched.insert(key);
    }

    /// Reports that all keys of the changes up to this position were [touched](Self::touch).
    pub fn advance(&mut self, to: Position) {
        self.at = Some(to);
    }

    /// Returns the number of records that evaluation looks at.
    #[must_use]
    pub fn changes(&self) -> usize {
        self.compared.differences.len() + self.touched.len()
    }

    /// Returns the bytes of keys, categories and values of the records that differ, and of the
    /// note.
    #[must_use]
    pub fn size(&self) -> usize {
        let size = |difference: &Difference| match difference {
            Difference::Put { place, .. } => self.compared.put(*place).size(),
            Difference::Gone { key, .. } => key.as_str().len(),
        };
        let differences = self.compared.differences.iter();
        let said = said_bytes(None, self.compared.new.note.as_ref());
        differences.map(size).sum::<usize>() + said
    }

    /// Returns the replacement, to be compared again.
    #[must_use]
    pub fn into_replace(self) -> Replace {
        match Arc::try_unwrap(self.compared) {
            // `Drop` then overwrites nothing, because the replacement was taken out.
            Ok(mut compared) => std::mem::take(&mut compared.new),
            Err(shared) => shared.new.clone(),
        }
    }

    pub(crate) fn new_content(&self) -> &Replace {
        &self.compared.new
    }

    pub(crate) fn body(&self) -> Option<u128> {
        self.compared.body
    }

    /// Visits the differences from the current table, in the order of the keys.
    pub(crate) fn apply<V: TableView>(
        &self,
        view: &mut V,
        mut visit: impl FnMut(Difference),
    ) -> Result<(), V::Error> {
        let hasher = view.hasher().clone();
        let mut touched = self.touched.iter().peekable();
        let mut look_again = |key: &Key, visit: &mut dyn FnMut(Difference)| {
            match (self.compared.find(key), view.get_filed(key)?) {
                (Some(place), Some(old)) if old.is(self.compared.put(place), &hasher) => {}
                (Some(place), old) => {
                    let old = old.map(|old| old.hash);
                    visit(Difference::Put { place, old });
                }
                (None, Some(Existing { hash: old, .. })) => {
                    let key = key.clone();
                    visit(Difference::Gone { key, old });
                }
                (None, None) => {}
            }
            Ok(())
        };
        // Both sequences are in the order of the keys.
        for difference in &self.compared.differences {
            let key = self.compared.key(difference);
            while let Some(key) = touched.next_if(|touched| touched.as_str() < key.as_str()) {
                look_again(key, &mut visit)?;
            }
            if touched.peek() != Some(&key) {
                visit(difference.clone());
            }
        }
        touched.try_for_each(|key| look_again(key, &mut visit))
    }
}

impl Differences {
    fn put(&self, place: u32) -> &Put {
        &self.new.records[place as usize]
    }

    fn key<'a>(&'a self, difference: &'a Difference) -> &'a Key {
        match difference {
            Difference::Put { place, .. } => &self.put(*place).key,
            Difference::Gone { key, .. } => key,
        }
    }

    fn find(&self, key: &Key) -> Option<u32> {
        let of = |place: &u32| self.put(*place).key.as_str();
        let found = self
            .sorted
            .binary_search_by(|place| of(place).cmp(key.as_str()));
        found.ok().map(|at| self.sorted[at])
    }
}

/// Returns the refusal of a replacement that has no records and does not allow that.
pub(crate) fn empties(new: &Replace) -> Option<Refusal> {
    (new.records.is_empty() && !new.allow_empty).then_some(Refusal::EmptyReplacement)
}

/// Returns the refusal of a replacement that was made for another state.
pub(crate) fn stale(new: &Replace, actual: u64) -> Option<Refusal> {
    let expected = new.if_seq.filter(|seq| *seq != actual)?;
    Some(Refusal::TableSeq { expected, actual })
}

/// Returns the refusal of a replacement that deletes too much of a table with this many records.
pub(crate) fn deletes_too_much(new: &Replace, deleted: u64, records: u64) -> Option<Refusal> {
    let max = new.max_deletions(records);
    (deleted > max).then_some(Refusal::TooManyDeletions {
        deleted,
        records,
        max,
    })
}

/// Returns the indices of records in the order of their keys; of several with one key, the last.
pub(crate) fn by_key(records: &[Put]) -> Vec<u32> {
    let key = |place: u32| records[place as usize].key.as_str();
    // A record takes tens of bytes, so memory is exhausted before `u32` is.
    let mut sorted: Vec<u32> = (0..).take(records.len()).collect();
    sorted.sort_by(|a, b| key(*a).cmp(key(*b)));
    // `dedup` keeps the first of equals.
    sorted.reverse();
    sorted.dedup_by(|a, b| key(*a) == key(*b));
    sorted.reverse();
    sorted
}

/// Merges the new records, given by their indices in the order of their keys, with the old ones,
/// and visits the differences.
pub(crate) fn differ<V: TableView>(
    view: &mut V,
    records: &[Put],
    sorted: &[u32],
    mut visit: impl FnMut(Difference),
) -> Result<(), V::Error> {
    let hasher = view.hasher().clone();
    let key_at = |place: u32| records[place as usize].key.as_str();
    let mut new = sorted.iter().copied().peekable();
    let put = |place, old| Difference::Put { place, old };
    view.scan(&mut |key, old| {
        while let Some(place) = new.next_if(|place| key_at(*place) < key) {
            visit(put(place, None));
        }
        match new.next_if(|place| key_at(*place) == key) {
            Some(place) if old.is(&records[place as usize], &hasher) => {}
            Some(place) => visit(put(place, Some(old.hash))),
            None => {
                let key = Key::new(key).expect("the key of a record was checked when it came in");
                visit(Difference::Gone { key, old: old.hash });
            }
        }
    })?;
    for place in new {
        visit(put(place, None));
    }
    Ok(())
}
