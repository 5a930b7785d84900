//! The concurrent maps: papaya, dashmap, and scc's `HashMap` and `HashIndex`.
//!
//! They change in place, without snapshots or atomic batches.

use std::collections::hash_map::RandomState;
use std::sync::Arc;

use super::{Kv, KvRead, KvWrite};
use crate::states::{Key, Map};

/// A concurrent map, which is its own reader and writer, with expressions to look up, set and remove a key.
macro_rules! concurrent_map {
    ($name:ident, $label:literal, $map:ty,
     get: |$get_map:ident, $get_key:ident| $get:expr,
     insert: |$insert_map:ident, $insert_key:ident, $value:ident| $insert:expr,
     remove: |$remove_map:ident, $remove_key:ident| $remove:expr
     $(, insert_all: |$all_map:ident, $all_keys:ident, $all_value:ident| $insert_all:expr)? $(,)?
    ) => {
        #[doc = concat!("A shared ", $label, ".")]
        #[derive(Clone)]
        pub struct $name<K>(Arc<$map>);

        impl<K: Key> Kv<K> for $name<K> {
            const NAME: &'static str = $label;
            one_handle!();

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
        }

        impl<K: Key> KvRead<K> for $name<K> {
            #[inline]
            fn get(&mut self, $get_key: &K) -> Option<u64> {
                let $get_map = &self.0;
                $get
            }
        }

        impl<K: Key> KvWrite<K> for $name<K> {
            #[inline]
            fn insert(&mut self, $insert_key: K, $value: u64) -> bool {
                let $insert_map = &self.0;
                $insert;
                true
            }

            #[inline]
            fn remove(&mut self, $remove_key: &K) -> bool {
                let $remove_map = &self.0;
                $remove;
                true
            }

            $(#[inline]
            fn insert_all(&mut self, $all_keys: &[K], $all_value: u64) -> bool {
                let $all_map = &self.0;
                $insert_all
                true
            })?
        }
    };
}

concurrent_map!(
    Papaya, "papaya", papaya::HashMap<K, u64, RandomState>,
    get: |map, key| map.pin().get(key).copied(),
    insert: |map, key, value| map.pin().insert(key, value),
    remove: |map, key| map.pin().remove(key),
    insert_all: |map, keys, value| {
        let map = map.pin();
        for key in keys {
            map.insert(key.clone(), value);
        }
    },
);
concurrent_map!(
    Dash, "dashmap", dashmap::DashMap<K, u64, RandomState>,
    get: |map, key| map.get(key).map(|value| *value),
    insert: |map, key, value| map.insert(key, value),
    remove: |map, key| map.remove(key),
);
concurrent_map!(
    SccHashMap, "scc HashMap", scc::HashMap<K, u64, RandomState>,
    get: |map, key| map.read_sync(key, |_, value| *value),
    insert: |map, key, value| map.upsert_sync(key, value),
    remove: |map, key| map.remove_sync(key),
);
concurrent_map!(
    SccHashIndex, "scc HashIndex", scc::HashIndex<K, u64, RandomState>,
    get: |map, key| map.peek_with(key, |_, value| *value),
    insert: |map, key, value| match map.entry_sync(key) {
        scc::hash_index::Entry::Occupied(mut entry) => entry.update(value),
        scc::hash_index::Entry::Vacant(entry) => drop(entry.insert_entry(value)),
    },
    remove: |map, key| map.remove_sync(key),
);
