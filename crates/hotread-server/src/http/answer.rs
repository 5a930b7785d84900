//! Answers: JSON, in memory that is accounted for.

use crate::error::Failure;
use crate::limits::Held;
use axum::body::Body;
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use hotread_proto::http::Nothing;
use hotread_proto::{Position, Success};
use serde::Serialize;

/// Largest body that is not accounted for, in bytes: the connection's buffer takes it.
const SMALL: usize = 16 << 10;

/// The answer to a request.
pub(crate) type Answer = Result<Response, Failure>;

const JSON: &str = "application/json";

/// A body with its part of the budget, until it is sent.
struct Owned(
    Vec<u8>,
    #[expect(dead_code, reason = "given back when dropped")] Held,
);

impl AsRef<[u8]> for Owned {
    fn as_ref(&self) -> &[u8] {
        &self.0
    }
}

/// Returns a response with any JSON.
pub(crate) fn json(status: StatusCode, data: &impl Serialize) -> Response {
    match serde_json::to_vec(data) {
        Ok(json) => with_type(status, JSON, json.into()),
        Err(error) => {
            // Answers have no maps with keys other than strings.
            tracing::error!(%error, "an answer cannot be written as JSON");
            StatusCode::INTERNAL_SERVER_ERROR.into_response()
        }
    }
}

/// Returns a success with its data.
pub(super) fn success(data: &impl Serialize) -> Response {
    json(StatusCode::OK, &Success::new(data))
}

/// Returns a success without data.
pub(super) fn done() -> Response {
    success(&Nothing {})
}

/// Returns a success with data that may be large; its memory is held until it is sent.
pub(super) fn large(mut held: Held, data: &impl Serialize) -> Answer {
    let mut json = serde_json::to_vec(&Success::new(data)).map_err(|error| {
        tracing::error!(%error, "an answer cannot be written as JSON");
        Failure::internal()
    })?;
    if json.len() <= SMALL {
        return Ok(with_type(StatusCode::OK, JSON, json.into()));
    }
    json.shrink_to_fit();
    held.resize(json.len())?;
    let bytes = Bytes::from_owner(Owned(json, held));
    Ok(with_type(StatusCode::OK, JSON, bytes))
}

/// Returns a response of a content type.
pub(crate) fn with_type(status: StatusCode, kind: &'static str, body: Bytes) -> Response {
    let kind = [(header::CONTENT_TYPE, HeaderValue::from_static(kind))];
    (status, kind, Body::from(body)).into_response()
}

/// Adds the entity tag of a state.
pub(super) fn tagged(mut response: Response, at: Position) -> Response {
    if let Ok(tag) = format!("\"{}-{}\"", at.epoch, at.seq).try_into() {
        response.headers_mut().insert(header::ETAG, tag);
    }
    response
}

/// Returns 304: the caller has this state already.
pub(super) fn not_modified(at: Position) -> Response {
    tagged(StatusCode::NOT_MODIFIED.into_response(), at)
}

/// Adds the headers of all answers: caches must not serve an old state as the current one, browsers must
/// not guess another content type, and pages of other origins must not embed an answer.
pub(super) fn protect(headers: &mut HeaderMap) {
    const POLICY: HeaderName = HeaderName::from_static("cross-origin-resource-policy");
    let cache = HeaderValue::from_static("private, no-cache");
    headers.entry(header::CACHE_CONTROL).or_insert(cache);
    let nosniff = HeaderValue::from_static("nosniff");
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, nosniff);
    headers.insert(POLICY, HeaderValue::from_static("same-origin"));
}

impl IntoResponse for Failure {
    fn into_response(self) -> Response {
        let status = self.status();
        let mut response = json(status, self.body());
        let headers = response.headers_mut();
        if status == StatusCode::UNAUTHORIZED {
            headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        if matches!(status.as_u16(), 429 | 503) {
            // Rounded up, because an early attempt would be refused again.
            let seconds = self.wait.as_secs_f64().ceil().max(1.0) as u64;
            headers.insert(header::RETRY_AFTER, seconds.into());
        }
        if let Some(Ok(allow)) = self.allow.as_deref().map(HeaderValue::try_from) {
            headers.insert(header::ALLOW, allow);
        }
        if status == StatusCode::UPGRADE_REQUIRED {
            headers.insert(header::UPGRADE, HeaderValue::from_static("websocket"));
        }
        // For the log.
        response.extensions_mut().insert(self);
        response
    }
}

/// Returns a failure as the bytes of a whole response, for connections that are refused.
pub(crate) fn raw(failure: &Failure) -> Vec<u8> {
    // A body of strings and numbers cannot fail.
    let body = serde_json::to_string(failure.body()).unwrap_or_default();
    let (status, bytes) = (failure.status(), body.len());
    let reason = status.canonical_reason().unwrap_or_default();
    let retry = match status {
        StatusCode::SERVICE_UNAVAILABLE => "retry-after: 1\r\n",
        _ => "",
    };
    let status = status.as_u16();
    format!(
        "HTTP/1.1 {status} {reason}\r\ncontent-type: {JSON}\r\ncontent-length: {bytes}\r\n\
         {retry}connection: close\r\n\r\n{body}"
    )
    .into_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;
    use hotread_proto::Code;
    use std::time::Duration;

    #[test]
    fn waits_are_rounded_up_to_whole_seconds() {
        for (wait, seconds) in [(0, "1"), (1, "1"), (1_000, "1"), (1_001, "2")] {
            let mut failure = Failure::new(Code::RateLimited, "slowly");
            failure.wait = Duration::from_millis(wait);
            let response = failure.into_response();
            assert_eq!(response.headers()[header::RETRY_AFTER], seconds, "{wait}");
        }
    }
}
