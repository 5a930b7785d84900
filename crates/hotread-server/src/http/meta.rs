//! What is about the server itself: health, readiness, the description.

use super::answer::{self, Answer};
use super::call::Call;
use crate::error::Failure;
use crate::openapi::DESCRIPTION;
use crate::work::Unit;
use axum::http::StatusCode;
use bytes::Bytes;
use hotread_proto::Code;

/// `GET /healthz`: the process answers.
pub(super) async fn health(_call: Call) -> Answer {
    Ok(answer::done())
}

/// `GET /readyz`: it can be written to, and is not about to stop.
pub(super) async fn ready(call: Call) -> Answer {
    let state = &call.state;
    if state.is_draining() {
        return Err(Failure::new(Code::Closed, "the server is shutting down"));
    }
    let store = state.store.clone();
    if state
        .blocking(Unit::own(), move |_| store.stats().halted)
        .await?
        .is_some()
    {
        // Why is for those who may see /v1/status.
        let message = "nothing can be written at the moment; the server's status says why";
        let failure = Failure::new(Code::StorageError, message);
        return Err(failure.with_status(StatusCode::SERVICE_UNAVAILABLE));
    }
    Ok(answer::done())
}

/// `GET /v1/openapi.json`.
pub(super) async fn openapi(_call: Call) -> Answer {
    let text = Bytes::from_static(DESCRIPTION.as_bytes());
    Ok(answer::with_type(StatusCode::OK, "application/json", text))
}
