//! Allocations of passing states, handles and waits: bytes left behind, counted by the allocator. A
//! file of its own, so that no other test allocates in the meantime.

use std::alloc::{GlobalAlloc, Layout, System};
use std::future::Future;
use std::pin::pin;
use std::sync::atomic::{AtomicIsize, Ordering::Relaxed};
use std::task::{Context, Waker};
use std::time::Duration;

use hotread::{HotRead, MapUpdate};

struct Counting;

static LIVE: AtomicIsize = AtomicIsize::new(0);

// SAFETY: passes every call on to the system's allocator.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        LIVE.fetch_add(layout.size() as isize, Relaxed);
        // SAFETY: passed on.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        LIVE.fetch_sub(layout.size() as isize, Relaxed);
        // SAFETY: passed on.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

type Map = std::collections::BTreeMap<u64, u64>;

/// Bytes left behind by the second of two rounds: capacity that the first has allocated may stay.
fn left_behind(mut round: impl FnMut()) -> isize {
    round();
    let before = LIVE.load(Relaxed);
    round();
    LIVE.load(Relaxed) - before
}

/// Larger than accidents of capacity, and smaller than a leak in each of a thousand steps.
const SOME: isize = 8_000;

fn states_that_were_read_on_a_thread_that_lives_on() -> isize {
    left_behind(|| {
        for number in 0..1_000 {
            let hot = HotRead::new(Map::new());
            hot.queue_update(MapUpdate::Insert(number, number));
            assert_eq!(hot.read(|map| map.len()), 1);
        }
    })
}

fn handles() -> isize {
    let hot = HotRead::new(Map::new());
    left_behind(|| {
        let mut handles: Vec<_> = (0..1_000)
            .map(|_| hot.create_named_handle("name"))
            .collect();
        handles
            .iter_mut()
            .for_each(|handle| assert!(handle.refresh()));
    })
}

fn waits_that_timed_out() -> isize {
    let hot = HotRead::new(Map::new());
    let mut handle = hot.create_handle();
    handle.current();
    hot.queue_update(MapUpdate::Insert(1, 1));
    let seq = hot.queue_update(MapUpdate::Insert(2, 2)).last_seq;
    left_behind(|| {
        for _ in 0..1_000 {
            assert!(hot.wait_published(seq, Duration::from_nanos(1)).is_err());
        }
    })
}

fn futures_that_were_dropped() -> isize {
    let hot = HotRead::new(Map::new());
    let mut handle = hot.create_handle();
    handle.current();
    hot.queue_update(MapUpdate::Insert(1, 1));
    let seq = hot.queue_update(MapUpdate::Insert(2, 2)).last_seq;
    left_behind(|| {
        for _ in 0..1_000 {
            let mut future = pin!(hot.published(seq));
            assert!(
                future
                    .as_mut()
                    .poll(&mut Context::from_waker(Waker::noop()))
                    .is_pending()
            );
        }
    })
}

fn maintainers() -> isize {
    let hot = HotRead::new(Map::new());
    left_behind(|| {
        for _ in 0..200 {
            drop(hot.spawn_maintainer().unwrap());
        }
    })
}

fn a_backlog() -> isize {
    let hot = HotRead::new(Map::new());
    let mut handle = hot.create_handle();
    left_behind(|| {
        handle.current();
        for number in 0..20_000 {
            hot.queue_update(MapUpdate::Insert(number % 10, number));
        }
        handle.quiescent();
        hot.maintain();
        assert_eq!(hot.queued_update_count(), 0);
    })
}

fn a_backlog_at_its_first_occurrence() -> isize {
    let hot = HotRead::new(Map::from([(0, 0)]));
    let mut handle = hot.create_handle();
    let before = LIVE.load(Relaxed);
    handle.current();
    for number in 0..20_000 {
        hot.queue_update(MapUpdate::Insert(0, number));
    }
    handle.quiescent();
    hot.maintain();
    LIVE.load(Relaxed) - before
}

/// Runs all cases in one test, so that they run one after another.
#[test]
fn what_comes_and_goes_leaves_nothing_behind() {
    /// A description of the case, and the function that returns the bytes it leaves behind.
    type Round = (&'static str, fn() -> isize);
    let rounds: [Round; 7] = [
        (
            "states read on a thread that lives on",
            states_that_were_read_on_a_thread_that_lives_on,
        ),
        ("handles", handles),
        ("waits that timed out", waits_that_timed_out),
        ("futures that were dropped", futures_that_were_dropped),
        ("maintainers", maintainers),
        ("a backlog", a_backlog),
        (
            "a backlog at its first occurrence",
            a_backlog_at_its_first_occurrence,
        ),
    ];
    for (what, round) in rounds {
        let bytes = round();
        println!("{what}: {bytes} bytes");
        assert!(bytes < SOME, "{what}: {bytes} bytes are left behind");
    }
}
