//! The updates that some copy still lacks, batch by batch, in the order in which they were queued.

use std::collections::VecDeque;
use std::mem;

use crate::HotReadState;
use crate::panics::Panics;

/// The updates of one call, which become visible together or not at all.
pub(crate) enum Updates<T: HotReadState> {
    One(T::Action),
    Many(Vec<T::Action>),
    /// A change by a closure.
    Call(Box<dyn Fn(&mut T) + Send + Sync>),
    /// A replacement of the whole state.
    Replace(Box<T>),
    /// The numbers of a batch that was rejected or moved into a copy.
    Gone(u64),
}

impl<T: HotReadState> Updates<T> {
    #[inline]
    pub(crate) fn len(&self) -> usize {
        match self {
            Updates::Many(updates) => updates.len(),
            Updates::Gone(_) => 0,
            _ => 1,
        }
    }

    /// Applies the updates by reference.
    #[inline]
    pub(crate) fn apply(&self, state: &mut T) {
        match self {
            Updates::One(update) => state.apply_update(update),
            Updates::Many(updates) => updates.iter().for_each(|update| state.apply_update(update)),
            Updates::Call(call) => call(state),
            Updates::Replace(value) => *state = T::clone(value),
            Updates::Gone(_) => {}
        }
    }

    /// Drops the updates one by one.
    pub(crate) fn discard(self, panics: &mut Panics) {
        match self {
            Updates::Many(updates) => panics.drop_each(updates),
            other => {
                panics.run(|| drop(other));
            }
        }
    }
}

pub(crate) struct Batch<T: HotReadState> {
    /// Sequence number of the batch's first update.
    pub(crate) first: u64,
    pub(crate) updates: Updates<T>,
}

impl<T: HotReadState> Batch<T> {
    #[inline]
    pub(crate) fn new(first: u64, updates: Updates<T>) -> Self {
        Self { first, updates }
    }

    #[inline]
    pub(crate) fn one(seq: u64, update: T::Action) -> Self {
        Self::new(seq, Updates::One(update))
    }

    /// Sequence number of the batch's last update.
    #[inline]
    pub(crate) fn last(&self) -> u64 {
        let numbers = match &self.updates {
            Updates::Gone(numbers) => *numbers,
            updates => updates.len() as u64,
        };
        self.first + numbers - 1
    }

    #[inline]
    pub(crate) fn is_gone(&self) -> bool {
        matches!(self.updates, Updates::Gone(_))
    }

    pub(crate) fn is_replacement(&self) -> bool {
        matches!(self.updates, Updates::Replace(_))
    }
}

/// Batches in a segment of the log: large enough that segments are rare, small enough that growing
/// by one is a small piece of work.
const SEGMENT: usize = 1024;

/// A queue of batches whose positions never change.
///
/// It grows by segments: one large buffer would move a whole backlog whenever it grows.
pub(crate) struct Log<T: HotReadState> {
    front: VecDeque<Batch<T>>,
    /// Segments behind `front`, all but the last of which are full. Empty unless `front` was
    /// filled.
    rest: VecDeque<VecDeque<Batch<T>>>,
    /// Position of the front batch.
    start: u64,
    /// Position of the next batch to be added.
    end: u64,
    /// Number of updates in all batches.
    updates: usize,
}

/// The only update of a log, for replacement in place.
pub(crate) struct Only<'a, T: HotReadState> {
    pub(crate) update: &'a mut T::Action,
    seq: &'a mut u64,
    start: &'a mut u64,
    end: &'a mut u64,
}

impl<'a, T: HotReadState> Only<'a, T> {
    /// Replaces the update by the next one, and returns both.
    #[inline]
    pub(crate) fn replace(self, seq: u64, next: T::Action) -> (T::Action, &'a T::Action) {
        *self.seq = seq;
        *self.start += 1;
        *self.end += 1;
        (mem::replace(self.update, next), self.update)
    }
}

impl<T: HotReadState> Log<T> {
    pub(crate) fn new() -> Self {
        Self {
            front: VecDeque::new(),
            rest: VecDeque::new(),
            start: 0,
            end: 0,
            updates: 0,
        }
    }

    #[inline]
    pub(crate) fn start(&self) -> u64 {
        self.start
    }

    #[inline]
    pub(crate) fn end(&self) -> u64 {
        self.end
    }

    #[inline]
    pub(crate) fn updates(&self) -> usize {
        self.updates
    }

    #[inline]
    pub(crate) fn push(&mut self, batch: Batch<T>) {
        self.updates += batch.updates.len();
        self.end += 1;
        if self.rest.is_empty() && self.front.len() < SEGMENT {
            self.front.push_back(batch);
        } else {
            self.push_behind(batch);
        }
    }

    #[cold]
    fn push_behind(&mut self, batch: Batch<T>) {
        if self.rest.back().is_none_or(|last| last.len() == SEGMENT) {
            self.rest.push_back(VecDeque::with_capacity(SEGMENT));
        }
        if let Some(last) = self.rest.back_mut() {
            last.push_back(batch);
        }
    }

    #[inline]
    pub(crate) fn get(&self, position: u64) -> Option<&Batch<T>> {
        let offset = position.checked_sub(self.start)? as usize;
        match offset.checked_sub(self.front.len()) {
            None => self.front.get(offset),
            Some(behind) => self.rest.get(behind / SEGMENT)?.get(behind % SEGMENT),
        }
    }

    /// Returns the batches from this position on that are adjacent in memory: at least one, if the
    /// log has any there.
    #[inline]
    pub(crate) fn run(&self, position: u64) -> &[Batch<T>] {
        let offset = (position - self.start) as usize;
        let (segment, offset) = match offset.checked_sub(self.front.len()) {
            None => (&self.front, offset),
            Some(behind) => match self.rest.get(behind / SEGMENT) {
                Some(segment) => (segment, behind % SEGMENT),
                None => return &[],
            },
        };
        let (former, latter) = segment.as_slices();
        match offset.checked_sub(former.len()) {
            None => &former[offset..],
            Some(offset) => &latter[offset..],
        }
    }

    /// Returns `true` if the log is empty or holds a single update that was queued alone.
    #[inline]
    pub(crate) fn holds_at_most_one_update(&self) -> bool {
        match self.end - self.start {
            0 => true,
            1 => {
                matches!(self.front.front(), Some(batch) if matches!(batch.updates, Updates::One(_)))
            }
            _ => false,
        }
    }

    /// Returns the update of a log that holds at most one.
    #[inline]
    pub(crate) fn only(&mut self) -> Option<Only<'_, T>> {
        debug_assert!(self.holds_at_most_one_update());
        let batch = self.front.front_mut()?;
        let Updates::One(update) = &mut batch.updates else {
            return None;
        };
        Some(Only {
            update,
            seq: &mut batch.first,
            start: &mut self.start,
            end: &mut self.end,
        })
    }

    #[inline]
    pub(crate) fn pop_front(&mut self) -> Option<Batch<T>> {
        let batch = self.front.pop_front()?;
        self.start += 1;
        self.updates -= batch.updates.len();
        self.refill_front();
        Some(batch)
    }

    /// Drops the batches before this position; returns the number of their updates.
    pub(crate) fn drop_before(&mut self, position: u64, panics: &mut Panics) -> usize {
        let before = self.updates;
        while self.start < position && !self.front.is_empty() {
            let batches = ((position - self.start) as usize).min(self.front.len());
            for batch in self.front.drain(..batches) {
                self.updates -= batch.updates.len();
                // Dropping an update without drop code runs no user code, so there is no panic to
                // catch.
                if mem::needs_drop::<T::Action>() || !matches!(batch.updates, Updates::One(_)) {
                    batch.updates.discard(panics);
                }
            }
            self.start += batches as u64;
            self.refill_front();
        }
        before - self.updates
    }

    #[inline]
    fn refill_front(&mut self) {
        if self.front.is_empty() {
            match self.rest.pop_front() {
                Some(next) => self.front = next,
                // A backlog leaves with its updates; its buffer need not stay.
                None if self.front.capacity() > 256 => self.front.shrink_to(64),
                None => {}
            }
        }
    }

    pub(crate) fn pop_back(&mut self) -> Option<Batch<T>> {
        let batch = match self.rest.back_mut() {
            Some(last) => last.pop_back(),
            None => self.front.pop_back(),
        }?;
        if self.rest.back().is_some_and(VecDeque::is_empty) {
            self.rest.pop_back();
        }
        self.end -= 1;
        self.updates -= batch.updates.len();
        Some(batch)
    }

    /// Takes the updates of a batch and leaves its numbers in their place.
    pub(crate) fn take(&mut self, position: u64) -> Option<Updates<T>> {
        let offset = position.checked_sub(self.start)? as usize;
        let batch = match offset.checked_sub(self.front.len()) {
            None => self.front.get_mut(offset),
            Some(behind) => self
                .rest
                .get_mut(behind / SEGMENT)?
                .get_mut(behind % SEGMENT),
        }?;
        let numbers = batch.last() + 1 - batch.first;
        let updates = mem::replace(&mut batch.updates, Updates::Gone(numbers));
        self.updates -= updates.len();
        Some(updates)
    }
}
