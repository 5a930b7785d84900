//! `/v1/tables/{table}/records`, `/v1/tables/{table}/records/{key}` and `/v1/tables/{table}/search`.

use super::answer::{self, Answer};
use super::call::Call;
use super::etag::Condition;
use super::txn;
use crate::error::Failure;
use crate::limits::{MAX_FOUND, MAX_QUERY_BYTES, PAGE_MEMORY};
use axum::http::StatusCode;
use hotread_proto::http::{OneRecord, RecordBody, Written};
use hotread_proto::limits::MAX_KEY_BYTES;
use hotread_proto::{
    Code, ErrorBody, Key, Position, Record, Scan, Search, Success, TableName, Timestamp, Txn,
};
use hotread_store::{DEFAULT_PAGE, MAX_PAGE, ReadError, Store};
use std::time::SystemTime;

/// Returns the records that have not expired.
fn present(mut records: Vec<Record>) -> Vec<Record> {
    let now = Timestamp::from(SystemTime::now());
    records.retain(|record| !record.is_expired(now));
    records
}

/// `GET /v1/tables/{table}/records`: a page, by key.
pub(super) async fn list(call: Call) -> Answer {
    let table = call.table()?;
    let prefix = call.query.get("prefix").unwrap_or("").to_owned();
    if prefix.len() > MAX_KEY_BYTES {
        let message = format!("keys have at most {MAX_KEY_BYTES} bytes; shorten the prefix");
        return Err(Failure::bad_request(message));
    }
    let scan = Scan {
        prefix,
        after: call.query.read("after")?,
        category: call.query.read("category")?,
        limit: call.query.limit(DEFAULT_PAGE, MAX_PAGE)?,
        epoch: call.query.read("epoch")?,
    };
    let answer = call.answer(PAGE_MEMORY, move |store| {
        let mut page = store.scan(&table, &scan)?;
        page.records = present(page.records);
        Ok(page)
    });
    answer.await
}

/// `GET /v1/tables/{table}/search`: the best matches first.
pub(super) async fn search(call: Call) -> Answer {
    let table = call.table()?;
    let missing = || Failure::bad_request("q is missing; give the words to search for");
    let query = call.query.get("q").ok_or_else(missing)?.to_owned();
    if query.len() > MAX_QUERY_BYTES {
        let message = format!("q has more than {MAX_QUERY_BYTES} bytes; shorten it");
        return Err(Failure::bad_request(message));
    }
    let search = Search {
        query,
        category: call.query.read("category")?,
        limit: call.query.limit(MAX_FOUND, MAX_FOUND)?,
    };
    let answer = call.answer(PAGE_MEMORY, move |store| {
        let mut found = store.search(&table, &search)?;
        found.records = present(found.records);
        Ok(found)
    });
    answer.await
}

/// `GET /v1/tables/{table}/records/{key}`.
pub(super) async fn get(call: Call) -> Answer {
    let (table, key) = (call.table()?, call.key()?);
    let budget = call.budget();
    let condition = call.condition.clone();
    let answered = call.blocking(move |store| -> Answer {
        let held = budget.take(0)?;
        let (position, record) = read(store, &table, &key)?;
        let record = record.ok_or_else(|| not_found(&table, &key, ""))?;
        let now = SystemTime::now();
        if let Some(at) = record.expires_at().filter(|_| record.is_expired(now)) {
            let more = format!(" any more; it expired at {at}");
            return Err(not_found(&table, &key, &more));
        }
        let at = Position {
            seq: record.seq(),
            ..position
        };
        if condition.has(at) {
            return Ok(answer::not_modified(at));
        }
        let response = answer::large(held, &OneRecord { record, position })?;
        Ok(answer::tagged(response, at))
    });
    answered.await?
}

/// Reads a record, and a position of the same epoch. The record is at least as new as the position.
fn read(
    store: &Store,
    table: &TableName,
    key: &Key,
) -> Result<(Position, Option<Record>), ReadError> {
    let mut before = store.head(table)?.position;
    loop {
        let record = store.get(table, key)?;
        let after = store.head(table)?.position;
        if before.epoch == after.epoch {
            return Ok((before, record));
        }
        // The table was dropped and re-created in the meantime.
        before = after;
    }
}

fn not_found(table: &TableName, key: &Key, more: &str) -> Failure {
    ErrorBody::no_record(table, key, more).into()
}

/// `PUT /v1/tables/{table}/records/{key}`.
pub(super) async fn put(mut call: Call) -> Answer {
    let (table, key) = (call.table()?, call.key()?);
    let (body, held) = call.needed_body::<RecordBody>().await?;
    let transaction = Txn::new().put(body.under(key.clone()));
    let transaction = conditional(&call, &table, key.clone(), transaction)?;
    let (committed, is_new) = txn::submit(call, &table, transaction, held).await?;
    let status = match is_new {
        true => StatusCode::CREATED,
        false => StatusCode::OK,
    };
    let response = answer::json(status, &Success::new(Written { committed, key }));
    Ok(answer::tagged(response, committed.position))
}

/// `DELETE /v1/tables/{table}/records/{key}`.
pub(super) async fn delete(call: Call) -> Answer {
    let (table, key) = (call.table()?, call.key()?);
    // With a precondition or an id, the store decides about an absent record.
    if call.condition == Condition::None && call.id.is_none() {
        let (name, wanted) = (table.clone(), key.clone());
        let read = call.blocking(move |store| store.get(&name, &wanted));
        let now = Timestamp::from(SystemTime::now());
        if read.await??.is_none_or(|record| record.is_expired(now)) {
            return Err(not_found(&table, &key, ""));
        }
    }
    let transaction = Txn::new().delete(key.clone());
    let transaction = conditional(&call, &table, key.clone(), transaction)?;
    let held = call.budget().take(0)?;
    let (committed, _) = txn::submit(call, &table, transaction, held).await?;
    Ok(answer::success(&Written { committed, key }))
}

/// Returns the transaction under the request's condition, with its id and its note.
fn conditional(call: &Call, table: &TableName, key: Key, txn: Txn) -> Result<Txn, Failure> {
    let mut txn = match &call.condition {
        Condition::Is(at) => {
            let head = call.state.store.head(table)?.position;
            // A precondition has no epoch. If the table is re-created after this check, its records begin
            // at seq 1 again.
            if at.epoch != head.epoch {
                let other = format!("{at} belongs to another incarnation of the table");
                return Err(precondition(key, &other));
            }
            txn.if_seq(key, at.seq)
        }
        Condition::Absent => txn.if_absent(key),
        Condition::Present => txn.if_present(key),
        Condition::IsImpossible => {
            return Err(precondition(
                key,
                "If-Match is not an entity tag of this server, such as \"00c0ffee00c0ffee-42\", with its quotes",
            ));
        }
        Condition::None | Condition::Not(_) | Condition::NotAny => txn,
    };
    txn.id.clone_from(&call.id);
    txn.note = call.query.read("note")?;
    Ok(txn)
}

fn precondition(key: Key, why: &str) -> Failure {
    let message = format!("precondition failed: {why}; read the record again before you retry");
    let mut body = ErrorBody::new(Code::PreconditionFailed, message);
    body.key = Some(key);
    body.into()
}
