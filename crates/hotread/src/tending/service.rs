//! The process's maintainer: one thread that completes the publications of all registered states,
//! a bounded piece at a time.

use std::collections::VecDeque;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc as StdArc;
use std::time::{Duration, Instant};

use super::{Tended, Tending, When};
use crate::panics::discard;
use crate::piece::Left;
use crate::sync::atomic::{
    AtomicBool,
    Ordering::{Acquire, Release},
};
use crate::sync::{Mutex, barrier, clock, thread};
use crate::watch::{Leader, POLL};

/// Longest pause before another attempt to clone, after `Clone` has panicked.
const MAX_RETRY: Duration = Duration::from_secs(1);
/// Time for which the thread stays without a registered state, so that a program whose tasks wait
/// occasionally does not start a thread for each wait.
const LINGER: Duration = Duration::from_secs(1);

pub(crate) struct Service {
    inner: Mutex<Inner>,
}

#[derive(Default)]
struct Inner {
    /// Each state at most once; the kind of look that is wanted is in its `Tending`.
    orders: VecDeque<StdArc<Tending>>,
    /// Callers that wait until a state is forgotten.
    forgetting: Vec<(StdArc<Tending>, StdArc<Done>)>,
    /// Number of registrations; the thread ends some time after the last one does.
    registered: usize,
    thread: Option<thread::Thread>,
    /// Id of the process that started the thread: after a `fork`, the child does not have it.
    process: u32,
}

impl Inner {
    fn running(&self) -> Option<&thread::Thread> {
        let thread = self.thread.as_ref()?;
        (self.process == std::process::id()).then_some(thread)
    }
}

/// Signal that the thread has forgotten a state.
struct Done {
    thread: thread::Thread,
    done: AtomicBool,
}

impl Service {
    /// Returns the service of this process; in a model, one for each state, since each run starts
    /// from scratch.
    pub(crate) fn get() -> StdArc<Self> {
        let new = || {
            StdArc::new(Self {
                inner: Mutex::default(),
            })
        };
        #[cfg(any(hotread_loom, hotread_shuttle))]
        return new();
        #[cfg(not(any(hotread_loom, hotread_shuttle)))]
        {
            static SERVICE: std::sync::OnceLock<StdArc<Service>> = std::sync::OnceLock::new();
            StdArc::clone(SERVICE.get_or_init(new))
        }
    }

    /// Counts a registration and, if `start`, makes sure that the thread runs.
    pub(crate) fn register(self: &StdArc<Self>, start: bool) -> io::Result<()> {
        let mut inner = self.inner.lock();
        if start {
            self.start(&mut inner)?;
        }
        inner.registered += 1;
        Ok(())
    }

    fn start(self: &StdArc<Self>, inner: &mut Inner) -> io::Result<()> {
        if inner.running().is_none() {
            let service = StdArc::clone(self);
            let thread = thread::Builder::new()
                .name("hotread-maintainer".to_owned())
                .spawn(move || Worker::new(service).run())?;
            inner.thread = Some(thread.thread().clone());
            inner.process = std::process::id();
        }
        Ok(())
    }

    pub(crate) fn unregister(&self) {
        let mut inner = self.inner.lock();
        inner.registered -= 1;
        self.wake(&inner);
    }

    /// Makes the thread look at a state.
    pub(crate) fn order(self: &StdArc<Self>, tending: &StdArc<Tending>) {
        let mut inner = self.inner.lock();
        // The thread is missing where a task did the work until now. If the system refuses to start
        // one, the next order tries again.
        if inner.registered > 0 && self.start(&mut inner).is_err() {
            return;
        }
        if inner.running().is_some() {
            self.place(&mut inner, tending);
        }
    }

    /// Makes the thread, if it runs, forget a state that is no longer wanted.
    pub(crate) fn forget(&self, tending: &StdArc<Tending>) {
        let mut inner = self.inner.lock();
        if inner.running().is_some() {
            self.place(&mut inner, tending);
        }
    }

    fn place(&self, inner: &mut Inner, tending: &StdArc<Tending>) {
        if tending.enlist() {
            inner.orders.push_back(StdArc::clone(tending));
        }
        self.wake(inner);
    }

    /// Returns when the thread no longer works on a state, which is no longer wanted.
    pub(crate) fn forget_and_wait(&self, tending: &StdArc<Tending>) {
        let mut inner = self.inner.lock();
        let Some(thread) = inner.running() else {
            return;
        };
        // An update that the thread itself applies may be the caller; it cannot wait for itself.
        let waits = thread.id() != thread::current().id();
        let done = StdArc::new(Done {
            thread: thread::current(),
            done: AtomicBool::new(false),
        });
        if waits {
            let entry = (StdArc::clone(tending), StdArc::clone(&done));
            inner.forgetting.push(entry);
        }
        self.place(&mut inner, tending);
        drop(inner);
        while waits && !done.done.load(Acquire) {
            thread::park();
        }
    }

    fn wake(&self, inner: &Inner) {
        if let Some(thread) = &inner.thread {
            thread.unpark();
        }
    }
}

/// The thread's work.
struct Worker {
    service: StdArc<Service>,
    due: VecDeque<Look>,
    later: Vec<(Look, Instant)>,
    /// States whose readers will wake this thread.
    watched: Vec<(StdArc<Tending>, StdArc<Leader>)>,
}

/// A state to be looked at.
struct Look {
    tending: StdArc<Tending>,
    /// Pause before the next attempt, if `Clone` panics.
    retry: Duration,
}

impl Look {
    fn new(tending: StdArc<Tending>) -> Self {
        let retry = POLL;
        Self { tending, retry }
    }

    fn is_at(&self, tending: &StdArc<Tending>) -> bool {
        StdArc::ptr_eq(&self.tending, tending)
    }
}

impl Worker {
    fn new(service: StdArc<Service>) -> Self {
        Self {
            service,
            due: VecDeque::new(),
            later: Vec::new(),
            watched: Vec::new(),
        }
    }

    fn run(mut self) {
        let mut lingered = false;
        loop {
            self.take_orders();
            self.find_due();
            if let Some(look) = self.due.pop_front() {
                lingered = false;
                self.tend(look);
                continue;
            }
            let mut inner = self.service.inner.lock();
            if !inner.orders.is_empty() || !inner.forgetting.is_empty() {
                continue;
            }
            let is_idle = inner.registered == 0 && self.watched.is_empty() && self.later.is_empty();
            if is_idle && (lingered || clock::now().is_none()) {
                inner.thread = None;
                return;
            }
            drop(inner);
            lingered = is_idle;
            match self.later.iter().map(|(_, at)| *at).min() {
                Some(at) => thread::park_timeout(at.saturating_duration_since(Instant::now())),
                None if is_idle => thread::park_timeout(LINGER),
                None => thread::park(),
            }
        }
    }

    fn take_orders(&mut self) {
        let mut inner = self.service.inner.lock();
        let orders = std::mem::take(&mut inner.orders);
        let forgetting = std::mem::take(&mut inner.forgetting);
        drop(inner);
        for tending in orders {
            match tending.wanted() {
                Some(When::Now) => {
                    self.drop_plans(&tending, true);
                    self.due.push_back(Look::new(tending));
                }
                Some(When::Tick) => {
                    let tick = tending.tick;
                    self.look_later(Look::new(tending), tick);
                }
                None => self.drop_plans(&tending, false),
            }
        }
        for (tending, done) in forgetting {
            self.drop_plans(&tending, false);
            done.done.store(true, Release);
            done.thread.unpark();
        }
    }

    /// Plans a look, unless one is planned.
    fn look_later(&mut self, look: Look, pause: Duration) {
        let is_planned = self.due.iter().any(|due| due.is_at(&look.tending))
            || self
                .later
                .iter()
                .any(|(later, _)| later.is_at(&look.tending));
        match clock::now() {
            _ if is_planned => {}
            Some(now) => self.later.push((look, now + pause)),
            // A model has no time: later is now.
            None => self.due.push_back(look),
        }
    }

    /// Drops the plans for a state.
    ///
    /// `wanted`: the state is about to be looked at.
    fn drop_plans(&mut self, tending: &StdArc<Tending>, wanted: bool) {
        self.due.retain(|due| !due.is_at(tending));
        self.later.retain(|(later, _)| !later.is_at(tending));
        self.watched.retain(|(watched, leader)| {
            let is_other = !StdArc::ptr_eq(watched, tending);
            if !is_other
                && let Some(tended) = tending.tended()
                && !tended.pass_lead(leader)
                && !wanted
            {
                // A task may take over.
                tending.schedule(When::Now);
            }
            is_other
        });
    }

    /// Collects the states for which readers have woken the thread, and those whose pause has
    /// passed.
    fn find_due(&mut self) {
        let fired = self
            .watched
            .extract_if(.., |(_, leader)| !leader.is_armed());
        self.due
            .extend(fired.map(|(tending, _)| Look::new(tending)));
        if !self.later.is_empty() {
            let now = Instant::now();
            let ready = self.later.extract_if(.., |(_, at)| *at <= now);
            self.due.extend(ready.map(|(look, _)| look));
        }
    }

    fn tend(&mut self, look: Look) {
        self.drop_plans(&look.tending, true);
        if !look.tending.begin() {
            return;
        }
        let Some(tended) = look.tending.tended() else {
            return;
        };
        match piece(&*tended) {
            Left::Nothing | Left::Busy => {}
            Left::More => self.due.push_back(look),
            Left::Blocked | Left::HeldBack => self.watch(look, &*tended),
            Left::NoClone => {
                let retry = (look.retry * 2).min(MAX_RETRY);
                let pause = look.retry;
                self.look_later(Look { retry, ..look }, pause);
            }
        }
    }

    /// Waits for readers to let go.
    fn watch(&mut self, look: Look, tended: &dyn Tended) {
        let leader = Leader::thread();
        if !tended.lead(&leader) {
            // Another thread leads, and schedules this one when it leaves without a successor.
            return;
        }
        let certain = barrier::heavy();
        match piece(tended) {
            Left::Blocked | Left::HeldBack if certain => {
                return self.watched.push((look.tending, leader));
            }
            Left::Blocked | Left::HeldBack => self.look_later(look, POLL),
            Left::Nothing | Left::Busy => {}
            Left::More | Left::NoClone => self.due.push_back(look),
        }
        tended.pass_lead(&leader);
    }
}

/// Does one piece of maintenance. Panics of user code are caught where it runs; a panic of this
/// crate must not end the maintenance of other states.
fn piece(tended: &dyn Tended) -> Left {
    match catch_unwind(AssertUnwindSafe(|| tended.piece())) {
        Ok(left) => left,
        Err(payload) => {
            discard(payload);
            Left::Nothing
        }
    }
}
