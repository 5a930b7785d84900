//! A table inside this process.

use crate::cell::{Cell, Now};
use crate::client::Client;
use crate::drive;
use crate::error::Error;
use crate::publish::Publisher;
use crate::replicated::{Adapter, Replicated, words};
use futures_util::FutureExt;
use hotread::{HotRead, HotReadHandle};
use hotread_proto::session::{Follow, Mode, Refused};
use hotread_proto::{Code, ErrorBody, Position, TableName};
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

struct Shared<S: Replicated> {
    table: TableName,
    state: HotRead<S>,
    cell: Arc<Cell>,
    _task: Task,
}

/// A task that ends when this is dropped.
#[derive(Debug)]
pub(crate) struct Task(pub(crate) AbortHandle);

impl Drop for Task {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// How a replica is doing.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Status {
    /// It follows. How old its content is at most, [`Replica::age`] says.
    Live,
    /// It does not hear from the server, and keeps what it has.
    Stale {
        /// When it last heard from it.
        since: Option<Instant>,
    },
    /// Its type refuses a value, and it keeps what was before that.
    Rejected(Refused),
    /// It is over, and it keeps what it has: the state's own code panicked.
    Failed(ErrorBody),
}

/// A replica's content may be older than what was asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the replica's content may be {age:?} old, and at most {max:?} was asked for")]
pub struct TooStale {
    /// How old it is at most.
    pub age: Duration,
    /// How old it may be.
    pub max: Duration,
}

/// Why a replica did not come to a position.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum WaitForError {
    /// It has the position, but readers hold old copies, so that it cannot be made visible.
    #[error("readers hold old copies of the replica's state; let them ask for the current one")]
    Blocked,
    /// Its type refuses a value on the way there.
    #[error("{0}")]
    Rejected(Refused),
    /// The position is of another incarnation of the table.
    #[error("the table began anew, and the position is of another incarnation; read it again")]
    EpochChanged,
    /// It did not come there in time.
    #[error("the replica did not come to the position in time; its status says how it is doing")]
    Timeout,
    /// It is over.
    #[error("the replica has ended: {0}")]
    Failed(ErrorBody),
}

pub(crate) async fn start<S: Replicated>(
    client: &Client,
    table: TableName,
) -> Result<Replica<S>, Error> {
    let began = Instant::now();
    let cell = Arc::new(Cell::new(began));
    let (first, arrives) = oneshot::channel();
    let follower = run::<S>(client.clone(), table.clone(), began, cell.clone(), first);
    let task = Task(tokio::spawn(follower).abort_handle());
    match arrives.await {
        Ok(Ok(state)) => Ok(Replica(Arc::new(Shared {
            table,
            state,
            cell,
            _task: task,
        }))),
        Ok(Err(error)) => Err(error),
        Err(_) => Err(Error::TaskEnded),
    }
}

/// The replica's task.
async fn run<S: Replicated>(
    client: Client,
    table: TableName,
    began: Instant,
    cell: Arc<Cell>,
    first: oneshot::Sender<Result<HotRead<S>, Error>>,
) {
    let mode = Mode::Replica { coalesce: true };
    let config = drive::config(&client, mode, false);
    let follow = Follow::new(Adapter::new(), config, began.elapsed());
    let mut publisher = Publisher::<S>::new(&table, cell.clone(), first);
    let driven = drive::drive(follow, &mut publisher, &client, &table, began);
    // The state's own code runs in there. Whatever it leaves half done is not used any more.
    let body = AssertUnwindSafe(driven).catch_unwind().await;
    let body = body.unwrap_or_else(|panic| {
        let words = words(&*panic);
        ErrorBody::new(
            Code::Rejected,
            format!("the code of the replica's state panicked: {words}"),
        )
    });
    tracing::warn!(%table, code = %body.code, message = body.message, "a replica has ended");
    publisher.fail(Error::session(body.clone()));
    cell.fail(body);
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

    /// The state as HotRead keeps it, to observe it or read without a handle. What is queued there
    /// by others than the replica makes it another state than the table's.
    #[must_use]
    pub fn state(&self) -> &HotRead<S> {
        &self.0.state
    }

    /// How it is doing.
    #[must_use]
    pub fn status(&self) -> Status {
        self.0.cell.now().status.clone()
    }

    /// How old what readers see is at most, proved by the client's own clock: it had everything that
    /// the server had committed so long ago. `None`: that is not proved yet.
    ///
    /// One load and a look at the clock.
    #[must_use]
    pub fn age(&self) -> Option<Duration> {
        self.0.cell.age()
    }

    /// Is the content at most so old?
    ///
    /// # Errors
    /// If it may be older.
    pub fn fresh(&self, max: Duration) -> Result<(), TooStale> {
        let age = self.age().unwrap_or(Duration::MAX);
        if age <= max {
            return Ok(());
        }
        Err(TooStale { age, max })
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

/// Why readers did not come to `at` in time.
fn too_late(now: &Now, at: Position) -> WaitForError {
    let same = |p: Position| p.epoch == at.epoch;
    let received = now.received.is_some_and(|p| same(p) && p.seq >= at.seq);
    match (&now.status, now.visible) {
        _ if received => WaitForError::Blocked,
        (Status::Rejected(refused), _) if refused.seq <= at.seq => {
            WaitForError::Rejected(refused.clone())
        }
        (_, Some(visible)) if !same(visible) => WaitForError::EpochChanged,
        _ => WaitForError::Timeout,
    }
}

/// Can it be said already whether readers come to `at`?
fn decide(now: &Now, at: Position, asked: Instant) -> Option<Result<(), WaitForError>> {
    let visible = now.visible?;
    if visible.epoch == at.epoch && visible.seq >= at.seq {
        return Some(Ok(()));
    }
    match &now.status {
        Status::Failed(body) => return Some(Err(WaitForError::Failed(body.clone()))),
        // What was written later may be what mends it, and be on its way.
        Status::Rejected(refused) if refused.seq == at.seq => {
            return Some(Err(WaitForError::Rejected(refused.clone())));
        }
        _ => {}
    }
    // What had been committed before this was asked is there, and it is of another incarnation.
    let proved = now.fresh_at.is_some_and(|fresh| fresh >= asked);
    (visible.epoch != at.epoch && proved).then_some(Err(WaitForError::EpochChanged))
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
