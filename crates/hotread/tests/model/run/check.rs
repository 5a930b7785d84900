//! Conditions after a call, after every step, and at the end.

use hotread::{HotRead, MaintenanceResult, Outcome, QueueResult, WorkerStatus};

use super::{Batch, Effects, Run};
use crate::world::{disarm, world};

/// Number of clones that make a piece of work; each panic costs a clone.
const SPENT: usize = 15;

impl Run {
    pub(super) fn check_queued(&self, result: Option<QueueResult>, effects: &Effects, len: usize) {
        let Some(result) = result else {
            return;
        };
        assert_eq!(result.queued_updates, len);
        if len == 0 {
            assert_eq!(
                result,
                QueueResult::default(),
                "queueing nothing does nothing"
            );
            return;
        }
        let batch = self.batches.iter().find(|b| b.first == result.first_seq);
        let batch = batch.expect("numbered as one batch");
        assert_eq!(batch.last, result.last_seq);
        assert_eq!(
            result.published,
            !batch.rejected && batch.last <= self.published_seq()
        );
        if result.published {
            assert_eq!(result.outcome(), Outcome::Visible);
        } else if !effects.clone_panicked() && effects.apply_panics() < SPENT {
            assert_eq!(result.outcome(), Outcome::Blocked);
        }
        self.check_applied(effects, result.applied_updates);
    }

    pub(super) fn check_maintained(&self, effects: &Effects, result: MaintenanceResult) {
        assert!(!result.busy);
        assert_eq!(
            result.published,
            self.hot().generation() > effects.generation_before
        );
        self.check_applied(effects, result.applied_updates);
        // An update queued from inside another is treated like one of another thread.
        if effects.nested() {
            return;
        }
        assert_eq!(result.blocked_by_workers, self.has_outdated_readers());
        let left = effects.queued_before - self.hot().queued_update_count();
        let left = left - effects.rejected;
        // Updates that leave the log by a panic are not counted.
        assert!(
            result.pruned_updates == left || effects.panicked() && result.pruned_updates < left,
            "{} != {left}",
            result.pruned_updates
        );
    }

    fn check_applied(&self, effects: &Effects, said: usize) {
        let applied = world(|w| w.applied.get()) - effects.applied_before;
        // A replacement counts as one, and a batch that panics half way as none.
        let panicked = effects.panicked();
        assert!(
            said == applied || said > applied && self.replaces > 0 || said < applied && panicked,
            "{said} != {applied}"
        );
    }

    /// Checks, after a call that applies, that readers block every update that is not visible.
    pub(super) fn check_progress(&self, effects: &Effects) {
        if let Some(pending) = self.pending()
            && !effects.clone_panicked()
            && effects.apply_panics() < SPENT
        {
            assert_eq!(
                self.copies_in_use(),
                self.max_copies,
                "{pending:?} is stranded"
            );
        }
    }

    /// Checks the conditions that hold after every step.
    pub fn check(&mut self) {
        world(|w| assert_eq!(*w.faults.borrow(), Vec::<String>::new()));
        let hot = &self.hots[0];
        let (generation, published) = (hot.generation(), hot.published_seq());
        assert!(generation >= self.generation, "generations go backwards");
        self.generation = generation;
        assert_eq!(hot.latest_seq(), self.latest());
        let visible = self
            .batches
            .iter()
            .rfind(|b| !b.rejected && b.first <= published);
        assert_eq!(
            visible.map_or(0, |b| b.last),
            published,
            "a batch is never split"
        );
        let content = self.content(published);
        hot.read(|state| assert_eq!(state.seen, content));
        let known = self
            .contents
            .entry(generation)
            .or_insert_with(|| content.clone());
        assert_eq!(*known, content, "the same generation, the same content");
        for reader in self.readers.iter().chain(&self.forgotten) {
            let held = reader.handle.get().map(|state| {
                state.last();
                state.seen.clone()
            });
            let expected = reader.held.as_ref();
            assert_eq!(
                held.as_ref(),
                expected.map(|held| &held.1),
                "a held copy changed"
            );
            assert_eq!(reader.handle.generation(), expected.map(|held| held.0));
        }
        self.check_accounts();
    }

    fn check_accounts(&self) {
        let hot = self.hot();
        let queued = hot.queued_update_count();
        let pending = self
            .batches
            .iter()
            .filter(|b| !b.rejected && !b.superseded && b.first > hot.published_seq());
        let pending: usize = pending.map(Batch::len).sum();
        assert!(
            queued >= pending,
            "{queued} in the log, {pending} not visible"
        );
        let (states, actions) = world(|w| (w.live_states.get(), w.live_actions.get()));
        // The rest of the log are replacements that wait, or that other copies still lack.
        let replaced = queued as isize - actions;
        let most = self.replaces.min(self.max_copies) as isize;
        assert!((0..=most).contains(&replaced), "{replaced} replaced");
        assert!(
            states <= self.max_copies as isize + replaced,
            "{states} states"
        );
        let workers = hot.workers();
        let held = |worker: &&WorkerStatus| worker.generation.is_some();
        let readers = self.readers.iter().chain(&self.forgotten);
        assert_eq!(
            workers.iter().filter(held).count(),
            readers.filter(|r| r.held.is_some()).count()
        );
        for worker in workers {
            assert!(
                !worker.blocking || worker.generation < Some(hot.generation()),
                "{worker:?}"
            );
            assert_eq!(worker.blocking, worker.blocking_for.is_some());
        }
    }

    // ---- the end ----

    /// Drops everything, handles last or first, and checks that nothing is left.
    pub fn end(mut self, handles_first: bool) {
        disarm();
        if handles_first {
            self.readers.clear();
            self.forgotten.clear();
        }
        self.call(HotRead::maintain);
        let expected = self.content(self.published_seq());
        let in_use = self.copies_in_use();
        let applied = world(|w| w.applied.get());
        let hots = std::mem::take(&mut self.hots);
        // A panicking update may be among the last ones applied: none of these panics is resumed.
        drop(hots);
        world(|w| {
            assert_eq!(w.live_actions.get(), 0, "they will never be applied");
            if handles_first {
                assert_eq!(w.applied.get(), applied, "no reader could see it");
                assert_eq!(w.live_states.get(), 0);
            } else if !self.readers.is_empty() {
                assert_eq!(w.live_states.get() as usize, in_use, "held or published");
            }
        });
        for reader in self.readers.iter_mut().chain(&mut self.forgotten) {
            let held = reader.held.as_ref().map(|held| &held.1);
            assert_eq!(reader.handle.get().map(|state| &state.seen), held);
            let now = &reader.handle.current().seen;
            assert!(
                now.len() >= expected.len() || self.replaces > 0,
                "read on after the end"
            );
        }
        self.readers.clear();
        self.forgotten.clear();
        world(|w| {
            assert_eq!(w.live_states.get(), 0);
            assert_eq!(*w.faults.borrow(), Vec::<String>::new());
        });
    }
}
