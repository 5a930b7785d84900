//! Requests: how they are sent, when they are repeated, and what an answer means.

use crate::client::Inner;
use crate::error::Error;
use bytes::Bytes;
use hotread_proto::{Code, ErrorBody, TxnId};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use reqwest::{Method, StatusCode, header};
use serde::de::DeserializeOwned;
use std::fmt::Write;
use std::hash::{BuildHasher, RandomState};
use std::time::Duration;

/// A request is sent at most so often. With the waits in between, that is a few seconds: a restart
/// of the server.
const ATTEMPTS: u32 = 6;
/// The first wait is at most this long, each further one twice as long as that before …
const FIRST_WAIT: Duration = Duration::from_millis(100);
/// … up to this, which is also the most that a server may ask for.
const LONGEST_WAIT: Duration = Duration::from_secs(3);
/// An answer comes within this time, …
const ANSWER_WITHIN: Duration = Duration::from_secs(30);
/// … and for each so many bytes that are sent a second more.
const BYTES_A_SECOND: usize = 1 << 20;
/// Largest answer that is read, in bytes: the largest change with all escapes.
const MAX_ANSWER_BYTES: usize = 1 << 30;
/// Random bytes of a transaction's id: two are never the same.
const ID_BYTES: usize = 16;

/// All but what RFC 3986 leaves unreserved.
const ESCAPED: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'.')
    .remove(b'_')
    .remove(b'~');

/// A request.
pub(crate) struct Call<'a> {
    method: Method,
    path: String,
    /// Shared by all attempts.
    body: Option<Bytes>,
    /// May it be repeated?
    again: Again<'a>,
}

/// What repeating a request does.
#[derive(Clone, Copy)]
enum Again<'a> {
    /// Nothing is changed by it.
    Harmless,
    /// It is a transaction with this id, which is done once.
    Once(&'a TxnId),
    /// Something else than sending it once.
    Never,
}

impl<'a> Call<'a> {
    /// A question. The path begins with a slash.
    pub(crate) fn get(path: impl Into<String>) -> Self {
        Self {
            method: Method::GET,
            path: path.into(),
            body: None,
            again: Again::Harmless,
        }
    }

    /// A transaction, whose id is also in the body.
    pub(crate) fn once(path: impl Into<String>, body: Vec<u8>, id: &'a TxnId) -> Self {
        Self {
            method: Method::POST,
            path: path.into(),
            body: Some(body.into()),
            again: Again::Once(id),
        }
    }

    /// Something that is not repeated.
    pub(crate) fn new(method: Method, path: impl Into<String>, body: Option<Vec<u8>>) -> Self {
        Self {
            method,
            path: path.into(),
            body: body.map(Bytes::from),
            again: Again::Never,
        }
    }

    /// With a parameter of the query.
    pub(crate) fn query(mut self, name: &str, value: Option<&str>) -> Self {
        if let Some(value) = value {
            self.path.push(match self.path.contains('?') {
                true => '&',
                false => '?',
            });
            // Writing to a string does not fail.
            let _ = write!(self.path, "{name}={}", escape(value));
        }
        self
    }
}

/// A segment of a path, or a parameter.
pub(crate) fn escape(text: &str) -> impl std::fmt::Display + '_ {
    utf8_percent_encode(text, ESCAPED)
}

/// An id that no other transaction has.
///
/// # Errors
/// If the system has no randomness.
pub(crate) fn random_id() -> Result<TxnId, Error> {
    let mut bytes = [0; ID_BYTES];
    getrandom::fill(&mut bytes).map_err(|error| Error::Invalid {
        code: Code::Internal,
        message: format!("the system gives no random numbers for a transaction's id: {error}"),
    })?;
    let mut text = String::with_capacity(2 * ID_BYTES);
    for byte in bytes {
        // Writing to a string does not fail.
        let _ = write!(text, "{byte:02x}");
    }
    Ok(TxnId::new(&text)?)
}

/// One attempt that did not succeed.
struct Failed {
    error: Error,
    /// Would another attempt help?
    passing: bool,
    /// May it have been done all the same?
    perhaps: bool,
    /// How long the server wants to be left alone.
    wait: Option<Duration>,
}

impl Inner {
    /// Sends a request, and reads the answer. Repeats what may be repeated.
    pub(crate) async fn call<T: DeserializeOwned>(&self, call: Call<'_>) -> Result<T, Error> {
        let attempts = match call.again {
            Again::Never => 1,
            Again::Harmless | Again::Once(_) => ATTEMPTS,
        };
        let mut perhaps = false;
        let mut wait = FIRST_WAIT;
        for attempt in 1.. {
            let failed = match self.attempt(&call).await {
                Ok(answer) => return read(&answer),
                Err(failed) => failed,
            };
            // Once something may have been done, only a definite answer says what was.
            perhaps |= failed.perhaps;
            if !failed.passing || attempt >= attempts {
                return Err(match call.again {
                    Again::Once(id) if perhaps && failed.passing => Error::CommitUnknown {
                        id: id.clone(),
                        cause: failed.error.to_string(),
                    },
                    _ => failed.error,
                });
            }
            let least = failed.wait.unwrap_or_default().min(LONGEST_WAIT);
            tokio::time::sleep(jitter(wait).max(least)).await;
            wait = (2 * wait).min(LONGEST_WAIT);
        }
        unreachable!("the loop ends with the last attempt")
    }

    async fn attempt(&self, call: &Call<'_>) -> Result<Vec<u8>, Failed> {
        let url = self.address.http(&call.path);
        let mut request = self.http.request(call.method.clone(), url);
        let mut within = ANSWER_WITHIN;
        if let Some(authorization) = &self.authorization {
            request = request.header(header::AUTHORIZATION, authorization.clone());
        }
        if let Some(body) = &call.body {
            within += Duration::from_secs((body.len() / BYTES_A_SECOND) as u64);
            request = request
                .header(header::CONTENT_TYPE, "application/json")
                .body(body.clone());
        }
        let mut response = request.timeout(within).send().await.map_err(broken)?;
        let mut body = Vec::new();
        while let Some(chunk) = response.chunk().await.map_err(broken)? {
            if body.len() + chunk.len() > MAX_ANSWER_BYTES {
                let what = "the answer is larger than any should be".to_owned();
                return Err(Failed::for_good(Error::Protocol(what)));
            }
            body.extend_from_slice(&chunk);
        }
        let status = response.status();
        if status.is_success() {
            return Ok(body);
        }
        let wait = response.headers().get(header::RETRY_AFTER);
        let wait = wait.and_then(|wait| wait.to_str().ok()?.parse().ok());
        Err(refused(status, wait.map(Duration::from_secs), &body))
    }
}

impl Failed {
    fn for_good(error: Error) -> Self {
        Self {
            error,
            passing: false,
            perhaps: false,
            wait: None,
        }
    }
}

/// There was no answer.
fn broken(error: reqwest::Error) -> Failed {
    let timeout = error.is_timeout();
    let connecting = error.is_connect();
    // The chain ends with what the system says, which is what helps.
    let mut cause: &dyn std::error::Error = &error;
    while let Some(source) = cause.source() {
        cause = source;
    }
    Failed {
        error: match timeout && !connecting {
            true => Error::Timeout,
            false => Error::Unreachable(cause.to_string()),
        },
        passing: true,
        perhaps: !connecting,
        wait: None,
    }
}

/// The answer is no.
fn refused(status: StatusCode, wait: Option<Duration>, body: &[u8]) -> Failed {
    let passing = matches!(
        status,
        StatusCode::SERVICE_UNAVAILABLE | StatusCode::TOO_MANY_REQUESTS
    );
    let Ok(body) = serde_json::from_slice::<ErrorBody>(body) else {
        // Not the server itself, but perhaps a proxy before it.
        let error = Error::Protocol(format!("the answer is {status}"));
        return Failed {
            passing,
            wait,
            ..Failed::for_good(error)
        };
    };
    let perhaps = body.code == Code::CommitUnknown;
    let status = Some(status.as_u16());
    Failed {
        error: Error::Api { status, body },
        passing: passing || perhaps,
        perhaps,
        wait,
    }
}

fn read<T: DeserializeOwned>(answer: &[u8]) -> Result<T, Error> {
    serde_json::from_slice(answer).map_err(|error| {
        // The parser's words may quote values; its place does not.
        let (line, column) = (error.line(), error.column());
        Error::Protocol(format!(
            "the answer has another form than expected at line {line}, column {column}"
        ))
    })
}

/// From half of it up to all of it, so that clients that failed together do not come back together.
fn jitter(wait: Duration) -> Duration {
    let random = RandomState::new().hash_one(0) as u32;
    wait / 2 + (wait / 2).mul_f64(f64::from(random) / f64::from(u32::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_parameters_are_escaped() {
        let call = Call::get(format!("/records/{}", escape("a/b?c d%é")))
            .query("prefix", Some("x&y"))
            .query("after", None)
            .query("limit", Some("7"));
        assert_eq!(
            call.path,
            "/records/a%2Fb%3Fc%20d%25%C3%A9?prefix=x%26y&limit=7"
        );
    }

    #[test]
    fn only_what_passes_is_tried_again() {
        let of = |status, body: &str| refused(status, None, body.as_bytes());
        let busy = of(
            StatusCode::SERVICE_UNAVAILABLE,
            r#"{"code":"BUSY","message":""}"#,
        );
        assert!(busy.passing && !busy.perhaps);
        let body = r#"{"code":"COMMIT_UNKNOWN","message":""}"#;
        let unknown = of(StatusCode::INTERNAL_SERVER_ERROR, body);
        assert!(unknown.passing && unknown.perhaps);
        let body = r#"{"code":"PRECONDITION_FAILED","message":"","key":"k","seq":3}"#;
        let failed = of(StatusCode::PRECONDITION_FAILED, body);
        assert!(!failed.passing);
        assert_eq!(failed.error.code(), Code::PreconditionFailed);
        assert_eq!(failed.error.body().seq, Some(3));
    }

    #[test]
    fn waits_differ_within_their_bounds() {
        for _ in 0..100 {
            let wait = jitter(FIRST_WAIT);
            assert!(wait >= FIRST_WAIT / 2 && wait <= FIRST_WAIT, "{wait:?}");
        }
    }

    #[test]
    fn ids_are_not_repeated() {
        assert_ne!(random_id().unwrap(), random_id().unwrap());
    }
}
