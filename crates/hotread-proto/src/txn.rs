//! Write requests to a table: transactions and replacements.

use crate::digest::{Hasher, text};
use crate::name::{Category, Key, Note, TxnId, said_bytes};
use crate::strict::{given, given_object, objects};
use crate::time::Timestamp;
use crate::value::Value;
use serde::{Deserialize, Serialize, Serializer};
use zeroize::Zeroize;

/// Maximum number of operations in a transaction: what a reader applies in one step, in some
/// hundred microseconds.
pub const MAX_TXN_OPS: usize = 1_000;
/// Maximum number of bytes of keys, categories, values and note in a transaction.
pub const MAX_TXN_BYTES: usize = 8 << 20;
/// Maximum number of bytes of keys, categories and values that a replacement may change: they form
/// one row of the history and one step of each replica.
pub const MAX_REPLACE_BYTES: usize = 256 << 20;

/// A whole record to write.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Put {
    /// Key of the record.
    pub key: Key,
    /// Value of the record.
    pub value: Value,
    /// Category of the record.
    #[serde(default)]
    pub category: Category,
    /// Expiry time: reads treat the record as absent from this instant.
    #[serde(default, deserialize_with = "given")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub expires_at: Option<Timestamp>,
}

impl Put {
    /// Creates a record in the category `general` that does not expire.
    #[must_use]
    pub fn new(key: Key, value: Value) -> Self {
        Self {
            key,
            value,
            category: Category::GENERAL,
            expires_at: None,
        }
    }

    /// Returns the bytes of key, category and value.
    #[must_use]
    pub fn size(&self) -> usize {
        self.key.as_str().len() + self.category.as_str().len() + self.value.as_bytes().len()
    }

    fn feed(&self, sink: &mut dyn FnMut(&[u8])) {
        text(sink, self.key.as_str());
        text(sink, self.category.as_str());
        text(sink, self.value.as_str());
        sink(&self.expires_at.map_or(-1, Timestamp::millis).to_le_bytes());
    }
}

/// One step of a transaction.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase", try_from = "OpFields")]
pub enum Op {
    /// Writes a record, whether it exists or not.
    Put(Put),
    /// Deletes a record, if it exists.
    Delete {
        /// Key of the record.
        key: Key,
    },
}

impl Op {
    /// Returns the record's key.
    #[must_use]
    pub fn key(&self) -> &Key {
        match self {
            Self::Put(put) => &put.key,
            Self::Delete { key } => key,
        }
    }

    fn size(&self) -> usize {
        match self {
            Self::Put(put) => put.size(),
            Self::Delete { key } => key.as_str().len(),
        }
    }
}

/// The members of an operation, of which exactly one is present.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct OpFields {
    #[serde(default, deserialize_with = "given_object")]
    put: Option<Put>,
    #[serde(default, deserialize_with = "given_object")]
    delete: Option<Deleted>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Deleted {
    key: Key,
}

impl TryFrom<OpFields> for Op {
    type Error = &'static str;

    fn try_from(fields: OpFields) -> Result<Self, Self::Error> {
        match (fields.put, fields.delete) {
            (Some(put), None) => Ok(Self::Put(put)),
            (None, Some(Deleted { key })) => Ok(Self::Delete { key }),
            _ => Err("an operation has one member, `put` or `delete`"),
        }
    }
}

/// A condition on a record, without which a transaction is refused.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "PreconditionFields")]
pub struct Precondition {
    /// Key of the record, which the transaction need not change.
    pub key: Key,
    /// Condition on that record.
    #[serde(flatten)]
    pub condition: Condition,
}

/// The members of a precondition. Reading each field makes a second or misspelt condition an error.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct PreconditionFields {
    key: Key,
    #[serde(default, deserialize_with = "given")]
    if_seq: Option<u64>,
    #[serde(default, deserialize_with = "given")]
    if_absent: Option<bool>,
    #[serde(default, deserialize_with = "given")]
    if_present: Option<bool>,
}

impl TryFrom<PreconditionFields> for Precondition {
    type Error = &'static str;

    fn try_from(fields: PreconditionFields) -> Result<Self, Self::Error> {
        let condition = match (fields.if_seq, fields.if_absent, fields.if_present) {
            (Some(seq), None, None) => Condition::Seq(seq),
            (None, Some(true), None) => Condition::Absent,
            (None, None, Some(true)) => Condition::Present,
            (None, Some(false), None) => return Err("if_absent is true or absent"),
            (None, None, Some(false)) => return Err("if_present is true or absent"),
            _ => return Err("a precondition has one of if_seq, if_absent and if_present"),
        };
        Ok(Self {
            key: fields.key,
            condition,
        })
    }
}

/// A condition on a record.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub enum Condition {
    /// The record exists and was last changed by this transaction.
    #[serde(rename = "if_seq")]
    Seq(u64),
    /// The record does not exist. In JSON `"if_absent": true`.
    #[serde(rename = "if_absent", serialize_with = "yes")]
    Absent,
    /// The record exists. In JSON `"if_present": true`.
    #[serde(rename = "if_present", serialize_with = "yes")]
    Present,
}

fn yes<S: Serializer>(serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_bool(true)
}

/// Operations that are applied in order, all or none, if all preconditions hold.
///
/// As JSON: `{"id": "…"?, "ops": [{"put": {…}}, {"delete": {"key": "…"}}], "if": [{"key": "…",
/// "if_seq": 7}]?, "note": "…"?}`. Has no `Display` and is not logged, because it contains values.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Txn {
    /// Transaction id, which makes a retry harmless.
    #[serde(default, deserialize_with = "given")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub id: Option<TxnId>,
    /// Operations: at least one, at most [`MAX_TXN_OPS`].
    #[serde(deserialize_with = "objects")]
    pub ops: Vec<Op>,
    /// Preconditions, checked against the state before the first operation.
    #[serde(default, rename = "if", deserialize_with = "objects")]
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub preconditions: Vec<Precondition>,
    /// Reason for the transaction, kept in the history and sent to followers. Not part of the
    /// [`body_hash`](Self::body_hash).
    #[serde(default, deserialize_with = "given")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub note: Option<Note>,
}

impl Txn {
    /// Creates an empty transaction.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a write of a record.
    #[must_use]
    pub fn put(mut self, put: Put) -> Self {
        self.ops.push(Op::Put(put));
        self
    }

    /// Adds the deletion of a record.
    #[must_use]
    pub fn delete(mut self, key: Key) -> Self {
        self.ops.push(Op::Delete { key });
        self
    }

    /// Requires that the record exists and was last changed by transaction `seq`.
    #[must_use]
    pub fn if_seq(self, key: Key, seq: u64) -> Self {
        self.only_if(key, Condition::Seq(seq))
    }

    /// Requires that no record has this key.
    #[must_use]
    pub fn if_absent(self, key: Key) -> Self {
        self.only_if(key, Condition::Absent)
    }

    /// Requires that a record has this key.
    #[must_use]
    pub fn if_present(self, key: Key) -> Self {
        self.only_if(key, Condition::Present)
    }

    fn only_if(mut self, key: Key, condition: Condition) -> Self {
        self.preconditions.push(Precondition { key, condition });
        self
    }

    /// Sets the id, which makes a retry harmless.
    #[must_use]
    pub fn id(mut self, id: TxnId) -> Self {
        self.id = Some(id);
        self
    }

    /// Sets the reason for the transaction.
    #[must_use]
    pub fn note(mut self, note: Note) -> Self {
        self.note = Some(note);
        self
    }

    /// Returns the bytes of keys, categories, values and note.
    #[must_use]
    pub fn size(&self) -> usize {
        let ops = self.ops.iter().map(Op::size);
        let checked = self.preconditions.iter().map(|p| p.key.as_str().len());
        ops.chain(checked).sum::<usize>() + said_bytes(None, self.note.as_ref())
    }

    /// Checks the limits.
    ///
    /// # Errors
    /// If it has no operation, more operations or preconditions than [`MAX_TXN_OPS`], or more bytes
    /// than [`MAX_TXN_BYTES`].
    pub fn check(&self) -> Result<(), TxnTooLarge> {
        let (ops, max) = (self.ops.len().max(self.preconditions.len()), MAX_TXN_BYTES);
        match self.size() {
            _ if self.ops.is_empty() => Err(TxnTooLarge::Empty),
            _ if ops > MAX_TXN_OPS => Err(TxnTooLarge::Ops { ops }),
            bytes if bytes > max => Err(TxnTooLarge::Bytes { bytes, max }),
            _ => Ok(()),
        }
    }

    /// Returns a hash of everything but id and note: the same id with another body is a conflict. A
    /// repetition with another note is accepted, and the first note stays.
    #[must_use]
    pub fn body_hash(&self, hasher: &Hasher) -> u128 {
        hasher.hash(|sink| {
            for op in &self.ops {
                match op {
                    Op::Put(put) => {
                        sink(b"p");
                        put.feed(sink);
                    }
                    Op::Delete { key } => {
                        sink(b"d");
                        text(sink, key.as_str());
                    }
                }
            }
            for Precondition { key, condition } in &self.preconditions {
                match condition {
                    Condition::Seq(seq) => {
                        sink(b"s");
                        sink(&seq.to_le_bytes());
                    }
                    Condition::Absent => sink(b"a"),
                    Condition::Present => sink(b"e"),
                }
                text(sink, key.as_str());
            }
        })
    }
}

/// The whole new content of a table, which replaces the old one in one visible step. Unchanged
/// records keep their sequence number.
///
/// If several records have the same key, the last one counts.
///
/// A truncated source looks like a smaller table. A replacement that would delete many records is
/// therefore refused unless it explicitly allows that.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Replace {
    /// Transaction id, which makes a retry harmless.
    #[serde(default, deserialize_with = "given")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub id: Option<TxnId>,
    /// All records that the table will have.
    #[serde(deserialize_with = "objects")]
    pub records: Vec<Put>,
    /// Required last transaction of the table. A replacement that was made from an older state is
    /// refused, so that it does not undo later changes.
    #[serde(default, deserialize_with = "given")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub if_seq: Option<u64>,
    /// Largest share of the table's records that may be deleted, in percent; 100 and above mean no
    /// limit. Defaults to [`DEFAULT_MAX_DELETE_PERCENT`]; [`FREE_DELETIONS`] are always allowed.
    #[serde(default, deserialize_with = "given")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_delete_percent: Option<u8>,
    /// Allows a replacement without records, which empties the table whatever
    /// [`max_delete_percent`](Self::max_delete_percent) says.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub allow_empty: bool,
    /// Reason for the replacement, like that of a [transaction](Txn::note).
    #[serde(default, deserialize_with = "given")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub note: Option<Note>,
}

/// Default share of a table's records that a replacement may delete, in percent: a table that is
/// refreshed keeps most of its keys.
pub const DEFAULT_MAX_DELETE_PERCENT: u8 = 50;
/// Number of records that a replacement may delete from a table of any size, so that small tables
/// can be replaced freely.
pub const FREE_DELETIONS: u64 = 10;

impl Replace {
    /// Creates a replacement with the default bound on deletions.
    #[must_use]
    pub fn new(records: Vec<Put>) -> Self {
        Self {
            records,
            ..Self::default()
        }
    }

    /// Requires that the table's last transaction is this one.
    #[must_use]
    pub fn if_seq(mut self, seq: u64) -> Self {
        self.if_seq = Some(seq);
        self
    }

    /// Allows any number of deletions, including all records.
    #[must_use]
    pub fn unguarded(mut self) -> Self {
        self.max_delete_percent = Some(100);
        self.allow_empty = true;
        self
    }

    /// Sets the reason for the replacement.
    #[must_use]
    pub fn note(mut self, note: Note) -> Self {
        self.note = Some(note);
        self
    }

    /// Returns the largest number of records that may be deleted from a table of this size.
    pub(crate) fn max_deletions(&self, records: u64) -> u64 {
        match self.max_delete_percent {
            _ if self.records.is_empty() => u64::MAX,
            Some(100..) => u64::MAX,
            percent => {
                let percent = u128::from(percent.unwrap_or(DEFAULT_MAX_DELETE_PERCENT));
                let share = u128::from(records) * percent / 100;
                // A share of `records` is at most `records`.
                u64::try_from(share).unwrap_or(records).max(FREE_DELETIONS)
            }
        }
    }

    /// Returns a hash of everything but id and note.
    #[must_use]
    pub fn body_hash(&self, hasher: &Hasher) -> u128 {
        hasher.hash(|sink| {
            sink(b"r");
            if let Some(seq) = self.if_seq {
                sink(b"s");
                sink(&seq.to_le_bytes());
            }
            if let Some(percent) = self.max_delete_percent {
                sink(&[b'm', percent]);
            }
            if self.allow_empty {
                sink(b"e");
            }
            for put in &self.records {
                put.feed(sink);
            }
        })
    }

    /// Returns the bytes of keys, categories, values and note.
    #[must_use]
    pub fn size(&self) -> usize {
        let said = said_bytes(None, self.note.as_ref());
        self.records.iter().map(Put::size).sum::<usize>() + said
    }
}

impl Zeroize for Put {
    fn zeroize(&mut self) {
        self.value.zeroize();
    }
}

/// Overwrites the values.
impl Zeroize for Txn {
    fn zeroize(&mut self) {
        for op in &mut self.ops {
            if let Op::Put(put) = op {
                put.zeroize();
            }
        }
    }
}

/// Overwrites the values.
impl Zeroize for Replace {
    fn zeroize(&mut self) {
        self.records.iter_mut().for_each(Zeroize::zeroize);
    }
}

/// A transaction that is outside the limits.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum TxnTooLarge {
    /// The transaction has no operation.
    #[error("the transaction has no operation; give at least one")]
    Empty,
    /// The transaction has too many operations or preconditions.
    #[error(
        "the transaction has {ops} operations or preconditions; at most {MAX_TXN_OPS} are allowed; split it, or replace the table"
    )]
    Ops {
        /// Number of operations or of preconditions, whichever is larger.
        ops: usize,
    },
    /// The transaction has too many bytes of keys, categories, values and note.
    #[error("the transaction has {bytes} bytes; at most {max} are allowed; split it")]
    Bytes {
        /// Number of bytes.
        bytes: usize,
        /// The limit: [`MAX_TXN_BYTES`] or, for what a replacement changes, [`MAX_REPLACE_BYTES`].
        max: usize,
    },
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_share_of_deletions_is_rounded_down() {
        let put = Put::new(Key::new("a").unwrap(), Value::parse(b"1").unwrap());
        for (percent, records, allowed) in [
            (None, 0, FREE_DELETIONS),
            (None, 20, FREE_DELETIONS),
            (None, 23, 11),
            (Some(0), 1_000, FREE_DELETIONS),
            (Some(1), 1_999, 19),
            (Some(99), u64::MAX, u64::MAX / 100 * 99 + 14),
            (Some(100), 1_000, u64::MAX),
            (Some(255), 1_000, u64::MAX),
        ] {
            let mut guarded = Replace::new(vec![put.clone()]);
            guarded.max_delete_percent = percent;
            let found = guarded.max_deletions(records);
            assert_eq!(found, allowed, "{percent:?} of {records}");
        }
        assert_eq!(Replace::default().max_deletions(1_000), u64::MAX);
    }
}
