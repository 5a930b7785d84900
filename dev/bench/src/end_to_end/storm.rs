//! A thousand sessions lose their server by `kill -9`, and have it back after two seconds: the time
//! until each of them has a change that was committed after that, and the server's memory.

use std::thread::sleep;
use std::time::Duration;

use hotread_store::Synchronous;

use super::hotread::{self, Server};
use super::watch::Watchers;
use super::{OURS, clock, row, runtime};
use crate::report::{Figure, Goal};
use crate::rounds::{Rounds, Unit, columns};
use crate::stats::percentiles;
use crate::store::scratch::Plan;

/// Duration of the server's absence.
const AWAY: Duration = Duration::from_secs(2);
/// Goal for the time until all are back, in seconds.
const GOAL_S: f64 = 10.0;
const COLUMNS: [(Unit, &[&str]); 3] = [
    (Unit::Ns, &["p50", "p99", "the last"]),
    (Unit::Count, &["resumed", "loaded again"]),
    (
        Unit::Bytes,
        &["server before", "server, at most", "server after"],
    ),
];

pub(super) fn run(plan: &Plan) -> Figure {
    let sessions = plan.pick(1_000, 50);
    let mut rounds = Rounds::new("The storm", columns(&COLUMNS));
    let same = plan.clone();
    rounds.add(OURS, 0, move || storm(&same, sessions));
    let all = rounds.run(plan.pick(3, 1));
    let last = format!("HotRead: until the last of {sessions} sessions is back");
    let again = "HotRead: sessions that had to load again";
    Figure::new(
        "Reconnect storm",
        format!(
            "{sessions} replicas of a table of {} records, in ten processes, lose their server by \
             `kill -9`. It is started again after {AWAY:?}, and one record is put as soon as it \
             listens. A session is back when it has that record; the time counts from the moment \
             at which the server listens. Memory is the server's anonymous resident memory: before \
             its end, at most within the time, and after it.",
            row::RECORDS
        ),
    )
    .goals([
        Goal::seconds(last, GOAL_S, all.median(OURS, 2)),
        Goal::at_most(again, 0.0, all.median(OURS, 4)).in_unit("sessions"),
    ])
    .notes([
        "Clients wait at random before each try, up to 5 s once the server has been away for some \
             seconds: most of the time here is this wait.",
    ])
    .tables([
        all.pick("Since the server listens again", 0..5),
        all.pick("Server's memory", 5..8),
    ])
}

fn storm(plan: &Plan, sessions: usize) -> Vec<f64> {
    let copy = plan.scratch.copy(row::RECORDS);
    let mut server = Server::start(&copy.path, Synchronous::Full);
    let runtime = runtime();
    let mut watchers = Watchers::start(&hotread::FULL, &server.url, sessions, 2);
    let mut rng = fastrand::Rng::with_seed(3);
    let mut put = |number: u64, url: &str| {
        runtime.block_on(hotread::put_update(url, number, &mut rng));
    };
    put(0, &server.url);
    // Waits until the sessions have acknowledged it.
    sleep(Duration::from_secs(1));
    let before = server.process().status().anonymous;
    let address = server.kill();
    sleep(AWAY);

    let mut server = Server::start_at(&copy.path, Synchronous::Full, &address);
    let listens = clock::now();
    put(1, &server.url);
    let looks = server.process().most(Duration::from_millis(10));
    let seen = watchers.finish(2);
    let most = looks.finish().anonymous;
    let after = server.process().status().anonymous;
    let status = runtime.block_on(async { hotread::client(&server.url).await?.status().await });
    let sessions = status.expect("the server reports its status").sessions;
    let began = |mode| {
        let sessions = sessions.iter();
        sessions.filter(|session| session.mode == mode).count() as f64
    };
    let back: Vec<f64> = seen
        .iter()
        .map(|seen| seen[1].map_or(f64::INFINITY, |at| at.saturating_sub(listens) as f64))
        .collect();
    let [p50, p99, last] = percentiles(&back, [50.0, 99.0, 100.0]);
    vec![
        p50,
        p99,
        last,
        began("resume"),
        began("snapshot"),
        before,
        most,
        after,
    ]
}
