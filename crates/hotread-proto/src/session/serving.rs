//! Inputs and outputs of a server's end: the types around [`Serve`](super::Serve).

use super::encode::{Encoded, Part};
use super::frame::{Begin, Nack};
use crate::digest::Digest;
use crate::position::Position;
use crate::response::ErrorBody;
use std::sync::Arc;
use std::time::Duration;

/// Configuration of a session.
#[derive(Debug, Clone)]
pub struct ServeConfig {
    /// Longest time between two heartbeats.
    pub heartbeat: Duration,
    /// Set if the table's hashes are keyed.
    pub sealed: bool,
}

/// Data that the session needs to continue. Answered by
/// [`Serve::handle_answer`](super::Serve::handle_answer).
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Want {
    /// The digest at a position: [`Answer::Digest`].
    Digest {
        /// Position of the digest.
        at: Position,
    },
    /// A part of a snapshot: [`Answer::Part`]. It may have been read for another session, but not
    /// before the first change that the history keeps.
    Part {
        /// Number of the part.
        number: u32,
        /// Key after which the part begins.
        after: Option<Arc<str>>,
    },
    /// The next changes, at least one: [`Answer::Changes`].
    Changes {
        /// Last change before them.
        after: u64,
    },
}

/// Answer to a [`Want`].
#[derive(Debug, Clone)]
pub enum Answer {
    /// The digest; `None` if the history does not have it.
    Digest(Option<Digest>),
    /// A part of a snapshot.
    Part(Arc<Part>),
    /// Consecutive changes, beginning with the requested one.
    Changes(Vec<Arc<Encoded>>),
    /// The history no longer goes back that far.
    Gone,
    /// The data is not available at the moment.
    Failed(ErrorBody),
}

/// Reason for the server to end a session.
#[derive(Debug, Clone)]
pub enum End {
    /// The table was dropped, or has a new epoch.
    Dropped,
    /// The server stops, and clients reconnect within a time span.
    Goodbye {
        /// Reason for the stop.
        reason: String,
        /// Time span in which clients reconnect.
        spread: Duration,
    },
    /// A permanent error.
    Error(ErrorBody),
}

/// An event to show, count or log.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Event {
    /// The client introduced itself, and the mode of the session was decided.
    Begun {
        /// Name of the client.
        name: Option<String>,
        /// Mode of the session.
        mode: Begin,
        /// Reason for a snapshot, if the client had a state.
        reason: Option<String>,
    },
    /// The client's readers have reached a transaction.
    Ack {
        /// Transaction that they have reached.
        seq: u64,
    },
    /// The client's type refuses a value.
    Nack(Nack),
    /// A snapshot was sent completely.
    SnapshotSent {
        /// Number of its parts.
        parts: u32,
    },
    /// Several transactions were sent as one.
    Folded {
        /// Number of these transactions.
        transactions: u64,
    },
    /// The session ends with an error.
    Failed(ErrorBody),
}
