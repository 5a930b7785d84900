//! Many tables that were followed once: what is left of it in threads and memory.

use std::net::IpAddr;
use std::time::{Duration, Instant};

use tempfile::TempDir;

use super::api::Api;
use super::server::{Most, Server, State};
use super::session::{Heard, Session, TEXT};
use super::{Failure, STATES, honest, name, runtime};
use crate::report::{Figure, Goal};
use crate::rounds::{Plan, Rounds, Unit};

/// Records of a table, and bytes of each value.
const RECORDS: usize = 100;
const VALUE_BYTES: usize = 1_000;
/// Sessions at a time.
const AT_ONCE: usize = 16;
/// Time in which memory has to come back.
const WITHIN: Duration = Duration::from_secs(60);
/// Threads that may be there in addition to those of the first tables: of a server's pool, whose size depends
/// on how many calls happen to meet.
const MORE_THREADS: f64 = 4.0;
/// Of the memory that the tables took, so much may stay, in percent.
const STAYS: f64 = 20.0;
const COLUMNS: [(&str, Unit); 6] = [
    ("threads at first", Unit::Count),
    ("threads at most", Unit::Count),
    ("threads later", Unit::Count),
    ("memory before", Unit::Bytes),
    ("growth at most", Unit::Bytes),
    ("growth a minute later", Unit::Bytes),
];

pub(super) fn run(plan: &Plan) -> Figure {
    let tables = plan.pick(2_000, 40);
    let mut rounds = Rounds::new("Threads and memory", &COLUMNS);
    let followed: Vec<_> = State::all()
        .map(|state| (state, follow(plan, state, tables)))
        .collect();
    for (state, followed) in followed {
        let later = plan.pick(WITHIN, Duration::from_secs(1));
        std::thread::sleep(later.saturating_sub(followed.at.elapsed()));
        let Followed {
            server,
            first,
            most,
            before,
            ..
        } = &followed;
        let row = vec![
            *first,
            most.threads,
            server.threads(),
            *before,
            most.anonymous - before,
            server.memory() - before,
        ];
        rounds.add(name(STATES, state), 0, move || row.clone());
    }
    let all = rounds.run(1);
    let ours = |column| all.median(STATES[0], column);
    Figure {
        id: "abuse-tables",
        title: "Tables that were followed once",
        method: format!(
            "{tables} tables of {RECORDS} records of {VALUE_BYTES} bytes are each followed by a session, \
             {AT_ONCE} at a time, until it has the table; then the session ends. *At first* is after \
             {} tables. A table in memory is let go of half a minute after its last session.",
            2 * AT_ONCE
        ),
        goals: vec![
            Goal::at_most(
                format!("threads at most, those at first + {MORE_THREADS}"),
                ours(0) + MORE_THREADS,
                ours(1),
            )
            .in_unit("threads"),
            Goal::at_most(
                "memory that stays after a minute, of what the tables took",
                STAYS,
                100.0 * ours(5) / ours(4),
            )
            .in_unit("%"),
        ],
        notes: Vec::new(),
        tables: vec![all],
    }
}

/// A server whose tables have been followed.
struct Followed {
    server: Server,
    /// Threads after the first tables.
    first: f64,
    most: Most,
    /// Memory before any table was followed.
    before: f64,
    at: Instant,
    _folder: TempDir,
}

fn follow(plan: &Plan, state: State, tables: usize) -> Followed {
    let folder = tempfile::tempdir_in(plan.scratch.file("")).expect("the folder is writable");
    let server = state.serve(&folder.path().join("tables.db"));
    let runtime = runtime();
    let all = |from: usize, until: usize, what: What| {
        let done = runtime.block_on(each(&server, from, until, what));
        done.expect("a server serves what it is asked for");
    };
    all(0, tables, What::Make);
    let before = server.memory();
    all(0, 2 * AT_ONCE, What::Follow);
    let first = server.threads();
    let looks = server.looks();
    all(2 * AT_ONCE, tables, What::Follow);
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

#[derive(Clone, Copy)]
enum What {
    Make,
    Follow,
}

/// Does it with each of these tables, some at a time.
async fn each(server: &Server, from: usize, until: usize, what: What) -> Result<(), Failure> {
    let (address, mut doing) = (server.address, tokio::task::JoinSet::new());
    let api = Api::new(address, honest::FROM);
    for number in from..until {
        if doing.len() == AT_ONCE
            && let Some(done) = doing.join_next().await
        {
            done??;
        }
        let (api, table) = (api.clone(), format!("table-{number}"));
        doing.spawn(async move {
            match what {
                What::Make => make(&api, &table).await,
                What::Follow => load(address, &table).await,
            }
        });
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
    let answer = api.txn(table, &puts).await?;
    match answer.is_ok() {
        true => Ok(()),
        false => Err(answer.summary().into()),
    }
}

/// One session, until it has the table.
async fn load(server: std::net::SocketAddr, table: &str) -> Result<(), Failure> {
    let from: IpAddr = honest::FROM;
    let mut session = Session::open(server, from, table).await?;
    session.say(TEXT, r#"{"hello":{"v":1}}"#).await?;
    loop {
        if let Heard::Frame(frame) = session.hear().await?
            && let Some(end) = frame.snapshot_end
        {
            // So that the server knows that the history is needed no more.
            let ack = format!(r#"{{"ack":{{"seq":{}}}}}"#, end.at);
            return Ok(session.say(TEXT, &ack).await?);
        }
    }
}
