//! What a replica's end is told, and what it tells: the types around [`Follow`](super::Follow).

use crate::evaluate::ChangeOp;
use crate::name::{Actor, Key, Note};
use crate::position::Position;
use crate::record::Record;
use crate::response::ErrorBody;
use crate::view::Head;
use std::sync::Arc;
use std::time::Duration;

/// Reason that is told for a refused value of a sealed table: the state's own reason may quote it, and
/// reasons are sent, logged and shown.
pub const SEALED_REASON: &str =
    "the value does not have the form that is needed (the table is sealed: no more is said)";

/// How a replica follows its table.
#[derive(Debug, Clone)]
pub struct FollowConfig {
    /// What the server shows of it; see [`is_client_name`](super::is_client_name).
    pub name: Option<String>,
    /// What for.
    pub mode: Mode,
    /// Leaves records out that the target refuses, instead of staying where they are not there yet.
    /// What the replica has is no state of the table then.
    pub skip_bad_keys: bool,
    /// Gives [`Batch::ops`] out, for those who want events or keep a copy.
    pub keep_ops: bool,
    /// How often it pings: how exactly it knows its age. Never less than once in each of the server's
    /// heartbeats, nor more often than every [`MIN_HEARTBEAT`](super::MIN_HEARTBEAT).
    pub ping_every: Duration,
    /// Most bytes of keys, categories and values that a table may have. A larger one is no state of the
    /// replica: it does not begin with one, and later keeps what was before, until the table is smaller.
    pub max_bytes: usize,
    /// Before there is a state, waits for a table that does not exist, and for a token that the server
    /// does not know or that may not read the table, instead of failing.
    pub waits_for_table: bool,
    /// The next connection may have another token, so that one that is revoked ends no more than the
    /// connection.
    pub renews_token: bool,
    /// Any number; that of each client another one, so that they do not all come back at once.
    pub seed: u64,
}

/// What a session is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// Keeping a copy of the table.
    Replica {
        /// May the server fold transactions if the replica is slow?
        coalesce: bool,
    },
    /// Hearing of each transaction, without keeping records. It ends with an error if there would be
    /// a gap. Nothing is held back: of a value that the target refuses there is no action.
    Events {
        /// Those after this position; `None`: after the table's head.
        from: Option<Position>,
    },
}

/// What is to be done.
#[derive(Debug)]
#[non_exhaustive]
pub enum Output<A> {
    /// Open a connection, and say [`handle_connected`](super::Follow::handle_connected), or why not.
    Connect,
    /// Send a frame.
    Send(String),
    /// Close the connection. Nothing needs to be said then, and what still comes from it must not be
    /// handed in.
    Disconnect,
    /// Publish a batch, and then say [`handle_published`](super::Follow::handle_published): once for
    /// each, in their order.
    Apply(Batch<A>),
    /// It is over: trying again would not help.
    Failed(ErrorBody),
}

/// How a replica is doing.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Status {
    /// It has no state yet.
    Connecting,
    /// It follows. How old its content is at most, [`fresh_at`](super::Follow::fresh_at) says.
    Live,
    /// It does not hear from the server, and keeps what it has.
    Stale {
        /// When it last heard, by the caller's clock; `None`: never, it began with a copy that was kept.
        since: Option<Duration>,
    },
    /// Its type refuses a value, and it keeps what was before that.
    Rejected(Refused),
    /// The table grew beyond [`max_bytes`](FollowConfig::max_bytes), and it keeps what was before that.
    TooLarge {
        /// Bytes of the table's keys, categories and values.
        bytes: usize,
        /// Most that it may have.
        max: usize,
    },
    /// It is over.
    Failed(ErrorBody),
}

/// What turns records into the updates of a replica's state.
pub trait Target {
    /// An update of the state.
    type Action;

    /// The update that writes a record. `key` is the record's, shared with the replica's own books.
    ///
    /// # Errors
    /// Why the state cannot have this value, in one line. It must depend on the record alone.
    fn put(&mut self, key: &Arc<str>, record: &Record) -> Result<Self::Action, String>;

    /// The update that takes a record out. There may be none.
    fn delete(&mut self, key: &Arc<str>) -> Self::Action;
}

/// A value that the replica's type refuses.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the replica's type refuses the value of {key:?}, written at seq {seq}: {reason}")]
pub struct Refused {
    /// The record's key.
    pub key: Key,
    /// The transaction that wrote it.
    pub seq: u64,
    /// Why.
    pub reason: String,
}

/// One publication of the replica: what becomes of its state.
#[derive(Debug)]
pub struct Batch<A> {
    /// The first transaction that it contains; for a snapshot, the one that it stands at.
    pub from: u64,
    /// Where the state stands after it.
    pub head: Head,
    /// Updates, to be published together.
    pub actions: Vec<A>,
    /// The same as records and deletions, if they are [kept](FollowConfig::keep_ops).
    pub ops: Vec<ChangeOp>,
    /// What it comes from.
    pub cause: Cause,
    /// The author, if it is exactly one transaction whose author is known.
    pub actor: Option<Actor>,
    /// The reason, if it is exactly one transaction for which one was given.
    pub note: Option<Note>,
}

/// What a batch comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Cause {
    /// The first state: the updates build it from nothing.
    First,
    /// A snapshot, because the session could not resume; the updates are what differs.
    Snapshot {
        /// Why.
        reason: Option<String>,
    },
    /// One transaction, or several that were folded.
    Txn,
}
