//! The updates that some copy still lacks, batch by batch, in the order they were queued.

use std::collections::VecDeque;

use crate::HotReadState;

/// What one call queued: visible as a whole, or not at all.
pub(crate) enum Updates<T: HotReadState> {
    One(T::Action),
    Many(Vec<T::Action>),
    /// The whole state, replaced.
    Replace(Box<T>),
}

impl<T: HotReadState> Updates<T> {
    pub(crate) fn len(&self) -> usize {
        match self {
            Updates::One(_) | Updates::Replace(_) => 1,
            Updates::Many(updates) => updates.len(),
        }
    }

    /// The updates given back to who queued them. A replaced state is not one of them.
    pub(crate) fn into_vec(self) -> Vec<T::Action> {
        match self {
            Updates::One(update) => vec![update],
            Updates::Many(updates) => updates,
            Updates::Replace(_) => Vec::new(),
        }
    }

    #[inline]
    pub(crate) fn apply(&self, state: &mut T) {
        match self {
            Updates::One(update) => state.apply_update(update),
            Updates::Many(updates) => updates.iter().for_each(|update| state.apply_update(update)),
            Updates::Replace(value) => *state = T::clone(value),
        }
    }

    #[inline]
    pub(crate) fn apply_owned(self, state: &mut T) {
        match self {
            Updates::One(update) => state.apply_owned(update),
            Updates::Many(updates) => {
                updates
                    .into_iter()
                    .for_each(|update| state.apply_owned(update));
            }
            Updates::Replace(value) => *state = *value,
        }
    }
}

pub(crate) struct Batch<T: HotReadState> {
    /// Sequence number of its first update.
    pub(crate) first: u64,
    pub(crate) updates: Updates<T>,
}

impl<T: HotReadState> Batch<T> {
    #[inline]
    pub(crate) fn last(&self) -> u64 {
        self.first + self.updates.len() as u64 - 1
    }
}

/// A queue of batches with stable positions: a batch keeps its position until an earlier one is
/// rejected, which happens only where no copy has passed yet.
pub(crate) struct Log<T: HotReadState> {
    batches: VecDeque<Batch<T>>,
    /// Position of the front batch.
    start: u64,
    /// Updates in all batches.
    updates: usize,
}

impl<T: HotReadState> Log<T> {
    pub(crate) fn new() -> Self {
        Self {
            batches: VecDeque::new(),
            start: 0,
            updates: 0,
        }
    }

    #[inline]
    pub(crate) fn start(&self) -> u64 {
        self.start
    }

    /// The position that the next batch will get.
    #[inline]
    pub(crate) fn end(&self) -> u64 {
        self.start + self.batches.len() as u64
    }

    #[inline]
    pub(crate) fn updates(&self) -> usize {
        self.updates
    }

    #[inline]
    pub(crate) fn push(&mut self, batch: Batch<T>) {
        self.updates += batch.updates.len();
        self.batches.push_back(batch);
    }

    #[inline]
    pub(crate) fn get(&self, position: u64) -> Option<&Batch<T>> {
        self.batches.get(position.checked_sub(self.start)? as usize)
    }

    #[inline]
    pub(crate) fn last(&self) -> Option<&Batch<T>> {
        self.batches.back()
    }

    #[inline]
    pub(crate) fn pop_front(&mut self) -> Option<Batch<T>> {
        let batch = self.batches.pop_front()?;
        self.start += 1;
        self.updates -= batch.updates.len();
        // A backlog leaves with its updates; the room for it need not stay.
        if self.batches.is_empty() && self.batches.capacity() > 1024 {
            self.batches.shrink_to(64);
        }
        Some(batch)
    }

    /// Takes a batch out of the middle; those behind it move up by one position.
    pub(crate) fn remove(&mut self, position: u64) -> Option<Batch<T>> {
        let batch = self
            .batches
            .remove(position.checked_sub(self.start)? as usize)?;
        self.updates -= batch.updates.len();
        Some(batch)
    }
}
