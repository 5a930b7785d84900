//! The same client for programs without an async runtime: each call blocks its thread.
//!
//! All clones of a [`Client`], and the objects that they create, share a runtime with one thread of its
//! own, which follows the tables. Reading a replica involves neither. Do not call these functions from
//! async code: they panic there.

pub use crate::ReplicaBuilder;

use crate::{
    Changes, ClientBuilder, Committed, Condition, Entries, Error, Event, Found, NewToken, OnChange,
    Page, Position, Put, Record, Replace, Replaced, Replicated, Role, SaveError, Scan, Search,
    ServerStatus, TableInfo, TableName, TableOptions, Timestamp, TokenInfo, Txn, WaitForError,
};
use hotread_proto::{Alter, Change, Commit, TableTxn, impl_typed_table, typed_table_calls};
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::collections::HashMap;
use std::fmt;
use std::ops::Deref;
use std::sync::Arc;
use std::thread;
use std::time::Duration;
use tokio::runtime::{Builder, Handle};
use tokio::sync::oneshot;

/// The runtime and its thread, which end when this is dropped; the drop does not wait for them.
#[derive(Debug)]
pub(crate) struct Own {
    runtime: Handle,
    _stop: oneshot::Sender<()>,
}

impl Own {
    fn start() -> Result<Arc<Self>, Error> {
        let refused = |error| Error::no_thread("client", error);
        // A thread of this crate drives the runtime, because tokio panics where the system refuses it a
        // thread.
        let runtime = Builder::new_current_thread().enable_all().build();
        let runtime = runtime.map_err(refused)?;
        let handle = runtime.handle().clone();
        let (stop, stopped) = oneshot::channel::<()>();
        thread::Builder::new()
            .name("hotread-client".to_owned())
            .spawn(move || {
                // An error means that the other end is gone, which is what this waits for.
                let _ = runtime.block_on(stopped);
                runtime.shutdown_background();
            })
            .map_err(refused)?;
        Ok(Arc::new(Self {
            runtime: handle,
            _stop: stop,
        }))
    }

    fn block_on<F: Future>(&self, future: F) -> F::Output {
        self.runtime.block_on(future)
    }
}

/// Formats a wrapper like the type that it wraps.
macro_rules! debug_as_inner {
    ($([$($generics:tt)*] $type:ty;)*) => {$(
        impl $($generics)* fmt::Debug for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.inner.fmt(f)
            }
        }
    )*};
}

debug_as_inner! {
    [] Client;
    [<V, S: Replicated>] Table<V, S>;
    [<S: Replicated>] Replica<S>;
    [] Events;
}

/// Defines methods that pass calls on, and wait for them.
macro_rules! calls {
    ([$($generics:tt)*] $type:ty = $of:literal, |$this:ident| $runtime:expr;
     $($(#[$doc:meta])*
     $name:ident $([$($call:tt)*])?($($arg:ident: $takes:ty),*) -> $ok:ty $(where $bound:ident)?;)*) => {
        impl $($generics)* $type {
            $(
                $(#[$doc])*
                ///
                /// # Errors
                #[doc = concat!("Same as [`", $of, "::", stringify!($name), "`], which has the details.")]
                pub fn $name$(<$($call)*>)?(&self, $($arg: $takes),*) -> Result<$ok, Error>
                $(where V: $bound)? {
                    let $this = self;
                    $runtime.block_on(self.inner.$name($($arg),*))
                }
            )*
        }
    };
}

/// A client of one HotRead server or several, as [`crate::Client`]. Cheap to clone.
#[derive(Clone)]
pub struct Client {
    inner: crate::Client,
    runtime: Arc<Own>,
}

impl ClientBuilder {
    /// Creates a client for a program without an async runtime; otherwise the same as
    /// [`build`](Self::build).
    ///
    /// # Errors
    /// Same as [`build`](Self::build); also if the system refuses to start a thread.
    pub fn build_blocking(self) -> Result<Client, Error> {
        Ok(Client {
            inner: self.build()?,
            runtime: Own::start()?,
        })
    }
}

calls! {
    [] Client = "crate::Client", |client| client.runtime;
    /// Returns the tables that this client may read.
    tables() -> Vec<TableInfo>;
    /// Returns a table's position and options.
    table_info(table: &str) -> TableInfo;
    /// Creates a table.
    create_table(table: &str, options: &TableOptions) -> TableInfo;
    /// Changes the options of a table.
    alter(table: &str, alter: &Alter) -> TableInfo;
    /// Drops a table with all its records.
    drop_table(table: &str) -> ();
    /// Returns a record; `None`: there is no record with this key.
    get(table: &str, key: &str) -> Option<Record>;
    /// Returns a page of records, by key.
    scan(table: &str, scan: &Scan) -> Page;
    /// Returns the records with these words, the best matches first.
    search(table: &str, search: &Search) -> Found;
    /// Returns the transactions after a position, oldest first.
    changes(table: &str, from: Position, limit: Option<usize>) -> Changes;
    /// Writes a record of the category `general` that does not expire.
    put[V: Serialize + ?Sized](table: &str, key: &str, value: &V) -> Position;
    /// Writes a record whole, under a condition.
    put_record(table: &str, put: Put, condition: Option<Condition>) -> Committed;
    /// Deletes a record.
    delete(table: &str, key: &str) -> Position;
    /// Deletes a record, under a condition.
    delete_record(table: &str, key: &str, condition: Option<Condition>) -> Committed;
    /// Commits several operations, all of them or none.
    txn(table: &str, txn: Txn) -> Committed;
    /// Replaces a table's whole content in one visible step.
    replace(table: &str, new: Replace) -> Replaced;
    /// Returns the server's status.
    status() -> ServerStatus;
    /// Returns all tokens, without their secrets.
    tokens() -> Vec<TokenInfo>;
    /// Creates a token.
    create_token(name: &str, role: Role, tables: Option<&[TableName]>) -> NewToken;
    /// Creates a token that expires.
    create_expiring_token(name: &str, role: Role, tables: Option<&[TableName]>, expires_at: Timestamp) -> NewToken;
    /// Revokes a token.
    revoke_token(id: &str) -> TokenInfo;
}

impl Client {
    /// Returns a builder with the server's address; finish it with
    /// [`build_blocking`](ClientBuilder::build_blocking).
    pub fn builder(url: &str) -> ClientBuilder {
        crate::Client::builder(url)
    }

    /// Returns a client of the server at this address, with the default settings.
    ///
    /// # Errors
    /// Same as [`ClientBuilder::build_blocking`].
    pub fn new(url: &str) -> Result<Self, Error> {
        Self::builder(url).build_blocking()
    }

    /// Returns the address of the server to which the next call goes.
    #[must_use]
    pub fn server(&self) -> &str {
        self.inner.server()
    }

    /// Returns the table of this name as a `HashMap<Arc<str>, V>`, created if the server does not have it.
    ///
    /// # Errors
    /// Same as [`crate::Client::table`].
    pub fn table<V>(&self, name: &str) -> Result<Table<V>, Error>
    where
        HashMap<Arc<str>, V>: Replicated<Value = V>,
    {
        self.table_as(name)
    }

    /// Returns the table of this name as a state of any type that can follow a table.
    ///
    /// # Errors
    /// Same as [`crate::Client::table_as`].
    pub fn table_as<S: Replicated>(&self, name: &str) -> Result<Table<S::Value, S>, Error> {
        let inner = self.runtime.block_on(self.inner.table_as::<S>(name))?;
        Ok(Table {
            replica: self.replica_of((*inner).clone()),
            inner,
            client: self.clone(),
        })
    }

    /// Follows a table, and returns when the state is complete. Waits while the server cannot be reached.
    ///
    /// # Errors
    /// Same as [`crate::Client::replica`].
    pub fn replica<S: Replicated>(&self, table: &str) -> Result<Replica<S>, Error> {
        let replica = self.runtime.block_on(self.inner.replica(table))?;
        Ok(self.replica_of(replica))
    }

    fn replica_of<S: Replicated>(&self, inner: crate::Replica<S>) -> Replica<S> {
        let runtime = self.runtime.clone();
        Replica { inner, runtime }
    }

    /// Returns a builder of a replica with its own settings; finish it with
    /// [`start_blocking`](ReplicaBuilder::start_blocking).
    pub fn replica_builder(&self, table: &str) -> ReplicaBuilder {
        let mut builder = self.inner.replica_builder(table);
        builder.runtime = Some(self.runtime.clone());
        builder
    }

    /// Streams the transactions of a table, one by one.
    ///
    /// # Errors
    /// Same as [`crate::Client::events`].
    pub fn events(&self, table: &str, from: Option<Position>) -> Result<Events, Error> {
        Ok(Events {
            inner: self.runtime.block_on(self.inner.events(table, from))?,
            runtime: self.runtime.clone(),
        })
    }
}

impl ReplicaBuilder {
    /// Starts a replica in a program without an async runtime; otherwise the same as
    /// [`start`](Self::start).
    ///
    /// # Errors
    /// Same as [`start`](Self::start); also if the system refuses to start a thread.
    pub fn start_blocking<S: Replicated>(self) -> Result<Replica<S>, Error> {
        let runtime = self.runtime.clone().map_or_else(Own::start, Ok)?;
        Ok(Replica {
            inner: runtime.block_on(self.start())?,
            runtime,
        })
    }
}

/// A table of a server as a state in this process, as [`crate::Table`]. It dereferences to its [`Replica`].
pub struct Table<V, S: Replicated = HashMap<Arc<str>, V>> {
    inner: crate::Table<V, S>,
    client: Client,
    replica: Replica<S>,
}

typed_table_calls! {
    [] [] |table| table.client, table.table().as_str();
    "Readers see it as well, unless that takes longer than a second, or the type refuses a value."
}

calls! {
    [<V, S: Replicated>] Table<V, S> = "crate::Table", |table| table.client.runtime;
    /// Replaces the table's content, with the limits and conditions of `new`.
    replace_with(new: Replace) -> Replaced;
    /// Returns the value of a record as the server has it now.
    get(key: &str) -> Option<V> where DeserializeOwned;
    /// Returns the changes after `from`, oldest first, at most `limit`.
    changes(from: Position, limit: usize) -> Vec<Change>;
}

impl<V, S: Replicated> Table<V, S> {
    /// Returns an empty transaction.
    pub fn txn(&self) -> TableTxn<'_, Self, V> {
        TableTxn::new(self)
    }

    /// Streams every change after `from`, in order and without a gap.
    ///
    /// # Errors
    /// Same as [`crate::Table::subscribe`].
    pub fn subscribe(&self, from: Position) -> Result<Events, Error> {
        self.client.events(self.table().as_str(), Some(from))
    }
}

impl<V, S: Replicated> Commit for Table<V, S> {
    type Error = Error;
    type Answer<'a>
        = Result<Committed, Error>
    where
        Self: 'a;

    fn check(&self, put: &Put) -> Result<(), String> {
        self.inner.check(put)
    }

    fn now(&self) -> Timestamp {
        self.inner.now()
    }

    fn commit(&self, txn: Txn) -> Result<Committed, Error> {
        self.client.runtime.block_on(self.inner.commit(txn))
    }
}

impl_typed_table!(|table| table.replica, create_handle);

/// Dereferences to the replica, for readers, status, age and position.
impl<V, S: Replicated> Deref for Table<V, S> {
    type Target = Replica<S>;

    fn deref(&self) -> &Replica<S> {
        &self.replica
    }
}

impl<V, S: Replicated> Clone for Table<V, S> {
    fn clone(&self) -> Self {
        Self {
            inner: self.inner.clone(),
            client: self.client.clone(),
            replica: self.replica.clone(),
        }
    }
}

/// A table in the memory of this process, as [`crate::Replica`], to which it dereferences for all calls
/// that do not wait. Cheap to clone.
#[derive(Clone)]
pub struct Replica<S: Replicated> {
    inner: crate::Replica<S>,
    runtime: Arc<Own>,
}

impl<S: Replicated> Replica<S> {
    /// Writes the copy on disk immediately.
    ///
    /// # Errors
    /// Same as [`crate::Replica::save`].
    pub fn save(&self) -> Result<Position, SaveError> {
        self.runtime.block_on(self.inner.save())
    }

    /// Waits until readers see `at`, or a later position.
    ///
    /// # Errors
    /// Same as [`crate::Replica::wait_for`].
    pub fn wait_for(&self, at: Position, within: Duration) -> Result<(), WaitForError> {
        self.runtime.block_on(self.inner.wait_for(at, within))
    }
}

impl<S: Entries> Replica<S> {
    /// Calls `call` with the key, the old and the new value of each record that changes from now on, on a
    /// thread of its own, until the guard is dropped. See [`crate::Replica::on_change`] for details.
    ///
    /// # Errors
    /// Same as [`crate::Replica::on_change`].
    pub fn on_change(
        &self,
        call: impl FnMut(&str, Option<&S::Value>, Option<&S::Value>) + Send + 'static,
    ) -> Result<OnChange, Error>
    where
        S::Value: Clone + PartialEq,
    {
        self.inner.add_callback(Arc::new(self.clone()), call)
    }
}

/// Dereferences to [`crate::Replica`], for readers, status, age and position: all calls that do not wait.
impl<S: Replicated> Deref for Replica<S> {
    type Target = crate::Replica<S>;

    fn deref(&self) -> &crate::Replica<S> {
        &self.inner
    }
}

/// A table's transactions, one by one, as [`crate::Events`]: an iterator that ends only with an error.
pub struct Events {
    inner: crate::Events,
    runtime: Arc<Own>,
}

impl Events {
    /// Returns the position after which the stream began.
    #[must_use]
    pub fn from(&self) -> Position {
        self.inner.from()
    }

    /// Waits for the next transaction, for at most `time`; `None`: nothing arrived in that time, or the
    /// stream has ended.
    pub fn next_within(&mut self, time: Duration) -> Option<Result<Event, Error>> {
        let next = self.inner.next();
        // The timer has to be created inside the runtime.
        let waited = async { tokio::time::timeout(time, next).await };
        self.runtime.block_on(waited).ok().flatten()
    }
}

impl Iterator for Events {
    type Item = Result<Event, Error>;

    fn next(&mut self) -> Option<Self::Item> {
        self.runtime.block_on(self.inner.next())
    }
}
