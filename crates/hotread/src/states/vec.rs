//! `Vec` as a state.

use crate::{HotRead, HotReadState, QueueResult};

/// One change of a `Vec`. An index that is out of range panics as it does in `Vec`, so that the
/// batch is rejected.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum VecUpdate<V> {
    /// Appends an element.
    Push(V),
    /// Replaces the element at an index.
    Set(usize, V),
    /// Inserts an element before an index, and shifts the elements behind it.
    Insert(usize, V),
    /// Removes the element at an index, and shifts the elements behind it.
    Remove(usize),
    /// Keeps the first elements and drops the others.
    Truncate(usize),
    /// Removes every element.
    Clear,
}

/// Elements are cloned once for each copy except the last; wrap large ones in an `Arc`, which also
/// lets the copies share them.
impl<V: Clone + Send + Sync + 'static> HotReadState for Vec<V> {
    type Action = VecUpdate<V>;

    fn apply_update(&mut self, update: &Self::Action) {
        match update {
            VecUpdate::Remove(index) => {
                self.remove(*index);
            }
            VecUpdate::Truncate(len) => self.truncate(*len),
            VecUpdate::Clear => self.clear(),
            other => self.apply_owned(other.clone()),
        }
    }

    fn apply_owned(&mut self, update: Self::Action) {
        match update {
            VecUpdate::Push(value) => self.push(value),
            VecUpdate::Set(index, value) => self[index] = value,
            VecUpdate::Insert(index, value) => self.insert(index, value),
            other => self.apply_update(&other),
        }
    }
}

/// Shorthands for the updates of a `Vec`. Each calls [`queue_update`](HotRead::queue_update) or
/// [`update`](HotRead::update), with the same costs and panics.
impl<V: Clone + Send + Sync + 'static> HotRead<Vec<V>> {
    /// Queues an update that appends an element.
    pub fn push(&self, value: V) -> QueueResult {
        self.queue_update(VecUpdate::Push(value))
    }

    /// Queues an update that replaces the element at an index.
    pub fn set(&self, index: usize, value: V) -> QueueResult {
        self.queue_update(VecUpdate::Set(index, value))
    }

    /// Queues the removal of every element.
    pub fn clear(&self) -> QueueResult {
        self.queue_update(VecUpdate::Clear)
    }

    /// Queues the removal of every element for which `keep` returns `false`. `keep` runs once for
    /// each element and copy.
    pub fn retain(&self, keep: impl Fn(&V) -> bool + Send + Sync + 'static) -> QueueResult {
        self.update(move |vec: &mut Vec<V>| vec.retain(|value| keep(value)))
            .result()
    }
}
