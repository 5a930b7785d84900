//! `/v1/tokens`.

use super::answer::{self, Answer};
use super::call::Call;
use axum::http::{HeaderValue, StatusCode, header};
use hotread_proto::Success;
use hotread_proto::http::{TokenRequest, Tokens};
use hotread_store::Store;

/// `GET /v1/tokens`: all tokens, without their secrets.
pub(super) async fn list(call: Call) -> Answer {
    let tokens = |store: &Store| {
        Ok(Tokens {
            tokens: store.tokens()?,
        })
    };
    call.answer(0, tokens).await
}

/// `POST /v1/tokens`: the only answer that ever has the secret.
pub(super) async fn create(mut call: Call) -> Answer {
    let (asked, _held) = call.needed_body::<TokenRequest>().await?;
    let made = call.blocking(move |store| {
        let TokenRequest {
            name,
            role,
            tables,
            expires_at,
        } = asked;
        match expires_at {
            None => store.create_token(&name, role, tables),
            Some(at) => store.create_expiring_token(&name, role, tables, at),
        }
    });
    let token = made.await??;
    call.state.tokens_changed();
    let (by, peer) = (call.caller.name(), call.caller.peer);
    tracing::info!(id = token.info.id, role = %token.info.role, by, %peer, "a token was created");
    let mut response = answer::json(StatusCode::CREATED, &Success::new(&token));
    let headers = response.headers_mut();
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    Ok(response)
}

/// `DELETE /v1/tokens/{id}`: also ends the sessions that the token began.
pub(super) async fn revoke(call: Call) -> Answer {
    let id = call.path_id()?;
    let revoked = call.blocking(move |store| store.revoke_token_but_last(&id));
    let revoked = revoked.await??;
    call.state.tokens_changed();
    let (by, peer) = (call.caller.name(), call.caller.peer);
    tracing::info!(id = revoked.id, by, %peer, "a token was revoked");
    Ok(answer::success(&revoked))
}
