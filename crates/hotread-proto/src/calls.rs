//! Read requests to a table and their answers, shared by the store, the HTTP interface and the
//! client. Answers can be read from and written as JSON; a store answers without JSON.

use crate::evaluate::Change;
use crate::name::{Category, Key};
use crate::position::{Epoch, Position};
use crate::record::Record;
use crate::session::frame;
use crate::view::Committed;
use serde::{Deserialize, Serialize, Serializer};

/// A range of a table's records.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Scan {
    /// Prefix of the keys; empty for all keys.
    pub prefix: String,
    /// Key after which the page begins: `next` of the previous page.
    pub after: Option<Key>,
    /// Category of the records; `None` for all.
    pub category: Option<Category>,
    /// Maximum number of records in the page; 0 selects 100. A page has at most 1,000 records, and
    /// fewer if they are large: the record that reaches 8 MiB of keys, categories and values ends
    /// it.
    pub limit: usize,
    /// Required epoch of the table; `None` accepts any. All pages but the first should set the
    /// epoch of the first page's position.
    pub epoch: Option<Epoch>,
}

/// A full-text search.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Search {
    /// Words that a record's key or value must all contain; a word that ends in `*` matches all
    /// words with that prefix. Case and accents are ignored, and other characters have no special
    /// meaning. Text in Han, Hiragana or Katakana is found by any run of its characters.
    pub query: String,
    /// Category of the records; `None` for all.
    pub category: Option<Category>,
    /// Maximum number of records in the answer; 0 selects 100. A store returns at most 1,000, a
    /// server 100, and both fewer if the records are large: 8 MiB end an answer.
    pub limit: usize,
}

/// Records of a table, in the order of their keys' bytes.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Page {
    /// The records.
    pub records: Vec<Record>,
    /// Key to continue [after](Scan::after), if there may be more records. The page itself can be
    /// empty.
    #[serde(default)]
    pub next: Option<Key>,
    /// State that the records are of. Pages with the same position show the same state.
    pub position: Position,
}

/// Records that a search found.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Found {
    /// Records, best match first.
    pub records: Vec<Record>,
    /// `true` if the limit or the size of the answer left records out. A search has no next page: ranks depend on
    /// the whole table, so that each write may move records between pages.
    #[serde(default)]
    pub more: bool,
    /// Position that the records are at least as new as.
    pub position: Position,
}

/// Maximum number of transactions in one answer about the history.
pub const MAX_CHANGES: usize = 1_000;

/// A part of a table's history. In JSON each change has the form of a `txn` frame.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(from = "ChangesForm")]
pub struct Changes {
    /// Transactions without gaps, oldest first. Their ids are absent if they were read from JSON.
    #[serde(serialize_with = "frames")]
    pub changes: Vec<Change>,
    /// Position of the table, or an earlier one: the last change may be newer.
    pub position: Position,
    /// First transaction that the history keeps.
    pub floor: u64,
}

/// The answer to a replacement.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Replaced {
    /// State with the new content, and its commit time.
    #[serde(flatten)]
    pub committed: Committed,
    /// Number of records that were new or different.
    pub written: u64,
    /// Number of records that were deleted.
    pub deleted: u64,
}

fn frames<S: Serializer>(changes: &[Change], serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_seq(changes.iter().map(frame::Txn::of))
}

/// [`Changes`] in their JSON form.
#[derive(Deserialize)]
struct ChangesForm {
    changes: Vec<frame::Txn<'static>>,
    position: Position,
    floor: u64,
}

impl From<ChangesForm> for Changes {
    fn from(form: ChangesForm) -> Self {
        // All changes of an answer are of one epoch.
        let Position { epoch, .. } = form.position;
        let change = |txn: frame::Txn<'static>| Change {
            position: Position { epoch, seq: txn.to },
            at: txn.at,
            digest: txn.digest,
            records: txn.count,
            actor: txn.actor,
            note: txn.note,
            ops: txn.ops.into_owned(),
            id: None,
        };
        Self {
            changes: form.changes.into_iter().map(change).collect(),
            position: form.position,
            floor: form.floor,
        }
    }
}
