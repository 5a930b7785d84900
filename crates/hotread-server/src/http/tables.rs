//! `/v1/tables` and `/v1/tables/{table}`.

use super::answer::{self, Answer};
use super::call::Call;
use crate::error::Failure;
use axum::http::StatusCode;
use hotread_proto::http::Tables;
use hotread_proto::{Alter, Code, Role, Success, TableOptions, Value};

/// `GET /v1/tables`: the tables that the caller may read.
pub(super) async fn list(call: Call) -> Answer {
    let caller = call.caller.clone();
    let answer = call.answer(0, move |store| {
        let mut tables = store.tables()?;
        tables.retain(|table| caller.has_on(&table.name, Role::Read));
        Ok(Tables { tables })
    });
    answer.await
}

/// `GET /v1/tables/{table}`.
pub(super) async fn get(call: Call) -> Answer {
    let table = call.table()?;
    // Without access to the disk, for clients that poll.
    let head = call.state.store.head(&table)?.position;
    if call.condition.has(head) {
        return Ok(answer::not_modified(head));
    }
    let read = call.blocking(move |store| store.table_info(&table));
    let info = read.await??;
    Ok(answer::tagged(answer::success(&info), info.position))
}

/// `PUT /v1/tables/{table}`: creates it, with the options in the body.
pub(super) async fn create(mut call: Call) -> Answer {
    let table = call.table()?;
    let (options, _held) = call.body::<TableOptions>().await?.unzip();
    let options = options.unwrap_or_default();
    // Options are parsed as leniently as stored ones.
    if let Some(schema) = &options.schema {
        Value::parse(schema.as_bytes())?;
    }
    let made = call.blocking(move |store| store.create_table(&table, options));
    let info = made.await??;
    let response = answer::json(StatusCode::CREATED, &Success::new(&info));
    Ok(answer::tagged(response, info.position))
}

/// `PATCH /v1/tables/{table}`: changes its options or its name.
pub(super) async fn alter(mut call: Call) -> Answer {
    let table = call.table()?;
    let (alter, _held) = call.needed_body::<Alter>().await?;
    // The same right as for creating a table of that name.
    if let Some(name) = alter.name()
        && !call.caller.has_on(name, Role::Admin)
    {
        let message = "the token does not allow this, which needs the role admin for the other name; ask for another";
        return Err(Failure::new(Code::Forbidden, message));
    }
    let old = table.clone();
    let altered = call.blocking(move |store| store.alter(&table, &alter));
    let info = altered.await??;
    if info.name != old {
        call.state.warm.remove(&old);
    }
    Ok(answer::tagged(answer::success(&info), info.position))
}

/// `DELETE /v1/tables/{table}`, with all its records.
pub(super) async fn drop(call: Call) -> Answer {
    let table = call.table()?;
    let name = table.clone();
    let dropped = call.blocking(move |store| store.drop_table(&table));
    dropped.await??;
    call.state.warm.remove(&name);
    Ok(answer::done())
}
