//! The errors of calls.

use crate::tls::TlsError;
use hotread_proto::session::Refused;
use hotread_proto::{Code, ErrorBody, InvalidInput, InvalidName, InvalidValue, TxnId};
use std::fmt;
use std::io;
use std::time::Duration;

/// Servers whose failures an error lists; further ones are counted.
const LISTED: usize = 3;

/// Reason a call failed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The server's address, the token or the name is invalid.
    #[error("{0}")]
    BadUrl(String),
    /// The source of the token failed.
    #[error("cannot get the token: {0}")]
    NoToken(String),
    /// A file of [`tls_ca`](crate::ClientBuilder::tls_ca) or
    /// [`tls_identity`](crate::ClientBuilder::tls_identity) is unusable, the system has no authorities, or the
    /// address does not ask for TLS.
    #[error("{0}")]
    BadTls(String),
    /// An argument is invalid, or the system refused a resource; nothing was sent.
    #[error("{message}")]
    Invalid {
        /// Code of the error.
        code: Code,
        /// Description of the error.
        message: String,
    },
    /// A key or a value cannot be stored, or a value cannot be read as the table's type.
    #[error(transparent)]
    Input(#[from] InvalidInput),
    /// The server refused the request.
    #[error("{body}")]
    Api {
        /// HTTP status of the answer; `None`: the error was sent in a session.
        status: Option<u16>,
        /// The server's error.
        body: ErrorBody,
    },
    /// The server cannot be reached. Nothing was changed.
    #[error(
        "the server cannot be reached: {0}; check that it is running and that the address is correct"
    )]
    Unreachable(String),
    /// No TLS connection can be made with the server. Nothing was changed.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// A call that changes nothing had no answer in time.
    #[error("the server did not answer in time; try again")]
    Timeout,
    /// A table was not followed within [`start_within`](crate::ClientBuilder::start_within).
    #[error("the table could not be followed within {within:?}: {trouble}")]
    NotInTime {
        /// The limit, from [`start_within`](crate::ClientBuilder::start_within).
        within: Duration,
        /// Last reason for the wait.
        trouble: String,
    },
    /// The outcome of a write is unknown, after all attempts.
    #[error("it is unknown whether transaction {id} was committed: {cause}; retry it with this id")]
    CommitUnknown {
        /// Transaction id of the write. Repeating the write with this id is harmless, and returns its
        /// outcome.
        id: TxnId,
        /// Failure of the last attempt.
        cause: String,
    },
    /// The outcome of a change is unknown. It has no transaction id, and is therefore not repeated.
    #[error("{doubt} ({cause})")]
    OutcomeUnknown {
        /// Description of the unknown outcome, and of how to find out.
        doubt: &'static str,
        /// Failure of the attempt.
        cause: String,
    },
    /// No attempt was answered by a HotRead server: the address may be another program's, or there may be
    /// no server behind the proxy.
    #[error(
        "not an answer of a HotRead server: {0}; check the address, and the proxy if there is one"
    )]
    Protocol(String),
    /// The replica's type refuses a value, and there is no earlier state: the replica does not start.
    ///
    /// Replicas that already run keep the state before that value. A new one starts once the record is
    /// changed or deleted; with the status `Rejected` if it finds the last good copy on disk
    /// ([`cache_dir`](crate::ClientBuilder::cache_dir)); or with the status `Partial` if it leaves out such
    /// records ([`skip_bad_keys`](crate::ReplicaBuilder::skip_bad_keys)).
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
    /// Returns the error's code; failures on the client's side have one of the same codes.
    #[must_use]
    pub fn code(&self) -> Code {
        match self {
            Self::BadUrl(_) | Self::BadTls(_) => Code::BadConfig,
            Self::Invalid { code, .. } => *code,
            Self::Input(InvalidInput::Unreadable { .. }) => Code::Rejected,
            Self::Input(_) => Code::InvalidValue,
            Self::Api { body, .. } => body.code,
            Self::Unreachable(_) => Code::Unreachable,
            Self::Tls(_) => Code::TlsFailed,
            Self::Timeout | Self::NotInTime { .. } => Code::Timeout,
            Self::NoToken(_) => Code::Unauthenticated,
            Self::CommitUnknown { .. } | Self::OutcomeUnknown { .. } => Code::CommitUnknown,
            Self::Protocol(_) => Code::ProtocolError,
            Self::Rejected(_) => Code::Rejected,
            Self::TaskEnded => Code::Internal,
        }
    }

    /// Returns the error in the form of a server's error.
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

    /// Names the server, one of several, that could not be reached, gave no answer of a HotRead server, or does
    /// not accept TLS.
    pub(crate) fn of_server(self, name: &str) -> Self {
        match self {
            Self::Unreachable(why) => Self::Unreachable(format!("{name}: {why}")),
            Self::Protocol(what) => Self::Protocol(format!("{name}: {what}")),
            Self::Tls(why) => Self::Tls(TlsError::OneOf {
                server: name.to_owned(),
                why: Box::new(why),
            }),
            other => other,
        }
    }

    /// Adds the failures of the other servers to that of the last one, if it could not be reached.
    pub(crate) fn of_all<'a>(self, failures: impl ExactSizeIterator<Item = &'a String>) -> Self {
        if !matches!(self, Self::Unreachable(_)) {
            return self;
        }
        let more = failures.len().saturating_sub(LISTED);
        let mut why = failures
            .take(LISTED)
            .map(String::as_str)
            .collect::<Vec<_>>()
            .join(", ");
        if more > 0 {
            why += &format!(", and {more} more servers");
        }
        Self::Unreachable(why)
    }

    /// Returns the error that was sent in a session.
    pub(crate) fn session(body: ErrorBody) -> Self {
        Self::Api { status: None, body }
    }

    pub(crate) fn invalid(code: Code, message: impl fmt::Display) -> Self {
        let message = message.to_string();
        Self::Invalid { code, message }
    }

    pub(crate) fn no_thread(what: &str, error: io::Error) -> Self {
        let message = format!("the system refuses to start a thread for the {what}: {error}");
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_failures_of_some_servers_are_listed_and_the_others_counted() {
        let of = |servers: usize| {
            let failures: Vec<_> = (0..servers)
                .map(|n| format!("http://{n}: refused"))
                .collect();
            let last = Error::Unreachable("last".to_owned());
            last.of_all(failures.iter()).to_string()
        };
        let two = "the server cannot be reached: http://0: refused, http://1: refused; check";
        assert!(of(2).starts_with(two), "{}", of(2));
        let (three, five) = (of(3), of(5));
        assert!(three.contains("http://2: refused; check"), "{three}");
        assert!(
            five.contains("http://2: refused, and 2 more servers; check"),
            "{five}"
        );
        let timeout = Error::Timeout.of_all([String::new()].iter());
        assert_eq!(timeout, Error::Timeout);
    }
}
