//! The functions whose machine code `tests/hot_path.rs` inspects, the updates whose instructions it
//! counts, and a loop to count them in.
//!
//! `hotread-hot-path VARIANT CALLS` calls one of them CALLS times. The variants named `planted_*` break the rules
//! for a hot path, or an update; the test checks that it detects them.

use std::hint::black_box;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering, fence};

use arc_swap::{ArcSwap, Cache};
use hotread::{HotRead, HotReadHandle};
use hotread_bench::peers::{
    HotReadCurrent, Kv, KvRead, KvWrite, LeftRight, Published, Read, Share, TwoCopies, TwoMaps,
    Write,
};
use hotread_bench::states::{Config, Map};

/// Functions under their own symbols, never inlined, so that they can be found and counted.
macro_rules! inspected {
    ($($(#[$doc:meta])* $symbol:ident($($argument:ident: $kind:ty),*) $body:block)*) => {$(
        $(#[$doc])*
        // SAFETY: the name is this program's own; no library has a symbol of that name.
        #[unsafe(no_mangle)]
        #[inline(never)]
        fn $symbol<'a>($($argument: $kind),*) -> &'a Config $body
    )*};
}

type CacheOf = Cache<Arc<ArcSwap<Config>>, Arc<Config>>;

inspected! {
    /// The subject: the step that every read of a worker takes.
    hot_path_current(handle: &'a mut HotReadHandle<Config>) { handle.current() }

    /// The limit: a read without any check.
    hot_path_bare_arc(arc: &'a mut Arc<Config>) { arc }

    /// The nearest peer.
    hot_path_arc_swap_cache(cache: &'a mut CacheOf) { cache.load() }

    /// Planted: counts a reference up and down.
    hot_path_planted_arc_clone(handle: &'a mut HotReadHandle<Config>, arc: &'a Arc<Config>) {
        black_box(Arc::clone(arc));
        handle.current()
    }

    /// Planted: a fence on every read.
    hot_path_planted_fence(handle: &'a mut HotReadHandle<Config>) {
        fence(Ordering::SeqCst);
        handle.current()
    }

    /// Planted: an atomic swap on every read.
    hot_path_planted_swap(handle: &'a mut HotReadHandle<Config>, counter: &'a AtomicUsize) {
        black_box(counter.swap(1, Ordering::Relaxed));
        handle.current()
    }

    /// Planted: a call on every read.
    hot_path_planted_call(handle: &'a mut HotReadHandle<Config>) {
        black_box(not_inlined());
        handle.current()
    }

    /// Planted: plain work on every read, which only the count can detect.
    hot_path_planted_work(handle: &'a mut HotReadHandle<Config>, counter: &'a AtomicUsize) {
        for _ in 0..4 {
            counter.store(counter.load(Ordering::Relaxed) + 1, Ordering::Relaxed);
        }
        handle.current()
    }
}

/// Makes the handle quiescent after a read.
fn rest(handle: &mut HotReadHandle<Config>) {
    black_box(handle.current());
    handle.quiescent();
}

/// One update of a 64-byte struct, with that one quiescent handle.
#[inline(always)]
fn update(hotread: &HotRead<Config>, stamp: &mut u64) -> u64 {
    *stamp += 1;
    hotread
        .queue_update(black_box(Config::stamped(*stamp)))
        .last_seq
}

/// The same updates of another peer.
fn update_peer<P: Share<Config>>(calls: u64) {
    let (peer, mut writer) = P::build(Config::stamped(1));
    let mut reader = peer.reader();
    black_box(reader.read(Config::stamp));
    reader.rest();
    repeat(calls, &mut 0, |stamp| {
        *stamp += 1;
        u64::from(writer.update(black_box(Config::stamped(*stamp))))
    });
}

/// Updates one key after another in a peer's map of 100.
fn update_map<P: Kv<u64>>(calls: u64) {
    let map: Map<u64> = (0..100).map(|key| (key, key)).collect();
    let (peer, mut writer) = P::build(map);
    let mut reader = peer.reader();
    black_box(reader.get(&0));
    reader.rest();
    repeat(calls, &mut 0, |n: &mut u64| {
        *n += 1;
        u64::from(writer.insert(black_box(*n % 100), *n))
    });
}

#[inline(never)]
fn not_inlined() -> usize {
    black_box(1)
}

fn main() -> ExitCode {
    let mut arguments = std::env::args().skip(1);
    let (Some(variant), Some(Ok(calls))) = (arguments.next(), arguments.next().map(|n| n.parse()))
    else {
        eprintln!("usage: hotread-hot-path VARIANT CALLS");
        return ExitCode::FAILURE;
    };
    let hotread = HotRead::new(Config::stamped(1));
    let mut handle = hotread.create_handle();
    let mut arc = Arc::new(Config::stamped(1));
    let mut cache = Cache::new(Arc::new(ArcSwap::from_pointee(Config::stamped(1))));
    let counter = AtomicUsize::new(0);
    let mut stamp = 0;
    let other = Arc::clone(&arc);
    // One update, so that the held copy is not the first one.
    hotread.queue_update(Config::stamped(2));

    // All variants share the loop, and its function is opaque, so that differences come from the function.
    match variant.as_str() {
        "current" => repeat(calls, &mut handle, |h| hot_path_current(h).stamp()),
        "bare_arc" => repeat(calls, &mut arc, |a| hot_path_bare_arc(a).stamp()),
        "arc_swap_cache" => repeat(calls, &mut cache, |c| hot_path_arc_swap_cache(c).stamp()),
        "planted_arc_clone" => repeat(calls, &mut handle, |h| {
            hot_path_planted_arc_clone(h, &other).stamp()
        }),
        "planted_fence" => repeat(calls, &mut handle, |h| hot_path_planted_fence(h).stamp()),
        "planted_swap" => repeat(calls, &mut handle, |h| {
            hot_path_planted_swap(h, &counter).stamp()
        }),
        "planted_call" => repeat(calls, &mut handle, |h| hot_path_planted_call(h).stamp()),
        "planted_work" => repeat(calls, &mut handle, |h| {
            hot_path_planted_work(h, &counter).stamp()
        }),
        "update" => {
            rest(&mut handle);
            repeat(calls, &mut stamp, |stamp| update(&hotread, stamp));
        }
        "planted_update_allocation" => {
            rest(&mut handle);
            repeat(calls, &mut stamp, |stamp| {
                black_box(Box::new(*stamp));
                update(&hotread, stamp)
            });
        }
        "two_copies_update" => update_peer::<TwoCopies<Config>>(calls),
        "left_right_update" => update_peer::<LeftRight<Config>>(calls),
        "published_update" => update_peer::<Published<Config>>(calls),
        "map_update" => update_map::<HotReadCurrent<Map<u64>>>(calls),
        "two_maps_update" => update_map::<TwoMaps<u64>>(calls),
        "left_right_map_update" => update_map::<LeftRight<Map<u64>>>(calls),
        "published_map_update" => update_map::<Published<Map<u64>>>(calls),
        _ => {
            eprintln!("no variant is called {variant}");
            return ExitCode::FAILURE;
        }
    }
    ExitCode::SUCCESS
}

#[inline(never)]
fn repeat<T>(calls: u64, subject: &mut T, mut call: impl FnMut(&mut T) -> u64) {
    for _ in 0..calls {
        black_box(call(black_box(&mut *subject)));
    }
}
