//! Results and errors of the calls.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

/// State of a batch when its call returned; see [`QueueResult::outcome`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// Readers that ask from now on see the batch.
    Visible,
    /// The batch is not visible yet, although no reader is known to hold the copies. Either another
    /// thread is applying and continues with this batch, or a backlog is larger than one call
    /// applies; then the next calls, a [`Maintainer`](crate::Maintainer) or a waiting thread
    /// continue with it.
    Pending,
    /// The batch is not visible, because readers hold every copy that could take it.
    Blocked,
}

/// Result of queueing a batch of updates.
///
/// `published` and `blocked_by_workers` are never both true; [`outcome`](Self::outcome) names the
/// three cases. The result may be ignored: a batch that is not visible yet stays queued.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct QueueResult {
    /// Sequence number of the batch's first update. The first update ever has number 1; 0 means
    /// that nothing was queued.
    pub first_seq: u64,
    /// Sequence number of the batch's last update.
    pub last_seq: u64,
    /// Number of updates in this batch.
    pub queued_updates: usize,
    /// Number of applications that this call made, counted once for each update and copy: this
    /// batch's, those of other batches that it took on, and those that brought a copy up to date.
    pub applied_updates: usize,
    /// `true` if readers that ask from now on see the batch, whichever call published it.
    pub published: bool,
    /// `true` if the batch is not visible because readers still hold every copy that could take it.
    /// The batch becomes visible with the next `queue_update` or `maintain` after one of those
    /// readers has let go; with a [`Maintainer`](crate::Maintainer), as soon as one has.
    pub blocked_by_workers: bool,
}

impl QueueResult {
    /// Returns the state of the batch when the call returned. An empty batch counts as visible.
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

/// Result of [`HotRead::maintain`](crate::HotRead::maintain).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct MaintenanceResult {
    /// Number of applications that this call made, counted once for each update and copy.
    pub applied_updates: usize,
    /// Number of updates that left the log, because every copy has them.
    pub pruned_updates: usize,
    /// `true` if this call published.
    pub published: bool,
    /// `true` if a reader still holds an older generation and so kept the call from finishing its
    /// work: an update is not visible yet, or a copy could not be brought up to date and the log
    /// could not empty. Also set if another thread is applying.
    pub blocked_by_workers: bool,
    /// `true` if another thread is applying; that thread looks again before it stops. The counts
    /// cover what this call did before it found that thread.
    pub busy: bool,
}

/// Status of one reader, as reported by [`HotRead::workers`](crate::HotRead::workers).
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct WorkerStatus {
    /// The name given to [`create_named_handle`](crate::HotRead::create_named_handle); for the slot
    /// that a thread keeps for [`read`](crate::HotRead::read), the thread's name.
    pub name: Option<Arc<str>>,
    /// Generation of the copy held. `None`: quiescent.
    pub generation: Option<u64>,
    /// `true` if a publication waits and this reader holds an outdated copy.
    pub blocking: bool,
    /// Time for which that publication has been waiting.
    pub blocking_for: Option<Duration>,
}

/// Reason a wait for an update ended before the update was visible.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum WaitError {
    /// The timeout passed. [`HotRead::workers`](crate::HotRead::workers) lists the readers that
    /// block the publication.
    Timeout,
    /// The update, or another of its batch, panicked when it was first applied. The whole batch was
    /// removed and will never be visible.
    Rejected,
    /// No update with this sequence number was queued; `latest` is the number of the last one.
    NotQueued {
        /// Value of `latest_seq()` at the time of the call.
        latest: u64,
    },
    /// The last `HotRead` was dropped before the update could be published.
    Closed,
    /// The call would wait for itself: the calling thread is inside an update of this state.
    WithinUpdate,
    /// The system refused to start the maintainer's thread, which a future needs so that blocked
    /// publications are completed.
    NoThread,
    /// The update is so old that it is no longer known whether it was published or rejected.
    /// Happens only after more than a thousand separate rejections.
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
                "the system refused to start a thread that completes the publication; poll a \
                 `maintenance()` future, or wait with `wait_published`",
            ),
            WaitError::Forgotten => f.write_str(
                "too many batches were rejected since to know whether this update was published",
            ),
        }
    }
}

impl std::error::Error for WaitError {}

/// A batch that was refused because too many updates are ahead of it; returns the updates.
#[derive(Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct BacklogFull<A> {
    /// The updates of the batch, untouched.
    pub updates: Vec<A>,
    /// Number of updates that were queued and not yet visible, or not yet taken by the applying
    /// thread.
    pub pending: usize,
    /// The limit that those updates have reached: the one given to
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
