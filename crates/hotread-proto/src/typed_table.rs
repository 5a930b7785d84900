//! Interface that typed tables of a store and of a server have in common.

use crate::calls::{Found, Page, Scan, Search};
use crate::evaluate::Change;
use crate::on_change::{Entries, OnChange};
use crate::options::{Alter, TableInfo};
use crate::position::Position;
use crate::replicated::Replicated;
use crate::table_txn::{Commit, InvalidInput, PutOptions, TableTxn};
use crate::txn::Replace;
use crate::view::Committed;
use hotread::HotReadHandle;
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::time::Duration;

/// A typed table in a file of this process (`hotread_store::Table`) or on a server
/// (`hotread_client::blocking::Table`), whose calls block their thread. Intended for code that
/// works with both: an application that reads and writes through this trait is tested with a store
/// in memory (`hotread_store::Store::temporary`), and runs with a server.
///
/// ```
/// use hotread_proto::TypedTable;
///
/// /// Sends one request in a hundred to the new checkout, and returns what was sent before.
/// fn try_checkout<T: TypedTable<u8>>(percents: &T) -> Result<Option<u8>, T::Error> {
///     let before = percents.get("checkout-v2")?;
///     percents.put("checkout-v2", &1)?; // readers of this process see it
///     Ok(before)
/// }
/// ```
///
/// Each call is described in more detail at the table's own method of the same name.
pub trait TypedTable<V>:
    Clone
    + Send
    + Sync
    + 'static
    + for<'a> Commit<Answer<'a> = Result<Committed, <Self as Commit>::Error>>
{
    /// The state that follows the table.
    type State: Replicated<Value = V>;
    /// An error of [`wait_for`](Self::wait_for).
    type WaitForError: std::error::Error + Send + Sync + 'static;

    /// Creates a reader of the state, for one thread or task.
    fn reader(&self) -> HotReadHandle<Self::State>;

    /// Returns the position of the last change that readers see.
    fn position(&self) -> Position;

    /// Returns the greatest possible age of the readers' state: it contains every commit that was
    /// acknowledged before that time. `None` if the age is not known.
    fn age(&self) -> Option<Duration>;

    /// Waits until readers see a change.
    ///
    /// # Errors
    /// The reason readers do not see it.
    fn wait_for(&self, position: Position, within: Duration) -> Result<(), Self::WaitForError>;

    /// Calls `call` with the key, the old and the new value of each record that changes from now on, on a
    /// thread of its own, until the guard is dropped.
    ///
    /// # Errors
    /// If the system cannot create a thread.
    fn on_change(
        &self,
        call: impl FnMut(&str, Option<&V>, Option<&V>) + Send + 'static,
    ) -> Result<OnChange, Self::Error>
    where
        Self::State: Entries,
        V: Clone + PartialEq;

    /// Returns the value of a record as of the last commit.
    ///
    /// # Errors
    /// If the key is malformed, the table cannot be read, or the type refuses the value.
    fn get(&self, key: &str) -> Result<Option<V>, Self::Error>
    where
        V: DeserializeOwned;

    /// Returns a page of whole records, ordered by the bytes of their keys.
    ///
    /// # Errors
    /// If the table cannot be read.
    fn scan(&self, scan: &Scan) -> Result<Page, Self::Error>;

    /// Returns the records that contain all words of a query, best match first.
    ///
    /// # Errors
    /// If the table has no search index, or cannot be read.
    fn search(&self, search: &Search) -> Result<Found, Self::Error>;

    /// Returns the changes after `from`, oldest first, at most `limit` and at most
    /// [`MAX_CHANGES`](crate::MAX_CHANGES).
    ///
    /// # Errors
    /// If the history does not go back to `from`, or cannot be read.
    fn changes(&self, from: Position, limit: usize) -> Result<Vec<Change>, Self::Error>;

    /// Returns the table's options and position.
    ///
    /// # Errors
    /// If the table cannot be read.
    fn info(&self) -> Result<TableInfo, Self::Error>;

    /// Alters the table's options; position, history and readers stay.
    ///
    /// # Errors
    /// If a record does not match the new schema, or the table cannot be written.
    fn alter(&self, alter: &Alter) -> Result<TableInfo, Self::Error>;

    /// Replaces the table's content, with the bounds and conditions of the replacement.
    ///
    /// # Errors
    /// If the replacement is refused or cannot be written.
    fn replace_with(&self, new: Replace) -> Result<Committed, Self::Error>;

    /// Creates an empty transaction.
    fn txn(&self) -> TableTxn<'_, Self, V> {
        TableTxn::new(self)
    }

    /// Writes a record, and returns its position.
    ///
    /// # Errors
    /// If the key or the value cannot be stored, or the transaction cannot be committed.
    fn put(&self, key: &str, value: &V) -> Result<Position, Self::Error>
    where
        V: Serialize,
    {
        self.put_with(key, value, PutOptions::new())
    }

    /// Writes a record with a category, an expiry or a condition.
    ///
    /// # Errors
    /// Same as [`put`](Self::put), and if the condition does not hold.
    fn put_with(&self, key: &str, value: &V, options: PutOptions) -> Result<Position, Self::Error>
    where
        V: Serialize,
    {
        let txn = TypedTable::txn(self).put_with(key, value, options)?;
        Ok(txn.commit()?.position)
    }

    /// Deletes a record, if the table has it.
    ///
    /// # Errors
    /// If the key is malformed, or the transaction cannot be committed.
    fn delete(&self, key: &str) -> Result<Position, Self::Error> {
        Ok(TypedTable::txn(self).delete(key)?.commit()?.position)
    }

    /// Replaces the table's records by exactly these, in one visible step.
    ///
    /// # Errors
    /// If a key or a value cannot be stored, or as for [`replace_with`](Self::replace_with).
    fn replace<'a>(
        &self,
        records: impl IntoIterator<Item = (&'a str, &'a V)>,
    ) -> Result<Committed, Self::Error>
    where
        V: Serialize + 'a,
    {
        let records = records.into_iter();
        let puts = records.map(|(key, value)| TableTxn::<Self, V>::record(key, value));
        let puts = puts.collect::<Result<Vec<_>, InvalidInput>>()?;
        self.replace_with(Replace::new(puts))
    }
}
