//! The figures from end to end: HotRead's server and client compared with other systems that durably store
//! values and notify watchers, in processes of their own on the loopback.
//!
//! This is the bench target `end_to_end`. The program starts itself in other roles: watchers,
//! and its own servers. All processes stamp on one clock (`clock`). The compared systems
//! implement `system`; the module of a peer in `peers`, in builds with the feature `peers`, describes its
//! setup and use.

pub mod abuse;
mod clock;
mod echo;
mod hotread;
mod limits;
mod load;
mod log;
mod pace;
#[cfg_attr(not(feature = "peers"), path = "no_peers.rs")]
mod peers;
mod propagation;
mod reads;
mod recovery;
mod row;
mod samples;
mod storm;
mod system;
mod tls;
mod watch;
mod writes;

#[cfg(test)]
mod tests;

use hotread_server::raise_file_limit;
use tokio::runtime::Runtime;
use tokio::sync::mpsc;

use self::system::{Class, System};
use crate::options::Options;
use crate::process::{self, play};
use crate::report::{self, About, Machine};
use crate::store::scratch;
use crate::target::{self, entries};

type Entry = target::Entry<scratch::Files>;

/// The report of these figures.
pub const ABOUT: About = About {
    name: "end-to-end",
    title: "HotRead from end to end, compared with other systems",
    command: "cargo bench -p hotread-bench --bench end_to_end --features peers",
    profile: report::BENCH_PROFILE,
    rules,
};

/// The figures from end to end, in the order of the report.
pub const ALL: [Entry; 8] = entries![
    "e2e-limits" => limits: "an fsync, and a round trip by a bare WebSocket",
    "e2e-propagation" => propagation: "from a write to the maps of 1 to 1,000 watchers",
    "e2e-writes" => writes: "acknowledged writes a second",
    "e2e-load" => load: "from nothing to a complete replica, and its memory",
    "e2e-recovery" => recovery: "from kill -9 of the server to its first answers",
    "e2e-storm" => storm: "1,000 sessions after their server returns",
    "e2e-reads" => reads: "a replica's read compared with a local one",
    "e2e-tls" => tls: "propagation and a first call with TLS, compared with plaintext",
];

/// HotRead's row.
const OURS: &str = "HotRead";

fn rules(machine: &Machine) -> String {
    format!(
        "\
- Servers, writers and watchers are processes of their own on one machine with {} cores, and speak over the loopback. Stamps are taken on `CLOCK_MONOTONIC`, which all of them share. More processes than cores measure the scheduler as well, of every system alike.
- Systems are compared within their class of promise. FULL: an acknowledged write survives a power failure: HotRead with `synchronous = FULL`, etcd with its defaults, Redis with `appendfsync always`. NORMAL: it survives a crash of the server's process, at best: HotRead with `synchronous = NORMAL`, a key-value bucket of NATS JetStream with its defaults (synced every two minutes), Redis with its defaults (an occasional snapshot).
- {}
- Every measurement starts a new server with new files, all on the same {}.
- Values are JSON of about 100 bytes, which every watcher decodes into the same struct before putting it into its map. Watchers and writers run on one thread a process; HotRead's server on tokio's default runtime, as `hotread serve` does, with its limit of requests a second raised.
- Systems are interleaved in rounds that each start with another one. Cells are medians over the rounds; in brackets, the cell divided by HotRead's in the same column. Goals are medians of the ratios within each round.
",
        machine.cores,
        peers::about(),
        scratch::file_system(target::folder()),
    )
}

/// Runs the bench target: as a child in another role, or the figures that the command line selects from the
/// known ones.
///
/// # Errors
/// If the command line is wrong, or the report cannot be written.
pub fn run(known: &[&str]) -> Result<(), String> {
    if let Some((role, arguments)) = process::role() {
        return take_role(&role, &arguments);
    }
    let options = Options::of_program()?;
    if options.bench && !options.list {
        raise_file_limit();
        for line in skipped() {
            eprintln!("{line}");
        }
    }
    target::run(&ABOUT, &ALL, known, &options)
}

/// Plays the role for which a measurement has started the program.
///
/// # Errors
/// If there is no such role, or the role's own error.
pub fn take_role(role: &str, arguments: &str) -> Result<(), String> {
    raise_file_limit();
    let done = match role {
        watch::ROLE => play(arguments, watch::main),
        hotread::ROLE => play(arguments, hotread::main),
        echo::ROLE => play(arguments, echo::main),
        load::LOAD => play(arguments, load::main),
        load::BODY => play(arguments, load::serve_body),
        abuse::ATTACK => play(arguments, abuse::attack),
        abuse::REPLICAS => play(arguments, abuse::replicas),
        _ => Err("there is no such role".into()),
    };
    done.map_err(|failure| format!("{role}: {failure}"))
}

/// A runtime of one thread, the same in every process of a measurement.
fn runtime() -> Runtime {
    let mut builder = tokio::runtime::Builder::new_current_thread();
    let runtime = builder.enable_all().build();
    runtime.expect("the system has an event queue to give")
}

/// Lines of the parent.
fn told() -> mpsc::UnboundedReceiver<String> {
    let (say, told) = mpsc::unbounded_channel();
    std::thread::spawn(move || {
        let mut lines = std::io::stdin().lines().map_while(Result::ok);
        while lines.next().is_some_and(|line| say.send(line).is_ok()) {}
    });
    told
}

/// The systems under test, HotRead first.
fn systems() -> impl Iterator<Item = &'static System> {
    [&hotread::FULL, &hotread::NORMAL]
        .into_iter()
        .chain(&peers::ALL)
}

/// The installed systems of one class, HotRead first.
fn systems_of(class: Class) -> impl Iterator<Item = &'static System> {
    systems().filter(move |system| system.class == class && system.missing().is_none())
}

/// The name of the peer of this class with the smallest value.
fn least_of_peers(class: Class, of: impl Fn(&str) -> f64) -> Option<&'static str> {
    let peers = systems_of(class).map(|system| system.name);
    let peers = peers.filter(|name| *name != OURS);
    peers.min_by(|a, b| of(a).total_cmp(&of(b)))
}

/// A line for each peer that is not installed.
fn skipped() -> impl Iterator<Item = String> {
    systems().filter_map(|system| {
        let (name, program) = (system.name, system.missing()?);
        Some(format!("{name} is left out: `{program}` is not installed."))
    })
}
