//! What an entry does to a table. A pure function: times, ids and preconditions are inside the
//! entry, so that whoever applies the same entries in the same order gets the same outcomes.

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

/// Something that was asked of a table, with all that its outcome depends on besides the table.
#[derive(Debug, Clone)]
pub struct Entry {
    /// When it was asked, by the clock of whoever took it in. Made monotonic when it is evaluated:
    /// a table's times never go backwards, though clocks do.
    pub at: Timestamp,
    /// The author, as far as it is known; `None` for what no caller asked for, such as an expiry.
    /// Nothing that decides the outcome.
    pub actor: Option<Actor>,
    /// What was asked.
    pub body: Body,
}

/// What can be asked of a table.
#[derive(Debug, Clone)]
pub enum Body {
    /// A transaction.
    Txn(Txn),
    /// The whole content, compared with the table when it is evaluated: a pass over all of it.
    Replace(Replace),
    /// The whole content, compared with the table before: what was found to differ is changed, and keys
    /// that were touched since are looked at again.
    Compared(Compared),
    /// Delete those of these records that nobody has changed since they were found to be expired:
    /// keys with the sequence numbers they had.
    Expire(Vec<(Key, u64)>),
}

impl Body {
    /// The reason that was given.
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

    /// What refuses it whatever the table is.
    fn refusal(&self) -> Option<Refusal> {
        match self {
            Self::Txn(txn) => txn.check().err().map(Refusal::from),
            Self::Replace(new) => empties(new),
            Self::Compared(_) | Self::Expire(_) => None,
        }
    }

    /// Its id and the hash of what it asks for, if it has an id.
    fn id(&self, hasher: &Hasher) -> Option<(TxnId, u128)> {
        match self {
            Self::Txn(txn) => Some((txn.id.clone()?, txn.body_hash(hasher))),
            Self::Replace(new) => Some((new.id.clone()?, new.body_hash(hasher))),
            Self::Compared(compared) => compared.new_content().id.clone().zip(compared.body()),
            Self::Expire(_) => None,
        }
    }
}

/// What an entry does.
#[derive(Debug, Clone)]
pub enum Outcome {
    /// It is the table's next transaction.
    Committed(Change),
    /// It was committed before, under the same id: the same answer again.
    Repeated(Committed),
    /// It does nothing, and takes no sequence number: an expiry of records that have been changed
    /// since.
    Nothing,
    /// It is refused, and nothing of it is applied.
    Refused(Refusal),
}

/// What a committed transaction did to its table: the unit that is stored in the history, sent to
/// replicas and applied to the copies of a live table.
#[derive(Debug, Clone)]
pub struct Change {
    /// The state after it.
    pub position: Position,
    /// When it was committed.
    pub at: Timestamp,
    /// The digest after it.
    pub digest: Digest,
    /// How many records there are after it.
    pub records: u64,
    /// What became of each record that it touched; each key at most once. There may be none: a
    /// deletion of what was not there is a transaction, too.
    pub ops: Vec<ChangeOp>,
    /// The transaction's id, and the hash of its body.
    pub id: Option<(TxnId, u128)>,
    /// The author, if one is known. No part of the digest.
    pub actor: Option<Actor>,
    /// The reason, if one was given. No part of the digest.
    pub note: Option<Note>,
}

/// What became of a record. In JSON `{"put": {record}}` or `{"delete": {"key": "…"}}`, and
/// `{"delete": {"key": "…", "cause": "expired"}}` for a record that was not deleted on request.
/// Members that are not known are passed over.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ChangeOp {
    /// It is this now.
    Put(Record),
    /// It is gone.
    Delete {
        /// The record's key.
        key: Key,
        /// Why it is gone.
        #[serde(default, skip_serializing_if = "Removal::is_deleted")]
        cause: Removal,
    },
}

/// Why a record is gone. Part of the change and of the history; no part of the digest, and nothing
/// that decides what a table holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum Removal {
    /// A transaction or a replacement deleted it.
    #[default]
    Deleted,
    /// Its `expires_at` had passed.
    Expired,
    /// A cause that is not known: of a newer version, or of a removal that was seen only by its
    /// effect.
    #[serde(other)]
    Unknown,
}

impl Removal {
    /// Returns `true` for a deletion on request, whose cause is left out in JSON.
    #[must_use]
    pub fn is_deleted(&self) -> bool {
        *self == Self::Deleted
    }
}

impl ChangeOp {
    /// A deletion on request.
    #[must_use]
    pub fn delete(key: Key) -> Self {
        let cause = Removal::Deleted;
        Self::Delete { key, cause }
    }

    /// The record's key.
    #[must_use]
    pub fn key(&self) -> &str {
        match self {
            Self::Put(record) => record.key(),
            Self::Delete { key, .. } => key.as_str(),
        }
    }

    /// Bytes of key, category and value.
    #[must_use]
    pub fn size(&self) -> usize {
        match self {
            Self::Put(record) => record.size(),
            Self::Delete { key, .. } => key.as_str().len(),
        }
    }
}

impl Change {
    /// What was answered.
    #[must_use]
    pub fn committed(&self) -> Committed {
        Committed {
            position: self.position,
            at: self.at,
        }
    }

    /// Where the table stands after it.
    #[must_use]
    pub fn head(&self) -> Head {
        Head {
            position: self.position,
            digest: self.digest,
            records: self.records,
            at: self.at,
        }
    }

    /// Bytes of keys, categories and values, and of what is said of it.
    #[must_use]
    pub fn size(&self) -> usize {
        self.ops.iter().map(ChangeOp::size).sum::<usize>() + self.said_bytes()
    }

    /// Bytes of actor and note.
    #[must_use]
    pub fn said_bytes(&self) -> usize {
        said_bytes(self.actor.as_ref(), self.note.as_ref())
    }
}

/// Decides what an entry does to a table. The table is not changed; whoever applies the change
/// moves the head.
///
/// Costs a look-up for each key that is named, a pass over the table for a replacement.
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
                // Whether it was swept yet depends on what else there was to do.
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

/// The state after the entry, as far as it has been worked out.
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

    /// What a replacement by these records makes of one of them.
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

    /// The limit that a replacement of so many records exceeds.
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

/// Of several operations on a key only the last leaves a trace.
fn last_for_each_key(ops: &[Op]) -> impl Iterator<Item = &Op> {
    let ops = ops.iter().enumerate();
    let last: Option<HashMap<&Key, usize>> =
        (ops.len() > 1).then(|| ops.clone().map(|(at, op)| (op.key(), at)).collect());
    ops.filter(move |(at, op)| last.as_ref().is_none_or(|last| last[op.key()] == *at))
        .map(|(_, op)| op)
}
