//! A table inside this process.

use crate::cache::{Keeper, Place, SaveError, Saver};
use crate::cell::Cell;
use crate::drive;
use crate::endpoint::Endpoint;
use crate::error::Error;
use crate::heavy::heavy;
use crate::publish::{BLOCKED_AFTER, Publisher, blocking};
use crate::reader::Reader;
use crate::replica_builder::ReplicaBuilder;
use crate::status::{Status, TooStale, WaitForError, decide, too_late};
use futures_util::FutureExt;
use hotread::{HotRead, HotReadHandle};
use hotread_proto::session::{Follow, FollowConfig, Mode, Refused};
use hotread_proto::{
    Callbacks, Code, Decoder, Entries, ErrorBody, OnChange, Position, Replicated, TableName,
    panic_message,
};
use std::any::Any;
use std::fmt;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::oneshot;
use tokio::task::JoinSet;
use tokio::time::timeout;

/// A table inside this process: a state that follows it, read at the price of a pointer.
///
/// What readers see is always a state that the table had, whole transactions, checked against the
/// server's digest; it never goes back. When the server is away they keep what they have, and
/// [`status`](Self::status) says so.
///
/// Cheap to clone. The task that follows ends when the last clone is dropped; handles can still be
/// read after that.
#[derive(Clone)]
pub struct Replica<S: Replicated>(Arc<Shared<S>>);

/// What the clones of one replica share.
struct Shared<S: Replicated> {
    table: TableName,
    state: HotRead<S>,
    cell: Arc<Cell>,
    callbacks: Arc<Callbacks<S>>,
    /// `None`: it keeps no copy on disk.
    saver: Option<Saver>,
    /// Ends with this.
    _task: JoinSet<()>,
}

impl<S: Replicated> Drop for Shared<S> {
    fn drop(&mut self) {
        self.callbacks.end();
    }
}

impl ReplicaBuilder {
    /// Makes the replica, as [`Client::replica`](crate::Client::replica) does.
    ///
    /// # Errors
    /// As there.
    pub async fn start<S: Replicated>(self) -> Result<Replica<S>, Error> {
        let table = TableName::new(&self.table)?;
        let cell = Arc::new(Cell::new(Instant::now()));
        let callbacks = Arc::new(Callbacks::new());
        let (first, arrives) = oneshot::channel();
        let (its_cell, its_callbacks) = (cell.clone(), callbacks.clone());
        let following = Following {
            endpoint: self.endpoint.clone(),
            table: table.clone(),
            publisher: Publisher::new(&table, its_cell, its_callbacks, self.options, first),
        };
        let mut task = JoinSet::new();
        task.spawn(following.run());
        let trouble = || cell.now().trouble.as_deref().map(str::to_owned);
        let (state, saver) = in_time(&self.endpoint, arrives, trouble).await?;
        Ok(Replica(Arc::new(Shared {
            table,
            state,
            cell,
            callbacks,
            saver,
            _task: task,
        })))
    }
}

/// Waits for the beginning of something that follows a table, as long as that may take.
pub(crate) async fn in_time<T>(
    endpoint: &Arc<Endpoint>,
    begins: oneshot::Receiver<Result<T, Error>>,
    trouble: impl Fn() -> Option<String>,
) -> Result<T, Error> {
    let begun = match endpoint.settings.start_within {
        None => begins.await,
        Some(within) => timeout(within, begins).await.map_err(|_| {
            let trouble = trouble().unwrap_or_else(|| "it is still being loaded".to_owned());
            Error::NotInTime { within, trouble }
        })?,
    };
    begun.map_err(|_| Error::TaskEnded)?
}

/// The replica's task.
struct Following<S: Replicated> {
    endpoint: Arc<Endpoint>,
    table: TableName,
    publisher: Publisher<S>,
}

/// Says that it is over, also when the task is dropped with the runtime in the middle of its work.
impl<S: Replicated> Drop for Following<S> {
    fn drop(&mut self) {
        let message = "the replica's task has ended: its runtime was shut down";
        let body = ErrorBody::new(Code::Closed, message);
        self.publisher.cell.fail(body);
    }
}

impl<S: Replicated> Following<S> {
    async fn run(mut self) {
        // The state's own code runs in there. Whatever it leaves half done is not used any more.
        let body = AssertUnwindSafe(self.follow()).catch_unwind().await;
        let body = body.unwrap_or_else(|panic| {
            let message = panic_message(&*panic);
            let message = format!("the code of the replica's state panicked: {message}");
            ErrorBody::new(Code::Rejected, message)
        });
        let table = &self.table;
        tracing::warn!(%table, code = %body.code, message = body.message, "a replica has ended");
        self.publisher.cell.fail(body.clone());
        self.publisher.give(Err(Error::session(body)));
    }

    async fn follow(&mut self) -> ErrorBody {
        let began = self.publisher.cell.began;
        let cache = self.endpoint.cache.as_ref();
        let mode = Mode::Replica { coalesce: true };
        let options = &self.publisher.options;
        let keep_ops = cache.is_some() || options.hide_expired;
        let config = FollowConfig {
            skip_bad_keys: options.skip_bad_keys,
            max_bytes: options.max_bytes,
            ..drive::config(&self.endpoint, mode, keep_ops)
        };
        let follow = match cache.map(|cache| cache.place(&self.endpoint.address, &self.table)) {
            None => Follow::new(Decoder::new(), config, began.elapsed()),
            Some(place) => self.restore(config, place).await,
        };
        let publisher = &mut self.publisher;
        drive::drive(follow, publisher, &self.endpoint, &self.table, began).await
    }

    /// Begins with the copy on disk, if there is one that can be used, and keeps it from now on.
    async fn restore(&mut self, config: FollowConfig, place: Place) -> Follow<Decoder<S>> {
        let (began, table) = (self.publisher.cell.began, self.table.clone());
        let (mut follow, restored, place) = heavy(move || {
            let max = config.max_bytes;
            let mut follow = Follow::new(Decoder::new(), config, began.elapsed());
            let restored = place.load().and_then(|copy| {
                let bytes: usize = copy.records.iter().map(|record| record.size()).sum();
                if bytes > max {
                    tracing::warn!(%table, bytes, max, "a copy of a table is larger than it may be");
                    return None;
                }
                let batch = follow.restore(&copy.records);
                let batch = batch.inspect_err(|refused| {
                    tracing::warn!(%table, %refused, "a copy of a table is of no use to this type");
                });
                Some((batch.ok()?, copy))
            });
            (follow, restored, place)
        })
        .await;
        let mut records = None;
        if let Some((batch, copy)) = restored {
            let position = batch.head.position;
            self.publisher.restore(batch, &copy).await;
            follow.handle_published(position, began.elapsed());
            records = Some(copy.records);
        }
        let keeper = Keeper::start(place, records.as_ref()).inspect_err(|error| {
            tracing::warn!(table = %self.table, %error, "no copy of a table can be kept");
        });
        self.publisher.keeper = keeper.ok();
        follow
    }
}

impl<S: Replicated> Replica<S> {
    /// The table.
    #[must_use]
    pub fn table(&self) -> &TableName {
        &self.0.table
    }

    /// A new handle for a worker: see [`HotReadHandle`]. Make one for each thread or task, and keep it.
    #[must_use]
    pub fn create_handle(&self) -> HotReadHandle<S> {
        self.0.state.create_handle()
    }

    /// As [`create_handle`](Self::create_handle), with a reader that can also be asked for a state that
    /// is [fresh enough](Reader::fresh).
    #[must_use]
    pub fn reader(&self) -> Reader<S> {
        Reader::new(self.create_handle(), self.0.cell.clone())
    }

    /// As [`create_handle`](Self::create_handle), with a name by which [`Status::Blocked`] and the log tell
    /// that this handle holds an old copy.
    #[must_use]
    pub fn create_named_handle(&self, name: &str) -> HotReadHandle<S> {
        self.0.state.create_named_handle(name)
    }

    /// As [`reader`](Self::reader), with a name as of [`create_named_handle`](Self::create_named_handle).
    #[must_use]
    pub fn named_reader(&self, name: &str) -> Reader<S> {
        Reader::new(self.create_named_handle(name), self.0.cell.clone())
    }

    /// The state as HotRead keeps it, to observe it or read without a handle. What is queued there
    /// by others than the replica makes it another state than the table's.
    #[must_use]
    pub fn state(&self) -> &HotRead<S> {
        &self.0.state
    }

    /// Current status, decided at this moment: see [`Status`]. A short lock; if readers are in the way
    /// of an update, a look at each of them.
    #[must_use]
    pub fn status(&self) -> Status {
        let status = self.0.cell.status();
        let hides = matches!(
            status,
            Status::Live | Status::Partial { .. } | Status::Stale { .. }
        );
        let since = hides.then(|| self.0.cell.now().blocked_since).flatten();
        if let Some(since) = since.filter(|since| since.elapsed() >= BLOCKED_AFTER)
            && let Some((reader, readers)) = blocking(&self.0.state)
        {
            return Status::Blocked {
                reader,
                readers,
                since,
            };
        }
        match (&status, self.0.callbacks.panics()) {
            (Status::Live, Some(panics)) => Status::CallbackPanicked(panics),
            _ => status,
        }
    }

    /// Bytes of the keys, categories and values that the table has, which
    /// [`max_table_bytes`](crate::ReplicaBuilder::max_table_bytes) bounds.
    #[must_use]
    pub fn table_bytes(&self) -> usize {
        self.0.cell.now().bytes
    }

    /// The records that are left out at present, if it was told to
    /// [`skip_bad_keys`](crate::ReplicaBuilder::skip_bad_keys): the 64 that were written first.
    #[must_use]
    pub fn left_out(&self) -> Arc<[Refused]> {
        self.0.cell.now().left_out.clone()
    }

    /// Why the last connection to the server ended, or there was none; `None`: none has yet.
    #[must_use]
    pub fn trouble(&self) -> Option<Arc<str>> {
        self.0.cell.now().trouble.clone()
    }

    /// Writes the copy on disk now, and returns its position once it is durable: for a program that is
    /// about to end. Without it, what came in the last seconds may be missing there.
    ///
    /// # Errors
    /// If there is no [`cache_dir`](crate::ClientBuilder::cache_dir), or the table is not kept, or it
    /// cannot be written.
    pub async fn save(&self) -> Result<Position, SaveError> {
        match &self.0.saver {
            Some(saver) => saver.save().await,
            None => Err(SaveError::NoCacheDir),
        }
    }

    /// Greatest age of what readers see, proved by the client's own clock: it had everything that the
    /// server had committed so long ago. `None`: that is not proved yet, since the replica began with a
    /// copy on disk and does not follow the server. Costs one load and a look at the clock.
    #[must_use]
    pub fn age(&self) -> Option<Duration> {
        self.0.cell.age()
    }

    /// Is the content at most so old? Workers ask their [`Reader`] instead, and get it with the answer.
    ///
    /// # Errors
    /// If it may be older.
    pub fn fresh(&self, max: Duration) -> Result<(), TooStale> {
        TooStale::check(self.age(), max)
    }

    /// Transactions that the table has and readers cannot see yet, as far as is known.
    #[must_use]
    pub fn lag(&self) -> u64 {
        let now = self.0.cell.now();
        let seq = now.visible.map_or(0, |position| position.seq);
        now.head.saturating_sub(seq)
    }

    /// Where the state stands that readers see who ask now.
    #[must_use]
    pub fn position(&self) -> Position {
        let visible = self.0.cell.now().visible;
        visible.expect("a replica is given out with its first state")
    }

    /// Waits until readers see `at`, the position that a write was answered with, or a later one. If
    /// the replica is held by a value that was refused before, it waits for that to be mended.
    ///
    /// # Errors
    /// [`WaitForError`] says why they do not.
    pub async fn wait_for(&self, at: Position, within: Duration) -> Result<(), WaitForError> {
        let cell = &self.0.cell;
        let (asked, mut seen, mut decided) = (Instant::now(), cell.now.subscribe(), None);
        let waited = seen.wait_for(|now| {
            decided = decide(now, at, asked);
            decided.is_some()
        });
        // If that takes too long, nothing is decided.
        drop(timeout(within, waited).await);
        decided.unwrap_or_else(|| Err(too_late(&cell.now(), at)))
    }
}

impl<S: Entries> Replica<S> {
    /// Calls `call` with the key, the old and the new value of each record that changes from now on, until
    /// the guard is dropped. `None` as the old value: there was no record; as the new one: there is none.
    ///
    /// When it is called, every reader that asks sees that change, or a later one; [`position`](Self::position)
    /// may tell of it a moment later. The changes of a table come in order. After a snapshot, after several
    /// transactions came as one, and for a callback that is more than
    /// [`MAX_CHANGES_BEHIND`](hotread_proto::MAX_CHANGES_BEHIND) changes behind, they come as the difference to
    /// what it was told of last. A write after which the value is equal is no change.
    ///
    /// Costs a thread of its own, on which it is called, and one more copy of the state. No lock is held
    /// meanwhile: it may use the replica, and be slow; that keeps neither readers nor the task waiting. A
    /// panic is caught, the status is [`Status::CallbackPanicked`], and the next change is told.
    ///
    /// ```no_run
    /// # use hotread_client::{Client, Error};
    /// # async fn run(client: Client) -> Result<(), Error> {
    /// let limits = client.table::<u32>("limits").await?;
    /// let _guard = limits.on_change(|key, old, new| println!("{key}: {old:?} -> {new:?}"))?;
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// If the system gives no thread.
    pub fn on_change(
        &self,
        call: impl FnMut(&str, Option<&S::Value>, Option<&S::Value>) + Send + 'static,
    ) -> Result<OnChange, Error>
    where
        S::Value: Clone + PartialEq,
    {
        self.add_callback(self.0.clone(), call)
    }

    /// Adds a callback whose guard keeps `kept`.
    pub(crate) fn add_callback(
        &self,
        kept: Arc<dyn Any + Send + Sync>,
        call: impl FnMut(&str, Option<&S::Value>, Option<&S::Value>) + Send + 'static,
    ) -> Result<OnChange, Error>
    where
        S::Value: Clone + PartialEq,
    {
        let added = self.0.callbacks.add(&self.0.state, kept, call);
        added.map_err(|error| Error::no_thread("callback", error))
    }
}

impl<S: Replicated> fmt::Debug for Replica<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Replica")
            .field("table", &self.0.table)
            .field("position", &self.position())
            .field("status", &self.status())
            .finish_non_exhaustive()
    }
}
