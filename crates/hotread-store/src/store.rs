//! The store that a program opens, and its calls.

mod alter;
mod builder;
mod reads;
mod replace;
mod tables;
mod tokens;

pub use self::builder::StoreBuilder;

use crate::budget::Budget;
use crate::committer::queue::{OP_BYTES, PATIENCE, Request, Work};
use crate::committer::{Committer, Shared};
use crate::error::{CommitError, OpenError};
use crate::feed::Closed;
use crate::location::Location;
use crate::lock::WriterLock;
use crate::read::{Opener, Pool};
use crate::schema::Schema;
use crate::seal::{Passphrase, SealError};
use crate::states::States;
use crate::stats::Stats;
use crate::table::{OpenTable, Registry};
use crate::temporary::Folder;
use crate::ticket::{Ticket, ticket};
use crate::wal::WalDamage;
use hotread_proto::{Actor, Body, Committed, Op, Refusal, TableName, Timestamp, Txn};
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError, mpsc};
use std::thread::JoinHandle;
use std::time::{Duration, SystemTime};

/// Durable tables in one SQLite file.
///
/// Cheap to clone. The file is closed when the last clone is dropped, after all submitted work is done.
///
/// One process at a time writes a file ([`OpenError::InUse`]); other processes may read it.
///
/// Clones share everything except the [budget](Self::within) of their reads and the
/// [actor](Self::acting_as) of their writes.
#[derive(Clone)]
pub struct Store(
    pub(crate) Arc<Inner>,
    pub(crate) Option<Budget>,
    pub(crate) Option<Actor>,
);

pub(crate) struct Inner {
    pub(crate) at: Location,
    pub(crate) passphrase: Option<Passphrase>,
    /// Rounds of key derivation for tables that are sealed from now on.
    pub(crate) key_rounds: u32,
    /// The known tables. A store that only reads checks an entry against the file before it uses it.
    pub(crate) registry: Arc<Registry>,
    /// Declared before `writer`, whose connection must close last, because its close checkpoints.
    pub(crate) pool: Pool,
    pub(crate) _opener: Opener,
    pub(crate) damage: Option<WalDamage>,
    pub(crate) created: bool,
    pub(crate) writer: Option<Writer>,
    pub(crate) states: States,
    /// Deleted with the store, after its files are closed.
    pub(crate) _folder: Option<Folder>,
}

/// The parts of a store that may write.
pub(crate) struct Writer {
    pub(crate) shared: Shared,
    pub(crate) thread: Mutex<Option<JoinHandle<()>>>,
    pub(crate) lock: WriterLock,
}

impl std::fmt::Debug for Store {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Store")
            .field("path", &self.0.at.path)
            .field("read_only", &self.is_read_only())
            .finish_non_exhaustive()
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        self.close();
    }
}

impl Writer {
    fn close(&self) {
        self.shared.queue.close();
        // Concurrent calls of `close` block here until the thread has ended.
        let mut thread = self.thread.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(thread) = thread.take()
            && thread.join().is_err()
        {
            tracing::error!("the committer panicked");
        }
        for table in self.shared.registry.all() {
            table.feed.close(Closed::Store);
        }
    }
}

impl Store {
    /// Opens a file for reading and writing, and creates it if it does not exist.
    ///
    /// # Errors
    /// Same as [`StoreBuilder::open`].
    pub fn open(path: impl AsRef<Path>) -> Result<Self, OpenError> {
        Self::builder(path).open()
    }

    /// Opens an empty store that is deleted with its last clone, for tests of applications and for
    /// tables that need not outlive the process. Its file is in a folder of its own below the system's
    /// folder for temporary files, and is written without waiting for the disk
    /// ([`Synchronous::Normal`](crate::Synchronous::Normal)). The folder is left behind if the process
    /// is killed.
    ///
    /// ```
    /// let store = hotread_store::Store::temporary()?;
    /// let limits = store.table::<u32>("limits")?;
    /// limits.put("api", &100)?;
    /// assert_eq!(limits.reader().current()["api"], 100);
    /// # Ok::<(), hotread_store::Error>(())
    /// ```
    ///
    /// # Errors
    /// If there is no space, or the folder cannot be written.
    pub fn temporary() -> Result<Self, OpenError> {
        let path = std::env::temp_dir();
        let folder = Folder::create(&path);
        let folder = folder.map_err(|source| OpenError::Storage { path, source })?;
        StoreBuilder::temporary(folder).open()
    }

    /// Returns a builder with options for opening a file.
    pub fn builder(path: impl AsRef<Path>) -> StoreBuilder {
        StoreBuilder::new(path.as_ref())
    }

    /// Returns the path of the database file.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.0.at.path
    }

    /// Returns `true` if the store was opened for reading only.
    #[must_use]
    pub fn is_read_only(&self) -> bool {
        self.0.writer.is_none()
    }

    /// Returns `true` if this store created the database.
    #[must_use]
    pub fn is_new(&self) -> bool {
        self.0.created
    }

    pub(crate) fn unseal(&self, table: &OpenTable) -> Result<(), SealError> {
        if let Some(known) = self.0.registry.get(&table.name) {
            table.unseal_as(&known);
        }
        table.unseal(self.0.passphrase.as_ref())
    }

    /// Returns the commits in a damaged write-ahead log that were skipped when this store was opened
    /// for writing, as `docs/durability.md` describes. [`verify`](Self::verify) of a store that only
    /// reads reports the same damage earlier, before any store opens the file for writing.
    #[must_use]
    pub fn wal_damage(&self) -> Option<WalDamage> {
        self.0.damage
    }

    /// Records a URL in the lock file, at which processes that want to write the file can reach this
    /// store.
    ///
    /// # Errors
    /// If the lock file cannot be written.
    pub fn announce(&self, url: &str) -> std::io::Result<()> {
        match &self.0.writer {
            Some(writer) => writer.lock.announce(Some(url.to_owned())),
            None => Ok(()),
        }
    }

    /// Ends writing for all clones: commits the submitted work and moves the write-ahead log into the
    /// database, which is then complete in one file. Dropping the last clone does the same; this call is
    /// for programs that end while tasks or threads still hold a clone.
    ///
    /// A reader with an open transaction keeps the log from being moved; the log then stays next to the
    /// database, and nothing is lost.
    pub fn close(&self) {
        if let Some(writer) = &self.0.writer {
            writer.close();
        }
    }

    /// Fails while the database cannot be written: after a failed COMMIT until the content of the disk
    /// is known, and while another file has the database's name. Both are checked at each write and
    /// once a second.
    ///
    /// # Errors
    /// The cause that prevents writing.
    pub fn check_writable(&self) -> Result<(), CommitError> {
        Ok(self.writer()?.shared.counters.check()?)
    }

    pub(crate) fn writer(&self) -> Result<&Writer, CommitError> {
        self.0.writer.as_ref().ok_or(CommitError::ReadOnly)
    }

    /// Runs a closure on the committer's thread, between groups, and returns its result.
    pub(crate) fn job<R: Send + 'static, E: From<CommitError> + Send + 'static>(
        &self,
        work: impl FnOnce(&mut Committer) -> Result<R, E> + Send + 'static,
    ) -> Result<R, E> {
        let (answer, answered) = mpsc::sync_channel(1);
        let job = Box::new(move |committer: &mut Committer| {
            let _ = answer.send(work(committer));
        });
        let queue = &self.writer()?.shared.queue;
        queue.push(Work::Job(job), PATIENCE)?;
        answered.recv().unwrap_or(Err(CommitError::Closed.into()))
    }

    /// Returns a clone whose reading calls keep to a budget. Once the budget is spent, SQLite's work
    /// for them and the wait for a read connection end with [`StorageError::Interrupted`]. The budget
    /// does not apply to writing calls, nor to subscriptions after their creation.
    ///
    /// [`StorageError::Interrupted`]: crate::StorageError::Interrupted
    #[must_use]
    pub fn within(&self, budget: &Budget) -> Self {
        Self(self.0.clone(), Some(budget.clone()), self.2.clone())
    }

    /// Returns the read connections, bounded by this clone's budget.
    pub(crate) fn pool(&self) -> Pool {
        self.0.pool.within(self.1.clone())
    }

    // ---- writing ----

    /// Returns a clone whose writes have this actor, or no actor: for a program that writes on behalf
    /// of others, such as a server. Other writes have the actor of [`StoreBuilder::actor`].
    #[must_use]
    pub fn acting_as(&self, actor: Option<Actor>) -> Self {
        Self(self.0.clone(), self.1.clone(), actor)
    }

    /// Returns the actor of writes through this clone.
    #[must_use]
    pub fn actor(&self) -> Option<&Actor> {
        self.2.as_ref()
    }

    /// Commits a transaction. When this returns, the transaction is on disk and in the history, and has
    /// been handed to the live table. It is visible there immediately; a moment later if another thread is
    /// completing a publication; or, if readers hold old copies, when they release them. A caller that
    /// needs it to be visible waits with [`HotRead::wait_published`](hotread::HotRead::wait_published)
    /// on [`live`](Self::live).
    ///
    /// Waits for the group that contains the transaction: with
    /// [`Synchronous::Full`](crate::Synchronous::Full) for an fsync, which many callers share.
    ///
    /// # Errors
    /// If the transaction is refused or cannot be written; no part of it is applied then. Only after
    /// [`CommitError::Unknown`] may it have been applied: retry with the same id.
    pub fn commit(&self, table: &TableName, txn: Txn) -> Result<Committed, CommitError> {
        self.submit(table, txn)?.wait()
    }

    /// Submits a transaction without waiting for its commit. Transactions that one thread submits for
    /// one table are committed in that order.
    ///
    /// Waits for room if the queue is full.
    ///
    /// # Errors
    /// Errors found before the commit: there is no such table, a value does not fit its schema,
    /// the transaction is outside the limits; [`CommitError::Busy`] if there was no room for ten
    /// seconds.
    pub fn submit(&self, table: &TableName, txn: Txn) -> Result<Ticket, CommitError> {
        self.submit_within(table, txn, PATIENCE)
    }

    /// Like [`submit`](Self::submit), but does not wait for room: for callers that must not block, such
    /// as tasks. What remains on the calling thread is the check against the table's schema and, on the
    /// first use of a sealed table, the derivation of its keys, which takes tenths of a second.
    ///
    /// # Errors
    /// Same as [`submit`](Self::submit); [`CommitError::Busy`] immediately if there is no room.
    pub fn try_submit(&self, table: &TableName, txn: Txn) -> Result<Ticket, CommitError> {
        self.submit_within(table, txn, Duration::ZERO)
    }

    /// Returns `true` if checking a value of this table takes no longer than parsing it, which makes
    /// [`try_submit`](Self::try_submit) suitable for tasks. Compiles the table's schema on first use.
    ///
    /// # Errors
    /// If there is no such table, or its schema cannot be used.
    pub fn checks_quickly(&self, table: &TableName) -> Result<bool, CommitError> {
        let known = self.0.registry.known(table)?;
        Ok(known.schema()?.is_none_or(Schema::is_quick))
    }

    fn submit_within(
        &self,
        table: &TableName,
        txn: Txn,
        patience: Duration,
    ) -> Result<Ticket, CommitError> {
        let writer = self.writer()?;
        txn.check().map_err(Refusal::from)?;
        let table = self.writable(table)?;
        for op in &txn.ops {
            if let Op::Put(put) = op {
                table.check_schema(&put.key, &put.value)?;
            }
        }
        let size = txn.size() + OP_BYTES * txn.ops.len();
        self.push(writer, table, Body::Txn(txn), size, patience)
    }

    pub(crate) fn push(
        &self,
        writer: &Writer,
        table: Arc<OpenTable>,
        body: Body,
        size: usize,
        patience: Duration,
    ) -> Result<Ticket, CommitError> {
        let (ticket, reply) = ticket();
        let at = Timestamp::from(SystemTime::now());
        let request = Request {
            table,
            at,
            actor: self.2.clone(),
            body,
            size,
            reply,
        };
        let queue = &writer.shared.queue;
        queue.push(Work::Request(request), patience)?;
        Ok(ticket)
    }

    pub(crate) fn writable(&self, name: &TableName) -> Result<Arc<OpenTable>, CommitError> {
        let table = self.0.registry.known(name)?;
        self.unseal(&table).map_err(CommitError::seal(name))?;
        table.live.check()?;
        Ok(table)
    }

    /// Returns the counters and the current status of the store.
    #[must_use]
    pub fn stats(&self) -> Stats {
        let Some(writer) = &self.0.writer else {
            return Shared::default().counters.read();
        };
        let (waiting, waiting_bytes) = writer.shared.queue.depth();
        Stats {
            waiting,
            waiting_bytes,
            wal_bytes: self.0.at.wal_bytes(),
            ..writer.shared.counters.read()
        }
    }
}
