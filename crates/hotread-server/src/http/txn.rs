//! `/v1/tables/{table}/txn` and `/v1/tables/{table}/replace`.

use super::answer::{self, Answer};
use super::call::Call;
use crate::error::Failure;
use crate::limits::Held;
use hotread_proto::limits::MAX_KEY_BYTES;
use hotread_proto::{Committed, Replace, TableName, Txn};
use hotread_store::{CommitError, Store};
use std::time::Duration;

/// Size in bytes of keys and values from which a transaction is submitted on a blocking thread: its values
/// may have to be checked against a schema, at some 100 MB/s. Tables with a slower schema use such a thread
/// for every transaction.
const INLINE: usize = 16 << 10;
/// Longest time for comparing a replacement with its table, at about a microsecond a record.
const COMPARE_WITHIN: Duration = Duration::from_secs(20);
/// Memory of a record that a replacement deletes, in bytes: its key, and what surrounds it.
const GONE_COST: usize = MAX_KEY_BYTES + 128;

/// `POST /v1/tables/{table}/txn`.
pub(super) async fn commit(mut call: Call) -> Answer {
    let table = call.table()?;
    let (mut txn, held) = call.needed_body::<Txn>().await?;
    txn.id = same(txn.id, call.id.take(), OTHER_ID)?;
    let (committed, _) = submit(call, &table, txn, held).await?;
    Ok(answer::success(&committed))
}

/// `POST /v1/tables/{table}/replace`.
pub(super) async fn replace(mut call: Call) -> Answer {
    let table = call.table()?;
    let note = call.query.read("note")?;
    let (mut new, held) = call.needed_body::<Replace>().await?;
    new.id = same(new.id, call.id.take(), OTHER_ID)?;
    new.note = same(new.note, note, OTHER_NOTE)?;
    let max = call.state.settings().options.max_replace_changes;
    // Taken before the comparison, which collects the keys of deleted records.
    let old = usize::try_from(call.state.store.head(&table)?.records).unwrap_or(usize::MAX);
    let gone = call.budget().take(old.min(max) * GONE_COST)?;
    let unit = call.unit().within(COMPARE_WITHIN);
    let actor = call.caller.actor();
    let ticket = call.state.blocking(unit, move |store| {
        store.acting_as(actor).submit_compared(&table, new, max)
    });
    let ticket = ticket.await??;
    let replaced = holding((held, gone), ticket).await?;
    Ok(answer::success(&replaced))
}

/// Waits for an answer. The memory is held until then, even if the client disconnects.
async fn holding<T, A>(memory: impl Send + 'static, answer: A) -> Result<T, Failure>
where
    T: Send + 'static,
    A: Future<Output = Result<T, CommitError>> + Send + 'static,
{
    let answered = tokio::spawn(async move {
        let _memory = memory;
        answer.await
    });
    // An error means that the runtime ends.
    Ok(answered.await.map_err(|_| Failure::closing())??)
}

const OTHER_ID: &str = "the body's id differs from Idempotency-Key; omit one of them";
const OTHER_NOTE: &str = "the body's note differs from the query's; omit one of them";

/// Returns the id or note, which may be in the body or outside it; in both places only if the two are
/// equal.
fn same<T: PartialEq>(
    body: Option<T>,
    outside: Option<T>,
    otherwise: &str,
) -> Result<Option<T>, Failure> {
    match (body, outside) {
        (Some(body), Some(outside)) if body != outside => Err(Failure::bad_request(otherwise)),
        (body, outside) => Ok(body.or(outside)),
    }
}

/// Submits a transaction, and waits for its answer, and for whether the table has grown. A submitted
/// transaction is not withdrawn when the caller leaves; the memory of a large one is held until it is
/// applied.
pub(super) async fn submit(
    call: Call,
    table: &TableName,
    txn: Txn,
    held: Held,
) -> Result<(Committed, bool), Failure> {
    let (small, actor) = (txn.size() <= INLINE, call.caller.actor());
    let state = &call.state;
    // The first use of a sealed table derives its keys, which takes tenths of a second, and the check of a
    // schema may take longer than parsing.
    let ticket = if small && state.warm.contains(table) {
        state.store.acting_as(actor).try_submit(table, txn)?
    } else {
        let name = table.clone();
        let work = move |store: &Store| -> Result<_, CommitError> {
            let ticket = store.acting_as(actor).try_submit(&name, txn)?;
            Ok((ticket, store.checks_quickly(&name).unwrap_or(false)))
        };
        let (ticket, quick) = call.blocking(work).await??;
        if quick {
            state.warm.insert(table.clone());
        }
        ticket
    };
    let ticket = ticket.with_growth();
    match small {
        true => Ok(ticket.await?),
        false => holding(held, ticket).await,
    }
}
