//! The states that are shared, the same for every peer.

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::Arc;

use hotread::{HotReadState, MapUpdate};

/// A small struct of 64 bytes; an update replaces all of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Config {
    /// Eight fields; the first one carries a stamp where a figure needs one.
    pub fields: [u64; 8],
}

impl Config {
    /// A configuration whose first field is `stamp`.
    pub fn stamped(stamp: u64) -> Self {
        Self {
            fields: [stamp, 2, 3, 4, 5, 6, 7, 8],
        }
    }

    /// The first field.
    #[inline]
    pub fn stamp(&self) -> u64 {
        self.fields[0]
    }
}

impl HotReadState for Config {
    type Action = Self;

    #[inline]
    fn apply_update(&mut self, update: &Self) {
        *self = *update;
    }
}

/// The smallest state with small updates (8 bytes each): the last stamp, and the number of stamps.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LastStamp {
    /// The newest stamp.
    pub stamp: u64,
    /// Updates applied so far.
    pub count: u64,
}

impl HotReadState for LastStamp {
    type Action = u64;

    #[inline]
    fn apply_update(&mut self, stamp: &u64) {
        self.stamp = *stamp;
        self.count += 1;
    }
}

/// A key of the maps: `u64` or `Arc<str>`.
pub trait Key: Hash + Eq + Clone + Send + Sync + evmap::StableHashEq + 'static {
    /// The key of index `n`; distinct for distinct `n`.
    fn nth(n: u64) -> Self;
}

impl Key for u64 {
    /// A bijection that scatters neighbours (the finaliser of SplitMix64).
    fn nth(n: u64) -> Self {
        let mut z = n.wrapping_add(0x9e37_79b9_7f4a_7c15);
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }
}

impl Key for Arc<str> {
    fn nth(n: u64) -> Self {
        format!("user/{:016x}", u64::nth(n)).into()
    }
}

/// The map that is shared: HotRead's ready-made state, `std`'s map and hasher, values of 8 bytes.
pub type Map<K> = HashMap<K, u64>;

/// An update of a [`Map`].
pub type Update<K> = MapUpdate<K, u64>;

/// The first `len` keys, in order of their index.
pub fn keys<K: Key>(len: usize) -> Vec<K> {
    (0..len as u64).map(K::nth).collect()
}

/// A map of the given keys, each with its index as value.
///
/// Clones of `hasher` (one for each figure) make all maps of a figure hash alike.
pub fn map_of<K: Key>(keys: &[K], hasher: &std::hash::RandomState) -> Map<K> {
    let mut map = HashMap::with_capacity_and_hasher(keys.len(), hasher.clone());
    map.extend(keys.iter().cloned().zip(0..));
    map
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn config_is_one_cache_line_and_updates_replace_it() {
        assert_eq!(size_of::<Config>(), 64);
        let mut config = Config::stamped(1);
        config.apply_update(&Config::stamped(9));
        assert_eq!(config, Config::stamped(9));
    }

    #[test]
    fn keys_are_distinct() {
        let numbers: HashSet<u64> = keys(100_000).into_iter().collect();
        let strings: HashSet<Arc<str>> = keys(10_000).into_iter().collect();
        assert_eq!((numbers.len(), strings.len()), (100_000, 10_000));
    }

    #[test]
    fn a_map_holds_each_key_with_its_index() {
        let keys = keys::<Arc<str>>(100);
        let map = map_of(&keys, &Default::default());
        assert_eq!(map.len(), 100);
        assert!(keys.iter().zip(0..).all(|(key, n)| map[key] == n));
    }
}
