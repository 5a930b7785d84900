//! The concurrent maps: papaya, dashmap, and scc's `HashMap` and `HashIndex`.
//!
//! They change in place: no snapshot, no batch that is seen whole.

use std::collections::hash_map::RandomState;
use std::sync::Arc;

use super::{Kv, KvRead, KvWrite};
use crate::states::{Key, Map};

/// Says that a concurrent map is its own reader and writer.
macro_rules! shared_by_arc {
    ($name:ident, $label:literal, $map:ty) => {
        #[doc = concat!("A shared ", $label, ".")]
        pub struct $name<K>(Arc<$map>);

        impl<K> Clone for $name<K> {
            fn clone(&self) -> Self {
                Self(Arc::clone(&self.0))
            }
        }

        impl<K: Key> Kv<K> for $name<K> {
            const NAME: &'static str = $label;
            type Reader = Self;
            type Writer = Self;
            type SharedWriter = Self;

            fn build(initial: Map<K>) -> (Self, Self) {
                let mut map = Self(Arc::new(<$map>::with_capacity_and_hasher(
                    initial.len(),
                    initial.hasher().clone(),
                )));
                for (key, value) in initial {
                    map.insert(key, value);
                }
                (map.clone(), map)
            }

            fn reader(&self) -> Self {
                self.clone()
            }

            fn share(writer: Self) -> Self {
                writer
            }
        }
    };
}

shared_by_arc!(Papaya, "papaya", papaya::HashMap<K, u64, RandomState>);
shared_by_arc!(Dash, "dashmap", dashmap::DashMap<K, u64, RandomState>);
shared_by_arc!(SccHashMap, "scc HashMap", scc::HashMap<K, u64, RandomState>);
shared_by_arc!(SccHashIndex, "scc HashIndex", scc::HashIndex<K, u64, RandomState>);

impl<K: Key> KvRead<K> for Papaya<K> {
    #[inline]
    fn get(&mut self, key: &K) -> Option<u64> {
        self.0.pin().get(key).copied()
    }
}

impl<K: Key> KvWrite<K> for Papaya<K> {
    #[inline]
    fn insert(&mut self, key: K, value: u64) -> bool {
        self.0.pin().insert(key, value);
        true
    }

    #[inline]
    fn insert_all(&mut self, keys: &[K], value: u64) -> bool {
        let map = self.0.pin();
        for key in keys {
            map.insert(key.clone(), value);
        }
        true
    }

    #[inline]
    fn remove(&mut self, key: &K) -> bool {
        self.0.pin().remove(key);
        true
    }
}

impl<K: Key> KvRead<K> for Dash<K> {
    #[inline]
    fn get(&mut self, key: &K) -> Option<u64> {
        self.0.get(key).map(|value| *value)
    }
}

impl<K: Key> KvWrite<K> for Dash<K> {
    #[inline]
    fn insert(&mut self, key: K, value: u64) -> bool {
        self.0.insert(key, value);
        true
    }

    #[inline]
    fn insert_all(&mut self, keys: &[K], value: u64) -> bool {
        for key in keys {
            self.0.insert(key.clone(), value);
        }
        true
    }

    #[inline]
    fn remove(&mut self, key: &K) -> bool {
        self.0.remove(key);
        true
    }
}

impl<K: Key> KvRead<K> for SccHashMap<K> {
    #[inline]
    fn get(&mut self, key: &K) -> Option<u64> {
        self.0.read_sync(key, |_, value| *value)
    }
}

impl<K: Key> KvWrite<K> for SccHashMap<K> {
    #[inline]
    fn insert(&mut self, key: K, value: u64) -> bool {
        self.0.upsert_sync(key, value);
        true
    }

    #[inline]
    fn insert_all(&mut self, keys: &[K], value: u64) -> bool {
        for key in keys {
            self.0.upsert_sync(key.clone(), value);
        }
        true
    }

    #[inline]
    fn remove(&mut self, key: &K) -> bool {
        self.0.remove_sync(key);
        true
    }
}

impl<K: Key> KvRead<K> for SccHashIndex<K> {
    #[inline]
    fn get(&mut self, key: &K) -> Option<u64> {
        self.0.peek_with(key, |_, value| *value)
    }
}

impl<K: Key> KvWrite<K> for SccHashIndex<K> {
    #[inline]
    fn insert(&mut self, key: K, value: u64) -> bool {
        match self.0.entry_sync(key) {
            scc::hash_index::Entry::Occupied(mut entry) => entry.update(value),
            scc::hash_index::Entry::Vacant(entry) => drop(entry.insert_entry(value)),
        }
        true
    }

    #[inline]
    fn insert_all(&mut self, keys: &[K], value: u64) -> bool {
        for key in keys {
            self.insert(key.clone(), value);
        }
        true
    }

    #[inline]
    fn remove(&mut self, key: &K) -> bool {
        self.0.remove_sync(key);
        true
    }
}
