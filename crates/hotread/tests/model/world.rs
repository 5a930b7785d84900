//! The user's code in these runs: a state and actions that count their live instances, panic on
//! demand, call back into the `HotRead`, and record all of it in a journal.
//!
//! Everything runs on one thread, so shared data lives in a thread-local [`World`].

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::panic::resume_unwind;

use hotread::{HotRead, HotReadState, WaitError, WeakHotRead};
use std::time::Duration;

/// Event in user code during one call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// An application panicked; `visible`: readers could see the update by then.
    ApplyPanicked {
        seq: u64,
        visible: bool,
    },
    /// `Clone` of a state whose last update is `last` panicked.
    ClonePanicked {
        last: u64,
        visible: bool,
    },
    StateDropPanicked,
    ActionDropPanicked,
    /// An update queued from inside an update.
    Nested {
        seq: u64,
    },
}

#[derive(Default)]
pub struct World {
    pub hot: RefCell<Option<WeakHotRead<State>>>,
    pub events: RefCell<Vec<Event>>,
    /// Applications of each update that were begun, by any copy.
    pub applications: RefCell<HashMap<u64, u32>>,
    /// `apply_update` and `apply_owned` calls that returned.
    pub applied: Cell<usize>,
    pub live_states: Cell<isize>,
    pub live_actions: Cell<isize>,
    pub live_nests: Cell<isize>,
    /// Countdown to the clone or drop that panics; 0: not armed.
    pub clone_fuse: Cell<u32>,
    pub state_drop_fuse: Cell<u32>,
    pub action_drop_fuse: Cell<u32>,
    /// Violations by the library, such as a value used or dropped twice.
    pub faults: RefCell<Vec<String>>,
}

thread_local! {
    static WORLD: World = World::default();
}

pub fn world<R>(f: impl FnOnce(&World) -> R) -> R {
    WORLD.with(f)
}

/// Resets the world for the next case.
pub fn reset() {
    world(|w| {
        *w.hot.borrow_mut() = None;
        w.events.borrow_mut().clear();
        w.applications.borrow_mut().clear();
        w.applied.set(0);
        w.live_states.set(0);
        w.live_actions.set(0);
        w.live_nests.set(0);
        w.faults.borrow_mut().clear();
        disarm();
    });
}

pub fn disarm() {
    world(|w| {
        w.clone_fuse.set(0);
        w.state_drop_fuse.set(0);
        w.action_drop_fuse.set(0);
    });
}

/// Panics without the panic hook, whose output would bury that of a real failure.
fn planned_panic(event: Event) -> ! {
    world(|w| w.events.borrow_mut().push(event));
    resume_unwind(Box::new("planned"));
}

fn burn(fuse: &Cell<u32>) -> bool {
    let left = fuse.get();
    fuse.set(left.saturating_sub(1));
    left == 1
}

fn fault(text: String) {
    world(|w| w.faults.borrow_mut().push(text));
}

/// Returns the `HotRead` of this run. `None`: the last one was dropped.
fn hot() -> Option<HotRead<State>> {
    world(|w| w.hot.borrow().as_ref().and_then(WeakHotRead::upgrade))
}

/// Returns `true` if readers can see the update with this number.
fn visible(seq: u64) -> bool {
    hot().is_some_and(|hot| hot.read(|state| state.last() >= seq))
}

const ALIVE: u64 = 0x616c_6976_6521;

/// Counts its instances; detects a second drop, or bytes that are not a canary.
struct Canary(u64);

impl Canary {
    fn check(&self, what: &str) {
        if self.0 != ALIVE {
            fault(format!(
                "{what} of a value that is not alive: {:#x}",
                self.0
            ));
        }
    }
}

/// Numbers of the updates applied since the last replacement.
pub struct State {
    pub seen: Vec<u64>,
    canary: Canary,
}

impl State {
    pub fn new(seen: Vec<u64>) -> Self {
        world(|w| w.live_states.set(w.live_states.get() + 1));
        Self {
            seen,
            canary: Canary(ALIVE),
        }
    }

    pub fn last(&self) -> u64 {
        self.canary.check("read");
        self.seen.last().copied().unwrap_or(0)
    }
}

impl Clone for State {
    fn clone(&self) -> Self {
        self.canary.check("clone");
        if world(|w| burn(&w.clone_fuse)) {
            let last = self.last();
            planned_panic(Event::ClonePanicked {
                last,
                visible: visible(last),
            });
        }
        Self::new(self.seen.clone())
    }
}

impl Drop for State {
    fn drop(&mut self) {
        self.canary.check("drop of a state");
        self.canary.0 = 0;
        world(|w| w.live_states.set(w.live_states.get() - 1));
        if !std::thread::panicking() && world(|w| burn(&w.state_drop_fuse)) {
            planned_panic(Event::StateDropPanicked);
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    Push,
    /// Panics at the n-th application, after half the change.
    PanicAt(u32),
    /// Panics when it is applied by `apply_owned`.
    PanicOwned,
    /// Queues a `Push` whenever it is applied.
    Nest,
    /// Uses everything else that is allowed inside an update.
    Inside,
}

pub struct Action {
    /// Equals the update's sequence number.
    pub seq: u64,
    pub kind: Kind,
    canary: Canary,
}

impl Action {
    pub fn new(seq: u64, kind: Kind) -> Self {
        world(|w| {
            w.live_actions.set(w.live_actions.get() + 1);
            if kind == Kind::Nest {
                w.live_nests.set(w.live_nests.get() + 1);
            }
        });
        Self {
            seq,
            kind,
            canary: Canary(ALIVE),
        }
    }
}

impl Clone for Action {
    fn clone(&self) -> Self {
        self.canary.check("clone of an action");
        Self::new(self.seq, self.kind)
    }
}

impl Drop for Action {
    fn drop(&mut self) {
        self.canary.check("drop of an action");
        self.canary.0 = 0;
        world(|w| {
            w.live_actions.set(w.live_actions.get() - 1);
            if self.kind == Kind::Nest {
                w.live_nests.set(w.live_nests.get() - 1);
            }
        });
        if !std::thread::panicking() && world(|w| burn(&w.action_drop_fuse)) {
            planned_panic(Event::ActionDropPanicked);
        }
    }
}

impl HotReadState for State {
    type Action = Action;

    fn apply_update(&mut self, update: &Action) {
        self.apply(update, false);
    }

    fn apply_owned(&mut self, update: Action) {
        self.apply(&update, true);
    }
}

impl State {
    fn apply(&mut self, update: &Action, owned: bool) {
        self.canary.check("update");
        update.canary.check("application");
        let seq = update.seq;
        let time = world(|w| {
            let mut applications = w.applications.borrow_mut();
            let time = applications.entry(seq).or_insert(0);
            *time += 1;
            *time
        });
        if owned && hot().is_some() && !visible(seq) {
            fault(format!("update {seq} was given away before it was visible"));
        }
        match update.kind {
            Kind::PanicAt(n) if n == time => self.panic_half_way(seq),
            Kind::PanicOwned if owned => self.panic_half_way(seq),
            Kind::Nest => nest(),
            Kind::Inside => use_what_is_allowed(),
            _ => {}
        }
        self.seen.push(seq);
        world(|w| w.applied.set(w.applied.get() + 1));
    }

    fn panic_half_way(&mut self, seq: u64) -> ! {
        self.seen.push(u64::MAX);
        planned_panic(Event::ApplyPanicked {
            seq,
            visible: visible(seq),
        });
    }
}

fn nest() {
    let Some(hot) = hot() else {
        return;
    };
    let seq = hot.latest_seq() + 1;
    let result = hot.queue_update(Action::new(seq, Kind::Push));
    if (result.first_seq, result.last_seq, result.queued_updates) != (seq, seq, 1)
        || result.published
        || result.blocked_by_workers
    {
        fault(format!("queued {seq} from inside an update: {result:?}"));
    }
    world(|w| w.events.borrow_mut().push(Event::Nested { seq }));
}

fn use_what_is_allowed() {
    let Some(hot) = hot() else {
        return;
    };
    let published = hot.published_seq();
    let mut handle = hot.create_named_handle("inside");
    let mut second = handle.clone();
    let seen = handle.current().last();
    if seen < published || second.current().last() != seen || hot.read(State::last) != seen {
        fault(format!(
            "inside an update, {seen} is seen where {published} is published"
        ));
    }
    let workers = hot.workers();
    if !workers
        .iter()
        .any(|worker| worker.name.as_deref() == Some("inside"))
    {
        fault(format!(
            "the handle made inside an update is not among {workers:?}"
        ));
    }
    drop(handle);
    if !hot.maintain().busy {
        fault("maintain inside an update was not busy".to_owned());
    }
    let latest = hot.latest_seq();
    let waited = hot.wait_published(latest, Duration::MAX);
    let settled = waited == Ok(()) || waited == Err(WaitError::Rejected);
    if !settled && waited != Err(WaitError::WithinUpdate) {
        fault(format!("waiting inside an update: {waited:?}"));
    }
    drop(hot.clone());
    let _ = format!("{hot:?} {second:?} {}", hot.queued_update_count());
}
