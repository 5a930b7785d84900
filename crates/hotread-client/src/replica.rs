//! A table inside this process.

use crate::cache::{Keeper, Place, SaveError, Saver};
use crate::cell::Cell;
use crate::drive;
use crate::endpoint::Endpoint;
use crate::error::Error;
use crate::heavy::heavy;
use crate::publish::{BLOCKED_AFTER, Options, Publisher, blocking};
use crate::reader::Reader;
use crate::status::{Status, TooStale, WaitForError, decide, too_late};
use futures_util::FutureExt;
use hotread::{HotRead, HotReadHandle};
use hotread_proto::session::{Follow, FollowConfig, Mode, Refused};
use hotread_proto::{Callbacks, Decoder, Entries, OnChange, Replicated, panic_message};
use hotread_proto::{Code, ErrorBody, Position, TableName};
use std::any::Any;
use std::fmt;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::oneshot;
use tokio::task::AbortHandle;
use tokio::time::{sleep_until, timeout};

/// A table inside this process: a state that follows it, read at the price of a pointer.
///
/// What readers see is always a state that the table had, whole transactions, checked against the
/// server's digest; it never goes back. When the server is away they keep what they have, and
/// [`status`](Self::status) says so.
///
/// Cheap to clone. The task that follows ends when the last clone is dropped; handles can still be
/// read after that.
pub struct Replica<S: Replicated>(Arc<Shared<S>>);

/// What the clones of one replica share.
struct Shared<S: Replicated> {
    table: TableName,
    state: HotRead<S>,
    cell: Arc<Cell>,
    callbacks: Arc<Callbacks<S>>,
    /// `None`: it keeps no copy on disk.
    saver: Option<Saver>,
    _task: Task,
}

impl<S: Replicated> Drop for Shared<S> {
    fn drop(&mut self) {
        self.callbacks.end();
    }
}

/// A task that ends when this is dropped.
#[derive(Debug)]
pub(crate) struct Task(pub(crate) AbortHandle);

impl Drop for Task {
    fn drop(&mut self) {
        self.0.abort();
    }
}

pub(crate) async fn start<S: Replicated>(
    endpoint: &Arc<Endpoint>,
    table: TableName,
    options: Options,
) -> Result<Replica<S>, Error> {
    let began = Instant::now();
    let cell = Arc::new(Cell::new(began));
    let callbacks = Arc::new(Callbacks::new());
    let (first, arrives) = oneshot::channel();
    let (savers, saver) = oneshot::channel();
    let task = Following {
        endpoint: endpoint.clone(),
        table: table.clone(),
        began,
        publisher: Publisher::new(&table, cell.clone(), callbacks.clone(), &options, first),
        options,
        ended: Ended(cell.clone()),
    };
    let task = Task(tokio::spawn(task.run(savers)).abort_handle());
    let trouble = || cell.now().trouble.as_deref().map(str::to_owned);
    let state = in_time(endpoint, arrives, trouble).await?;
    Ok(Replica(Arc::new(Shared {
        table,
        state,
        cell,
        callbacks,
        saver: saver.await.ok(),
        _task: task,
    })))
}

/// Waits for the beginning of something that follows a table, as long as that may take.
pub(crate) async fn in_time<T>(
    endpoint: &Arc<Endpoint>,
    begins: oneshot::Receiver<Result<T, Error>>,
    trouble: impl Fn() -> Option<String>,
) -> Result<T, Error> {
    let Some(within) = endpoint.start_within else {
        return begins.await.map_err(|_| Error::TaskEnded)?;
    };
    match timeout(within, begins).await {
        Ok(begun) => begun.map_err(|_| Error::TaskEnded)?,
        Err(_) => {
            let trouble = trouble().unwrap_or_else(|| "it is still being loaded".to_owned());
            Err(Error::NotInTime { within, trouble })
        }
    }
}

/// The replica's task.
struct Following<S: Replicated> {
    endpoint: Arc<Endpoint>,
    table: TableName,
    options: Options,
    began: Instant,
    publisher: Publisher<S>,
    ended: Ended,
}

/// Says that it is over when the task is dropped, with the runtime, in the middle of its work.
struct Ended(Arc<Cell>);

impl Drop for Ended {
    fn drop(&mut self) {
        let message = "the replica's task has ended: its runtime was shut down";
        self.0.fail(ErrorBody::new(Code::Closed, message));
    }
}

impl<S: Replicated> Following<S> {
    async fn run(mut self, savers: oneshot::Sender<Saver>) {
        // The state's own code runs in there. Whatever it leaves half done is not used any more.
        let body = AssertUnwindSafe(self.follow(savers)).catch_unwind().await;
        let body = body.unwrap_or_else(|panic| {
            let message = panic_message(&*panic);
            ErrorBody::new(
                Code::Rejected,
                format!("the code of the replica's state panicked: {message}"),
            )
        });
        let table = &self.table;
        tracing::warn!(%table, code = %body.code, message = body.message, "a replica has ended");
        self.ended.0.fail(body.clone());
        self.publisher.fail(Error::session(body));
    }

    async fn follow(&mut self, savers: oneshot::Sender<Saver>) -> ErrorBody {
        let began = self.began;
        let config = self.config();
        let cache = self.endpoint.cache.as_ref();
        let place = cache.map(|cache| cache.place(&self.endpoint.address, &self.table));
        let follow = match place {
            None => {
                drop(savers);
                Follow::new(Decoder::new(), config, began.elapsed())
            }
            Some(place) => self.restore(config, place, savers).await,
        };
        drive::drive(
            follow,
            &mut self.publisher,
            &self.endpoint,
            &self.table,
            began,
        )
        .await
    }

    fn config(&self) -> FollowConfig {
        let mode = Mode::Replica { coalesce: true };
        let keep_ops = self.endpoint.cache.is_some() || self.options.hide_expired;
        FollowConfig {
            skip_bad_keys: self.options.skip_bad_keys,
            max_bytes: self.options.max_bytes,
            ..drive::config(&self.endpoint, mode, keep_ops)
        }
    }

    /// Begins with the copy on disk, if there is one that can be used, and keeps it from now on.
    async fn restore(
        &mut self,
        config: FollowConfig,
        place: Place,
        savers: oneshot::Sender<Saver>,
    ) -> Follow<Decoder<S>> {
        let (began, table) = (self.began, self.table.clone());
        let (mut follow, restored, place) = heavy(move || {
            let max = config.max_bytes;
            let mut follow = Follow::new(Decoder::new(), config, began.elapsed());
            let restored = place.load().and_then(|loaded| {
                let bytes: usize = loaded.records.iter().map(|record| record.size()).sum();
                if bytes > max {
                    tracing::warn!(%table, bytes, max, "a copy of a table is larger than it may be");
                    return None;
                }
                let batch = follow.restore(&loaded.records);
                let batch = batch.inspect_err(|refused| {
                    tracing::warn!(%table, %refused, "a copy of a table is of no use to this type");
                });
                Some((batch.ok()?, loaded))
            });
            (follow, restored, place)
        })
        .await;
        let mut records = Vec::new();
        let mut at = None;
        if let Some((batch, loaded)) = restored {
            let position = batch.head.position;
            let publisher = &mut self.publisher;
            let restored = publisher.restore(batch, &loaded.records, loaded.saved_at);
            restored.await;
            follow.handle_published(position, began.elapsed());
            records = loaded.records.iter().cloned().collect();
            at = Some(position);
        }
        match Keeper::start(place, records, at) {
            Ok(keeper) => {
                // Whoever waited may have gone.
                let _ = savers.send(keeper.saver());
                self.publisher.keep(keeper);
            }
            Err(error) => {
                tracing::warn!(table = %self.table, %error, "no copy of a table can be kept");
            }
        }
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

    /// As [`create_handle`](Self::create_handle), with a name by which
    /// [`Status::Blocked`] and the log tell that this handle holds an old copy.
    #[must_use]
    pub fn create_named_handle(&self, name: &str) -> HotReadHandle<S> {
        self.0.state.create_named_handle(name)
    }

    /// As [`reader`](Self::reader), with a name as of
    /// [`create_named_handle`](Self::create_named_handle).
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
        match since {
            Some(since) if since.elapsed() >= BLOCKED_AFTER => match blocking(&self.0.state) {
                Some((reader, readers)) => Status::Blocked {
                    reader,
                    readers,
                    since,
                },
                None => status,
            },
            _ => match (&status, self.0.callbacks.panics()) {
                (Status::Live, Some(panics)) => Status::CallbackPanicked(panics),
                _ => status,
            },
        }
    }

    /// Bytes of the keys, categories and values that the table has, which
    /// [`max_table_bytes`](crate::ReplicaBuilder::max_table_bytes) bounds. At 80 % of that, a warning is
    /// logged.
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

    /// Writes the copy on disk now, and says where it stands once it is durable: for a program that is
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

    /// How old what readers see is at most, proved by the client's own clock: it had everything that
    /// the server had committed so long ago. `None`: that is not proved yet.
    ///
    /// A replica that began with a copy on disk does not know it until it follows the server.
    ///
    /// One load and a look at the clock.
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
        let asked = Instant::now();
        let mut seen = cell.watch();
        let decided = timeout(within, async {
            loop {
                let decided = decide(&seen.borrow_and_update(), at, asked);
                if let Some(result) = decided {
                    return result;
                }
                if seen.changed().await.is_err() {
                    // The cell is held here.
                    sleep_until(tokio::time::Instant::now() + within).await;
                }
            }
        });
        decided
            .await
            .unwrap_or_else(|_| Err(too_late(&cell.now(), at)))
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
        added.map_err(|error| Error::Invalid {
            code: Code::Internal,
            message: format!("the system gives no thread for the callback: {error}"),
        })
    }
}

impl<S: Replicated> Clone for Replica<S> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
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
