//! What is asked and answered over HTTP, beyond the vocabulary of the protocol.

use hotread_proto::{
    Actor, Category, ChangeOp, Committed, Digest, Epoch, Key, Note, Position, Record, Timestamp,
};
use serde::Deserialize;

/// Which records of a table.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Scan {
    /// Those whose keys begin with this; empty: all.
    pub prefix: String,
    /// Those behind this key, from the page before.
    pub after: Option<Key>,
    /// Those of this category.
    pub category: Option<Category>,
    /// At most so many; `None`: as many as the server gives at once.
    pub limit: Option<usize>,
    /// Those of this incarnation of the table, which is that of the first page's position: otherwise
    /// pages after the first are of whichever there is then.
    pub epoch: Option<Epoch>,
}

/// Records of a table, by key.
#[derive(Debug, Clone, Deserialize)]
#[non_exhaustive]
pub struct Page {
    /// In the order of their keys' bytes.
    pub records: Vec<Record>,
    /// There may be more: go on [after](Scan::after) this key.
    #[serde(default)]
    pub next: Option<Key>,
    /// The state that the records are of. Pages with the same position are of the same state.
    pub position: Position,
}

/// Records that a search found.
#[derive(Debug, Clone, Deserialize)]
#[non_exhaustive]
pub struct Found {
    /// The best first.
    pub records: Vec<Record>,
    /// The records are at least as new as this.
    pub position: Position,
}

/// A transaction of the history.
#[derive(Debug, Clone, Deserialize)]
#[non_exhaustive]
pub struct PastTxn {
    /// Its number.
    #[serde(rename = "to")]
    pub seq: u64,
    /// When it was committed.
    pub at: Timestamp,
    /// The digest after it.
    pub digest: Digest,
    /// How many records there were after it.
    pub count: u64,
    /// The author, if one is known.
    #[serde(default)]
    pub actor: Option<Actor>,
    /// The reason, if one was given.
    #[serde(default)]
    pub note: Option<Note>,
    /// What became of each record that it touched.
    pub ops: Vec<ChangeOp>,
}

/// A part of a table's history.
#[derive(Debug, Clone, Deserialize)]
#[non_exhaustive]
pub struct Changes {
    /// Oldest first, without gaps.
    pub changes: Vec<PastTxn>,
    /// Where the table stands.
    pub position: Position,
    /// The first transaction that the history keeps.
    pub floor: u64,
}

/// The answer to a replacement.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Replaced {
    /// The state that is the new content, and when it was committed.
    pub committed: Committed,
    /// Records that were new or different.
    pub written: u64,
    /// Records that are gone.
    pub deleted: u64,
}
