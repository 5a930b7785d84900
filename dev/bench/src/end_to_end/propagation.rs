//! From a write to the maps of its watchers in other processes, at a steady rate: one writer, and 1,
//! 10, 100 and 1,000 watching sessions in up to ten processes.
//!
//! The clock is the system's monotonic one, which all processes share. A sample begins just before
//! the write call, and in a second table at its answer; it ends when the watcher's map has the
//! value. Each system is compared within its class of promise, and beside the least that its promise
//! takes, measured at the same rate: one fsync (in the class that survives the loss of power) and
//! one round trip by a bare WebSocket.

use std::cell::RefCell;
use std::rc::Rc;
use std::time::Duration;

use tokio::time::{Instant, sleep_until};

use super::echo::Echo;
use super::limits::Log;
use super::peers::JETSTREAM;
use super::samples::{Propagation, Spread, Written};
use super::system::{Class, Failure, System};
use super::watch::Watchers;
use super::{OURS, clock, hotread, row, runtime, skipped};
use crate::report::{Figure, Goal};
use crate::rounds::{Plan, Rounds, Table, Unit};
use crate::target;
use crate::timing::millis;

/// Watching sessions, and writes a second. A write to 1,000 sessions keeps two cores busy for tens
/// of milliseconds; a rate that they cannot follow would measure a queue.
const SIZES: [(usize, u32); 4] = [(1, 250), (10, 250), (100, 50), (1_000, 10)];
/// How long each cell writes in one round, in milliseconds: longer where there is one sample a write.
const MILLIS: [u64; 4] = [3_000, 2_000, 2_000, 2_000];
/// The limit's row, by class.
const FSYNC_AND_TRIP: &str = "bare fsync and WebSocket round trip";
const TRIP: &str = "bare WebSocket round trip";
/// One part of a run in so many does not count.
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
        let part = |title: &str, first: usize, last: usize| {
            let columns = (0..SIZES.len())
                .flat_map(move |size| (first..=last).map(move |column| size * STRIDE + column));
            let columns: Vec<usize> = columns.collect();
            all.pick(format!("{class}: {title}"), columns)
        };
        tables.push(part("from the call of the write", 0, 1));
        tables.push(part("from the call of the write, the slowest", 2, 3));
        tables.push(part("from its acknowledgement", 4, 5));
    }
    let mut notes = vec![
        "From the acknowledgement, a negative number is a value that watchers had before the writer \
         had its answer."
            .into(),
        "Redis's messages reach those who are connected at the moment; a watcher that was away has \
         to read everything anew. The others resume."
            .into(),
    ];
    notes.push(format!(
        "HotRead's samples end when the update is applied to the copy that is published next. For \
         such a state by itself, the call that publishes returns {} later.",
        Unit::Ns.format(hotread::publication())
    ));
    notes.extend(skipped());
    notes.extend(lost.borrow().iter().cloned());
    Figure {
        id: "e2e-propagation",
        title: "Propagation",
        method: format!(
            "One writer puts values of about 100 bytes, one after the other, at a steady rate of {} \
             writes a second to 1, 10, 100 and 1,000 watching sessions; these are in as many \
             processes, ten at most. Each session has a connection and a map of its own, decodes \
             the value and puts it into the map.",
            SIZES.map(|(_, rate)| rate.to_string()).join(", "),
        ),
        goals: goals(&full, &normal),
        notes,
        tables,
    }
}

fn measure(plan: &Plan, class: Class, lost: &Rc<RefCell<Vec<String>>>) -> Table {
    let columns: Vec<(String, Unit)> = SIZES
        .iter()
        .flat_map(|(sessions, _)| {
            [Unit::Ns, Unit::NsAfter].into_iter().flat_map(move |unit| {
                let label = move |name| (format!("{sessions}: {name}"), unit);
                STATISTICS.into_iter().map(label)
            })
        })
        .collect();
    let columns: Vec<_> = columns
        .iter()
        .map(|(name, unit)| (name.as_str(), *unit))
        .collect();
    let mut rounds = Rounds::new(class.name(), &columns);
    let limit = match class {
        Class::Full => FSYNC_AND_TRIP,
        Class::Normal => TRIP,
    };
    for (index, (sessions, rate)) in SIZES.into_iter().enumerate() {
        let time = millis(plan, MILLIS[index], 400);
        for system in System::of(class) {
            let lost = Rc::clone(lost);
            rounds.add(system.name(), index * STRIDE, move || {
                let found = propagate(system, sessions, rate, time);
                if found.missing > 0 {
                    lost.borrow_mut().push(format!(
                        "{} with {sessions} sessions: {} values never arrived, or were folded into \
                         a later state.",
                        system.name(),
                        found.missing
                    ));
                }
                [found.from_call.columns(), found.from_answer.columns()].concat()
            });
        }
        if sessions == 1 {
            rounds.add(limit, index * STRIDE, move || {
                least(class, rate, time).columns().to_vec()
            });
        }
    }
    rounds.run(plan.pick(3, 1))
}

/// Writes at a steady rate to a new server with so many watchers.
fn propagate(system: System, sessions: usize, rate: u32, time: Duration) -> Propagation {
    let updates = (time.as_secs_f64() * f64::from(rate)).ceil().max(2.0) as usize;
    let server = system.start(target::folder());
    let runtime = runtime();
    let writer = runtime
        .block_on(server.writer())
        .expect("the server takes a connection");
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

/// The least that a class takes: an fsync if it promises that, and a round trip.
fn least(class: Class, rate: u32, time: Duration) -> Spread {
    let updates = (time.as_secs_f64() * f64::from(rate)).ceil().max(2.0) as usize;
    let least = async {
        let mut log = Log::new(target::folder())?;
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
        Ok::<_, Failure>(Spread::of(&samples[updates / WARM_UP..]))
    };
    runtime().block_on(least).expect("files and sockets work")
}

/// A steady rate. A tick that was missed is left out.
pub(super) struct Pace {
    next: Instant,
    interval: Duration,
}

impl Pace {
    /// So many ticks a second, from now on.
    pub(super) fn new(rate: u32) -> Self {
        Self {
            next: Instant::now(),
            interval: Duration::from_secs(1) / rate,
        }
    }

    /// Waits for the next tick.
    pub(super) async fn tick(&mut self) {
        self.next = (self.next + self.interval).max(Instant::now());
        sleep_until(self.next).await;
    }
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
            let peers = System::of(class).filter(|system| system.name() != OURS);
            let fastest = peers.min_by(|a, b| {
                let median = |system: &System| table.median(system.name(), column);
                median(a).total_cmp(&median(b))
            });
            let Some(fastest) = fastest else { continue };
            let name = fastest.name();
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
