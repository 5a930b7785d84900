//! A replacement that changes every value: the memory of its caller, of the server, and of a replica.

use std::path::Path;
use std::time::{Duration, Instant};

use super::super::load;
use super::server::{LOOK_EVERY, State, text};
use super::{may_grow, name, runtime};
use crate::process::Failure;
use crate::report::Figure;
use crate::rounds::{Rounds, Unit, columns};
use crate::store::data;
use crate::store::scratch::Plan;

/// The table that a replica of the benchmarks follows.
const TABLE: &str = "accounts";
/// Longest wait for the replica to get the change.
const PATIENCE: Duration = Duration::from_secs(60);
const COLUMNS: [(Unit, &[&str]); 2] = [
    (Unit::Ns, &["took"]),
    (
        Unit::Bytes,
        &[
            "command at most",
            "server before",
            "growth at most",
            "replica before",
            "replica at most",
        ],
    ),
];
const GROWTH: usize = 3;
const FILE: &str = "in a file, 1,000,000 records";
const SERVED: &str = "through a server, 100,000 records";
const LARGE: &str = "through a server, 1,000,000 records";

pub(super) fn run(plan: &Plan) -> Figure {
    let mut rounds = Rounds::new("A replacement of every value", columns(&COLUMNS));
    let mut notes = Vec::new();
    let all = plan.pick(1_000_000, 1_000);
    for state in State::all() {
        for (row, measured) in [
            (FILE, in_file(plan, state, all)),
            (SERVED, served(plan, state, all / 10)),
            (LARGE, served(plan, state, all)),
        ] {
            let (name, (cells, said)) = (name(row, state), measured);
            notes.extend(said.map(|said| format!("{name}: {said}")));
            rounds.add(name, 0, move || cells.clone());
        }
    }
    let table = rounds.run(1);
    Figure::new(
        "A replacement of every value",
        "`hotread import --replace` of a file in which each value is different (about 100 bytes), \
         into a database file, and through a server with a replica (`hotread-client`, a \
         `HashMap`, always of this state) in a process of its own. Sizes are the maximum of a \
         process's anonymous resident memory.",
    )
    .goals([SERVED, LARGE].map(|row| {
        let what = format!("{row}: growth of the server, max_buffered_bytes + 25 %");
        may_grow(what, table.median(row, GROWTH))
    }))
    .notes(notes)
    .tables([table])
}

/// Prepares a database with a table, and a file in which each of its values is different.
fn prepare(
    state: State,
    folder: &Path,
    records: usize,
) -> (std::path::PathBuf, std::path::PathBuf) {
    let (database, lines) = (folder.join("replace.db"), folder.join("lines.ndjson"));
    let written = data::write_ndjson(&lines, records);
    written.expect("the disk takes it");
    state.fill(&database, TABLE, &[], &lines);
    let text = std::fs::read_to_string(&lines).expect("it was just written");
    // Of the same length.
    let text = text.replace(r#""plan":"team""#, r#""plan":"solo""#);
    std::fs::write(&lines, text).expect("the disk takes it");
    (database, lines)
}

/// A row, and the command's error if it failed.
type Measured = (Vec<f64>, Option<String>);

fn in_file(plan: &Plan, state: State, records: usize) -> Measured {
    let folder = plan.scratch.folder();
    let (database, lines) = prepare(state, folder.path(), records);
    let import = [
        "--db",
        text(&database),
        "import",
        TABLE,
        text(&lines),
        "--replace",
    ];
    match state.hotread(import) {
        Ok((most, took)) => (vec![took, most], None),
        Err(said) => (Vec::new(), Some(said)),
    }
}

fn served(plan: &Plan, state: State, records: usize) -> Measured {
    let folder = plan.scratch.folder();
    let (database, lines) = prepare(state, folder.path(), records);
    let server = state.serve(&database);
    let mut replica = load::replica_of(&server.url(), records);
    let replica_before = replica.process().status().anonymous;
    let before = server.memory();
    let (looks, of_replica) = (server.looks(), replica.process().most(LOOK_EVERY));
    let url = server.url();
    let import = ["--url", &url, "import", TABLE, text(&lines), "--replace"];
    let (mut row, said) = match state.hotread(import) {
        Ok((most, took)) => (vec![took, most], None),
        Err(said) => (vec![f64::NAN, f64::NAN], Some(said)),
    };
    wait_for_replica(&server.url());
    row.extend([
        before,
        looks.finish().anonymous - before,
        replica_before,
        of_replica.finish().anonymous,
    ]);
    (row, said)
}

/// Waits until the only session has acknowledged the table's head.
fn wait_for_replica(url: &str) {
    #[derive(serde::Deserialize)]
    struct Status {
        tables: Vec<Table>,
        sessions: Vec<Session>,
    }
    #[derive(serde::Deserialize)]
    struct Table {
        head: u64,
    }
    #[derive(serde::Deserialize)]
    struct Session {
        acked: u64,
    }
    let (start, runtime) = (Instant::now(), runtime());
    while start.elapsed() < PATIENCE {
        let status = async {
            let answer = reqwest::get(format!("{url}/v1/status")).await?;
            Ok::<Status, Failure>(serde_json::from_slice(&answer.bytes().await?)?)
        };
        let is_there = runtime.block_on(status).is_ok_and(|status| {
            let heads = status.tables.iter().map(|table| table.head).max();
            let acked = status.sessions.iter().map(|session| session.acked).max();
            acked >= heads
        });
        if is_there {
            return;
        }
        std::thread::sleep(Duration::from_millis(50));
    }
}
