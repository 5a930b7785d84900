//! The first read after a publication: one state, one reader, one update before each read.
//!
//! Each read is timed by itself between fenced stamps; the result is the mean without the
//! lowest and the highest tenth, less the stamps' own cost. Writer and reader are once on one
//! thread (the cost of the instructions), once on two threads that take turns (plus the cost of the cache
//! lines); only reads during which the two threads were on different cores count.

use std::hint::{black_box, spin_loop};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use super::support::cells;
use crate::clock;
use crate::peers::*;
use crate::report::{Figure, Goal};
use crate::rounds::{Plan, Rounds, Unit};
use crate::states::Config;

pub(super) fn run(plan: &Plan) -> Figure {
    let reads = plan.pick(20_000, 2_000);
    let limit = plan.millis(200, 50);
    let columns = ["writer on the same thread", "writer on another core"];
    let title = "Time of the first read after a publication";
    let mut rounds = Rounds::new(title, Unit::Ns.of(columns));
    cells!(rounds, Share<Config>, [
        HotReadCurrent<Config>, HotReadClosure<Config>, ArcSwapCache<Config>, ArcSwapLoad<Config>,
        LeftRight<Config>, Published<Config>, StdRwLock<Config>, ParkingLotRwLock<Config>,
        Watch<Config>, TripleBuffer,
    ], 0 => same_thread(reads), 1 => other_core(reads, limit));
    // A thread's quiescent state also serves its own updates, so the figure for one thread is left out.
    cells!(rounds, Share<Config>, [liburcu Qsbr<Config>], 1 => other_core(reads, limit));

    let table = rounds.run(plan.pick(15, 2));
    let mut goals = Vec::new();
    for (column, place) in ["same thread", "other core"].iter().enumerate() {
        for rival in ["left-right", "ArcSwap::load"] {
            goals.push(Goal::at_most(
                format!("{place}: HotRead / {rival}"),
                1.0,
                table.ratio(("HotRead", column), (rival, column)),
            ));
        }
    }
    Figure::new(
        "The first read after a publication",
        "One struct of 64 bytes, one reader, one update before each read. Each read is timed by \
         itself; writer and reader are one thread, or two that take turns on two cores. arc-swap's \
         updates make a new `Arc`.",
    )
    .goals(goals)
    .tables([table])
}

/// Ticks of one read; checks that it sees the newest state.
fn timed_read<R: Read<Config>>(reader: &mut R, newest: u64) -> u64 {
    let start = clock::fenced();
    let stamp = black_box(reader).read(Config::stamp);
    let ticks = clock::fenced() - start;
    assert_eq!(stamp, newest, "the update was published before the read");
    ticks
}

fn same_thread<P: Share<Config>>(reads: &u64) -> Vec<f64> {
    let (peer, mut writer) = P::build(Config::stamped(0));
    let mut reader = peer.reader();
    let samples: Vec<u64> = (1..=*reads)
        .map(|n| {
            writer.update(Config::stamped(n));
            timed_read(&mut reader, n)
        })
        .collect();
    vec![clock::ns_of_single_calls(&samples)]
}

/// The value of the turn that ends both threads.
const END: u64 = u64::MAX;

fn other_core<P: Share<Config>>(reads: &u64, limit: &Duration) -> Vec<f64> {
    let (peer, mut writer) = P::build(Config::stamped(0));
    let mut reader = peer.reader();
    // Odd: the writer's turn; even: the reader's.
    let turn = Padded(AtomicU64::new(1));
    let writers_core = Padded(AtomicU64::new(0));
    let mut samples = Vec::with_capacity(*reads as usize);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            writer.attach();
            for n in 1.. {
                if wait_for_turn(&turn.0, n * 2 - 1) == END {
                    break;
                }
                writer.update(Config::stamped(n));
                let core = clock::core().unwrap_or(u64::MAX);
                writers_core.0.store(core, Ordering::Relaxed);
                turn.0.store(n * 2, Ordering::Release);
            }
            writer.detach();
        });
        reader.attach();
        let start = Instant::now();
        for n in 1..=*reads {
            wait_for_turn(&turn.0, n * 2);
            let sample = timed_read(&mut reader, n);
            if clock::core() != Some(writers_core.0.load(Ordering::Relaxed)) {
                samples.push(sample);
            }
            if start.elapsed() > *limit {
                break;
            }
            if n < *reads {
                turn.0.store(n * 2 + 1, Ordering::Release);
            }
        }
        turn.0.store(END, Ordering::Release);
        reader.detach();
    });
    vec![clock::ns_of_single_calls(&samples)]
}

/// Keeps the threads' own signals off the lines that are measured.
#[repr(align(128))]
struct Padded<T>(T);

/// Spins until the wanted turn, or the end.
fn wait_for_turn(turn: &AtomicU64, wanted: u64) -> u64 {
    for spins in 1.. {
        let now = turn.load(Ordering::Acquire);
        if now == wanted || now == END {
            return now;
        }
        if spins % 4_096 == 0 {
            // The other thread may be waiting for this core.
            std::thread::yield_now();
        }
        spin_loop();
    }
    unreachable!("the loop has no end")
}
