//! Questions to a table and their answers, the same for a store in the process, over HTTP and in a
//! client. Answers are read from JSON as they are written; a store answers without JSON.

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
    /// Only keys that begin with this; empty: all.
    pub prefix: String,
    /// Only keys after this one: the last page's `next`.
    pub after: Option<Key>,
    /// Only this category.
    pub category: Option<Category>,
    /// Most records of the page; 0: 100. A page has 1,000 at most, and fewer if they are large: the
    /// record that makes 8 MiB of keys, categories and values ends it.
    pub limit: usize,
    /// Only of this incarnation of the table: for all pages but the first, that of the first page's
    /// position. `None`: of the one that exists.
    pub epoch: Option<Epoch>,
}

/// A search for words.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Search {
    /// Words, all of which must be in a record's key or value; a word that ends in `*` stands for
    /// all that begin so. Case and accents do not matter, nor does anything else have a meaning. Text in Han,
    /// Hiragana or Katakana is found by any run of its characters.
    pub query: String,
    /// Only this category.
    pub category: Option<Category>,
    /// Most records of the answer, the best first; 0: 100. A store gives 1,000 at most, a server 100,
    /// and both fewer if they are large: 8 MiB end an answer.
    pub limit: usize,
}

/// Records of a table, in the order of their keys' bytes.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Page {
    /// The records.
    pub records: Vec<Record>,
    /// There may be more: go on [after](Scan::after) this key, even if the page is empty.
    #[serde(default)]
    pub next: Option<Key>,
    /// The state that the records are of. Pages with the same position are of the same state.
    pub position: Position,
}

/// Records that a search found.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Found {
    /// The best first.
    pub records: Vec<Record>,
    /// There are more, which the limit or the size of the answer has left out. A search has no next page: each
    /// write may move records between pages, since ranks depend on the whole table.
    #[serde(default)]
    pub more: bool,
    /// The records are at least as new as this.
    pub position: Position,
}

/// Most transactions of a history that one answer has.
pub const MAX_CHANGES: usize = 1_000;

/// A part of a table's history. In JSON each change has the form of a `txn` frame.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(from = "ChangesForm")]
pub struct Changes {
    /// Oldest first, without gaps. Without the ids of transactions if they were read from JSON.
    #[serde(serialize_with = "frames")]
    pub changes: Vec<Change>,
    /// The table's position, or that of a moment before.
    pub position: Position,
    /// The first transaction that the history keeps.
    pub floor: u64,
}

/// The answer to a replacement.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Replaced {
    /// The state that is the new content, and when it was committed.
    #[serde(flatten)]
    pub committed: Committed,
    /// Records that were new or different.
    pub written: u64,
    /// Records that are gone.
    pub deleted: u64,
}

fn frames<S: Serializer>(changes: &[Change], serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_seq(changes.iter().map(frame::Txn::of))
}

/// [`Changes`] as they are read.
#[derive(Deserialize)]
struct ChangesForm {
    changes: Vec<frame::Txn<'static>>,
    position: Position,
    floor: u64,
}

impl From<ChangesForm> for Changes {
    fn from(form: ChangesForm) -> Self {
        // An answer is about one incarnation of the table.
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
