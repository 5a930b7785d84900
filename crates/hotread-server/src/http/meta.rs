//! Routes about the server itself: health, readiness, the description, the status.

use super::answer::{self, Answer};
use super::call::Call;
use crate::error::Failure;
use crate::work::Unit;
use axum::http::StatusCode;
use hotread_proto::http::{ServerStatus, TableStatus};
use hotread_proto::{Code, Role, TableInfo};

/// Maximum number of sessions at risk that are listed, the oldest first; all are counted.
const MAX_AT_RISK: usize = 100;

/// `GET /healthz`: the process answers.
pub(super) async fn health(_call: Call) -> Answer {
    Ok(answer::done())
}

/// `GET /readyz`: the server accepts writes, and is not about to stop.
pub(super) async fn ready(call: Call) -> Answer {
    let state = &call.state;
    state.check_running()?;
    let halted = state.blocking(Unit::own(), |store| store.stats().halted);
    if halted.await?.is_some() {
        // The reason is for callers that may see /v1/status.
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

/// `GET /v1/status`: the tables that the caller may read, and the sessions that follow them.
pub(super) async fn status(call: Call) -> Answer {
    let (state, caller) = (&call.state, call.caller.clone());
    // Listed before the tables, so that no session is ahead of its table.
    let mut sessions = state.sessions.list();
    sessions.retain(|session| caller.has_on(&session.table, Role::Read));
    let mut at_risk = state.sessions.at_risk();
    at_risk.retain(|session| caller.has_on(&session.table, Role::Read));
    let at_risk_count = at_risk.len();
    at_risk.truncate(MAX_AT_RISK);
    let answer = call.answer(0, move |store| {
        let mut tables = store.tables()?;
        tables.retain(|table| caller.has_on(&table.name, Role::Read));
        for session in &mut sessions {
            let table = tables.iter().find(|table| table.name == session.table);
            let lag = |table: &TableInfo| table.position.seq.saturating_sub(session.acked);
            session.lag = table.map_or(0, lag);
        }
        let tables = tables.into_iter().map(|table| TableStatus {
            epoch: table.position.epoch,
            head: table.position.seq,
            floor: table.floor,
            records: table.records,
            sessions: sessions.iter().filter(|it| it.table == table.name).count(),
            name: table.name,
        });
        Ok(ServerStatus {
            tables: tables.collect(),
            sessions,
            at_risk,
            at_risk_count,
            store: caller.has_on_all(Role::Read).then(|| store.stats()),
        })
    });
    answer.await
}
