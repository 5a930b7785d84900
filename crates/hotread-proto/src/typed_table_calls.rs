//! Calls that the typed tables of a store and of a server share.

use crate::name::Key;
use crate::position::Position;
use crate::record::Record;
use crate::session::Refused;
use crate::session::SEALED_REASON;
use crate::table_txn::{Commit, InvalidInput, TableTxn};
use crate::txn::Replace;
use serde::Serialize;
use serde::de::DeserializeOwned;

impl Refused {
    /// Creates the refusal of a record's value. For a sealed table it omits the reason, which may
    /// quote the value.
    #[must_use]
    pub fn new(record: &Record, reason: impl ToString, sealed: bool) -> Self {
        Self {
            key: Key::new(record.key()).expect("a record's key was checked"),
            seq: record.seq(),
            reason: match sealed {
                true => SEALED_REASON.to_owned(),
                false => reason.to_string(),
            },
        }
    }
}

impl Position {
    /// Returns `true` if this is the position `to` or a later one of its epoch.
    #[must_use]
    pub fn has_reached(self, to: Self) -> bool {
        self.epoch == to.epoch && self.seq >= to.seq
    }
}

/// Deserializes the value of a record, whose table may be sealed.
///
/// # Errors
/// If the value does not match the type.
pub fn read_value<V: DeserializeOwned>(record: &Record, sealed: bool) -> Result<V, Refused> {
    let value = record.value_as();
    value.map_err(|error| Refused::new(record, error, sealed))
}

impl<T: Commit, V> TableTxn<'_, T, V> {
    /// Creates a replacement by these records, without [checking](Self::check) them.
    ///
    /// # Errors
    /// If a key or a value cannot be stored.
    pub fn replacement<'a>(
        records: impl IntoIterator<Item = (&'a str, &'a V)>,
    ) -> Result<Replace, InvalidInput>
    where
        V: Serialize + 'a,
    {
        let records = records.into_iter();
        let puts = records.map(|(key, value)| Self::record(key, value));
        Ok(Replace::new(puts.collect::<Result<Vec<_>, _>>()?))
    }
}

/// Defines the calls that all typed tables `Table<V, S>` share. The crate must have its `Error` in
/// scope. `$on` is the object whose calls take the name `$name` of the table `$this`. `$async` and
/// `$await` are empty where calls block their thread. `$seen` documents when readers see what was
/// written.
#[doc(hidden)]
#[macro_export]
macro_rules! typed_table_calls {
    (
        [$($async:tt)?] [$($await:tt)*]
        |$this:ident| $on:expr, $name:expr; $seen:literal
    ) => {
        #[allow(clippy::needless_question_mark, reason = "errors of a store are converted")]
        impl<V, S: $crate::Replicated> Table<V, S> {
            /// Returns the table's options and position.
            ///
            /// # Errors
            /// If the table was dropped, or cannot be read.
            pub $($async)? fn info(&self) -> Result<$crate::TableInfo, Error> {
                let $this = self;
                Ok($on.table_info($name)$($await)*?)
            }

            /// Alters the table's options; position, history and readers stay.
            ///
            /// # Errors
            /// If the options conflict, a record does not match the new schema, or the table cannot
            /// be written.
            pub $($async)? fn alter(
                &self,
                alter: &$crate::Alter,
            ) -> Result<$crate::TableInfo, Error> {
                let $this = self;
                Ok($on.alter($name, alter)$($await)*?)
            }

            /// Writes a record, and returns its position. The write is durable when this returns.
            #[doc = $seen]
            ///
            /// # Errors
            /// If the key or the value cannot be stored, or the transaction cannot be committed.
            pub $($async)? fn put(&self, key: &str, value: &V) -> Result<$crate::Position, Error>
            where
                V: ::serde::Serialize,
            {
                self.put_with(key, value, $crate::PutOptions::new())$($await)*
            }

            /// Writes a record with a category, an expiry or a condition.
            ///
            /// # Errors
            /// Same as [`put`](Self::put), and if the condition does not hold.
            pub $($async)? fn put_with(
                &self,
                key: &str,
                value: &V,
                options: $crate::PutOptions,
            ) -> Result<$crate::Position, Error>
            where
                V: ::serde::Serialize,
            {
                let txn = self.txn().put_with(key, value, options)?;
                Ok(txn.commit()$($await)*?.position)
            }

            /// Deletes a record, if the table has it.
            ///
            /// # Errors
            /// If the key is malformed, or the transaction cannot be committed.
            pub $($async)? fn delete(&self, key: &str) -> Result<$crate::Position, Error> {
                Ok(self.txn().delete(key)?.commit()$($await)*?.position)
            }

            /// Replaces the table's records by exactly these, in one visible step. Refused if this
            /// would delete more than half of a table with more than a few records; see
            /// [`replace_with`](Self::replace_with).
            ///
            /// # Errors
            /// If a key or a value cannot be stored, or as for [`replace_with`](Self::replace_with).
            pub $($async)? fn replace<'a>(
                &self,
                records: impl IntoIterator<Item = (&'a str, &'a V)>,
            ) -> Result<$crate::Replaced, Error>
            where
                V: ::serde::Serialize + 'a,
            {
                let new = $crate::TableTxn::<Self, V>::replacement(records)?;
                self.replace_with(new)$($await)*
            }

            /// Returns a page of whole records, ordered by the bytes of their keys.
            ///
            /// # Errors
            /// If the table was dropped, or cannot be read.
            pub $($async)? fn scan(&self, scan: &$crate::Scan) -> Result<$crate::Page, Error> {
                let $this = self;
                Ok($on.scan($name, scan)$($await)*?)
            }

            /// Returns the records that contain all words of a query, best match first.
            ///
            /// # Errors
            /// If the table was dropped or has no search index, or cannot be read.
            pub $($async)? fn search(&self, search: &$crate::Search) -> Result<$crate::Found, Error> {
                let $this = self;
                Ok($on.search($name, search)$($await)*?)
            }
        }
    };
}

/// Implements [`TypedTable`](crate::TypedTable) for such a table. The crate must also have its
/// `WaitForError` in scope. `$state` is the object with the calls about the state of the table
/// `$this`, and `$reader` is the call that creates a reader.
#[doc(hidden)]
#[macro_export]
macro_rules! impl_typed_table {
    (|$this:ident| $state:expr, $reader:ident) => {
        impl<V: 'static, S: $crate::Replicated<Value = V>> $crate::TypedTable<V> for Table<V, S> {
            type State = S;
            type WaitForError = WaitForError;

            fn reader(&self) -> ::hotread::HotReadHandle<S> {
                let $this = self;
                $state.$reader()
            }

            fn position(&self) -> $crate::Position {
                let $this = self;
                $state.position()
            }

            fn age(&self) -> Option<::std::time::Duration> {
                let $this = self;
                $state.age()
            }

            fn wait_for(
                &self,
                position: $crate::Position,
                within: ::std::time::Duration,
            ) -> Result<(), WaitForError> {
                let $this = self;
                $state.wait_for(position, within)
            }

            fn on_change(
                &self,
                call: impl FnMut(&str, Option<&V>, Option<&V>) + Send + 'static,
            ) -> Result<$crate::OnChange, Error>
            where
                S: $crate::Entries,
                V: Clone + PartialEq,
            {
                let $this = self;
                $state.on_change(call)
            }

            fn get(&self, key: &str) -> Result<Option<V>, Error>
            where
                V: ::serde::de::DeserializeOwned,
            {
                self.get(key)
            }

            fn scan(&self, scan: &$crate::Scan) -> Result<$crate::Page, Error> {
                self.scan(scan)
            }

            fn search(&self, search: &$crate::Search) -> Result<$crate::Found, Error> {
                self.search(search)
            }

            fn changes(
                &self,
                from: $crate::Position,
                limit: usize,
            ) -> Result<Vec<$crate::Change>, Error> {
                self.changes(from, limit)
            }

            fn info(&self) -> Result<$crate::TableInfo, Error> {
                self.info()
            }

            fn alter(&self, alter: &$crate::Alter) -> Result<$crate::TableInfo, Error> {
                self.alter(alter)
            }

            fn replace_with(&self, new: $crate::Replace) -> Result<$crate::Committed, Error> {
                Ok(self.replace_with(new)?.committed)
            }
        }
    };
}
