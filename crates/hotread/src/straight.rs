//! The straight path of one update: two live copies, all updates visible, no reader in the way, no
//! other writer. Does the work of `combiner` and `applier` in that case and only that; unusual
//! cases are left to them.

use std::mem;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::ptr::NonNull;

use crate::HotReadState;
use crate::copies::{Copies, StateCopy};
use crate::log::{Batch, Log, Updates};
use crate::node::Node;
use crate::panics::{NoUnwind, Panics, Payload};
use crate::results::QueueResult;
use crate::right::{Next, next_right};
use crate::shared::Shared;
use crate::sync::atomic::Ordering::{Acquire, Relaxed};
use crate::sync::{barrier, holding};
use crate::turn::Turn;

impl<T: HotReadState> Copies<T> {
    /// Returns the copy that the next update goes to and its index, in the usual case: one of two
    /// live copies, which lacks at most one visible update.
    #[inline]
    fn straight(&self) -> Option<(usize, &StateCopy<T>)> {
        let [first, second] = self.all.as_slice() else {
            return None;
        };
        let (published, index, other) = match self.published {
            0 => (first, 1, second),
            _ => (second, 0, first),
        };
        let usual = self.live == 2
            && self.unusual.is_nothing()
            && published.position == self.log.end()
            && self.log.holds_at_most_one_update();
        usual.then_some((index, other))
    }
}

impl<T: HotReadState> Shared<T> {
    /// Queues one update, and applies it unless another thread is applying.
    #[inline]
    pub(crate) fn queue_one(&self, update: T::Action) -> QueueResult {
        let right = self.right.load(Relaxed);
        let Some(next) = next_right(right, 1) else {
            return self.queue(Updates::One(update));
        };
        // ORDERING: acquire what the previous holder did to the copies.
        if self
            .right
            .compare_exchange(right, next.word, Acquire, Relaxed)
            .is_err()
        {
            return self.queue(Updates::One(update));
        }
        let copy = self.copies.with_mut(|copies| {
            // SAFETY: we hold the right to apply, so no other thread touches the copies.
            let copies = unsafe { &mut *copies };
            let (index, copy) = copies.straight()?;
            let held = !copy.free && self.hot.registry.is_held(copy.node.as_ptr().cast());
            (!held).then_some((index, copy.node))
        });
        match copy {
            Some((index, node)) => self.apply_straight(index, node, update, next),
            None => self.apply(Batch::one(next.seq, update)),
        }
    }

    /// Applies to the copy the update that it lacks and the new one, publishes it, and gives the
    /// right up.
    #[inline]
    fn apply_straight(
        &self,
        index: usize,
        node: NonNull<Node<T>>,
        update: T::Action,
        next: Next,
    ) -> QueueResult {
        let no_unwind = NoUnwind;
        let seq = next.seq;
        let mut result = QueueResult {
            first_seq: seq,
            last_seq: seq,
            queued_updates: 1,
            applied_updates: 1,
            published: true,
            blocked_by_workers: false,
        };
        self.progress.begin_turn();
        holding::enter();
        let applied = self.copies.with_mut(|copies| {
            // SAFETY: as in `queue_one`.
            let copies = unsafe { &mut *copies };
            let lacked = copies.log.end() - copies.log.start();
            match apply_one(&mut copies.log, node, seq, update) {
                Ok(()) => {
                    let copy = &mut copies.all[index];
                    copy.position = copies.log.end();
                    copy.seq = seq;
                    copy.free = false;
                    copies.all[1 - index].free = false;
                    copies.taken = seq;
                    copies.published = index;
                    copies.generation += 1;
                    self.publish(node, copies.generation, seq, seq);
                    self.progress.set_retained(1);
                    Ok(1 + lacked as usize)
                }
                Err(failure) => Err(failure),
            }
        });
        match applied {
            Ok(applied) => result.applied_updates = applied,
            Err(failure) => {
                let turn = self.recover(index, seq, failure);
                holding::leave();
                mem::forget(no_unwind);
                self.attend();
                return self.answer(seq, seq, 1, turn);
            }
        }
        self.progress.end_turn();
        // ORDERING: the fence after a publication, on targets where the exchange is not a fence
        // itself.
        barrier::before_rmw();
        let given_up = self.give_up_straight(next.word);
        barrier::after_rmw();
        if !given_up {
            self.progress.begin_turn();
            let mut turn = Turn::default();
            self.announce(&mut turn.panics);
            self.serve_queue(&mut turn);
            holding::leave();
            mem::forget(no_unwind);
            self.attend();
            turn.applied += result.applied_updates;
            return self.answer(seq, seq, 1, turn);
        }
        holding::leave();
        mem::forget(no_unwind);
        if self.progress.has_waiters() {
            self.wake_waiters();
        }
        self.attend();
        result
    }

    /// Recovers from a panic on the straight path, and finishes the turn.
    #[cold]
    fn recover(&self, index: usize, seq: u64, failure: Failure) -> Turn {
        let mut turn = Turn {
            own: seq,
            ..Turn::default()
        };
        turn.panics.caught += 1;
        self.with_copies(&mut turn, |applier| {
            applier.copies.taken = seq;
            applier.copies.all[index].free = true;
            let visible = applier.copies.visible();
            // Of the two batches, the one that was already visible has a position below `visible`.
            let position = if failure.own { visible } else { visible - 1 };
            applier.fail(index, position, visible, Some(failure.payload), Vec::new());
            applier.advance(false);
        });
        self.serve_queue(&mut turn);
        turn
    }

    #[cold]
    fn wake_waiters(&self) {
        let mut panics = Panics::default();
        self.progress.wake(&mut panics);
        self.panics.fetch_add(panics.caught, Relaxed);
    }
}

struct Failure {
    payload: Payload,
    /// `true` if the new update panicked, rather than the one that the copy lacked.
    own: bool,
}

/// Replaces the update that the copy lacked in the log by the new one, and applies both.
#[inline]
fn apply_one<T: HotReadState>(
    log: &mut Log<T>,
    node: NonNull<Node<T>>,
    seq: u64,
    update: T::Action,
) -> Result<(), Failure> {
    // SAFETY: the copy is free: not published, and no slot has named it since, so no reader refers
    // to it or can do so; and only the holder of the right, which we are, writes.
    let state = unsafe { Node::get_mut(node) };
    // Declared outside, so that a panic of the update that the copy lacks does not lose it.
    let mut update = Some(update);
    let mut own = false;
    let done = catch_unwind(AssertUnwindSafe(|| {
        let next = match log.only() {
            // Moving an update out of the log only costs, if the update owns nothing that could be
            // moved.
            Some(only) if !mem::needs_drop::<T::Action>() => {
                state.apply_update(only.update);
                update.take().map(|update| only.replace(seq, update).1)
            }
            Some(only) => update.take().map(|update| {
                let (lacked, next) = only.replace(seq, update);
                state.apply_owned(lacked);
                next
            }),
            None => {
                if let Some(update) = update.take() {
                    log.push(Batch::one(seq, update));
                }
                log.only().map(|only| &*only.update)
            }
        };
        own = true;
        if let Some(next) = next {
            state.apply_update(next);
        }
    }));
    done.map_err(|payload| {
        if let Some(update) = update {
            log.push(Batch::one(seq, update));
        }
        Failure { payload, own }
    })
}
