//! A table in the memory of this process.

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

/// A table in the memory of this process: a state that follows it, read at the price of a pointer.
///
/// Readers always see a state that the table had, with whole transactions, checked against the server's
/// digest. The state never goes back. While the server is away readers keep the last state, and
/// [`status`](Self::status) reports it.
///
/// Cheap to clone. The task that follows the table ends when the last clone is dropped; handles can still
/// be read after that.
#[derive(Clone)]
pub struct Replica<S: Replicated>(Arc<Shared<S>>);

/// State shared by the clones of a replica.
struct Shared<S: Replicated> {
    table: TableName,
    state: HotRead<S>,
    cell: Arc<Cell>,
    callbacks: Arc<Callbacks<S>>,
    /// Handle that requests copies on disk; `None`: the replica keeps no copy.
    saver: Option<Saver>,
    /// Task that follows the table, which ends when this is dropped.
    _task: JoinSet<()>,
}

impl<S: Replicated> Drop for Shared<S> {
    fn drop(&mut self) {
        self.callbacks.end();
    }
}

impl ReplicaBuilder {
    /// Starts the replica, as [`Client::replica`](crate::Client::replica) does.
    ///
    /// # Errors
    /// Same as [`Client::replica`](crate::Client::replica).
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

/// Waits until a table is followed, for at most `start_within`.
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

/// Reports the end of the replica, even when the runtime drops its task in the middle of the work.
impl<S: Replicated> Drop for Following<S> {
    fn drop(&mut self) {
        let message = "the replica's task has ended: its runtime was shut down";
        let body = ErrorBody::new(Code::Closed, message);
        self.publisher.cell.fail(body);
    }
}

impl<S: Replicated> Following<S> {
    async fn run(mut self) {
        // The state's own code runs inside. After a panic its half-done work is not used.
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
        let follow =
            match cache.map(|cache| cache.place(self.endpoint.servers.identity(), &self.table)) {
                None => Follow::new(Decoder::new(), config, began.elapsed()),
                Some(place) => self.restore(config, place).await,
            };
        let publisher = &mut self.publisher;
        drive::drive(follow, publisher, &self.endpoint, &self.table, began).await
    }

    /// Starts from the copy on disk, if there is a usable one, and keeps the copy up to date.
    async fn restore(&mut self, config: FollowConfig, place: Place) -> Follow<Decoder<S>> {
        let (began, table) = (self.publisher.cell.began, self.table.clone());
        let (mut follow, restored, place) = heavy(move || {
            let max = config.max_bytes;
            let mut follow = Follow::new(Decoder::new(), config, began.elapsed());
            let restored = place.load().and_then(|copy| {
                let bytes: usize = copy.records.iter().map(|record| record.size()).sum();
                if bytes > max {
                    tracing::warn!(%table, bytes, max, "a copy of a table is larger than max_table_bytes");
                    return None;
                }
                let batch = follow.restore(&copy.records);
                let batch = batch.inspect_err(|refused| {
                    tracing::warn!(%table, %refused, "a copy of a table cannot be read as this type");
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
    /// Returns the table's name.
    #[must_use]
    pub fn table(&self) -> &TableName {
        &self.0.table
    }

    /// Returns a new handle: see [`HotReadHandle`]. Create one for each thread or task, and keep it.
    #[must_use]
    pub fn create_handle(&self) -> HotReadHandle<S> {
        self.0.state.create_handle()
    }

    /// Returns a new reader: a handle that can also be asked for a state that is [fresh
    /// enough](Reader::fresh).
    #[must_use]
    pub fn reader(&self) -> Reader<S> {
        Reader::new(self.create_handle(), self.0.cell.clone())
    }

    /// Returns a new handle with a name. [`Status::Blocked`] and the log report the name while the handle
    /// refers to an old copy.
    #[must_use]
    pub fn create_named_handle(&self, name: &str) -> HotReadHandle<S> {
        self.0.state.create_named_handle(name)
    }

    /// Returns a new [`reader`](Self::reader) with a name, as
    /// [`create_named_handle`](Self::create_named_handle) does.
    #[must_use]
    pub fn named_reader(&self, name: &str) -> Reader<S> {
        Reader::new(self.create_named_handle(name), self.0.cell.clone())
    }

    /// Returns the underlying state, to observe it or to read it without a handle. An update that another
    /// caller queues there makes the state differ from the table.
    #[must_use]
    pub fn state(&self) -> &HotRead<S> {
        &self.0.state
    }

    /// Returns the current status, determined at the moment of the call: see [`Status`]. Takes a short
    /// lock; if readers block an update, it also visits each reader.
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

    /// Returns the size of the table: bytes of keys, categories and values, the sum that
    /// [`max_table_bytes`](crate::ReplicaBuilder::max_table_bytes) limits.
    #[must_use]
    pub fn table_bytes(&self) -> usize {
        self.0.cell.now().bytes
    }

    /// Returns the records that are left out at present, if
    /// [`skip_bad_keys`](crate::ReplicaBuilder::skip_bad_keys) is set: the 64 that were written first.
    #[must_use]
    pub fn left_out(&self) -> Arc<[Refused]> {
        self.0.cell.now().left_out.clone()
    }

    /// Returns the reason the last connection to the server ended, or could not be opened; `None`: no
    /// connection has failed yet.
    #[must_use]
    pub fn trouble(&self) -> Option<Arc<str>> {
        self.0.cell.now().trouble.clone()
    }

    /// Returns the address of the server that the replica follows at present; `None`: it follows none, and
    /// [`trouble`](Self::trouble) has the reason. Of several servers it stays with one until that one fails:
    /// see the [crate](crate#several-servers).
    #[must_use]
    pub fn server(&self) -> Option<Arc<str>> {
        self.0.cell.now().server.clone()
    }

    /// Writes the copy on disk now, and returns its position once it is durable. Call it before the program
    /// ends; otherwise the copy may lack the last seconds.
    ///
    /// # Errors
    /// If there is no [`cache_dir`](crate::ClientBuilder::cache_dir), or the table is not kept, or the copy
    /// cannot be written.
    pub async fn save(&self) -> Result<Position, SaveError> {
        match &self.0.saver {
            Some(saver) => saver.save().await,
            None => Err(SaveError::NoCacheDir),
        }
    }

    /// Returns an upper bound of the age of what readers see, proved by the client's own clock: the state
    /// has everything that the server had committed that long ago. `None`: nothing is proved yet, because
    /// the replica started from a copy on disk and does not follow the server. Costs one load and a look at
    /// the clock.
    #[must_use]
    pub fn age(&self) -> Option<Duration> {
        self.0.cell.age()
    }

    /// Checks that the content is at most `max` old. Workers call [`Reader::fresh`] instead, which also
    /// returns the state.
    ///
    /// # Errors
    /// If the content may be older than `max`.
    pub fn fresh(&self, max: Duration) -> Result<(), TooStale> {
        TooStale::check(self.age(), max)
    }

    /// Returns the number of transactions that the table has and readers cannot see yet, as far as is
    /// known.
    #[must_use]
    pub fn lag(&self) -> u64 {
        let now = self.0.cell.now();
        let seq = now.visible.map_or(0, |position| position.seq);
        now.head.saturating_sub(seq)
    }

    /// Returns the position of the state that readers get now.
    #[must_use]
    pub fn position(&self) -> Position {
        let visible = self.0.cell.now().visible;
        visible.expect("a replica has its first state")
    }

    /// Waits until readers see `at`, the position returned by a write, or a later one. If an earlier
    /// refused value blocks the replica, the call waits for its correction.
    ///
    /// # Errors
    /// [`WaitForError`] has the reason readers do not see the position.
    pub async fn wait_for(&self, at: Position, within: Duration) -> Result<(), WaitForError> {
        let cell = &self.0.cell;
        let (asked, mut seen, mut decided) = (Instant::now(), cell.now.subscribe(), None);
        let waited = seen.wait_for(|now| {
            decided = decide(now, at, asked);
            decided.is_some()
        });
        // After the timeout `decided` is still `None`.
        drop(timeout(within, waited).await);
        decided.unwrap_or_else(|| Err(too_late(&cell.now(), at)))
    }
}

impl<S: Entries> Replica<S> {
    /// Calls `call` with the key, the old and the new value of each record that changes from now on, until
    /// the guard is dropped. `None` as the old value: the record is new; as the new value: the record is
    /// gone.
    ///
    /// A reader that asks while `call` runs gets that change, or a later one; [`position`](Self::position)
    /// may follow a moment later. The changes of a table arrive in order. After a snapshot, after coalesced
    /// transactions, and for a callback that is more than
    /// [`MAX_CHANGES_BEHIND`](hotread_proto::MAX_CHANGES_BEHIND) changes behind, they arrive as the
    /// difference from the last state that the callback was given. A write of an equal value is not a
    /// change.
    ///
    /// Costs a thread of its own, which runs the callback, and one more copy of the state. No lock is held
    /// in the meantime: the callback may use the replica, and may be slow without delaying readers or the
    /// task. A panic is caught, the status becomes [`Status::CallbackPanicked`], and the next change is
    /// reported as usual.
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
    /// If the system refuses to start a thread.
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
