//! Why a replica gives a connection up, and whether it helps to come back.

use crate::response::{Code, ErrorBody};

/// Why a connection is given up.
#[derive(Debug, PartialEq)]
pub(super) enum Trouble {
    /// The content cannot be relied on: the next session begins with a snapshot.
    Damaged(&'static str),
    /// What came does not follow the protocol, or the server ended the session.
    Protocol(String),
    /// The server does not serve this replica.
    Refused(ErrorBody),
}

pub(super) fn protocol(what: &str) -> Trouble {
    Trouble::Protocol(what.to_owned())
}

pub(super) fn within(bytes: usize, max: usize) -> Result<(), Trouble> {
    if bytes <= max {
        return Ok(());
    }
    let message = format!(
        "the table has more than {max} bytes of keys and values; allow the replica more, or split the table"
    );
    Err(Trouble::Refused(ErrorBody::new(Code::TooLarge, message)))
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
