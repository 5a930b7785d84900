//! The limit of what an update can cost when two copies have to be kept: the same inserts into two
//! maps under one uncontended lock.

use std::sync::{Arc, Mutex, MutexGuard};

use super::{Kv, KvRead, KvWrite};
use crate::states::{Key, Map};

/// Two maps under one lock.
pub struct TwoMaps<K>(Arc<Mutex<(Map<K>, Map<K>)>>);

impl<K> Clone for TwoMaps<K> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<K> TwoMaps<K> {
    fn lock(&self) -> MutexGuard<'_, (Map<K>, Map<K>)> {
        self.0.lock().expect("no writer panics")
    }
}

impl<K: Key> Kv<K> for TwoMaps<K> {
    const NAME: &'static str = "two maps, one lock";
    type Reader = Self;
    type Writer = Self;
    type SharedWriter = Self;

    fn build(initial: Map<K>) -> (Self, Self) {
        let maps = Self(Arc::new(Mutex::new((initial.clone(), initial))));
        (maps.clone(), maps)
    }

    fn reader(&self) -> Self {
        self.clone()
    }

    fn share(writer: Self) -> Self {
        writer
    }
}

impl<K: Key> KvRead<K> for TwoMaps<K> {
    #[inline]
    fn get(&mut self, key: &K) -> Option<u64> {
        self.lock().0.get(key).copied()
    }
}

impl<K: Key> KvWrite<K> for TwoMaps<K> {
    #[inline]
    fn insert(&mut self, key: K, value: u64) -> bool {
        let mut maps = self.lock();
        maps.0.insert(key.clone(), value);
        maps.1.insert(key, value);
        true
    }

    #[inline]
    fn insert_all(&mut self, keys: &[K], value: u64) -> bool {
        let mut maps = self.lock();
        for key in keys {
            maps.0.insert(key.clone(), value);
            maps.1.insert(key.clone(), value);
        }
        true
    }

    #[inline]
    fn remove(&mut self, key: &K) -> bool {
        let mut maps = self.lock();
        maps.0.remove(key);
        maps.1.remove(key);
        true
    }
}
