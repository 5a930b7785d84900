//! What the calls answer.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

/// What became of a batch by the time that its call returned; see [`QueueResult::outcome`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// Readers that ask from now on see the batch.
    Visible,
    /// Not visible yet, and no reader is known to be in the way: another thread is applying and
    /// goes on with this batch, or a backlog is larger than one call applies, and the next calls
    /// (or a [`Maintainer`](crate::Maintainer), or a thread that waits) go on with it.
    Pending,
    /// Not visible, because workers hold every copy that could take the batch.
    Blocked,
}

/// The answer to a queued batch of updates.
///
/// `published` and `blocked_by_workers` are never both true; [`outcome`](Self::outcome) names the
/// three cases. May be ignored: what is not visible yet stays queued.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct QueueResult {
    /// Sequence number of the batch's first update. The first update ever is 1; 0: nothing was
    /// queued.
    pub first_seq: u64,
    /// Sequence number of the batch's last update.
    pub last_seq: u64,
    /// Updates in this batch.
    pub queued_updates: usize,
    /// Applications that this call made, counted once for each update and copy: this batch's,
    /// those of others that it took on, and catching up.
    pub applied_updates: usize,
    /// Readers that ask from now on see the batch, whichever call published it.
    pub published: bool,
    /// Not visible, because workers still hold every copy that could take the batch. It becomes
    /// visible with the next `queue_update` or `maintain` after one of them has let go, or at
    /// once then if there is a [`Maintainer`](crate::Maintainer).
    pub blocked_by_workers: bool,
}

impl QueueResult {
    /// What became of the batch by the time that the call returned. An empty one is visible.
    #[must_use]
    pub fn outcome(&self) -> Outcome {
        if self.published || self.queued_updates == 0 {
            Outcome::Visible
        } else if self.blocked_by_workers {
            Outcome::Blocked
        } else {
            Outcome::Pending
        }
    }
}

/// The answer to [`HotRead::maintain`](crate::HotRead::maintain).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct MaintenanceResult {
    /// Applications that this call made, counted once for each update and copy.
    pub applied_updates: usize,
    /// Updates that left the log, because every copy has them.
    pub pruned_updates: usize,
    /// This call published.
    pub published: bool,
    /// A worker still holds an older generation, and this kept the call from finishing its work: an
    /// update is not visible yet, or a copy could not be brought up to date, so that the log could
    /// not empty. Also if another thread is applying.
    pub blocked_by_workers: bool,
    /// Another thread is applying; it will look again before it stops. What this call counts is what
    /// it did before.
    pub busy: bool,
}

/// One reader, as [`HotRead::workers`](crate::HotRead::workers) found it.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct WorkerStatus {
    /// The name given to [`create_named_handle`](crate::HotRead::create_named_handle); for the
    /// slot that a thread keeps for [`read`](crate::HotRead::read), the thread's name.
    pub name: Option<Arc<str>>,
    /// The generation of the copy it holds. `None`: it is quiescent.
    pub generation: Option<u64>,
    /// A publication waits, and this reader holds an outdated copy.
    pub blocking: bool,
    /// How long that publication has been waiting.
    pub blocking_for: Option<Duration>,
}

/// Why a wait for an update ended without it being visible.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum WaitError {
    /// The time was up. [`HotRead::workers`](crate::HotRead::workers) says who is in the way.
    Timeout,
    /// The update, or another of its batch, panicked when it was first applied: the whole batch
    /// was removed and will never be visible.
    Rejected,
    /// No such update was queued; `latest` is the last number given out.
    NotQueued {
        /// What `latest_seq()` was.
        latest: u64,
    },
    /// The last `HotRead` was dropped before the update could be published.
    Closed,
    /// The wait would be for itself: the calling thread is inside an update of this state.
    WithinUpdate,
    /// The system refused the maintainer's thread, which a future needs so that blocked publications
    /// are completed.
    NoThread,
    /// Whether so old an update was published or rejected is no longer known. Happens only
    /// after more than a thousand separate rejections.
    Forgotten,
}

impl fmt::Display for WaitError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            WaitError::Timeout => f.write_str(
                "the update was not visible in time; `workers()` names the readers that block it",
            ),
            WaitError::Rejected => {
                f.write_str("the update's batch panicked when it was applied and was removed")
            }
            WaitError::NotQueued { latest } => write!(
                f,
                "no update has this sequence number yet; the last one queued is {latest}"
            ),
            WaitError::Closed => {
                f.write_str("the last `HotRead` was dropped before the update could be published")
            }
            WaitError::WithinUpdate => f.write_str(
                "waiting inside `apply_update` would be waiting for itself; wait after it returns",
            ),
            WaitError::NoThread => f.write_str(
                "the system refused a thread to complete the publication; poll a \
                 `maintenance()` future, or wait with `wait_published`",
            ),
            WaitError::Forgotten => f.write_str(
                "too many batches were rejected since to tell what became of this update",
            ),
        }
    }
}

impl std::error::Error for WaitError {}

/// A batch that was refused because too many updates are ahead of it; gives it back.
#[derive(Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct BacklogFull<A> {
    /// The batch, untouched.
    pub updates: Vec<A>,
    /// Updates that were queued and not yet visible, or not yet taken by the thread that applies.
    pub pending: usize,
    /// The limit that they have reached: the one given to
    /// [`max_pending`](crate::HotReadBuilder::max_pending), or 128 updates behind other writers.
    pub max_pending: usize,
}

impl<A> fmt::Debug for BacklogFull<A> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BacklogFull")
            .field("updates", &self.updates.len())
            .field("pending", &self.pending)
            .field("max_pending", &self.max_pending)
            .finish()
    }
}

impl<A> fmt::Display for BacklogFull<A> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            updates,
            pending,
            max_pending,
        } = self;
        let len = updates.len();
        if len > *max_pending {
            write!(
                f,
                "a batch of {len} updates can never fit a backlog of at most {max_pending}; split it"
            )
        } else {
            write!(
                f,
                "{pending} updates are not visible yet and {len} more would exceed {max_pending}; \
                 try again when readers have let go, or other writers have had their turn"
            )
        }
    }
}

impl<A> std::error::Error for BacklogFull<A> {}
