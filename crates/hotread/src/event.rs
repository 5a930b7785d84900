//! Events for logs and metrics that no call returns.

use std::time::Duration;

use crate::results::WorkerStatus;

/// An event that an operator may want to know of; see
/// [`HotReadBuilder::observer`](crate::HotReadBuilder::observer).
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Event {
    /// Updates have been invisible for this long, because readers hold every copy that could take
    /// them. Reported after a second, and again whenever that time has doubled, by the call that
    /// finds it.
    Blocked {
        /// The readers that hold an outdated copy.
        by: Vec<WorkerStatus>,
        /// Time for which the publication has been blocked.
        blocked_for: Duration,
    },
    /// A batch panicked when it was first applied, and was removed.
    Rejected {
        /// Sequence number of the batch's first update.
        first_seq: u64,
        /// Sequence number of the batch's last update.
        last_seq: u64,
    },
    /// A copy that a panic left half changed was cloned again, which costs one clone of the state.
    /// Not reported if `Clone` panicked as well; the copy is then rebuilt when it is next needed.
    Rebuilt,
}
