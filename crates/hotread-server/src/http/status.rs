//! `/v1/status`.

use super::route::Answer;
use super::{Call, answer};
use crate::registry::{AtRisk, SessionInfo};
use hotread_proto::{Epoch, TableName};
use hotread_store::{Role, Stats};
use serde::Serialize;

/// Most sessions at risk that are listed, the oldest; all are counted.
const MAX_AT_RISK: usize = 100;

/// How a table is doing.
#[derive(Serialize)]
struct TableStatus {
    name: TableName,
    epoch: Epoch,
    head: u64,
    floor: u64,
    records: u64,
    /// Replicas that follow it.
    sessions: usize,
}

/// How a replica is doing.
#[derive(Serialize)]
struct SessionStatus {
    #[serde(flatten)]
    session: SessionInfo,
    /// Transactions that it has not acknowledged.
    lag: u64,
}

/// `GET /v1/status`: the tables that the caller may read, and who follows them.
pub(super) async fn get(call: Call) -> Answer {
    #[derive(Serialize)]
    struct Status {
        tables: Vec<TableStatus>,
        sessions: Vec<SessionStatus>,
        /// Sessions whose clients refuse a value of their table, or stand still.
        at_risk: Vec<AtRisk>,
        at_risk_count: usize,
        /// Of all tables together, and so for those who may read all.
        #[serde(skip_serializing_if = "Option::is_none")]
        store: Option<Stats>,
    }
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
        let head = |name: &TableName| tables.iter().find(|table| table.name == *name);
        let with_lag = |session: SessionInfo| SessionStatus {
            lag: head(&session.table).map_or(0, |table| table.head.saturating_sub(session.acked)),
            session,
        };
        let sessions = sessions.into_iter().map(with_lag).collect();
        let store = caller.has_on_all(Role::Read).then(|| store.stats());
        answer::large(
            held,
            &Status {
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
