//! Five attacks, each by itself and all together: the durations of reads and puts of other tables meanwhile,
//! and the server's memory, at most and a minute later.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::fs;
use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use tokio::runtime::Runtime;

use super::super::log::Log;
use super::api::Api;
use super::attack::{Attackers, FOLLOWED, Kind, LARGE, REPLACED, SEARCHED, WORDS};
use super::server::{Server, State};
use super::session::{Session, TEXT};
use super::{MAY_STAY, PUTS_MS, honest, may_grow, runtime};
use crate::process::Repeat;
use crate::report::{Figure, Goal};
use crate::rounds::{Rounds, Unit, columns};
use crate::stats::percentile;
use crate::store::data;
use crate::store::scratch::{Database, Plan};

/// Time for which honest callers are measured before an attack, and during it.
const QUIET: Duration = Duration::from_secs(2);
const ATTACKED: Duration = Duration::from_secs(6);
/// Time of an attack before the measurement, until it is at work.
const BEGINS: Duration = Duration::from_millis(500);
/// Time in which a server must end its work after its attackers are gone.
const ENDS: Duration = Duration::from_secs(3);
/// Time after an attack at which memory is compared with that before it.
const LATER: Duration = Duration::from_secs(60);
/// Time that reads may take in addition to twice their quiet time, in milliseconds.
const READS_MS: f64 = 20.0;

/// A row of the table, simultaneous attacks, and `true` if they need the large tables.
type Attack = (&'static str, &'static [Kind], bool);

/// Attacks whose work an earlier state does not end by itself are last: no measurement follows them.
const ATTACKS: [Attack; 6] = [
    ("a replacement of 250 MiB", &[Kind::Replacement], false),
    ("1,900 sessions that do not read", &[Kind::Sessions], false),
    ("16 readers of a change of 240 MB", &[Kind::Changes], true),
    (SCHEMA, &[Kind::Schema], false),
    ("24 worst searches", &[Kind::Searches], true),
    ("all together", &Kind::ALL, true),
];
const SCHEMA: &str = "16 puts under a schema that explodes";

const COLUMNS: [(Unit, &[&str]); 3] = [
    (
        Unit::Ns,
        &[
            "reads p99, quiet",
            "attacked",
            "puts p99, quiet",
            "attacked",
            "bare fsync p99",
        ],
    ),
    (Unit::Count, &["not served"]),
    (
        Unit::Bytes,
        &["memory before", "growth at most", "growth a minute later"],
    ),
];
const QUIET_READS: usize = 0;
const READS: usize = 1;
const PUTS: usize = 3;
const GROWTH: usize = 7;
const STAYS: usize = 8;

pub(super) fn run(plan: &Plan) -> Figure {
    let (runtime, mut notes) = (runtime(), Vec::new());
    let mut rounds = Rounds::new("Other tables, and memory", columns(&COLUMNS));
    let mut left = Vec::new();
    for state in State::all() {
        let bases = Bases::make(plan, state);
        let attacks = ATTACKS.iter();
        left.extend(attacks.map(|attack| bases.measure(plan, &runtime, attack)));
    }
    for mut left in left {
        left.finish(plan.pick(LATER, Duration::from_secs(1)));
        let mut note = format!("{}: {}.", left.name, left.answers);
        for (what, times) in &left.failed {
            note += &format!(" Honest requests: {what}: {times}.");
        }
        notes.push(note);
        rounds.add(left.name, 0, move || left.row.clone());
    }
    let all = rounds.run(1);
    let mut goals = Vec::new();
    for (name, ..) in &ATTACKS {
        let of = |column| all.median(name, column);
        let goal = |what, target, column, unit| {
            let what = format!("{name}: {what}");
            Goal::at_most(what, target, of(column) / 1e6).in_unit(unit)
        };
        let reads = "p99 of reads, 20 ms + twice the quiet one";
        let reads_ms = READS_MS + 2.0 * of(QUIET_READS) / 1e6;
        let grows = format!("{name}: growth of memory, max_buffered_bytes + 25 %");
        let (stays, stays_mb) = ("growth of memory a minute later", (MAY_STAY / 1e6).round());
        goals.extend([
            goal(reads, reads_ms, READS, "ms"),
            goal("p99 of puts", PUTS_MS, PUTS, "ms"),
            may_grow(grows, of(GROWTH)),
            goal(stays, stays_mb, STAYS, "MB"),
        ]);
    }
    Figure::new(
        "Callers next to attackers",
        format!(
            "A table of {} records, which a session follows, is read 200 times and written 50 \
             times a second, by 2 callers each; {QUIET:?} quietly, then {ATTACKED:?} during an \
             attack. Attacks: 24 callers search a table of 1,000,000 records for `w*` 32 times, or \
             for 32 different words that are all in each record; 16 put `1` into a table whose \
             schema doubles its work at each of 45 levels (or try to make that table); one \
             replaces a table by 250 MiB of records `{{\"key\":\"0\",\"value\":1}}`; 16 read a \
             change of 240 records of 1 MB; 1,900 sessions of a table of 100,000 records ping \
             twice a second and read nothing. *Not served* counts honest requests that were \
             refused or had no answer at the end. *Bare fsync* is a thread that writes and syncs a \
             page 25 times a second meanwhile. Growth is the growth of anonymous resident memory \
             since before the attack, when the memory for loading is still included; a server that \
             still works on the attack {ENDS:?} after its callers are gone has no value a \
             minute later.",
            honest::RECORDS
        ),
    )
    .goals(goals)
    .notes(notes)
    .tables([all])
}

/// Databases of one state to start from.
struct Bases {
    state: State,
    small: PathBuf,
    large: PathBuf,
}

/// Prepares the attackers of a kind.
fn attackers(plan: &Plan, kind: Kind, server: &Server) -> Attackers {
    let callers = match kind {
        Kind::Searches => plan.pick(24, 4),
        Kind::Schema | Kind::Changes => plan.pick(16, 4),
        Kind::Replacement => 1,
        Kind::Sessions => plan.pick(1_900, 20),
    };
    let bytes = plan.pick(250 << 20, 1 << 20);
    Attackers::prepare(kind, server.address, callers, bytes)
}

impl Bases {
    fn make(plan: &Plan, state: State) -> Self {
        let file = |name: &str| {
            let own = name.replace('.', &format!("-{state:?}."));
            plan.scratch.file(&own)
        };
        let (small, lines) = (file("small.db"), file("lines.ndjson"));
        let written = |written: io::Result<u64>| written.expect("the disk takes it");
        written(data::write_ndjson(&lines, honest::RECORDS));
        state.fill(&small, honest::TABLE, &[], &lines);
        written(data::write_ndjson(&lines, plan.pick(100_000, 10_000)));
        state.fill(&small, FOLLOWED, &[], &lines);
        let zero = |n| format!(r#"{{"key":"{n}","value":0}}"#);
        written(data::write_lines(&lines, 1_000, zero));
        state.fill(&small, REPLACED, &[], &lines);

        let large = file("large.db");
        fs::copy(&small, &large).expect("the disk takes it");
        let words = WORDS.join(" ");
        let searched = |n| format!(r#"{{"key":"{n:08}","value":"{words}"}}"#);
        written(data::write_lines(
            &lines,
            plan.pick(1_000_000, 5_000),
            searched,
        ));
        state.fill(&large, SEARCHED, &["--search"], &lines);
        let value = "x".repeat(plan.pick(1_000_000, 10_000));
        let one = |n| format!(r#"{{"key":"{n:08}","value":"{value}"}}"#);
        written(data::write_lines(&lines, 240, one));
        state.fill(&large, LARGE, &[], &lines);
        fs::remove_file(lines).expect("it was just written");
        Self {
            state,
            small,
            large,
        }
    }

    /// Measures an attack on a new server; the memory that it leaves is measured later.
    fn measure(&self, plan: &Plan, runtime: &Runtime, attack: &Attack) -> Left {
        let (name, kinds, large) = attack;
        let name = super::name(name, self.state);
        eprintln!("  {name} …");
        let base = if *large { &self.large } else { &self.small };
        let copy = plan.scratch.copy_of(base);
        let server = self.state.serve(&copy.path);
        let api = Api::new(server.address, honest::FROM);
        for table in [honest::TABLE, FOLLOWED] {
            runtime.spawn(keep(server.address, table));
        }
        let kinds = kinds.iter();
        let mut attackers: Vec<_> = kinds.map(|kind| attackers(plan, *kind, &server)).collect();
        let second = Duration::from_secs(1);
        let quiet = runtime.block_on(honest::measure(&api, plan.pick(QUIET, second)));
        let before = server.memory();
        let looks = server.looks();
        for attackers in &mut attackers {
            attackers.go();
        }
        std::thread::sleep(plan.pick(BEGINS, BEGINS / 10));
        let attacked = honest::measure(&api, plan.pick(ATTACKED, second));
        let disk = disk();
        let attacked = runtime.block_on(attacked);
        let disk = disk.finish();
        let grown = looks.finish().anonymous - before;
        let answers: Vec<_> = attackers.iter_mut().map(Attackers::answers).collect();
        drop(attackers);
        let ended = Instant::now();
        std::thread::sleep(plan.pick(ENDS, ENDS / 20));
        let busy = !plan.quick && server.is_busy();
        Left {
            name,
            answers: answers.join("; "),
            row: vec![
                quiet.reads_p99(),
                attacked.reads_p99(),
                quiet.puts_p99(),
                attacked.puts_p99(),
                percentile(&disk, 99.0),
                attacked.failures() as f64,
                before,
                grown,
            ],
            failed: attacked.failed,
            before,
            ended,
            // A server that still works would slow the next measurement.
            idle: (!busy).then_some((server, copy)),
        }
    }
}

/// Results of an attack, and its server.
struct Left {
    name: String,
    answers: String,
    failed: BTreeMap<String, usize>,
    row: Vec<f64>,
    before: f64,
    ended: Instant,
    idle: Option<(Server, Database)>,
}

impl Left {
    /// Measures the memory at this time after the attack.
    fn finish(&mut self, later: Duration) {
        std::thread::sleep(later.saturating_sub(self.ended.elapsed()));
        let idle = self.idle.take();
        let stays = idle.map_or(f64::NAN, |(server, _)| server.memory() - self.before);
        self.row.push(stays);
    }
}

/// A thread that writes and syncs a page as often as an honest caller puts: the disk's part of a put.
fn disk() -> Repeat<Vec<f64>> {
    let mut log = Log::new().expect("the folder is writable");
    Repeat::start(honest::PUT_EVERY, Vec::new(), move |taken| {
        let start = Instant::now();
        log.append().expect("the disk takes it");
        taken.push(start.elapsed().as_nanos() as f64);
    })
}

/// Follows a table, so that it is in memory, until the server ends.
async fn keep(server: SocketAddr, table: &str) -> io::Result<Infallible> {
    let mut session = Session::open(server, honest::FROM, table).await?;
    session.say(TEXT, r#"{"hello":{"v":1}}"#).await?;
    let (mut n, mut pinged) = (0, Instant::now());
    loop {
        session.hear().await?;
        // A heartbeat arrives at least every two seconds, so this runs often enough.
        if pinged.elapsed() >= Duration::from_secs(1) {
            (n, pinged) = (n + 1, Instant::now());
            let ping = format!(r#"{{"ping":{{"n":{n}}}}}"#);
            session.say(TEXT, &ping).await?;
        }
    }
}
