//! Many tables that were followed once: the threads and memory that remain.

use std::net::SocketAddr;
use std::ops::Range;
use std::time::{Duration, Instant};

use tempfile::TempDir;

use super::api::Api;
use super::server::{Server, State};
use super::session::{Heard, Session, TEXT};
use super::{OURS, honest, of_states, runtime};
use crate::process::{Failure, Status};
use crate::report::{Figure, Goal};
use crate::rounds::{Unit, columns};
use crate::store::scratch::Plan;

/// Records of a table, and bytes of each value.
const RECORDS: usize = 100;
const VALUE_BYTES: usize = 1_000;
/// Sessions at a time.
const AT_ONCE: usize = 16;
/// Time in which memory must be returned.
const WITHIN: Duration = Duration::from_secs(60);
/// Threads that are allowed in addition to those of the first tables: a server's pool grows with the number
/// of simultaneous calls.
const MORE_THREADS: f64 = 4.0;
/// Share of the tables' memory that may stay, in percent.
const STAYS: f64 = 20.0;
const COLUMNS: [(Unit, &[&str]); 2] = [
    (
        Unit::Count,
        &["threads at first", "threads at most", "threads later"],
    ),
    (
        Unit::Bytes,
        &["memory before", "growth at most", "growth a minute later"],
    ),
];

pub(super) fn run(plan: &Plan) -> Figure {
    let tables = plan.pick(2_000, 40);
    let followed: Vec<_> = State::all()
        .map(|state| follow(plan, state, tables))
        .collect();
    let mut followed = followed.into_iter();
    let all = of_states("Threads and memory", columns(&COLUMNS), |_| {
        let followed = followed.next().expect("one a state");
        followed.row(plan.pick(WITHIN, Duration::from_secs(1)))
    });
    let ours = |column| all.median(OURS, column);
    let threads = format!("threads at most, those at first + {MORE_THREADS}");
    let memory = "memory that stays after a minute, of what the tables took";
    Figure::new(
        "Tables that were followed once",
        format!(
            "{tables} tables of {RECORDS} records of {VALUE_BYTES} bytes are each followed by a \
             session, {AT_ONCE} at a time, until it has the table; then the session ends. *At \
             first* is after {} tables. A table in memory is unloaded half a minute after its last \
             session.",
            2 * AT_ONCE
        ),
    )
    .goals([
        Goal::at_most(threads, ours(0) + MORE_THREADS, ours(1)).in_unit("threads"),
        Goal::at_most(memory, STAYS, 100.0 * ours(5) / ours(4)).in_unit("%"),
    ])
    .tables([all])
}

/// A server whose tables have been followed.
struct Followed {
    server: Server,
    /// Threads after the first tables.
    first: f64,
    most: Status,
    /// Memory before any table was followed.
    before: f64,
    at: Instant,
    _folder: TempDir,
}

impl Followed {
    /// Measures the server at this time after the end.
    fn row(&self, later: Duration) -> Vec<f64> {
        std::thread::sleep(later.saturating_sub(self.at.elapsed()));
        vec![
            self.first,
            self.most.threads,
            self.server.threads(),
            self.before,
            self.most.anonymous - self.before,
            self.server.memory() - self.before,
        ]
    }
}

fn follow(plan: &Plan, state: State, tables: usize) -> Followed {
    let folder = plan.scratch.folder();
    let server = state.serve(&folder.path().join("tables.db"));
    let runtime = runtime();
    let make = |api: Api, table: String| async move { make(&api, &table).await };
    let address = server.address;
    let load = |_, table: String| async move { load(address, &table).await };
    let done = "a server serves what it is asked for";
    runtime
        .block_on(each(&server, 0..tables, make))
        .expect(done);
    let before = server.memory();
    let (some, others) = (0..2 * AT_ONCE, 2 * AT_ONCE..tables);
    runtime.block_on(each(&server, some, load)).expect(done);
    let first = server.threads();
    let looks = server.looks();
    runtime.block_on(each(&server, others, load)).expect(done);
    let most = looks.finish();
    Followed {
        server,
        first,
        most,
        before,
        at: Instant::now(),
        _folder: folder,
    }
}

/// Runs an operation for each of these tables, some at a time.
async fn each<F>(
    server: &Server,
    tables: Range<usize>,
    what: impl Fn(Api, String) -> F,
) -> Result<(), Failure>
where
    F: Future<Output = Result<(), Failure>> + Send + 'static,
{
    let api = Api::new(server.address, honest::FROM);
    let mut doing = tokio::task::JoinSet::new();
    for number in tables {
        if doing.len() == AT_ONCE
            && let Some(done) = doing.join_next().await
        {
            done??;
        }
        doing.spawn(what(api.clone(), format!("table-{number}")));
    }
    while let Some(done) = doing.join_next().await {
        done??;
    }
    Ok(())
}

async fn make(api: &Api, table: &str) -> Result<(), Failure> {
    api.create(table).await?;
    let value = "x".repeat(VALUE_BYTES);
    let put = |n| format!(r#"{{"key":"{n}","value":"{value}"}}"#);
    let puts: Vec<_> = (0..RECORDS).map(put).collect();
    api.txn(table, &puts).await?.body()?;
    Ok(())
}

/// One session, until it has the table.
async fn load(server: SocketAddr, table: &str) -> Result<(), Failure> {
    let mut session = Session::open(server, honest::FROM, table).await?;
    session.say(TEXT, r#"{"hello":{"v":1}}"#).await?;
    loop {
        if let Heard::Frame(frame) = session.hear().await?
            && let Some(end) = frame.snapshot_end
        {
            // Releases the history that the server pins for the session.
            let ack = format!(r#"{{"ack":{{"seq":{}}}}}"#, end.at);
            return Ok(session.say(TEXT, &ack).await?);
        }
    }
}
