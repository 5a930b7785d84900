//! Requests: how they are sent, when they are repeated, and what an answer means. An answer is what a
//! HotRead server says: `"ok": true`, or an error with a code, and not what a proxy says in its place.

use crate::endpoint::Endpoint;
use crate::error::Error;
use crate::progress::{Progress, Sent};
use bytes::Bytes;
use hotread_proto::http::escape;
use hotread_proto::{Code, ErrorBody, TxnId};
use http_body_util::BodyExt;
use hyper::header::{self, HeaderValue};
use hyper::{Method, Request, StatusCode};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use std::fmt::{Display, Write};
use std::hash::{BuildHasher, RandomState};
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::{Instant, timeout_at};

/// A request is sent at most so often. With the waits in between, that is a few seconds: a restart
/// of the server.
const ATTEMPTS: u32 = 6;
/// The first wait is at most this long, each further one twice as long as that before …
const FIRST_WAIT: Duration = Duration::from_millis(100);
/// … up to this, which is also the most that a server may ask for.
const LONGEST_WAIT: Duration = Duration::from_secs(3);
/// Largest answer that is read, in bytes: the largest change with all escapes.
const MAX_ANSWER_BYTES: usize = 1 << 30;
/// Random bytes of a transaction's id: two are never the same.
const ID_BYTES: usize = 16;

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
    /// Something else than sending it once. If it was sent and not answered, this says so, and how to
    /// find out.
    Never(&'static str),
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

    /// A change that is not repeated. `doubt` is what is said if its answer is lost.
    pub(crate) fn change(method: Method, path: impl Into<String>, doubt: &'static str) -> Self {
        Self {
            method,
            again: Again::Never(doubt),
            ..Self::get(path)
        }
    }

    /// A transaction, whose id is also in the body.
    pub(crate) fn once(path: String, body: &impl Serialize, id: &'a TxnId) -> Result<Self, Error> {
        let call = Self {
            method: Method::POST,
            again: Again::Once(id),
            ..Self::get(path)
        };
        call.json(body)
    }

    /// With a body.
    pub(crate) fn json(mut self, body: &impl Serialize) -> Result<Self, Error> {
        let body = serde_json::to_vec(body);
        let body = body.map_err(|error| Error::invalid(Code::InvalidValue, error))?;
        self.body = Some(body.into());
        Ok(self)
    }

    /// With a parameter of the query.
    pub(crate) fn query(mut self, name: &str, value: Option<impl Display>) -> Self {
        if let Some(value) = value {
            let sign = if self.path.contains('?') { '&' } else { '?' };
            let value = value.to_string();
            // Writing to a string does not fail.
            let _ = write!(self.path, "{sign}{name}={}", escape(&value));
        }
        self
    }
}

/// An id that no other transaction has.
///
/// # Errors
/// If the system has no randomness.
pub(crate) fn random_id() -> Result<TxnId, Error> {
    let mut bytes = [0; ID_BYTES];
    getrandom::fill(&mut bytes).map_err(|error| {
        let what = "the system gives no random numbers for a transaction's id";
        Error::invalid(Code::Internal, format!("{what}: {error}"))
    })?;
    let id = u128::from_ne_bytes(bytes);
    Ok(TxnId::new(&format!("{id:032x}"))?)
}

/// One attempt that did not succeed.
struct Failed {
    error: Error,
    /// Another attempt may succeed.
    passing: bool,
    /// The request may have been carried out all the same.
    perhaps: bool,
    /// The answer also says that no attempt before this one was carried out.
    settles: bool,
    /// How long the server wants to be left alone.
    wait: Option<Duration>,
}

impl Endpoint {
    /// Sends a request, and reads the answer. Repeats what may be repeated.
    pub(crate) async fn call<T: DeserializeOwned>(&self, call: Call<'_>) -> Result<T, Error> {
        let attempts = match call.again {
            Again::Never(_) => 1,
            Again::Harmless | Again::Once(_) => ATTEMPTS,
        };
        let mut perhaps = false;
        let mut wait = FIRST_WAIT;
        for attempt in 1.. {
            let failed = match self.attempt(&call).await {
                Ok(answer) => return Ok(answer),
                Err(failed) => failed,
            };
            perhaps |= failed.perhaps;
            if !failed.passing || attempt >= attempts {
                // Once it may have been done, only an answer about this very transaction says whether.
                let unknown = perhaps && !failed.settles;
                let cause = failed.error.to_string();
                return Err(match call.again {
                    Again::Once(id) if unknown => Error::CommitUnknown {
                        id: id.clone(),
                        cause,
                    },
                    Again::Never(doubt) if unknown => Error::OutcomeUnknown { doubt, cause },
                    _ => failed.error,
                });
            }
            let least = failed.wait.unwrap_or_default().min(LONGEST_WAIT);
            tokio::time::sleep(jitter(wait).max(least)).await;
            wait = (2 * wait).min(LONGEST_WAIT);
        }
        unreachable!("the loop ends with the last attempt")
    }

    async fn attempt<T: DeserializeOwned>(&self, call: &Call<'_>) -> Result<T, Failed> {
        let token = || self.credentials.current().map_err(Failed::unsent);
        let used = token()?;
        match self.exchange(call, used.as_ref()).await {
            // Nothing was done: tokens are looked at before anything else of a request is.
            Err(failed)
                if failed.error.code() == Code::Unauthenticated
                    && self.credentials.renew(used.as_ref()) =>
            {
                self.exchange(call, token()?.as_ref()).await
            }
            other => other,
        }
    }

    /// Sends a request once.
    async fn exchange<T: DeserializeOwned>(
        &self,
        call: &Call<'_>,
        authorization: Option<&HeaderValue>,
    ) -> Result<T, Failed> {
        let bytes = call.body.as_ref().map_or(0, Bytes::len);
        let progress = Arc::new(Progress::new(
            self.settings.max_silence,
            bytes,
            Instant::now(),
        ));
        let mut exchanged = pin!(self.exchange_at_last(call, authorization, &progress));
        loop {
            match timeout_at(progress.until(), exchanged.as_mut()).await {
                Ok(exchanged) => return exchanged,
                Err(_) if progress.until() <= Instant::now() => {
                    return Err(Failed::unanswered(Error::Timeout));
                }
                // Something has moved.
                Err(_) => {}
            }
        }
    }

    /// As [`exchange`](Self::exchange), however long it takes.
    async fn exchange_at_last<T: DeserializeOwned>(
        &self,
        call: &Call<'_>,
        authorization: Option<&HeaderValue>,
        progress: &Arc<Progress>,
    ) -> Result<T, Failed> {
        let mut request = Request::builder()
            .method(call.method.clone())
            .uri(self.address.url("http", &call.path));
        if let Some(authorization) = authorization {
            request = request.header(header::AUTHORIZATION, authorization.clone());
        }
        if call.body.is_some() {
            request = request.header(header::CONTENT_TYPE, "application/json");
        }
        let body = Sent::new(call.body.clone().unwrap_or_default(), progress.clone());
        let request = request.body(body);
        let request = request.map_err(|error| Failed::unsent(Error::BadUrl(error.to_string())))?;
        let answered = self.http.request(request).await;
        let mut response = answered.map_err(|error| broken(&error, error.is_connect()))?;
        progress.receive(0, Instant::now());
        let status = response.status();
        let wait = response.headers().get(header::RETRY_AFTER);
        let wait = wait.and_then(|wait| wait.to_str().ok()?.parse().ok());
        let wait = wait.map(Duration::from_secs);
        let mut body = Vec::new();
        loop {
            let chunk = match response.frame().await {
                Some(Ok(frame)) => frame.into_data().unwrap_or_default(),
                None => break,
                // The connection of a request that is too large is closed while it is being sent: its
                // status is there, and the rest may not be.
                Some(Err(_)) if status == StatusCode::PAYLOAD_TOO_LARGE => break,
                Some(Err(error)) => return Err(broken(&error, false)),
            };
            progress.receive(chunk.len(), Instant::now());
            if body.len() + chunk.len() > MAX_ANSWER_BYTES {
                return Err(Failed {
                    passing: false,
                    ..Failed::strange("the answer is larger than any should be")
                });
            }
            body.extend_from_slice(&chunk);
        }
        if status.is_success() {
            return read(&body);
        }
        Err(refused(status, wait, &body))
    }
}

impl Failed {
    /// Nothing was sent, and trying again does not help.
    fn unsent(error: Error) -> Self {
        Self {
            error,
            passing: false,
            perhaps: false,
            settles: false,
            wait: None,
        }
    }

    /// Whatever came, it does not say what became of the request.
    fn unanswered(error: Error) -> Self {
        Self {
            passing: true,
            perhaps: true,
            ..Self::unsent(error)
        }
    }

    /// Something came that is not of a HotRead server.
    fn strange(what: impl Into<String>) -> Self {
        Self::unanswered(Error::Protocol(what.into()))
    }
}

/// There was no answer; `connecting`: there was no connection either.
fn broken(error: &(dyn std::error::Error + 'static), connecting: bool) -> Failed {
    // The chain ends with what the system says, which is what helps.
    let mut cause = error;
    while let Some(source) = cause.source() {
        cause = source;
    }
    Failed {
        perhaps: !connecting,
        ..Failed::unanswered(Error::Unreachable(cause.to_string()))
    }
}

/// The error that a HotRead server answered; `None`: another program did, or a newer server in words
/// that say nothing to this client.
pub(crate) fn answered(body: &[u8]) -> Option<ErrorBody> {
    let body: ErrorBody = serde_json::from_slice(body).ok()?;
    (body.code != Code::Unknown).then_some(body)
}

/// The answer is no.
fn refused(status: StatusCode, wait: Option<Duration>, body: &[u8]) -> Failed {
    let body = match answered(body) {
        Some(body) => body,
        // A proxy that says so has not passed it on, and will not.
        None if status == StatusCode::PAYLOAD_TOO_LARGE => ErrorBody::new(
            Code::TooLarge,
            "the request is larger than the server takes, or a proxy before it; send less at once",
        ),
        None => {
            return Failed {
                wait,
                ..Failed::strange(format!("the answer is {status}"))
            };
        }
    };
    let code = body.code;
    Failed {
        error: Error::Api {
            status: Some(status.as_u16()),
            body,
        },
        passing: code == Code::CommitUnknown || PASSING.contains(&status),
        perhaps: matches!(code, Code::CommitUnknown | Code::Timeout | Code::Internal),
        settles: settles(code),
        wait,
    }
}

/// Statuses after which the same request can be made again, as docs/wire.md says.
const PASSING: [StatusCode; 3] = [
    StatusCode::REQUEST_TIMEOUT,
    StatusCode::TOO_MANY_REQUESTS,
    StatusCode::SERVICE_UNAVAILABLE,
];

/// Codes that also tell what became of earlier attempts with the same id: the server looked for the id,
/// the request can never have been taken, or there is nothing left of what it may have done. Others,
/// such as a token that was revoked meanwhile, say nothing about an attempt before.
fn settles(code: Code) -> bool {
    matches!(
        code,
        Code::PreconditionFailed
            | Code::TxnIdReused
            | Code::BadRequest
            | Code::InvalidName
            | Code::InvalidValue
            | Code::InvalidTime
            | Code::TooLarge
            | Code::UnknownTable
    )
}

/// Content of a success. A body that cannot be read is no answer.
fn read<T: DeserializeOwned>(answer: &[u8]) -> Result<T, Failed> {
    #[derive(Deserialize)]
    struct Ours {
        ok: bool,
    }
    match serde_json::from_slice(answer) {
        Ok(Ours { ok: true }) => {}
        _ => return Err(Failed::strange("it does not say \"ok\": true")),
    }
    serde_json::from_slice(answer).map_err(|error| {
        // The parser's words may quote values; its place does not.
        let (line, column) = (error.line(), error.column());
        Failed::strange(format!(
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
            .query("after", None::<&str>)
            .query("limit", Some(7));
        assert_eq!(
            call.path,
            "/records/a%2Fb%3Fc%20d%25%C3%A9?prefix=x%26y&limit=7"
        );
    }

    /// What becomes of a call with this answer: whether it passes, was perhaps done, and settles.
    fn of(status: u16, body: &str) -> (Error, [bool; 3]) {
        let status = StatusCode::from_u16(status).unwrap();
        let failed = refused(status, None, body.as_bytes());
        let flags = [failed.passing, failed.perhaps, failed.settles];
        (failed.error, flags)
    }

    #[test]
    fn only_what_passes_is_tried_again() {
        for (status, code, flags) in [
            (503, "BUSY", [true, false, false]),
            (500, "COMMIT_UNKNOWN", [true, true, false]),
            (408, "TIMEOUT", [true, true, false]),
            (412, "PRECONDITION_FAILED", [false, false, true]),
            (401, "UNAUTHENTICATED", [false, false, false]),
        ] {
            let body = format!(r#"{{"code":"{code}","message":"","key":"k","seq":3}}"#);
            let (error, seen) = of(status, &body);
            assert_eq!((error.code().as_str(), seen), (code, flags));
            assert_eq!(error.body().seq, Some(3));
        }
    }

    #[test]
    fn what_another_program_says_is_no_answer() {
        for (status, body) in [
            (301, ""),
            (400, "Bad Request"),
            (404, "<html>"),
            (408, ""),
            (502, r#"{"message":"upstream"}"#),
            (504, r#"{"code":504,"message":"Gateway Timeout"}"#),
            (504, r#"{"code":"GATEWAY_TIMEOUT","message":"x"}"#),
        ] {
            let (error, flags) = of(status, body);
            assert_eq!(flags, [true, true, false], "{status}");
            assert_eq!(error.code(), Code::ProtocolError, "{status}");
        }
        // A proxy that says this has not passed it on.
        let (large, [passing, _, settles]) = of(413, "<html>");
        assert!(!passing && settles);
        assert_eq!(large.code(), Code::TooLarge);
        let success = |body: &str| read::<serde::de::IgnoredAny>(body.as_bytes());
        assert!(success(r#"{"ok":true}"#).is_ok());
        for body in ["", "<html>", "{}", r#"{"ok":false}"#, r#"{"ok":true"#] {
            assert!(success(body).is_err_and(|failed| failed.perhaps), "{body}");
        }
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
