//! What is about the server itself: health, readiness, the description.

use super::answer::{self, Answer};
use super::call::Call;
use crate::error::Failure;
use crate::work::Unit;
use axum::http::StatusCode;
use hotread_proto::Code;

/// `GET /healthz`: the process answers.
pub(super) async fn health(_call: Call) -> Answer {
    Ok(answer::done())
}

/// `GET /readyz`: it can be written to, and is not about to stop.
pub(super) async fn ready(call: Call) -> Answer {
    let state = &call.state;
    if state.is_draining() {
        return Err(Failure::closing());
    }
    let halted = state.blocking(Unit::own(), |store| store.stats().halted);
    if halted.await?.is_some() {
        // Why is for those who may see /v1/status.
        let message = "nothing can be written at the moment; the server's status says why";
        let failure = Failure::new(Code::StorageError, message);
        return Err(failure.with_status(StatusCode::SERVICE_UNAVAILABLE));
    }
    Ok(answer::done())
}

/// `GET /v1/openapi.json`.
pub(super) async fn openapi(call: Call) -> Answer {
    let text = call.state.description.clone();
    Ok(answer::with_type(StatusCode::OK, "application/json", text))
}
