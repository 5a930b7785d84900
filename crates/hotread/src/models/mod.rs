//! Models of the protocol, on the crate's own code: loom runs every interleaving of small
//! scenarios, and shuttle many random ones of these and of larger scenarios.
//!
//! Each comment `Fault:` names the planted faults, `faults/hotread/*.patch`, that the model
//! catches; `scripts/faults.sh` proves it.

mod readers;
#[cfg(hotread_shuttle)]
mod scenarios;
mod waiting;
mod writers;

use std::sync::Arc as StdArc;
use std::sync::atomic::{AtomicIsize, AtomicU64, Ordering::SeqCst};

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

/// Like [`explore_fairly`], but loom gets one preemption less: for a scenario that would take
/// longer than all others.
#[cfg(hotread_loom)]
pub(crate) fn explore_sparingly(scenario: impl Fn() + Send + Sync + 'static) {
    let mut model = loom::model::Builder::new();
    model.preemption_bound = model.preemption_bound.map(|bound| bound.saturating_sub(1));
    model.check(scenario);
}

#[cfg(hotread_shuttle)]
pub(crate) use explore_fairly as explore_sparingly;

/// Runs random schedules, for scenarios in which threads park. shuttle's `park` may wake
/// spuriously, and its other scheduler would let one thread do so forever.
#[cfg(hotread_shuttle)]
pub(crate) fn explore_fairly(scenario: impl Fn() + Send + Sync + 'static) {
    shuttle::check_random(scenario, 2 * iterations());
}

/// Number of schedules of each kind; `HOTREAD_SHUTTLE_ITERATIONS` raises it.
#[cfg(hotread_shuttle)]
fn iterations() -> usize {
    std::env::var("HOTREAD_SHUTTLE_ITERATIONS")
        .ok()
        .and_then(|text| text.parse().ok())
        .unwrap_or(20_000)
}

/// Counts of live values, which show that each is dropped exactly once, and of planned panics.
#[derive(Clone, Default)]
pub(crate) struct Census(StdArc<Counts>);

#[derive(Default)]
struct Counts {
    alive: AtomicIsize,
    planned_panics: AtomicU64,
}

impl Census {
    pub(crate) fn alive(&self) -> isize {
        self.0.alive.load(SeqCst)
    }
}

struct Resident(Census);

impl Resident {
    fn new(census: &Census) -> Self {
        census.0.alive.fetch_add(1, SeqCst);
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
        let before = self.0.0.alive.fetch_sub(1, SeqCst);
        assert!(before > 0, "dropped twice");
    }
}

/// The updates seen so far, in a cell whose accesses the model checks: a read that is not ordered
/// after a writer's change fails the model.
pub(crate) struct Seen {
    updates: UnsafeCell<Vec<u64>>,
    _resident: Resident,
}

// SAFETY: the models check that sharing the cell is sound.
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

/// One update: a number, possibly one that panics when it is applied.
#[derive(Clone)]
pub(crate) struct Note {
    number: u64,
    panics: bool,
    resident: Resident,
}

impl HotReadState for Seen {
    type Action = Note;

    fn apply_update(&mut self, note: &Note) {
        // SAFETY: checked by the model.
        self.updates
            .with_mut(|updates| unsafe { (*updates).push(note.number) });
        // After the change, so that the copy is left half changed.
        if note.panics {
            let census = &note.resident.0;
            census.0.planned_panics.fetch_add(1, SeqCst);
            panic!("a planned panic");
        }
    }
}

/// A state, and the counts of the values in it and its updates.
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

    /// Returns the size of the log after all maintenance, without readers.
    pub(crate) fn settled_log(&self) -> usize {
        self.hot.maintain();
        self.hot.queued_update_count()
    }

    /// Checks that every value was dropped exactly once, even when `handles` outlive the `HotRead`,
    /// and that no unplanned panic occurred inside an update. The checkers report there that a copy
    /// is written while it is read, and the core catches that panic like all panics of updates.
    pub(crate) fn end(self, handles: Vec<HotReadHandle<Seen>>) {
        let Self { hot, census } = self;
        let planned = census.0.planned_panics.load(SeqCst);
        assert_eq!(hot.panics(), planned, "a panic that was not planned");
        drop(hot);
        drop(handles);
        assert_eq!(census.alive(), 0, "something was not dropped");
    }
}

pub(crate) fn note(census: &Census, number: u64) -> Note {
    Note {
        number,
        panics: false,
        resident: Resident::new(census),
    }
}

pub(crate) fn bomb(census: &Census, number: u64) -> Note {
    Note {
        number,
        panics: true,
        resident: Resident::new(census),
    }
}

/// Checks that the updates are a whole prefix 1, 2, 3, …, and returns its length.
pub(crate) fn assert_prefix(seen: &Seen) -> usize {
    let updates = seen.updates();
    let expected: Vec<u64> = (1..=updates.len() as u64).collect();
    assert_eq!(updates, expected, "not a prefix of the updates");
    updates.len()
}
