//! The Fetch Standard's CORS protocol, for allowed origins: the answers to preflights, and the headers with
//! which a browser hands an answer to a page. Pages of other origins get no such header.

use super::route::methods;
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header};
use axum::response::{IntoResponse, Response};

/// Seconds for which a browser may cache the answer to a preflight; Chromium limits it to two hours.
const REMEMBER_S: u64 = 600;
/// Headers that a page may send.
const SENT: &str =
    "authorization, content-type, idempotency-key, if-match, if-none-match, last-event-id";
/// Headers that a page may read, in addition to those that every page may.
const READ: &str = "etag, retry-after";

const ASKS_PRIVATE: HeaderName = HeaderName::from_static("access-control-request-private-network");
const ALLOWS_PRIVATE: HeaderName = HeaderName::from_static("access-control-allow-private-network");

/// Returns `true` for a preflight, in which a browser asks whether a page may send a request.
pub(super) fn is_preflight(request: &Parts) -> bool {
    let asks = [header::ORIGIN, header::ACCESS_CONTROL_REQUEST_METHOD];
    request.method == Method::OPTIONS && asks.iter().all(|it| request.headers.contains_key(it))
}

/// Returns the answer to a preflight for an allowed page.
pub(super) fn preflight(path: &str, request: &Parts) -> Response {
    let mut response = StatusCode::NO_CONTENT.into_response();
    let headers = response.headers_mut();
    // Names of methods are valid in a header.
    if let Ok(methods) = methods(path).try_into() {
        headers.insert(header::ACCESS_CONTROL_ALLOW_METHODS, methods);
    }
    let sent = HeaderValue::from_static(SENT);
    headers.insert(header::ACCESS_CONTROL_ALLOW_HEADERS, sent);
    headers.insert(header::ACCESS_CONTROL_MAX_AGE, REMEMBER_S.into());
    if request.headers.contains_key(&ASKS_PRIVATE) {
        headers.insert(ALLOWS_PRIVATE, HeaderValue::from_static("true"));
    }
    response
}

/// Lets the page at this origin read an answer. A server without allowed pages sends no such header at all.
pub(super) fn share(headers: &mut HeaderMap, page: Option<HeaderValue>, has_pages: bool) {
    if has_pages {
        headers.append(header::VARY, HeaderValue::from_static("origin"));
    }
    if let Some(origin) = page {
        headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, origin);
        let read = HeaderValue::from_static(READ);
        headers.insert(header::ACCESS_CONTROL_EXPOSE_HEADERS, read);
    }
}
