//! Transaction builder of typed tables, shared by the store and the client.

use crate::name::{Category, InvalidName, Key, Note, TxnId};
use crate::time::Timestamp;
use crate::txn::{Condition, Precondition, Put, Txn};
use crate::value::{InvalidValue, Value};
use serde::Serialize;
use std::fmt;
use std::marker::PhantomData;
use std::time::Duration;

/// Options of a write: category, expiry, precondition and reason.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[must_use = "options do nothing by themselves"]
pub struct PutOptions {
    category: Option<String>,
    expiry: Option<Expiry>,
    condition: Option<Condition>,
    note: Option<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Expiry {
    At(Timestamp),
    In(Duration),
}

impl PutOptions {
    /// Creates options with the category `general` and without expiry, precondition or note.
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets the category.
    pub fn category(mut self, category: &str) -> Self {
        self.category = Some(category.to_owned());
        self
    }

    /// Sets the time at which the record expires.
    pub fn expires_at(mut self, at: impl Into<Timestamp>) -> Self {
        self.expiry = Some(Expiry::At(at.into()));
        self
    }

    /// Sets the time until the record expires, counted by this machine's clock from the call that
    /// takes these options.
    pub fn expires_in(mut self, after: Duration) -> Self {
        self.expiry = Some(Expiry::In(after));
        self
    }

    /// Writes only if transaction `seq` was the last one that changed the record.
    pub fn if_seq(mut self, seq: u64) -> Self {
        self.condition = Some(Condition::Seq(seq));
        self
    }

    /// Writes only if the table has no record with the key.
    pub fn if_absent(mut self) -> Self {
        self.condition = Some(Condition::Absent);
        self
    }

    /// Writes only if the table has a record with the key.
    pub fn if_present(mut self) -> Self {
        self.condition = Some(Condition::Present);
        self
    }

    /// Sets the reason for the transaction, including its other operations.
    pub fn note(mut self, note: &str) -> Self {
        self.note = Some(note.to_owned());
        self
    }
}

/// An input that cannot be part of a transaction.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum InvalidInput {
    /// A key, a category, an id or a note that is malformed.
    #[error(transparent)]
    Name(#[from] InvalidName),
    /// A value that cannot be represented in JSON, or is too large or nested too deeply.
    #[error(transparent)]
    Value(#[from] InvalidValue),
    /// A value that cannot be read back as the table's type, such as a `NaN`.
    #[error("the value of {key:?} cannot be read back as the table's type: {reason}")]
    Unreadable {
        /// The record's key.
        key: Key,
        /// The reason, as the type states it.
        reason: String,
    },
}

/// A table that [`TableTxn`] commits to.
pub trait Commit {
    /// An error of the table's calls.
    type Error: std::error::Error + From<InvalidInput> + Send + Sync + 'static;
    /// The answer: a result, or a future of one.
    type Answer<'a>
    where
        Self: 'a;

    /// Checks that the table's type would accept a record.
    ///
    /// # Errors
    /// The reason the type would refuse it, in one line.
    fn check(&self, put: &Put) -> Result<(), String>;

    /// Returns this machine's time, from which expiries are counted.
    fn now(&self) -> Timestamp;

    /// Commits a transaction.
    fn commit(&self, txn: Txn) -> Self::Answer<'_>;
}

/// A transaction on a typed table, which [commits](Self::commit) as a whole or not at all.
#[must_use = "a transaction does nothing until it is committed"]
pub struct TableTxn<'a, T, V> {
    table: &'a T,
    txn: Txn,
    value: PhantomData<fn(&V)>,
}

impl<'a, T: Commit, V> TableTxn<'a, T, V> {
    /// Creates an empty transaction on a table.
    pub fn new(table: &'a T) -> Self {
        Self {
            table,
            txn: Txn::new(),
            value: PhantomData,
        }
    }

    /// Adds a write of a record, in the category `general` and without an expiry.
    ///
    /// # Errors
    /// If the key or the value cannot be stored, or the value cannot be read back as the table's type.
    pub fn put(self, key: &str, value: &V) -> Result<Self, InvalidInput>
    where
        V: Serialize,
    {
        self.put_with(key, value, PutOptions::new())
    }

    /// Adds a write of a record with options.
    ///
    /// # Errors
    /// Same as [`put`](Self::put), and if the category or the note is malformed.
    pub fn put_with(
        mut self,
        key: &str,
        value: &V,
        options: PutOptions,
    ) -> Result<Self, InvalidInput>
    where
        V: Serialize,
    {
        let mut put = Self::record(key, value)?;
        if let Some(condition) = options.condition {
            let key = put.key.clone();
            self.txn.preconditions.push(Precondition { key, condition });
        }
        if let Some(category) = options.category {
            put.category = Category::new(&category)?;
        }
        if let Some(note) = options.note {
            self.txn.note = Some(Note::new(&note)?);
        }
        put.expires_at = options.expiry.map(|expiry| match expiry {
            Expiry::At(at) => at,
            Expiry::In(after) => self.table.now().saturating_add(after),
        });
        Self::check(self.table, std::slice::from_ref(&put))?;
        self.txn = self.txn.put(put);
        Ok(self)
    }

    /// Creates a record to write, in the category `general` and without an expiry, without
    /// [checking](Self::check) it.
    ///
    /// # Errors
    /// If the key or the value cannot be stored.
    pub fn record(key: &str, value: &V) -> Result<Put, InvalidInput>
    where
        V: Serialize,
    {
        Ok(Put::new(Key::new(key)?, Value::serialize(value)?))
    }

    /// Checks that a table's type would accept records that are about to be written.
    ///
    /// # Errors
    /// [`InvalidInput::Unreadable`], with the first refused record.
    pub fn check(table: &T, records: &[Put]) -> Result<(), InvalidInput> {
        records.iter().try_for_each(|put| {
            table.check(put).map_err(|reason| InvalidInput::Unreadable {
                key: put.key.clone(),
                reason,
            })
        })
    }

    /// Adds the deletion of a record, if the table has it.
    ///
    /// # Errors
    /// If the key is malformed.
    pub fn delete(mut self, key: &str) -> Result<Self, InvalidInput> {
        self.txn = self.txn.delete(Key::new(key)?);
        Ok(self)
    }

    /// Commits only if transaction `seq` was the last one that changed the record with this key.
    ///
    /// # Errors
    /// If the key is malformed.
    pub fn if_seq(mut self, key: &str, seq: u64) -> Result<Self, InvalidInput> {
        self.txn = self.txn.if_seq(Key::new(key)?, seq);
        Ok(self)
    }

    /// Commits only if the table has no record with this key.
    ///
    /// # Errors
    /// If the key is malformed.
    pub fn if_absent(mut self, key: &str) -> Result<Self, InvalidInput> {
        self.txn = self.txn.if_absent(Key::new(key)?);
        Ok(self)
    }

    /// Commits only if the table has a record with this key.
    ///
    /// # Errors
    /// If the key is malformed.
    pub fn if_present(mut self, key: &str) -> Result<Self, InvalidInput> {
        self.txn = self.txn.if_present(Key::new(key)?);
        Ok(self)
    }

    /// Gives the transaction an id, so that committing it again does it once.
    ///
    /// # Errors
    /// If the id is malformed.
    pub fn id(mut self, id: &str) -> Result<Self, InvalidInput> {
        self.txn = self.txn.id(TxnId::new(id)?);
        Ok(self)
    }

    /// Sets the reason for the transaction, which the history keeps and followers receive. The last
    /// of several notes counts.
    ///
    /// # Errors
    /// If the note is malformed.
    pub fn note(mut self, note: &str) -> Result<Self, InvalidInput> {
        self.txn.note = Some(Note::new(note)?);
        Ok(self)
    }

    /// Commits the transaction. Returns what the table's calls return: a `Result`, or a future of one.
    pub fn commit(self) -> T::Answer<'a> {
        self.table.commit(self.txn)
    }
}

/// Omits the values.
impl<T, V> fmt::Debug for TableTxn<'_, T, V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TableTxn")
            .field("ops", &self.txn.ops.len())
            .finish_non_exhaustive()
    }
}
