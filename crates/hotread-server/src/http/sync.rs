//! `/v1/tables/{table}/sync`.

use super::answer::Answer;
use super::call::Call;
use crate::error::Failure;
use crate::sync::{WRITE_BUFFER, serve};
use crate::work::Unit;
use axum::extract::FromRequestParts;
use axum::extract::ws::WebSocketUpgrade;
use axum::http::StatusCode;
use hotread_proto::session::{MAX_CLIENT_FRAME_BYTES, SUBPROTOCOL};
use hotread_store::{ReadError, TableInfo};

/// Maximum number of bytes that a connection buffers: at most one frame beyond its write buffer.
const MAX_WRITE_BUFFER: usize = 8 << 20;
/// Size of the pieces in which messages of a client are read, in bytes.
const READ_BUFFER: usize = 4 << 10;

/// `GET /v1/tables/{table}/sync`: upgrades a connection to a sync session. Every refusal that is possible
/// here is sent here, with a status.
pub(super) async fn follow(mut call: Call) -> Answer {
    let table = call.table()?;
    let upgrade = WebSocketUpgrade::from_request_parts(&mut call.parts, &()).await;
    let upgrade = upgrade.map_err(|rejection| {
        let reason = rejection.body_text().to_lowercase();
        let failure = Failure::bad_request(format!("this is for WebSockets: {reason}"));
        match rejection.status() {
            StatusCode::UPGRADE_REQUIRED => failure.with_status(StatusCode::UPGRADE_REQUIRED),
            _ => failure,
        }
    })?;
    let upgrade = upgrade.protocols([SUBPROTOCOL]);
    if upgrade.selected_protocol().is_none() {
        let message = format!("request the subprotocol {SUBPROTOCOL}; no other is supported");
        return Err(Failure::bad_request(message));
    }
    let wire = call.parts.extensions.remove().unwrap_or_default();
    let (state, caller) = (call.state, call.caller);
    state.check_running()?;
    let (name, unit) = (table.clone(), Unit::of(caller.who()).on(&table));
    // Also unlocks a sealed table, or fails with the reason.
    let info = state.blocking(unit, move |store| -> Result<TableInfo, ReadError> {
        let info = store.table_info(&name)?;
        store.digest_at(&name, info.position)?;
        Ok(info)
    });
    let sealed = info.await??.options.sealed;
    Ok(upgrade
        .read_buffer_size(READ_BUFFER)
        .write_buffer_size(WRITE_BUFFER)
        .max_write_buffer_size(MAX_WRITE_BUFFER)
        .max_message_size(MAX_CLIENT_FRAME_BYTES)
        .max_frame_size(MAX_CLIENT_FRAME_BYTES)
        .on_upgrade(move |socket| serve(state, caller, table, sealed, socket, wire)))
}
