//! `HashMap` and `BTreeMap` as states.

use std::collections::{BTreeMap, HashMap};
use std::hash::{BuildHasher, Hash};

use crate::{HotRead, HotReadState, QueueResult};

/// One change of a map. Used by the states `HashMap<K, V, S>` and `BTreeMap<K, V>`.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum MapUpdate<K, V> {
    /// Sets the value of a key, as `insert` does.
    Insert(K, V),
    /// Removes a key, if the map has it.
    Remove(K),
    /// Removes every key.
    Clear,
}

macro_rules! map_state {
    ($(#[$doc:meta])* $map:ty, [$($bound:tt)*]) => {
        $(#[$doc])*
        impl<$($bound)*> HotReadState for $map {
            type Action = MapUpdate<K, V>;

            #[inline]
            fn apply_update(&mut self, update: &Self::Action) {
                match update {
                    MapUpdate::Insert(key, value) => {
                        self.insert(key.clone(), value.clone());
                    }
                    MapUpdate::Remove(key) => {
                        self.remove(key);
                    }
                    MapUpdate::Clear => self.clear(),
                }
            }

            #[inline]
            fn apply_owned(&mut self, update: Self::Action) {
                match update {
                    MapUpdate::Insert(key, value) => {
                        self.insert(key, value);
                    }
                    other => self.apply_update(&other),
                }
            }
        }

        /// Shorthands for the updates of a map. Each calls [`queue_update`](HotRead::queue_update)
        /// or [`update`](HotRead::update), with the same costs and panics.
        impl<$($bound)*> HotRead<$map> {
            /// Queues an update that sets a key's value.
            #[inline]
            pub fn insert(&self, key: K, value: V) -> QueueResult {
                self.queue_update(MapUpdate::Insert(key, value))
            }

            /// Queues the removal of a key, if the map has it by then.
            #[inline]
            pub fn remove(&self, key: K) -> QueueResult {
                self.queue_update(MapUpdate::Remove(key))
            }

            /// Queues the removal of every key.
            pub fn clear(&self) -> QueueResult {
                self.queue_update(MapUpdate::Clear)
            }

            /// Queues a change of a key's value, if the map has the key by then. `change` runs once
            /// for each copy.
            pub fn modify(
                &self,
                key: K,
                change: impl Fn(&mut V) + Send + Sync + 'static,
            ) -> QueueResult {
                self.update(move |map: &mut $map| {
                    if let Some(value) = map.get_mut(&key) {
                        change(value);
                    }
                })
                .result()
            }

            /// Queues the removal of every key for which `keep` returns `false`. `keep` runs once
            /// for each key and copy.
            pub fn retain(
                &self,
                keep: impl Fn(&K, &mut V) -> bool + Send + Sync + 'static,
            ) -> QueueResult {
                self.update(move |map: &mut $map| map.retain(|key, value| keep(key, value)))
                    .result()
            }
        }
    };
}

map_state! {
    /// Keys and values are cloned once for each copy except the last; wrap large ones in an `Arc`,
    /// which also lets the copies share them.
    HashMap<K, V, S>,
    [K: Clone + Eq + Hash + Send + Sync + 'static, V: Clone + Send + Sync + 'static,
     S: BuildHasher + Clone + Send + Sync + 'static]
}
map_state! {
    /// Keys and values are cloned once for each copy except the last; wrap large ones in an `Arc`,
    /// which also lets the copies share them.
    BTreeMap<K, V>,
    [K: Clone + Ord + Send + Sync + 'static, V: Clone + Send + Sync + 'static]
}
