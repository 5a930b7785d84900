//! Reasons for refusing an entry.

use crate::name::{Key, TxnId};
use crate::txn::{Condition, TxnTooLarge};

/// Reason for refusing an entry.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Refusal {
    /// The transaction is outside the limits.
    #[error(transparent)]
    Limit(#[from] TxnTooLarge),
    /// A precondition does not hold.
    #[error("precondition failed: {key:?} {}, but {}; read the record again before retrying", expected(*.condition), found(*.actual))]
    Precondition {
        /// Key of the record.
        key: Key,
        /// Condition that the record had to meet.
        condition: Condition,
        /// Transaction that last changed the record; `None` if there is no record.
        actual: Option<u64>,
    },
    /// The table has changed since the state that a replacement was made for.
    #[error(
        "precondition failed: the table should be at seq {expected}, but is at seq {actual}; read the table again before retrying"
    )]
    TableSeq {
        /// Expected last transaction of the table.
        expected: u64,
        /// Actual last transaction of the table.
        actual: u64,
    },
    /// A replacement has no records and does not set `allow_empty`.
    #[error(
        "the replacement has no records, and would empty the table; set allow_empty if that is meant"
    )]
    EmptyReplacement,
    /// A replacement would delete more of the table than is allowed.
    #[error(
        "the replacement would delete {deleted} of {records} records, but at most {max} may be deleted; make sure that it is complete, or allow more with max_delete_percent"
    )]
    TooManyDeletions {
        /// Number of records that would be deleted.
        deleted: u64,
        /// Number of records in the table.
        records: u64,
        /// Maximum number of records that may be deleted.
        max: u64,
    },
    /// A replacement would change more records than are allowed in one step.
    #[error(
        "the replacement changes {changed} records, but at most {max} may change in one step, since all other writers wait in the meantime; write what changes in several transactions, or allow more changes"
    )]
    TooManyChanges {
        /// Number of records that would be new, different or gone.
        changed: u64,
        /// Maximum number of records that may change.
        max: u64,
    },
    /// Too much of the table has changed since a replacement was compared with it.
    #[error(
        "too much of the table has changed while the replacement was compared with it; try again, or keep more history"
    )]
    Outdated,
    /// The transaction id was used for another body.
    #[error(
        "transaction id {id:?} was used at seq {seq} for another body; give each transaction an id of its own"
    )]
    IdReused {
        /// Transaction id.
        id: TxnId,
        /// Transaction that was committed under this id.
        seq: u64,
    },
}

fn expected(condition: Condition) -> String {
    match condition {
        Condition::Seq(seq) => format!("should be at seq {seq}"),
        Condition::Absent => "should be absent".to_owned(),
        Condition::Present => "should be there".to_owned(),
    }
}

fn found(actual: Option<u64>) -> String {
    match actual {
        Some(seq) => format!("is at seq {seq}"),
        None => "is absent".to_owned(),
    }
}
