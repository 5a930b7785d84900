//! What the demo and its workers tell each other: lines of JSON, the demo's on the worker's stdin, the
//! worker's on its stdout. Each question has one answer; besides, workers say how they are doing.

use serde::{Deserialize, Serialize};
use serde_json::Value;

/// How often a worker says how it is doing, in milliseconds: what a person can follow.
pub(super) const TICK_MS: u64 = 100;
/// How often a worker asks how old its replica is, in milliseconds.
pub(super) const PING_MS: u64 = 100;

/// What the demo asks of a worker.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Ask {
    /// Look keys up in the replica, as fast as can be.
    Read { millis: u64 },
    /// Look keys up over HTTP, as fast as can be.
    Http { millis: u64 },
    /// Look keys up all the time, with pauses, until told to stop.
    Paced { on: bool },
    /// Note when each change becomes visible, from now on.
    Watch,
    /// When did they?
    Seen,
    /// What do readers see under these keys?
    Values { keys: Vec<String> },
}

/// What a worker says.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Said {
    /// The replica is complete. Not an answer.
    Ready { records: usize, load_us: u64 },
    /// How it is doing. Not an answer.
    Now(Now),
    /// There will be no replica, or no answer.
    Failed { message: String },
    /// To `Paced` and `Watch`.
    Done,
    /// To `Read` and `Http`.
    Rate(Rate),
    /// To `Seen`: a change's number, and when a reader first saw it or a later one.
    Seen { stamps: Vec<(u64, u64)> },
    /// To `Values`, in the order of the keys; `None`: no such record.
    Values { entries: Vec<Option<Entry>> },
}

/// How a worker is doing.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Now {
    /// When, on the clock that all share.
    pub(super) at: u64,
    pub(super) state: State,
    /// How old what readers see is at most, in microseconds.
    pub(super) age_us: Option<u64>,
    /// Where the state stands that readers see.
    pub(super) seq: u64,
    /// Look-ups of the paced reader, from its start on, …
    pub(super) reads: u64,
    /// … and those that found nothing.
    pub(super) misses: u64,
}

/// What a replica says of itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum State {
    Live,
    Stale,
    Rejected {
        key: String,
        seq: u64,
        reason: String,
    },
    Failed {
        message: String,
    },
}

/// Look-ups in a time.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub(super) struct Rate {
    pub(super) reads: u64,
    pub(super) nanos: u64,
    /// Of the reads, those that found nothing.
    pub(super) misses: u64,
}

impl Rate {
    /// Reads a second.
    pub(super) fn per_second(self) -> f64 {
        self.reads as f64 * 1e9 / self.nanos.max(1) as f64
    }

    /// Nanoseconds that one takes.
    pub(super) fn nanos_each(self) -> f64 {
        self.nanos as f64 / self.reads.max(1) as f64
    }
}

/// A record, as readers see it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct Entry {
    pub(super) seq: u64,
    pub(super) value: Value,
}
