//! View of a table for the evaluation of entries.

use crate::digest::{Digest, Hasher, ItemHash};
use crate::name::{Key, TxnId};
use crate::position::Position;
use crate::time::Timestamp;
use crate::txn::Put;
use serde::{Deserialize, Serialize};

/// Read access to a table, as needed by [`evaluate`](crate::evaluate()).
pub trait TableView {
    /// An error of reading the table.
    type Error;

    /// Returns the current state of the table.
    fn head(&self) -> Head;
    /// Returns the hasher of the table's records.
    fn hasher(&self) -> &Hasher;
    /// Returns the record with this key, if there is one.
    ///
    /// # Errors
    /// If the table could not be read.
    fn get(&mut self, key: &Key) -> Result<Option<Existing>, Self::Error>;
    /// Returns the same as [`get`](Self::get), with the category.
    ///
    /// # Errors
    /// If the table could not be read.
    fn get_filed(&mut self, key: &Key) -> Result<Option<Existing>, Self::Error>;
    /// Visits all records in the order of their keys' bytes, each with its key.
    ///
    /// # Errors
    /// If the table could not be read.
    fn scan(&mut self, visit: &mut dyn FnMut(&str, Existing)) -> Result<(), Self::Error>;
    /// Returns the transaction with this id, if it is remembered.
    ///
    /// # Errors
    /// If the table could not be read.
    fn remembered(&mut self, id: &TxnId) -> Result<Option<Remembered>, Self::Error>;
}

/// State of a table: position, digest, number of records and time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Head {
    /// Position of the last transaction.
    pub position: Position,
    /// Digest after that transaction.
    pub digest: Digest,
    /// Number of records.
    pub records: u64,
    /// Commit time of that transaction.
    pub at: Timestamp,
}

/// Metadata of an existing record. Its hash represents the value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Existing {
    /// Transaction that last changed the record.
    pub seq: u64,
    /// Hash of key, `seq` and value.
    pub hash: ItemHash,
    /// Category of the record; [`TableView::get`] need not fill it in.
    pub category: String,
    /// Expiry time; preconditions treat the record as absent from then on.
    pub expires_at: Option<Timestamp>,
}

impl Existing {
    /// Returns `true` if the record had expired at this time.
    #[must_use]
    pub fn is_expired(&self, at: Timestamp) -> bool {
        self.expires_at.is_some_and(|expires_at| expires_at <= at)
    }

    /// Returns `true` if the put would change nothing but `seq` and time.
    pub(crate) fn is(&self, put: &Put, hasher: &Hasher) -> bool {
        put.category.as_str() == self.category
            && put.expires_at == self.expires_at
            && hasher.item(put.key.as_str(), self.seq, put.value.as_bytes()) == self.hash
    }
}

/// A committed transaction whose id is still remembered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Remembered {
    /// Answer of the transaction.
    pub committed: Committed,
    /// Hash of its body.
    pub body: u128,
}

/// The answer to a committed transaction.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Committed {
    /// First state that contains the transaction.
    pub position: Position,
    /// Commit time. Never earlier than that of the previous transaction of the table.
    pub at: Timestamp,
}
