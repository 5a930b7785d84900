//! One measurement: cycles in which an update is blocked, threads wait for it, and handles release
//! the copy that it needs, one after another.

use std::hint::black_box;
use std::path::PathBuf;
use std::sync::Barrier;
use std::sync::atomic::{AtomicU64, Ordering, fence};
use std::time::{Duration, Instant};

use hotread::Maintainer;

use crate::clock;
use crate::peers::*;
use crate::states::Config;
use crate::stats::{self, Histogram};

/// Calls timed together where one alone would be too short.
const LOOP: usize = 4_096;
/// Cycles of the twin before the first timed call.
const WARM_UPS: usize = 4;
/// Such loops in each cycle.
const LOOPS: usize = 16;
/// Time after which a wait that does not end is a mistake.
const PATIENCE: Duration = Duration::from_secs(20);
/// The number of an update that ends the waiting threads.
const END: u64 = 0;

/// Threads that wait for the update that is blocked.
#[derive(Clone, Copy, Debug)]
pub(super) enum Others {
    /// No thread.
    None,
    /// The maintainer.
    Maintainer,
    /// This number of threads in `wait_published`.
    Waiting(usize),
}

/// Size of a measurement.
#[derive(Clone, Copy)]
pub(super) struct Work {
    /// Handles that move to the new copy.
    pub(super) readers: usize,
    /// Updates that are blocked and released.
    pub(super) cycles: usize,
}

/// A peer with calls that wait, or at least with handles.
pub(super) trait Subject: Share<Config, Writer: Clone + Sync> {
    /// Loads the data that a read begins with, so that it is in the cache.
    fn look(_: &Self::Reader) {}
    /// Makes one attempt to apply queued updates.
    fn maintain(_: &Self::Writer) {}
    /// The number of the last update.
    fn last(_: &Self::Writer) -> u64 {
        END
    }
    /// Blocks until the update of this number is visible; `false` if that takes too long.
    fn wait(_: &Self::Writer, _: u64) -> bool {
        unreachable!("this peer has no such call")
    }
    /// Starts a maintainer.
    fn maintainer(_: &Self::Writer) -> Maintainer {
        unreachable!("this peer has none")
    }
}

impl Subject for HotReadCurrent<Config> {
    fn look(reader: &CurrentReader<Config>) {
        black_box(reader.0.is_latest());
    }

    fn maintain(writer: &HotReadWriter<Config>) {
        writer.0.maintain();
    }

    fn last(writer: &HotReadWriter<Config>) -> u64 {
        writer.0.latest_seq()
    }

    fn wait(writer: &HotReadWriter<Config>, number: u64) -> bool {
        writer.0.wait_published(number, PATIENCE).is_ok()
    }

    fn maintainer(writer: &HotReadWriter<Config>) -> Maintainer {
        let maintainer = writer.0.spawn_maintainer();
        maintainer.expect("the system gives a benchmark one more thread")
    }
}

/// Without waiting threads: 0.1.2 has no call for that.
impl Subject for Published<Config> {}

/// State that the waiting threads share.
struct Crew {
    barrier: Barrier,
    /// The number of the update to wait for next.
    wanted: AtomicU64,
    /// Waits begun, and ended.
    begun: AtomicU64,
    ended: AtomicU64,
    /// Times that threads went to sleep in them.
    sleeps: AtomicU64,
}

impl Crew {
    fn wait<P: Subject>(&self, writer: &P::Writer) {
        loop {
            self.barrier.wait();
            let wanted = self.wanted.load(Ordering::Relaxed);
            if wanted == END {
                return;
            }
            let before = sleeps_of_this_thread();
            self.begun.fetch_add(1, Ordering::Release);
            assert!(P::wait(writer, wanted), "the update becomes visible");
            let slept = sleeps_of_this_thread() - before;
            self.sleeps.fetch_add(slept, Ordering::Relaxed);
            self.ended.fetch_add(1, Ordering::Release);
        }
    }

    /// Makes all threads wait for an update, and returns when they have begun.
    fn send(&self, wanted: u64, threads: usize) {
        let before = self.begun.load(Ordering::Relaxed);
        self.wanted.store(wanted, Ordering::Relaxed);
        self.barrier.wait();
        until(|| self.begun.load(Ordering::Acquire) == before + threads as u64);
    }
}

/// Results of one measurement: ticks of each call by itself.
#[derive(Default)]
struct Times {
    moved: Histogram,
    left: Histogram,
    last: Histogram,
    /// Of calls on an unchanged copy: nanoseconds, means of loops.
    unchanged: Vec<f64>,
}

/// p50, p99 and maximum of `current()` right after a publication, of `current()` when nothing is
/// new, of a `quiescent()` that is not the last on its copy, and of the last; and the number of sleeps of
/// a waiting thread in one wait.
pub(super) fn measure<P: Subject>(others: &Others, work: &Work) -> Vec<f64> {
    let threads = match others {
        Others::Waiting(threads) => *threads,
        Others::None | Others::Maintainer => 0,
    };
    let (peer, mut writer) = P::build(Config::stamped(0));
    let crew = Crew {
        barrier: Barrier::new(threads + 1),
        wanted: AtomicU64::new(END),
        begun: AtomicU64::new(0),
        ended: AtomicU64::new(0),
        sleeps: AtomicU64::new(0),
    };
    let mut times = Times::default();
    let before = Tasks::all();
    let maintainer = matches!(others, Others::Maintainer).then(|| P::maintainer(&writer));
    std::thread::scope(|scope| {
        for _ in 0..threads {
            let (crew, writer) = (&crew, writer.clone());
            scope.spawn(move || crew.wait::<P>(&writer));
        }
        let mut handles: Handles<P> = Handles::new(&peer, work.readers).with_twin();
        handles.others = Tasks::since(&before);
        for cycle in 0..work.cycles as u64 {
            handles.take_all();
            if !writer.update(Config::stamped(2 * cycle + 1)) {
                // A copy is free, and the maintainer is about to publish or to stop.
                writer.settle();
            }
            assert!(
                !writer.update(Config::stamped(2 * cycle + 2)),
                "both copies are held"
            );
            if threads > 0 {
                crew.send(P::last(&writer), threads);
            }
            handles.time_all(&peer, &writer, &mut times);
            until(|| crew.ended.load(Ordering::Acquire) == (cycle + 1) * threads as u64);
            handles.rest_all();
            writer.settle();
            // Once more, so that both copies are alike.
            P::maintain(&writer);
        }
        crew.wanted.store(END, Ordering::Relaxed);
        crew.barrier.wait();
    });
    drop(maintainer);
    let waits = (threads * work.cycles) as f64;
    let sleeps = match cfg!(target_os = "linux") {
        true => crew.sleeps.load(Ordering::Relaxed) as f64 / waits,
        false => f64::NAN,
    };
    times.row(sleeps)
}

/// Times of a store and a full fence, where another core has read the line since the last store: the least
/// cost of releasing a copy once a waiting thread has looked at the slot. Returns a row like that of
/// [`measure`], with only the first of its calls.
pub(super) fn bare_store(work: &Work) -> Vec<f64> {
    #[repr(align(128))]
    struct Line(AtomicU64);
    let (slot, turn) = (Line(AtomicU64::new(0)), Line(AtomicU64::new(0)));
    let mut times = Times::default();
    std::thread::scope(|scope| {
        scope.spawn(|| {
            for round in 1..=work.cycles as u64 {
                until(|| turn.0.load(Ordering::Acquire) == 2 * round - 1);
                black_box(slot.0.load(Ordering::Acquire));
                turn.0.store(2 * round, Ordering::Release);
            }
        });
        for round in 1..=work.cycles as u64 {
            turn.0.store(2 * round - 1, Ordering::Release);
            until(|| turn.0.load(Ordering::Acquire) == 2 * round);
            times.moved.record(ticks(|| {
                slot.0.store(round, Ordering::Release);
                fence(Ordering::SeqCst);
            }));
        }
    });
    let mut row = times.row(f64::NAN);
    row[3..].fill(f64::NAN);
    row
}

struct Handles<P: Subject> {
    readers: Vec<P::Reader>,
    /// Becomes quiescent while others still hold the same copy.
    leaving: P::Reader,
    /// The last reader to release the old copy.
    stalled: P::Reader,
    /// The threads that wait.
    others: Tasks,
    /// A second instance, for which no thread ever waits: it makes the calls before they are
    /// timed, so that their code is in the caches.
    twin: Option<Box<(P::Writer, Self)>>,
}

impl<P: Subject> Handles<P> {
    fn new(peer: &P, readers: usize) -> Self {
        Self {
            readers: (0..readers).map(|_| peer.reader()).collect(),
            leaving: peer.reader(),
            stalled: peer.reader(),
            others: Tasks::default(),
            twin: None,
        }
    }

    fn with_twin(mut self) -> Self {
        let (peer, writer) = P::build(Config::stamped(0));
        let twin = Self::new(&peer, self.readers.len());
        self.twin = Some(Box::new((writer, twin)));
        self
    }

    fn all(&mut self) -> impl Iterator<Item = &mut P::Reader> {
        self.readers
            .iter_mut()
            .chain([&mut self.leaving, &mut self.stalled])
    }

    fn take_all(&mut self) {
        self.all().for_each(|reader| {
            black_box(reader.read(Config::stamp));
        });
    }

    fn rest_all(&mut self) {
        self.all().for_each(Read::rest);
    }

    /// Waits until all waiting threads sleep, and loads the data of the timed calls into the cache.
    fn settle_down(&mut self, peer: &P, writer: &P::Writer) {
        until(|| self.others.sleep());
        if let Some(twin) = &mut self.twin {
            let (writer, handles) = &mut **twin;
            for _ in 0..WARM_UPS {
                handles.rehearse(writer);
            }
        }
        // Looks at all slots.
        P::maintain(writer);
        black_box(peer.reader().read(Config::stamp));
        self.all().for_each(|reader| P::look(reader));
    }

    /// Makes all of the timed calls, for the twin.
    fn rehearse(&mut self, writer: &mut P::Writer) {
        let mut times = Times::default();
        self.take_all();
        writer.update(Config::stamped(1));
        self.time_moves(&mut times);
        times.left.record(ticks(|| self.leaving.rest()));
        times.last.record(ticks(|| self.stalled.rest()));
        self.rest_all();
        writer.settle();
        P::maintain(writer);
        black_box(times);
    }

    fn time_moves(&mut self, times: &mut Times) {
        for reader in &mut self.readers {
            times.moved.record(ticks(|| {
                black_box(reader.read(Config::stamp));
            }));
        }
    }

    /// Runs one cycle: all handles are on the old copy, and then none is.
    fn time_all(&mut self, peer: &P, writer: &P::Writer, times: &mut Times) {
        self.settle_down(peer, writer);
        self.time_moves(times);
        self.settle_down(peer, writer);
        times.left.record(ticks(|| self.leaving.rest()));
        self.settle_down(peer, writer);
        for _ in 0..LOOPS {
            times.unchanged.push(self.time_unchanged());
        }
        times.last.record(ticks(|| self.stalled.rest()));
    }

    /// Mean nanoseconds of `current()` when nothing is new, polling one handle after another.
    fn time_unchanged(&mut self) -> f64 {
        let passes = LOOP / self.readers.len();
        let start = clock::fenced();
        for _ in 0..passes {
            for reader in &mut self.readers {
                black_box(black_box(reader).read(Config::stamp));
            }
        }
        let ticks = (clock::fenced() - start).saturating_sub(clock::overhead());
        clock::ns(ticks) / (passes * self.readers.len()) as f64
    }
}

impl Times {
    fn row(&self, sleeps: f64) -> Vec<f64> {
        const PERCENTILES: [f64; 3] = [50.0, 99.0, 100.0];
        let unchanged = PERCENTILES.map(|p| stats::percentile(&self.unchanged, p));
        let [moved, left, last] =
            [&self.moved, &self.left, &self.last].map(|calls| clock::ns_at(calls, PERCENTILES));
        [&moved[..], &unchanged, &left, &last, &[sleeps]].concat()
    }
}

/// Ticks of one call, less the cost of the stamps.
fn ticks(call: impl FnOnce()) -> u64 {
    let start = clock::fenced();
    call();
    (clock::fenced() - start).saturating_sub(clock::overhead())
}

/// Spins until a condition holds.
fn until(condition: impl Fn() -> bool) {
    let start = Instant::now();
    while !condition() {
        assert!(start.elapsed() < PATIENCE, "the other threads get there");
        std::thread::yield_now();
    }
}

/// Threads whose states the system reveals.
#[derive(Default)]
struct Tasks(Vec<PathBuf>);

impl Tasks {
    /// All current threads of this process; none where the system does not reveal them.
    fn all() -> Self {
        let tasks = std::fs::read_dir("/proc/self/task").ok();
        Self(
            tasks
                .into_iter()
                .flatten()
                .flatten()
                .map(|task| task.path())
                .collect(),
        )
    }

    /// Threads that started later.
    fn since(before: &Self) -> Self {
        let mut all = Self::all();
        all.0.retain(|task| !before.0.contains(task));
        all
    }

    /// Returns `true` if all of them sleep, or have ended.
    fn sleep(&self) -> bool {
        self.0.iter().all(|task| {
            let status = std::fs::read_to_string(task.join("stat")).unwrap_or_default();
            // The state follows the name, which is in parentheses.
            let state = status.rsplit(')').next().unwrap_or_default();
            !state.trim_start().starts_with('R')
        })
    }
}

/// Times that this thread has gone to sleep so far.
fn sleeps_of_this_thread() -> u64 {
    #[cfg(target_os = "linux")]
    {
        // SAFETY: all fields of a `rusage` are numbers, for which zeros are a value.
        let mut usage: libc::rusage = unsafe { std::mem::zeroed() };
        // SAFETY: the pointer is to a `rusage` of this function.
        let failed = unsafe { libc::getrusage(libc::RUSAGE_THREAD, &mut usage) };
        assert_eq!(failed, 0, "every thread can ask for its own usage");
        usage.ru_nvcsw as u64
    }
    #[cfg(not(target_os = "linux"))]
    {
        0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waiting_threads_sleep_until_the_last_handle_lets_go() {
        let work = Work {
            readers: 2,
            cycles: 3,
        };
        for others in [Others::None, Others::Maintainer, Others::Waiting(3)] {
            let row = measure::<HotReadCurrent<Config>>(&others, &work);
            let (sleeps, times) = row.split_last().expect("a row has columns");
            assert!(times.iter().all(|ns| ns.is_finite()), "{others:?}: {row:?}");
            assert_eq!(sleeps.is_nan(), !matches!(others, Others::Waiting(_)));
        }
        measure::<Published<Config>>(&Others::None, &work);
        let bare = bare_store(&work);
        assert!(bare[..3].iter().all(|ns| ns.is_finite()), "{bare:?}");
    }
}
