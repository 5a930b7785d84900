//! HTTP: from a request to an answer.
//!
//! Every request passes the same steps: host and origin, token, rate, route, rights, form. Then the route's
//! handler gets it as a [`Call`]. The handlers are in the modules below this one.

pub(crate) mod answer;
mod authenticate;
mod blame;
mod call;
mod changes;
mod cors;
pub(crate) mod etag;
mod events;
mod meta;
mod metrics;
mod records;
pub(crate) mod request;
pub(crate) mod route;
mod sync;
mod tables;
mod tokens;
mod txn;

use crate::access::Hosts;
use crate::caller::{Caller, Peer, Who};
use crate::error::Failure;
use crate::limits::MAX_HEAD_BYTES;
use crate::log::Line;
use crate::metrics::count;
use crate::socket::Wire;
use crate::state::AppState;
use answer::Answer;
use authenticate::authenticate;
use axum::Router;
use axum::extract::{RawPathParams, Request};
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode, Uri, header};
use axum::response::{IntoResponse, Response};
use axum::routing::any;
use call::{Call, Names};
use etag::Condition;
use futures_util::FutureExt;
use hotread_proto::{Code, Key, TableName};
use request::Query;
use route::{Access, ROUTES, Route, methods};
use std::collections::BTreeSet;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Instant;

/// Returns the router: one entry for each path of the table, and one for all other paths.
pub(crate) fn router(state: Arc<AppState>) -> Router {
    let paths: BTreeSet<_> = ROUTES.iter().map(|route| route.path).collect();
    let handler = |path: Option<&'static str>| {
        let state = state.clone();
        move |request: Request| serve(state.clone(), path, request)
    };
    let router = paths.into_iter().fold(Router::new(), |router, path| {
        router.route(path, any(handler(Some(path))))
    });
    router.fallback(handler(None))
}

/// Knowledge about a request so far, for the log.
struct Seen {
    caller: Option<Caller>,
    /// Index of the route in the table; its length, if there is no such route.
    route: usize,
}

async fn serve(state: Arc<AppState>, path: Option<&'static str>, request: Request) -> Response {
    let began = Instant::now();
    // Set by the connection.
    let peer: Option<Peer> = request.extensions().get().cloned();
    let method = request.method().clone();
    let settings = state.settings();
    let page = settings.allowed.page(request.headers());
    let wire: Arc<Wire> = request.extensions().get().cloned().unwrap_or_default();
    let length = request::body_length(request.headers());
    wire.set_unread(length != Some(0));
    let mut seen = Seen {
        caller: None,
        route: ROUTES.len(),
    };
    let address = peer.as_ref().map(|peer| peer.address);
    let answered = caught(answer(&state, path, peer, request, &mut seen)).await;
    let mut response = answered.unwrap_or_else(IntoResponse::into_response);
    answer::protect(response.headers_mut());
    cors::share(response.headers_mut(), page, settings.allowed.has_pages());
    if wire.is_unread() && length.is_none_or(|length| length > request::INLINE as u64) {
        // The unread body is larger than what is worth reading to keep the connection.
        let close = HeaderValue::from_static("close");
        response.headers_mut().insert(header::CONNECTION, close);
    }
    let status = response.status();
    state.metrics.request(seen.route, status);
    let name = seen.caller.as_ref().map_or("unknown", Caller::name);
    let micros = u64::try_from(began.elapsed().as_micros()).unwrap_or(u64::MAX);
    // The pattern only: names in the path may be confidential.
    let (path, status) = (path.unwrap_or("unknown"), status.as_u16());
    match response.extensions().get::<Failure>() {
        Some(failure) if is_news(failure) => {
            let (code, message) = (failure.body().code, &failure.body().message);
            if let Some(left_out) = state.lines.take(Line::Request(code)) {
                tracing::warn!(peer = ?address, name, %method, path, status, %code, message, left_out, "a request failed");
            }
        }
        Some(failure) => {
            let code = failure.body().code;
            tracing::debug!(peer = ?address, name, %method, path, status, %code, micros, "refused");
        }
        None => tracing::debug!(peer = ?address, name, %method, path, status, micros, "answered"),
    }
    response
}

/// Turns a panic into a failure of this request only.
async fn caught(answer: impl Future<Output = Answer>) -> Answer {
    let answered = AssertUnwindSafe(answer).catch_unwind().await;
    answered.unwrap_or_else(|_| {
        // The panic hook has printed the message.
        tracing::error!("a request's handler panicked");
        Err(Failure::internal())
    })
}

/// Returns `true` for failures that an operator should know of. Load is in the metrics.
fn is_news(failure: &Failure) -> bool {
    let code = failure.body().code;
    let is_load = matches!(code, Code::Busy | Code::Closed | Code::TooManyConnections);
    failure.status().is_server_error() && !is_load
}

async fn answer(
    state: &Arc<AppState>,
    path: Option<&'static str>,
    peer: Option<Peer>,
    request: Request,
    seen: &mut Seen,
) -> Answer {
    let peer = peer.ok_or_else(Failure::internal)?;
    let (mut parts, body) = request.into_parts();
    check_head(&parts.uri, &parts.headers)?;
    let route = find(path, &parts.method).map(|at| {
        seen.route = at;
        &ROUTES[at]
    });
    let open = matches!(route, Ok(route) if route.access == Access::Open);
    let hosts = match open {
        true => Hosts::Unread,
        false if state.is_open() => Hosts::Listed,
        false => Hosts::Any,
    };
    state.settings().allowed.check(&parts, hosts)?;

    let known = authenticate(state, &peer, &parts);
    let who = known.as_ref().map_or(Who::peer(peer.address), Caller::who);
    if let Ok(caller) = &known {
        seen.caller = Some(caller.clone());
    }
    state.limiter.take(who).map_err(|wait| {
        count(&state.metrics.rate_limited);
        let message = "too many requests in a short time; ask less often";
        let mut failure = Failure::new(Code::RateLimited, message);
        failure.wait = wait;
        failure
    })?;

    // Browsers send preflights without a token; the answer has no more than the public description.
    if let Some(path) = path.filter(|_| cors::is_preflight(&parts)) {
        return Ok(cors::preflight(path, &parts));
    }
    let caller = match known {
        Ok(caller) => caller,
        Err(_) if open => Caller::new(peer, None),
        Err(failure) => return Err(failure),
    };
    let route = route?;
    let names = names(&mut parts).await?;
    check_rights(&caller, route.access, names.table.as_ref())?;

    request::check_body(&parts.headers, route.takes, &state.settings().options)?;
    let query = Query::parse(parts.uri.query().unwrap_or(""), route.query)?;
    let condition = Condition::read(&parts.headers, route.conditions)?;
    let id = request::idempotency_key(&parts.headers, route.once)?;
    (route.handler)(Call {
        state: state.clone(),
        caller,
        query,
        condition,
        id,
        parts,
        takes: route.takes,
        names,
        body,
    })
    .await
}

/// Checks the head's limits. A head far beyond them is refused earlier.
fn check_head(uri: &Uri, headers: &HeaderMap) -> Result<(), Failure> {
    let target = uri.path().len() + uri.query().map_or(0, str::len);
    let lines = headers
        .iter()
        .map(|(name, value)| name.as_str().len() + value.len());
    let bytes = target + lines.sum::<usize>();
    if bytes <= MAX_HEAD_BYTES {
        return Ok(());
    }
    let message =
        format!("the head of the request has {bytes} bytes; at most {MAX_HEAD_BYTES} are allowed");
    let failure = Failure::new(Code::TooLarge, message);
    Err(failure.with_status(StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE))
}

fn find(path: Option<&str>, method: &Method) -> Result<usize, Failure> {
    let Some(path) = path else {
        let message = "there is nothing at this path; /v1/openapi.json lists the paths";
        return Err(Failure::new(Code::UnknownRoute, message));
    };
    // HEAD has the answer of GET without the body, which the router removes.
    let method = match *method {
        Method::HEAD => &Method::GET,
        _ => method,
    };
    let found = |route: &Route| route.path == path && route.method == method;
    ROUTES.iter().position(found).ok_or_else(|| {
        let methods = methods(path);
        let message = format!("the path does not support this method; it supports {methods}");
        let mut failure = Failure::new(Code::MethodNotAllowed, message);
        failure.allow = Some(methods);
        failure
    })
}

async fn names(parts: &mut Parts) -> Result<Names, Failure> {
    use axum::RequestPartsExt;
    request::check_escapes(parts.uri.path())?;
    let params = parts.extract::<RawPathParams>().await.map_err(|_| {
        let message = "the path is not UTF-8 when it is decoded; encode it before it is escaped";
        Failure::new(Code::InvalidName, message)
    })?;
    let mut names = Names::default();
    for (name, value) in &params {
        match name {
            "table" => names.table = Some(TableName::new(value)?),
            "key" => names.key = Some(key(value)?),
            _ => names.id = Some(value.to_owned()),
        }
    }
    Ok(names)
}

/// Parses a key in the path. Keys whose paths a proxy might normalize into those of other keys (`a/../b`
/// into `b`) are refused here, so that clients cannot rely on something that works only without a proxy.
fn key(text: &str) -> Result<Key, Failure> {
    let key = Key::new(text)?;
    if key.is_tidy() {
        return Ok(key);
    }
    let message = "a key with a segment that is empty, `.` or `..` cannot be in a path, because \
                   proxies normalize paths; read the record as the first with this prefix, and write \
                   it in a transaction";
    Err(Failure::new(Code::InvalidName, message))
}

/// Checks the caller's rights, before an answer tells whether a table exists.
fn check_rights(caller: &Caller, access: Access, table: Option<&TableName>) -> Result<(), Failure> {
    let has_here = |role| table.is_some_and(|table| caller.has_on(table, role));
    let (allowed, role, scope) = match access {
        Access::Open | Access::Token => return Ok(()),
        Access::Any(role) => (caller.has(role), role, ""),
        Access::Table(role) => (has_here(role), role, " for this table"),
        Access::Server(role) => (caller.has_on_all(role), role, ", for all tables"),
    };
    if allowed {
        return Ok(());
    }
    let message = format!(
        "the token does not allow this, which needs the role {role}{scope}; ask for another"
    );
    Err(Failure::new(Code::Forbidden, message))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_panic_is_an_answer() {
        let failure = caught(async { panic!("of a handler") }).await.unwrap_err();
        assert_eq!(failure.body().code, Code::Internal);
        assert!(!failure.body().message.contains("of a handler"));
    }

    #[test]
    fn no_handler_is_reached_past_a_limit_on_the_head() {
        let uri: Uri = format!("/{}", "x".repeat(MAX_HEAD_BYTES - 1))
            .parse()
            .unwrap();
        assert!(check_head(&uri, &HeaderMap::new()).is_ok());
        let mut headers = HeaderMap::new();
        headers.insert("x", "1".parse().unwrap());
        let failure = check_head(&uri, &headers).unwrap_err();
        assert_eq!(failure.status().as_u16(), 431);
    }
}
