//! Why an entry is refused.

use crate::name::{Key, TxnId};
use crate::txn::{Condition, TxnTooLarge};

/// Why an entry is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Refusal {
    /// It is outside the limits.
    #[error(transparent)]
    Limit(#[from] TxnTooLarge),
    /// A precondition does not hold.
    #[error("precondition failed: {key:?} {}, but {}; read it again and decide anew", expected(*.condition), found(*.actual))]
    Precondition {
        /// The key it is about.
        key: Key,
        /// What should have held.
        condition: Condition,
        /// The transaction that last changed the record; `None`: there is no record.
        actual: Option<u64>,
    },
    /// The table has changed since the state that a replacement is for.
    #[error(
        "precondition failed: the table should be at seq {expected}, but is at seq {actual}; read it again and decide anew"
    )]
    TableSeq {
        /// The transaction that should have been its last one.
        expected: u64,
        /// The one that is.
        actual: u64,
    },
    /// A replacement without records that does not say that the table is to be emptied.
    #[error(
        "the replacement has no records, and would empty the table; set allow_empty if that is meant"
    )]
    EmptyReplacement,
    /// A replacement would delete more of the table than is allowed.
    #[error(
        "the replacement would delete {deleted} of {records} records, and at most {max} may be deleted; make sure that it is complete, or allow more with max_delete_percent"
    )]
    TooManyDeletions {
        /// Records that would be deleted.
        deleted: u64,
        /// Records of the table.
        records: u64,
        /// Most of them that may be deleted.
        max: u64,
    },
    /// A replacement would change more records than are allowed in one step.
    #[error(
        "the replacement changes {changed} records, and at most {max} may change in one step, since all other writers wait meanwhile; write what changes in several transactions, or allow more changes"
    )]
    TooManyChanges {
        /// Records that would be new, different or gone.
        changed: u64,
        /// Most of them that may be.
        max: u64,
    },
    /// Too much of the table has changed since a replacement was compared with it.
    #[error(
        "too much of the table has changed while the replacement was compared with it; try again, or keep more history"
    )]
    Outdated,
    /// The id was used for something else.
    #[error(
        "transaction id {id:?} was used at seq {seq} for another body; give each transaction an id of its own"
    )]
    IdReused {
        /// The id.
        id: TxnId,
        /// The transaction that has it.
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
