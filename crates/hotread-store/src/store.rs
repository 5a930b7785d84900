//! The store: what a program opens, and the calls it makes.

use crate::budget::Budget;
use crate::builder::StoreBuilder;
use crate::committer::Committer;
use crate::error::{CommitError, OpenError, ReadError, TableError};
use crate::feed::Closed;
use crate::lock::WriterLock;
use crate::open::Location;
use crate::options::{TableInfo, TableOptions};
use crate::queue::{OP_BYTES, PATIENCE, Queue, Request, Work};
use crate::read::{self, Found, Opener, Page, Pool, Scan, Search};
use crate::schema::Schema;
use crate::seal::{Passphrase, SHORT_PASSPHRASE_BYTES, Seal, SealError, SealHeader};
use crate::stats::{Counters, Stats};
use crate::subscription::Subscription;
use crate::table::{OpenTable, Registry};
use crate::temporary::Folder;
use crate::ticket::{Ticket, ticket};
use crate::token::Tokens;
use crate::typed::Typed;
use crate::wal::WalDamage;
use hotread::{HotRead, HotReadHandle};
use hotread_proto::{
    Actor, Body, Change, Committed, Digest, Key, Position, Record, Records, TableName, Timestamp,
    Txn,
};
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
    /// Before `writer`, whose connection then is the last one to be closed, and moves the WAL into
    /// the database.
    pub(crate) pool: Pool,
    pub(crate) damage: Option<WalDamage>,
    pub(crate) created: bool,
    pub(crate) writer: Option<Writer>,
    pub(crate) typed: Typed,
    /// Deleted with the store, after its files are closed.
    pub(crate) _folder: Option<Folder>,
}

/// What a store has that may write.
pub(crate) struct Writer {
    pub(crate) queue: Arc<Queue>,
    pub(crate) registry: Arc<Registry>,
    pub(crate) counters: Arc<Counters>,
    pub(crate) tokens: Arc<Tokens>,
    pub(crate) opener: Opener,
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
        // The readers' connections are closed then, since the pool is gone.
        self.opener.finish();
        self.close();
    }
}

impl Writer {
    fn close(&self) {
        self.queue.close();
        // Others that close it wait until it is closed.
        let mut thread = self.thread.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(thread) = thread.take()
            && thread.join().is_err()
        {
            tracing::error!("the committer panicked");
        }
        for table in self.registry.all() {
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

    /// Opens an empty store that is gone when its last clone is dropped: for an application's tests, and for
    /// tables that need no more than a process's life. It is a file in a folder of its own under the system's
    /// folder for temporary files, written without waiting for the disk
    /// ([`Synchronous::Normal`](crate::Synchronous::Normal)); whatever a store does, this one does. The
    /// folder is left behind if the process is killed.
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
        let folder = Folder::create().map_err(|source| OpenError::Storage {
            path: std::env::temp_dir(),
            source,
        })?;
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

    pub(crate) fn location(&self) -> &Location {
        &self.0.at
    }

    pub(crate) fn unseal(&self, table: &OpenTable) -> Result<(), SealError> {
        if let Some(known) = self.0.registry.get(&table.name) {
            table.unseal_as(&known);
        }
        table.unseal(self.0.passphrase.as_ref())
    }

    /// Commits that were passed over when this store was opened for writing, because the write-ahead log
    /// was damaged before them. `docs/durability.md` says what is noticed and what cannot be. Before
    /// opening it for writing, [`verify`](Self::verify) of a store that only reads finds the same.
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
        self.writer()?
            .counters
            .check()
            .map_err(CommitError::Storage)
    }

    // ---- tables ----

    /// All tables, by name.
    ///
    /// # Errors
    /// If the database cannot be read.
    pub fn tables(&self) -> Result<Vec<TableInfo>, ReadError> {
        let rows = read::tables(&self.pool())?;
        Ok(rows.iter().map(crate::table::TableRow::info).collect())
    }

    /// A table, as it stands now.
    ///
    /// # Errors
    /// If there is none, or the database cannot be read.
    pub fn table_info(&self, table: &TableName) -> Result<TableInfo, ReadError> {
        let row = read::table(&self.pool(), table)?;
        row.map(|row| row.info())
            .ok_or_else(|| ReadError::UnknownTable {
                table: table.clone(),
            })
    }

    /// Creates a table, empty, at the beginning of an epoch of its own.
    ///
    /// # Errors
    /// If there is one of this name, or the options do not go together, or it cannot be written.
    pub fn create_table(
        &self,
        table: &TableName,
        options: TableOptions,
    ) -> Result<TableInfo, TableError> {
        if let Some(schema) = &options.schema {
            Schema::compile(schema).map_err(|reason| TableError::InvalidSchema { reason })?;
        }
        if options.sealed && options.search {
            return Err(TableError::SealedSearch);
        }
        let seal = options.sealed.then(|| self.derive(table)).transpose()?;
        let name = table.clone();
        self.job(move |committer| committer.create_table(&name, &options, seal))
    }

    fn derive(&self, table: &TableName) -> Result<(Seal, SealHeader), CommitError> {
        self.0
            .passphrase
            .as_ref()
            .ok_or(SealError::NoPassphrase)
            .inspect(|passphrase| warn_if_short(table, passphrase))
            .and_then(|passphrase| Seal::create(passphrase, self.0.key_rounds))
            .map_err(|source| CommitError::Seal {
                table: table.clone(),
                source,
            })
    }

    /// Drops a table with all its records and its history. Its name is free at once. Handles of it go
    /// on reading what it was; its subscribers are told.
    ///
    /// Its rows are deleted afterwards, in pieces and in turns with other writers, and their pages are
    /// used again. A store that is closed before all are gone goes on when it is opened again;
    /// [`finish_drops`](Self::finish_drops) waits for it.
    ///
    /// # Errors
    /// If there is none, or it cannot be written.
    pub fn drop_table(&self, table: &TableName) -> Result<(), TableError> {
        let name = table.clone();
        self.job(move |committer| committer.drop_table(&name))
    }

    /// Waits until nothing of dropped tables is left in the file, and does the work meanwhile if nothing
    /// else is to be done.
    ///
    /// # Errors
    /// If it cannot be written.
    pub fn finish_drops(&self) -> Result<(), TableError> {
        while self.job(Committer::clear_dropped)? {}
        Ok(())
    }

    /// Encrypts a sealed table anew, under another passphrase: all at once or not at all. Begins a
    /// new epoch without history, and forgets transaction ids. Takes memory and time for the whole table,
    /// during which other tables are not written; how large the rest of the file is does not matter.
    ///
    /// Values under the old passphrase may be left in parts of the file that are not in use, until
    /// [`scrub`](Self::scrub).
    ///
    /// This store goes on with the new keys. [`StoreBuilder::passphrase`] takes the new passphrase
    /// from the next opening on.
    ///
    /// # Errors
    /// If there is no such table, or it is not sealed, or this store's passphrase is not its own, or
    /// it cannot be written. The table is as it was then.
    pub fn reseal(&self, table: &TableName, new: &Passphrase) -> Result<TableInfo, TableError> {
        let known = self.0.registry.get(table);
        let known = known.ok_or_else(|| CommitError::UnknownTable {
            table: table.clone(),
        })?;
        if !known.is_sealed() {
            return Err(TableError::NotSealed {
                table: table.clone(),
            });
        }
        let seal_error = |source| CommitError::Seal {
            table: table.clone(),
            source,
        };
        self.unseal(&known).map_err(seal_error)?;
        warn_if_short(table, new);
        let seal = Seal::create(new, self.0.key_rounds).map_err(seal_error)?;
        self.job(move |committer| committer.reseal(&known, seal))
    }

    /// Rewrites the file, so that nothing is left in it of what was deleted, such as values under an
    /// earlier passphrase. Takes as long as a backup, during which nothing is written, and room for a
    /// copy of the database in a temporary file (`SQLITE_TMPDIR`, else `/var/tmp`) and for another one
    /// in the write-ahead log. Memory is bounded, however large the file is.
    ///
    /// # Errors
    /// If there is no room or it cannot be written: then what was deleted may still be there, and
    /// everything else is as it was. [`StorageError::Locked`](crate::StorageError::Locked) says that a
    /// reader keeps the write-ahead log.
    pub fn scrub(&self) -> Result<(), TableError> {
        Ok(self.job(Committer::scrub)?)
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
        self.writer()?.queue.push(Work::Job(job), PATIENCE)?;
        answered.recv().unwrap_or(Err(CommitError::Closed.into()))
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
    /// it waits: [`live`](Self::live), [`HotRead::wait_published`].
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
        let known = self.0.registry.get(table);
        let known = known.ok_or_else(|| CommitError::UnknownTable {
            table: table.clone(),
        })?;
        Ok(known.schema()?.is_none_or(Schema::is_quick))
    }

    fn submit_within(
        &self,
        table: &TableName,
        txn: Txn,
        patience: Duration,
    ) -> Result<Ticket, CommitError> {
        let writer = self.writer()?;
        txn.check().map_err(hotread_proto::Refusal::from)?;
        let table = self.writable(table)?;
        for op in &txn.ops {
            if let hotread_proto::Op::Put(put) = op {
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
        writer.queue.push(Work::Request(request), patience)?;
        Ok(ticket)
    }

    pub(crate) fn writable(&self, name: &TableName) -> Result<Arc<OpenTable>, CommitError> {
        let table = self.0.registry.get(name);
        let table = table.ok_or_else(|| CommitError::UnknownTable {
            table: name.clone(),
        })?;
        self.unseal(&table).map_err(|source| CommitError::Seal {
            table: name.clone(),
            source,
        })?;
        table.live.check()?;
        Ok(table)
    }

    // ---- reading from disk ----

    /// A table that may be read. If it began another epoch between the look and the reading, once
    /// more.
    pub(crate) fn reading<R>(
        &self,
        name: &TableName,
        read: impl Fn(&Arc<OpenTable>) -> Result<R, ReadError>,
    ) -> Result<R, ReadError> {
        let table = self.readable(name)?;
        read(&table).or_else(|error| {
            table.wait_renewed();
            let now = self.readable(name)?;
            if Arc::ptr_eq(&now, &table) {
                Err(error)
            } else {
                read(&now)
            }
        })
    }

    fn readable(&self, name: &TableName) -> Result<Arc<OpenTable>, ReadError> {
        let unknown = || ReadError::UnknownTable {
            table: name.clone(),
        };
        let mut table = self.0.registry.get(name);
        if self.is_read_only() {
            // Another process may have dropped it, or made another one of that name.
            let row = read::table(&self.pool(), name)?.ok_or_else(unknown)?.table;
            if table
                .as_ref()
                .is_none_or(|table| table.id != row.id || table.epoch != row.epoch)
            {
                let row = Arc::new(row);
                if let Some(old) = self.0.registry.insert(row.clone()) {
                    old.feed.close(Closed::Table);
                }
                table = Some(row);
            }
        }
        let table = table.ok_or_else(unknown)?;
        self.unseal(&table).map_err(|source| ReadError::Seal {
            table: name.clone(),
            source,
        })?;
        Ok(table)
    }

    /// The record with this key, as of the last commit.
    ///
    /// For the hot path there is [`handle`](Self::handle); this is some microseconds of SQLite.
    ///
    /// # Errors
    /// If there is no such table, or it cannot be read.
    pub fn get(&self, table: &TableName, key: &Key) -> Result<Option<Record>, ReadError> {
        self.reading(table, |table| read::get(&self.pool(), table, key))
    }

    /// A page of records, ordered by the bytes of their keys.
    ///
    /// # Errors
    /// If there is no such table, or it cannot be read.
    pub fn scan(&self, table: &TableName, scan: &Scan) -> Result<Page, ReadError> {
        self.reading(table, |table| read::scan(&self.pool(), table, scan))
    }

    /// The records that have all the words of a query, the best first.
    ///
    /// # Errors
    /// If there is no such table, or it was made without an index, or it cannot be read.
    pub fn search(&self, table: &TableName, search: &Search) -> Result<Found, ReadError> {
        self.reading(table, |table| read::search(&self.pool(), table, search))
    }

    /// The changes after `from`, oldest first, at most `limit` and [`MAX_CHANGES`](read::MAX_CHANGES).
    /// None: `from` is the head.
    ///
    /// # Errors
    /// If there is no such table, or its history does not go back to `from` or never had it, or it
    /// cannot be read.
    pub fn changes(
        &self,
        table: &TableName,
        from: Position,
        limit: usize,
    ) -> Result<Vec<Change>, ReadError> {
        self.reading(table, |table| {
            read::changes(&self.pool(), table, from, limit, &mut read::some_bytes())
        })
    }

    /// As [`changes`](Self::changes), as far as `admit` takes them: it is told the bytes of each change
    /// in the history before that is read, and the first one that it does not take ends the answer. For
    /// callers that account for memory.
    ///
    /// # Errors
    /// As for [`changes`](Self::changes).
    pub fn changes_admitted(
        &self,
        table: &TableName,
        from: Position,
        limit: usize,
        mut admit: impl FnMut(u64) -> bool,
    ) -> Result<Vec<Change>, ReadError> {
        // Once more only if it failed before anything was read.
        let admit = std::cell::RefCell::new(&mut admit);
        self.reading(table, |table| {
            let mut admit = admit.borrow_mut();
            read::changes(&self.pool(), table, from, limit, &mut **admit)
        })
    }

    /// The digest of a table as of a position, if the history has it.
    ///
    /// # Errors
    /// If there is no such table, or it cannot be read.
    pub fn digest_at(&self, table: &TableName, at: Position) -> Result<Option<Digest>, ReadError> {
        self.reading(table, |table| read::digest_at(&self.pool(), table, at))
    }

    /// The whole table as of one moment: of the live table if it is loaded, otherwise read from disk
    /// in one go.
    ///
    /// # Errors
    /// If there is no such table, or it cannot be read.
    pub fn snapshot(&self, table: &TableName) -> Result<Records, ReadError> {
        self.reading(table, |table| match table.live.warm() {
            // In a store that only reads it stands still.
            Some(hot) if !self.is_read_only() => Ok(hot.snapshot()),
            _ => read::snapshot(table, &self.pool()),
        })
    }

    // ---- following ----

    /// Every change after `from`, in order and without a gap, for as long as the history goes back
    /// to where the subscriber is.
    ///
    /// # Errors
    /// As for [`changes`](Self::changes); and if the store only reads: then nobody tells it.
    pub fn subscribe(&self, table: &TableName, from: Position) -> Result<Subscription, ReadError> {
        self.reading(table, |table| {
            if self.is_read_only() {
                return Err(ReadError::NotTold);
            }
            Subscription::new(self.pool(), table.clone(), from)
        })
    }

    /// A handle on the live table, for a thread's hot loop. The first one loads the table: about a
    /// second for a million records.
    ///
    /// # Errors
    /// If there is no such table, or it cannot be read.
    pub fn handle(&self, table: &TableName) -> Result<HotReadHandle<Records>, ReadError> {
        self.live(table).map(|live| live.create_handle())
    }

    /// The live table itself, to wait for changes to become visible, to see who holds them up, or to
    /// name handles. Its state is the store's to change: an update queued by anyone else is lost,
    /// or panics.
    ///
    /// # Errors
    /// If there is no such table, or it cannot be read.
    pub fn live(&self, table: &TableName) -> Result<HotRead<Records>, ReadError> {
        self.reading(table, |table| table.live.get(table, &self.pool()))
    }

    /// Counts, and how the store is doing.
    #[must_use]
    pub fn stats(&self) -> Stats {
        let Some(writer) = &self.0.writer else {
            return Counters::default().read();
        };
        let (waiting, waiting_bytes) = writer.queue.depth();
        let wal_bytes = self.0.at.wal_bytes();
        Stats {
            waiting,
            waiting_bytes,
            wal_bytes,
            ..writer.counters.read()
        }
    }
}

fn warn_if_short(table: &TableName, passphrase: &Passphrase) {
    if passphrase.is_short() {
        tracing::warn!(
            %table,
            "the passphrase has fewer than {SHORT_PASSPHRASE_BYTES} bytes, which can be guessed by who \
             has the file; better six random words"
        );
    }
}
