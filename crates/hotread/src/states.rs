//! Ready-made states for the standard maps and for a value that is replaced whole.

use std::borrow::Borrow;
use std::collections::{BTreeMap, HashMap};
use std::hash::{BuildHasher, Hash};
use std::sync::Arc;

use crate::HotReadState;

/// One change of a map. Used by the states `HashMap<K, V, S>` and `BTreeMap<K, V>`.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum MapUpdate<K, V> {
    /// Sets the value of a key, as `insert` does.
    Insert(K, V),
    /// Removes a key if it is there.
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
                        self.remove(Borrow::<K>::borrow(key));
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
    };
}

map_state! {
    /// Keys and values are cloned once for each copy but the last; wrap large ones in an `Arc`,
    /// which also lets the copies share them.
    HashMap<K, V, S>,
    [K: Clone + Eq + Hash + Send + Sync + 'static, V: Clone + Send + Sync + 'static,
     S: BuildHasher + Clone + Send + Sync + 'static]
}
map_state! {
    /// Keys and values are cloned once for each copy but the last; wrap large ones in an `Arc`,
    /// which also lets the copies share them.
    BTreeMap<K, V>,
    [K: Clone + Ord + Send + Sync + 'static, V: Clone + Send + Sync + 'static]
}

/// A value that each update replaces whole. The copies share it, so two cost no more than one.
impl<V: Send + Sync + 'static> HotReadState for Arc<V> {
    type Action = Arc<V>;

    fn apply_update(&mut self, update: &Self::Action) {
        *self = Arc::clone(update);
    }

    fn apply_owned(&mut self, update: Self::Action) {
        *self = update;
    }
}
