//! What can go wrong with tokens.

use super::{MAX_TOKEN_TABLES, MAX_TOKENS};
use crate::error::{CommitError, StorageError};
use hotread_proto::{Code, Timestamp};

/// Why a token could not be made or revoked. Unless it is [`CommitError::Unknown`], nothing changed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum TokenError {
    /// The name does not have the form that it must have.
    #[error("a token's name is of the form [A-Za-z0-9._-]{{1,64}}; use only those characters")]
    InvalidName,
    /// The first token is not an admin, is limited to tables, or expires, so that none could make
    /// others.
    #[error(
        "the first token must be an admin that is not limited to tables and does not expire; make that one first"
    )]
    FirstNotAdmin,
    /// It was to be limited to no table at all.
    #[error("a token that is limited to no table allows nothing; name a table, or do not limit it")]
    NoTables,
    /// It was to be limited to too many tables.
    #[error(
        "a token may be limited to {MAX_TOKEN_TABLES} tables, and {given} were given; give it all tables, or make several tokens"
    )]
    TooManyTables {
        /// How many.
        given: usize,
    },
    /// It would be expired from the start.
    #[error("the token would expire at {at}, which is over; give a time to come")]
    Expired {
        /// The time that was given.
        at: Timestamp,
    },
    /// There are as many tokens as there may be.
    #[error(
        "there are {MAX_TOKENS} tokens, and there may not be more; revoke those that nobody uses"
    )]
    TooMany,
    /// There is no token with this id.
    #[error("there is no token {id}; look at the list for the ids of those that there are")]
    Unknown {
        /// The id that was given, cut after some characters.
        id: String,
    },
    /// The last admin would leave tokens behind that nobody can revoke.
    #[error(
        "this is the last admin that is not limited to tables and does not expire; make another one, or revoke the other tokens first"
    )]
    LastAdmin,
    /// The last admin would leave a running server without one.
    #[error(
        "this is the last admin that is not limited to tables and does not expire, and a running server keeps one; create another one first"
    )]
    LastWhileServed,
    /// What holds for transactions holds for tokens.
    #[error(transparent)]
    Commit(#[from] CommitError),
}

impl TokenError {
    /// The error's stable code.
    #[must_use]
    pub fn code(&self) -> Code {
        match self {
            Self::InvalidName => Code::InvalidName,
            Self::FirstNotAdmin
            | Self::NoTables
            | Self::TooManyTables { .. }
            | Self::Expired { .. }
            | Self::TooMany
            | Self::LastAdmin
            | Self::LastWhileServed => Code::BadRequest,
            Self::Unknown { .. } => Code::UnknownToken,
            Self::Commit(source) => source.code(),
        }
    }
}

impl From<rusqlite::Error> for TokenError {
    fn from(error: rusqlite::Error) -> Self {
        Self::Commit(error.into())
    }
}

impl From<StorageError> for TokenError {
    fn from(error: StorageError) -> Self {
        Self::Commit(error.into())
    }
}
