//! Reads of a live table while the committer runs flat out: one thread on one core looks random
//! keys up; the store's threads and its callers share another core.
//!
//! Without a writer the other core spins, so that the load of the machine is the same. A copy of the table
//! that never changes, read next to the same writer, shows the effect of the machine: caches and
//! memory that the two cores share.

use std::collections::VecDeque;
use std::hint::{black_box, spin_loop};
use std::rc::Rc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Barrier};
use std::time::{Duration, Instant};

use hotread_proto::{Put, Records};
use hotread_store::{Store, Synchronous};

use super::data;
use super::scratch::{self, Plan};
use super::{OURS, cores};
use crate::report::{Figure, Goal};
use crate::rounds::{Rounds, Unit};
use crate::timing::StopOnDrop;

const STILL: &str = "bare table, never changed";
const COLUMNS: [&str; 3] = ["without a writer", "during commits", "puts committed"];
/// Puts of a transaction.
const OPS: usize = 100;
/// Transactions under way at once.
const AHEAD: usize = 16;
/// Keys that are looked up, in a cycle.
const DRAWS: usize = 1 << 14;

/// Setup of both threads.
struct Work {
    puts: Arc<Vec<Put>>,
    draws: Vec<String>,
    time: Duration,
    /// For the reader, and for everything else.
    cores: Option<(usize, usize)>,
}

pub(super) fn run(plan: &Plan) -> Figure {
    let records = plan.pick(100_000, 10_000);
    let cores = match cores::allowed()[..] {
        [first, second, ..] => Some((first, second)),
        _ => None,
    };
    let work = Rc::new(Work {
        puts: Arc::new(data::shuffled_puts(records, 7)),
        draws: {
            let mut rng = fastrand::Rng::with_seed(9);
            let draw = |_| data::key(rng.usize(..records)).as_str().to_owned();
            (0..DRAWS).map(draw).collect()
        },
        time: plan.millis(800, 100),
        cores,
    });
    let mut rounds = Rounds::new(
        "Reads a second, and puts committed meanwhile",
        Unit::PerSecond.of(COLUMNS),
    );
    for (name, live) in [(OURS, true), (STILL, false)] {
        let (work, plan) = (work.clone(), plan.clone());
        rounds.add(name, 0, move || {
            let (alone, _) = measure(&work, plan.scratch.copy(records), live, false);
            let (during, puts) = measure(&work, plan.scratch.copy(records), live, true);
            vec![alone, during, puts]
        });
    }
    let all = rounds.run(plan.pick(5, 1));
    let still = all.ratio((STILL, 1), (STILL, 0));
    Figure::new(
        "Reads while the committer runs flat out",
        format!(
            "One thread looks random keys up in a live table of {records} records, flat out, by \
             `handle.current().get(key)`; the committer writes transactions of {OPS} puts at \
             NORMAL, {AHEAD} of them always under way. {} Without a writer the other core spins.",
            match cores {
                Some(_) => "The reader is pinned to one core, all threads of the store to another.",
                None => "Threads are not pinned: there is one core, or the system cannot tell.",
            }
        ),
    )
    .goals([Goal::at_least(
        "HotRead: reads during commits / without",
        0.9,
        all.ratio((OURS, 1), (OURS, 0)),
    )])
    .notes([format!(
        "A table that never changes, read during the same commits, keeps {still:.2} × its rate: \
         the machine causes that loss. HotRead causes the rest: the first reads after a \
         publication find neither the other copy's nodes nor the new records in a cache of the \
         reader's core."
    )])
    .tables([all])
}

/// Reads and committed puts a second.
fn measure(work: &Work, copy: scratch::Database, live: bool, writing: bool) -> (f64, f64) {
    let (stop, ready) = (AtomicBool::new(false), Barrier::new(2));
    let (mut reads, mut puts) = (f64::NAN, f64::NAN);
    // Passes the store from the thread that opens it, whose core the store's threads inherit.
    let (store_to, store_from) = std::sync::mpsc::sync_channel(1);
    let (copy, ready, stop) = (&copy, &ready, &stop);
    std::thread::scope(|scope| {
        let writer = scope.spawn(move || {
            if let Some((_, other)) = work.cores {
                cores::pin(other);
            }
            let store = copy.open(Synchronous::Normal);
            let table = data::table();
            let _live = store.live(&table).expect("the table is there");
            store_to.send(store.clone()).expect("the reader waits");
            ready.wait();
            match writing {
                true => write(work, &store, stop),
                false => {
                    while !stop.load(Ordering::Relaxed) {
                        spin_loop();
                    }
                    f64::NAN
                }
            }
        });
        let reader = scope.spawn(move || {
            let _stop = StopOnDrop(stop);
            if let Some((one, _)) = work.cores {
                cores::pin(one);
            }
            let store: Store = store_from.recv().expect("the writer opens it");
            let table = data::table();
            let mut handle = store.handle(&table).expect("the table is there");
            let still: Records = handle.current().clone();
            drop(store);
            ready.wait();
            match live {
                true => read(work, |key| handle.current().get(key).is_some()),
                false => {
                    handle.quiescent();
                    read(work, |key| still.get(key).is_some())
                }
            }
        });
        reads = reader.join().expect("readers do not panic");
        puts = writer.join().expect("writers do not panic");
    });
    (reads, puts)
}

fn read(work: &Work, mut get: impl FnMut(&str) -> bool) -> f64 {
    let mut for_at_least = |time: Duration| {
        let (start, mut count) = (Instant::now(), 0);
        let mut chunks = work.draws.chunks_exact(256).cycle();
        while start.elapsed() < time {
            for key in chunks.next().expect("a cycle does not end") {
                assert!(get(black_box(key)), "no key is ever removed");
            }
            count += 256;
        }
        f64::from(count) / start.elapsed().as_secs_f64()
    };
    for_at_least(work.time / 4);
    for_at_least(work.time)
}

/// Commits puts until told to stop; returns their number a second.
fn write(work: &Work, store: &Store, stop: &AtomicBool) -> f64 {
    let table = data::table();
    let (mut at, mut committed) = (0, 0u64);
    let mut tickets = VecDeque::new();
    let start = Instant::now();
    while !stop.load(Ordering::Relaxed) {
        let txn = data::txn(&work.puts, at, OPS);
        at = (at + OPS) % work.puts.len();
        tickets.push_back(store.submit(&table, txn).expect("it is within the limits"));
        if tickets.len() > AHEAD
            && let Some(oldest) = tickets.pop_front()
        {
            oldest.wait().expect("it commits");
            committed += OPS as u64;
        }
    }
    let per_second = committed as f64 / start.elapsed().as_secs_f64();
    for ticket in tickets {
        ticket.wait().expect("it commits");
    }
    per_second
}
