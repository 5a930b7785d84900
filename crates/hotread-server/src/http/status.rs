//! `/v1/status`.

use super::answer::Answer;
use super::call::Call;
use hotread_proto::http::{ServerStatus, TableStatus};
use hotread_proto::{Role, TableInfo};

/// Most sessions at risk that are listed, the oldest; all are counted.
const MAX_AT_RISK: usize = 100;

/// `GET /v1/status`: the tables that the caller may read, and who follows them.
pub(super) async fn get(call: Call) -> Answer {
    let (state, caller) = (&call.state, call.caller.clone());
    // Before the tables, so that none is ahead of its table.
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
