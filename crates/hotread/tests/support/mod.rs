//! A state for tests: it counts its live instances, its actions are closures, and its clones and
//! drops panic on demand. Also the few parts of a runtime that tests need.

#![allow(dead_code, reason = "each test file uses a part of this")]

pub mod sum;

use std::future::Future;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::pin::pin;
use std::sync::atomic::{AtomicIsize, AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, Condvar, Mutex, mpsc};
use std::task::{Context, Poll, Wake, Waker};
use std::thread::{self, Thread};
use std::time::Duration;

use hotread::{HotRead, HotReadHandle, HotReadState};

/// Far longer than any test takes; only a failing test waits for all of it.
pub const FOREVER: Duration = Duration::from_secs(600);

/// The payload of a panic that a test planned.
#[derive(Debug, PartialEq, Eq)]
pub struct Planned(pub u64);

/// Panics without the panic hook, whose output would look like that of a failure.
pub fn planned_panic(number: u64) -> ! {
    resume_unwind(Box::new(Planned(number)))
}

/// Runs code that is to panic as planned, and returns the number of its panic.
pub fn panics<R>(code: impl FnOnce() -> R) -> u64 {
    let Err(panic) = catch_unwind(AssertUnwindSafe(code)) else {
        panic!("it was to panic, and did not");
    };
    match panic.downcast::<Planned>() {
        Ok(planned) => planned.0,
        Err(other) => resume_unwind(other),
    }
}

/// Counters and fuses shared by all copies of one state.
#[derive(Default)]
pub struct Care {
    pub live: AtomicIsize,
    pub live_actions: AtomicIsize,
    /// Calls of `apply_update` and `apply_owned`.
    pub applications: AtomicUsize,
    pub clones: AtomicUsize,
    /// Number of the next clones, or drops, that panic.
    pub clone_panics: AtomicUsize,
    pub drop_panics: AtomicUsize,
    /// Runs at each clone, before the clone may panic.
    pub on_clone: Mutex<Option<HookCode>>,
}

type HookCode = Arc<dyn Fn() + Send + Sync>;

impl Care {
    pub fn live(&self) -> isize {
        self.live.load(SeqCst)
    }

    pub fn live_actions(&self) -> isize {
        self.live_actions.load(SeqCst)
    }
}

fn burn(fuse: &AtomicUsize) -> bool {
    !thread::panicking()
        && fuse
            .fetch_update(SeqCst, SeqCst, |n| n.checked_sub(1))
            .is_ok()
}

/// The number in the payload of a panicking clone, and of a panicking drop.
pub const CLONE: u64 = 1_000_001;
pub const DROP: u64 = 1_000_002;

pub struct Probe {
    pub seen: Vec<u64>,
    pub care: Arc<Care>,
}

impl Probe {
    pub fn new(care: &Arc<Care>) -> Self {
        Self::with(care, [])
    }

    pub fn with(care: &Arc<Care>, seen: impl Into<Vec<u64>>) -> Self {
        care.live.fetch_add(1, SeqCst);
        Self {
            seen: seen.into(),
            care: Arc::clone(care),
        }
    }
}

impl Clone for Probe {
    fn clone(&self) -> Self {
        self.care.clones.fetch_add(1, SeqCst);
        let code = self.care.on_clone.lock().unwrap().clone();
        if let Some(code) = code {
            code();
        }
        if burn(&self.care.clone_panics) {
            planned_panic(CLONE);
        }
        Self::with(&self.care, self.seen.clone())
    }
}

impl Drop for Probe {
    fn drop(&mut self) {
        self.care.live.fetch_sub(1, SeqCst);
        if burn(&self.care.drop_panics) {
            planned_panic(DROP);
        }
    }
}

impl HotReadState for Probe {
    type Action = Step;

    fn apply_update(&mut self, update: &Step) {
        self.care.applications.fetch_add(1, SeqCst);
        if let Some(code) = &update.code {
            let nth = update.applications.fetch_add(1, SeqCst) + 1;
            code(&Application { nth, owned: false });
        }
        self.seen.push(update.number);
    }

    fn apply_owned(&mut self, update: Step) {
        self.care.applications.fetch_add(1, SeqCst);
        if let Some(code) = &update.code {
            let nth = update.applications.fetch_add(1, SeqCst) + 1;
            code(&Application { nth, owned: true });
        }
        self.seen.push(update.number);
    }
}

/// One application of an update.
pub struct Application {
    /// Number of the application, counted from 1 over all copies.
    pub nth: usize,
    /// `true` if applied by `apply_owned`.
    pub owned: bool,
}

type Code = Arc<dyn Fn(&Application) + Send + Sync>;

/// An action: runs its code, then pushes its number.
#[derive(Clone)]
pub struct Step {
    pub number: u64,
    code: Option<Code>,
    drop_code: Option<HookCode>,
    applications: Arc<AtomicUsize>,
}

impl Drop for Step {
    fn drop(&mut self) {
        if let Some(code) = &self.drop_code
            && !thread::panicking()
        {
            code();
        }
    }
}

/// Pushes a number.
pub fn push(number: u64) -> Step {
    Step {
        number,
        code: None,
        drop_code: None,
        applications: Arc::default(),
    }
}

/// Runs code at each application, then pushes a number.
pub fn run(number: u64, code: impl Fn(&Application) + Send + Sync + 'static) -> Step {
    let mut step = push(number);
    step.code = Some(Arc::new(code));
    step
}

/// Pushes a number, and runs code when it is dropped.
pub fn on_drop(number: u64, code: impl Fn() + Send + Sync + 'static) -> Step {
    let mut step = push(number);
    step.drop_code = Some(Arc::new(code));
    step
}

/// Panics at the n-th application, with `number` in the payload.
pub fn panic_at(number: u64, n: usize) -> Step {
    run(number, move |application| {
        if application.nth == n {
            planned_panic(number);
        }
    })
}

/// A gate at which updates stop until the test opens it.
#[derive(Clone, Default)]
pub struct Gate(Arc<GateState>);

#[derive(Default)]
struct GateState {
    /// Number of arrivals, and how many of them may pass.
    counts: Mutex<(usize, usize)>,
    changed: Condvar,
}

impl Gate {
    /// Stops here until [`Gate::open`] was called once more than before.
    pub fn stop(&self) {
        let mut counts = self.0.counts.lock().unwrap();
        counts.0 += 1;
        let number = counts.0;
        self.0.changed.notify_all();
        while counts.1 < number {
            counts = self.0.changed.wait(counts).unwrap();
        }
    }

    /// Waits until an update has arrived for which [`Gate::open`] was not called yet.
    pub fn arrived(&self) {
        let mut counts = self.0.counts.lock().unwrap();
        while counts.0 <= counts.1 {
            counts = self.0.changed.wait(counts).unwrap();
        }
    }

    /// Lets one more update pass.
    pub fn open(&self) {
        self.0.counts.lock().unwrap().1 += 1;
        self.0.changed.notify_all();
    }

    /// Pushes a number, and stops before it when it is first applied.
    pub fn step(&self, number: u64) -> Step {
        let gate = self.clone();
        run(number, move |application| {
            if application.nth == 1 {
                gate.stop();
            }
        })
    }
}

/// Returns a state with two copies, and its counters.
pub fn probe() -> (HotRead<Probe>, Arc<Care>) {
    let care = Arc::<Care>::default();
    (HotRead::new(Probe::new(&care)), care)
}

/// Returns the state that readers see.
pub fn seen(hot: &HotRead<Probe>) -> Vec<u64> {
    hot.read(|state| state.seen.clone())
}

/// Publishes `push(number)` after a new handle has taken the other of the two copies: the following
/// updates are blocked until that handle lets go.
pub fn hold_up(hot: &HotRead<Probe>, number: u64) -> HotReadHandle<Probe> {
    let mut handle = hot.create_named_handle("in the way");
    handle.current();
    let result = hot.queue_update(push(number));
    assert!(!result.blocked_by_workers);
    // A maintainer may be applying, and then publishes it instead.
    while hot.published_seq() < result.last_seq {
        thread::yield_now();
    }
    handle
}

/// Queues a batch and applies it to every copy, which `queue_updates` may defer.
pub fn apply_everywhere(hot: &HotRead<Probe>, batch: impl IntoIterator<Item = Step>) {
    hot.queue_updates(batch);
    hot.maintain();
}

/// Applies every update to every copy, with no handle in the way, and checks that the copies agree.
pub fn settle(hot: &HotRead<Probe>) {
    while hot.maintain().busy {
        thread::yield_now();
    }
    assert_eq!(hot.queued_update_count(), 0);
    let settled = seen(hot);
    // Each copy in turn is the published one.
    for round in 1..=2 {
        let result = hot.queue_update(push(u64::MAX));
        assert!(!result.blocked_by_workers);
        while hot.published_seq() < result.last_seq {
            thread::yield_now();
        }
        let now = seen(hot);
        assert_eq!(now.len(), settled.len() + round);
        assert_eq!(now[..settled.len()], settled, "the copies differ");
    }
}

/// Runs code that might hang on a thread of its own; fails instead of hanging.
pub fn finishes<R: Send + 'static>(code: impl FnOnce() -> R + Send + 'static) -> R {
    let (sender, receiver) = mpsc::channel();
    let runner = thread::spawn(move || {
        let result = catch_unwind(AssertUnwindSafe(code));
        let _ = sender.send(());
        result
    });
    receiver.recv_timeout(FOREVER).expect("it hangs");
    match runner.join().expect("its panics are caught") {
        Ok(result) => result,
        Err(panic) => resume_unwind(panic),
    }
}

struct Unpark(Thread);

impl Wake for Unpark {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }
}

/// Runs a future to its end on this thread.
pub fn block_on<F: Future>(future: F) -> F::Output {
    let waker = Waker::from(Arc::new(Unpark(thread::current())));
    let mut future = pin!(future);
    loop {
        match future.as_mut().poll(&mut Context::from_waker(&waker)) {
            Poll::Ready(output) => return output,
            Poll::Pending => thread::park(),
        }
    }
}

/// Counts its wake-ups.
#[derive(Default)]
pub struct CountingWaker(pub AtomicUsize);

impl Wake for CountingWaker {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, SeqCst);
    }
}
