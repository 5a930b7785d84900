//! Typed tables: a table as a value of the program's own type, behind a [`HotRead`].

mod error;
mod follower;
mod refused;
mod runner;
mod shown;
mod status;

pub use self::error::Error;
pub use self::status::{Status, WaitForError};

use self::follower::Follower;
use crate::error::TableError;
use crate::options::TableOptions;
use crate::states::States;
use crate::store::Store;
use crate::subscription::Subscription;
use crate::ticket::Replaced;
use hotread::{HotReadHandle, Readers};
use hotread_proto::{
    Change, Commit, Committed, Entries, InvalidInput, Key, OnChange, Position, Put, Replace,
    Replicated, TableName, TableTxn, Timestamp, Txn, check_value, impl_typed_table, read_value,
    typed_table_calls,
};
use serde::de::DeserializeOwned;
use std::any::{Any, TypeId};
use std::collections::HashMap;
use std::marker::PhantomData;
use std::ops::Deref;
use std::sync::{Arc, PoisonError, Weak};
use std::time::{Duration, SystemTime};

/// A table as a state `S` of the program's own type, by default `HashMap<Arc<str>, V>`. Values are
/// decoded when they change, never for a read.
///
/// Created by [`Store::table`] and [`Store::table_as`]. Cheap to clone. The store stays open while one
/// of its tables is alive.
///
/// ```
/// use hotread_store::Store;
///
/// #[derive(Clone, serde::Serialize, serde::Deserialize)]
/// struct Flag {
///     on: bool,
///     percent: u8,
/// }
///
/// # let dir = tempfile::tempdir().expect("a folder");
/// # let path = dir.path().join("flags.db");
/// let store = Store::open(path)?;
/// let flags = store.table::<Flag>("flags")?; // created if missing
/// let mut reader = flags.reader(); // one for each thread
/// flags.put("checkout-v2", &Flag { on: true, percent: 5 })?; // on disk when this returns
/// assert!(reader.current()["checkout-v2"].on);
/// # Ok::<(), hotread_store::Error>(())
/// ```
///
/// # Values that the type refuses
///
/// Other programs may write to the same table, as may an older version of this one. A value that cannot
/// be decoded into the type is refused: the state stays as it was before that change, for all records,
/// and [`status`](Self::status) names the record. The state advances when that record is changed or
/// deleted. If the table contains such a record at the start, the call returns [`Error::Rejected`].
///
/// # Costs
///
/// Two copies of the state, up to four while readers hold old ones; while the table is read, its
/// records once more. A value that this handle writes is decoded before it is written, so that the type
/// cannot refuse it afterwards, and again when the state takes it. A commit also applies earlier
/// commits of other callers, on the calling thread; a thread of the process applies them when no caller
/// does. After a refused value was fixed, and after the table was re-created, that thread reads the
/// whole table.
///
/// # Panics of the state's code
///
/// While the table is read for the first time, a panic of the state's code reaches the caller. Later it
/// ends the table's state with [`Status::Failed`]; [`Store::table`] then creates another one.
pub struct Table<V, S: Replicated = HashMap<Arc<str>, V>> {
    shared: Arc<Shared<S>>,
    /// The store with the actor of the request: handles with several actors share one state.
    store: Store,
    value: PhantomData<fn(V) -> V>,
}

/// The state that the handles of one table and type share. Dropping it ends the following.
struct Shared<S: Replicated>(Arc<Follower<S>>);

impl<S: Replicated> Deref for Shared<S> {
    type Target = Follower<S>;

    fn deref(&self) -> &Follower<S> {
        &self.0
    }
}

impl<S: Replicated> Shared<S> {
    /// Returns the shared state, or creates it.
    fn get(
        states: &States,
        name: &TableName,
        make: impl FnOnce() -> Result<Self, Error>,
    ) -> Result<Arc<Self>, Error> {
        let entry = states.entry(name, TypeId::of::<S>());
        let mut entry = entry.lock().unwrap_or_else(PoisonError::into_inner);
        let known = entry.as_ref().and_then(Weak::upgrade);
        if let Some(known) = known.and_then(|known| known.downcast::<Self>().ok())
            && !known.is_over()
        {
            known.move_on(None);
            return match known.status() {
                Status::Rejected(refused) => Err(Error::rejected(name, refused)),
                _ => Ok(known),
            };
        }
        let made = Arc::new(make()?);
        *entry = Some(Arc::<Self>::downgrade(&made) as Weak<dyn Any + Send + Sync>);
        Ok(made)
    }
}

impl<S: Replicated> Drop for Shared<S> {
    fn drop(&mut self) {
        self.0.retire();
    }
}

impl Store {
    /// Returns the table of this name as a `HashMap<Arc<str>, V>`, and creates it with the default
    /// options if it does not exist. See [`Table`].
    ///
    /// The first call reads the whole table: about a second for a million records. Later calls for the
    /// same type share the state.
    ///
    /// # Errors
    /// If the name is not valid, the table cannot be created or read, or it has a value that cannot be
    /// decoded into `V`.
    pub fn table<V>(&self, name: &str) -> Result<Table<V>, Error>
    where
        HashMap<Arc<str>, V>: Replicated<Value = V>,
    {
        self.table_as(name)
    }

    /// Returns the table of this name as a state of any type that can follow a table; otherwise as
    /// [`table`](Self::table).
    ///
    /// ```
    /// # let dir = tempfile::tempdir().expect("a folder");
    /// # let store = hotread_store::Store::open(dir.path().join("routes.db"))?;
    /// use std::collections::BTreeMap;
    ///
    /// let routes = store.table_as::<BTreeMap<String, u16>>("routes")?;
    /// routes.put("/api", &8080)?;
    /// routes.put("/api/v2", &8081)?;
    /// let ports = routes.reader().current().range("/api/".to_owned()..).next().map(|(_, port)| *port);
    /// assert_eq!(ports, Some(8081));
    /// # Ok::<(), hotread_store::Error>(())
    /// ```
    ///
    /// # Errors
    /// Same as [`table`](Self::table).
    pub fn table_as<S: Replicated>(&self, name: &str) -> Result<Table<S::Value, S>, Error> {
        let name = TableName::new(name)?;
        let make = || Follower::start(self, &name).map(Shared);
        let shared = match self.is_read_only() {
            // Each state of a read-only store is that of the moment of its request.
            true => Arc::new(make()?),
            false => {
                self.create_if_absent(&name)?;
                Shared::get(&self.0.states, &name, make)?
            }
        };
        Ok(Table {
            shared,
            // The handle outlives the caller's budget, so it does not inherit it.
            store: Self(self.0.clone(), None, self.2.clone()),
            value: PhantomData,
        })
    }

    fn create_if_absent(&self, name: &TableName) -> Result<(), Error> {
        if self.0.registry.get(name).is_none() {
            match self.create_table(name, TableOptions::default()) {
                // Another caller created it first.
                Err(TableError::Exists { .. }) => {}
                other => drop(other?),
            }
        }
        Ok(())
    }
}

typed_table_calls! {
    [] [] |table| table.store, table.name();
    "Readers see it as well, unless they [are in the way](Status::Blocked), the type \
     [refuses a value](Status::Rejected) of another writer, or the status names another cause that \
     prevents it."
}

impl<V, S: Replicated> Table<V, S> {
    /// Returns the table's name.
    #[must_use]
    pub fn name(&self) -> &TableName {
        &self.shared.name
    }

    // ---- reading the state ----

    /// Returns a reader of the state, for one thread or task: [`HotReadHandle::current`] costs one load
    /// and one compare. The reader keeps working after the table's handles and the store are gone. It
    /// waits for changes with [`HotReadHandle::wait_changed`] or, in a task,
    /// [`HotReadHandle::changed`].
    #[must_use]
    pub fn reader(&self) -> HotReadHandle<S> {
        self.shared.hot.create_handle()
    }

    /// Returns a reader with a name, which [`Status::Blocked`] reports.
    #[must_use]
    pub fn named_reader(&self, name: &str) -> HotReadHandle<S> {
        self.shared.hot.create_named_handle(name)
    }

    /// Returns a factory of readers, for code that must not write.
    #[must_use]
    pub fn readers(&self) -> Readers<S> {
        self.shared.hot.readers()
    }

    /// Returns the position of the last change that readers see. It may lag while readers block a
    /// publication.
    #[must_use]
    pub fn position(&self) -> Position {
        self.shared.position()
    }

    /// Returns an upper bound of the age of what readers see, as for a replica: zero if they see every
    /// commit of this store that was acknowledged before this call. `None` if they do not, or if that
    /// is unknown because another thread is publishing the last commit at this moment or for a reason
    /// that [`status`](Self::status) gives.
    #[must_use]
    pub fn age(&self) -> Option<Duration> {
        self.shared.sees_all().then_some(Duration::ZERO)
    }

    /// Returns the status of the state. Never waits for the disk.
    #[must_use]
    pub fn status(&self) -> Status {
        self.shared.status()
    }

    /// Waits until readers see the change at a position, for example one that another program
    /// committed.
    ///
    /// # Errors
    /// [`WaitForError`] gives the reason readers do not see it.
    pub fn wait_for(&self, position: Position, within: Duration) -> Result<(), WaitForError> {
        self.shared.wait_for(position, within)
    }

    /// Calls `call` with the key, the old and the new value of each record that changes from now on,
    /// until the guard is dropped. The old value of a new record is `None`, and so is the new value of
    /// a deleted one.
    ///
    /// By the time of a call, every reader that asks sees that change or a later one. The changes of a
    /// table arrive in order. After the table was read as a whole (it was re-created, or a
    /// [refused](Status::Rejected) value was fixed), and for a callback that is more than
    /// [`MAX_CHANGES_BEHIND`](hotread_proto::MAX_CHANGES_BEHIND) changes behind, they arrive as the
    /// difference from the last reported state. A write that leaves the value equal is not reported.
    ///
    /// ```
    /// # let dir = tempfile::tempdir().expect("a folder");
    /// # let store = hotread_store::Store::open(dir.path().join("limits.db"))?;
    /// let limits = store.table::<u32>("limits")?;
    /// let (tell, told) = std::sync::mpsc::channel();
    /// let guard = limits.on_change(move |key, old, new| {
    ///     let _ = tell.send((key.to_owned(), old.copied(), new.copied()));
    /// })?;
    /// limits.put("api", &100)?;
    /// assert_eq!(told.recv(), Ok(("api".to_owned(), None, Some(100))));
    /// # drop(guard);
    /// # Ok::<(), hotread_store::Error>(())
    /// ```
    ///
    /// # Costs
    ///
    /// One thread, on which `call` runs, and one more copy of the state. No lock is held during a call:
    /// it may use the table and be slow without delaying readers or writers. A panic is caught; the
    /// status is [`Status::CallbackPanicked`] then, and later changes are still reported.
    ///
    /// # Errors
    /// If the system refuses to start a thread.
    pub fn on_change(
        &self,
        call: impl FnMut(&str, Option<&V>, Option<&V>) + Send + 'static,
    ) -> Result<OnChange, Error>
    where
        S: Entries + Replicated<Value = V>,
        V: Clone + PartialEq,
    {
        let table = &self.shared;
        let added = table.callbacks.add(&table.hot, table.clone(), call);
        added.map_err(Error::no_thread)
    }

    // ---- writing ----

    /// Returns an empty transaction.
    ///
    /// ```
    /// # let dir = tempfile::tempdir().expect("a folder");
    /// # let store = hotread_store::Store::open(dir.path().join("limits.db"))?;
    /// let limits = store.table::<u32>("limits")?;
    /// let first = limits.txn().put("api", &100)?.put("web", &20)?.delete("old")?.commit()?;
    ///
    /// let seq = first.position.seq;
    /// limits.txn().put("api", &200)?.if_seq("api", seq)?.commit()?; // refused if another was faster
    /// assert_eq!(limits.get("api")?, Some(200));
    /// # Ok::<(), hotread_store::Error>(())
    /// ```
    pub fn txn(&self) -> TableTxn<'_, Self, V> {
        TableTxn::new(self)
    }

    /// Replaces the table's content, within the limits and conditions of the replacement.
    ///
    /// # Errors
    /// Same as [`Store::replace`].
    pub fn replace_with(&self, new: Replace) -> Result<Replaced, Error> {
        TableTxn::<Self, V>::check(self, &new.records)?;
        let replaced = self.store.replace(self.name(), new)?;
        self.shared.catch_up(replaced.committed.position);
        Ok(replaced)
    }

    // ---- reading the table ----

    /// Returns the value of a record as of the last commit, read from disk in a few microseconds. On the
    /// hot path use a [`reader`](Self::reader) instead.
    ///
    /// # Errors
    /// If the key is not valid, the table cannot be read, or the type refuses the value.
    pub fn get(&self, key: &str) -> Result<Option<V>, Error>
    where
        V: DeserializeOwned,
    {
        let key = Key::new(key).map_err(InvalidInput::from)?;
        let record = self.store.get(self.name(), &key)?;
        let value = record.map(|record| read_value(&record, self.shared.is_sealed()));
        value
            .transpose()
            .map_err(|refused| Error::rejected(self.name(), refused))
    }

    /// Returns the changes after `from`, oldest first, at most `limit`.
    ///
    /// # Errors
    /// Same as [`Store::changes`].
    pub fn changes(&self, from: Position, limit: usize) -> Result<Vec<Change>, Error> {
        Ok(self.store.changes(self.name(), from, limit)?)
    }

    /// Returns a subscription to every change after `from`, in order and without a gap.
    ///
    /// # Errors
    /// Same as [`Store::subscribe`].
    pub fn subscribe(&self, from: Position) -> Result<Subscription, Error> {
        Ok(self.store.subscribe(self.name(), from)?)
    }
}

impl<V, S: Replicated> Commit for Table<V, S> {
    type Error = Error;
    type Answer<'a>
        = Result<Committed, Error>
    where
        Self: 'a;

    fn check(&self, put: &Put) -> Result<(), String> {
        check_value::<S>(put, self.shared.is_sealed())
    }

    fn now(&self) -> Timestamp {
        SystemTime::now().into()
    }

    /// Commits. When this returns, the transaction is on disk, and readers of the table see it unless
    /// other readers [are in the way](Status::Blocked) or the type [refuses a value](Status::Rejected).
    ///
    /// # Errors
    /// Same as [`Store::commit`].
    fn commit(&self, txn: Txn) -> Result<Committed, Error> {
        let committed = self.store.commit(self.name(), txn)?;
        self.shared.catch_up(committed.position);
        Ok(committed)
    }
}

impl_typed_table!(|table| table, reader);

impl<V, S: Replicated> Clone for Table<V, S> {
    fn clone(&self) -> Self {
        Self {
            shared: self.shared.clone(),
            store: self.store.clone(),
            value: PhantomData,
        }
    }
}

impl<V, S: Replicated> std::fmt::Debug for Table<V, S> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Table")
            .field("name", self.name())
            .field("store", &self.store)
            .finish_non_exhaustive()
    }
}
