//! What a server's end is told, and what it tells: the types around [`Serve`](super::Serve).

use super::encode::{Encoded, Part};
use super::frame::{Begin, Nack};
use crate::digest::Digest;
use crate::position::Position;
use crate::response::ErrorBody;
use std::sync::Arc;
use std::time::Duration;

/// How a session is served.
#[derive(Debug, Clone)]
pub struct ServeConfig {
    /// How often the client hears from the server at least.
    pub heartbeat: Duration,
    /// Are the table's hashes keyed?
    pub sealed: bool,
}

/// What is needed to go on. Answered by [`Serve::handle_answer`](super::Serve::handle_answer).
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Want {
    /// The digest at a position: [`Answer::Digest`].
    Digest {
        /// Which.
        at: Position,
    },
    /// A part of a snapshot: [`Answer::Part`]. It may have been read for another session, but not
    /// before the first change that the history has.
    Part {
        /// Its number.
        number: u32,
        /// Its records come behind this key.
        after: Option<Arc<str>>,
    },
    /// The next changes: [`Answer::Changes`]. There is at least one.
    Changes {
        /// Those after this one.
        after: u64,
    },
}

/// What was wanted.
#[derive(Debug, Clone)]
pub enum Answer {
    /// `None`: the history does not have it.
    Digest(Option<Digest>),
    /// A part of a snapshot.
    Part(Arc<Part>),
    /// Consecutive changes, the first of which was asked for.
    Changes(Vec<Arc<Encoded>>),
    /// The history does not go back so far any more.
    Gone,
    /// It could not be had; it may be had later.
    Failed(ErrorBody),
}

/// Why a session ends from the server's side.
#[derive(Debug, Clone)]
pub enum End {
    /// The table was dropped, or is another one now. A new session finds out.
    Dropped,
    /// The server goes away, and clients come back within a span of time.
    Goodbye {
        /// Why.
        reason: String,
        /// The span.
        spread: Duration,
    },
    /// Trying again does not help.
    Error(ErrorBody),
}

/// Something to be shown, counted or logged.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Event {
    /// The client said who it is, and it was decided how the session begins.
    Begun {
        /// The client's name for itself.
        name: Option<String>,
        /// How.
        mode: Begin,
        /// Why with a snapshot, if the client had something.
        reason: Option<String>,
    },
    /// The client has reached a transaction.
    Ack {
        /// Which.
        seq: u64,
    },
    /// The client's type refuses a value.
    Nack(Nack),
    /// A snapshot was sent.
    SnapshotSent {
        /// In so many parts.
        parts: u32,
    },
    /// Several transactions were sent as one.
    Folded {
        /// So many.
        transactions: u64,
    },
    /// The session ends with a failure.
    Failed(ErrorBody),
}
