//! A table whose records live for two seconds and are written at a steady rate: how many there are.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use hotread_proto::Timestamp;

use super::api::Api;
use super::paced::Paced;
use super::server::State;
use super::{STATES, honest, name, runtime};
use crate::report::{Figure, Goal};
use crate::rounds::{Plan, Rounds, Unit};

const TABLE: &str = "tokens";
const TTL: Duration = Duration::from_secs(2);
/// Records a second,
const RATE: u32 = 8_000;
/// and in one transaction.
const BATCH: u32 = 100;
/// The table may have so many seconds' worth of records.
const SECONDS: f64 = 3.0;
const WRITERS: u64 = 4;
const COLUMNS: [(&str, Unit); 5] = [
    ("records written", Unit::PerSecond),
    ("records after half the time", Unit::Count),
    ("at the end", Unit::Count),
    ("at most", Unit::Count),
    ("server's memory at most", Unit::Bytes),
];
const MOST: usize = 3;

pub(super) fn run(plan: &Plan) -> Figure {
    let mut rounds = Rounds::new("Records that are there", &COLUMNS);
    let (rate, time) = (plan.pick(RATE, 400), Duration::from_secs(plan.pick(20, 3)));
    for state in State::all() {
        let same = plan.clone();
        rounds.add(name(STATES, state), 0, move || {
            measure(&same, state, rate, time)
        });
    }
    let all = rounds.run(1);
    Figure {
        id: "abuse-ttl",
        title: "Records that expire as fast as they are written",
        method: format!(
            "{rate} records a second, {BATCH} in a transaction, by {WRITERS} callers, for {time:?}; each \
             expires {TTL:?} after it was sent. The table's number of records is read four times a second."
        ),
        goals: vec![
            Goal::at_most(
                format!("records at most, {SECONDS} seconds' worth"),
                f64::from(rate) * SECONDS,
                all.median(STATES[0], MOST),
            )
            .in_unit("records"),
        ],
        notes: Vec::new(),
        tables: vec![all],
    }
}

fn measure(plan: &Plan, state: State, rate: u32, time: Duration) -> Vec<f64> {
    static KEYS: AtomicUsize = AtomicUsize::new(0);

    let folder = tempfile::tempdir_in(plan.scratch.file("")).expect("the folder is writable");
    let server = state.serve(&folder.path().join("ttl.db"));
    let runtime = runtime();
    let api = Api::new(server.address, honest::FROM);
    let made = runtime.block_on(api.create(TABLE));
    made.expect("an empty server takes a table");
    let looks = server.looks();
    let writer = api.clone();
    let writers = Paced::start(&runtime, WRITERS, rate / BATCH, move |_, _| {
        let api = writer.clone();
        async move {
            let expires = expiry(TTL);
            let put = |_| {
                let number = KEYS.fetch_add(1, Ordering::Relaxed);
                format!(r#"{{"key":"{number}","value":{number},"expires_at":"{expires}"}}"#)
            };
            api.txn(TABLE, &(0..BATCH).map(put).collect::<Vec<_>>())
                .await
        }
    });
    let (start, mut counts) = (Instant::now(), Vec::new());
    while start.elapsed() < time {
        std::thread::sleep(Duration::from_millis(250));
        let table = runtime.block_on(api.table(TABLE));
        counts.push(table.map_or(f64::NAN, |table| table.records as f64));
    }
    let written = writers.rate() * f64::from(BATCH);
    writers.finish(&runtime);
    let most = counts.iter().copied().fold(f64::NAN, f64::max);
    let last = counts.last().copied().unwrap_or(f64::NAN);
    vec![
        written,
        counts[counts.len() / 2],
        last,
        most,
        looks.finish().anonymous,
    ]
}

/// The time so long from now, as JSON has it without quotes.
pub(super) fn expiry(after: Duration) -> Timestamp {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    let millis = now.unwrap_or_default().as_millis() as i64;
    let now = Timestamp::from_millis(millis).expect("it is within ten thousand years");
    now.saturating_add(after)
}
