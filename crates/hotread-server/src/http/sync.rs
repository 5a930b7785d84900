//! `/v1/tables/{table}/sync`.

use super::answer::Answer;
use super::call::Call;
use crate::error::Failure;
use axum::http::StatusCode;

/// `GET /v1/tables/{table}/sync`: upgrades a connection to a sync session.
pub(super) async fn follow(mut call: Call) -> Answer {
    use axum::extract::FromRequestParts;
    use axum::extract::ws::WebSocketUpgrade;
    let table = call.table()?;
    let upgrade = WebSocketUpgrade::from_request_parts(&mut call.parts, &()).await;
    let upgrade = upgrade.map_err(|rejection| {
        let failure = Failure::bad_request(format!(
            "this is for WebSockets: {}",
            rejection.body_text().to_lowercase()
        ));
        match rejection.status() {
            StatusCode::UPGRADE_REQUIRED => failure.with_status(StatusCode::UPGRADE_REQUIRED),
            _ => failure,
        }
    })?;
    let wire = call.parts.extensions.remove().unwrap_or_default();
    crate::sync::upgrade(call.state, call.caller, table, upgrade, wire).await
}
