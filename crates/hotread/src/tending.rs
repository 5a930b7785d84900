//! Registration of one state with the process's maintainer, or with a task in its place.

mod service;

use std::io;
use std::sync::{Arc as StdArc, OnceLock, Weak as StdWeak};
use std::task::Waker;
use std::time::Duration;

use self::service::Service;
use crate::piece::Left;
use crate::sync::Mutex;
use crate::sync::atomic::{
    AtomicBool, AtomicU8,
    Ordering::{AcqRel, Acquire, Relaxed},
};
use crate::watch::Leader;

/// A state as its maintainer sees it, without its type.
pub(crate) trait Tended: Send + Sync {
    /// One piece of maintenance.
    fn piece(&self) -> Left;

    /// Makes `leader` the one that readers wake; `false` if another one leads.
    fn lead(&self, leader: &StdArc<Leader>) -> bool;

    /// Ends that lead, and finds a successor among the threads that wait, unless another one leads.
    /// `false`: no thread waits.
    fn pass_lead(&self, leader: &StdArc<Leader>) -> bool;
}

/// Urgency of a maintainer's next look.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum When {
    /// After a pause: the second copy lacks updates.
    Tick,
    Now,
}

/// The state has no maintainer.
const NONE: u8 = 0;
/// The maintainer is idle.
const IDLE: u8 = 1;
/// The maintainer will look after a pause.
const TICK: u8 = 2;
/// The maintainer will look soon.
const NOW: u8 = 3;

/// One state's registration.
pub(crate) struct Tending {
    state: AtomicU8,
    /// Set while the state is in the orders of the process's maintainer.
    enlisted: AtomicBool,
    registered: Mutex<Registered>,
    service: StdArc<Service>,
    tended: OnceLock<StdWeak<dyn Tended>>,
    /// Time for which a maintainer may leave the second copy behind.
    pub(crate) tick: Duration,
}

#[derive(Default)]
struct Registered {
    /// Number of registrations with the process's maintainer.
    with_service: usize,
    /// There was a registration at some time, so that the maintainer may still be at work.
    ever: bool,
    /// A task that maintains the state instead.
    task: Option<(u64, Waker)>,
    next_task: u64,
    /// The last `HotRead` is gone.
    retired: bool,
}

impl Registered {
    fn is_empty(&self) -> bool {
        self.retired || self.with_service == 0 && self.task.is_none()
    }
}

impl Tending {
    pub(crate) fn new(tick: Duration) -> Self {
        Self {
            state: AtomicU8::new(NONE),
            enlisted: AtomicBool::new(false),
            registered: Mutex::default(),
            service: Service::get(),
            tended: OnceLock::new(),
            tick,
        }
    }

    /// Sets the state to maintain; called once, before the state is shared.
    pub(crate) fn set_tended(&self, tended: StdWeak<dyn Tended>) {
        // A second call would set the same state.
        let _ = self.tended.set(tended);
    }

    pub(crate) fn tended(&self) -> Option<StdArc<dyn Tended>> {
        self.tended.get()?.upgrade()
    }

    /// Returns `true` if there is a maintainer and it is idle. An update pays this load in the
    /// meantime.
    #[inline]
    pub(crate) fn wants_attention(&self) -> bool {
        // ORDERING: the maintainer stores this before its last look, for which it takes the right
        // to apply; a turn that comes after that look sees it.
        self.state.load(Relaxed) == IDLE
    }

    /// Makes the maintainer look, if there is one.
    pub(crate) fn schedule(self: &StdArc<Self>, when: When) {
        let wanted = match when {
            When::Tick => TICK,
            When::Now => NOW,
        };
        let mut state = self.state.load(Acquire);
        loop {
            if state == NONE || state >= wanted {
                return;
            }
            match self.state.compare_exchange(state, wanted, AcqRel, Acquire) {
                Ok(_) => break,
                Err(now) => state = now,
            }
        }
        let registered = self.registered.lock();
        let task = registered.task.as_ref().map(|(_, waker)| waker.clone());
        drop(registered);
        match task {
            Some(task) => task.wake(),
            None => self.service.order(self),
        }
    }

    /// Enters the orders of the process's maintainer. `false`: the state is in them already.
    pub(crate) fn enlist(&self) -> bool {
        !self.enlisted.swap(true, AcqRel)
    }

    /// Leaves the orders, and returns how soon a look is wanted. `None`: none is wanted, and
    /// planned looks are to be dropped.
    pub(crate) fn wanted(&self) -> Option<When> {
        self.enlisted.swap(false, AcqRel);
        match self.state.load(Acquire) {
            NONE => None,
            TICK => Some(When::Tick),
            _ => Some(When::Now),
        }
    }

    /// Marks the beginning of the maintainer's look: events from now on schedule another one.
    /// `false`: maintenance is no longer wanted.
    pub(crate) fn begin(&self) -> bool {
        let mut state = self.state.load(Acquire);
        while state != NONE {
            match self.state.compare_exchange(state, IDLE, AcqRel, Acquire) {
                Ok(_) => return true,
                Err(now) => state = now,
            }
        }
        false
    }

    /// Registers with the process's maintainer. The error is the system's, which refused to start a
    /// thread.
    pub(crate) fn register(tending: &StdArc<Self>) -> io::Result<Registration> {
        let mut registered = tending.registered.lock();
        // While a task does the work, no thread is needed.
        tending.service.register(registered.task.is_none())?;
        registered.with_service += 1;
        registered.ever = true;
        tending.open(&registered);
        drop(registered);
        tending.schedule(When::Now);
        Ok(Registration {
            tending: StdArc::clone(tending),
        })
    }

    /// Makes a task maintain the state, or replaces the task's waker. Returns the task's number.
    pub(crate) fn register_task(self: &StdArc<Self>, number: Option<u64>, waker: Waker) -> u64 {
        let mut registered = self.registered.lock();
        let number = number.unwrap_or_else(|| {
            registered.next_task += 1;
            registered.next_task
        });
        let old = registered.task.replace((number, waker));
        self.open(&registered);
        drop(registered);
        drop(old);
        number
    }

    pub(crate) fn unregister_task(self: &StdArc<Self>, number: u64) {
        let mut registered = self.registered.lock();
        let task = registered.task.take_if(|(known, _)| *known == number);
        let left = registered.with_service;
        self.shut(&registered);
        drop(registered);
        drop(task);
        if left > 0 {
            // The process's maintainer takes over.
            self.schedule(When::Now);
        }
    }

    fn open(&self, registered: &Registered) {
        if !registered.is_empty() {
            let _ = self.state.compare_exchange(NONE, IDLE, AcqRel, Relaxed);
        }
    }

    fn shut(&self, registered: &Registered) {
        if registered.is_empty() {
            self.state.swap(NONE, AcqRel);
        }
    }

    /// Ends all maintenance, as the last `HotRead` is dropped. When this returns, the process's
    /// maintainer no longer works on this state, unless the maintainer itself is the caller.
    pub(crate) fn retire(self: &StdArc<Self>) {
        let mut registered = self.registered.lock();
        registered.retired = true;
        self.shut(&registered);
        let ever = registered.ever;
        let task = registered.task.take();
        drop(registered);
        if ever {
            self.service.forget_and_wait(self);
        }
        if let Some((_, waker)) = task {
            waker.wake();
        }
    }

    pub(crate) fn is_retired(&self) -> bool {
        self.registered.lock().retired
    }
}

/// One registration for maintenance by the process's maintainer.
pub(crate) struct Registration {
    tending: StdArc<Tending>,
}

impl Drop for Registration {
    fn drop(&mut self) {
        let mut registered = self.tending.registered.lock();
        registered.with_service -= 1;
        self.tending.shut(&registered);
        let is_last = registered.with_service == 0;
        drop(registered);
        if is_last {
            self.tending.service.forget(&self.tending);
        }
        self.tending.service.unregister();
    }
}
