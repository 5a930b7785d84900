//! evmap: a multi-value map over left-right; `update` replaces, every update or batch publishes.

use std::collections::hash_map::RandomState;
use std::sync::Mutex;

use evmap::handles::{ReadHandle, WriteHandle};

use super::{Kv, KvRead, KvWrite, Locked};
use crate::states::{Key, Map};

/// The crate evmap. The lock is taken only to make one more reader.
pub struct EvMap<K: Key>(Mutex<ReadHandle<K, u64, (), RandomState>>);

/// A read handle.
pub struct EvMapReader<K: Key>(ReadHandle<K, u64, (), RandomState>);

/// The write handle.
pub struct EvMapWriter<K: Key>(WriteHandle<K, u64, (), RandomState>);

impl<K: Key> Kv<K> for EvMap<K> {
    const NAME: &'static str = "evmap";
    type Reader = EvMapReader<K>;
    locked_writer!(EvMapWriter<K>);

    fn build(initial: Map<K>) -> (Self, Self::Writer) {
        let options = evmap::Options::default().with_capacity(initial.len());
        // SAFETY: `RandomState` is deterministic: all hashers it builds share its keys.
        let options = unsafe { options.with_hasher(initial.hasher().clone()) };
        let (mut writer, reader) = options.construct();
        for (key, value) in initial {
            writer.update(key, value);
        }
        writer.publish();
        (Self(Mutex::new(reader)), EvMapWriter(writer))
    }

    fn reader(&self) -> Self::Reader {
        EvMapReader(self.0.lock().expect("nothing panics here").clone())
    }
}

impl<K: Key> KvRead<K> for EvMapReader<K> {
    #[inline]
    fn get(&mut self, key: &K) -> Option<u64> {
        self.0.get_one(key).map(|value| *value)
    }
}

impl<K: Key> KvWrite<K> for EvMapWriter<K> {
    #[inline]
    fn insert(&mut self, key: K, value: u64) -> bool {
        self.0.update(key, value);
        self.0.publish();
        true
    }

    #[inline]
    fn insert_all(&mut self, keys: &[K], value: u64) -> bool {
        for key in keys {
            self.0.update(key.clone(), value);
        }
        self.0.publish();
        true
    }

    #[inline]
    fn remove(&mut self, key: &K) -> bool {
        self.0.remove_entry(key.clone());
        self.0.publish();
        true
    }
}

impl<K: Key> KvWrite<K> for Locked<EvMapWriter<K>> {
    #[inline]
    fn insert(&mut self, key: K, value: u64) -> bool {
        self.lock().insert(key, value)
    }

    #[inline]
    fn insert_all(&mut self, keys: &[K], value: u64) -> bool {
        self.lock().insert_all(keys, value)
    }

    #[inline]
    fn remove(&mut self, key: &K) -> bool {
        self.lock().remove(key)
    }
}
