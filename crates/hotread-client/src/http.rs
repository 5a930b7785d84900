//! Requests: sending, repetition, and the meaning of answers. Only a HotRead server's own answer counts:
//! one with `"ok": true`, or an error with a code. The answer of a proxy in the server's place does not.

use crate::endpoint::Endpoint;
use crate::error::Error;
use crate::progress::{Progress, Sent};
use crate::servers::{Round, Server};
use crate::tls::{TlsError, tls_error};
use bytes::Bytes;
use hotread_proto::http::escape;
use hotread_proto::{Code, ErrorBody, TxnId};
use http_body_util::BodyExt;
use hyper::header::{self, HeaderValue};
use hyper::{Method, Request, StatusCode};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fmt::{Display, Write};
use std::hash::{BuildHasher, RandomState};
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::{Instant, timeout_at};

/// Maximum number of attempts of a request at each server. With the waits in between they take a few seconds:
/// a restart of the server.
const ATTEMPTS: u32 = 6;
/// Longest first wait; each further wait may be twice as long as the one before.
const FIRST_WAIT: Duration = Duration::from_millis(100);
/// Longest wait between attempts, even if the server asks for a longer one; without such a request, the waits
/// stay below 1.6 s.
const LONGEST_WAIT: Duration = Duration::from_secs(3);
/// Size of the largest answer that is read, in bytes: the largest change with all escapes.
const MAX_ANSWER_BYTES: usize = 1 << 30;
/// Random bytes of a transaction id: enough that no two are equal.
const ID_BYTES: usize = 16;

/// A request.
pub(crate) struct Call<'a> {
    method: Method,
    path: String,
    /// Body, shared by all attempts.
    body: Option<Bytes>,
    /// Effect of a repetition.
    again: Again<'a>,
}

/// Effect of repeating a request.
#[derive(Clone, Copy)]
enum Again<'a> {
    /// The request changes nothing.
    Harmless,
    /// The request is a transaction with this id, which is applied once.
    Once(&'a TxnId),
    /// A repetition has an effect of its own, so the request is sent once. If the request was sent and not answered, the error has this
    /// text, which says how to find out.
    Never(&'static str),
}

impl<'a> Call<'a> {
    /// Returns a request that changes nothing. The path begins with a slash.
    pub(crate) fn get(path: impl Into<String>) -> Self {
        Self {
            method: Method::GET,
            path: path.into(),
            body: None,
            again: Again::Harmless,
        }
    }

    /// Returns a change that is not repeated. `doubt` is the text of the error if its answer is lost.
    pub(crate) fn change(method: Method, path: impl Into<String>, doubt: &'static str) -> Self {
        Self {
            method,
            again: Again::Never(doubt),
            ..Self::get(path)
        }
    }

    /// Returns a transaction, whose id is also in the body.
    pub(crate) fn once(path: String, body: &impl Serialize, id: &'a TxnId) -> Result<Self, Error> {
        let call = Self {
            method: Method::POST,
            again: Again::Once(id),
            ..Self::get(path)
        };
        call.json(body)
    }

    /// Adds a body.
    pub(crate) fn json(mut self, body: &impl Serialize) -> Result<Self, Error> {
        let body = serde_json::to_vec(body);
        let body = body.map_err(|error| Error::invalid(Code::InvalidValue, error))?;
        self.body = Some(body.into());
        Ok(self)
    }

    /// Adds a parameter to the query.
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

/// Returns an id that no other transaction has.
///
/// # Errors
/// If the system has no random numbers.
pub(crate) fn random_id() -> Result<TxnId, Error> {
    let mut bytes = [0; ID_BYTES];
    getrandom::fill(&mut bytes).map_err(|error| {
        let what = "the system has no random numbers for a transaction's id";
        Error::invalid(Code::Internal, format!("{what}: {error}"))
    })?;
    let id = u128::from_ne_bytes(bytes);
    Ok(TxnId::new(&format!("{id:032x}"))?)
}

/// An attempt that did not succeed.
struct Failed {
    error: Error,
    /// Another attempt may succeed.
    passing: bool,
    /// Another server may do better.
    elsewhere: bool,
    /// The request may have been carried out nevertheless.
    perhaps: bool,
    /// The answer also proves that no earlier attempt was carried out.
    settles: bool,
    /// Wait that the server asks for.
    wait: Option<Duration>,
}

impl Endpoint {
    /// Sends a request, and reads the answer. Repeats a request where that is harmless: at the next server,
    /// and after a wait once all of them have failed.
    pub(crate) async fn call<T: DeserializeOwned>(&self, call: Call<'_>) -> Result<T, Error> {
        let servers = &self.servers;
        let (mut round, mut attempt) = (Round::default(), 1);
        let mut perhaps = false;
        let mut wait = FIRST_WAIT;
        // The last failure of each of several servers.
        let mut failures = BTreeMap::new();
        loop {
            let at = round.next(servers);
            let server = servers.get(at);
            let mut failed = match self.attempt(&call, server).await {
                Ok(answer) => {
                    servers.works(at);
                    return Ok(answer);
                }
                Err(failed) => failed,
            };
            if servers.count() > 1 {
                let why = match &failed.error {
                    Error::Unreachable(why) => why.clone(),
                    other => other.to_string(),
                };
                failures.insert(at, format!("{}: {why}", server.name));
                failed.error = failed.error.of_server(&server.name);
            }
            perhaps |= failed.perhaps;
            let may_repeat = match call.again {
                // Without a connection, nothing was sent.
                Again::Never(_) => !failed.was_sent(),
                Again::Harmless | Again::Once(_) => true,
            };
            if failed.elsewhere {
                round.fail(servers, at, &failed.error);
                if may_repeat && !round.is_over(servers) {
                    continue;
                }
            } else if matches!(failed.error, Error::Api { .. }) {
                servers.works(at);
            }
            if !may_repeat || !failed.passing || attempt >= ATTEMPTS {
                // After an attempt that may have been carried out, only an answer about this transaction
                // tells the outcome.
                let unknown = perhaps && !failed.settles;
                if failures.len() == servers.count() {
                    failed.error = failed.error.of_all(failures.values());
                }
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
            attempt += 1;
        }
    }

    async fn attempt<T: DeserializeOwned>(
        &self,
        call: &Call<'_>,
        server: &Server,
    ) -> Result<T, Failed> {
        let token = || self.credentials.current().map_err(Failed::unsent);
        let used = token()?;
        match self.exchange(call, server, used.as_ref()).await {
            // Nothing was done: the server checks the token before anything else of a request.
            Err(failed)
                if failed.error.code() == Code::Unauthenticated
                    && self.credentials.renew(used.as_ref()) =>
            {
                self.exchange(call, server, token()?.as_ref()).await
            }
            other => other,
        }
    }

    /// Sends a request once.
    async fn exchange<T: DeserializeOwned>(
        &self,
        call: &Call<'_>,
        server: &Server,
        authorization: Option<&HeaderValue>,
    ) -> Result<T, Failed> {
        let bytes = call.body.as_ref().map_or(0, Bytes::len);
        let progress = Arc::new(Progress::new(
            self.settings.max_silence,
            bytes,
            Instant::now(),
        ));
        let mut exchanged = pin!(exchange_at_last(call, server, authorization, &progress));
        loop {
            match timeout_at(progress.until(), exchanged.as_mut()).await {
                Ok(exchanged) => return exchanged,
                Err(_) if progress.until() <= Instant::now() => {
                    return Err(Failed::unanswered(Error::Timeout));
                }
                // Something has moved, so the deadline is later now.
                Err(_) => {}
            }
        }
    }
}

/// Sends a request once, without a deadline.
async fn exchange_at_last<T: DeserializeOwned>(
    call: &Call<'_>,
    server: &Server,
    authorization: Option<&HeaderValue>,
    progress: &Arc<Progress>,
) -> Result<T, Failed> {
    let mut request = Request::builder()
        .method(call.method.clone())
        .uri(server.address.url("http", &call.path));
    if let Some(authorization) = authorization {
        request = request.header(header::AUTHORIZATION, authorization.clone());
    }
    if call.body.is_some() {
        request = request.header(header::CONTENT_TYPE, "application/json");
    }
    let body = Sent::new(call.body.clone().unwrap_or_default(), progress.clone());
    let request = request.body(body);
    let request = request.map_err(|error| Failed::unsent(Error::BadUrl(error.to_string())))?;
    let answered = server.http.request(request).await;
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
            // The server closes the connection of a request that is too large while it is being sent:
            // the status arrives, the rest may not.
            Some(Err(_)) if status == StatusCode::PAYLOAD_TOO_LARGE => break,
            Some(Err(error)) => return Err(broken(&error, false)),
        };
        progress.receive(chunk.len(), Instant::now());
        if body.len() + chunk.len() > MAX_ANSWER_BYTES {
            return Err(Failed {
                passing: false,
                elsewhere: false,
                ..Failed::strange("the answer is larger than the limit")
            });
        }
        body.extend_from_slice(&chunk);
    }
    if status.is_success() {
        return read(&body);
    }
    Err(refused(status, wait, &body))
}

impl Failed {
    /// Returns the failure of a request that was not sent, and that a repetition does not help.
    fn unsent(error: Error) -> Self {
        Self {
            error,
            passing: false,
            elsewhere: false,
            perhaps: false,
            settles: false,
            wait: None,
        }
    }

    /// Returns a failure that leaves the request's outcome open.
    fn unanswered(error: Error) -> Self {
        Self {
            passing: true,
            elsewhere: true,
            perhaps: true,
            ..Self::unsent(error)
        }
    }

    /// Returns `true` if a server may have received the request.
    fn was_sent(&self) -> bool {
        self.perhaps || matches!(self.error, Error::Api { .. })
    }

    /// Returns the failure of an answer that is not a HotRead server's.
    fn strange(what: impl Into<String>) -> Self {
        Self::unanswered(Error::Protocol(what.into()))
    }
}

/// Returns the failure of a request without an answer. `connecting`: no connection was opened either.
fn broken(error: &(dyn std::error::Error + 'static), connecting: bool) -> Failed {
    // Settings of one of the two ends are wrong. The server has not read the request, because its end of the
    // handshake failed.
    if let Some(tls) = tls_error(error) {
        return Failed {
            elsewhere: true,
            ..Failed::unsent(tls.into())
        };
    }
    // The last error of the chain is the system's, which is the helpful one.
    let mut cause = error;
    while let Some(source) = cause.source() {
        cause = source;
    }
    Failed {
        perhaps: !connecting,
        ..Failed::unanswered(Error::Unreachable(cause.to_string()))
    }
}

/// Returns the error in a HotRead server's answer; `None`: the answer is another program's, or has a code
/// unknown to this client.
pub(crate) fn answered(body: &[u8]) -> Option<ErrorBody> {
    let body: ErrorBody = serde_json::from_slice(body).ok()?;
    (body.code != Code::Unknown).then_some(body)
}

/// Returns the failure that an error status means.
fn refused(status: StatusCode, wait: Option<Duration>, body: &[u8]) -> Failed {
    let body = match answered(body) {
        Some(body) => body,
        // A proxy with this status has not forwarded the request.
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
    if code == Code::TlsFailed {
        // The server has not read the request.
        return Failed {
            elsewhere: true,
            ..Failed::unsent(TlsError::TlsServer.into())
        };
    }
    Failed {
        error: Error::Api {
            status: Some(status.as_u16()),
            body,
        },
        passing: code == Code::CommitUnknown || PASSING.contains(&status),
        elsewhere: status == StatusCode::SERVICE_UNAVAILABLE,
        perhaps: matches!(code, Code::CommitUnknown | Code::Timeout | Code::Internal),
        settles: settles(code),
        wait,
    }
}

/// Statuses after which the same request can be repeated, see docs/wire.md.
const PASSING: [StatusCode; 3] = [
    StatusCode::REQUEST_TIMEOUT,
    StatusCode::TOO_MANY_REQUESTS,
    StatusCode::SERVICE_UNAVAILABLE,
];

/// Returns `true` for codes that also tell the outcome of earlier attempts with the same id: the server
/// looked for the id, or can never have accepted the request, or nothing is left of its effect. Other
/// codes, such as that of a token revoked in the meantime, tell nothing about an earlier attempt.
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

/// Parses the content of a success. An unreadable body counts as no answer.
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
        // The parser's message may quote values; its position does not.
        let (line, column) = (error.line(), error.column());
        Failed::strange(format!(
            "the answer has an unexpected form at line {line}, column {column}"
        ))
    })
}

/// Returns a random time between half of `wait` and `wait`, so that clients that failed together retry at
/// different times.
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

    /// Returns the failure that this answer means: whether it is passing, perhaps done, and settles.
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
        // A proxy with this status has not forwarded the request.
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
