//! The failure of a request: its code, its status, and its body.

use axum::http::StatusCode;
use hotread_proto::{
    Code, ErrorBody, InvalidName, InvalidTimestamp, InvalidValue, ParsePositionError,
};
use hotread_store::{CommitError, ReadError, TableError, TokenError};
use std::time::Duration;

/// Default of the wait before another attempt, in seconds.
const RETRY_AFTER_S: u64 = 1;

/// Reason a request failed.
#[derive(Debug, Clone)]
pub(crate) struct Failure {
    body: Box<ErrorBody>,
    /// Status, if it differs from the code's.
    status: Option<StatusCode>,
    /// Wait before another attempt, if that may succeed.
    pub(crate) wait: Duration,
    /// Methods that the path supports instead.
    pub(crate) allow: Option<String>,
}

impl Failure {
    pub(crate) fn new(code: Code, message: impl std::fmt::Display) -> Self {
        ErrorBody::new(code, message).into()
    }

    /// Returns the failure of a request that cannot be understood.
    pub(crate) fn bad_request(message: impl std::fmt::Display) -> Self {
        Self::new(Code::BadRequest, message)
    }

    /// Returns the failure of a request without its required body.
    pub(crate) fn missing_body() -> Self {
        Self::bad_request("the body is missing; send JSON")
    }

    /// Returns the failure of a bug. Its details are for the log.
    pub(crate) fn internal() -> Self {
        Self::new(Code::Internal, "internal error of the server; see its log")
    }

    /// Returns the failure of a request to a server that is about to end.
    pub(crate) fn closing() -> Self {
        Self::new(Code::Closed, "the server is shutting down")
    }

    /// Sets a status other than the code's.
    pub(crate) fn with_status(mut self, status: StatusCode) -> Self {
        self.status = Some(status);
        self
    }

    pub(crate) fn body(&self) -> &ErrorBody {
        &self.body
    }

    pub(crate) fn status(&self) -> StatusCode {
        self.status.unwrap_or_else(|| status(self.body.code))
    }
}

impl From<ErrorBody> for Failure {
    fn from(mut body: ErrorBody) -> Self {
        if matches!(body.code, Code::Sealed | Code::WrongPassphrase) {
            // The store's message ends with the advice to give a passphrase, which no caller can.
            body.message.push_str(" when starting the server");
        }
        Self {
            body: Box::new(body),
            status: None,
            wait: Duration::from_secs(RETRY_AFTER_S),
            allow: None,
        }
    }
}

impl From<CommitError> for Failure {
    fn from(error: CommitError) -> Self {
        error.body().into()
    }
}

impl From<TableError> for Failure {
    fn from(error: TableError) -> Self {
        match error {
            TableError::Commit(error) => error.into(),
            error => Self::new(error.code(), error),
        }
    }
}

/// Converts errors into failures with the same message, and the code of each.
macro_rules! failures {
    ($($error:ty => $code:expr),* $(,)?) => {
        $(impl From<$error> for Failure {
            fn from(error: $error) -> Self {
                let code: fn(&$error) -> Code = $code;
                Self::new(code(&error), error)
            }
        })*
    };
}

failures! {
    ReadError => ReadError::code,
    TokenError => TokenError::code,
    InvalidName => |_| Code::InvalidName,
    InvalidTimestamp => |_| Code::InvalidTime,
    ParsePositionError => |_| Code::BadRequest,
    InvalidValue => |error| match error {
        InvalidValue::TooLarge { .. } => Code::TooLarge,
        _ => Code::InvalidValue,
    },
}

/// Returns the status that belongs to a code.
pub(crate) fn status(code: Code) -> StatusCode {
    match code {
        Code::BadRequest
        | Code::InvalidName
        | Code::InvalidValue
        | Code::InvalidTime
        | Code::InvalidOptions
        | Code::NoSearch
        | Code::UnsupportedVersion
        | Code::ProtocolError
        | Code::TlsFailed => StatusCode::BAD_REQUEST,
        Code::Unauthenticated => StatusCode::UNAUTHORIZED,
        Code::Forbidden | Code::HostNotAllowed | Code::OriginNotAllowed | Code::ReadOnly => {
            StatusCode::FORBIDDEN
        }
        Code::NotFound | Code::UnknownTable | Code::UnknownRoute | Code::UnknownToken => {
            StatusCode::NOT_FOUND
        }
        Code::MethodNotAllowed => StatusCode::METHOD_NOT_ALLOWED,
        Code::Timeout => StatusCode::REQUEST_TIMEOUT,
        // The server was started without the passphrase, or with another one: permanent until it is
        // restarted.
        Code::TableExists
        | Code::TxnIdReused
        | Code::Sealed
        | Code::WrongPassphrase
        | Code::UnusableSchema => StatusCode::CONFLICT,
        Code::Gone | Code::EpochChanged => StatusCode::GONE,
        Code::PreconditionFailed => StatusCode::PRECONDITION_FAILED,
        Code::TooLarge => StatusCode::PAYLOAD_TOO_LARGE,
        Code::UnsupportedMediaType => StatusCode::UNSUPPORTED_MEDIA_TYPE,
        Code::SchemaViolation | Code::TookTooLong => StatusCode::UNPROCESSABLE_ENTITY,
        Code::RateLimited => StatusCode::TOO_MANY_REQUESTS,
        Code::Busy
        | Code::ReadersStalled
        | Code::CommitUnknown
        | Code::InUse
        | Code::Closed
        | Code::TooManyConnections => StatusCode::SERVICE_UNAVAILABLE,
        Code::StorageFull => StatusCode::INSUFFICIENT_STORAGE,
        _ => StatusCode::INTERNAL_SERVER_ERROR,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_caller_can_bring_about_is_no_error_of_the_server() {
        let servers = [
            Code::Busy,
            Code::ReadersStalled,
            Code::CommitUnknown,
            Code::InUse,
            Code::Closed,
            Code::TooManyConnections,
            Code::StorageFull,
            Code::StorageError,
            Code::Corrupt,
            Code::Internal,
            // Never answered by a server.
            Code::NoSuchFile,
            Code::Foreign,
            Code::NewerSchema,
            Code::OlderSchema,
            Code::Rejected,
            Code::Unreachable,
            Code::AddressInUse,
            Code::BadConfig,
        ];
        for &code in Code::ALL {
            let is_servers = servers.contains(&code);
            assert_eq!(status(code).is_server_error(), is_servers, "{code}");
        }
    }
}
