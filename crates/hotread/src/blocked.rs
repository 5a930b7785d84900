//! The short path of a batch that stays queued: readers hold every copy that could take it, as the
//! turn before found and noted. Does the work of `applier` and `combiner` in that case, and only
//! that.

use crate::HotReadState;
use crate::copies::{Copies, Unusual};
use crate::log::Batch;
use crate::registry::Registry;
use crate::results::QueueResult;
use crate::shared::Shared;

/// Batches between two that take the long path, which reads the clock and calls the observer.
const LOOK: u64 = 64;

impl<T: HotReadState> Copies<T> {
    /// Returns `true` if every copy except the published one is still held, and no other work is
    /// due.
    #[inline]
    fn stays_blocked(&self, registry: &Registry) -> bool {
        self.unusual.is_only(Unusual::NOTED)
            && self.all.len() == self.max_copies
            && !self.log.end().is_multiple_of(LOOK)
            && (self.all.iter().enumerate()).all(|(index, copy)| {
                let held = || registry.is_held(copy.node.as_ptr().cast());
                index == self.published || !copy.free && held()
            })
    }
}

impl<T: HotReadState> Shared<T> {
    /// Appends the batch to the log and gives up the right to apply, if no copy can take the batch;
    /// returns the batch otherwise.
    #[inline]
    pub(crate) fn defer(&self, batch: Batch<T>) -> Result<QueueResult, Batch<T>> {
        let (first, last) = (batch.first, batch.last());
        let queued_updates = batch.updates.len();
        self.copies.with_mut(|copies| {
            // SAFETY: we hold the right to apply, so no other thread touches the copies.
            let copies = unsafe { &mut *copies };
            if batch.is_replacement() || !copies.stays_blocked(&self.hot.registry) {
                return Err(batch);
            }
            copies.append(batch);
            self.progress.set_retained(copies.log.updates());
            Ok(())
        })?;
        if !self.give_up_right() {
            let turn = self.hold(first, false, |applier| applier.advance(false));
            return Ok(self.answer(first, last, queued_updates, turn));
        }
        self.attend();
        Ok(QueueResult {
            first_seq: first,
            last_seq: last,
            queued_updates,
            applied_updates: 0,
            published: false,
            blocked_by_workers: true,
        })
    }
}
