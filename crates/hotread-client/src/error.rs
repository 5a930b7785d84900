//! What can go wrong.

use hotread_proto::session::Refused;
use hotread_proto::{Code, ErrorBody, InvalidInput, InvalidName, InvalidValue, TxnId};
use std::fmt;
use std::io;
use std::time::Duration;

/// Why a call failed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The server's address, the token or the name cannot be used.
    #[error("{0}")]
    BadUrl(String),
    /// The token that was to be sent cannot be had.
    #[error("no token can be had: {0}")]
    NoToken(String),
    /// The address begins with `https` or `wss`.
    #[error(
        "the client does not speak TLS; give an http address, of a local proxy if the way is not private"
    )]
    TlsNotSupported,
    /// What was given is refused before anything is sent.
    #[error("{message}")]
    Invalid {
        /// What kind of error it is.
        code: Code,
        /// What is wrong.
        message: String,
    },
    /// A key or a value cannot be stored, or a value cannot be read as the table's type.
    #[error(transparent)]
    Input(#[from] InvalidInput),
    /// The server says no.
    #[error("{body}")]
    Api {
        /// The status of its answer; `None`: said in a session.
        status: Option<u16>,
        /// What it says.
        body: ErrorBody,
    },
    /// The server cannot be reached. Nothing was changed.
    #[error("the server cannot be reached: {0}; is it running there?")]
    Unreachable(String),
    /// There was no answer in time to something that changes nothing.
    #[error("the server did not answer in time; try again")]
    Timeout,
    /// A table was not followed within
    /// [`start_within`](crate::ClientBuilder::start_within).
    #[error("the table could not be followed within {within:?}: {trouble}")]
    NotInTime {
        /// How long it might take.
        within: Duration,
        /// What was in the way last.
        trouble: String,
    },
    /// Whether a write was done is not known, after all attempts.
    #[error("whether transaction {id} was committed is not known: {cause}; repeat it with this id")]
    CommitUnknown {
        /// Repeating the same with this id is harmless, and finds out.
        id: TxnId,
        /// What happened last.
        cause: String,
    },
    /// Whether a change was made that is not repeated, since it has no transaction id, is not known.
    #[error("{doubt} ({cause})")]
    OutcomeUnknown {
        /// What is not known, and how to find out.
        doubt: &'static str,
        /// What happened.
        cause: String,
    },
    /// What came, in all attempts, is no answer of a HotRead server: a proxy before it may be without
    /// one, or the address is another program's.
    #[error(
        "not an answer of a HotRead server: {0}; check the address, and the proxy if there is one"
    )]
    Protocol(String),
    /// The replica's type refuses a value, and there is no state without it: the replica does not start.
    ///
    /// Replicas that run already keep the state before that value. A new one starts if the record is
    /// changed or deleted, with the status `Rejected` if it finds the last good copy on disk
    /// ([`cache_dir`](crate::ClientBuilder::cache_dir)), or with the status `Partial` if it is told to
    /// leave such records out ([`skip_bad_keys`](crate::ReplicaBuilder::skip_bad_keys)).
    #[error(
        "{0}; change or delete that record, or let replicas start from a copy on disk (`cache_dir`) or \
         without such records (`skip_bad_keys`)"
    )]
    Rejected(#[from] Refused),
    /// The replica's task ended: its code panicked, or the runtime was shut down.
    #[error("the replica's task ended: its state's code panicked, or the runtime was shut down")]
    TaskEnded,
}

impl Error {
    /// What kind of error it is, in the words of the server.
    #[must_use]
    pub fn code(&self) -> Code {
        match self {
            Self::BadUrl(_) | Self::TlsNotSupported => Code::BadConfig,
            Self::Invalid { code, .. } => *code,
            Self::Input(InvalidInput::Unreadable { .. }) => Code::Rejected,
            Self::Input(_) => Code::InvalidValue,
            Self::Api { body, .. } => body.code,
            Self::Unreachable(_) => Code::Unreachable,
            Self::Timeout | Self::NotInTime { .. } => Code::Timeout,
            Self::NoToken(_) => Code::Unauthenticated,
            Self::CommitUnknown { .. } | Self::OutcomeUnknown { .. } => Code::CommitUnknown,
            Self::Protocol(_) => Code::ProtocolError,
            Self::Rejected(_) => Code::Rejected,
            Self::TaskEnded => Code::Internal,
        }
    }

    /// As the server would say it.
    #[must_use]
    pub fn body(&self) -> ErrorBody {
        match self {
            Self::Api { body, .. } => body.clone(),
            Self::Rejected(refused) => ErrorBody {
                key: Some(refused.key.clone()),
                ..ErrorBody::new(Code::Rejected, self)
            },
            other => ErrorBody::new(other.code(), other),
        }
    }

    /// Said in a session.
    pub(crate) fn session(body: ErrorBody) -> Self {
        Self::Api { status: None, body }
    }

    pub(crate) fn invalid(code: Code, message: impl fmt::Display) -> Self {
        let message = message.to_string();
        Self::Invalid { code, message }
    }

    pub(crate) fn no_thread(what: &str, error: io::Error) -> Self {
        let message = format!("the system gives no thread for the {what}: {error}");
        Self::invalid(Code::Internal, message)
    }
}

impl From<InvalidName> for Error {
    fn from(error: InvalidName) -> Self {
        Self::invalid(Code::InvalidName, error)
    }
}

impl From<InvalidValue> for Error {
    fn from(error: InvalidValue) -> Self {
        Self::invalid(Code::InvalidValue, error)
    }
}
