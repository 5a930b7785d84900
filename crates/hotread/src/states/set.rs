//! `HashSet` and `BTreeSet` as states.

use std::collections::{BTreeSet, HashSet};
use std::hash::{BuildHasher, Hash};

use crate::{HotRead, HotReadState, QueueResult};

/// One change of a set. Used by the states `HashSet<K, S>` and `BTreeSet<K>`.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum SetUpdate<K> {
    /// Adds an element, or replaces one that is equal to it.
    Insert(K),
    /// Removes an element, if the set has it.
    Remove(K),
    /// Removes every element.
    Clear,
}

macro_rules! set_state {
    ($set:ty, [$($bound:tt)*]) => {
        /// Elements are cloned once for each copy except the last; wrap large ones in an `Arc`,
        /// which also lets the copies share them.
        impl<$($bound)*> HotReadState for $set {
            type Action = SetUpdate<K>;

            #[inline]
            fn apply_update(&mut self, update: &Self::Action) {
                match update {
                    SetUpdate::Insert(key) => {
                        self.replace(key.clone());
                    }
                    SetUpdate::Remove(key) => {
                        self.remove(key);
                    }
                    SetUpdate::Clear => self.clear(),
                }
            }

            #[inline]
            fn apply_owned(&mut self, update: Self::Action) {
                match update {
                    SetUpdate::Insert(key) => {
                        self.replace(key);
                    }
                    other => self.apply_update(&other),
                }
            }
        }

        /// Shorthands for the updates of a set. Each calls [`queue_update`](HotRead::queue_update)
        /// or [`update`](HotRead::update), with the same costs and panics.
        impl<$($bound)*> HotRead<$set> {
            /// Queues the addition of an element.
            #[inline]
            pub fn insert(&self, key: K) -> QueueResult {
                self.queue_update(SetUpdate::Insert(key))
            }

            /// Queues the removal of an element, if the set has it by then.
            #[inline]
            pub fn remove(&self, key: K) -> QueueResult {
                self.queue_update(SetUpdate::Remove(key))
            }

            /// Queues the removal of every element.
            pub fn clear(&self) -> QueueResult {
                self.queue_update(SetUpdate::Clear)
            }

            /// Queues the removal of every element for which `keep` returns `false`. `keep` runs
            /// once for each element and copy.
            pub fn retain(
                &self,
                keep: impl Fn(&K) -> bool + Send + Sync + 'static,
            ) -> QueueResult {
                self.update(move |set: &mut $set| set.retain(|key| keep(key)))
                    .result()
            }
        }
    };
}

set_state! {
    HashSet<K, S>,
    [K: Clone + Eq + Hash + Send + Sync + 'static, S: BuildHasher + Clone + Send + Sync + 'static]
}
set_state! { BTreeSet<K>, [K: Clone + Ord + Send + Sync + 'static] }
