//! Applying what is queued: choose a free copy, bring it up to date, publish it, and prepare
//! the next. Runs only with the right to apply; all user code of a publication runs here.

use std::mem;

use crate::HotReadState;
use crate::core::Core;
use crate::log::{Batch, Updates};
use crate::node::Node;
use crate::panics::Panics;
use crate::pool::{Content, DEFERRED_UPDATES, MAX_LAG_UPDATES, Pool, SPARE_PUBLICATIONS};

/// One turn of the holder: what it did, and what went wrong meanwhile.
#[derive(Default)]
pub(crate) struct Turn {
    pub(crate) applied: usize,
    pub(crate) pruned: usize,
    pub(crate) published: bool,
    /// Something is not visible because no copy is free.
    pub(crate) blocked: bool,
    /// `Clone` panicked.
    pub(crate) clone_panicked: bool,
    /// Something is not visible because it did.
    pub(crate) no_clone: bool,
    /// One of these was so, and noted, when the turn began.
    pub(crate) was_noted: bool,
    pub(crate) panics: Panics,
}

enum Obtained {
    Copy(usize),
    Blocked,
    /// `Clone` panicked; the next turn tries again.
    NoClone,
}

pub(crate) struct Applier<'a, T: HotReadState> {
    pub(crate) core: &'a Core<T>,
    pub(crate) pool: &'a mut Pool<T>,
    pub(crate) turn: &'a mut Turn,
}

impl<T: HotReadState> Applier<'_, T> {
    /// Moves a batch from the queue to the log.
    #[inline]
    pub(crate) fn take(&mut self, batch: Batch<T>) {
        self.pool.taken = batch.last();
        self.pool.log.push(batch);
        self.core.progress.set_retained(self.pool.log.updates());
    }

    /// Makes visible what can be made visible, then catches up.
    ///
    /// `thorough`: bring every free copy up to date, not only the next to be published.
    pub(crate) fn advance(&mut self, thorough: bool) {
        self.turn.blocked = false;
        self.turn.was_noted = self.pool.noted;
        if self.pool.closed {
            return;
        }
        loop {
            self.make_visible();
            if thorough || self.pool.log.updates() > DEFERRED_UPDATES || self.pool.live < 2 {
                self.catch_up(thorough);
            }
            // Catching up looks at the slots again: a reader may have let go meanwhile.
            if !self.turn.blocked || self.pool.most_advanced_free().is_none() {
                break;
            }
        }
        if self.pool.copies.len() > 2 || self.pool.log.updates() as u64 > MAX_LAG_UPDATES {
            self.trim();
        }
        if mem::take(&mut self.pool.prune_due) {
            self.prune();
        }
        if mem::take(&mut self.pool.settle_due) {
            self.settle();
        }
        self.core.progress.set_retained(self.pool.log.updates());
    }

    /// Publishes until all is visible, or no copy is to be had.
    fn make_visible(&mut self) {
        self.turn.blocked = false;
        self.turn.no_clone = false;
        while self.pool.visible() < self.pool.log.end() {
            match self.obtain() {
                Obtained::Copy(index) => {
                    // On a panic a batch is gone and the copy rebuilt or emptied: look again.
                    if let Some(replaced) = self.bring_up(index, self.pool.log.end()) {
                        self.publish(index, replaced);
                    }
                }
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

    /// Drops what can never become visible, and the copies that nobody will read.
    pub(crate) fn close(&mut self) {
        self.pool.closed = true;
        self.turn.blocked = false;
        while let Some(batch) = self.pool.log.pop_front() {
            self.turn.panics.run(|| drop(batch));
        }
        self.pool.scan(&self.core.hot.registry);
        for index in 0..self.pool.copies.len() {
            if self.pool.copies[index].free {
                self.empty(index);
            }
        }
        self.core.progress.set_retained(0);
        self.core.progress.close(&mut self.turn.panics);
        self.core.wake_sleepers();
    }

    /// Remembers whether the queue has been told of a publication that did not come about.
    pub(crate) fn note(&mut self) {
        self.pool.noted = self.turn.blocked || self.turn.no_clone;
    }

    /// A free copy with a value: one that there is, one made anew, or one more.
    fn obtain(&mut self) -> Obtained {
        self.pool.scan(&self.core.hot.registry);
        if let Some(index) = self.pool.most_advanced_free() {
            return Obtained::Copy(index);
        }
        let index = match self.pool.free_without_value() {
            Some(index) => index,
            None if self.pool.copies.len() < self.pool.max_copies => self.pool.add(),
            None => return Obtained::Blocked,
        };
        if self.rebuild(index) {
            Obtained::Copy(index)
        } else {
            Obtained::NoClone
        }
    }

    /// Applies to a free copy what it lacks below the position `limit`: the end of the log, if the
    /// copy is to be published next, or what is visible already.
    ///
    /// `None`: user code panicked, a batch that was not visible yet is rejected, the copy rebuilt.
    /// Otherwise the sequence number of a `replace` that was moved in rather than cloned: the
    /// other copies then cannot catch up from the log.
    fn bring_up(&mut self, index: usize, limit: u64) -> Option<Option<u64>> {
        let visible = self.pool.visible();
        let only_ours = self.pool.others_position(index);
        let copy = &mut self.pool.copies[index];
        let mut position = copy.position;
        debug_assert!(copy.free && copy.is_live() && index != self.pool.published);
        // SAFETY: the copy is free: not published, and no slot has named it since, so no reader
        // refers to it or can come to; and only the holder of the right, which we are, writes.
        let state = unsafe { Node::get_mut(copy.node) };
        let log = &mut self.pool.log;
        let applied = &mut self.turn.applied;
        let pruned = &mut self.turn.pruned;
        let mut current = position;
        let mut consumed = None;
        let done = self.turn.panics.run(|| {
            // A batch that is moved in whole leaves the log one shorter.
            while position < limit.min(log.end()) {
                current = position;
                let last = position == log.start() && position < only_ours;
                let Some(batch) = log.get(position) else {
                    break;
                };
                // Where there is nothing to move out of an update, moving it only costs.
                let owned = last
                    && (mem::needs_drop::<T::Action>()
                        || matches!(batch.updates, Updates::Replace(_)));
                let len = batch.updates.len();
                if owned {
                    position += 1;
                    if let Some(batch) = log.pop_front() {
                        if cfg!(hotread_fault = "leak_updates") {
                            batch.updates.apply(state);
                            mem::forget(batch);
                        } else {
                            batch.updates.apply_owned(state);
                        }
                        *pruned += len;
                    }
                } else if position >= visible
                    && position + 1 == log.end()
                    && matches!(batch.updates, Updates::Replace(_))
                {
                    if let Some(batch) = log.remove(position) {
                        let seq = batch.last();
                        consumed = Some(seq);
                        batch.updates.apply_owned(state);
                        *applied += len;
                        *pruned += len;
                        return Some(seq);
                    }
                } else {
                    batch.updates.apply(state);
                    position += 1;
                    if last {
                        drop(log.pop_front());
                        *pruned += len;
                    }
                }
                *applied += len;
            }
            None
        });
        if done.is_some() {
            self.pool.copies[index].position = position;
            return done;
        }
        // The copy may be half changed. What was visible stays, and is in the published copy.
        if current >= visible {
            self.reject(current, consumed);
        }
        if !cfg!(hotread_fault = "no_rebuild") {
            self.rebuild(index);
        }
        None
    }

    /// Removes a batch whose first application panicked; `consumed` is the sequence number of a
    /// `replace` that the attempt has used up.
    fn reject(&mut self, position: u64, consumed: Option<u64>) {
        self.pool.settle_due = true;
        if let Some(seq) = consumed {
            self.core.progress.reject(seq, seq);
        } else if let Some(batch) = self.pool.log.remove(position) {
            self.core.progress.reject(batch.first, batch.last());
            self.turn.panics.run(|| drop(batch));
        }
    }

    /// Makes the value of a free copy anew, by cloning the published one.
    fn rebuild(&mut self, index: usize) -> bool {
        self.empty(index);
        if self.turn.clone_panicked {
            // Once a turn is enough: a `Clone` that also asks to be maintained would go on for ever.
            return false;
        }
        let published = self.pool.published_node();
        // SAFETY: the published copy has a value, which is only read while it is published.
        let source = unsafe { Node::get(published) };
        let Some(value) = self.turn.panics.run(|| source.clone()) else {
            self.turn.clone_panicked = true;
            return false;
        };
        let position = self.pool.visible();
        let copy = &mut self.pool.copies[index];
        // SAFETY: the copy is free and was just emptied.
        unsafe { Node::put(copy.node, value) };
        copy.content = Content::Live;
        copy.position = position;
        copy.idle = 0;
        self.pool.live += 1;
        true
    }

    /// Drops the value of a free copy.
    fn empty(&mut self, index: usize) {
        debug_assert!(self.pool.copies[index].free && index != self.pool.published);
        if self.pool.copies[index].content != Content::Empty {
            let node = self.pool.copies[index].node;
            self.pool.retire(index, Content::Empty);
            // SAFETY: the copy is free and had a value; it is marked empty before the drop, so
            // that a panic in it cannot lead to a second.
            self.turn.panics.run(|| unsafe { Node::clear(node) });
            if cfg!(hotread_fault = "free_node") {
                // SAFETY: none; this is what AddressSanitizer must find.
                unsafe { Node::free(node) };
            }
        }
    }

    fn publish(&mut self, index: usize, replaced: Option<u64>) {
        let pool = &mut *self.pool;
        let settled = pool.taken;
        let seq = match replaced {
            Some(seq) => {
                // The others cannot catch up from the log.
                for other in (0..pool.copies.len()).filter(|&other| other != index) {
                    if pool.copies[other].is_live() {
                        pool.retire(other, Content::Abandoned);
                    }
                }
                seq
            }
            None => pool.log.last().map_or(settled, Batch::last),
        };
        if pool.copies.len() > 2 {
            for copy in pool.copies.iter_mut().filter(|copy| copy.free) {
                copy.idle += 1;
            }
        }
        let old = &mut pool.copies[pool.published];
        old.free = false;
        old.idle = 0;
        let new = &mut pool.copies[index];
        new.free = false;
        new.idle = 0;
        let node = new.node;
        pool.published = index;
        pool.generation += 1;
        self.turn.published = true;
        self.core
            .publish(node, pool.generation, seq, settled, &mut self.turn.panics);
    }

    /// Brings copies that have come free up to date while there is nothing to publish.
    fn catch_up(&mut self, thorough: bool) {
        if cfg!(hotread_fault = "no_catch_up") {
            return;
        }
        self.pool.scan(&self.core.hot.registry);
        let end = self.pool.visible();
        let limit = if cfg!(hotread_fault = "catch_up_too_far") {
            self.pool.log.end()
        } else {
            end
        };
        loop {
            match self.pool.most_advanced_free() {
                Some(index) if self.pool.copies[index].position < end => {
                    self.bring_up(index, limit);
                }
                Some(_) => break,
                None => {
                    // With one live copy left, have the second ready before it is needed.
                    if self.pool.live < 2
                        && let Some(index) = self.pool.free_without_value()
                    {
                        self.rebuild(index);
                    }
                    break;
                }
            }
        }
        if thorough {
            for index in 0..self.pool.copies.len() {
                let copy = &self.pool.copies[index];
                if copy.free && copy.is_live() && copy.position < end {
                    self.bring_up(index, limit);
                }
            }
        }
    }

    /// Gives up copies that are too far behind or no longer needed.
    fn trim(&mut self) {
        for index in 0..self.pool.copies.len() {
            if index == self.pool.published {
                continue;
            }
            let copy = &self.pool.copies[index];
            let far_behind = copy.is_live() && self.pool.lag(copy.position) > MAX_LAG_UPDATES;
            let unneeded = far_behind || copy.idle >= SPARE_PUBLICATIONS;
            match (copy.content, copy.free) {
                (Content::Live, true) if unneeded && self.pool.live > 2 => self.empty(index),
                (Content::Live, false) if far_behind => {
                    self.pool.retire(index, Content::Abandoned);
                }
                (Content::Abandoned, true) if self.pool.live >= 2 => self.empty(index),
                _ => {}
            }
        }
    }

    /// Drops from the log what every live copy has, after one that lacked it was given up.
    /// Where none was, the last copy that lacked an update has taken it.
    fn prune(&mut self) {
        let needed = self.pool.least_position(None);
        while self.pool.log.start() < needed {
            let Some(batch) = self.pool.log.pop_front() else {
                break;
            };
            self.turn.pruned += batch.updates.len();
            self.turn.panics.run(|| drop(batch));
        }
    }

    /// Says how far updates are visible or rejected, where a publication did not say it.
    fn settle(&mut self) {
        let visible = self.pool.visible();
        let settled = match self.pool.log.get(visible) {
            Some(batch) => batch.first - 1,
            None => self.pool.taken,
        };
        if self.core.progress.settled() < settled {
            self.core.settle(settled, &mut self.turn.panics);
        }
    }
}
