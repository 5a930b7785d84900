//! Every adapter behaves like a plain model.

use std::collections::HashMap;

use super::*;
use crate::states::{Config, keys, map_of};

/// Random inserts, batches and removals, one at a time; the reader sees each at once.
fn follows_a_map<K: Key, P: Kv<K>>() {
    let keys = keys::<K>(64);
    let initial = map_of(&keys[..40], &Default::default());
    let mut model: HashMap<K, u64> = initial.iter().map(|(k, v)| (k.clone(), *v)).collect();
    let (peer, writer) = P::build(initial);
    let mut writer = P::share(writer);
    let mut reader = peer.reader();
    let mut rng = fastrand::Rng::with_seed(1);
    reader.attach();
    for step in 0..400 {
        let key = &keys[rng.usize(..keys.len())];
        let visible = match rng.u8(..10) {
            0..5 => {
                model.insert(key.clone(), step);
                writer.insert(key.clone(), step)
            }
            5..8 => {
                model.remove(key);
                writer.remove(key)
            }
            _ => {
                let start = rng.usize(..32);
                let batch = &keys[start..start + 16];
                model.extend(batch.iter().map(|key| (key.clone(), step)));
                writer.insert_all(batch, step)
            }
        };
        assert!(visible, "{}: step {step} was not published", P::NAME);
        for key in &keys {
            assert_eq!(
                reader.get(key),
                model.get(key).copied(),
                "{}: step {step}",
                P::NAME
            );
        }
    }
    reader.rest();
    writer.settle();
    let mut late = peer.reader();
    reader.detach();
    late.attach();
    assert!(keys.iter().all(|k| late.get(k) == model.get(k).copied()));
    late.detach();
}

/// Updates replace a struct; the last of a batch wins.
fn follows_a_struct<P: Share<Config>>() {
    let (peer, mut writer) = P::build(Config::stamped(0));
    let mut reader = peer.reader();
    reader.attach();
    assert_eq!(reader.read(Config::stamp), 0, "{}", P::NAME);
    for step in 1..100 {
        if step % 3 == 0 {
            assert!(writer.update_all([1, 2, step].into_iter().map(Config::stamped)));
        } else {
            assert!(writer.update(Config::stamped(step)));
        }
        assert_eq!(reader.read(|c| *c), Config::stamped(step), "{}", P::NAME);
    }
    reader.detach();
}

/// One thread writes numbers that only grow, and two read: no reader sees a torn or an older state.
fn never_goes_back<P: Share<Config>>(readers: usize) {
    const LAST: u64 = 3_000;
    let (peer, mut writer) = P::build(Config { fields: [0; 8] });
    std::thread::scope(|scope| {
        for _ in 0..readers {
            let mut reader = peer.reader();
            scope.spawn(move || {
                reader.attach();
                let mut seen = 0;
                while seen < LAST {
                    let fields = reader.read(|c| c.fields);
                    assert_eq!(fields, [fields[0]; 8], "{}: torn", P::NAME);
                    assert!(fields[0] >= seen, "{}: went back", P::NAME);
                    seen = fields[0];
                    std::thread::yield_now();
                }
                reader.detach();
            });
        }
        writer.attach();
        for n in 1..=LAST {
            writer.update(Config { fields: [n; 8] });
        }
        writer.settle();
        writer.detach();
    });
}

macro_rules! for_maps {
    ($($test:ident: $peer:ident<$($whole:ident)?>$(, $copies:literal)?;)*) => {$(
        #[test]
        fn $test() {
            follows_a_map::<u64, for_maps!(@ $peer, $($whole)?, u64 $(, $copies)?)>();
            follows_a_map::<Arc<str>, for_maps!(@ $peer, $($whole)?, Arc<str> $(, $copies)?)>();
        }
    )*};
    (@ $peer:ident, Map, $key:ty $(, $copies:literal)?) => { $peer<Map<$key> $(, $copies)?> };
    (@ $peer:ident, , $key:ty) => { $peer<$key> };
}

for_maps! {
    hotread_follows_a_map: HotReadCurrent<Map>;
    hotread_with_three_copies_follows_a_map: HotReadCurrent<Map>, 3;
    hotread_closure_follows_a_map: HotReadClosure<Map>;
    published_hotread_follows_a_map: Published<Map>;
    left_right_follows_a_map: LeftRight<Map>;
    arc_swap_cache_follows_a_map: ArcSwapCache<Map>;
    arc_swap_follows_a_map: ArcSwapLoad<Map>;
    std_rwlock_follows_a_map: StdRwLock<Map>;
    parking_lot_rwlock_follows_a_map: ParkingLotRwLock<Map>;
    watch_follows_a_map: Watch<Map>;
    two_maps_follow_a_map: TwoMaps<>;
    evmap_follows_a_map: EvMap<>;
    papaya_follows_a_map: Papaya<>;
    dashmap_follows_a_map: Dash<>;
    scc_hash_map_follows_a_map: SccHashMap<>;
    scc_hash_index_follows_a_map: SccHashIndex<>;
}

macro_rules! for_structs {
    ($($test:ident: $peer:ty, $readers:literal;)*) => {$(
        #[test]
        fn $test() {
            follows_a_struct::<$peer>();
            never_goes_back::<$peer>($readers);
        }
    )*};
}

for_structs! {
    hotread_follows_a_struct: HotReadCurrent<Config>, 2;
    hotread_with_three_copies_follows_a_struct: HotReadCurrent<Config, 3>, 2;
    hotread_closure_follows_a_struct: HotReadClosure<Config>, 2;
    published_hotread_follows_a_struct: Published<Config>, 2;
    left_right_follows_a_struct: LeftRight<Config>, 2;
    arc_swap_cache_follows_a_struct: ArcSwapCache<Config>, 2;
    arc_swap_follows_a_struct: ArcSwapLoad<Config>, 2;
    std_rwlock_follows_a_struct: StdRwLock<Config>, 2;
    parking_lot_rwlock_follows_a_struct: ParkingLotRwLock<Config>, 2;
    watch_follows_a_struct: Watch<Config>, 2;
    triple_buffer_follows_a_struct: TripleBuffer, 1;
    two_copies_follow_a_struct: TwoCopies<Config>, 2;
}

#[cfg(feature = "liburcu")]
for_structs! {
    qsbr_follows_a_struct: Qsbr<Config>, 2;
}

#[test]
fn a_bare_arc_reads_what_it_was_given() {
    let (peer, _) = <BareArc<Config> as Share<Config>>::build(Config::stamped(7));
    assert_eq!(peer.reader().read(Config::stamp), 7);
}
