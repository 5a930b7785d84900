//! The figures from end to end: HotRead's server and client beside other systems that durably store
//! values and tell watchers of them, in processes of their own on the loopback.
//!
//! It is the bench target `end_to_end`. The program starts itself in other roles (`process`): watchers,
//! and the servers that are not other people's. All processes stamp on one clock (`clock`). What is
//! compared sits behind `system`; how a peer is set up and used is said in its module in `peers`,
//! in builds that have the feature `peers`.

pub mod abuse;
mod clock;
mod echo;
mod hotread;
mod limits;
mod load;
#[cfg_attr(not(feature = "peers"), path = "no_peers.rs")]
mod peers;
mod process;
mod propagation;
mod reads;
mod recovery;
mod row;
mod samples;
mod storm;
mod system;
mod watch;
mod writes;

#[cfg(test)]
mod tests;

use tokio::runtime::Runtime;

use self::system::System;
use crate::options::Options;
use crate::report::{self, About, Machine};
use crate::store::data;
use crate::target::{self, Entry};

/// The report of these figures.
pub const ABOUT: About = About {
    name: "end-to-end",
    title: "HotRead from end to end beside other systems",
    command: "cargo bench -p hotread-bench --bench end_to_end --features peers",
    profile: report::BENCH_PROFILE,
    rules,
};

/// The figures from end to end, in the order of the report.
pub const ALL: [Entry; 7] = [
    Entry {
        id: "e2e-limits",
        asks: "an fsync, and a round trip by a bare WebSocket",
        run: limits::run,
    },
    Entry {
        id: "e2e-propagation",
        asks: "from a write to the maps of 1 to 1,000 watchers",
        run: propagation::run,
    },
    Entry {
        id: "e2e-writes",
        asks: "acknowledged writes a second",
        run: writes::run,
    },
    Entry {
        id: "e2e-load",
        asks: "from nothing to a complete replica, and its memory",
        run: load::run,
    },
    Entry {
        id: "e2e-recovery",
        asks: "from kill -9 of the server to its first answers",
        run: recovery::run,
    },
    Entry {
        id: "e2e-storm",
        asks: "1,000 sessions that have their server back",
        run: storm::run,
    },
    Entry {
        id: "e2e-reads",
        asks: "a replica's read beside a local one",
        run: reads::run,
    },
];

/// HotRead's row.
const OURS: &str = "HotRead";

fn rules(machine: &Machine) -> String {
    format!(
        "\
- Servers, writers and watchers are processes of their own on one machine with {} cores, and speak over the loopback. Stamps are taken on `CLOCK_MONOTONIC`, which all of them share. More processes than cores measure the scheduler as well, of every system alike.
- Systems are compared within their class of promise. FULL: an acknowledged write survives the loss of power: HotRead with `synchronous = FULL`, etcd with its defaults, Redis with `appendfsync always`. NORMAL: it survives the end of the server's process, at best: HotRead with `synchronous = NORMAL`, a key-value bucket of NATS JetStream with its defaults (synced every two minutes), Redis with its defaults (a snapshot now and then).
- {}
- Every measurement starts a new server with new files, all on the same {}.
- Values are JSON of about 100 bytes, which every watcher decodes into the same struct before it is in its map. Watchers and writers run on one thread a process; HotRead's server on tokio's default runtime, as `hotread serve` does, with its limit of requests a second raised.
- Systems are interleaved in rounds that each start with another one. Cells are medians over the rounds; in brackets, the cell divided by HotRead's in the same column. Goals are medians of the ratios within each round.
",
        machine.cores,
        peers::about(),
        data::file_system(target::folder()),
    )
}

/// Runs the bench target: as a child in another role, or what the command line asks for.
///
/// # Errors
/// What is wrong with the command line, or why the report cannot be written.
pub fn run() -> Result<(), String> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if let Some(done) = in_role(&arguments) {
        return done;
    }
    let options = Options::parse(arguments)?;
    if options.bench && !options.list {
        process::raise_open_files();
        for line in skipped() {
            eprintln!("{line}");
        }
    }
    target::run_as(&ABOUT, &ALL, &options)
}

/// Takes the role for which a measurement has started the program with these arguments; `None` if a
/// measurement has not.
pub fn in_role(arguments: &[String]) -> Option<Result<(), String>> {
    let (first, arguments) = arguments.split_first()?;
    (first == process::ROLE).then(|| take_role(arguments))
}

fn take_role(arguments: &[String]) -> Result<(), String> {
    process::raise_open_files();
    let (role, arguments) = arguments.split_first().ok_or("which role?")?;
    let done = match role.as_str() {
        watch::ROLE => watch::main(arguments),
        hotread::ROLE => hotread::main(arguments),
        echo::ROLE => echo::main(),
        load::LOAD => load::main(arguments),
        load::BODY => load::serve_body(arguments),
        abuse::ATTACK => abuse::attack(arguments),
        abuse::REPLICAS => abuse::replicas(arguments),
        _ => Err(format!("there is no role {role}").into()),
    };
    done.map_err(|failure| format!("{role}: {failure}"))
}

/// A runtime of one thread, as every process of a measurement has.
fn runtime() -> Runtime {
    let mut builder = tokio::runtime::Builder::new_current_thread();
    let runtime = builder.enable_all().build();
    runtime.expect("the system has an event queue to give")
}

/// A line for each peer that is not installed.
fn skipped() -> impl Iterator<Item = String> {
    System::all().filter_map(|system| {
        let program = system.missing()?;
        Some(format!(
            "{} is left out: `{program}` is not installed.",
            system.name()
        ))
    })
}
