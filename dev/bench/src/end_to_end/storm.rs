//! A thousand sessions lose their server by `kill -9`, and have it back after two seconds: how long
//! until each of them has a change that was committed after that, and what it takes of the server.

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::sleep;
use std::time::Duration;

use hotread_store::Synchronous;
use serde::Deserialize;

use super::hotread::{self, Server};
use super::samples::Spread;
use super::system::{Failure, System};
use super::watch::Watchers;
use super::{OURS, clock, row, runtime};
use crate::report::{Figure, Goal};
use crate::rounds::{Plan, Rounds, Unit};
use crate::timing::StopOnDrop;

/// How long the server is away.
const AWAY: Duration = Duration::from_secs(2);
/// All are back within so many seconds.
const GOAL_S: f64 = 10.0;
const SYSTEM: System = System::HotRead(Synchronous::Full);
const COLUMNS: [(&str, Unit); 8] = [
    ("p50", Unit::Ns),
    ("p99", Unit::Ns),
    ("the last", Unit::Ns),
    ("resumed", Unit::Count),
    ("loaded anew", Unit::Count),
    ("server before", Unit::Bytes),
    ("server, at most", Unit::Bytes),
    ("server after", Unit::Bytes),
];

pub(super) fn run(plan: &Plan) -> Figure {
    let sessions = plan.pick(1_000, 50);
    let mut rounds = Rounds::new("The storm", &COLUMNS);
    let same = plan.clone();
    rounds.add(OURS, 0, move || storm(&same, sessions));
    let all = rounds.run(plan.pick(3, 1));
    Figure {
        id: "e2e-storm",
        title: "Reconnect storm",
        method: format!(
            "{sessions} replicas of a table of {} records, in ten processes, lose their server by \
             `kill -9`. It is started again after {AWAY:?}, and one record is put as soon as it \
             listens. A session is back when it has that record; the time counts from when the \
             server listens. Memory is the server's anonymous resident memory: before its end, the \
             most within the time, and after it.",
            row::RECORDS
        ),
        goals: vec![
            Goal::at_most(
                format!("HotRead: until the last of {sessions} sessions is back"),
                GOAL_S,
                all.median(OURS, 2) / 1e9,
            )
            .in_unit("s"),
            Goal::at_most(
                "HotRead: sessions that had to load anew",
                0.0,
                all.median(OURS, 4),
            )
            .in_unit("sessions"),
        ],
        notes: vec![
            "Clients wait at random before each try, up to 5 s once the server has been away for \
             some seconds: that is most of the time here."
                .into(),
        ],
        tables: vec![
            all.pick("Since the server listens again", 0..5),
            all.pick("Server's memory", 5..8),
        ],
    }
}

fn storm(plan: &Plan, sessions: usize) -> Vec<f64> {
    let copy = plan.scratch.copy(row::RECORDS);
    let mut server = Server::start(&copy.path, Synchronous::Full);
    let runtime = runtime();
    let mut watchers = Watchers::start(SYSTEM, &server.url, sessions, 2);
    let mut rng = fastrand::Rng::with_seed(3);
    let mut put = |number: u64, url: &str| {
        let (key, value) = (row::key(number), row::value(number, &mut rng));
        runtime.block_on(async {
            let writer = hotread::writer(url).await.expect("an address of a server");
            writer
                .put(&key, value)
                .await
                .expect("the server takes a put");
        });
    };
    put(0, &server.url);
    // They have it, and have said so.
    sleep(Duration::from_secs(1));
    let before = server.process().memory().anonymous;
    let address = server.kill();
    sleep(AWAY);

    let mut server = Server::start_at(&copy.path, Synchronous::Full, &address);
    let listens = clock::now();
    put(1, &server.url);
    let done = AtomicBool::new(false);
    let process = server.process();
    let (seen, most) = std::thread::scope(|scope| {
        let stop = StopOnDrop(&done);
        let most = scope.spawn(|| {
            let mut most: f64 = 0.0;
            while !done.load(Ordering::Relaxed) {
                most = most.max(process.memory().anonymous);
                sleep(Duration::from_millis(10));
            }
            most
        });
        let seen = watchers.finish(2);
        drop(stop);
        (seen, most.join().expect("looking does not panic"))
    });
    let after = server.process().memory().anonymous;
    let modes = runtime.block_on(Modes::of(&server.url));
    let modes = modes.expect("the server says how it is doing");
    let back: Vec<f64> = seen
        .iter()
        .map(|seen| seen[1].map_or(f64::INFINITY, |at| at.saturating_sub(listens) as f64))
        .collect();
    let spread = Spread::of(&back);
    vec![
        spread.p50,
        spread.p99,
        spread.max,
        modes.resumed,
        modes.anew,
        before,
        most,
        after,
    ]
}

/// How the sessions of a server began.
struct Modes {
    resumed: f64,
    anew: f64,
}

impl Modes {
    async fn of(url: &str) -> Result<Self, Failure> {
        #[derive(Deserialize)]
        struct Status {
            sessions: Vec<Session>,
        }
        #[derive(Deserialize)]
        struct Session {
            mode: String,
        }
        let answer = reqwest::get(format!("{url}/v1/status"))
            .await?
            .bytes()
            .await?;
        let status: Status = serde_json::from_slice(&answer)?;
        let count = |mode| {
            let sessions = status.sessions.iter();
            sessions.filter(|session| session.mode == mode).count() as f64
        };
        Ok(Self {
            resumed: count("resume"),
            anew: count("snapshot"),
        })
    }
}
