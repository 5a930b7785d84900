//! Why a replica gives a connection up, and whether it helps to come back.

use super::content::Damaged;
use crate::response::{Code, ErrorBody};

/// Why a connection is given up.
pub(super) enum Trouble {
    /// The content cannot be relied on: the next session begins with a snapshot.
    Damaged(&'static str),
    /// What came does not follow the protocol, or the server ended the session.
    Protocol(String),
    /// The server does not serve this replica.
    Refused(ErrorBody),
}

impl From<Damaged> for Trouble {
    fn from(Damaged(what): Damaged) -> Self {
        Self::Damaged(what)
    }
}

pub(super) fn protocol(what: &str) -> Trouble {
    Trouble::Protocol(what.to_owned())
}

pub(super) fn within(bytes: usize, max: usize) -> Result<(), Trouble> {
    if bytes <= max {
        return Ok(());
    }
    Err(too_large(max))
}

pub(super) fn too_large(max: usize) -> Trouble {
    let message = format!(
        "the table has more than {max} bytes of keys and values; allow the replica more, or split the table"
    );
    Trouble::Refused(ErrorBody::new(Code::TooLarge, message))
}

/// What is missing may still be created: the table, the token, its right to read.
pub(super) fn may_come(code: Code) -> bool {
    matches!(
        code,
        Code::UnknownTable | Code::Unauthenticated | Code::Forbidden
    )
}

/// May trying again help, though nobody does anything about it?
pub(super) fn passes(code: Code) -> bool {
    matches!(
        code,
        Code::Busy
            | Code::Closed
            | Code::RateLimited
            | Code::TooManyConnections
            | Code::Timeout
            | Code::ReadersStalled
            | Code::Internal
            | Code::Unreachable
            | Code::StorageError
            | Code::StorageFull
    )
}
