//! Parts that the figures share: paced writers, setups.

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

    /// The draws of one of several threads: all of them in a cycle, from a place of its own.
    pub(crate) fn of_thread(&self, thread: usize, threads: usize) -> impl Iterator<Item = &K> {
        let first = self.draws.len() / threads * thread;
        let (before, after) = self.draws.split_at(first);
        after.iter().chain(before).cycle()
    }
}

/// Rate of updates.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Rate {
    /// Never: the writer's thread spins, so that the load of the machine is the same.
    Never,
    /// This number each second.
    PerSecond(u64),
    /// One after another.
    FlatOut,
}

/// Calls `update` at a rate until `stop` is set; returns the number of calls.
///
/// A writer that falls behind by more than a millisecond drops the updates that it missed.
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
    #[cfg(target_os = "linux")]
    use std::time::Instant;

    #[test]
    #[cfg(target_os = "linux")]
    fn a_paced_writer_keeps_its_rate() {
        use rustix::time::{ClockId, clock_gettime};

        let (stop, start) = (AtomicBool::new(false), Instant::now());
        let (count, ran) = std::thread::scope(|scope| {
            let writer = scope.spawn(|| {
                let count = pace(Rate::PerSecond(2_000), &stop, |_| ());
                let ran = clock_gettime(ClockId::ThreadCPUTime);
                (count as f64, ran.tv_sec as f64 + ran.tv_nsec as f64 / 1e9)
            });
            std::thread::sleep(Duration::from_millis(200));
            stop.store(true, Ordering::Relaxed);
            writer.join().expect("pacing does not panic")
        });
        // It drops updates that were due while the system did not run it, and never adds any.
        let most = start.elapsed().as_secs_f64() * 2_100.0 + 1.0;
        let least = ran * 2_000.0 / 2.0;
        assert!(
            (least..=most).contains(&count),
            "{count} in {least}..={most}"
        );
    }

    #[test]
    fn drawn_keys_are_in_the_map() {
        let drawn = Drawn::<u64>::new(100, 1_000);
        assert_eq!(drawn.map.len(), 100);
        assert!(drawn.draws.iter().all(|key| drawn.map.contains_key(key)));
    }
}
