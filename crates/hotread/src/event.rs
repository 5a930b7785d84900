//! What happens beside the calls: for logs and metrics.

use std::time::Duration;

use crate::results::WorkerStatus;

/// Something that an operator may want to know; see
/// [`HotReadBuilder::observer`](crate::HotReadBuilder::observer).
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Event {
    /// Updates have been invisible for this long, because readers hold every copy that could take
    /// them. Told after a second, and whenever the time has doubled, by the call that finds it so.
    Blocked {
        /// The readers that hold an outdated copy.
        by: Vec<WorkerStatus>,
        /// How long the publication has been blocked.
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
    /// Not told if `Clone` panicked as well; then the copy is made when it is next needed.
    Rebuilt,
}
