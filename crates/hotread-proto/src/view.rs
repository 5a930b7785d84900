//! A table as decisions about it see it.

use crate::digest::{Digest, Hasher, ItemHash};
use crate::name::{Key, TxnId};
use crate::position::Position;
use crate::time::Timestamp;
use crate::txn::Put;
use serde::{Deserialize, Serialize};

/// What [`evaluate`](crate::evaluate()) needs to know of a table.
pub trait TableView {
    /// Why the table could not be read.
    type Error;

    /// Where the table stands.
    fn head(&self) -> Head;
    /// How its records are hashed.
    fn hasher(&self) -> &Hasher;
    /// What there is under a key.
    ///
    /// # Errors
    /// If the table could not be read.
    fn get(&mut self, key: &Key) -> Result<Option<Existing>, Self::Error>;
    /// As [`get`](Self::get), with the category as well.
    ///
    /// # Errors
    /// If the table could not be read.
    fn get_filed(&mut self, key: &Key) -> Result<Option<Existing>, Self::Error>;
    /// All records in the order of their keys' bytes, each with its key.
    ///
    /// # Errors
    /// If the table could not be read.
    fn scan(&mut self, visit: &mut dyn FnMut(&str, Existing)) -> Result<(), Self::Error>;
    /// The transaction with this id, if it is remembered.
    ///
    /// # Errors
    /// If the table could not be read.
    fn remembered(&mut self, id: &TxnId) -> Result<Option<Remembered>, Self::Error>;
}

/// Where a table stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Head {
    /// Its last transaction.
    pub position: Position,
    /// The digest after it.
    pub digest: Digest,
    /// How many records there are.
    pub records: u64,
    /// When it was committed.
    pub at: Timestamp,
}

/// What a decision needs of a record that is there: not its value, whose hash stands for it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Existing {
    /// The transaction that last changed it.
    pub seq: u64,
    /// The hash of key, `seq` and value.
    pub hash: ItemHash,
    /// What it is filed under; [`TableView::get`] need not fill this in.
    pub category: String,
    /// Expiry time, from which on preconditions take the record for absent.
    pub expires_at: Option<Timestamp>,
}

impl Existing {
    /// Whether the record had expired at this time.
    #[must_use]
    pub fn is_expired(&self, at: Timestamp) -> bool {
        self.expires_at.is_some_and(|expires_at| expires_at <= at)
    }

    /// Whether it is what it would be after this put.
    pub(crate) fn is(&self, put: &Put, hasher: &Hasher) -> bool {
        put.category.as_str() == self.category
            && put.expires_at == self.expires_at
            && hasher.item(put.key.as_str(), self.seq, put.value.as_bytes()) == self.hash
    }
}

/// A transaction with an id that was committed not too long ago.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Remembered {
    /// What was answered.
    pub committed: Committed,
    /// The hash of its body.
    pub body: u128,
}

/// The answer to a committed transaction.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Committed {
    /// The state that first contains it.
    pub position: Position,
    /// When it was committed. Never earlier than the table's transaction before it.
    pub at: Timestamp,
}
