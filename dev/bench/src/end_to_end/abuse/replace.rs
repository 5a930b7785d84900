//! A replacement that changes every value: the memory of who makes it, of the server, and of a replica.

use std::path::Path;
use std::time::{Duration, Instant};

use super::super::load;
use super::server::State;
use super::{MAY_GROW, Names, name, runtime};
use crate::report::{Figure, Goal};
use crate::rounds::{Plan, Rounds, Unit};
use crate::store::data;

/// The table that a replica of the benchmarks follows.
const TABLE: &str = "accounts";
/// Longest wait for the replica to get the change.
const PATIENCE: Duration = Duration::from_secs(60);
const COLUMNS: [(&str, Unit); 6] = [
    ("took", Unit::Ns),
    ("command at most", Unit::Bytes),
    ("server before", Unit::Bytes),
    ("growth at most", Unit::Bytes),
    ("replica before", Unit::Bytes),
    ("replica at most", Unit::Bytes),
];
const GROWTH: usize = 3;
const FILE: Names = [
    "in a file, 1,000,000 records",
    "in a file, 1,000,000 records, before",
];
const SERVED: Names = [
    "through a server, 100,000 records",
    "through a server, 100,000 records, before",
];
const LARGE: Names = [
    "through a server, 1,000,000 records",
    "through a server, 1,000,000 records, before",
];

pub(super) fn run(plan: &Plan) -> Figure {
    let mut rounds = Rounds::new("A replacement of every value", &COLUMNS);
    let mut notes = Vec::new();
    let all = plan.pick(1_000_000, 1_000);
    for state in State::all() {
        let (row, said) = in_file(plan, state, all);
        notes.extend(said.map(|said| format!("{}: {said}", name(FILE, state))));
        rounds.add(name(FILE, state), 0, move || row.clone());
        for (names, records) in [(SERVED, all / 10), (LARGE, all)] {
            let (row, said) = served(plan, state, records);
            notes.extend(said.map(|said| format!("{}: {said}", name(names, state))));
            rounds.add(name(names, state), 0, move || row.clone());
        }
    }
    let table = rounds.run(1);
    Figure {
        id: "abuse-replace",
        title: "A replacement of every value",
        method: "`hotread import --replace` of a file in which each value is another one (about 100 bytes), \
                 into a database file, and through a server with a replica (`hotread-client`, a `HashMap`, \
                 always of this state) in a process of its own. Sizes are the most anonymous resident \
                 memory that a process had."
            .into(),
        goals: [SERVED[0], LARGE[0]]
            .map(|row| {
                Goal::at_most(
                    format!("{row}: growth of the server, max_buffered_bytes + 25 %"),
                    (MAY_GROW / 1e6).round(),
                    table.median(row, GROWTH) / 1e6,
                )
                .in_unit("MB")
            })
            .into(),
        tables: vec![table],
        notes,
    }
}

/// A database with a table, and a file in which each value of it is another one.
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

/// A row, and what the command said if it failed.
type Measured = (Vec<f64>, Option<String>);

fn in_file(plan: &Plan, state: State, records: usize) -> Measured {
    let folder = tempfile::tempdir_in(plan.scratch.file("")).expect("the folder is writable");
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
    let folder = tempfile::tempdir_in(plan.scratch.file("")).expect("the folder is writable");
    let (database, lines) = prepare(state, folder.path(), records);
    let server = state.serve(&database);
    let mut replica = load::replica_of(&server.url(), records);
    let replica_before = replica.process().memory().anonymous;
    let before = server.memory();
    let (looks, of_replica) = (server.looks(), super::server::Looks::at(replica.process()));
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
            Ok::<Status, super::Failure>(serde_json::from_slice(&answer.bytes().await?)?)
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

fn text(path: &Path) -> &str {
    path.to_str().expect("the folder's name is text")
}
