//! Reasons to give up a connection, and the classification of errors as transient or permanent.

use crate::response::{Code, ErrorBody};

/// Reason to give up a connection.
#[derive(Debug, PartialEq)]
pub(super) enum Trouble {
    /// The content is not trusted: the next session begins with a snapshot.
    Damaged(&'static str),
    /// A frame violated the protocol, or the server stops.
    Protocol(String),
    /// The session has to begin again, through no fault of the server.
    Again(String),
    /// The server refused this replica.
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

/// Returns `true` for errors that a later creation resolves: of the table, the token, or its right
/// to read.
pub(super) fn may_come(code: Code) -> bool {
    matches!(
        code,
        Code::UnknownTable | Code::Unauthenticated | Code::Forbidden
    )
}

/// Returns `true` for transient errors that another server of the table need not have. A caller that exceeds
/// the limit of its rate must slow down instead.
pub(super) fn is_of_one_server(code: Code) -> bool {
    passes(code) && code != Code::RateLimited
}

/// Returns `true` for transient errors, which may pass without intervention.
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
