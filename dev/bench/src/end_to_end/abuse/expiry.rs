//! Many records that expire at one moment: the time until they are deleted, and the puts of another
//! table meanwhile.

use std::time::{Duration, Instant};

use super::api::Api;
use super::server::State;
use super::{OURS, PUTS_MS, honest, of_states, runtime, ttl};
use crate::process::Failure;
use crate::report::{Figure, Goal};
use crate::rounds::{Unit, columns};
use crate::store::data;
use crate::store::scratch::Plan;

const TABLE: &str = "sessions";
/// Records of one transaction.
const BATCH: usize = 1_000;
/// Time before the moment of expiry in which the records are written.
const AHEAD: Duration = Duration::from_secs(12);
/// Longest wait for the table to be empty.
const PATIENCE: Duration = Duration::from_secs(20);
/// Goal for deleted records a second: as many as can be written.
const RATE: f64 = 8_000.0;
const COLUMNS: [(Unit, &[&str]); 3] = [
    (Unit::Ns, &["until the last is deleted"]),
    (Unit::PerSecond, &["deleted"]),
    (Unit::Ns, &["puts p99, quiet", "meanwhile"]),
];
const DELETED: usize = 1;
const PUTS: usize = 3;

pub(super) fn run(plan: &Plan) -> Figure {
    let records = plan.pick(200_000, 2_000);
    let all = of_states("One moment of expiry", columns(&COLUMNS), |state| {
        measure(plan, state, records)
    });
    let ours = |column| all.median(OURS, column);
    Figure::new(
        "Records with one moment of expiry",
        format!(
            "{records} records expire at one moment. The time counts from then until the table is \
             empty, for {PATIENCE:?} at most; *deleted* is the number of records deleted a second \
             until then. \
             Puts of another table are measured before the moment, and from it until the end or \
             for 10 s."
        ),
    )
    .goals([
        Goal::at_least("records deleted a second", RATE, ours(DELETED)).in_unit("/s"),
        Goal::at_most("p99 of another table's puts", PUTS_MS, ours(PUTS) / 1e6).in_unit("ms"),
    ])
    .tables([all])
}

fn measure(plan: &Plan, state: State, records: usize) -> Vec<f64> {
    let folder = plan.scratch.folder();
    let server = state.serve(&folder.path().join("expiry.db"));
    let runtime = runtime();
    let api = Api::new(server.address, honest::FROM);
    let ahead = plan.pick(AHEAD, Duration::from_secs(3));
    let (start, expires) = (Instant::now(), ttl::expiry(ahead));
    let written = runtime.block_on(async {
        api.create(TABLE).await?;
        api.create(honest::TABLE).await?;
        for from in (0..records).step_by(BATCH) {
            let put = |n| format!(r#"{{"key":"{n}","value":{n},"expires_at":"{expires}"}}"#);
            let puts: Vec<_> = (from..records.min(from + BATCH)).map(put).collect();
            api.txn(TABLE, &puts).await?;
        }
        for n in 0..honest::RECORDS / BATCH {
            let mut rng = fastrand::Rng::with_seed(n as u64);
            let put = |i| {
                let (key, value) = (data::key(n * BATCH + i), data::json(&mut rng));
                format!(r#"{{"key":"{}","value":{value}}}"#, key.as_str())
            };
            let puts: Vec<_> = (0..BATCH).map(put).collect();
            api.txn(honest::TABLE, &puts).await?;
        }
        Ok::<_, Failure>(api.table(TABLE).await?.records)
    });
    let written = written.expect("an empty server takes records") as f64;
    let left = ahead.saturating_sub(start.elapsed());
    // Records that were deleted before the first look are not counted.
    assert!(left > ahead / 6, "the records came too late");
    let quiet = left.min(Duration::from_secs(3)) - left / 10;
    std::thread::sleep(left.saturating_sub(quiet));
    let quiet = runtime.block_on(honest::measure(&api, quiet));
    std::thread::sleep(ahead.saturating_sub(start.elapsed()));
    let moment = Instant::now();
    let others = api.clone();
    let during = plan.pick(Duration::from_secs(10), Duration::from_secs(1));
    let meanwhile = runtime.spawn(async move { honest::measure(&others, during).await });
    let (mut swept, mut rest) = (f64::NAN, written);
    while moment.elapsed() < PATIENCE {
        let table = runtime.block_on(api.table(TABLE));
        rest = table.map_or(rest, |table| table.records as f64);
        if rest == 0.0 {
            swept = moment.elapsed().as_nanos() as f64;
            break;
        }
        std::thread::sleep(Duration::from_millis(50));
    }
    let rate = (written - rest) / moment.elapsed().as_secs_f64();
    let meanwhile = runtime.block_on(meanwhile).expect("callers do not panic");
    vec![swept, rate, quiet.puts_p99(), meanwhile.puts_p99()]
}
