//! `/v1/tables/{table}/txn` and `/v1/tables/{table}/replace`.

use super::answer::{self, Answer};
use super::call::Call;
use crate::error::Failure;
use crate::limits::Held;
use crate::state::AppState;
use crate::work::Unit;
use hotread_proto::limits::MAX_KEY_BYTES;
use hotread_proto::{Code, Committed, Replace, TableName, Txn, TxnId};
use hotread_store::{CommitError, Store};
use std::time::Duration;

/// From this size on, in bytes of keys and values, a transaction is handed over on a thread for what
/// blocks: its values may have to be checked against a schema, at some 100 MB/s. In tables whose schema
/// takes longer, all are.
const INLINE: usize = 16 << 10;
/// How long the comparison of a replacement with its table may take: it reads all of the table, at about a
/// microsecond a record.
const COMPARE_WITHIN: Duration = Duration::from_secs(20);
/// Memory that a record takes which a replacement deletes, in bytes: its key, and what is around it.
const GONE_COST: usize = MAX_KEY_BYTES + 128;

/// `POST /v1/tables/{table}/txn`.
pub(super) async fn commit(mut call: Call) -> Answer {
    let table = call.table()?;
    let (mut txn, held) = call.needed_body::<Txn>().await?;
    txn.id = same_id(txn.id, call.id.take())?;
    let (committed, _) = submit(&call.state, call.unit(), &table, txn, held).await?;
    Ok(answer::success(&committed))
}

/// `POST /v1/tables/{table}/replace`.
pub(super) async fn replace(mut call: Call) -> Answer {
    let table = call.table()?;
    let (mut new, held) = call.needed_body::<Replace>().await?;
    new.id = same_id(new.id, call.id.take())?;
    let max = call.state.options.max_replace_changes;
    // Before the comparison: what is gone is remembered by its key.
    let old = usize::try_from(call.state.store.head(&table)?.records).unwrap_or(usize::MAX);
    let gone = call.budget().take(old.min(max) * GONE_COST)?;
    let unit = call.unit().within(COMPARE_WITHIN);
    let ticket = call
        .state
        .blocking(unit, move |store| store.submit_compared(&table, new, max));
    let ticket = ticket.await??;
    // Its memory is taken until it is applied, also if no client waits for the answer any more.
    let replaced = tokio::spawn(async move {
        let _held = (held, gone);
        ticket.await
    });
    let replaced = replaced.await.map_err(|_| closed())??;
    Ok(answer::success(&replaced))
}

/// The runtime ends.
fn closed() -> Failure {
    Failure::new(Code::Closed, "the server is shutting down")
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

/// Hands a transaction over, and waits for its answer: also whether the table has grown by it. The
/// transaction is not taken back if its caller leaves; the memory of a large one is taken until it is
/// applied.
pub(super) async fn submit(
    state: &AppState,
    unit: Unit,
    table: &TableName,
    txn: Txn,
    held: Held,
) -> Result<(Committed, bool), Failure> {
    let small = txn.size() <= INLINE;
    // The keys of a sealed table are derived at its first use, which takes tenths of a second, and the
    // check of a schema may take longer than parsing.
    let ticket = if small && state.warm.contains(table) {
        state.store.try_submit(table, txn)?
    } else {
        let name = table.clone();
        let work = move |store: &Store| -> Result<_, CommitError> {
            let ticket = store.try_submit(&name, txn)?;
            Ok((ticket, store.checks_quickly(&name).unwrap_or(false)))
        };
        let (ticket, quick) = state.blocking(unit, work).await??;
        if quick {
            state.warm.insert(table.clone());
        }
        ticket
    };
    let ticket = ticket.with_growth();
    if small {
        return Ok(ticket.await?);
    }
    let committed = tokio::spawn(async move {
        let _held = held;
        ticket.await
    });
    Ok(committed.await.map_err(|_| closed())??)
}
