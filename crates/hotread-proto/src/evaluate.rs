//! Evaluation of entries. A pure function: times, ids and preconditions are part of the entry, so
//! applying the same entries in the same order always has the same outcomes.

use crate::compare::{Compared, Difference, by_key, deletes_too_much, differ, empties, stale};
use crate::digest::{Digest, Hasher, ItemHash};
use crate::name::{Actor, Key, Note, TxnId, said_bytes};
use crate::position::Position;
use crate::record::Record;
use crate::refusal::Refusal;
use crate::time::Timestamp;
use crate::txn::{Condition, MAX_REPLACE_BYTES, Op, Precondition, Put, Replace, Txn, TxnTooLarge};
use crate::view::{Committed, Head, TableView};
use serde::{Deserialize, Serialize};
use std::collections::{HashMap, HashSet};

/// A write request to a table, with everything but the table that its outcome depends on.
#[derive(Debug, Clone)]
pub struct Entry {
    /// Time of submission, by the clock of the process that accepted the entry. Evaluation makes it
    /// monotonic: a table's times never go backwards, though clocks may.
    pub at: Timestamp,
    /// Author, if known; `None` for an entry that no caller requested, such as an expiry. The
    /// author does not affect the outcome.
    pub actor: Option<Actor>,
    /// The request.
    pub body: Body,
}

/// A write request.
#[derive(Debug, Clone)]
pub enum Body {
    /// A transaction.
    Txn(Txn),
    /// The whole content, compared with the table during evaluation: a pass over all of the table.
    Replace(Replace),
    /// The whole content, compared with the table beforehand: evaluation applies the differences
    /// found, and compares the keys that have changed since then again.
    Compared(Compared),
    /// Expired records to delete: keys with the sequence numbers that they had. A record that was
    /// changed since is kept.
    Expire(Vec<(Key, u64)>),
}

impl Body {
    /// Returns the given reason.
    #[must_use]
    pub fn note(&self) -> Option<&Note> {
        match self {
            Self::Txn(txn) => txn.note.as_ref(),
            _ => self.new_content()?.note.as_ref(),
        }
    }

    fn new_content(&self) -> Option<&Replace> {
        match self {
            Self::Txn(_) | Self::Expire(_) => None,
            Self::Replace(new) => Some(new),
            Self::Compared(compared) => Some(compared.new_content()),
        }
    }

    /// Returns the refusal that does not depend on the table, if there is one.
    fn refusal(&self) -> Option<Refusal> {
        match self {
            Self::Txn(txn) => txn.check().err().map(Refusal::from),
            Self::Replace(new) => empties(new),
            Self::Compared(_) | Self::Expire(_) => None,
        }
    }

    /// Returns the id with the hash of the body, if there is an id.
    fn id(&self, hasher: &Hasher) -> Option<(TxnId, u128)> {
        match self {
            Self::Txn(txn) => Some((txn.id.clone()?, txn.body_hash(hasher))),
            Self::Replace(new) => Some((new.id.clone()?, new.body_hash(hasher))),
            Self::Compared(compared) => compared.new_content().id.clone().zip(compared.body()),
            Self::Expire(_) => None,
        }
    }
}

/// Outcome of an entry.
#[derive(Debug, Clone)]
pub enum Outcome {
    /// The entry is the table's next transaction.
    Committed(Change),
    /// The entry was committed before under the same id; the answer is the same again.
    Repeated(Committed),
    /// The entry does nothing and takes no sequence number: an expiry whose records have all been
    /// changed since.
    Nothing,
    /// The entry is refused, and nothing of it is applied.
    Refused(Refusal),
}

/// Effect of a committed transaction: the unit that is stored in the history, sent to replicas and
/// applied to the copies of a live table.
#[derive(Debug, Clone)]
pub struct Change {
    /// State after the transaction.
    pub position: Position,
    /// Commit time.
    pub at: Timestamp,
    /// Digest after the transaction.
    pub digest: Digest,
    /// Number of records after the transaction.
    pub records: u64,
    /// Operations on records, each key at most once. The list can be empty: deleting an absent
    /// record is a transaction as well.
    pub ops: Vec<ChangeOp>,
    /// Transaction id, and hash of the body.
    pub id: Option<(TxnId, u128)>,
    /// Author, if known. Not part of the digest.
    pub actor: Option<Actor>,
    /// Reason, if given. Not part of the digest.
    pub note: Option<Note>,
}

/// Effect on one record. In JSON `{"put": {record}}` or `{"delete": {"key": "…"}}`, and `{"delete":
/// {"key": "…", "cause": "expired"}}` for a record that was not deleted on request. Unknown members
/// are ignored.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ChangeOp {
    /// The record is this now.
    Put(Record),
    /// The record is gone.
    Delete {
        /// The record's key.
        key: Key,
        /// Cause of the removal.
        #[serde(default, skip_serializing_if = "Removal::is_deleted")]
        cause: Removal,
    },
}

/// Cause of a record's removal. Part of the change and of the history; not part of the digest, and
/// without effect on the content of a table.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum Removal {
    /// A transaction or a replacement deleted the record.
    #[default]
    Deleted,
    /// The record's `expires_at` had passed.
    Expired,
    /// An unknown cause: one of a newer version, or a removal of which only the effect was seen.
    #[serde(other)]
    Unknown,
}

impl Removal {
    /// Returns `true` for a deletion on request, whose cause is omitted in JSON.
    #[must_use]
    pub fn is_deleted(&self) -> bool {
        *self == Self::Deleted
    }
}

impl ChangeOp {
    /// Creates a deletion on request.
    #[must_use]
    pub fn delete(key: Key) -> Self {
        let cause = Removal::Deleted;
        Self::Delete { key, cause }
    }

    /// Returns the record's key.
    #[must_use]
    pub fn key(&self) -> &str {
        match self {
            Self::Put(record) => record.key(),
            Self::Delete { key, .. } => key.as_str(),
        }
    }

    /// Returns the bytes of key, category and value.
    #[must_use]
    pub fn size(&self) -> usize {
        match self {
            Self::Put(record) => record.size(),
            Self::Delete { key, .. } => key.as_str().len(),
        }
    }
}

impl Change {
    /// Returns the answer to the transaction.
    #[must_use]
    pub fn committed(&self) -> Committed {
        Committed {
            position: self.position,
            at: self.at,
        }
    }

    /// Returns the state of the table after the change.
    #[must_use]
    pub fn head(&self) -> Head {
        Head {
            position: self.position,
            digest: self.digest,
            records: self.records,
            at: self.at,
        }
    }

    /// Returns the bytes of keys, categories, values, actor and note.
    #[must_use]
    pub fn size(&self) -> usize {
        self.ops.iter().map(ChangeOp::size).sum::<usize>() + self.said_bytes()
    }

    /// Returns the bytes of actor and note.
    #[must_use]
    pub fn said_bytes(&self) -> usize {
        said_bytes(self.actor.as_ref(), self.note.as_ref())
    }
}

/// Decides what an entry does to a table, without changing the table: the caller applies the change
/// and moves the head.
///
/// Costs a look-up for each key in the entry; for a replacement, a pass over the table.
///
/// # Errors
/// If the table could not be read. That the entry is refused is an [`Outcome`], and no error.
pub fn evaluate<V: TableView>(view: &mut V, entry: &Entry) -> Result<Outcome, V::Error> {
    if let Some(refusal) = entry.body.refusal() {
        return Ok(Outcome::Refused(refusal));
    }
    let id = entry.body.id(view.hasher());
    if let Some((id, body)) = &id
        && let Some(remembered) = view.remembered(id)?
    {
        let (id, seq) = (id.clone(), remembered.committed.position.seq);
        return Ok(match remembered.body == *body {
            true => Outcome::Repeated(remembered.committed),
            false => Outcome::Refused(Refusal::IdReused { id, seq }),
        });
    }
    let old = view.head();
    let new_content = entry.body.new_content();
    if let Some(refusal) = new_content.and_then(|new| stale(new, old.position.seq)) {
        return Ok(Outcome::Refused(refusal));
    }

    let mut next = Next::after(view, entry.at);
    match &entry.body {
        Body::Txn(txn) => {
            for Precondition { key, condition } in &txn.preconditions {
                // An expired record may or may not have been deleted yet; the outcome must not
                // depend on that.
                let existing = view.get(key)?;
                let existing = existing.filter(|existing| !existing.is_expired(next.head.at));
                let actual = existing.map(|existing| existing.seq);
                let holds = match condition {
                    Condition::Seq(seq) => actual == Some(*seq),
                    Condition::Absent => actual.is_none(),
                    Condition::Present => actual.is_some(),
                };
                if !holds {
                    let (key, condition) = (key.clone(), *condition);
                    let refusal = Refusal::Precondition {
                        key,
                        condition,
                        actual,
                    };
                    return Ok(Outcome::Refused(refusal));
                }
            }
            for op in last_for_each_key(&txn.ops) {
                let old = view.get(op.key())?.map(|old| old.hash);
                match (op, old) {
                    (Op::Put(put), old) => next.put(put, old),
                    (Op::Delete { key }, Some(old)) => {
                        next.delete(key.clone(), old, Removal::Deleted);
                    }
                    (Op::Delete { .. }, None) => {}
                }
            }
        }
        Body::Replace(new) => {
            let records = &new.records;
            let sorted = by_key(records);
            differ(view, records, &sorted, |difference| {
                next.apply(records, difference)
            })?;
        }
        Body::Compared(compared) if compared.at() != Some(old.position) => {
            return Ok(Outcome::Refused(Refusal::Outdated));
        }
        Body::Compared(compared) => {
            let records = &compared.new_content().records;
            compared.apply(view, |difference| next.apply(records, difference))?;
        }
        Body::Expire(keys) => {
            let mut done = HashSet::with_capacity(keys.len());
            for (key, seq) in keys {
                if let Some(old) = view.get(key)?
                    && old.seq == *seq
                    && done.insert(key)
                {
                    next.delete(key.clone(), old.hash, Removal::Expired);
                }
            }
            if next.ops.is_empty() {
                return Ok(Outcome::Nothing);
            }
        }
    }
    if let Some(refusal) = new_content.and_then(|new| next.exceeds(new, old.records)) {
        return Ok(Outcome::Refused(refusal));
    }
    let head = next.head;
    Ok(Outcome::Committed(Change {
        position: head.position,
        at: head.at,
        digest: head.digest,
        records: head.records,
        ops: next.ops,
        id,
        actor: entry.actor.clone(),
        note: entry.body.note().cloned(),
    }))
}

/// The state after the entry, as computed so far.
struct Next {
    head: Head,
    hasher: Hasher,
    ops: Vec<ChangeOp>,
}

impl Next {
    fn after<V: TableView>(view: &V, at: Timestamp) -> Self {
        let mut head = view.head();
        head.position.seq += 1;
        head.at = head.at.max(at);
        Self {
            head,
            hasher: view.hasher().clone(),
            ops: Vec::new(),
        }
    }

    fn put(&mut self, put: &Put, old: Option<ItemHash>) {
        let Head { position, at, .. } = self.head;
        let (key, value, category) = (&put.key, &put.value, &put.category);
        let (seq, expires_at) = (position.seq, put.expires_at);
        let new = Record::new(key, value, category, seq, at, expires_at, &self.hasher);
        match old {
            Some(old) => self.head.digest = self.head.digest.without(old),
            None => self.head.records += 1,
        }
        self.head.digest = self.head.digest.with(new.hash());
        self.ops.push(ChangeOp::Put(new));
    }

    /// Applies one difference of a replacement by these records.
    fn apply(&mut self, records: &[Put], difference: Difference) {
        match difference {
            Difference::Put { place, old } => self.put(&records[place as usize], old),
            Difference::Gone { key, old } => self.delete(key, old, Removal::Deleted),
        }
    }

    fn delete(&mut self, key: Key, old: ItemHash, cause: Removal) {
        self.head.digest = self.head.digest.without(old);
        self.head.records -= 1;
        self.ops.push(ChangeOp::Delete { key, cause });
    }

    /// Returns the limit that a replacement of a table with this many records exceeds.
    fn exceeds(&self, new: &Replace, records: u64) -> Option<Refusal> {
        let is_deletion = |op: &&ChangeOp| matches!(op, ChangeOp::Delete { .. });
        let deleted = self.ops.iter().filter(is_deletion).count() as u64;
        let bytes = self.ops.iter().map(ChangeOp::size).sum();
        deletes_too_much(new, deleted, records).or_else(|| {
            let max = MAX_REPLACE_BYTES;
            (bytes > max).then(|| TxnTooLarge::Bytes { bytes, max }.into())
        })
    }
}

/// Only the last operation on each key has an effect.
fn last_for_each_key(ops: &[Op]) -> impl Iterator<Item = &Op> {
    let ops = ops.iter().enumerate();
    let last: Option<HashMap<&Key, usize>> =
        (ops.len() > 1).then(|| ops.clone().map(|(at, op)| (op.key(), at)).collect());
    ops.filter(move |(at, op)| last.as_ref().is_none_or(|last| last[op.key()] == *at))
        .map(|(_, op)| op)
}
