//! The thread that completes blocked publications, and the owner that all `HotRead`s share.

use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc as StdArc;
use std::time::Duration;

use crate::HotReadState;
use crate::core::Core;
use crate::panics::Panics;
use crate::sleep::Sleeper;
use crate::sync::atomic::{
    AtomicBool, AtomicU64,
    Ordering::{Acquire, Relaxed, Release},
};
use crate::sync::{Arc, Mutex, barrier, thread};
use crate::wait::{Leave, POLL};

/// A thread that is woken when a blocked publication can go on, and completes it.
///
/// Costs nothing while publications are not blocked, and a wake-up of a thread (some
/// microseconds) for each that was. Stops and joins its thread when dropped, and when the last
/// `HotRead` is dropped (if both happen at once, one of the two drops waits for the thread).
///
/// A panic of user code that it runs is reported by the panic hook and counted; the thread goes on.
#[must_use = "the maintainer stops when it is dropped"]
pub struct Maintainer {
    thread: StdArc<MaintainerThread>,
}

pub(crate) struct MaintainerThread {
    stop: AtomicBool,
    panics: AtomicU64,
    join: Mutex<Option<thread::JoinHandle<()>>>,
}

impl Maintainer {
    /// Panics of user code (updates, clones, drops, wakers) that this maintainer has survived.
    pub fn panics(&self) -> u64 {
        self.thread.panics.load(Relaxed)
    }
}

impl Drop for Maintainer {
    fn drop(&mut self) {
        self.thread.stop();
    }
}

impl fmt::Debug for Maintainer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Maintainer")
            .field("panics", &self.panics())
            .finish_non_exhaustive()
    }
}

impl MaintainerThread {
    fn stop(&self) {
        self.stop.store(true, Release);
        let Some(thread) = self.join.lock().take() else {
            return;
        };
        thread.thread().unpark();
        // Dropped by an update that the maintainer itself applies: it cannot join itself, and
        // ends by itself when that update returns.
        if thread.thread().id() != thread::current().id() {
            // It catches what user code throws; its own panic would be a bug that was reported.
            let _ = thread.join();
        }
    }
}

/// Shared by all clones of a `HotRead`; its drop is the drop of the last of them.
pub(crate) struct Owner<T: HotReadState> {
    pub(crate) core: Arc<Core<T>>,
    maintainers: Mutex<Vec<StdArc<MaintainerThread>>>,
}

impl<T: HotReadState> Owner<T> {
    pub(crate) fn new(core: Arc<Core<T>>) -> StdArc<Self> {
        StdArc::new(Self {
            core,
            maintainers: Mutex::new(Vec::new()),
        })
    }

    pub(crate) fn spawn_maintainer(&self) -> Maintainer {
        Maintainer {
            thread: self.spawn(&mut self.maintainers.lock()),
        }
    }

    /// Makes sure that somebody completes blocked publications.
    pub(crate) fn ensure_maintainer(&self) {
        let mut maintainers = self.maintainers.lock();
        if self.core.queue.lock().maintainers == 0 {
            self.spawn(&mut maintainers);
        }
    }

    fn spawn(&self, maintainers: &mut Vec<StdArc<MaintainerThread>>) -> StdArc<MaintainerThread> {
        maintainers.retain(|maintainer| maintainer.join.lock().is_some());
        let shared = StdArc::new(MaintainerThread {
            stop: AtomicBool::new(false),
            panics: AtomicU64::new(0),
            join: Mutex::new(None),
        });
        self.core.queue.lock().maintainers += 1;
        let name = match &self.core.settings.name {
            // std refuses a thread name with NUL in it.
            Some(name) => format!("hotread-{}", name.replace('\0', "")),
            None => "hotread-maintainer".to_owned(),
        };
        let spawned = thread::Builder::new().name(name).spawn({
            let core = Arc::clone(&self.core);
            let shared = StdArc::clone(&shared);
            move || run(&core, &shared)
        });
        match spawned {
            Ok(thread) => *shared.join.lock() = Some(thread),
            Err(error) => {
                self.core.queue.lock().maintainers -= 1;
                panic!("the system refused a maintainer thread: {error}");
            }
        }
        maintainers.push(StdArc::clone(&shared));
        shared
    }
}

impl<T: HotReadState> Drop for Owner<T> {
    fn drop(&mut self) {
        let maintainers = std::mem::take(&mut *self.maintainers.lock());
        for maintainer in maintainers {
            maintainer.stop();
        }
        self.core.close();
    }
}

/// Longest pause before another attempt to clone, after `Clone` has panicked.
const MAX_RETRY: Duration = Duration::from_secs(1);

fn run<T: HotReadState>(core: &Core<T>, shared: &MaintainerThread) {
    let me = thread::current();
    let sleeper = Sleeper::new();
    let stopped = || shared.stop.load(Acquire);
    // Is a publication still blocked after an attempt to complete it?
    let maintain = || match catch_unwind(AssertUnwindSafe(|| core.maintain())) {
        Ok(result) => result.blocked_by_workers || result.busy,
        Err(panic) => {
            shared.panics.fetch_add(1, Relaxed);
            // A payload's drop is user code, too.
            Panics::default().run(|| drop(panic));
            core.queue.lock().blocked_since.is_some()
        }
    };
    let mut retry = POLL;
    while !stopped() {
        if maintain() {
            core.hot.sleepers.push(&sleeper);
            let certain = barrier::heavy();
            if maintain() && !stopped() && sleeper.may_park() {
                if certain {
                    thread::park();
                } else {
                    thread::park_timeout(POLL);
                }
            }
            continue;
        }
        let mut queue = core.queue.lock();
        if queue.closed {
            break;
        }
        if queue.blocked_since.is_some() && !core.is_applying() {
            continue;
        }
        if queue.no_clone {
            // Nobody will wake us for it: try again, ever less often.
            drop(queue);
            thread::park_timeout(retry);
            retry = (retry * 2).min(MAX_RETRY);
            continue;
        }
        retry = POLL;
        queue.idle.retain(|thread| thread.id() != me.id());
        queue.idle.push(me.clone());
        drop(queue);
        if !stopped() {
            thread::park();
        }
    }
    let mut queue = core.queue.lock();
    queue.maintainers -= 1;
    queue.idle.retain(|thread| thread.id() != me.id());
    drop(queue);
    drop(Leave(&core.hot.sleepers));
    // Futures that counted on this maintainer start another.
    core.progress.wake_everybody(&mut Panics::default());
}
