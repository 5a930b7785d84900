//! The same client for programs without an async runtime: each call blocks its thread.
//!
//! All clones of a [`Client`], and what they made, share a runtime with one thread of its own, which
//! follows the tables. Reading a replica involves neither. Do not call these from async code: they
//! panic there.

use crate::{
    Changes, ClientBuilder, Committed, Condition, Entries, Error, Event, Found, NewToken, OnChange,
    Page, Position, Put, Reader, Record, Refused, Replace, Replaced, Replicated, Role, SaveError,
    Scan, Search, ServerStatus, Status, TableInfo, TableName, TableOptions, Timestamp, TokenInfo,
    TooStale, Txn, WaitForError,
};
use hotread::{HotRead, HotReadHandle};
use hotread_proto::{Alter, Change, Commit, PutOptions, TableTxn, TypedTable};
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::collections::HashMap;
use std::fmt;
use std::io;
use std::ops::Deref;
use std::sync::Arc;
use std::thread;
use std::time::Duration;
use tokio::runtime::{Builder, Handle};
use tokio::sync::oneshot;

/// The runtime and its thread, which end when this goes, without being waited for.
struct Own {
    runtime: Handle,
    _stop: oneshot::Sender<()>,
}

impl Own {
    fn start() -> Result<Self, Error> {
        let refused = |error: io::Error| Error::Invalid {
            code: crate::Code::Internal,
            message: format!("the system gives no thread for the client: {error}"),
        };
        // Driven by a thread of this crate: tokio panics where the system refuses it one.
        let runtime = Builder::new_current_thread().enable_all().build();
        let runtime = runtime.map_err(refused)?;
        let handle = runtime.handle().clone();
        let (stop, stopped) = oneshot::channel::<()>();
        thread::Builder::new()
            .name("hotread-client".to_owned())
            .spawn(move || {
                // An error: the other end is gone, which is what is waited for.
                let _ = runtime.block_on(stopped);
                runtime.shutdown_background();
            })
            .map_err(refused)?;
        Ok(Self {
            runtime: handle,
            _stop: stop,
        })
    }

    fn block_on<F: Future>(&self, future: F) -> F::Output {
        self.runtime.block_on(future)
    }
}

/// A HotRead server, as [`crate::Client`]. Cheap to clone.
#[derive(Clone)]
pub struct Client {
    client: crate::Client,
    runtime: Arc<Own>,
}

impl ClientBuilder {
    /// As [`build`](Self::build), for programs without an async runtime.
    ///
    /// # Errors
    /// As `build`, and if the system gives no thread.
    pub fn build_blocking(self) -> Result<Client, Error> {
        Ok(Client {
            client: self.build()?,
            runtime: Arc::new(Own::start()?),
        })
    }
}

/// Passes calls on, and waits for them.
macro_rules! calls {
    ($($(#[$doc:meta])* $name:ident($($arg:ident: $type:ty),*) -> $ok:ty;)*) => {
        impl Client {
            $(
                $(#[$doc])*
                ///
                /// # Errors
                /// As the call of the same name of [`crate::Client`], where more is said.
                pub fn $name(&self, $($arg: $type),*) -> Result<$ok, Error> {
                    self.runtime.block_on(self.client.$name($($arg),*))
                }
            )*
        }
    };
}

calls! {
    /// The tables that this client may read.
    tables() -> Vec<TableInfo>;
    /// A table's options and where it stands.
    table_info(table: &str) -> TableInfo;
    /// Creates a table.
    create_table(table: &str, options: &TableOptions) -> TableInfo;
    /// Gives a table other options.
    alter(table: &str, alter: &Alter) -> TableInfo;
    /// Drops a table with all that is in it.
    drop_table(table: &str) -> ();
    /// A record; `None`: there is none.
    get(table: &str, key: &str) -> Option<Record>;
    /// A page of records, by key.
    scan(table: &str, scan: &Scan) -> Page;
    /// Records with these words, the best first.
    search(table: &str, search: &Search) -> Found;
    /// The transactions after a position, oldest first.
    changes(table: &str, from: Position, limit: Option<usize>) -> Changes;
    /// Writes a record whole, under a condition.
    put_record(table: &str, put: Put, condition: Option<Condition>) -> Committed;
    /// Takes a record out.
    delete(table: &str, key: &str) -> Position;
    /// Takes a record out, under a condition.
    delete_record(table: &str, key: &str, condition: Option<Condition>) -> Committed;
    /// Several operations, all of them or none.
    txn(table: &str, txn: Txn) -> Committed;
    /// Replaces a table's whole content in one visible step.
    replace(table: &str, new: Replace) -> Replaced;
    /// The server's status.
    status() -> ServerStatus;
    /// All tokens, without their secrets.
    tokens() -> Vec<TokenInfo>;
    /// Makes a token.
    create_token(name: &str, role: Role, tables: Option<&[TableName]>) -> NewToken;
    /// Makes a token that ends by itself.
    create_expiring_token(name: &str, role: Role, tables: Option<&[TableName]>, expires_at: Timestamp) -> NewToken;
    /// Revokes a token.
    revoke_token(id: &str) -> TokenInfo;
}

impl Client {
    /// Begins with the server's address; end with
    /// [`build_blocking`](ClientBuilder::build_blocking).
    pub fn builder(url: &str) -> ClientBuilder {
        crate::Client::builder(url)
    }

    /// A client of the server at this address, with the default settings.
    ///
    /// # Errors
    /// As [`ClientBuilder::build_blocking`].
    pub fn new(url: &str) -> Result<Self, Error> {
        Self::builder(url).build_blocking()
    }

    /// The table of this name as a `HashMap<Arc<str>, V>`, created if the server does not have it.
    ///
    /// # Errors
    /// As [`crate::Client::table`].
    pub fn table<V>(&self, name: &str) -> Result<Table<V>, Error>
    where
        HashMap<Arc<str>, V>: Replicated<Value = V>,
    {
        self.table_as(name)
    }

    /// The table of this name as a state of any type that can follow a table.
    ///
    /// # Errors
    /// As [`crate::Client::table_as`].
    pub fn table_as<S: Replicated>(&self, name: &str) -> Result<Table<S::Value, S>, Error> {
        let table = self.runtime.block_on(self.client.table_as::<S>(name))?;
        Ok(Table {
            replica: Replica {
                replica: (*table).clone(),
                runtime: self.runtime.clone(),
            },
            table,
        })
    }

    /// Writes a record of the category `general` that does not expire.
    ///
    /// # Errors
    /// As [`crate::Client::put`].
    pub fn put<V: Serialize + ?Sized>(
        &self,
        table: &str,
        key: &str,
        value: &V,
    ) -> Result<Position, Error> {
        self.runtime.block_on(self.client.put(table, key, value))
    }

    /// Follows a table, and returns when the state is complete. Waits as long as the server cannot be
    /// reached.
    ///
    /// # Errors
    /// As [`crate::Client::replica`].
    pub fn replica<S: Replicated>(&self, table: &str) -> Result<Replica<S>, Error> {
        Ok(Replica {
            replica: self.runtime.block_on(self.client.replica(table))?,
            runtime: self.runtime.clone(),
        })
    }

    /// Follows a table with settings of its own; end with
    /// [`start_blocking`](ReplicaBuilder::start_blocking).
    pub fn replica_builder(&self, table: &str) -> ReplicaBuilder {
        ReplicaBuilder {
            builder: self.client.replica_builder(table),
            runtime: self.runtime.clone(),
        }
    }

    /// The transactions of a table, one by one.
    ///
    /// # Errors
    /// As [`crate::Client::events`].
    pub fn events(&self, table: &str, from: Option<Position>) -> Result<Events, Error> {
        Ok(Events {
            events: self.runtime.block_on(self.client.events(table, from))?,
            runtime: self.runtime.clone(),
        })
    }
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.client.fmt(f)
    }
}

/// Settings of a new [`Replica`], as [`crate::ReplicaBuilder`].
#[must_use = "a builder makes nothing until `start_blocking` is called"]
pub struct ReplicaBuilder {
    builder: crate::ReplicaBuilder,
    runtime: Arc<Own>,
}

impl ReplicaBuilder {
    /// Leaves records out whose value the state's type refuses. **Gives up the guarantee that readers
    /// see a state that the table had**: see [`crate::ReplicaBuilder::skip_bad_keys`].
    pub fn skip_bad_keys(mut self, skip: bool) -> Self {
        self.builder = self.builder.skip_bad_keys(skip);
        self
    }

    /// Most bytes of keys, categories and values that the table may have; 64 GiB unless it is said here.
    /// See [`crate::ReplicaBuilder::max_table_bytes`].
    pub fn max_table_bytes(mut self, bytes: usize) -> Self {
        self.builder = self.builder.max_table_bytes(bytes);
        self
    }

    /// Takes records out of the state when they expire by this machine's clock. See
    /// [`crate::ReplicaBuilder::hide_expired`].
    pub fn hide_expired(mut self, hide: bool) -> Self {
        self.builder = self.builder.hide_expired(hide);
        self
    }

    /// Makes the replica, as [`Client::replica`] does.
    ///
    /// # Errors
    /// As there.
    pub fn start_blocking<S: Replicated>(self) -> Result<Replica<S>, Error> {
        Ok(Replica {
            replica: self.runtime.block_on(self.builder.start())?,
            runtime: self.runtime,
        })
    }
}

/// A table of a server as a state in this process, as [`crate::Table`]. It is a [`Replica`].
pub struct Table<V, S: Replicated = HashMap<Arc<str>, V>> {
    table: crate::Table<V, S>,
    replica: Replica<S>,
}

/// Passes a table's calls on, and waits for them.
macro_rules! table_calls {
    ($($(#[$doc:meta])* $name:ident($($arg:ident: $type:ty),*) -> $ok:ty $(where $bound:ident)?;)*) => {
        impl<V, S: Replicated> Table<V, S> {
            $(
                $(#[$doc])*
                ///
                /// # Errors
                /// As the call of the same name of [`crate::Table`], where more is said.
                pub fn $name(&self, $($arg: $type),*) -> Result<$ok, Error> $(where V: $bound)? {
                    self.replica.runtime.block_on(self.table.$name($($arg),*))
                }
            )*
        }
    };
}

table_calls! {
    /// The table's options and where it stands.
    info() -> TableInfo;
    /// Gives the table other options.
    alter(alter: &Alter) -> TableInfo;
    /// Writes a record, and returns its position.
    put(key: &str, value: &V) -> Position where Serialize;
    /// Writes a record with a category, an expiry or a condition.
    put_with(key: &str, value: &V, options: PutOptions) -> Position where Serialize;
    /// Deletes a record, if the table has it.
    delete(key: &str) -> Position;
    /// Replaces the table's content, with the bounds and conditions of the replacement.
    replace_with(new: Replace) -> Replaced;
    /// The value of a record as the server has it now.
    get(key: &str) -> Option<V> where DeserializeOwned;
    /// A page of whole records, ordered by the bytes of their keys.
    scan(scan: &Scan) -> Page;
    /// The records that have all the words of a query, the best first.
    search(search: &Search) -> Found;
    /// The changes after `from`, oldest first, at most `limit`.
    changes(from: Position, limit: usize) -> Vec<Change>;
}

impl<V, S: Replicated> Table<V, S> {
    /// An empty transaction, to be filled.
    pub fn txn(&self) -> TableTxn<'_, Self, V> {
        TableTxn::new(self)
    }

    /// Makes the table have exactly these records, in one visible step.
    ///
    /// # Errors
    /// As [`crate::Table::replace`].
    pub fn replace<'a>(
        &self,
        records: impl IntoIterator<Item = (&'a str, &'a V)>,
    ) -> Result<Replaced, Error>
    where
        V: Serialize + 'a,
    {
        self.replica.runtime.block_on(self.table.replace(records))
    }

    /// Every change after `from`, in order and without a gap.
    ///
    /// # Errors
    /// As [`crate::Table::subscribe`].
    pub fn subscribe(&self, from: Position) -> Result<Events, Error> {
        Ok(Events {
            events: self.replica.runtime.block_on(self.table.subscribe(from))?,
            runtime: self.replica.runtime.clone(),
        })
    }
}

impl<V, S: Replicated> Commit for Table<V, S> {
    type Error = Error;
    type Answer<'a>
        = Result<Committed, Error>
    where
        Self: 'a;

    fn check(&self, put: &Put) -> Result<(), String> {
        self.table.check(put)
    }

    fn now(&self) -> Timestamp {
        self.table.now()
    }

    fn commit(&self, txn: Txn) -> Result<Committed, Error> {
        self.replica.runtime.block_on(self.table.commit(txn))
    }
}

impl<V: 'static, S: Replicated<Value = V>> TypedTable<V> for Table<V, S> {
    type State = S;
    type WaitForError = WaitForError;

    fn reader(&self) -> HotReadHandle<S> {
        self.create_handle()
    }

    fn position(&self) -> Position {
        self.replica.position()
    }

    fn age(&self) -> Option<Duration> {
        self.replica.age()
    }

    fn wait_for(&self, position: Position, within: Duration) -> Result<(), WaitForError> {
        self.replica.wait_for(position, within)
    }

    fn on_change(
        &self,
        call: impl FnMut(&str, Option<&V>, Option<&V>) + Send + 'static,
    ) -> Result<OnChange, Error>
    where
        S: Entries,
        V: Clone + PartialEq,
    {
        self.replica.on_change(call)
    }

    fn get(&self, key: &str) -> Result<Option<V>, Error>
    where
        V: DeserializeOwned,
    {
        self.get(key)
    }

    fn scan(&self, scan: &Scan) -> Result<Page, Error> {
        self.scan(scan)
    }

    fn search(&self, search: &Search) -> Result<Found, Error> {
        self.search(search)
    }

    fn changes(&self, from: Position, limit: usize) -> Result<Vec<Change>, Error> {
        self.changes(from, limit)
    }

    fn info(&self) -> Result<TableInfo, Error> {
        self.info()
    }

    fn alter(&self, alter: &Alter) -> Result<TableInfo, Error> {
        self.alter(alter)
    }

    fn replace_with(&self, new: Replace) -> Result<Committed, Error> {
        Ok(self.replace_with(new)?.committed)
    }
}

/// Readers, status, age and position.
impl<V, S: Replicated> Deref for Table<V, S> {
    type Target = Replica<S>;

    fn deref(&self) -> &Replica<S> {
        &self.replica
    }
}

impl<V, S: Replicated> Clone for Table<V, S> {
    fn clone(&self) -> Self {
        Self {
            table: self.table.clone(),
            replica: self.replica.clone(),
        }
    }
}

impl<V, S: Replicated> fmt::Debug for Table<V, S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.table.fmt(f)
    }
}

/// A table inside this process, as [`crate::Replica`]. Cheap to clone.
pub struct Replica<S: Replicated> {
    replica: crate::Replica<S>,
    runtime: Arc<Own>,
}

impl<S: Replicated> Replica<S> {
    /// The table.
    #[must_use]
    pub fn table(&self) -> &TableName {
        self.replica.table()
    }

    /// A new handle for a worker.
    #[must_use]
    pub fn create_handle(&self) -> HotReadHandle<S> {
        self.replica.create_handle()
    }

    /// A new reader, which can also be asked for a state that is [fresh enough](Reader::fresh).
    #[must_use]
    pub fn reader(&self) -> Reader<S> {
        self.replica.reader()
    }

    /// A new handle with a name; see [`crate::Replica::create_named_handle`].
    #[must_use]
    pub fn create_named_handle(&self, name: &str) -> HotReadHandle<S> {
        self.replica.create_named_handle(name)
    }

    /// A new reader with a name; see [`crate::Replica::named_reader`].
    #[must_use]
    pub fn named_reader(&self, name: &str) -> Reader<S> {
        self.replica.named_reader(name)
    }

    /// Bytes of the keys, categories and values that the table has.
    #[must_use]
    pub fn table_bytes(&self) -> usize {
        self.replica.table_bytes()
    }

    /// The state as HotRead keeps it.
    #[must_use]
    pub fn state(&self) -> &HotRead<S> {
        self.replica.state()
    }

    /// How it is doing.
    #[must_use]
    pub fn status(&self) -> Status {
        self.replica.status()
    }

    /// The records that are left out at present; see [`crate::Replica::left_out`].
    #[must_use]
    pub fn left_out(&self) -> Arc<[Refused]> {
        self.replica.left_out()
    }

    /// Why the last connection to the server ended, if one has.
    #[must_use]
    pub fn trouble(&self) -> Option<Arc<str>> {
        self.replica.trouble()
    }

    /// Writes the copy on disk now.
    ///
    /// # Errors
    /// As [`crate::Replica::save`].
    pub fn save(&self) -> Result<Position, SaveError> {
        self.runtime.block_on(self.replica.save())
    }

    /// How old what readers see is at most; `None`: that is not proved yet.
    #[must_use]
    pub fn age(&self) -> Option<Duration> {
        self.replica.age()
    }

    /// Is the content at most so old?
    ///
    /// # Errors
    /// If it may be older.
    pub fn fresh(&self, max: Duration) -> Result<(), TooStale> {
        self.replica.fresh(max)
    }

    /// Transactions that the table has and readers cannot see yet, as far as is known.
    #[must_use]
    pub fn lag(&self) -> u64 {
        self.replica.lag()
    }

    /// Where the state stands that readers see who ask now.
    #[must_use]
    pub fn position(&self) -> Position {
        self.replica.position()
    }

    /// Waits until readers see `at`, or a later position.
    ///
    /// # Errors
    /// As [`crate::Replica::wait_for`].
    pub fn wait_for(&self, at: Position, within: Duration) -> Result<(), WaitForError> {
        self.runtime.block_on(self.replica.wait_for(at, within))
    }
}

impl<S: Entries> Replica<S> {
    /// Calls `call` with the key, the old and the new value of each record that changes from now on, on a
    /// thread of its own, until the guard is dropped.
    ///
    /// # Errors
    /// As [`crate::Replica::on_change`], where more is said.
    pub fn on_change(
        &self,
        call: impl FnMut(&str, Option<&S::Value>, Option<&S::Value>) + Send + 'static,
    ) -> Result<OnChange, Error>
    where
        S::Value: Clone + PartialEq,
    {
        self.replica.add_callback(Arc::new(self.clone()), call)
    }
}

impl<S: Replicated> Clone for Replica<S> {
    fn clone(&self) -> Self {
        Self {
            replica: self.replica.clone(),
            runtime: self.runtime.clone(),
        }
    }
}

impl<S: Replicated> fmt::Debug for Replica<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.replica.fmt(f)
    }
}

/// A table's transactions, one by one, as [`crate::Events`]: an iterator that ends only with an error.
pub struct Events {
    events: crate::Events,
    runtime: Arc<Own>,
}

impl Events {
    /// The position after which it began.
    #[must_use]
    pub fn from(&self) -> Position {
        self.events.from()
    }

    /// As [`next`](Iterator::next), for at most so long; `None`: nothing came.
    pub fn next_within(&mut self, time: Duration) -> Option<Result<Event, Error>> {
        let next = self.events.next();
        // The timer needs the runtime when it is made.
        let waited = async { tokio::time::timeout(time, next).await };
        self.runtime.block_on(waited).ok().flatten()
    }
}

impl Iterator for Events {
    type Item = Result<Event, Error>;

    fn next(&mut self) -> Option<Self::Item> {
        self.runtime.block_on(self.events.next())
    }
}

impl fmt::Debug for Events {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.events.fmt(f)
    }
}
