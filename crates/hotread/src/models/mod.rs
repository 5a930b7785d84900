//! Models of the protocol, on the crate's own code: every interleaving of small scenarios under
//! loom, many random ones of the same and of larger scenarios under shuttle.
//!
//! Each comment `Fault:` names the planted faults, `faults/hotread/*.patch`, that the model catches;
//! `scripts/faults.sh` proves it.

mod readers;
#[cfg(hotread_shuttle)]
mod scenarios;
mod waiting;
mod writers;

use std::sync::Arc as StdArc;
use std::sync::atomic::{AtomicIsize, Ordering::SeqCst};

use crate::sync::UnsafeCell;
use crate::{HotRead, HotReadHandle, HotReadState};

#[cfg(hotread_loom)]
pub(crate) use loom::thread;
#[cfg(hotread_shuttle)]
pub(crate) use shuttle::thread;

/// Runs every interleaving within the bound on preemptions (`LOOM_MAX_PREEMPTIONS`).
#[cfg(hotread_loom)]
pub(crate) fn explore(scenario: impl Fn() + Send + Sync + 'static) {
    loom::model(scenario);
}

/// Runs random schedules, and schedules with few but badly placed preemptions.
#[cfg(hotread_shuttle)]
pub(crate) fn explore(scenario: impl Fn() + Send + Sync + 'static) {
    let scenario = StdArc::new(scenario);
    let pct = StdArc::clone(&scenario);
    shuttle::check_random(move || scenario(), iterations());
    shuttle::check_pct(move || pct(), iterations(), 3);
}

#[cfg(hotread_loom)]
pub(crate) use explore as explore_fairly;

/// As [`explore_fairly`], but loom gets one preemption less: for a scenario that would take longer
/// than all others.
#[cfg(hotread_loom)]
pub(crate) fn explore_sparingly(scenario: impl Fn() + Send + Sync + 'static) {
    let mut model = loom::model::Builder::new();
    model.preemption_bound = model.preemption_bound.map(|bound| bound.saturating_sub(1));
    model.check(scenario);
}

#[cfg(hotread_shuttle)]
pub(crate) use explore_fairly as explore_sparingly;

/// Runs random schedules, for scenarios in which threads park. shuttle's `park` may wake for no
/// reason, and its other scheduler would let one thread do that for ever.
#[cfg(hotread_shuttle)]
pub(crate) fn explore_fairly(scenario: impl Fn() + Send + Sync + 'static) {
    shuttle::check_random(scenario, 2 * iterations());
}

/// Schedules of each kind; `HOTREAD_SHUTTLE_ITERATIONS` asks for more.
#[cfg(hotread_shuttle)]
fn iterations() -> usize {
    std::env::var("HOTREAD_SHUTTLE_ITERATIONS")
        .ok()
        .and_then(|text| text.parse().ok())
        .unwrap_or(20_000)
}

/// Counts what is alive, to show that everything is dropped exactly once.
#[derive(Clone, Default)]
pub(crate) struct Census(StdArc<AtomicIsize>);

impl Census {
    pub(crate) fn alive(&self) -> isize {
        self.0.load(SeqCst)
    }
}

struct Resident(Census);

impl Resident {
    fn new(census: &Census) -> Self {
        census.0.fetch_add(1, SeqCst);
        Self(census.clone())
    }
}

impl Clone for Resident {
    fn clone(&self) -> Self {
        Self::new(&self.0)
    }
}

impl Drop for Resident {
    fn drop(&mut self) {
        let before = self.0.0.fetch_sub(1, SeqCst);
        assert!(before > 0, "dropped twice");
    }
}

/// The updates seen so far, in a cell whose accesses the model checks: a reader that looks while
/// or before a writer's change is ordered fails the model.
pub(crate) struct Seen {
    updates: UnsafeCell<Vec<u64>>,
    _resident: Resident,
}

// SAFETY: the cell is what the models watch; sharing it soundly is what they check.
unsafe impl Send for Seen {}
// SAFETY: as above.
unsafe impl Sync for Seen {}

impl Seen {
    pub(crate) fn new(census: &Census) -> Self {
        Self {
            updates: UnsafeCell::new(Vec::new()),
            _resident: Resident::new(census),
        }
    }

    pub(crate) fn updates(&self) -> Vec<u64> {
        // SAFETY: checked by the model.
        self.updates.with(|updates| unsafe { (*updates).clone() })
    }

    pub(crate) fn len(&self) -> usize {
        // SAFETY: checked by the model.
        self.updates.with(|updates| unsafe { (*updates).len() })
    }
}

impl Clone for Seen {
    fn clone(&self) -> Self {
        Self {
            updates: UnsafeCell::new(self.updates()),
            _resident: self._resident.clone(),
        }
    }
}

/// One update: a number, or one that panics when it is applied.
#[derive(Clone)]
pub(crate) struct Note {
    number: u64,
    panics: bool,
    _resident: Resident,
}

impl HotReadState for Seen {
    type Action = Note;

    fn apply_update(&mut self, note: &Note) {
        // SAFETY: checked by the model.
        self.updates
            .with_mut(|updates| unsafe { (*updates).push(note.number) });
        // After the change, so that the copy is left half changed.
        assert!(!note.panics, "a planned panic");
    }
}

/// A state, and what it and its updates count.
pub(crate) struct Fixture {
    pub(crate) hot: HotRead<Seen>,
    pub(crate) census: Census,
}

impl Fixture {
    pub(crate) fn new(copies: usize) -> Self {
        let census = Census::default();
        let hot = HotRead::builder(Seen::new(&census))
            .max_copies(copies)
            .small_limits()
            .build();
        Self { hot, census }
    }

    pub(crate) fn note(&self, number: u64) -> Note {
        note(&self.census, number)
    }

    /// What is left in the log when nobody reads and everything has been maintained.
    pub(crate) fn settled_log(&self) -> usize {
        self.hot.maintain();
        self.hot.queued_update_count()
    }

    /// Everything is dropped exactly once, also when `handles` outlive the `HotRead`.
    pub(crate) fn end(self, handles: Vec<HotReadHandle<Seen>>) {
        let Self { hot, census } = self;
        drop(hot);
        drop(handles);
        assert_eq!(census.alive(), 0, "something was not dropped");
    }
}

pub(crate) fn note(census: &Census, number: u64) -> Note {
    Note {
        number,
        panics: false,
        _resident: Resident::new(census),
    }
}

pub(crate) fn bomb(census: &Census, number: u64) -> Note {
    Note {
        number,
        panics: true,
        _resident: Resident::new(census),
    }
}

/// A whole prefix 1, 2, 3, … as many as the generation says.
pub(crate) fn assert_prefix(seen: &Seen) -> usize {
    let updates = seen.updates();
    let expected: Vec<u64> = (1..=updates.len() as u64).collect();
    assert_eq!(updates, expected, "not a prefix of the updates");
    updates.len()
}
