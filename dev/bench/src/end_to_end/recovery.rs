//! A server with 1,000,000 records is killed during writes and started again: the time until it listens,
//! answers a read, acknowledges a write, and until a replica that kept its state has that write.

use std::thread::sleep;
use std::time::Duration;

use hotread_store::Synchronous;

use super::hotread::{self, Server};
use super::watch::Watchers;
use super::{OURS, clock, row, runtime};
use crate::report::{Figure, Goal};
use crate::rounds::{Rounds, Unit};
use crate::store::data;
use crate::store::scratch::Plan;

/// Writes before the kill, which are in the log at that moment.
const WRITES: usize = 1_000;
const COLUMNS: [&str; 4] = ["listens", "first read", "first write", "a replica has it"];
/// Absence of a server that people notice, in seconds.
const GOAL_S: f64 = 2.0;

pub(super) fn run(plan: &Plan) -> Figure {
    let records = plan.pick(1_000_000, 10_000);
    let mut rounds = Rounds::new(
        "Time since the server was started again",
        Unit::Ns.of(COLUMNS),
    );
    let same = plan.clone();
    rounds.add(OURS, 0, move || recover(&same, records));
    let all = rounds.run(plan.pick(3, 1));
    let first_write =
        format!("HotRead: from the start to the first acknowledged write, {records} records");
    Figure::new(
        "Recovery of the server",
        format!(
            "A server at FULL with a table of {records} records, which one replica follows, takes \
             {WRITES} writes and is killed (`kill -9`). It is started again at once. A read is a \
             record over HTTP; the write after it is acknowledged when it is on disk; the replica \
             has kept its state, and connects when its waiting time is over."
        ),
    )
    .goals([Goal::seconds(first_write, GOAL_S, all.median(OURS, 2))])
    .notes([
        "A client that lost its server waits 0.25 s to 5 s at random before each try, so that they \
             do not all come at once.",
    ])
    .tables([all])
}

fn recover(plan: &Plan, records: usize) -> Vec<f64> {
    let copy = plan.scratch.copy(records);
    let server = Server::start(&copy.path, Synchronous::Full);
    let runtime = runtime();
    let mut watchers = Watchers::start(&hotread::FULL, &server.url, 1, WRITES + 1);
    let mut rng = fastrand::Rng::with_seed(3);
    let mut put = |number: usize, url: &str| {
        runtime.block_on(hotread::put_update(url, number as u64, &mut rng));
    };
    for number in 0..WRITES {
        put(number, &server.url);
    }
    let address = server.kill();
    sleep(Duration::from_millis(100));

    let start = clock::now();
    let since = |stamp: u64| stamp.saturating_sub(start) as f64;
    let server = Server::start_at(&copy.path, Synchronous::Full, &address);
    let listens = since(clock::now());
    runtime.block_on(async {
        let client = hotread::client(&server.url)
            .await
            .expect("an address of a server");
        let record = client.get(data::table().as_str(), &row::key(0)).await;
        assert!(
            record.is_ok_and(|record| record.is_some()),
            "the record is there"
        );
    });
    let read = since(clock::now());
    put(WRITES, &server.url);
    let written = since(clock::now());
    let seen = watchers.finish(WRITES + 1);
    let replica = seen[0][WRITES].map_or(f64::NAN, since);
    vec![listens, read, written, replica]
}
