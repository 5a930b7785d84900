//! What can go wrong.

use hotread_proto::session::Refused;
use hotread_proto::{Code, ErrorBody, InvalidName, InvalidValue, TxnId};

/// Why a call failed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The server's address, the token or the name cannot be used.
    #[error("{0}")]
    BadUrl(String),
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
    /// The server says no.
    #[error("{body}")]
    Api {
        /// The status of its answer; `None`: said in a session.
        status: Option<u16>,
        /// What it says.
        body: ErrorBody,
    },
    /// The server cannot be reached. Nothing was done.
    #[error("the server cannot be reached: {0}; is it running there?")]
    Unreachable(String),
    /// There was no answer in time to something that changes nothing.
    #[error("the server did not answer in time; try again")]
    Timeout,
    /// Whether a write was done is not known, after all attempts.
    #[error("whether transaction {id} was committed is not known: {cause}; repeat it with this id")]
    CommitUnknown {
        /// Repeating the same with this id is harmless, and finds out.
        id: TxnId,
        /// What happened last.
        cause: String,
    },
    /// What came is no answer of a HotRead server.
    #[error("not an answer of a HotRead server: {0}; check the address")]
    Protocol(String),
    /// The replica's type refuses a value, and there is no state without it.
    #[error("{0}")]
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
            Self::Api { body, .. } => body.code,
            Self::Unreachable(_) => Code::Unreachable,
            Self::Timeout => Code::Timeout,
            Self::CommitUnknown { .. } => Code::CommitUnknown,
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
                ..ErrorBody::new(Code::Rejected, refused)
            },
            other => ErrorBody::new(other.code(), other),
        }
    }

    /// Said in a session.
    pub(crate) fn session(body: ErrorBody) -> Self {
        Self::Api { status: None, body }
    }
}

impl From<InvalidName> for Error {
    fn from(error: InvalidName) -> Self {
        Self::Invalid {
            code: Code::InvalidName,
            message: error.to_string(),
        }
    }
}

impl From<InvalidValue> for Error {
    fn from(error: InvalidValue) -> Self {
        Self::Invalid {
            code: Code::InvalidValue,
            message: error.to_string(),
        }
    }
}
