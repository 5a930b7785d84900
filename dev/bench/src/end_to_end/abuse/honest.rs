//! Callers with few requests, at a steady rate, and the durations of these.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use fastrand::Rng;
use tokio::task::JoinSet;
use tokio::time::Instant;

use super::api::Api;
use crate::stats::percentile;
use crate::store::data;

/// Address of honest callers.
pub(super) const FROM: IpAddr = IpAddr::V4(Ipv4Addr::new(127, 0, 0, 2));
/// Their table.
pub(super) const TABLE: &str = "orders";
/// Its records.
pub(super) const RECORDS: usize = 10_000;

/// Callers that read, each with requests one after another.
const READERS: usize = 2;
/// Time between the due times of two requests of a reader.
const READ_EVERY: Duration = Duration::from_millis(10);
/// Callers that put.
const WRITERS: usize = 2;
/// Time between the due times of two requests of a writer.
pub(super) const PUT_EVERY: Duration = Duration::from_millis(40);

/// Outcome of a request without an answer at the end of the measurement.
const UNDER_WAY: &str = "under way at the end";

/// Durations of requests, in nanoseconds.
#[derive(Debug, Default)]
pub(super) struct Times {
    pub(super) reads: Vec<f64>,
    pub(super) puts: Vec<f64>,
    /// Requests that were refused or not answered, by outcome.
    pub(super) failed: BTreeMap<String, usize>,
}

impl Times {
    pub(super) fn reads_p99(&self) -> f64 {
        percentile(&self.reads, 99.0)
    }

    pub(super) fn puts_p99(&self) -> f64 {
        percentile(&self.puts, 99.0)
    }

    /// The number of requests that were refused or not answered.
    pub(super) fn failures(&self) -> usize {
        self.failed.values().sum()
    }
}

/// Makes requests for a time.
pub(super) async fn measure(api: &Api, during: Duration) -> Times {
    let times = Arc::new(Mutex::new(Times::default()));
    let mut callers = JoinSet::new();
    for number in 0..READERS + WRITERS {
        callers.spawn(ask(api.clone(), number, during, Arc::clone(&times)));
    }
    callers.join_all().await;
    let mut times = times.lock().unwrap_or_else(PoisonError::into_inner);
    std::mem::take(&mut times)
}

async fn ask(api: Api, number: usize, during: Duration, times: Arc<Mutex<Times>>) {
    let reads = number < READERS;
    let every = if reads { READ_EVERY } else { PUT_EVERY };
    let mut rng = Rng::with_seed(number as u64);
    let end = Instant::now() + during;
    // Not all at the same moment.
    let mut due = Instant::now() + every.mul_f64(number as f64 / (READERS + WRITERS) as f64);
    while due < end {
        let mut from = due;
        if Instant::now() < due {
            tokio::time::sleep_until(due).await;
            // The timer's own lateness does not count.
            from = Instant::now();
        }
        let key = data::key(rng.usize(..RECORDS));
        let request = async {
            match reads {
                true => api.get(&format!("/{TABLE}/records/{}", key.as_str())).await,
                false => api.put(TABLE, key.as_str(), &data::json(&mut rng)).await,
            }
        };
        let failed = match tokio::time::timeout_at(end, request).await {
            Ok(Ok(answer)) if answer.is_ok() => None,
            Ok(Ok(answer)) => Some(answer.summary()),
            Ok(Err(_)) => Some("no answer".to_owned()),
            Err(_) => Some(UNDER_WAY.to_owned()),
        };
        let took = match failed.as_deref() {
            None | Some(UNDER_WAY) => from.elapsed(),
            Some(_) => during,
        };
        let mut times = times.lock().unwrap_or_else(PoisonError::into_inner);
        let samples = if reads {
            &mut times.reads
        } else {
            &mut times.puts
        };
        samples.push(took.as_nanos() as f64);
        if let Some(failed) = failed {
            *times.failed.entry(failed).or_default() += 1;
        }
        due += every;
    }
}
