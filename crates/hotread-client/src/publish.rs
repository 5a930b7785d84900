//! Publishes a replica's batches to its readers.

use crate::cache::Keeper;
use crate::cell::{Cell, Now};
use crate::drive::Publish;
use crate::error::Error;
use crate::heavy::{HEAVY_UPDATES, heavy};
use crate::replicated::{Adapter, Replicated};
use crate::status::Status;
use hotread::{HotRead, Published};
use hotread_proto::session::{self, Batch, Cause, Follow, Refused};
use hotread_proto::{Code, ErrorBody, Position, TableName, Timestamp};
use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::oneshot;
use tokio::time::sleep_until;

/// A task that holds a reader while it waits for something holds a whole copy: with 4 copies, two
/// such generations do not keep anything from being published.
const COPIES: usize = 4;
/// Once so many updates are queued that readers keep from being published, nothing more is read
/// from the server. The session is lost by and by, and resumed when they have let go.
const MAX_QUEUED: usize = 65_536;
/// A replica that has a copy from disk waits so long for the server before it is given out with it.
const OFFLINE_AFTER: Duration = Duration::from_secs(2);
/// Most records that are left out of which the status tells more than their number.
const MAX_LEFT_OUT: usize = 64;

/// What was queued and is not visible yet.
struct Queued {
    /// The number of its last update.
    seq: u64,
    position: Position,
    updates: usize,
}

/// Publishes a replica's batches.
pub(crate) struct Publisher<S: Replicated> {
    table: TableName,
    cell: Arc<Cell>,
    state: Option<HotRead<S>>,
    /// Who waits for the first state.
    first: Option<oneshot::Sender<Result<HotRead<S>, Error>>>,
    visible: Option<Position>,
    queued: VecDeque<Queued>,
    queued_updates: usize,
    /// Resolves when the first of `queued` is visible.
    waiting: Option<Published>,
    /// Writes what is given out to disk.
    keeper: Option<Keeper>,
    /// When the copy was written that it began with, if it did.
    saved_at: Option<Timestamp>,
    /// Until then the server is waited for, though there is a copy.
    offline_at: Option<Instant>,
    left_out: LeftOut,
    trouble: Option<Arc<str>>,
}

/// The records that are left out, as they were told of last.
#[derive(Default)]
struct LeftOut {
    /// When: what was received then.
    at: Option<Position>,
    count: usize,
    first: Arc<[Refused]>,
}

impl<S: Replicated> Publisher<S> {
    pub(crate) fn new(
        table: &TableName,
        cell: Arc<Cell>,
        first: oneshot::Sender<Result<HotRead<S>, Error>>,
    ) -> Self {
        Self {
            table: table.clone(),
            cell,
            state: None,
            first: Some(first),
            visible: None,
            queued: VecDeque::new(),
            queued_updates: 0,
            waiting: None,
            keeper: None,
            saved_at: None,
            offline_at: None,
            left_out: LeftOut::default(),
            trouble: None,
        }
    }

    /// What is given out from now on is also given to this one.
    pub(crate) fn keep(&mut self, keeper: Keeper) {
        self.keeper = Some(keeper);
    }

    /// Begins with a copy from disk.
    pub(crate) async fn restore(&mut self, batch: Batch<S::Action>, saved_at: Timestamp) {
        self.saved_at = Some(saved_at);
        self.offline_at = Some(Instant::now() + OFFLINE_AFTER);
        self.begin(batch).await;
    }

    /// There will be no state.
    pub(crate) fn fail(&mut self, error: Error) {
        if let Some(first) = self.first.take() {
            // Whoever waited may have gone.
            let _ = first.send(Err(error));
        }
    }

    async fn begin(&mut self, batch: Batch<S::Action>) {
        let name = self.table.to_string();
        let build = move || {
            let mut state = S::with_capacity(batch.actions.len());
            for action in batch.actions {
                state.apply_owned(action);
            }
            HotRead::builder(state)
                .max_copies(COPIES)
                .name(name)
                .build()
        };
        self.state = Some(heavy(build).await);
        self.visible = Some(batch.head.position);
    }

    /// Those at the front that readers can see now; where they stand.
    fn take_visible(&mut self) -> Option<Position> {
        let upto = self.state.as_ref()?.published_seq();
        let mut position = None;
        while let Some(queued) = self.queued.pop_front_if(|queued| queued.seq <= upto) {
            self.queued_updates -= queued.updates;
            position = Some(queued.position);
        }
        self.visible = position.or(self.visible);
        position
    }

    fn status(&mut self, follow: &Follow<Adapter<S>>) -> Status {
        match follow.status() {
            session::Status::Rejected(refused) => {
                if self.visible.is_none() {
                    self.fail(Error::Rejected(refused.clone()));
                }
                Status::Rejected(refused)
            }
            session::Status::Failed(body) => Status::Failed(body),
            session::Status::Live => match self.left_out.first.first() {
                Some(first) => Status::Partial {
                    left_out: self.left_out.count,
                    first: first.clone(),
                },
                None => Status::Live,
            },
            session::Status::Stale { since: Some(since) } => Status::Stale {
                since: self.cell.began() + since,
            },
            // It has not come to follow the server yet.
            _ => match self.saved_at {
                Some(saved_at) => Status::Offline { saved_at },
                None => Status::Stale {
                    since: self.cell.began(),
                },
            },
        }
    }

    /// Looks at what is left out, if something can have changed.
    fn look_at_left_out(&mut self, follow: &Follow<Adapter<S>>) {
        let (at, count) = (follow.received(), follow.skipped_count());
        let known = &self.left_out;
        if (count, known.count) == (0, 0)
            || (at.is_some() && (at, count) == (known.at, known.count))
        {
            return;
        }
        let first = follow.skipped().take(MAX_LEFT_OUT).collect();
        self.left_out = LeftOut { at, count, first };
    }

    /// Is the first state to be given out? One from disk only when the server was tried, so that
    /// whoever starts while all is well starts with what the table is now.
    fn is_ready(&self, follow: &Follow<Adapter<S>>) -> bool {
        let Some(offline_at) = self.offline_at else {
            return true;
        };
        follow.fresh_at().is_some()
            || follow.trouble().is_some()
            || matches!(follow.status(), session::Status::Rejected(_))
            || Instant::now() >= offline_at
    }
}

impl<S: Replicated> Publish<Adapter<S>> for Publisher<S> {
    async fn apply(&mut self, mut batch: Batch<S::Action>) -> Result<bool, ErrorBody> {
        let position = batch.head.position;
        if let Cause::Snapshot { reason } = &batch.cause {
            let reason = reason.as_deref().unwrap_or("the server did not say");
            tracing::info!(table = %self.table, reason, "a replica was loaded anew");
        }
        if let Some(keeper) = &self.keeper {
            keeper.add(batch.head, std::mem::take(&mut batch.ops));
        }
        let Some(state) = &self.state else {
            self.begin(batch).await;
            return Ok(true);
        };
        let updates = batch.actions.len();
        let result = if updates < HEAVY_UPDATES {
            state.queue_updates(batch.actions)
        } else {
            let state = state.clone();
            heavy(move || state.queue_updates(batch.actions)).await
        };
        // A batch of nothing is visible as soon as what is before it.
        let seq = match updates {
            0 => state.latest_seq(),
            _ => result.last_seq,
        };
        if result.published || state.published_seq() >= seq {
            self.queued.clear();
            self.queued_updates = 0;
            self.waiting = None;
            self.visible = Some(position);
            return Ok(true);
        }
        self.queued_updates += updates;
        self.queued.push_back(Queued {
            seq,
            position,
            updates,
        });
        Ok(false)
    }

    fn has_room(&self) -> bool {
        self.queued_updates.max(self.queued.len()) < MAX_QUEUED
    }

    fn keeps_time(&self) -> bool {
        true
    }

    async fn progress(&mut self) -> Result<Option<Position>, ErrorBody> {
        if let (Some(offline_at), Some(_)) = (self.offline_at, &self.first) {
            sleep_until(offline_at.into()).await;
            return Ok(None);
        }
        let (Some(state), Some(front)) = (&self.state, self.queued.front()) else {
            return std::future::pending().await;
        };
        let waiting = self
            .waiting
            .get_or_insert_with(|| state.published(front.seq));
        let published = waiting.await;
        self.waiting = None;
        published.map_err(|error| ErrorBody::new(Code::Rejected, error))?;
        Ok(self.take_visible())
    }

    fn report(&mut self, follow: &Follow<Adapter<S>>) {
        if follow.is_sealed()
            && let Some(keeper) = &self.keeper
        {
            keeper.forget();
        }
        if follow.trouble() != self.trouble.as_deref() {
            self.trouble = follow.trouble().map(Arc::from);
        }
        self.look_at_left_out(follow);
        let began = self.cell.began();
        let status = self.status(follow);
        self.cell.set(Now {
            status,
            visible: self.visible,
            queued: follow.position(),
            received: follow.received(),
            head: follow.head(),
            fresh_at: follow.fresh_at().map(|at| began + at),
            left_out: self.left_out.first.clone(),
            trouble: self.trouble.clone(),
        });
        // The first state is given out when all that can be asked of it is known.
        if let (Some(state), true) = (&self.state, self.is_ready(follow)) {
            let state = state.clone();
            if let Some(first) = self.first.take() {
                // Whoever waited may have gone; then the task is being ended.
                let _ = first.send(Ok(state));
            }
        }
    }
}
