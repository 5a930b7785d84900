//! Effects of callers who ask for as much as they can, on other callers and on the server's memory; compared
//! with an earlier state of the server, if one is given.
//!
//! It is what the bench target `abuse` does. Unlike the other figures from end to end, these start the
//! built command `hotread serve`, with the settings that it has by default (`server`): an earlier
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

use tokio::runtime::Runtime;

use self::server::State;
use super::process;
use super::system::Failure;
use crate::options::Options;
use crate::report::{About, Figure, Machine};
use crate::rounds::Plan;
use crate::store::data;
use crate::target::{self, Entry};

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
pub const ALL: [Entry; 6] = [
    Entry {
        id: "abuse-others",
        asks: "reads and puts of other tables, and memory, during five attacks",
        run: others::run,
    },
    Entry {
        id: "abuse-ttl",
        asks: "records of a table that is written faster than a second of its life takes",
        run: ttl::run,
    },
    Entry {
        id: "abuse-tables",
        asks: "threads and memory after 2,000 tables were followed once",
        run: tables::run,
    },
    Entry {
        id: "abuse-cut-off",
        asks: "replicas that miss more than the history, while the table goes on changing",
        run: cut_off::run,
    },
    Entry {
        id: "abuse-replace",
        asks: "memory of a replacement that changes every value",
        run: replace::run,
    },
    Entry {
        id: "abuse-expiry",
        asks: "from one moment of expiry until the records are gone, and puts meanwhile",
        run: expiry::run,
    },
];

/// Default of `max_buffered_bytes`, of both states.
const MAX_BUFFERED: f64 = (1_u64 << 30) as f64;
/// Memory that a server may take in addition to its tables, in bytes: `max_buffered_bytes` and a quarter more.
const MAY_GROW: f64 = MAX_BUFFERED * 1.25;
/// Memory that may stay a minute after an attack: the caches of SQLite's writer and readers, which are filled
/// meanwhile, and the recent changes of followed tables.
const MAY_STAY: f64 = (128_u64 << 20) as f64;
/// The most that the 99th percentile of puts to other tables may be, in milliseconds.
const PUTS_MS: f64 = 250.0;

fn rules(machine: &Machine) -> String {
    format!(
        "\
- The server is the built command `hotread serve` in a process of its own, with its settings by default, `synchronous = FULL` included; rows of an earlier state are measured in the same run, by the program that `--before` names. Each measurement starts a new server, with a database that its own command made, all on the same {}.
- Attackers, honest callers and the server share {} cores. Attackers are processes with a lower priority (`nice 10`), as if they were on other machines: the server's time is what they are to take, not that of honest callers. They come from one address, honest callers from another one. After an answer, an attacker asks again at once.
- Honest callers ask at a steady rate. A request that comes late because the one before it took long counts from when it was due. A request that is refused counts as one that took the whole measurement, and one without an answer at its end as one that took until then.
- Memory is anonymous resident memory of the server's process, looked at every 20 ms. Cells are of one measurement, not medians of several.
",
        data::file_system(target::folder()),
        machine.cores,
    )
}

/// Runs the bench target: as a child in another role, or what the command line asks for.
///
/// # Errors
/// What is wrong with the command line, that a server's program is not there, or why the report cannot be
/// written.
pub fn run() -> Result<(), String> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if let Some(done) = super::in_role(&arguments) {
        return done;
    }
    let options = Options::parse(arguments)?;
    let named = |figure: &Entry| options.only.iter().any(|only| only == figure.id);
    let measures = options.only.is_empty() || ALL.iter().any(named);
    if options.bench && !options.list && measures {
        process::raise_open_files();
        server::choose(options.server.clone(), options.before.clone())?;
    }
    target::run_as(&ABOUT, &ALL, &options)
}

/// Measures all figures at sizes that only show that they can be measured, with a server's program, and
/// one that takes the [roles](super::in_role).
///
/// # Errors
/// If there is no such server.
pub fn tiny(server: PathBuf, roles: PathBuf) -> Result<Vec<Figure>, String> {
    process::raise_open_files();
    process::set_program(roles);
    server::choose(Some(server), None)?;
    let plan = Plan {
        quick: true,
        scratch: std::rc::Rc::default(),
    };
    Ok(ALL.iter().map(|figure| (figure.run)(&plan)).collect())
}

/// A runtime whose tasks go on while the thread that measures does something else.
fn runtime() -> Runtime {
    let mut builder = tokio::runtime::Builder::new_multi_thread();
    let runtime = builder.worker_threads(1).enable_all().build();
    runtime.expect("the system has an event queue and a thread to give")
}

/// Names of rows, of both states.
type Names = [&'static str; 2];

/// The rows of a figure with one row a state.
const STATES: Names = ["HotRead", "HotRead, before"];

fn name(names: Names, state: State) -> &'static str {
    names[usize::from(state == State::Before)]
}
