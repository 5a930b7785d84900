//! Threads that update a map at once, and the measurements of them.

use std::hint::black_box;
use std::sync::Barrier;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use crate::alloc::Count;
use crate::clock;
use crate::figures::support::{Drawn, StopOnDrop};
use crate::peers::*;
use crate::stats::Histogram;

/// Pause of the light writer between two updates.
const LIGHT_PAUSE: Duration = Duration::from_micros(200);
/// Pause of the thread that counts queued updates.
const SAMPLE_PAUSE: Duration = Duration::from_millis(1);

/// The threads of one run, and when it ends.
#[derive(Clone, Copy)]
pub(super) struct Setting {
    /// Threads that update without a pause.
    pub(super) writers: usize,
    /// One more thread reads without a pause.
    pub(super) reader: bool,
    /// One more thread updates occasionally.
    pub(super) light: bool,
    /// Time for which threads update.
    pub(super) time: Duration,
    /// Queued updates that end the run early.
    pub(super) guard: usize,
}

/// Results of one run.
#[derive(Default)]
pub(super) struct Outcome {
    /// Updates, applied and visible, a second.
    pub(super) per_second: f64,
    /// Ticks of the calls of the threads that update without a pause.
    pub(super) calls: Histogram,
    /// Ticks of the light writer's calls.
    pub(super) light: Histogram,
    /// The most updates seen queued.
    pub(super) backlog: usize,
    /// The most bytes allocated above the start.
    pub(super) memory: i64,
    /// The guard ended the run.
    pub(super) stopped: bool,
}

/// State that the threads of one run share.
struct Run {
    barrier: Barrier,
    /// Stamp of the first update, or 0: any thread may begin long before the others.
    began: AtomicU64,
    stop: AtomicBool,
    /// Set when all updates are visible: the reader reads until then.
    settled: AtomicBool,
    ticks: u64,
}

impl Run {
    /// The stamp at which updates end.
    fn end(&self) -> u64 {
        let now = clock::now();
        let began = self
            .began
            .compare_exchange(0, now, Ordering::Relaxed, Ordering::Relaxed);
        began.err().unwrap_or(now) + self.ticks
    }

    fn is_over(&self, now: u64, end: u64) -> bool {
        now > end || self.stop.load(Ordering::Relaxed)
    }
}

/// Runs the threads of a setting, and waits until all of their updates are visible.
pub(super) fn contend<P: Kv<u64>>(drawn: &Drawn<u64>, setting: Setting) -> Outcome {
    let (peer, writer) = P::build(drawn.map.clone());
    let mut writer = P::share(writer);
    let helpers = usize::from(setting.reader) + usize::from(setting.light);
    let run = Run {
        barrier: Barrier::new(setting.writers + helpers + 1),
        began: AtomicU64::new(0),
        stop: AtomicBool::new(false),
        settled: AtomicBool::new(false),
        ticks: clock::ticks(setting.time),
    };
    let mut outcome = Outcome::default();
    std::thread::scope(|scope| {
        let run = &run;
        let _stop = (StopOnDrop(&run.stop), StopOnDrop(&run.settled));
        let writing: Vec<_> = (0..setting.writers)
            .map(|thread| {
                let (mut writer, mut calls) = (writer.clone(), Histogram::default());
                let keys = drawn.of_thread(thread, setting.writers);
                scope.spawn(move || {
                    writer.attach();
                    let count = update_flat_out(&mut writer, keys, run, &mut calls);
                    writer.detach();
                    (count, calls)
                })
            })
            .collect();
        let light = setting.light.then(|| {
            let (mut writer, mut calls) = (writer.clone(), Histogram::default());
            let keys = drawn.of_thread(1, 2);
            scope.spawn(move || {
                writer.attach();
                let count = update_now_and_then(&mut writer, keys, run, &mut calls);
                writer.detach();
                (count, calls)
            })
        });
        if setting.reader {
            let (mut reader, keys) = (peer.reader(), drawn.of_thread(1, 3));
            scope.spawn(move || {
                reader.attach();
                run.barrier.wait();
                for key in keys {
                    black_box(reader.get(key));
                    if run.settled.load(Ordering::Relaxed) {
                        break;
                    }
                }
                reader.rest();
                reader.detach();
            });
        }
        let memory = Count::start();
        run.barrier.wait();
        let end = run.end();
        while !run.is_over(clock::now(), end) {
            std::thread::sleep(SAMPLE_PAUSE);
            outcome.backlog = outcome.backlog.max(writer.backlog());
            if outcome.backlog > setting.guard {
                outcome.stopped = true;
                run.stop.store(true, Ordering::Relaxed);
            }
        }
        let mut updates = 0;
        for thread in writing {
            let (count, calls) = thread.join().expect("writers do not panic");
            updates += count;
            outcome.calls.merge(&calls);
        }
        if let Some(light) = light {
            let (count, calls) = light.join().expect("writers do not panic");
            updates += count;
            outcome.light.merge(&calls);
        }
        outcome.backlog = outcome.backlog.max(writer.backlog());
        writer.settle();
        let seconds = clock::ns(clock::now() - run.began.load(Ordering::Relaxed)) / 1e9;
        outcome.per_second = updates as f64 / seconds;
        outcome.memory = memory.peak_bytes();
    });
    outcome
}

/// Updates until the run is over; returns the number of updates. Each call is timed from the end of the previous
/// one, so that a single stamp a call misses none.
fn update_flat_out<'a, W: KvWrite<u64>>(
    writer: &mut W,
    keys: impl Iterator<Item = &'a u64>,
    run: &Run,
    calls: &mut Histogram,
) -> u64 {
    run.barrier.wait();
    let end = run.end();
    let (mut count, mut start) = (0, clock::now());
    for key in keys {
        writer.insert(*key, count);
        let now = clock::now();
        calls.record(now - start);
        start = now;
        count += 1;
        if run.is_over(now, end) {
            break;
        }
    }
    count
}

/// Updates and sleeps in turn until the run is over; returns the number of updates.
fn update_now_and_then<'a, W: KvWrite<u64>>(
    writer: &mut W,
    keys: impl Iterator<Item = &'a u64>,
    run: &Run,
    calls: &mut Histogram,
) -> u64 {
    run.barrier.wait();
    let end = run.end();
    let mut count = 0;
    for key in keys {
        let start = clock::fenced();
        writer.insert(*key, count);
        let now = clock::fenced();
        calls.record((now - start).saturating_sub(clock::overhead()));
        count += 1;
        if run.is_over(now, end) {
            break;
        }
        std::thread::sleep(LIGHT_PAUSE);
    }
    count
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::states::Map;

    const SETTING: Setting = Setting {
        writers: 2,
        reader: true,
        light: true,
        time: Duration::from_millis(20),
        guard: usize::MAX,
    };

    #[test]
    fn all_threads_take_part_in_a_run() {
        let drawn = Drawn::new(100, 1_000);
        let outcome = contend::<HotReadCurrent<Map<u64>>>(&drawn, SETTING);
        assert!(outcome.per_second > 0.0);
        assert!(!outcome.calls.is_empty() && !outcome.light.is_empty());
        assert!(!outcome.stopped);
    }

    /// A peer whose updates stay queued: every call adds one.
    #[derive(Clone, Default)]
    struct Hoarder(std::sync::Arc<AtomicU64>);

    impl Kv<u64> for Hoarder {
        const NAME: &'static str = "hoarder";
        type Reader = BareThreads<u64>;
        type Writer = Self;
        type SharedWriter = Self;

        fn build(map: Map<u64>) -> (Self, Self) {
            let _ = map;
            let hoarder = Self::default();
            (hoarder.clone(), hoarder)
        }

        fn reader(&self) -> BareThreads<u64> {
            BareThreads::build(Map::default()).0
        }

        fn share(writer: Self) -> Self {
            writer
        }
    }

    impl KvWrite<u64> for Hoarder {
        fn insert(&mut self, _: u64, _: u64) -> bool {
            self.0.fetch_add(1, Ordering::Relaxed);
            false
        }

        fn insert_all(&mut self, keys: &[u64], _: u64) -> bool {
            self.0.fetch_add(keys.len() as u64, Ordering::Relaxed);
            false
        }

        fn remove(&mut self, _: &u64) -> bool {
            false
        }

        fn backlog(&self) -> usize {
            self.0.load(Ordering::Relaxed) as usize
        }
    }

    #[test]
    fn the_guard_ends_a_run_that_hoards() {
        let setting = Setting {
            time: Duration::from_secs(60),
            guard: 1_000,
            ..SETTING
        };
        let outcome = contend::<Hoarder>(&Drawn::new(100, 1_000), setting);
        assert!(outcome.stopped && outcome.backlog > 1_000);
    }
}
