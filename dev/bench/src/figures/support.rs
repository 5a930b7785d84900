//! What the figures have in common: paced writers, shared setups.

use std::rc::Rc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use crate::clock;
use crate::states::{Key, Map, keys, map_of};
use crate::workload;

pub(crate) use crate::timing::{StopOnDrop, ns_per_call};

/// Adds one cell for each peer and measurement:
/// `cells!(rounds, Trait, [Peer, …], column => measure(setup, …), …)` calls
/// `measure::<Peer>(&setup, …)` once a round. The setups are cloned for each peer, so they are
/// numbers or behind an `Rc`. `measure::<K>(…)` passes a second type argument; a peer behind the word
/// `liburcu` takes part in builds with that feature.
macro_rules! cells {
    ($rounds:ident, $trait:path, $peers:tt,
     $($column:expr => $measure:ident $(::<$key:ty>)? ($($setup:ident),*)),+ $(,)?) => {
        $(cells!(@ $rounds, $column, $trait, $peers, $measure $(::<$key>)? ($($setup),*));)+
    };
    (@ $rounds:ident, $column:expr, $trait:path, [], $($measure:tt)*) => {};
    (@ $rounds:ident, $column:expr, $trait:path, [liburcu $peer:ty $(, $($others:tt)*)?],
     $($measure:tt)*) => {
        #[cfg(feature = "liburcu")]
        cells!(@ $rounds, $column, $trait, [$peer], $($measure)*);
        cells!(@ $rounds, $column, $trait, [$($($others)*)?], $($measure)*);
    };
    (@ $rounds:ident, $column:expr, $trait:path, [$peer:ty $(, $($others:tt)*)?],
     $measure:ident $(::<$key:ty>)? ($($setup:ident),*)) => {
        {
            $(let $setup = $setup.clone();)*
            $rounds.add(<$peer as $trait>::NAME, $column, move || {
                $measure::<$peer $(, $key)?>($(&$setup),*)
            });
        }
        cells!(
            @ $rounds, $column, $trait, [$($($others)*)?], $measure $(::<$key>)? ($($setup),*)
        );
    };
}
pub(crate) use cells;

/// A map of random keys, with some of them drawn for the measured loops.
pub(crate) struct Drawn<K> {
    /// The map to share.
    pub(crate) map: Map<K>,
    /// Keys of the map in random order, with repetitions.
    pub(crate) draws: Vec<K>,
}

impl<K: Key> Drawn<K> {
    /// `len` entries, `draws` draws.
    pub(crate) fn new(len: usize, draws: usize) -> Rc<Self> {
        let keys = keys(len);
        let map = map_of(&keys, &Default::default());
        let indices = workload::uniform(&mut fastrand::Rng::with_seed(len as u64), len, draws);
        let draws = workload::pick(&keys, &indices);
        Rc::new(Self { map, draws })
    }
}

/// How often an update comes.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Rate {
    /// Never: the writer's thread spins all the same, so that it loads the machine alike.
    Never,
    /// So many each second.
    PerSecond(u64),
    /// One after the other.
    FlatOut,
}

/// Calls `update` at a rate until `stop` is set; answers how often.
///
/// A writer that falls behind by more than a millisecond drops what it missed.
pub(crate) fn pace(rate: Rate, stop: &AtomicBool, mut update: impl FnMut(u64)) -> u64 {
    let mut count = 0;
    match rate {
        Rate::Never => {
            while !stop.load(Ordering::Relaxed) {
                std::hint::spin_loop();
            }
        }
        Rate::FlatOut => {
            while !stop.load(Ordering::Relaxed) {
                update(count);
                count += 1;
            }
        }
        Rate::PerSecond(rate) => {
            let interval = clock::ticks(Duration::from_secs(1)) / rate;
            let patience = clock::ticks(Duration::from_millis(1));
            let mut next = clock::now();
            while !stop.load(Ordering::Relaxed) {
                let now = clock::now();
                if now < next {
                    std::hint::spin_loop();
                    continue;
                }
                if now > next + patience {
                    next = now;
                }
                next += interval;
                update(count);
                count += 1;
            }
        }
    }
    count
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Instant;

    #[test]
    fn a_paced_writer_keeps_its_rate() {
        // 400 when undisturbed; a busy machine may drop most in some tries, never add.
        let kept = (0..50).any(|_| {
            let (stop, start) = (AtomicBool::new(false), Instant::now());
            let count = std::thread::scope(|scope| {
                let writer = scope.spawn(|| pace(Rate::PerSecond(2_000), &stop, |_| ()));
                std::thread::sleep(Duration::from_millis(200));
                stop.store(true, Ordering::Relaxed);
                writer.join().expect("pacing does not panic")
            });
            let due = start.elapsed().as_secs_f64() * 2_000.0;
            assert!(count as f64 <= due * 1.1 + 1.0, "{count} of {due}");
            count >= 100
        });
        assert!(kept, "a quarter is due in any case");
    }

    #[test]
    fn drawn_keys_are_in_the_map() {
        let drawn = Drawn::<u64>::new(100, 1_000);
        assert_eq!(drawn.map.len(), 100);
        assert!(drawn.draws.iter().all(|key| drawn.map.contains_key(key)));
    }
}
