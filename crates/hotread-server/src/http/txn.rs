//! `/v1/tables/{table}/txn` and `/v1/tables/{table}/replace`.

use super::route::Answer;
use super::{Call, answer};
use crate::error::Failure;
use crate::state::AppState;
use hotread_proto::{Replace, TableName, Txn, TxnId};
use hotread_store::Ticket;

/// From this size on, in bytes of keys and values, a transaction is handed over on a thread for what
/// blocks: its values may have to be checked against a schema, at some 100 MB/s.
const INLINE: usize = 16 << 10;

/// `POST /v1/tables/{table}/txn`.
pub(super) async fn commit(mut call: Call) -> Answer {
    let table = call.table()?;
    let (mut txn, _held) = call.needed_body::<Txn>().await?;
    txn.id = same_id(txn.id, call.id)?;
    let committed = submit(&call.state, &table, txn).await?.await?;
    Ok(answer::success(&committed))
}

/// `POST /v1/tables/{table}/replace`.
pub(super) async fn replace(mut call: Call) -> Answer {
    let table = call.table()?;
    let (mut new, _held) = call.needed_body::<Replace>().await?;
    new.id = same_id(new.id, call.id)?;
    let name = table.clone();
    let ticket = call
        .state
        .blocking(move |store| store.submit_replace(&name, new));
    let replaced = ticket.await??.await?;
    call.state.warm.insert(table);
    Ok(answer::success(&replaced))
}

/// The id may stand in the header or in the body; in both only if it is the same.
fn same_id(body: Option<TxnId>, header: Option<TxnId>) -> Result<Option<TxnId>, Failure> {
    match (body, header) {
        (Some(body), Some(header)) if body != header => Err(Failure::bad_request(
            "the body's id is another than Idempotency-Key; leave out one of them",
        )),
        (body, header) => Ok(body.or(header)),
    }
}

/// Hands a transaction over. It is not taken back if its answer is not waited for.
pub(super) async fn submit(
    state: &AppState,
    table: &TableName,
    txn: Txn,
) -> Result<Ticket, Failure> {
    // The keys of a sealed table are derived at its first use, which takes tenths of a second.
    let ticket = if txn.size() <= INLINE && state.warm.contains(table) {
        state.store.try_submit(table, txn)?
    } else {
        let name = table.clone();
        let ticket = state
            .blocking(move |store| store.try_submit(&name, txn))
            .await??;
        state.warm.insert(table.clone());
        ticket
    };
    Ok(ticket)
}
