//! Authentication of a request: by its token, or as a program on this machine while there are no tokens.

use crate::access::{forwarded, is_loopback, one};
use crate::caller::{Caller, Peer};
use crate::error::Failure;
use crate::state::AppState;
use axum::http::header;
use axum::http::request::Parts;
use hotread_proto::Code;

/// Returns the caller, by the token in `Authorization`, which is the only place for one.
pub(super) fn authenticate(
    state: &AppState,
    peer: &Peer,
    request: &Parts,
) -> Result<Caller, Failure> {
    if state.is_open() {
        return without_token(peer, request);
    }
    let headers = &request.headers;
    let wrong = || unauthenticated("the token is not valid; ask for one");
    let given = one(headers, &header::AUTHORIZATION).map_err(|()| wrong())?;
    let given = given.ok_or_else(|| {
        unauthenticated("a token is needed; send it as `Authorization: Bearer …`")
    })?;
    let (scheme, secret) = given.split_once(' ').ok_or_else(wrong)?;
    if !scheme.eq_ignore_ascii_case("bearer") {
        return Err(wrong());
    }
    let token = state.store.authenticate(secret.trim_matches(' '));
    let token = Some(token.ok_or_else(wrong)?);
    Ok(Caller::new(peer.clone(), token))
}

/// Accepts a program on this machine, while there are no tokens.
fn without_token(peer: &Peer, request: &Parts) -> Result<Caller, Failure> {
    if !is_loopback(peer.address) {
        return Err(unauthenticated(
            "the server has no tokens, and answers only on its own machine; create a token \
             there first",
        ));
    }
    match forwarded(request) {
        Some(sign) => Err(unauthenticated(&format!(
            "the request was forwarded ({sign}), and the server has no tokens; create one \
             before a proxy leads to the server"
        ))),
        None => Ok(Caller::new(peer.clone(), None)),
    }
}

fn unauthenticated(message: &str) -> Failure {
    Failure::new(Code::Unauthenticated, message)
}
