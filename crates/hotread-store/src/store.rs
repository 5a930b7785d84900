//! The store: what a program opens, and the calls it makes.

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

/// Durable tables in one SQLite file. Cheap to clone; the file is closed when the last clone is
/// dropped, after everything that was submitted is done.
///
/// One process writes a file, as [`OpenError::InUse`] says; others may read it.
///
/// Clones share all but two things: the [budget](Self::within) of what they read, and the
/// [actor](Self::acting_as) of what they write.
#[derive(Clone)]
pub struct Store(
    pub(crate) Arc<Inner>,
    pub(crate) Option<Budget>,
    pub(crate) Option<Actor>,
);

pub(crate) struct Inner {
    pub(crate) at: Location,
    pub(crate) passphrase: Option<Passphrase>,
    /// Rounds of key derivation of tables that are sealed from now on.
    pub(crate) key_rounds: u32,
    /// What is known of the tables. A store that only reads checks that it still holds.
    pub(crate) registry: Arc<Registry>,
    /// Before `writer`, whose connection closes last and checkpoints.
    pub(crate) pool: Pool,
    pub(crate) _opener: Opener,
    pub(crate) damage: Option<WalDamage>,
    pub(crate) created: bool,
    pub(crate) writer: Option<Writer>,
    pub(crate) states: States,
    /// Deleted with the store, after its files are closed.
    pub(crate) _folder: Option<Folder>,
}

/// What a store has that may write.
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
        // Others that close it wait until it is closed.
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
    /// Opens a file for reading and writing, creating it if there is none.
    ///
    /// # Errors
    /// As for [`StoreBuilder::open`].
    pub fn open(path: impl AsRef<Path>) -> Result<Self, OpenError> {
        Self::builder(path).open()
    }

    /// Opens an empty store that is deleted with its last clone: for an application's tests, and for tables that
    /// need no more than a process's life. It is a file in a folder of its own in the system's folder for
    /// temporary files, written without waiting for the disk ([`Synchronous::Normal`](crate::Synchronous::Normal)).
    /// The folder is left behind if the process is killed.
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
    /// If there is no room, or the folder cannot be written.
    pub fn temporary() -> Result<Self, OpenError> {
        let path = std::env::temp_dir();
        let folder = Folder::create(&path);
        let folder = folder.map_err(|source| OpenError::Storage { path, source })?;
        StoreBuilder::temporary(folder).open()
    }

    /// Opens a file in another way.
    pub fn builder(path: impl AsRef<Path>) -> StoreBuilder {
        StoreBuilder::new(path.as_ref())
    }

    /// The file.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.0.at.path
    }

    /// Was it opened for reading only?
    #[must_use]
    pub fn is_read_only(&self) -> bool {
        self.0.writer.is_none()
    }

    /// Whether there was no database before it was opened.
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

    /// Commits that were passed over when this store was opened for writing, because the write-ahead log was
    /// damaged before them, as `docs/durability.md` describes. [`verify`](Self::verify) of a store that only reads
    /// finds the same before that.
    #[must_use]
    pub fn wal_damage(&self) -> Option<WalDamage> {
        self.0.damage
    }

    /// Tells others that want to write the file where they can reach it instead.
    ///
    /// # Errors
    /// If the lock file cannot be written.
    pub fn announce(&self, url: &str) -> std::io::Result<()> {
        match &self.0.writer {
            Some(writer) => writer.lock.announce(Some(url.to_owned())),
            None => Ok(()),
        }
    }

    /// Ends writing, also for other clones: commits what was submitted, and moves the write-ahead log into
    /// the database, which is complete in its one file then. Dropping the last clone does the same; this is
    /// for programs that end while tasks or threads still have one.
    ///
    /// A reader that has a transaction open keeps the log as it is; what is in it is not lost.
    pub fn close(&self) {
        if let Some(writer) = &self.0.writer {
            writer.close();
        }
    }

    /// Fails while the database cannot be written: after a failed COMMIT, until it is known what is on
    /// disk, and while another file has the database's name. Found out at each write, and once a second.
    ///
    /// # Errors
    /// What stands in the way.
    pub fn check_writable(&self) -> Result<(), CommitError> {
        Ok(self.writer()?.shared.counters.check()?)
    }

    pub(crate) fn writer(&self) -> Result<&Writer, CommitError> {
        self.0.writer.as_ref().ok_or(CommitError::ReadOnly)
    }

    /// Has the committer do something between groups.
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

    /// The same store, whose reading calls keep to a budget: what SQLite does for them, and waiting
    /// for a read connection, ends when it is spent, with [`StorageError::Interrupted`]. Writing calls,
    /// and subscriptions once they were made, are not concerned.
    ///
    /// [`StorageError::Interrupted`]: crate::StorageError::Interrupted
    #[must_use]
    pub fn within(&self, budget: &Budget) -> Self {
        Self(self.0.clone(), Some(budget.clone()), self.2.clone())
    }

    /// The read connections, for work of this clone.
    pub(crate) fn pool(&self) -> Pool {
        self.0.pool.within(self.1.clone())
    }

    // ---- writing ----

    /// The same store, whose writing calls are those of this actor, or of none: for a program that writes on
    /// behalf of others, such as a server. [`StoreBuilder::actor`] says whose the calls are otherwise.
    #[must_use]
    pub fn acting_as(&self, actor: Option<Actor>) -> Self {
        Self(self.0.clone(), self.1.clone(), actor)
    }

    /// The actor of what is written through this clone.
    #[must_use]
    pub fn actor(&self) -> Option<&Actor> {
        self.2.as_ref()
    }

    /// Commits a transaction: on disk and in the history when this returns, and handed over to the
    /// live table. There it becomes visible at once or, if another thread is completing a
    /// publication, a moment later; if readers hold old copies, when they let go. Who needs to see
    /// it waits: [`live`](Self::live), [`HotRead::wait_published`](hotread::HotRead::wait_published).
    ///
    /// Waits for the group that the transaction falls into: with
    /// [`Synchronous::Full`](crate::Synchronous::Full) for an fsync, which many callers share.
    ///
    /// # Errors
    /// If it is refused, or cannot be written; nothing of it is applied then. Only after
    /// [`CommitError::Unknown`] it may have been: try again with the same id.
    pub fn commit(&self, table: &TableName, txn: Txn) -> Result<Committed, CommitError> {
        self.submit(table, txn)?.wait()
    }

    /// Hands a transaction over without waiting for it. Transactions that one thread submits for one
    /// table are committed in that order.
    ///
    /// Waits for room if too much is waiting already.
    ///
    /// # Errors
    /// What can be said before it is committed: there is no such table, a value does not fit its
    /// schema, the transaction is outside the limits; [`CommitError::Busy`] if there was no room for
    /// ten seconds.
    pub fn submit(&self, table: &TableName, txn: Txn) -> Result<Ticket, CommitError> {
        self.submit_within(table, txn, PATIENCE)
    }

    /// As [`submit`](Self::submit), but does not wait for room: for callers that must not block, such
    /// as tasks. What is left is the check of the table's schema; and the keys of a sealed table are
    /// derived here if nobody has used it yet, which takes tenths of a second.
    ///
    /// # Errors
    /// As for [`submit`](Self::submit); [`CommitError::Busy`] at once if there is no room.
    pub fn try_submit(&self, table: &TableName, txn: Txn) -> Result<Ticket, CommitError> {
        self.submit_within(table, txn, Duration::ZERO)
    }

    /// Whether values for this table are checked in no more time than it takes to parse them: then
    /// [`try_submit`](Self::try_submit) is fit for tasks. The table's schema is compiled if it was not
    /// used yet.
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

    /// Counts, and how the store is doing.
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
