//! Applying queued updates: choose a free copy, bring it up to date, publish it, and prepare the
//! next. Runs only with the right to apply; all user code of a publication runs here.

use std::mem;
use std::time::Instant;

use crate::HotReadState;
use crate::copies::{Content, Copies, Unusual};
use crate::event::Event;
use crate::log::{Batch, Updates};
use crate::node::Node;
use crate::panics::{Payload, discard};
use crate::shared::Shared;
use crate::sync::clock;
use crate::turn::Turn;

enum Obtained {
    Copy(usize),
    /// The replacement was published immediately.
    Published,
    Blocked,
    /// `Clone` panicked; the next turn tries again.
    NoClone,
}

/// The position of a batch that panicked, the payload, and the updates that it had not yet applied.
type Failure<T> = (u64, Payload, Vec<<T as HotReadState>::Action>);

pub(crate) struct Applier<'a, T: HotReadState> {
    pub(crate) shared: &'a Shared<T>,
    pub(crate) copies: &'a mut Copies<T>,
    pub(crate) turn: &'a mut Turn,
}

impl<T: HotReadState> Applier<'_, T> {
    /// Moves a batch from the queue to the log.
    #[inline]
    pub(crate) fn take(&mut self, batch: Batch<T>) {
        if batch.is_replacement() {
            self.supersede();
        }
        self.copies.append(batch);
    }

    /// Records how many updates are in the log, for observers.
    pub(crate) fn count_retained(&self) {
        let updates = self.copies.log.updates();
        self.shared.progress.set_retained(updates);
    }

    /// Drops the batches that no copy has: a following replacement makes them superfluous.
    #[cold]
    fn supersede(&mut self) {
        let visible = self.copies.visible();
        while self.copies.log.end() > visible
            && let Some(batch) = self.copies.log.pop_back()
        {
            self.turn.pruned += batch.updates.len();
            batch.updates.discard(&mut self.turn.panics);
        }
        // Later batches take these positions.
        self.copies.sound_until = self.copies.sound_until.min(visible);
    }

    /// Publishes as many batches as possible, then brings copies up to date, within one piece of
    /// work.
    ///
    /// With `thorough`, brings every free copy up to date rather than only the next to be
    /// published.
    pub(crate) fn advance(&mut self, thorough: bool) {
        self.turn.work = 0;
        self.turn.blocked = false;
        self.turn.more = false;
        self.turn.no_clone = false;
        self.turn.was_noted = self.copies.unusual.has(Unusual::NOTED);
        self.shared.progress.set_retained(self.copies.log.updates());
        if self.copies.unusual.has(Unusual::CLOSED) {
            self.drop_log();
            return;
        }
        loop {
            self.make_visible();
            if self.copies.all.len() > 2 || self.copies.log.updates() as u64 > self.limits().lag {
                self.trim();
            }
            if thorough
                || self.copies.log.updates() > self.limits().deferred
                || self.copies.live < 2
            {
                self.turn.work = 0;
                self.catch_up(thorough);
            }
            // Catching up scans the slots again: a reader may have let go in the meantime.
            if !self.turn.blocked || self.copies.most_advanced_free().is_none() {
                break;
            }
        }
        if thorough {
            self.turn.held_back = self.copies.is_held_back();
            self.turn.behind = self.is_spent() && self.copies.is_behind();
        }
        if self.copies.unusual.take(Unusual::PRUNE_DUE) {
            self.prune();
        }
        if self.copies.unusual.take(Unusual::SETTLE_DUE) {
            self.settle();
        }
        self.shared.progress.set_retained(self.copies.log.updates());
    }

    fn limits(&self) -> &crate::settings::Limits {
        &self.shared.settings.limits
    }

    /// Returns `true` if the turn's bound on work is reached.
    fn is_spent(&self) -> bool {
        self.turn.work >= self.limits().piece
    }

    /// Publishes until every batch is visible, no copy is available, or the turn is spent.
    fn make_visible(&mut self) {
        self.turn.blocked = false;
        self.turn.no_clone = false;
        self.turn.more = false;
        loop {
            self.pass_rejected();
            if self.copies.visible() == self.copies.log.end() {
                break;
            }
            if self.is_spent() {
                self.turn.more = true;
                break;
            }
            let visible = self.copies.visible();
            let replaces = self
                .copies
                .log
                .get(visible)
                .is_some_and(Batch::is_replacement);
            let obtained = match replaces {
                true => self.obtain_replaced(),
                false => self.obtain(),
            };
            match obtained {
                Obtained::Copy(index) => {
                    let mut target = self.copies.log.end();
                    if self.copies.sound_until > visible {
                        target = target.min(self.copies.sound_until);
                    }
                    if self.copies.all[index].position < target {
                        self.bring_up(index, target);
                    }
                    // After a panic, the batch is gone and the copy was cloned again, so look
                    // again.
                    let copy = &self.copies.all[index];
                    if copy.is_live() && copy.position > visible {
                        self.publish(index);
                    }
                }
                Obtained::Published => {}
                Obtained::Blocked => {
                    self.turn.blocked = true;
                    break;
                }
                Obtained::NoClone => {
                    self.turn.no_clone = true;
                    break;
                }
            }
        }
    }

    /// Moves the published copy past rejected batches, which contain nothing for it.
    fn pass_rejected(&mut self) {
        while (self.copies.log.get(self.copies.visible())).is_some_and(Batch::is_gone) {
            self.copies.all[self.copies.published].position += 1;
            self.copies.unusual.set(Unusual::PRUNE_DUE, true);
            self.copies.unusual.set(Unusual::SETTLE_DUE, true);
        }
    }

    /// Drops updates that can never become visible, and the copies that no reader holds.
    pub(crate) fn close(&mut self) {
        self.copies.unusual.set(Unusual::CLOSED, true);
        self.turn.blocked = false;
        self.drop_log();
        self.copies.scan(&self.shared.hot.registry);
        for index in 0..self.copies.all.len() {
            if self.copies.all[index].free {
                self.empty(index);
            }
        }
        self.shared.progress.close(&mut self.turn.panics);
        self.shared.wake_leader();
    }

    fn drop_log(&mut self) {
        while let Some(batch) = self.copies.log.pop_front() {
            batch.updates.discard(&mut self.turn.panics);
        }
        self.shared.progress.set_retained(0);
    }

    /// Returns a free copy with a value: an existing one, one cloned again, or an additional one.
    fn obtain(&mut self) -> Obtained {
        self.copies.scan(&self.shared.hot.registry);
        if let Some(index) = self.copies.most_advanced_free() {
            return Obtained::Copy(index);
        }
        let index = match self.copies.free_without_value() {
            Some(index) => index,
            None if self.copies.all.len() < self.copies.max_copies => self.copies.add(),
            None => return Obtained::Blocked,
        };
        if self.rebuild(index) {
            Obtained::Copy(index)
        } else {
            Obtained::NoClone
        }
    }

    /// Returns a copy that has the next replacement.
    ///
    /// If other updates follow the replacement, it is cloned, so that it is still available if one
    /// of them panics; the log moves it into another copy later. If none follow, or `Clone` panics,
    /// the replacement is moved in and published; the other copies are cloned when they are needed.
    #[cold]
    fn obtain_replaced(&mut self) -> Obtained {
        self.copies.scan(&self.shared.hot.registry);
        let Some(index) = self.copies.free_for_replacement() else {
            return Obtained::Blocked;
        };
        let position = self.copies.visible();
        self.empty(index);
        let node = self.copies.all[index].node;
        if position + 1 < self.copies.log.end()
            && let Some(batch) = self.copies.log.get(position)
            && let Updates::Replace(value) = &batch.updates
        {
            let last = batch.last();
            // SAFETY: the copy is free and was just emptied.
            let fill = || unsafe { Node::fill(node, || T::clone(value)) };
            if self.turn.panics.run(fill).is_some() {
                self.copies.revive(index, position + 1, last);
                self.turn.applied += 1;
                return Obtained::Copy(index);
            }
        }
        self.install(index);
        Obtained::Published
    }

    /// Moves the next replacement into an empty copy, and publishes that copy.
    fn install(&mut self, index: usize) {
        let position = self.copies.visible();
        let Some(last) = self.copies.log.get(position).map(Batch::last) else {
            return;
        };
        let Some(Updates::Replace(value)) = self.copies.log.take(position) else {
            return;
        };
        // SAFETY: the copy is free and was just emptied.
        unsafe { Node::fill_boxed(self.copies.all[index].node, value) };
        self.copies.revive(index, position + 1, last);
        self.turn.applied += 1;
        self.turn.pruned += 1;
        self.publish(index);
        for other in (0..self.copies.all.len()).filter(|&other| other != index) {
            if self.copies.all[other].is_live() {
                self.copies.retire(other, Content::Abandoned);
            }
        }
        self.prune();
    }

    /// Applies to a free copy the batches that it lacks below the position `limit`, until the turn
    /// is spent.
    ///
    /// If user code panics, the batch is rejected unless it is visible already, and the copy is
    /// cloned again.
    fn bring_up(&mut self, index: usize, limit: u64) {
        let bound = self.limits().piece;
        let (before, began) = (
            self.turn.work,
            clock::if_many(limit - self.copies.all[index].position),
        );
        debug_assert!(self.copies.all[index].free && self.copies.all[index].is_live());
        debug_assert!(index != self.copies.published);
        while self.copies.all[index].position < limit && !self.is_spent() {
            let visible = self.copies.visible();
            let failure = match self.copies.can_move_front(index) {
                true => self.move_front(index),
                false => self.apply_run(index, limit),
            };
            if let Some((current, payload, rest)) = failure {
                self.fail(index, current, visible, Some(payload), rest);
                return;
            }
        }
        if let Some(began) = began {
            self.copies.update_time = per_piece(began, self.turn.work - before, bound);
        }
    }

    /// Moves the first batch of the log, which only this copy lacks, into a free copy.
    fn move_front(&mut self, index: usize) -> Option<Failure<T>> {
        let position = self.copies.log.start();
        let batch = self.copies.log.pop_front()?;
        let copy = &mut self.copies.all[index];
        // SAFETY: as in `apply_run`.
        let state = unsafe { Node::get_mut(copy.node) };
        let (len, last) = (batch.updates.len(), batch.last());
        let is_gone = batch.is_gone();
        // Declared outside, so that a panic does not drop the rest of a batch while it unwinds.
        let mut rest = Vec::new().into_iter();
        let done = self.turn.panics.attempt(|| match batch.updates {
            Updates::One(update) => state.apply_owned(update),
            Updates::Many(updates) => {
                rest = updates.into_iter();
                rest.by_ref().for_each(|update| state.apply_owned(update));
            }
            // No assignment, which may move the state over the stack.
            Updates::Replace(mut value) => mem::swap(state, &mut *value),
            Updates::Call(call) => call(state),
            Updates::Gone(_) => {}
        });
        self.turn.pruned += len;
        if let Err(payload) = done {
            return Some((position, payload, rest.collect()));
        }
        copy.position = position + 1;
        if !is_gone {
            copy.seq = last;
        }
        self.turn.work += len;
        self.turn.applied += len;
        None
    }

    /// Applies to a free copy, by reference, batches that are adjacent in memory; drops those that
    /// only this copy lacked.
    fn apply_run(&mut self, index: usize, limit: u64) -> Option<Failure<T>> {
        let only_ours = self.copies.others_position(index);
        let bound = self.limits().piece;
        let copy = &mut self.copies.all[index];
        // SAFETY: the copy is free: not published, and no slot has named it since, so no reader
        // refers to it or can do so; and only the holder of the right, which we are, writes.
        let state = unsafe { Node::get_mut(copy.node) };
        let log = &mut self.copies.log;
        let (start, first) = (log.start(), copy.position);
        let (mut position, mut seq, mut work) = (first, copy.seq, self.turn.work);
        let done = self.turn.panics.attempt(|| {
            let run = log.run(first);
            for batch in &run[..run.len().min((limit - first) as usize)] {
                // A replacement is moved where possible: once all batches before it have left the
                // log.
                if work >= bound
                    || batch.is_replacement() && start < position && position < only_ours
                {
                    break;
                }
                batch.updates.apply(state);
                if !batch.is_gone() {
                    seq = batch.last();
                }
                position += 1;
                work += batch.updates.len();
            }
        });
        self.turn.applied += work - self.turn.work;
        self.turn.work = work;
        if let Err(payload) = done {
            return Some((position, payload, Vec::new()));
        }
        copy.position = position;
        copy.seq = seq;
        self.turn.pruned += log.drop_before(position.min(only_ours), &mut self.turn.panics);
        None
    }

    /// Recovers from a panic of the batch at `position`, which may have left the copy half changed.
    /// Visible batches are kept, since the published copy has them.
    #[cold]
    pub(crate) fn fail(
        &mut self,
        index: usize,
        position: u64,
        visible: u64,
        payload: Option<Payload>,
        rest: Vec<T::Action>,
    ) {
        self.turn.panics.drop_each(rest);
        let first = self.copies.log.get(position).map_or(0, |batch| batch.first);
        let own = self.turn.own != 0 && first == self.turn.own && position >= visible;
        match payload {
            Some(payload) if own && self.turn.own_panic.is_none() => {
                self.turn.own_panic = Some(payload);
            }
            Some(payload) => discard(payload),
            None => {}
        }
        if position >= visible {
            self.reject(position);
        }
        if self.rebuild(index) {
            self.turn.events.push(Event::Rebuilt);
        }
    }

    /// Removes a batch whose first application panicked.
    fn reject(&mut self, position: u64) {
        self.copies.unusual.set(Unusual::SETTLE_DUE, true);
        self.copies.sound_until = position;
        let Some((first, last)) =
            (self.copies.log.get(position)).map(|batch| (batch.first, batch.last()))
        else {
            return;
        };
        self.shared.progress.reject(first, last);
        self.turn.events.push(Event::Rejected {
            first_seq: first,
            last_seq: last,
        });
        if let Some(updates) = self.copies.log.take(position) {
            updates.discard(&mut self.turn.panics);
        }
    }

    /// Gives a free copy the published value, by cloning that value.
    fn rebuild(&mut self, index: usize) -> bool {
        self.empty(index);
        if self.turn.clone_panicked {
            // One attempt a turn: a `Clone` that panics and also asks for maintenance would never
            // end.
            return false;
        }
        let published = self.copies.published_node();
        let node = self.copies.all[index].node;
        let began = clock::now();
        // SAFETY: the published copy has a value, which is only read while it is published; the
        // other is free and was just emptied.
        let cloned = self.turn.panics.run(|| unsafe {
            Node::fill(node, || Node::get(published).clone());
        });
        if cloned.is_none() {
            self.turn.clone_panicked = true;
            return false;
        }
        self.turn.work += self.limits().piece / 16;
        self.copies.clone_time = began.map(|began| began.elapsed());
        let published = &self.copies.all[self.copies.published];
        let (position, seq) = (published.position, published.seq);
        self.copies.revive(index, position, seq);
        true
    }

    /// Drops the value of a free copy.
    fn empty(&mut self, index: usize) {
        debug_assert!(self.copies.all[index].free && index != self.copies.published);
        if self.copies.all[index].content != Content::Empty {
            let node = self.copies.all[index].node;
            self.copies.retire(index, Content::Empty);
            // SAFETY: the copy is free and had a value; it is marked empty before the drop, so that
            // a panic in the drop cannot lead to a second.
            self.turn.panics.run(|| unsafe { Node::clear(node) });
        }
    }

    #[inline]
    fn publish(&mut self, index: usize) {
        let copies = &mut *self.copies;
        let settled = copies.settled_at(copies.all[index].position);
        if copies.all.len() > 2 {
            for copy in copies.all.iter_mut().filter(|copy| copy.free) {
                copy.idle = copy.idle.saturating_add(1);
            }
        }
        let old = &mut copies.all[copies.published];
        old.free = false;
        old.idle = 0;
        let new = &mut copies.all[index];
        new.free = false;
        new.idle = 0;
        let (node, seq) = (new.node, new.seq);
        copies.published = index;
        copies.generation += 1;
        self.turn.published = true;
        self.shared.publish(node, copies.generation, seq, settled);
        self.shared.announce(&mut self.turn.panics);
    }

    /// Brings free copies up to date while there is nothing to publish.
    fn catch_up(&mut self, thorough: bool) {
        self.copies.scan(&self.shared.hot.registry);
        let end = self.copies.visible();
        loop {
            match self.copies.most_advanced_free() {
                Some(index) if self.copies.all[index].position < end => {
                    if self.is_spent() {
                        return;
                    }
                    self.bring_up(index, end);
                }
                Some(_) => break,
                None => {
                    // With one live copy left, have the second ready before it is needed.
                    if self.copies.live < 2
                        && let Some(index) = self.copies.free_without_value()
                    {
                        self.rebuild(index);
                    }
                    break;
                }
            }
        }
        if thorough {
            for index in 0..self.copies.all.len() {
                let copy = &self.copies.all[index];
                if copy.free && copy.is_live() && copy.position < end && !self.is_spent() {
                    self.bring_up(index, end);
                }
            }
        }
    }

    /// Retires copies that are too far behind or no longer needed.
    fn trim(&mut self) {
        let spare = self.limits().spare;
        let lag = self.limits().lag;
        for index in 0..self.copies.all.len() {
            if index == self.copies.published {
                continue;
            }
            let copy = &self.copies.all[index];
            let behind = self.copies.lag(copy.position);
            let far_behind = copy.is_live() && behind > lag;
            let unneeded = far_behind || copy.idle >= spare;
            match (copy.content, copy.free) {
                (Content::Live, true) if unneeded && self.copies.live > 2 => self.empty(index),
                (Content::Live, true) if far_behind && self.is_cloning_faster(behind) => {
                    self.copies.retire(index, Content::Abandoned);
                }
                (Content::Live, false) if far_behind => {
                    self.copies.retire(index, Content::Abandoned);
                }
                (Content::Abandoned, true) if self.copies.live >= 2 => self.empty(index),
                _ => {}
            }
        }
    }

    /// Returns `true` if, by the last measured times, a clone is faster than applying `updates`.
    fn is_cloning_faster(&self, updates: u64) -> bool {
        let (Some(clone), Some(piece)) = (self.copies.clone_time, self.copies.update_time) else {
            return false;
        };
        let pieces = updates as f64 / self.limits().piece as f64;
        clone.as_secs_f64() * 2.0 < piece.as_secs_f64() * pieces
    }

    /// Drops from the log the batches that every live copy has, after a copy that lacked them was
    /// retired. Otherwise the last copy that lacked an update has taken it from the log.
    fn prune(&mut self) {
        let needed = self.copies.least_position(None);
        self.turn.pruned += (self.copies.log).drop_before(needed, &mut self.turn.panics);
    }

    /// Publishes how far updates are visible or rejected, where a publication did not do so.
    fn settle(&mut self) {
        let settled = self.copies.settled_at(self.copies.visible());
        if self.shared.progress.settled() < settled {
            self.shared.progress.settle(settled);
            self.shared.announce(&mut self.turn.panics);
        }
    }
}

/// Time that a piece takes, if `work` took the time since `began`.
fn per_piece(began: Instant, work: usize, piece: usize) -> Option<std::time::Duration> {
    (work > 0).then(|| began.elapsed().mul_f64(piece as f64 / work as f64))
}
