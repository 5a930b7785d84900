//! Replicas that are cut off for longer than the history lasts, while the table keeps changing: the number of
//! loads of each, the time until all are live, and the server's memory for that.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use super::api::Api;
use super::honest;
use super::paced::Paced;
use super::server::State;
use super::sessions::Sessions;
use super::{OURS, may_grow, of_states, runtime};
use crate::report::{Figure, Goal};
use crate::rounds::{Unit, columns};
use crate::store::data;
use crate::store::scratch::Plan;

const TABLE: &str = "accounts";
/// Transactions a second, of one record each, and the number of their callers.
const RATE: u32 = 2_000;
const WRITERS: u64 = 16;
/// Time for which the replicas follow before they are cut off, and time without connections.
const LIVE: Duration = Duration::from_secs(5);
const CUT: Duration = Duration::from_secs(20);
/// Longest wait for all to be live.
const PATIENCE: Duration = Duration::from_secs(90);
/// Goal for the time until all are live again, in seconds.
const GOAL_S: f64 = 60.0;
const COLUMNS: [(Unit, &[&str]); 4] = [
    (Unit::PerSecond, &["transactions"]),
    (Unit::Ns, &["live again: p50", "the last"]),
    (Unit::Count, &["live", "loads", "of one at most"]),
    (
        Unit::Bytes,
        &["memory before", "growth while cut off", "growth at most"],
    ),
];

pub(super) fn run(plan: &Plan) -> Figure {
    let records = plan.pick(1_000_000, 2_000);
    let sessions = plan.pick(200, 5);
    let all = of_states("Cut off", columns(&COLUMNS), |state| {
        measure(plan, state, records, sessions)
    });
    let ours = |column| all.median(OURS, column);
    let last = format!("until the last of {sessions} is live");
    let growth = "growth of the server's memory, max_buffered_bytes + 25 %";
    Figure::new(
        "Replicas that are cut off",
        format!(
            "{sessions} sessions follow a table of {records} records, to which {WRITERS} callers \
             send {RATE} transactions a second. After {LIVE:?} their connections are \
             dropped and new ones are refused for {CUT:?}: more transactions than the history \
             keeps. Sessions are in one process, from 20 addresses, and act like replicas, except \
             that they neither keep the records nor check their hashes: they begin at the table's \
             position, as if they had it on disk, check their position, acknowledge, ping, and \
             reconnect by the rules of the protocol. A session is live once it has everything that \
             was acknowledged before a ping that it sent after it may reconnect. The wait is \
             {PATIENCE:?} at most.",
        ),
    )
    .goals([
        Goal::at_most("loads of one replica", 1.0, ours(5)).in_unit("loads"),
        Goal::seconds(last, GOAL_S, ours(2)),
        may_grow(growth, ours(8)),
    ])
    .tables([all])
}

fn measure(plan: &Plan, state: State, records: usize, sessions: usize) -> Vec<f64> {
    let folder = plan.scratch.folder();
    let database = folder.path().join("cut-off.db");
    let lines = folder.path().join("lines.ndjson");
    data::write_ndjson(&lines, records).expect("the disk takes it");
    state.fill(&database, TABLE, &[], &lines);
    let server = state.serve(&database);
    let runtime = runtime();
    let api = Api::new(server.address, honest::FROM);
    let table = runtime.block_on(api.table(TABLE));
    let table = table.expect("the server has its table");
    let mut sessions = Sessions::start(server.address, TABLE, &table, sessions);
    let before = server.memory();

    let seed = Arc::new(AtomicU64::new(0));
    let writers = Paced::start(&runtime, WRITERS, plan.pick(RATE, 100), move |_, _| {
        let (api, seed) = (api.clone(), seed.fetch_add(1, Ordering::Relaxed));
        async move {
            let mut rng = fastrand::Rng::with_seed(seed);
            let key = data::key(rng.usize(..records));
            api.put(TABLE, key.as_str(), &data::json(&mut rng)).await
        }
    });
    let second = Duration::from_secs(1);
    std::thread::sleep(plan.pick(LIVE, second));
    let looks = server.looks();
    sessions.cut();
    std::thread::sleep(plan.pick(CUT, second));
    let away = looks.finish().anonymous;
    let looks = server.looks();
    let back = sessions.reconnect(PATIENCE);
    // A session that loads once more does so soon.
    let rate = writers.rate();
    writers.finish(&runtime);
    vec![
        rate,
        back.p50,
        back.last,
        back.live,
        back.loads,
        back.most_loads,
        before,
        away - before,
        looks.finish().anonymous.max(away) - before,
    ]
}
