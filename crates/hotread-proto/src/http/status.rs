//! The status of a server.

use crate::name::{Key, TableName};
use crate::position::Epoch;
use crate::session::frame::Nack;
use crate::time::Timestamp;
use serde::{Deserialize, Serialize};

/// The answer of `GET /v1/status`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ServerStatus {
    /// The tables that the caller may read.
    pub tables: Vec<TableStatus>,
    /// The sessions that follow these tables, oldest first.
    pub sessions: Vec<SessionStatus>,
    /// Sessions whose clients refuse a value of their table or make no progress, oldest first; at
    /// most 100.
    #[serde(default)]
    pub at_risk: Vec<AtRisk>,
    /// The number of all such sessions.
    #[serde(default)]
    pub at_risk_count: usize,
    /// Figures of all tables together, for tokens that may read all tables.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub store: Option<Stats>,
}

/// The status of a table.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TableStatus {
    /// The table's name.
    pub name: TableName,
    /// The table's epoch.
    pub epoch: Epoch,
    /// The table's last transaction.
    pub head: u64,
    /// The first transaction that the history keeps.
    pub floor: u64,
    /// The number of the table's records.
    pub records: u64,
    /// The number of sessions that follow the table.
    pub sessions: usize,
}

/// The status of a session.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SessionStatus {
    /// The session's number, in the order in which sessions began.
    pub id: u64,
    /// The client's name for itself; empty without one, and before `hello`.
    pub name: String,
    /// The client's address.
    pub peer: String,
    /// The table that the session follows.
    pub table: TableName,
    /// `resume` or `snapshot`; empty before `hello`.
    pub mode: String,
    /// The last transaction that was sent.
    pub position: u64,
    /// The last transaction that the client's readers see.
    pub acked: u64,
    /// The number of the table's transactions after `acked`.
    #[serde(default)]
    pub lag: u64,
    /// The beginning of the session.
    pub since: Timestamp,
    /// The value that the client refuses, until the client has passed it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_nack: Option<Nack>,
}

/// A session whose client's readers have had an older state than the table for some time. If the
/// client's process restarts, it may fail to start.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AtRisk {
    /// The session's number.
    pub session: u64,
    /// The client's name for itself; empty without one.
    pub name: String,
    /// The client's address.
    pub peer: String,
    /// The table that the session follows.
    pub table: TableName,
    /// The last transaction that the client's readers see.
    pub acked: u64,
    /// The key of the value that the client refuses, if it refuses one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key: Option<Key>,
    /// The reason the client is behind.
    pub reason: String,
}

/// Counters of one store since it was opened, and its condition. They are read one after another,
/// and need not be mutually consistent. The fields are meant for humans: later versions may have
/// other ones, and one that is absent in JSON reads as zero.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Stats {
    /// Transactions committed.
    pub committed: u64,
    /// Groups they were committed in, each with one fsync if the store is `Full`.
    pub groups: u64,
    /// Transactions refused.
    pub refused: u64,
    /// Groups that failed as a whole.
    pub failed_groups: u64,
    /// Replacements that the committer compared with their whole table while all other writers
    /// waited.
    pub whole_replacements: u64,
    /// Transactions that wait for the committer.
    pub waiting: usize,
    /// Bytes of keys and values in them.
    pub waiting_bytes: usize,
    /// Size of the write-ahead log, in bytes. The log shrinks when no reader needs its older part.
    pub wal_bytes: u64,
    /// Set if a reader, such as another program with a read transaction on the file, keeps the
    /// write-ahead log from being reused although it exceeds the 64 MiB that it is cut to.
    pub wal_held: bool,
    /// The reason writing is suspended; `None` in normal operation.
    pub halted: Option<String>,
    /// Microseconds that groups took from BEGIN to the end of COMMIT.
    pub group_us: Histogram,
    /// Microseconds of their COMMIT alone, which is the fsync if the store is `Full`.
    pub commit_us: Histogram,
    /// Transactions in groups.
    pub group_sizes: Histogram,
}

/// A histogram: the number of measurements in each range.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Histogram {
    /// The inclusive upper bound of each range; one more range has no bound.
    pub bounds: Vec<u64>,
    /// The number of measurements in each range: one more than there are bounds.
    pub counts: Vec<u64>,
    /// The sum of all measurements.
    pub sum: u64,
}
