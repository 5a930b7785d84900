//! The status of a typed table, and the outcomes of waiting for it.

use hotread_proto::session::Refused;
use hotread_proto::{CallbackPanics, Epoch};
use std::fmt;
use std::sync::Arc;

/// The status of a [`Table`](crate::Table) at the moment of the call.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Status {
    /// The state has every committed change, or is about to have it.
    Live,
    /// The type refuses the value of a record. Readers keep the state from before that value until the
    /// record is changed or deleted; later changes wait as well.
    Rejected(Refused),
    /// A reader holds an old copy of the state and so blocks publication: the thread or task with this
    /// reader must ask for the current state, or drop the reader.
    Blocked {
        /// The [name](crate::Table::named_reader) of the reader.
        reader: Option<Arc<str>>,
    },
    /// Like `Live`, but a callback of [`on_change`](crate::Table::on_change) has panicked. Reported until
    /// the callback's guard is dropped.
    CallbackPanicked(CallbackPanics),
    /// The table was dropped. Readers keep its last state; a table created under the same name is
    /// followed.
    Dropped,
    /// The store only reads, so the state stays as it was when it was requested.
    Fixed,
    /// The store was closed. Readers keep the last state.
    Closed,
    /// The table could not be read, for this reason. Reading is retried.
    Unreadable(Arc<str>),
    /// The state's own code panicked, with this message. Readers keep the last state. Drop the table's
    /// handles and ask for it again.
    Failed(Arc<str>),
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Live => f.write_str("live"),
            Self::Rejected(refused) => write!(f, "held before a refused value: {refused}"),
            Self::Blocked { reader: Some(name) } => {
                write!(f, "the reader {name:?} holds an old copy")
            }
            Self::Blocked { reader: None } => f.write_str("a reader holds an old copy"),
            Self::CallbackPanicked(panics) => write!(
                f,
                "live; panics of callbacks: {}, the last one with {:?}",
                panics.count, panics.last
            ),
            Self::Dropped => f.write_str("the table was dropped"),
            Self::Fixed => f.write_str("the store only reads"),
            Self::Closed => f.write_str("the store was closed"),
            Self::Unreadable(why) => write!(f, "the table cannot be read: {why}"),
            Self::Failed(why) => write!(f, "the state's own code panicked: {why}"),
        }
    }
}

/// An error of [`Table::wait_for`](crate::Table::wait_for).
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum WaitForError {
    /// The state did not reach the position in time. The table's status gives the cause.
    #[error("the table's state did not reach the position in time")]
    Timeout,
    /// The state has reached the position, but is not visible because readers hold old copies.
    #[error("readers hold old copies of the table's state; let them ask for the current one")]
    Blocked,
    /// The type refuses a value on the way to the position.
    #[error("{0}")]
    Rejected(Refused),
    /// The table began another epoch: it was re-created or rekeyed.
    #[error("the position belongs to an epoch that has ended; the table's epoch is now {now}")]
    OtherEpoch {
        /// The table's epoch.
        now: Epoch,
    },
    /// The table is no longer followed.
    #[error("{0}")]
    Ended(Status),
    /// The call was made within an update of this state.
    #[error("an update of the state cannot wait for the state")]
    WithinUpdate,
}
