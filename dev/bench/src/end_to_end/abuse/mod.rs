//! Effects of callers that request as much as they can, on other callers and on the server's memory; compared
//! with an earlier state of the server, if one is given.
//!
//! This is the bench target `abuse`. Unlike the other figures from end to end, these start the
//! built command `hotread serve`, with its default settings (`server`): an earlier
//! state is another program. Attackers (`attack`) and sessions that are cut off (`sessions`) are roles of this
//! program, in processes of their own; the honest callers (`honest`) run in the process that measures.

mod api;
mod attack;
mod cut_off;
mod expiry;
mod honest;
mod others;
mod paced;
mod replace;
mod server;
mod session;
mod sessions;
mod tables;
mod ttl;

use std::path::PathBuf;

use hotread_server::raise_file_limit;
use tokio::runtime::Runtime;

use self::server::State;
use super::{Entry, OURS};
use crate::options::Options;
use crate::process;
use crate::report::{About, Figure, Goal, Machine};
use crate::rounds::{Rounds, Table, Unit};
use crate::store::scratch::{self, Plan};
use crate::target::{self, entries};

/// The role of attackers.
pub(super) const ATTACK: &str = "attack";
/// The role of sessions that can be cut off.
pub(super) const REPLICAS: &str = "replicas";
pub(super) use self::attack::main as attack;
pub(super) use self::sessions::main as replicas;

/// The report of these figures.
pub const ABOUT: About = About {
    name: "abuse",
    title: "HotRead under abuse",
    command: "cargo bench -p hotread-bench --bench abuse -- --before PATH",
    profile: "servers as they were built, the profile `dist` unless a path says otherwise",
    rules,
};

/// The figures of abuse, in the order of the report.
pub const ALL: [Entry; 6] = entries![
    "abuse-others" => others: "reads and puts of other tables, and memory, during five attacks",
    "abuse-ttl" => ttl: "number of records of a table that expire as fast as they are written",
    "abuse-tables" => tables: "threads and memory after 2,000 tables were followed once",
    "abuse-cut-off" => cut_off: "replicas that miss more than the history, while the table keeps changing",
    "abuse-replace" => replace: "memory of a replacement that changes every value",
    "abuse-expiry" => expiry: "from one moment of expiry until the records are gone, and puts meanwhile",
];

/// Default of `max_buffered_bytes`, of both states.
const MAX_BUFFERED: f64 = (1_u64 << 30) as f64;
/// Memory that a server may take in addition to its tables, in bytes: 1.25 times `max_buffered_bytes`.
const MAY_GROW: f64 = MAX_BUFFERED * 1.25;
/// Memory that may stay a minute after an attack: the caches of SQLite's writer and readers, which the attack
/// fills, and the recent changes of followed tables.
const MAY_STAY: f64 = (128_u64 << 20) as f64;
/// Goal for the 99th percentile of puts to other tables, in milliseconds.
const PUTS_MS: f64 = 250.0;

fn rules(machine: &Machine) -> String {
    format!(
        "\
- The server is the built command `hotread serve` in a process of its own, with its default settings, including `synchronous = FULL`; rows of an earlier state are measured in the same run, by the program that `--before` names. Each measurement starts a new server, with a database that its own command made, all on the same {}.
- Attackers, honest callers and the server share {} cores. Attackers are processes with a lower priority (`nice 10`), as if they were on other machines: attackers are to take the server's time, not that of honest callers. Attackers use one address, honest callers another one. After an answer, an attacker sends the next request at once.
- Honest callers send requests at a steady rate. A request that is late because the previous one took long counts from the time at which it was due. A refused request counts as one that took the whole measurement, and one without an answer at the end as one that took until then.
- Memory is anonymous resident memory of the server's process, sampled every 20 ms. Cells are of one measurement, not medians of several.
",
        scratch::file_system(target::folder()),
        machine.cores,
    )
}

/// Runs the bench target: as a child in another role, or the figures that the command line selects from the
/// known ones.
///
/// # Errors
/// If the command line is wrong, a server's program is missing, or the report cannot be
/// written.
pub fn run(known: &[&str]) -> Result<(), String> {
    if let Some((role, arguments)) = process::role() {
        return super::take_role(&role, &arguments);
    }
    let options = Options::of_program()?;
    let measures = ALL.iter().any(|figure| options.wants(figure.id));
    if options.bench && !options.list && measures {
        raise_file_limit();
        server::choose(options.server.clone(), options.before.clone())?;
    }
    target::run(&ABOUT, &ALL, known, &options)
}

/// Measures all figures at sizes that only show that they work, with a server's program, and
/// a program that takes the roles of child processes.
///
/// # Errors
/// If there is no such server.
pub fn tiny(server: PathBuf, roles: PathBuf) -> Result<Vec<Figure>, String> {
    raise_file_limit();
    process::set_program(roles);
    server::choose(Some(server), None)?;
    let plan = Plan {
        quick: true,
        ..Plan::default()
    };
    Ok(ALL.iter().map(|figure| figure.measure(&plan)).collect())
}

/// A runtime whose tasks run independently of the measuring thread.
fn runtime() -> Runtime {
    let mut builder = tokio::runtime::Builder::new_multi_thread();
    let runtime = builder.worker_threads(1).enable_all().build();
    runtime.expect("the system has an event queue and a thread to give")
}

/// Name of the row of a state.
fn name(row: &str, state: State) -> String {
    match state {
        State::Now => row.to_owned(),
        State::Before => format!("{row}, before"),
    }
}

/// A table with one row for each state, measured once.
fn of_states(
    title: &str,
    columns: impl IntoIterator<Item = (&'static str, Unit)>,
    mut measure: impl FnMut(State) -> Vec<f64>,
) -> Table {
    let mut rounds = Rounds::new(title, columns);
    for state in State::all() {
        let row = measure(state);
        rounds.add(name(OURS, state), 0, move || row.clone());
    }
    rounds.run(1)
}

/// The goal for the growth of a server's memory, in MB.
fn may_grow(what: impl Into<String>, bytes: f64) -> Goal {
    Goal::at_most(what, (MAY_GROW / 1e6).round(), bytes / 1e6).in_unit("MB")
}
