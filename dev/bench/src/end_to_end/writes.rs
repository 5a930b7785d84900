//! Acknowledged writes a second: one writer that waits for each, 64 writers at once, and one writer
//! of batches of 100; through each system's client, against a server in another process.
//!
//! All writers are tasks of one thread in one process, each with a connection of its own. The limit is bare
//! rusqlite, without a server or clients to wait for: it runs the statements of
//! the store's write path in a loop.

use std::cell::Cell;
use std::rc::Rc;
use std::time::{Duration, Instant};

use fastrand::Rng;
use futures_util::future::join_all;
use hotread_store::Synchronous;

use super::system::{Class, System, Writer};
use super::{OURS, least_of_peers, row, runtime, skipped, systems_of};
use crate::report::{Figure, Goal};
use crate::rounds::{Rounds, Table, Unit};
use crate::store::commits::{self, Setup};
use crate::store::scratch::Plan;
use crate::target;

const WRITERS: usize = 64;
const BATCH: usize = 100;
const BARE: &str = "bare rusqlite";
const GROUPED: &str = "bare rusqlite, 64 a COMMIT";
/// Writers, and puts of a write, of each column.
const SHAPES: [(usize, usize); 3] = [(WRITERS, 1), (1, BATCH), (1, 1)];
const COLUMNS: [&str; 3] = ["64 writers", "batches of 100", "one by one"];

pub(super) fn run(plan: &Plan) -> Figure {
    let full = measure(plan, Class::Full);
    let normal = measure(plan, Class::Normal);
    let of = |table: &Table, column, under| table.ratio((OURS, column), (under, column));
    let notes = vec![
        "JetStream has no transactions here: a batch is 100 puts that are published together and \
         acknowledged one by one. The batches of the other systems become visible at \
         once or not at all."
            .to_owned(),
        format!(
            "HotRead / bare rusqlite at FULL: 64 writers {:.2} × of one by one, {:.2} × of 64 a \
             COMMIT; batches {:.2} ×, one by one {:.2} ×.",
            full.ratio((OURS, 0), (BARE, 2)),
            of(&full, 0, GROUPED),
            of(&full, 1, BARE),
            of(&full, 2, BARE),
        ),
    ];
    let mut goals = Vec::new();
    for (class, table) in [(Class::Full, &full), (Class::Normal, &normal)] {
        for (column, label) in COLUMNS.iter().enumerate() {
            let slowness = |peer: &str| -table.median(peer, column);
            let Some(name) = least_of_peers(class, slowness) else {
                continue;
            };
            goals.push(Goal::at_least(
                format!(
                    "{label} at {}: HotRead / the fastest peer, {name}",
                    class.name()
                ),
                1.0,
                of(table, column, name),
            ));
        }
    }
    Figure::new(
        "Acknowledged writes",
        format!(
            "Puts of new values of about 100 bytes for the keys of {} records: {WRITERS} writers \
             that each wait for their one put; one writer that waits for {BATCH} puts at once; one \
             that waits for each. A batch counts once.",
            row::RECORDS
        ),
    )
    .goals(goals)
    .notes(notes.into_iter().chain(skipped()))
    .tables([full, normal])
}

fn measure(plan: &Plan, class: Class) -> Table {
    let title = format!("Acknowledged writes a second at {}", class.name());
    let mut rounds = Rounds::new(title, Unit::PerSecond.of(COLUMNS));
    let time = plan.millis(800, 150);
    for (column, (writers, puts)) in SHAPES.into_iter().enumerate() {
        for system in systems_of(class) {
            rounds.add(system.name, column, move || {
                vec![through_clients(system, writers, puts, time)]
            });
        }
        let synchronous = match class {
            Class::Full => Synchronous::Full,
            Class::Normal => Synchronous::Normal,
        };
        let setup = Setup::new(plan, row::RECORDS, synchronous, time);
        // One transaction of the bare loop for each write; 64 writers at once can share a COMMIT.
        let name = if writers > 1 { GROUPED } else { BARE };
        rounds.add(name, column, move || {
            vec![commits::bare(&setup, writers, puts)]
        });
    }
    rounds.run(plan.pick(3, 1))
}

/// Acknowledged writes a second to a new server.
fn through_clients(system: &'static System, writers: usize, puts: usize, time: Duration) -> f64 {
    let server = system.start(target::folder());
    runtime().block_on(async {
        // One by one, since the first connection creates the table.
        let mut connections = Vec::new();
        for _ in 0..writers {
            let writer = system.writer(&server.address).await;
            connections.push(writer.expect("the server takes a connection"));
        }
        let (done, stop) = (Rc::new(Cell::new(0_u64)), Rc::new(Cell::new(false)));
        let watch = async {
            tokio::time::sleep(time / 4).await;
            let (start, before) = (Instant::now(), done.get());
            tokio::time::sleep(time).await;
            let per_second = (done.get() - before) as f64 / start.elapsed().as_secs_f64();
            stop.set(true);
            per_second
        };
        let all = connections
            .iter()
            .enumerate()
            .map(|(index, writer)| write(writer.as_ref(), index as u64, puts, &done, &stop));
        tokio::join!(watch, join_all(all)).0
    })
}

async fn write(writer: &dyn Writer, index: u64, puts: usize, done: &Cell<u64>, stop: &Cell<bool>) {
    let mut rng = Rng::with_seed(index);
    // Writers begin at different keys.
    let mut number = index * row::RECORDS as u64 / WRITERS as u64;
    while !stop.get() {
        let mut next = || {
            number += 1;
            (row::key(number), row::value(number, &mut rng))
        };
        let written = if puts == 1 {
            let (key, value) = next();
            writer.put(&key, value).await
        } else {
            let batch: Vec<_> = (0..puts).map(|_| next()).collect();
            writer.batch(&batch).await
        };
        written.expect("the server takes a write");
        done.set(done.get() + 1);
    }
}
