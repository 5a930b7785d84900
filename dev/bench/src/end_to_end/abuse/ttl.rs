//! A table whose records live for two seconds and are written at a steady rate: the number of its records.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant, SystemTime};

use hotread_proto::Timestamp;

use super::api::Api;
use super::paced::Paced;
use super::server::State;
use super::{OURS, honest, of_states, runtime};
use crate::report::{Figure, Goal};
use crate::rounds::{Unit, columns};
use crate::store::scratch::Plan;

const TABLE: &str = "tokens";
const TTL: Duration = Duration::from_secs(2);
/// Records a second.
const RATE: u32 = 8_000;
/// Records of one transaction.
const BATCH: u32 = 100;
/// Largest permitted size of the table, in seconds of records.
const SECONDS: f64 = 3.0;
const WRITERS: u64 = 4;
const COLUMNS: [(Unit, &[&str]); 3] = [
    (Unit::PerSecond, &["records written"]),
    (
        Unit::Count,
        &["records after half the time", "at the end", "at most"],
    ),
    (Unit::Bytes, &["server's memory at most"]),
];
const MOST: usize = 3;

pub(super) fn run(plan: &Plan) -> Figure {
    let (rate, time) = (plan.pick(RATE, 400), Duration::from_secs(plan.pick(20, 3)));
    let all = of_states("Number of records", columns(&COLUMNS), |state| {
        measure(plan, state, rate, time)
    });
    Figure::new(
        "Records that expire as fast as they are written",
        format!(
            "{rate} records a second, {BATCH} in a transaction, by {WRITERS} callers, for \
             {time:?}; each expires {TTL:?} after it was sent. The table's number of records is \
             read four times a second."
        ),
    )
    .goals([Goal::at_most(
        format!("records at most, {SECONDS} seconds' worth"),
        f64::from(rate) * SECONDS,
        all.median(OURS, MOST),
    )
    .in_unit("records")])
    .tables([all])
}

fn measure(plan: &Plan, state: State, rate: u32, time: Duration) -> Vec<f64> {
    static KEYS: AtomicUsize = AtomicUsize::new(0);

    let folder = plan.scratch.folder();
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

/// The time at this duration from now, as in JSON but without quotes.
pub(super) fn expiry(after: Duration) -> Timestamp {
    Timestamp::from(SystemTime::now()).saturating_add(after)
}
