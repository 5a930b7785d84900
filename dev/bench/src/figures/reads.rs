//! A read while nothing changes: a struct of 64 bytes, and lookups of random keys in maps of 1,000
//! and 100,000 entries.
//!
//! Loops of 4,096 reads are timed as a whole. The reference that a read returns is opaque to the
//! compiler, so that each read of a struct loads its field again. The worker's loop owns its reader;
//! behind an opaque reference, as in a field of a larger object, the reader's own fields are
//! also loaded again. The goals compare one reader; the last column has one reader on every core,
//! where locks and counters pay for sharing.

use std::hint::black_box;
use std::rc::Rc;
use std::sync::Barrier;

use super::support::{Drawn, cells, ns_per_call};
use crate::peers::*;
use crate::report::{Figure, Goal};
use crate::rounds::{Plan, Rounds, Unit};
use crate::states::{Config, Map};

/// Reads timed together.
const LOOP: usize = 4_096;

const OURS: &str = "HotRead";
const BARE: &str = "bare Arc (no updates)";
const CACHE: &str = "arc-swap Cache";
const COLUMNS: [&str; 5] = [
    "64-byte struct",
    "map of 1,000",
    "map of 100,000",
    "struct, reader behind a reference",
    "struct, a reader on each core",
];

/// No slower, within noise: two rows of the same loop differ by up to 1 % on a quiet machine, and
/// another one is granted for the place of a loop in memory.
pub(super) const ALIKE: f64 = 1.02;

pub(super) fn run(plan: &Plan) -> Figure {
    let small = Drawn::new(1_000, LOOP * 4);
    let large = Drawn::new(100_000, LOOP * 32);
    let samples = plan.pick(200, 40);
    let passes = plan.pick(6, 1);
    let small_passes = passes * 6;
    let mut rounds = Rounds::new("Time of one read", Unit::Ns.of(COLUMNS));
    cells!(rounds, Share<Config>, [
        HotReadCurrent<Config>, BareArc<Config>, ArcSwapCache<Config>, ArcSwapLoad<Config>,
        LeftRight<Config>, Published<Config>, StdRwLock<Config>, ParkingLotRwLock<Config>,
        Watch<Config>, TripleBuffer, liburcu Qsbr<Config>,
    ], 0 => struct_read(samples), 3 => struct_read_behind_reference(samples));
    cells!(rounds, Kv<u64>, [
        HotReadCurrent<Map<u64>>, BareArc<Map<u64>>, ArcSwapCache<Map<u64>>, ArcSwapLoad<Map<u64>>,
        LeftRight<Map<u64>>, EvMap<u64>, Published<Map<u64>>, Papaya<u64>, Dash<u64>,
        SccHashMap<u64>, SccHashIndex<u64>, StdRwLock<Map<u64>>, ParkingLotRwLock<Map<u64>>,
        Watch<Map<u64>>, liburcu Qsbr<Map<u64>>,
    ], 1 => map_read(small, small_passes), 2 => map_read(large, passes));
    for (column, drawn, passes) in [(1, small, small_passes), (2, large, passes)] {
        rounds.add("papaya, one pin for all", column, move || {
            papaya_pinned_once(&drawn, passes)
        });
    }
    cells!(rounds, Share<Config>, [
        HotReadCurrent<Config>, BareArc<Config>, ArcSwapCache<Config>, ArcSwapLoad<Config>,
        LeftRight<Config>, Published<Config>, StdRwLock<Config>, ParkingLotRwLock<Config>,
        Watch<Config>, liburcu Qsbr<Config>,
    ], 4 => struct_read_on_each_core(samples));

    let table = rounds.run(plan.pick(21, 2));
    let behind = "struct, reader behind a reference: HotRead / arc-swap Cache";
    let mut goals = Vec::from(
        [
            ("struct: HotRead / bare Arc", 1.05, BARE, 0),
            ("struct: HotRead / arc-swap Cache", ALIKE, CACHE, 0),
            ("map of 1,000: HotRead / bare map", 1.05, BARE, 1),
            ("map of 100,000: HotRead / bare map", 1.05, BARE, 2),
            (behind, ALIKE, CACHE, 3),
        ]
        .map(|(what, target, rival, column)| {
            Goal::at_most(what, target, table.ratio((OURS, column), (rival, column)))
        }),
    );
    goals.push(Goal::at_least(
        "struct: left-right's enter / HotRead",
        5.0,
        table.ratio(("left-right", 0), (OURS, 0)),
    ));
    Figure::new(
        "A read while nothing changes",
        "One reader reads a 64-byte struct, or looks random keys up in a map from `u64` to `u64`; \
         loops of 4,096 reads are timed as a whole.",
    )
    .goals(goals)
    .notes([
        "The goal against `Cache` is 1.0, and 2 % for noise: two rows of the same loop differ by 1 \
         %, and the place of a loop in memory matters as much.",
        "A worker's loop owns its reader: the compiler keeps the address of the published pointer \
         and the held pointer in registers. Behind an opaque reference, both are loaded at each \
         read, where a bare `Arc` loads one pointer.",
        "papaya, dashmap, scc and evmap are maps, so they have no struct to read; papaya's \
         documentation encourages reuse of a pin, hence the second row.",
    ])
    .tables([table])
}

/// One field of a struct, by one worker that owns its reader.
pub(super) fn struct_read<P: Share<Config>>(samples: &usize) -> Vec<f64> {
    one_reader::<P>(*samples, read_fields)
}

/// One field of a struct, by a reader that is opaque to the compiler.
fn struct_read_behind_reference<P: Share<Config>>(samples: &usize) -> Vec<f64> {
    one_reader::<P>(*samples, read_fields_behind_reference)
}

fn one_reader<P: Share<Config>>(samples: usize, reads: fn(&mut P::Reader) -> u64) -> Vec<f64> {
    let (peer, _writer) = P::build(Config::stamped(1));
    let mut reader = peer.reader();
    reader.attach();
    let ns = ns_per_call(samples, LOOP, || {
        black_box(reads(&mut reader));
    });
    reader.detach();
    vec![ns]
}

/// A loop of reads; never inlined, so that one reader and many run the same code.
#[inline(never)]
fn read_fields<R: Read<Config>>(reader: &mut R) -> u64 {
    (0..LOOP).fold(0, |sum: u64, _| {
        sum.wrapping_add(reader.read(|config| black_box(config).fields[3]))
    })
}

/// The same, where each read starts at an opaque reference to the reader.
#[inline(never)]
fn read_fields_behind_reference<R: Read<Config>>(reader: &mut R) -> u64 {
    (0..LOOP).fold(0, |sum: u64, _| {
        let reader = black_box(&mut *reader);
        sum.wrapping_add(reader.read(|config| black_box(config).fields[3]))
    })
}

/// The same with a reader on every core: nanoseconds a read of each reader.
fn struct_read_on_each_core<P: Share<Config>>(samples: &usize) -> Vec<f64> {
    let (peer, _writer) = P::build(Config::stamped(1));
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    // Twice the samples: the middle ones are taken while all other threads certainly run.
    let (barrier, samples) = (Barrier::new(cores), *samples * 2);
    let mut total = 0.0;
    std::thread::scope(|scope| {
        let threads: Vec<_> = (0..cores)
            .map(|_| {
                let (barrier, mut reader) = (&barrier, peer.reader());
                scope.spawn(move || {
                    reader.attach();
                    barrier.wait();
                    let ns = ns_per_call(samples, LOOP, || {
                        black_box(read_fields(&mut reader));
                    });
                    reader.detach();
                    ns
                })
            })
            .collect();
        for thread in threads {
            total += thread.join().expect("readers do not panic");
        }
    });
    vec![total / cores as f64]
}

/// Lookups of random keys, by one reader.
pub(super) fn map_read<P: Kv<u64>>(drawn: &Rc<Drawn<u64>>, passes: &usize) -> Vec<f64> {
    let (peer, _writer) = P::build(drawn.map.clone());
    let mut reader = peer.reader();
    reader.attach();
    let mut chunks = drawn.draws.chunks_exact(LOOP).cycle();
    let samples = drawn.draws.len() / LOOP * passes;
    let ns = ns_per_call(samples, LOOP, || {
        let mut sum = 0u64;
        for key in chunks.next().expect("a cycle does not end") {
            let reader = black_box(&mut reader);
            sum = sum.wrapping_add(reader.get(key).expect("the key is in the map"));
        }
        black_box(sum);
    });
    reader.detach();
    vec![ns]
}

fn papaya_pinned_once(drawn: &Drawn<u64>, passes: usize) -> Vec<f64> {
    let map =
        papaya::HashMap::with_capacity_and_hasher(drawn.map.len(), drawn.map.hasher().clone());
    let pin = map.pin();
    for (key, value) in &drawn.map {
        pin.insert(*key, *value);
    }
    let mut chunks = drawn.draws.chunks_exact(LOOP).cycle();
    let samples = drawn.draws.len() / LOOP * passes;
    let ns = ns_per_call(samples, LOOP, || {
        let mut sum = 0u64;
        for key in chunks.next().expect("a cycle does not end") {
            let pin = black_box(&pin);
            sum = sum.wrapping_add(*pin.get(key).expect("the key is in the map"));
        }
        black_box(sum);
    });
    vec![ns]
}
