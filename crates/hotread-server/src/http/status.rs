//! `/v1/status`.

use super::answer::{self, Answer};
use super::call::Call;
use hotread_proto::Role;
use hotread_proto::http::{ServerStatus, TableStatus};

/// Most sessions at risk that are listed, the oldest; all are counted.
const MAX_AT_RISK: usize = 100;

/// `GET /v1/status`: the tables that the caller may read, and who follows them.
pub(super) async fn get(call: Call) -> Answer {
    let unit = call.unit();
    let Call { state, caller, .. } = call;
    // Before the tables, so that none is ahead of its table.
    let mut sessions = state.sessions.list();
    sessions.retain(|session| caller.has_on(&session.table, Role::Read));
    let mut at_risk = state.sessions.at_risk();
    at_risk.retain(|session| caller.has_on(&session.table, Role::Read));
    let at_risk_count = at_risk.len();
    at_risk.truncate(MAX_AT_RISK);
    let budget = state.budgets.of(caller.who());
    let json = state.blocking(unit, move |store| {
        let held = budget.take(0)?;
        let mut tables = Vec::new();
        for table in store.tables()? {
            if !caller.has_on(&table.name, Role::Read) {
                continue;
            }
            let here = sessions
                .iter()
                .filter(|session| session.table == table.name);
            tables.push(TableStatus {
                epoch: table.position.epoch,
                head: table.position.seq,
                floor: table.floor,
                records: table.records,
                sessions: here.count(),
                name: table.name,
            });
        }
        for session in &mut sessions {
            let table = tables.iter().find(|table| table.name == session.table);
            session.lag = table.map_or(0, |table| table.head.saturating_sub(session.acked));
        }
        let store = caller.has_on_all(Role::Read).then(|| store.stats());
        answer::large(
            held,
            &ServerStatus {
                tables,
                sessions,
                at_risk,
                at_risk_count,
                store,
            },
        )
    });
    json.await?.map(answer::encoded)
}
