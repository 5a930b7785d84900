//! Publishes a replica's batches to its readers.

use crate::cell::{Cell, Now};
use crate::drive::Publish;
use crate::error::Error;
use crate::replica;
use crate::replicated::{Adapter, Replicated};
use hotread::{HotRead, Published};
use hotread_proto::session::{Batch, Cause, Follow, Status};
use hotread_proto::{Code, ErrorBody, Position, TableName};
use std::collections::VecDeque;
use std::sync::Arc;
use tokio::sync::oneshot;

/// A task that holds a reader while it waits for something holds a whole copy: with 4 copies, two
/// such generations do not keep anything from being published.
const COPIES: usize = 4;
/// Once so many updates are queued that readers keep from being published, nothing more is read
/// from the server. The session is lost by and by, and resumed when they have let go.
const MAX_QUEUED: usize = 65_536;

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
    waiting: Option<Published<S>>,
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
        }
    }

    /// There will be no state.
    pub(crate) fn fail(&mut self, error: Error) {
        if let Some(first) = self.first.take() {
            // Whoever waited may have gone.
            let _ = first.send(Err(error));
        }
    }

    fn begin(&self, actions: Vec<S::Action>) -> HotRead<S> {
        let mut state = S::empty();
        for action in actions {
            state.apply_owned(action);
        }
        HotRead::builder(state)
            .max_copies(COPIES)
            .name(self.table.as_str())
            .build()
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
}

impl<S: Replicated> Publish<Adapter<S>> for Publisher<S> {
    fn apply(&mut self, batch: Batch<S::Action>) -> Result<bool, ErrorBody> {
        let position = batch.head.position;
        if let Cause::Snapshot { reason } = &batch.cause {
            let reason = reason.as_deref().unwrap_or("the server did not say");
            tracing::info!(table = %self.table, reason, "a replica was loaded anew");
        }
        let Some(state) = &self.state else {
            self.state = Some(self.begin(batch.actions));
            self.visible = Some(position);
            return Ok(true);
        };
        let updates = batch.actions.len();
        let result = state.queue_updates(batch.actions);
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
        let began = self.cell.began();
        let status = match follow.status() {
            Status::Live => replica::Status::Live,
            Status::Rejected(refused) => {
                if self.visible.is_none() {
                    self.fail(Error::Rejected(refused.clone()));
                }
                replica::Status::Rejected(refused)
            }
            Status::Failed(body) => replica::Status::Failed(body),
            Status::Stale { since } => replica::Status::Stale {
                since: since.map(|since| began + since),
            },
            // Not heard from yet, or a way to do that this version does not know.
            _ => replica::Status::Stale { since: None },
        };
        self.cell.set(Now {
            status,
            visible: self.visible,
            received: follow.position(),
            head: follow.head(),
            fresh_at: follow.fresh_at().map(|at| began + at),
        });
        // The first state is given out when all that can be asked of it is known.
        if let (Some(state), true) = (&self.state, self.first.is_some()) {
            let state = state.clone();
            if let Some(first) = self.first.take() {
                // Whoever waited may have gone; then the task is being ended.
                let _ = first.send(Ok(state));
            }
        }
    }
}
