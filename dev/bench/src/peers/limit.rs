//! Limits. The least cost of an update of two copies: the same update of two
//! copies under one uncontended lock, for maps and for structs. And the cost of running a number of
//! threads: an update that does nothing.

use std::hint::black_box;
use std::marker::PhantomData;
use std::sync::{Arc, Mutex, MutexGuard};

use hotread::HotReadState;

use super::{Kv, KvRead, KvWrite, Read, Share, Write};
use crate::states::{Key, Map};

/// Two maps under one lock.
#[derive(Clone)]
pub struct TwoMaps<K>(Arc<Mutex<(Map<K>, Map<K>)>>);

impl<K> TwoMaps<K> {
    fn lock(&self) -> MutexGuard<'_, (Map<K>, Map<K>)> {
        self.0.lock().expect("no writer panics")
    }
}

impl<K: Key> Kv<K> for TwoMaps<K> {
    const NAME: &'static str = "two maps, one lock";
    one_handle!();

    fn build(initial: Map<K>) -> (Self, Self) {
        let maps = Self(Arc::new(Mutex::new((initial.clone(), initial))));
        (maps.clone(), maps)
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

/// Two copies of any state under one lock.
#[derive(Clone)]
pub struct TwoCopies<S>(Arc<Mutex<(S, S)>>);

impl<S> TwoCopies<S> {
    fn lock(&self) -> MutexGuard<'_, (S, S)> {
        self.0.lock().expect("no writer panics")
    }
}

impl<S: HotReadState> Share<S> for TwoCopies<S> {
    const NAME: &'static str = "two copies, one lock";
    one_handle!();

    fn build(initial: S) -> (Self, Self) {
        let copies = Self(Arc::new(Mutex::new((initial.clone(), initial))));
        (copies.clone(), copies)
    }
}

impl<S: HotReadState> Read<S> for TwoCopies<S> {
    #[inline]
    fn read<R>(&mut self, f: impl FnOnce(&S) -> R) -> R {
        f(&self.lock().0)
    }
}

impl<S: HotReadState> Write<S> for TwoCopies<S> {
    #[inline]
    fn update(&mut self, update: S::Action) -> bool {
        let mut copies = self.lock();
        copies.0.apply_update(&update);
        copies.1.apply_owned(update);
        true
    }

    #[inline]
    fn update_all(&mut self, updates: impl Iterator<Item = S::Action>) -> bool {
        let mut copies = self.lock();
        for update in updates {
            copies.0.apply_update(&update);
            copies.1.apply_owned(update);
        }
        true
    }
}

/// Threads that share and update nothing: the time of a call is then the machine's.
#[derive(Clone)]
pub struct BareThreads<K>(PhantomData<fn(K)>);

impl<K: Key> Kv<K> for BareThreads<K> {
    const NAME: &'static str = "bare threads (no updates)";
    one_handle!();

    fn build(_: Map<K>) -> (Self, Self) {
        (Self(PhantomData), Self(PhantomData))
    }
}

impl<K: Key> KvRead<K> for BareThreads<K> {
    fn get(&mut self, key: &K) -> Option<u64> {
        black_box(key);
        None
    }
}

impl<K: Key> KvWrite<K> for BareThreads<K> {
    fn insert(&mut self, key: K, value: u64) -> bool {
        black_box((key, value));
        true
    }

    fn insert_all(&mut self, keys: &[K], value: u64) -> bool {
        black_box((keys, value));
        true
    }

    fn remove(&mut self, key: &K) -> bool {
        black_box(key);
        true
    }
}
