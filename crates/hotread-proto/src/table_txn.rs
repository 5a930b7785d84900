//! The transaction builder of typed tables, the same for a store and for a client.

use crate::name::{Category, InvalidName, Key, Note, TxnId};
use crate::time::Timestamp;
use crate::txn::{Condition, Precondition, Put, Txn};
use crate::value::{InvalidValue, Value};
use serde::Serialize;
use std::fmt;
use std::marker::PhantomData;
use std::time::Duration;

/// Category, expiry and precondition of a record to be written, and the reason for it.
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
    /// The category `general`, no expiry, no precondition and no note.
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

    /// Sets the time until the record expires, from the call that takes these options, by this machine's
    /// clock.
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

    /// Sets the reason for the transaction: of all of it, if it has other operations.
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
    /// A value that has no form as JSON, or is too large or too deep.
    #[error(transparent)]
    Value(#[from] InvalidValue),
    /// A value that the table's own type could not be read from again, such as a `NaN`.
    #[error("the value of {key:?} cannot be read again as the table's type: {reason}")]
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

    /// Returns the reason why the table's type would refuse this record.
    ///
    /// # Errors
    /// The reason, in one line.
    fn check(&self, put: &Put) -> Result<(), String>;

    /// This machine's time, from which expiries are counted.
    fn now(&self) -> Timestamp;

    /// Commits a transaction.
    fn commit(&self, txn: Txn) -> Self::Answer<'_>;
}

/// A transaction on a typed table, to be filled and then [committed](Self::commit): all of it or
/// nothing.
#[must_use = "a transaction does nothing until it is committed"]
pub struct TableTxn<'a, T, V> {
    table: &'a T,
    txn: Txn,
    value: PhantomData<fn(&V)>,
}

impl<'a, T: Commit, V> TableTxn<'a, T, V> {
    /// An empty transaction on a table.
    pub fn new(table: &'a T) -> Self {
        Self {
            table,
            txn: Txn::new(),
            value: PhantomData,
        }
    }

    /// Writes a record, in the category `general` and without an expiry.
    ///
    /// # Errors
    /// If the key or the value cannot be stored, or the value cannot be read again as the table's type.
    pub fn put(self, key: &str, value: &V) -> Result<Self, InvalidInput>
    where
        V: Serialize,
    {
        self.put_with(key, value, PutOptions::new())
    }

    /// Writes a record with options.
    ///
    /// # Errors
    /// As for [`put`](Self::put), and if the category or the note is malformed.
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

    /// A record to be written, in the category `general` and without an expiry. It is not
    /// [checked](Self::check).
    ///
    /// # Errors
    /// If the key or the value cannot be stored.
    pub fn record(key: &str, value: &V) -> Result<Put, InvalidInput>
    where
        V: Serialize,
    {
        Ok(Put::new(Key::new(key)?, Value::serialize(value)?))
    }

    /// Checks that a table's type would not refuse records that are about to be written.
    ///
    /// # Errors
    /// [`InvalidInput::Unreadable`], with the first record that it would refuse.
    pub fn check(table: &T, records: &[Put]) -> Result<(), InvalidInput> {
        records.iter().try_for_each(|put| {
            table.check(put).map_err(|reason| InvalidInput::Unreadable {
                key: put.key.clone(),
                reason,
            })
        })
    }

    /// Deletes a record, if the table has it.
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

    /// Gives the reason for the transaction, which the history keeps and followers get. Of several notes
    /// the last one counts.
    ///
    /// # Errors
    /// If the note is malformed.
    pub fn note(mut self, note: &str) -> Result<Self, InvalidInput> {
        self.txn.note = Some(Note::new(note)?);
        Ok(self)
    }

    /// Commits. The answer is the table's: a result, or a future of one.
    pub fn commit(self) -> T::Answer<'a> {
        self.table.commit(self.txn)
    }
}

/// Without the values.
impl<T, V> fmt::Debug for TableTxn<'_, T, V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TableTxn")
            .field("ops", &self.txn.ops.len())
            .finish_non_exhaustive()
    }
}
