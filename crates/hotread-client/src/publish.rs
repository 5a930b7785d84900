//! Publishes a replica's batches to its readers.

use crate::cache::{Keeper, Loaded, Saver};
use crate::cell::Cell;
use crate::drive::Publish;
use crate::error::Error;
use crate::expiry::Expiry;
use crate::heavy::{HEAVY_UPDATES, heavy};
use crate::status::{Now, Status};
use hotread::{HotRead, HotReadState, Published, QueueResult};
use hotread_proto::session::{self, Batch, Cause, Follow};
use hotread_proto::{
    Callbacks, Code, Decoder, ErrorBody, Position, Replicated, TableName, Timestamp,
};
use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::oneshot;
use tokio::time::sleep_until;

/// Settings of a replica.
#[derive(Debug, Clone)]
pub(crate) struct Options {
    pub(crate) skip_bad_keys: bool,
    pub(crate) max_bytes: usize,
    pub(crate) hide_expired: bool,
}

/// Copies of the state. A task that awaits while it holds a reader keeps a whole copy; with 4 copies, two
/// such generations do not block publication.
const COPIES: usize = 4;
/// Number of updates queued behind blocking readers above which nothing more is read from the server. The
/// session is eventually lost, and resumed once the readers catch up.
const MAX_QUEUED: usize = 65_536;
/// Longest wait for the server of a replica that has a copy on disk; after that the replica starts from that
/// copy.
const OFFLINE_AFTER: Duration = Duration::from_secs(2);
/// Time after which an update blocked by readers is reported.
pub(crate) const BLOCKED_AFTER: Duration = Duration::from_secs(1);
/// Share of the largest size at which a table is logged as nearly too large, in percent.
const WARN_AT_PERCENT: usize = 80;
/// Maximum number of left-out records that the status lists; all of them are counted.
const MAX_LEFT_OUT: usize = 64;

/// Updates that are queued and not visible yet.
struct Queued {
    /// Number of the last update.
    seq: u64,
    position: Position,
    updates: usize,
    since: Instant,
}

/// An update with the key of its record.
type Keyed<S> = (Arc<str>, <S as HotReadState>::Action);

/// The first state of a replica, with the handle that requests copies of it on disk.
pub(crate) type First<S> = Result<(HotRead<S>, Option<Saver>), Error>;

/// Publishes a replica's batches.
pub(crate) struct Publisher<S: Replicated> {
    table: TableName,
    pub(crate) cell: Arc<Cell>,
    /// Next report to the cell.
    now: Now,
    state: Option<HotRead<S>>,
    callbacks: Arc<Callbacks<S>>,
    /// Sender to the caller that waits for the first state.
    first: Option<oneshot::Sender<First<S>>>,
    queued: VecDeque<Queued>,
    queued_updates: usize,
    /// Resolves when the first of `queued` is visible.
    waiting: Option<Published>,
    /// Writes the published records to disk.
    pub(crate) keeper: Option<Keeper>,
    /// Time at which the copy was written that the replica started from, if it did.
    saved_at: Option<Timestamp>,
    /// End of the wait for the server, if there is a copy to start from.
    offline_at: Option<Instant>,
    /// Position received when the left-out records were last examined.
    left_out_at: Option<Position>,
    /// Expired records to hide; `None`: they are shown until the server deletes them.
    expiry: Option<Expiry>,
    pub(crate) options: Options,
    warned_of_size: bool,
    warned_of_readers: bool,
}

impl<S: Replicated> Publisher<S> {
    pub(crate) fn new(
        table: &TableName,
        cell: Arc<Cell>,
        callbacks: Arc<Callbacks<S>>,
        options: Options,
        first: oneshot::Sender<First<S>>,
    ) -> Self {
        Self {
            table: table.clone(),
            now: Now::new(cell.began),
            cell,
            callbacks,
            state: None,
            first: Some(first),
            queued: VecDeque::new(),
            queued_updates: 0,
            waiting: None,
            keeper: None,
            saved_at: None,
            offline_at: None,
            left_out_at: None,
            expiry: options.hide_expired.then(Expiry::default),
            options,
            warned_of_size: false,
            warned_of_readers: false,
        }
    }

    /// Starts from a copy on disk.
    pub(crate) async fn restore(&mut self, mut batch: Batch<Keyed<S>>, copy: &Loaded) {
        if let Some(expiry) = &mut self.expiry {
            copy.records.iter().for_each(|record| expiry.put(record));
        }
        batch.actions.extend(self.hide());
        self.saved_at = Some(copy.saved_at);
        self.offline_at = Some(Instant::now() + OFFLINE_AFTER);
        self.begin(batch).await;
    }

    /// Sends the first state, or the reason there will not be one, to the caller that waits for it.
    pub(crate) fn give(&mut self, state: First<S>) {
        if let Some(first) = self.first.take() {
            // The caller may be gone.
            let _ = first.send(state);
        }
    }

    async fn begin(&mut self, batch: Batch<Keyed<S>>) {
        let name = self.table.to_string();
        let build = move || {
            let mut state = S::with_capacity(batch.actions.len());
            for (_, action) in batch.actions {
                state.apply_owned(action);
            }
            HotRead::builder(state)
                .max_copies(COPIES)
                .name(name)
                .build()
        };
        self.state = Some(heavy(build).await);
        self.now.visible = Some(batch.head.position);
    }

    /// Removes the updates at the front that are visible to readers, and returns the position of the last
    /// one.
    fn take_visible(&mut self) -> Option<Position> {
        let upto = self.state.as_ref()?.published_seq();
        let mut position = None;
        while let Some(queued) = self.queued.pop_front_if(|queued| queued.seq <= upto) {
            self.queued_updates -= queued.updates;
            position = Some(queued.position);
        }
        self.now.visible = position.or(self.now.visible);
        position
    }

    fn session(&mut self, follow: &Follow<Decoder<S>>) -> Status {
        match follow.status() {
            session::Status::Rejected(refused) => {
                if self.now.visible.is_none() {
                    self.give(Err(Error::Rejected(refused.clone())));
                }
                Status::Rejected(refused)
            }
            session::Status::TooLarge { bytes, max } => Status::TooLarge { bytes, max },
            session::Status::Failed(body) => Status::Failed(body),
            session::Status::Live if self.saved_at.is_none() || follow.fresh_at().is_some() => {
                Status::Live
            }
            session::Status::Stale { since: Some(since) } => Status::Stale {
                since: self.cell.began + since,
            },
            // The session has not begun yet, and the state may be the one from disk.
            _ => match self.saved_at {
                Some(saved_at) => Status::Offline { saved_at },
                None => Status::Stale {
                    since: self.cell.began,
                },
            },
        }
    }

    /// Returns updates that hide the records that have expired by now.
    fn hide(&mut self) -> impl Iterator<Item = Keyed<S>> + use<S> {
        let due = self.expiry.as_mut().map(Expiry::take_due);
        let due = due.into_iter().flatten();
        due.map(|key| (key.clone(), S::delete(&key)))
    }

    /// Returns the time of the next work that neither a frame nor a publication triggers.
    fn wake(&self) -> Option<Instant> {
        let offline = self.offline_at.filter(|_| self.first.is_some());
        let quiet = !self.warned_of_readers;
        let blocked = self.queued.front().filter(|_| quiet);
        let blocked = blocked.map(|front| front.since + BLOCKED_AFTER);
        let expiry = self.expiry.as_ref().and_then(Expiry::wait);
        let expiry = expiry.map(|wait| Instant::now() + wait);
        [offline, blocked, expiry].into_iter().flatten().min()
    }

    /// Performs the work that is due. Reports once that readers block an update.
    async fn woken(&mut self) {
        let front = self.queued.front();
        let blocked = front.is_some_and(|front| front.since.elapsed() >= BLOCKED_AFTER);
        if blocked && !self.warned_of_readers {
            self.warned_of_readers = true;
            if let Some((reader, readers)) = self.state.as_ref().and_then(blocking) {
                let (table, reader) = (&self.table, reader.as_deref().unwrap_or("without a name"));
                tracing::warn!(%table, reader, readers, "readers keep updates from being visible");
            }
        }
        let actions: Vec<Keyed<S>> = self.hide().collect();
        if let (Some(state), false) = (&self.state, actions.is_empty()) {
            queue(state, &self.callbacks, actions).await;
        }
    }

    /// Logs once that the table nears its largest size.
    fn look_at_size(&mut self, bytes: usize) {
        let (table, max) = (&self.table, self.options.max_bytes);
        let near = bytes / 100 >= max / 100 * WARN_AT_PERCENT / 100 && bytes > 0;
        if near && !self.warned_of_size {
            tracing::warn!(%table, bytes, max, "a table nears its replica's max_table_bytes");
        }
        self.warned_of_size = near;
    }

    /// Examines the left-out records, if they can have changed.
    fn look_at_left_out(&mut self, follow: &Follow<Decoder<S>>) {
        let (at, count) = (follow.received(), follow.skipped_count());
        let known = (self.left_out_at, self.now.left_out_count);
        if (count, known.1) == (0, 0) || (at.is_some() && (at, count) == known) {
            return;
        }
        self.left_out_at = at;
        self.now.left_out_count = count;
        self.now.left_out = follow.skipped().take(MAX_LEFT_OUT).collect();
    }

    /// Returns `true` if the first state may be handed to the caller. A state from disk has to wait for the
    /// first attempt to reach the server, so that a start on a healthy connection has the current table.
    fn is_ready(&self, follow: &Follow<Decoder<S>>) -> bool {
        let Some(offline_at) = self.offline_at else {
            return true;
        };
        follow.fresh_at().is_some()
            || follow.trouble().is_some()
            || matches!(follow.status(), session::Status::Rejected(_))
            || Instant::now() >= offline_at
    }
}

/// Queues updates and passes them to callbacks; many updates are handled on another thread.
async fn queue<S: Replicated>(
    state: &HotRead<S>,
    callbacks: &Arc<Callbacks<S>>,
    actions: Vec<Keyed<S>>,
) -> QueueResult {
    let (state, callbacks, updates) = (state.clone(), callbacks.clone(), actions.len());
    let queue = move || {
        let told = callbacks.keep(&actions);
        let result = state.queue_updates(actions.into_iter().map(|(_, action)| action));
        if updates > 0 {
            callbacks.note(result.last_seq, told);
        }
        result
    };
    match updates < HEAVY_UPDATES {
        true => queue(),
        false => heavy(queue).await,
    }
}

/// Resolves with the output of the future; without a future, never.
async fn or_never<F: Future>(future: Option<F>) -> F::Output {
    match future {
        Some(future) => future.await,
        None => std::future::pending().await,
    }
}

/// Returns the name of the reader that has blocked an update for the longest time, and the number of
/// blocking readers; `None`: no reader blocks.
pub(crate) fn blocking<S: Replicated>(state: &HotRead<S>) -> Option<(Option<Arc<str>>, usize)> {
    let mut readers = state.workers();
    readers.retain(|reader| reader.blocking);
    let count = readers.len();
    let longest = readers.into_iter().max_by_key(|reader| reader.blocking_for);
    longest.map(|reader| (reader.name, count))
}

impl<S: Replicated> Publish<Decoder<S>> for Publisher<S> {
    const KEEPS_TIME: bool = true;

    async fn apply(&mut self, mut batch: Batch<Keyed<S>>) -> Result<bool, ErrorBody> {
        let position = batch.head.position;
        if let Cause::Snapshot { reason } = &batch.cause {
            let reason = reason.as_deref().unwrap_or("the server did not say");
            tracing::info!(table = %self.table, reason, "a replica was reloaded");
        }
        if let Some(expiry) = &mut self.expiry {
            expiry.note(&batch.ops);
        }
        batch.actions.extend(self.hide());
        if let Some(keeper) = &self.keeper {
            keeper.add(batch.head, std::mem::take(&mut batch.ops));
        }
        let Some(state) = &self.state else {
            self.begin(batch).await;
            return Ok(true);
        };
        let updates = batch.actions.len();
        let result = queue(state, &self.callbacks, batch.actions).await;
        // An empty batch is visible together with the update before it.
        let seq = match updates {
            0 => state.latest_seq(),
            _ => result.last_seq,
        };
        if result.published || state.published_seq() >= seq {
            self.queued.clear();
            self.queued_updates = 0;
            self.waiting = None;
            self.now.visible = Some(position);
            return Ok(true);
        }
        self.queued_updates += updates;
        self.queued.push_back(Queued {
            seq,
            position,
            updates,
            since: Instant::now(),
        });
        Ok(false)
    }

    fn has_room(&self) -> bool {
        self.queued_updates.max(self.queued.len()) < MAX_QUEUED
    }

    async fn progress(&mut self) -> Result<Option<Position>, ErrorBody> {
        let wake = self.wake();
        let waiting = match (&self.state, self.queued.front()) {
            (Some(state), Some(front)) => {
                let published = || state.published(front.seq);
                Some(self.waiting.get_or_insert_with(published))
            }
            _ => None,
        };
        let published = tokio::select! {
            published = or_never(waiting) => published,
            () = or_never(wake.map(|at| sleep_until(at.into()))) => {
                self.woken().await;
                return Ok(None);
            }
        };
        self.waiting = None;
        published.map_err(|error| ErrorBody::new(Code::Rejected, error))?;
        Ok(self.take_visible())
    }

    fn report(&mut self, follow: &Follow<Decoder<S>>, server: &Arc<str>) {
        if follow.is_sealed()
            && let Some(keeper) = &self.keeper
        {
            keeper.forget();
        }
        if follow.trouble() != self.now.trouble.as_deref() {
            self.now.trouble = follow.trouble().map(Arc::from);
        }
        let server = follow.is_up().then_some(server);
        if server != self.now.server.as_ref() {
            self.now.server = server.cloned();
        }
        self.look_at_left_out(follow);
        self.look_at_size(follow.bytes());
        let session = self.session(follow);
        let began = self.cell.began;
        let now = &mut self.now;
        if session == Status::Live && now.session != Status::Live {
            now.live_since = Instant::now();
        }
        now.session = session;
        now.queued = follow.position();
        now.received = follow.received();
        now.head = follow.head();
        now.fresh_at = follow.fresh_at().map(|at| began + at);
        now.patience = follow.patience();
        now.blocked_since = self.queued.front().map(|front| front.since);
        now.bytes = follow.bytes();
        self.warned_of_readers &= now.blocked_since.is_some();
        self.cell.set(now);
        // The first state is handed over once its status is known.
        if let Some(state) = &self.state
            && self.first.is_some()
            && self.is_ready(follow)
        {
            let saver = self.keeper.as_ref().map(Keeper::saver);
            self.give(Ok((state.clone(), saver)));
        }
    }
}
