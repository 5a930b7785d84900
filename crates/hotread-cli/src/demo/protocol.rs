//! Lines of JSON between the demo and its workers: the demo writes to a worker's stdin, the worker to
//! its stdout. The first line is the worker's task, and each further line a question; each has one
//! answer.

use rustix::time::{ClockId, clock_gettime};
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// Returns the seconds since a moment that all processes of this machine share.
pub(super) fn now() -> f64 {
    let time = clock_gettime(ClockId::Monotonic);
    time.tv_sec as f64 + time.tv_nsec as f64 / 1e9
}

/// A worker's task. It is answered once the replica is complete, with the number of records and the
/// seconds taken.
#[derive(Clone, Serialize, Deserialize)]
pub(super) struct Task {
    pub(super) server: String,
    pub(super) table: String,
    /// The worker's name.
    pub(super) name: String,
    pub(super) kind: Kind,
}

/// Type of a table's values in a worker.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Kind {
    /// Struct of the records that come with the command.
    Vendor,
    Object,
    Text,
    Number,
    List,
    Switch,
}

/// A question.
#[derive(Serialize, Deserialize)]
pub(super) enum Ask {
    /// The state of the worker: [`Now`].
    Now,
    /// Look-ups in the replica, without pauses: a [`Rate`].
    Read { seconds: f64 },
    /// Look-ups over HTTP, without pauses: a [`Rate`].
    Http { seconds: f64 },
    /// Look-ups with pauses from now on: `()`.
    Paced,
    /// All [`Sighting`]s so far.
    Seen,
    /// Records that readers see under these keys, in the same order: [`Entries`].
    Values { keys: Vec<String> },
}

/// Report of a worker.
#[derive(Clone, Serialize, Deserialize)]
pub(super) struct Now {
    pub(super) at: f64,
    pub(super) state: State,
    /// Greatest age of the state that readers see, in seconds; `None`: not proved yet.
    pub(super) age: Option<f64>,
    /// The newest transaction that a reader has seen.
    pub(super) seq: u64,
    /// Look-ups of the paced reader since its start.
    pub(super) reads: u64,
    /// Look-ups of these that found nothing.
    pub(super) misses: u64,
}

/// State of a replica, as the replica reports it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum State {
    Live,
    Stale,
    /// The type refuses a value of this transaction.
    Rejected(u64),
}

/// Look-ups per second, and the number of look-ups that found nothing.
pub(super) type Rate = (f64, u64);

/// A transaction, and the time when a reader first saw it or a later one.
pub(super) type Sighting = (u64, f64);

/// A record's value, and the transaction that wrote it.
pub(super) type Entry = (u64, Value);

/// The record of each key; `None`: no such record.
pub(super) type Entries = Vec<Option<Entry>>;
