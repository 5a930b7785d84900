//! From a write to the maps of its watchers in other processes, at a steady rate: one writer, and 1,
//! 10, 100 and 1,000 watching sessions in up to ten processes.
//!
//! The clock is the system's monotonic one, which all processes share. A sample begins just before
//! the write call, and in a second table at its answer; it ends when the watcher's map has the
//! value. Each system is compared within its class of promise, and with the least cost of its promise,
//! measured at the same rate: one fsync (in the class that survives a power failure) and
//! one round trip by a bare WebSocket.

use std::cell::RefCell;
use std::rc::Rc;
use std::time::Duration;

use super::echo::Echo;
use super::log::Log;
use super::pace::Pace;
use super::peers::JETSTREAM;
use super::samples::{PERCENTILES, Propagation, Written};
use super::system::{Class, System};
use super::watch::Watchers;
use super::{OURS, clock, hotread, least_of_peers, row, runtime, skipped, systems_of};
use crate::process::Failure;
use crate::report::{Figure, Goal};
use crate::rounds::{Rounds, Table, Unit};
use crate::stats::percentiles;
use crate::store::scratch::Plan;
use crate::target;

/// Watching sessions, and writes a second. A write to 1,000 sessions keeps two cores busy for tens
/// of milliseconds; a rate that they cannot follow would measure a queue.
const SIZES: [(usize, u32); 4] = [(1, 250), (10, 250), (100, 50), (1_000, 10)];
/// Duration of the writes of each cell in one round, in milliseconds: longer where there is one sample a write.
const MILLIS: [u64; 4] = [3_000, 2_000, 2_000, 2_000];
/// The limit's row, by class.
const FSYNC_AND_TRIP: &str = "bare fsync and WebSocket round trip";
const TRIP: &str = "bare WebSocket round trip";
/// The first of this number of parts of a run does not count.
const WARM_UP: usize = 8;

/// Columns of one size: four percentiles from the call, four from its answer.
const STATISTICS: [&str; 4] = ["p50", "p99", "p99.9", "max"];
const STRIDE: usize = 2 * STATISTICS.len();
const P50: usize = 0;
const P99: usize = 1;

pub(super) fn run(plan: &Plan) -> Figure {
    let lost = Rc::new(RefCell::new(Vec::new()));
    let [full, normal] = [Class::Full, Class::Normal].map(|class| measure(plan, class, &lost));
    let mut tables = Vec::new();
    for (class, all) in [(Class::Full, &full), (Class::Normal, &normal)] {
        let class = class.name();
        for (first, title) in [
            (0, "from the call of the write"),
            (2, "from the call of the write, the slowest"),
            (4, "from its acknowledgement"),
        ] {
            let sizes = 0..SIZES.len();
            let columns = sizes.flat_map(|size| [0, 1].map(|next| size * STRIDE + first + next));
            tables.push(all.pick(format!("{class}: {title}"), columns));
        }
    }
    let mut notes = vec![
        "From the acknowledgement, a negative number means that watchers had the value before the \
         writer had its answer.".into(),
        "Redis's messages reach only watchers that are connected at the moment; a watcher that was \
         away must read everything again. Watchers of the other systems resume.".into(),
    ];
    notes.push(format!(
        "HotRead's samples end when the update is applied to the copy that is published next. For \
         such a state by itself, the call that publishes returns {} later.",
        Unit::Ns.format(hotread::publication())
    ));
    notes.extend(skipped());
    notes.extend(lost.borrow().iter().cloned());
    Figure::new(
        "Propagation",
        format!(
            "One writer puts values of about 100 bytes, one after another, at a steady rate of \
             {} writes a second to 1, 10, 100 and 1,000 watching sessions; these are in as many \
             processes, ten at most. Each session has a connection and a map of its own, decodes \
             the value and puts it into the map.",
            SIZES.map(|(_, rate)| rate.to_string()).join(", "),
        ),
    )
    .goals(goals(&full, &normal))
    .notes(notes)
    .tables(tables)
}

fn measure(plan: &Plan, class: Class, lost: &Rc<RefCell<Vec<String>>>) -> Table {
    let columns = SIZES.iter().flat_map(|(sessions, _)| {
        let labels = STATISTICS.map(|name| format!("{sessions}: {name}"));
        [Unit::Ns, Unit::NsAfter].map(|unit| unit.of(labels.clone()))
    });
    let mut rounds = Rounds::new(class.name(), columns.flatten());
    let limit = match class {
        Class::Full => FSYNC_AND_TRIP,
        Class::Normal => TRIP,
    };
    for (index, (sessions, rate)) in SIZES.into_iter().enumerate() {
        let time = plan.millis(MILLIS[index], 400);
        for system in systems_of(class) {
            let lost = Rc::clone(lost);
            rounds.add(system.name, index * STRIDE, move || {
                let found = propagate(system, sessions, rate, time);
                if found.missing > 0 {
                    lost.borrow_mut().push(format!(
                        "{} with {sessions} sessions: {} values never arrived, or were coalesced \
                         into a later state.",
                        system.name, found.missing
                    ));
                }
                [found.from_call, found.from_answer].concat()
            });
        }
        if sessions == 1 {
            rounds.add(limit, index * STRIDE, move || least(class, rate, time));
        }
    }
    rounds.run(plan.pick(3, 1))
}

/// Writes at a steady rate to a new server with a number of watchers.
pub(super) fn propagate(
    system: &'static System,
    sessions: usize,
    rate: u32,
    time: Duration,
) -> Propagation {
    let updates = (time.as_secs_f64() * f64::from(rate)).ceil().max(2.0) as usize;
    let server = system.start(target::folder());
    let runtime = runtime();
    let writer = runtime.block_on(system.writer(&server.address));
    let writer = writer.expect("the server takes a connection");
    let mut watchers = Watchers::start(system, &server.address, sessions, updates);
    let mut rng = fastrand::Rng::with_seed(17);
    let mut written = Vec::with_capacity(updates);
    runtime.block_on(async {
        let mut next = Pace::new(rate);
        for number in 0..updates as u64 {
            let (key, value) = (row::key(number), row::value(number, &mut rng));
            next.tick().await;
            let called = clock::now();
            let done = writer.put(&key, value).await;
            let acknowledged = clock::now();
            done.expect("the server takes a put");
            written.push(Written {
                called,
                acknowledged,
            });
        }
    });
    let seen = watchers.finish(updates);
    Propagation::of(&written, &seen, updates / WARM_UP)
}

/// The least cost of a class: an fsync if it promises that, and a round trip.
fn least(class: Class, rate: u32, time: Duration) -> Vec<f64> {
    let updates = (time.as_secs_f64() * f64::from(rate)).ceil().max(2.0) as usize;
    let least = async {
        let mut log = Log::new()?;
        let mut echo = Echo::start().await?;
        let mut samples = Vec::with_capacity(updates);
        let mut next = Pace::new(rate);
        for _ in 0..updates {
            next.tick().await;
            let called = clock::now();
            if class == Class::Full {
                log.append()?;
            }
            echo.round_trip().await?;
            samples.push((clock::now() - called) as f64);
        }
        Ok::<_, Failure>(percentiles(&samples[updates / WARM_UP..], PERCENTILES).to_vec())
    };
    runtime().block_on(least).expect("files and sockets work")
}

fn goals(full: &Table, normal: &Table) -> Vec<Goal> {
    let size = |sessions: usize| {
        let index = SIZES.iter().position(|(size, _)| *size == sessions);
        index.expect("it is one of the sizes") * STRIDE
    };
    let (one, hundred) = (size(1) + P50, size(100) + P99);
    let mut goals = vec![
        Goal::at_most(
            "p50 with 1 watching at FULL: HotRead / one fsync and one WebSocket round trip",
            1.5,
            full.ratio((OURS, one), (FSYNC_AND_TRIP, one)),
        ),
        Goal::at_most(
            "p50 with 1 watching at NORMAL: HotRead / JetStream",
            2.0,
            normal.ratio((OURS, one), (JETSTREAM, one)),
        ),
        Goal::at_most(
            "p99 with 100 watching at NORMAL: HotRead / JetStream",
            1.0,
            normal.ratio((OURS, hundred), (JETSTREAM, hundred)),
        ),
    ];
    for (class, table) in [(Class::Full, full), (Class::Normal, normal)] {
        for (sessions, _) in SIZES {
            let column = size(sessions) + P50;
            let median = |peer: &str| table.median(peer, column);
            let Some(name) = least_of_peers(class, median) else {
                continue;
            };
            goals.push(Goal::at_most(
                format!(
                    "p50 with {sessions} watching at {}: HotRead / the fastest peer, {name}",
                    class.name()
                ),
                1.0,
                table.ratio((OURS, column), (name, column)),
            ));
        }
    }
    goals
}
