//! Inputs and outputs of a replica's end: the types around [`Follow`](super::Follow).

use crate::evaluate::ChangeOp;
use crate::name::{Actor, Key, Note};
use crate::position::Position;
use crate::record::Record;
use crate::response::ErrorBody;
use crate::view::Head;
use std::sync::Arc;
use std::time::Duration;

/// Reason reported for a refused value of a sealed table. The state's own reason may quote the
/// value, and reasons are sent, logged and shown.
pub const SEALED_REASON: &str =
    "the value does not match the type (the table is sealed: details are withheld)";

/// Configuration of a replica.
#[derive(Debug, Clone)]
pub struct FollowConfig {
    /// Name of the client in the server's lists and logs; see
    /// [`is_client_name`](super::is_client_name).
    pub name: Option<String>,
    /// Purpose of the session.
    pub mode: Mode,
    /// Leaves out records that the target refuses, instead of keeping the state before them. The
    /// replica's state is then not one that the table had.
    pub skip_bad_keys: bool,
    /// Fills [`Batch::ops`], for callers that need events or save a copy.
    pub keep_ops: bool,
    /// Interval between pings, which determines the precision of the age. Bounded above by the
    /// server's heartbeat and below by [`MIN_HEARTBEAT`](super::MIN_HEARTBEAT).
    pub ping_every: Duration,
    /// Maximum number of bytes of keys, categories and values that the table may have. A larger
    /// table fails to load; a replica whose table grows past the limit keeps its last state until
    /// the table is small enough.
    pub max_bytes: usize,
    /// Waits instead of failing, as long as the replica has no state, if the table does not exist,
    /// or the server does not know the token or does not let it read the table.
    pub waits_for_table: bool,
    /// Set if the next connection may have another token, so that a revoked token ends only the
    /// connection.
    pub renews_token: bool,
    /// Number of servers among which the caller chooses; 0 counts as 1. After a server has failed, the
    /// next one is tried without a wait, until all of them were tried.
    pub servers: usize,
    /// Seed of the reconnection delays. Each client needs a different one, so that they do not all
    /// reconnect at once.
    pub seed: u64,
}

/// Purpose of a session.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// Keeps a copy of the table.
    Replica {
        /// Allows the server to coalesce transactions when the replica is slow.
        coalesce: bool,
    },
    /// Reports each transaction without keeping records. A gap ends the session with an error.
    /// Nothing is withheld; a value that the target refuses yields no action.
    Events {
        /// Position after which to begin; `None` for the table's head.
        from: Option<Position>,
    },
}

/// An action for the caller.
#[derive(Debug)]
#[non_exhaustive]
pub enum Output<A> {
    /// Open a connection, then call [`handle_connected`](super::Follow::handle_connected), or
    /// report the failure.
    Connect,
    /// Send a frame.
    Send(String),
    /// Close the connection. The caller does not report this, and discards what still arrives from
    /// the connection.
    Disconnect,
    /// Publish a batch, then call [`handle_published`](super::Follow::handle_published): once for
    /// each batch, in order.
    Apply(Batch<A>),
    /// Stop: the error is permanent.
    Failed(ErrorBody),
}

/// Status of a replica.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Status {
    /// The replica has no state yet.
    Connecting,
    /// The replica follows the table. [`fresh_at`](super::Follow::fresh_at) bounds the age of its
    /// content.
    Live,
    /// The replica has no session, and keeps its state.
    Stale {
        /// Time of the last frame, by the caller's clock; `None` if the replica began with a saved
        /// copy and received no frame since.
        since: Option<Duration>,
    },
    /// The replica's type refuses a value; readers keep the state before it.
    Rejected(Refused),
    /// The table exceeds [`max_bytes`](FollowConfig::max_bytes); readers keep the state before
    /// that.
    TooLarge {
        /// Size of the table: bytes of keys, categories and values.
        bytes: usize,
        /// Largest size that the replica accepts.
        max: usize,
    },
    /// The replica has failed permanently.
    Failed(ErrorBody),
}

/// Conversion of records into updates of a replica's state.
pub trait Target {
    /// An update of the state.
    type Action;

    /// Returns the update that writes a record. `key` is the record's, shared with the replica's
    /// index.
    ///
    /// # Errors
    /// The reason the state refuses the value, in one line. The decision must depend on the
    /// record alone.
    fn put(&mut self, key: &Arc<str>, record: &Record) -> Result<Self::Action, String>;

    /// Returns the update that removes a record, which the state need not have.
    fn delete(&mut self, key: &Arc<str>) -> Self::Action;
}

/// A value that the replica's type refuses.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the replica's type refuses the value of {key:?}, written at seq {seq}: {reason}")]
pub struct Refused {
    /// Key of the record.
    pub key: Key,
    /// Transaction that wrote the value.
    pub seq: u64,
    /// Reason for the refusal.
    pub reason: String,
}

/// Updates that are published together.
#[derive(Debug)]
pub struct Batch<A> {
    /// First transaction of the batch; for a snapshot, its position.
    pub from: u64,
    /// State of the table after the batch.
    pub head: Head,
    /// Updates, to be published together.
    pub actions: Vec<A>,
    /// The same changes as records and deletions, if they are [kept](FollowConfig::keep_ops).
    pub ops: Vec<ChangeOp>,
    /// Origin of the batch.
    pub cause: Cause,
    /// Author, if the batch is exactly one transaction whose author is known.
    pub actor: Option<Actor>,
    /// Reason, if the batch is exactly one transaction for which one was given.
    pub note: Option<Note>,
}

/// Origin of a batch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Cause {
    /// The first state; the updates build it from an empty one.
    First,
    /// A snapshot, because the session could not resume. The updates are the differences.
    Snapshot {
        /// Reason for the snapshot.
        reason: Option<String>,
    },
    /// One transaction, or several that were coalesced.
    Txn,
}
