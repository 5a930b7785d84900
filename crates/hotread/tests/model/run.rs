//! The model: a list of accepted batches and their outcomes. Each call is made on the real state
//! and entered here; the conditions that must hold afterwards are in `run/check.rs`.

mod check;

use std::collections::{BTreeMap, BTreeSet};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Duration;

use hotread::{HotRead, HotReadHandle, WaitError};

use crate::world::{Action, Event, Kind, State, disarm, world};

#[derive(Debug)]
struct Batch {
    first: u64,
    last: u64,
    replace: bool,
    rejected: bool,
    /// A later replacement dropped it before any copy had it.
    superseded: bool,
}

impl Batch {
    fn len(&self) -> usize {
        (self.last - self.first + 1) as usize
    }
}

/// A real handle and the state that it must show.
struct Reader {
    handle: HotReadHandle<State>,
    /// Generation and content at the time it was taken.
    held: Option<(u64, Vec<u64>)>,
    /// Generation last held, possibly before going quiescent.
    newest: u64,
}

pub struct Run {
    hots: Vec<HotRead<State>>,
    readers: Vec<Reader>,
    /// Never used again, as after `mem::forget`, but dropped at the end to account for it.
    forgotten: Vec<Reader>,
    batches: Vec<Batch>,
    max_copies: usize,
    max_pending: Option<usize>,
    generation: u64,
    /// State that readers saw of each generation.
    contents: BTreeMap<u64, Vec<u64>>,
    replaces: usize,
}

/// Effects of a call in addition to its result.
struct Effects {
    events: Vec<Event>,
    queued_before: usize,
    generation_before: u64,
    applied_before: usize,
    panics_before: u64,
    /// Updates of the batches that were rejected in the meantime.
    rejected: usize,
}

impl Effects {
    fn clone_panicked(&self) -> bool {
        self.events
            .iter()
            .any(|event| matches!(event, Event::ClonePanicked { .. }))
    }

    fn apply_panics(&self) -> usize {
        let events = self.events.iter();
        events
            .filter(|event| matches!(event, Event::ApplyPanicked { .. }))
            .count()
    }

    fn panicked(&self) -> bool {
        let mut events = self.events.iter();
        events.any(|event| !matches!(event, Event::Nested { .. }))
    }

    fn nested(&self) -> bool {
        self.events
            .iter()
            .any(|event| matches!(event, Event::Nested { .. }))
    }
}

impl Run {
    pub fn new(max_copies: usize, max_pending: Option<usize>) -> Self {
        crate::world::reset();
        let mut builder = HotRead::builder(State::new(Vec::new())).max_copies(max_copies);
        if let Some(n) = max_pending {
            builder = builder.max_pending(n);
        }
        let hot = builder.build();
        world(|w| *w.hot.borrow_mut() = Some(hot.downgrade()));
        Self {
            hots: vec![hot],
            readers: Vec::new(),
            forgotten: Vec::new(),
            batches: Vec::new(),
            max_copies,
            max_pending,
            generation: 0,
            contents: BTreeMap::from([(0, Vec::new())]),
            replaces: 0,
        }
    }

    fn hot(&self) -> &HotRead<State> {
        &self.hots[0]
    }

    fn latest(&self) -> u64 {
        self.batches.last().map_or(0, |batch| batch.last)
    }

    /// The state that readers see when everything up to `last` is visible.
    fn content(&self, last: u64) -> Vec<u64> {
        let mut content = Vec::new();
        for batch in self
            .batches
            .iter()
            .filter(|b| !b.rejected && b.last <= last)
        {
            if batch.replace {
                content.clear();
            }
            content.extend(batch.first..=batch.last);
        }
        content
    }

    fn published_seq(&self) -> u64 {
        self.hot().published_seq()
    }

    fn pending(&self) -> Option<&Batch> {
        let published = self.published_seq();
        self.batches
            .iter()
            .find(|batch| !batch.rejected && batch.first > published)
    }

    /// Every number up to this one is visible or rejected.
    fn settled(&self) -> u64 {
        self.pending()
            .map_or(self.latest(), |batch| batch.first - 1)
    }

    /// Generations that are held or published: the copies that cannot be written.
    fn copies_in_use(&self) -> usize {
        let held = self.readers.iter().chain(&self.forgotten);
        let mut generations: BTreeSet<u64> =
            held.filter_map(|r| r.held.as_ref().map(|h| h.0)).collect();
        generations.insert(self.hot().generation());
        generations.len()
    }

    fn accept(&mut self, len: usize, replace: bool) -> (u64, u64) {
        let first = self.latest() + 1;
        let last = self.latest() + len as u64;
        self.replaces += usize::from(replace);
        self.batches.push(Batch {
            first,
            last,
            replace,
            rejected: false,
            superseded: false,
        });
        (first, last)
    }

    /// Enters a rejection, and returns the number of updates of the batch.
    fn reject(&mut self, seq: u64) -> usize {
        let batch = self
            .batches
            .iter_mut()
            .find(|b| b.first <= seq && seq <= b.last);
        let batch = batch.unwrap_or_else(|| panic!("{seq} was never queued"));
        assert!(!batch.rejected && !batch.replace && !batch.superseded);
        batch.rejected = true;
        batch.len()
    }

    /// Drops the batches that are not visible when a replacement is queued.
    fn supersede(&mut self) {
        let published = self.published_seq();
        let invisible = self.batches.iter_mut().filter(|b| b.first > published);
        for batch in invisible.filter(|b| !b.rejected) {
            batch.superseded = true;
        }
    }

    // ---- calls ----

    /// Makes a call that may run user code, and enters the effects of that code in the model.
    fn call<R>(&mut self, code: impl FnOnce(&HotRead<State>) -> R) -> (R, Effects) {
        let (result, effects) = self.call_accepting(0, code);
        let result = result.expect("the caller has no batch whose panic could be resumed");
        (result, effects)
    }

    /// Like [`Run::call`], for a call that queues a batch of `len` updates unless it refuses it.
    /// `None`: that batch panicked when it was first applied.
    fn call_accepting<R>(
        &mut self,
        len: usize,
        code: impl FnOnce(&HotRead<State>) -> R,
    ) -> (Option<R>, Effects) {
        let own = self.latest() + 1;
        let mut effects = Effects {
            events: Vec::new(),
            queued_before: self.hot().queued_update_count(),
            generation_before: self.hot().generation(),
            applied_before: world(|w| w.applied.get()),
            panics_before: self.hot().panics(),
            rejected: 0,
        };
        let result = catch_unwind(AssertUnwindSafe(|| code(&self.hots[0])));
        let result = match result {
            Ok(result) => Some(result),
            Err(panic) if panic.downcast_ref::<&str>() == Some(&"planned") => None,
            Err(panic) => std::panic::resume_unwind(panic),
        };
        effects.events = world(|w| std::mem::take(&mut *w.events.borrow_mut()));
        if len > 0 && self.hot().latest_seq() > self.latest() {
            assert_eq!(self.accept(len, false).0, own);
        }
        self.enter(&mut effects);
        let own = own..own + len as u64;
        let own_panicked = effects.events.iter().any(|event| {
            matches!(event, Event::ApplyPanicked { seq, visible: false } if own.contains(seq))
        });
        assert_eq!(
            result.is_none(),
            own_panicked,
            "only the panic of its own batch reaches a caller: {:?}",
            effects.events
        );
        (result, effects)
    }

    /// Enters the effects of user code during a call.
    fn enter(&mut self, effects: &mut Effects) {
        let mut panics = 0;
        for event in &effects.events {
            panics += 1;
            match *event {
                Event::ApplyPanicked {
                    seq,
                    visible: false,
                } => effects.rejected += self.reject(seq),
                // A replacement that others follow is cloned; if that fails, it is moved.
                Event::ClonePanicked { visible, last } => {
                    let replaces = |b: &Batch| b.replace && b.last == last;
                    assert!(visible || self.batches.iter().any(replaces));
                }
                Event::Nested { seq } => {
                    assert_eq!(self.accept(1, false), (seq, seq));
                    panics -= 1;
                }
                _ => {}
            }
        }
        assert_eq!(self.hot().panics() - effects.panics_before, panics);
    }

    pub fn queue(&mut self, kinds: &[Kind], batch: bool) {
        let actions = self.actions(kinds);
        let (result, effects) = match <[Action; 1]>::try_from(actions) {
            Ok([action]) if !batch => self.call_accepting(1, |hot| hot.queue_update(action)),
            Ok(action) => self.call_accepting(1, |hot| hot.queue_updates(action)),
            Err(actions) => self.call_accepting(kinds.len(), |hot| hot.queue_updates(actions)),
        };
        self.check_queued(result, &effects, kinds.len());
        if !kinds.is_empty() {
            self.check_progress(&effects);
        }
    }

    fn actions(&self, kinds: &[Kind]) -> Vec<Action> {
        let seqs = self.latest() + 1..;
        seqs.zip(kinds)
            .map(|(seq, &kind)| Action::new(seq, kind))
            .collect()
    }

    pub fn replace(&mut self) {
        self.supersede();
        let (_, seq) = self.accept(1, true);
        let (result, effects) = self.call(|hot| hot.replace(State::new(vec![seq])));
        self.check_queued(Some(result), &effects, 1);
        self.check_progress(&effects);
    }

    pub fn try_queue(&mut self, kinds: &[Kind]) {
        // The call may maintain before it queues, and updates then queued from inside would take
        // the numbers that these are built with.
        if world(|w| w.live_nests.get()) > 0 {
            self.maintain();
        }
        if world(|w| w.live_nests.get()) > 0 {
            return;
        }
        let actions = self.actions(kinds);
        let len = actions.len() as u64;
        let latest = self.latest();
        let (result, effects) =
            self.call_accepting(kinds.len(), |hot| hot.try_queue_updates(actions));
        let limit = self.max_pending.map_or(u64::MAX, |n| n as u64);
        let pending = self.latest() - self.settled();
        match result {
            Some(Ok(result)) => {
                assert!(pending <= limit || len == 0 || effects.nested());
                self.check_queued(Some(result), &effects, kinds.len());
            }
            Some(Err(full)) => {
                assert!(
                    pending + len > limit,
                    "refused {len} with {pending} of {limit} pending"
                );
                assert_eq!(
                    (full.pending as u64, full.max_pending as u64),
                    (pending, limit)
                );
                let seqs: Vec<u64> = full.updates.iter().map(|action| action.seq).collect();
                assert_eq!(seqs, (latest + 1..=latest + len).collect::<Vec<_>>());
                disarm();
            }
            None => {}
        }
        if len > 0 {
            self.check_progress(&effects);
        }
    }

    pub fn maintain(&mut self) {
        let free = !self.has_outdated_readers() && !self.needs_two_publications();
        let quiescent = !self
            .readers
            .iter()
            .chain(&self.forgotten)
            .any(|r| r.handle.get().is_some());
        let (result, effects) = self.call(HotRead::maintain);
        self.check_maintained(&effects, result);
        // An update queued from inside another is treated like one of another thread. Batches
        // before a rejected one are published first, and readers may block the rest.
        let uncontended = !effects.clone_panicked() && !effects.nested() && effects.rejected == 0;
        if uncontended && free {
            assert!(
                self.pending().is_none(),
                "no reader was in the way of {:?}",
                self.pending()
            );
        }
        if uncontended && quiescent {
            assert_eq!(self.hot().queued_update_count(), 0, "all were quiescent");
        }
        self.check_progress(&effects);
    }

    fn has_outdated_readers(&self) -> bool {
        let mut readers = self.readers.iter().chain(&self.forgotten);
        readers.any(|r| r.handle.get().is_some() && !r.handle.is_latest())
    }

    /// Batches after one that was rejected while earlier ones were not visible are published after
    /// those, and readers may block that second publication.
    fn needs_two_publications(&self) -> bool {
        let published = self.published_seq();
        let waiting = self.batches.iter().filter(|b| b.first > published);
        let mut waiting = waiting.skip_while(|b| b.rejected || b.superseded);
        waiting.any(|batch| batch.rejected)
    }

    /// Lets every reader move on or go, and maintains; no work is left afterwards.
    pub fn settle(&mut self, quiescent: bool) {
        disarm();
        let mut calm = 0;
        for round in 0.. {
            for index in 0..self.readers.len() {
                if quiescent {
                    self.quiescent(index);
                } else {
                    self.refresh(index, true);
                }
            }
            let twice = self.needs_two_publications();
            let (_, effects) = self.call(HotRead::maintain);
            self.check_progress(&effects);
            let outdated = self
                .forgotten
                .iter()
                .any(|r| r.held.is_some() && !r.handle.is_latest());
            if outdated {
                return;
            }
            if effects.nested() {
                // Queued in the meantime, from inside other updates: treated like another call.
                assert!(round < 200, "nested updates queue no others");
                calm = 0;
                continue;
            }
            if (twice || effects.rejected > 0) && !quiescent {
                // The following batches may need the readers to move on again.
                continue;
            }
            calm += 1;
            assert!(self.pending().is_none());
            let once = quiescent && self.forgotten.iter().all(|r| r.held.is_none());
            if once || calm > 1 {
                assert_eq!(self.hot().queued_update_count(), 0, "round {round}");
                return;
            }
        }
    }

    pub fn wait(&mut self, choice: u64) {
        let latest = self.latest();
        let seq = choice % (latest + 3);
        let maintains = self.settled() < seq && seq <= latest;
        let (result, effects) = self.call(|hot| hot.wait_published(seq, Duration::ZERO));
        let batch = self
            .batches
            .iter()
            .find(|b| b.first <= seq && seq <= b.last);
        match result {
            Ok(()) => assert!(seq <= self.settled() && batch.is_none_or(|b| !b.rejected)),
            Err(WaitError::Rejected) => assert!(batch.is_some_and(|b| b.rejected)),
            Err(WaitError::Timeout) => assert!(seq > self.settled()),
            Err(WaitError::NotQueued { latest: said }) => {
                assert!(seq > latest && said == latest);
            }
            Err(other) => panic!("{other:?}"),
        }
        if maintains {
            self.check_progress(&effects);
        }
    }

    pub fn snapshot(&mut self) {
        // Panics of the snapshot are those of the caller's own clone and drop, so none is caught.
        // The snapshot is bound, so that the clone is dropped if its own drop panics.
        let seen = catch_unwind(AssertUnwindSafe(|| {
            let snapshot = self.hot().snapshot();
            let seen = snapshot.seen.clone();
            drop(snapshot);
            seen
        }));
        world(|w| w.events.borrow_mut().clear());
        if let Ok(seen) = seen {
            assert_eq!(seen, self.content(self.published_seq()));
        }
    }

    pub fn clone_hot(&mut self, choice: usize) {
        if self.hots.len() < 4 {
            self.hots.push(self.hots[choice % self.hots.len()].clone());
        } else {
            self.hots.swap_remove(choice % self.hots.len());
        }
    }

    // ---- readers ----

    pub fn create_handle(&mut self) {
        if self.readers.len() < 7 {
            let handle = self.hot().create_handle();
            assert!(handle.get().is_none() && !handle.is_latest());
            self.readers.push(Reader {
                handle,
                held: None,
                newest: 0,
            });
        }
    }

    fn pick(&self, choice: usize) -> Option<usize> {
        choice.checked_rem(self.readers.len())
    }

    pub fn clone_handle(&mut self, choice: usize) {
        if let Some(index) = self.pick(choice)
            && self.readers.len() < 7
        {
            let handle = self.readers[index].handle.clone();
            assert_eq!(handle.generation(), None, "a clone is quiescent");
            self.readers.push(Reader {
                handle,
                held: None,
                newest: 0,
            });
        }
    }

    pub fn move_forward(&mut self, choice: usize, current: bool) {
        if let Some(index) = self.pick(choice) {
            self.refresh(index, current);
        }
    }

    fn refresh(&mut self, index: usize, current: bool) {
        let generation = self.hot().generation();
        let published = self.content(self.published_seq());
        let reader = &mut self.readers[index];
        let before = reader.held.as_ref().map(|held| held.0);
        assert_eq!(reader.handle.is_latest(), before == Some(generation));
        if current {
            assert_eq!(reader.handle.current().seen, published);
        } else {
            assert_eq!(reader.handle.refresh(), before != Some(generation));
        }
        assert!(reader.handle.is_latest());
        assert_eq!(reader.handle.generation(), Some(generation));
        assert!(generation >= reader.newest, "generations go backwards");
        reader.newest = generation;
        reader.held = Some((generation, published));
    }

    pub fn go_quiescent(&mut self, choice: usize) {
        if let Some(index) = self.pick(choice) {
            self.quiescent(index);
        }
    }

    fn quiescent(&mut self, index: usize) {
        let reader = &mut self.readers[index];
        reader.handle.quiescent();
        reader.held = None;
    }

    pub fn drop_handle(&mut self, choice: usize) {
        if let Some(index) = self.pick(choice) {
            self.readers.swap_remove(index);
        }
    }

    pub fn forget_handle(&mut self, choice: usize) {
        if let Some(index) = self.pick(choice)
            && self.forgotten.len() < 3
        {
            self.forgotten.push(self.readers.swap_remove(index));
        }
    }
}
