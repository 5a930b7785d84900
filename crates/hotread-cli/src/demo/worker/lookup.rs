//! Looks keys up, and counts: in the replica, and over HTTP.

use super::state::{Table, Typed};
use crate::demo::http::Connection;
use crate::demo::protocol::{Rate, Said};
use anyhow::{Context, Result};
use hotread_client::HotReadHandle;
use hotread_proto::TableName;
use hotread_proto::http::escape;
use serde::Deserialize;
use std::hash::{BuildHasher, RandomState};
use std::hint::black_box;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};
use tokio::sync::mpsc::Sender;

/// Most keys that are looked up in turn.
const MAX_KEYS: usize = 65_536;
/// Look-ups between two looks at the clock.
const BURST: usize = 1_024;
/// How long the paced reader rests after each burst.
const REST: Duration = Duration::from_millis(1);

/// Looks keys up in threads of its own.
pub(super) struct Reader<V: Typed> {
    handle: HotReadHandle<Table<V>>,
    /// Real keys, in an order that no cache can foresee.
    keys: Arc<[Arc<str>]>,
    paced: Arc<Paced>,
}

/// The paced reader, seen from outside.
#[derive(Default)]
struct Paced {
    on: AtomicBool,
    reads: AtomicU64,
    misses: AtomicU64,
}

impl<V: Typed> Reader<V> {
    pub(super) fn new(mut handle: HotReadHandle<Table<V>>) -> Self {
        let mut keys: Vec<_> = handle.current().keys().cloned().collect();
        handle.quiescent();
        let order = RandomState::new();
        keys.sort_by_cached_key(|key| order.hash_one(key));
        keys.truncate(MAX_KEYS);
        Self {
            handle,
            keys: keys.into(),
            paced: Arc::default(),
        }
    }

    /// How many records there are.
    pub(super) fn records(&self) -> usize {
        let mut handle = self.handle.clone();
        handle.current().keys().count()
    }

    /// Look-ups of the paced reader, and those that found nothing.
    pub(super) fn counts(&self) -> (u64, u64) {
        // ORDERING: numbers to be shown; each stands for itself.
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        (read(&self.paced.reads), read(&self.paced.misses))
    }

    /// Looks keys up as fast as can be.
    pub(super) fn flat_out(&self, time: Duration, answer: Sender<Said>) {
        let (mut handle, keys) = (self.handle.clone(), self.keys.clone());
        thread::spawn(move || {
            let rate = measure(&keys, time, |key| {
                black_box(handle.current().get(black_box(key))).is_some()
            });
            // If nobody wants to know any more, the process is about to end.
            let _ = answer.blocking_send(Said::Rate(rate));
        });
    }

    /// Looks keys up over HTTP as fast as can be, one after the other on one connection.
    pub(super) fn over_http(
        &self,
        server: String,
        table: TableName,
        time: Duration,
        answer: Sender<Said>,
    ) {
        let keys = self.keys.clone();
        thread::spawn(move || {
            let said = match over_http::<V>(&server, &table, &keys, time) {
                Ok(rate) => Said::Rate(rate),
                Err(error) => Said::Failed {
                    message: format!("a look-up over HTTP: {error:#}"),
                },
            };
            let _ = answer.blocking_send(said);
        });
    }

    /// Starts or stops to look keys up with pauses.
    pub(super) fn paced(&self, on: bool) {
        // ORDERING: nothing else is read on the strength of it.
        if self.paced.on.swap(on, Ordering::Relaxed) || !on {
            return;
        }
        let (mut handle, keys) = (self.handle.clone(), self.keys.clone());
        let paced = self.paced.clone();
        thread::spawn(move || {
            let mut keys = keys.iter().cycle();
            while paced.on.load(Ordering::Relaxed) {
                let burst = keys.by_ref().take(BURST);
                let found = burst
                    .filter(|key| black_box(handle.current().get(black_box(key))).is_some())
                    .count();
                handle.quiescent();
                let misses = (BURST - found) as u64;
                paced.reads.fetch_add(BURST as u64, Ordering::Relaxed);
                paced.misses.fetch_add(misses, Ordering::Relaxed);
                thread::sleep(REST);
            }
        });
    }
}

/// Calls `look_up` with one key after the other for some time; it says whether it found something.
fn measure(keys: &[Arc<str>], time: Duration, mut look_up: impl FnMut(&str) -> bool) -> Rate {
    let (mut reads, mut found) = (0, 0);
    let mut keys = keys.iter().cycle();
    let start = Instant::now();
    loop {
        for key in keys.by_ref().take(BURST) {
            found += u64::from(look_up(key));
            reads += 1;
        }
        let passed = start.elapsed();
        if passed >= time {
            let nanos = u64::try_from(passed.as_nanos()).unwrap_or(u64::MAX);
            return Rate {
                reads,
                nanos,
                misses: reads - found,
            };
        }
    }
}

/// As a program without a replica does it: a request, and the answer's value as the type it has in
/// the program. What can be made ready before is.
fn over_http<V: Typed>(
    server: &str,
    table: &TableName,
    keys: &[Arc<str>],
    time: Duration,
) -> Result<Rate> {
    #[derive(Deserialize)]
    struct Answer<V> {
        record: Found<V>,
    }
    #[derive(Deserialize)]
    struct Found<V> {
        value: V,
    }
    let mut connection = Connection::open(server)?;
    let request =
        |key: &Arc<str>| connection.request(&format!("/v1/tables/{table}/records/{}", escape(key)));
    let requests: Vec<_> = keys.iter().map(request).collect();
    let (mut reads, mut misses) = (0, 0);
    let start = Instant::now();
    for request in requests.iter().cycle() {
        let (status, body) = connection.ask(request)?;
        if status == 200 {
            let answer: Answer<V> = serde_json::from_slice(body)
                .context("the answer has another form than expected")?;
            black_box(answer.record.value);
        } else {
            misses += 1;
        }
        reads += 1;
        if start.elapsed() >= time {
            break;
        }
    }
    let nanos = u64::try_from(start.elapsed().as_nanos()).unwrap_or(u64::MAX);
    Ok(Rate {
        reads,
        nanos,
        misses,
    })
}
