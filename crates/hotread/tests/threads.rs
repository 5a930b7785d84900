//! Readers and writers on real threads that delay each other, and waiters that must all be woken.

#[path = "support/stress.rs"]
mod stress;
mod support;

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::SeqCst};
use std::sync::{Arc, Barrier};
use std::thread;
use std::time::Duration;

use hotread::{HotRead, MapUpdate};
use stress::Stress;
use support::{block_on, finishes, probe, push, run, seen};

type Map = std::collections::BTreeMap<u64, u64>;

const STRESS: Stress = Stress {
    max_copies: 2,
    updates: 30_000,
    readers: 1,
    maintainer: false,
};

#[test]
fn two_copies_under_stress() {
    finishes(|| STRESS.run());
}

#[test]
fn two_copies_and_many_readers_under_stress() {
    finishes(|| {
        Stress {
            readers: 4,
            updates: 15_000,
            ..STRESS
        }
        .run()
    });
}

#[test]
fn four_copies_under_stress() {
    finishes(|| {
        Stress {
            max_copies: 4,
            readers: 2,
            ..STRESS
        }
        .run()
    });
}

#[test]
fn a_maintainer_under_stress() {
    finishes(|| {
        Stress {
            max_copies: 3,
            maintainer: true,
            ..STRESS
        }
        .run()
    });
}

/// A writer that finds another one applying leaves its update to that one; without readers in the
/// way, every update is visible when all calls have returned.
#[test]
fn what_writers_leave_to_each_other_is_not_stranded() {
    finishes(|| {
        let (hot, care) = probe();
        let start = Arc::new(Barrier::new(3));
        let returned = Arc::new(Barrier::new(3));
        let writers: Vec<_> = (0..3_u64)
            .map(|writer| {
                let (hot, start, returned) =
                    (hot.clone(), Arc::clone(&start), Arc::clone(&returned));
                thread::spawn(move || {
                    for round in 0..2_000 {
                        start.wait();
                        match writer {
                            0 => drop(hot.queue_updates([push(0), push(0)])),
                            1 => drop(hot.queue_update(push(1))),
                            _ => drop(hot.maintain()),
                        }
                        returned.wait();
                        assert_eq!(hot.latest_seq(), 3 * round + 3);
                        assert_eq!(hot.published_seq(), hot.latest_seq(), "round {round}");
                    }
                })
            })
            .collect();
        for writer in writers {
            writer.join().unwrap();
        }
        assert_eq!(seen(&hot).len(), 6_000);
        support::settle(&hot);
        drop(hot);
        assert_eq!(care.live(), 0);
    });
}

/// The results of `queue_update` agree with the state that a handle then sees.
#[test]
fn what_is_said_to_be_published_is_seen() {
    finishes(|| {
        let hot = HotRead::builder(Map::new()).max_copies(3).build();
        let writers: Vec<_> = (0..3)
            .map(|writer| {
                let hot = hot.clone();
                thread::spawn(move || {
                    let mut handle = hot.create_handle();
                    for number in 1..3_000 {
                        let result = hot.queue_update(MapUpdate::Insert(writer, number));
                        assert!(!(result.published && result.blocked_by_workers));
                        let before = hot.published_seq();
                        let generation = hot.generation();
                        let own = handle.current().get(&writer).copied();
                        assert!(handle.generation().unwrap() >= generation);
                        if result.published || before >= result.last_seq {
                            assert_eq!(own, Some(number));
                        }
                    }
                })
            })
            .collect();
        for writer in writers {
            writer.join().unwrap();
        }
        assert!(hot.read(|map| map.values().eq([2_999; 3].iter())));
    });
}

#[test]
fn replacements_and_updates_keep_one_order_on_all_copies() {
    finishes(|| {
        let (hot, care) = probe();
        let stop = Arc::new(AtomicBool::new(false));
        let reader = thread::spawn({
            let (hot, stop) = (hot.clone(), Arc::clone(&stop));
            move || {
                let mut handle = hot.create_handle();
                let mut last = (0, 0);
                while !stop.load(SeqCst) {
                    let seen = &handle.current().seen;
                    // One writer replaces by [n], the other pushes 1, 2, 3, …: the numbers pushed
                    // since the last replacement are an unbroken run, each time a later one.
                    let (base, pushed) = seen
                        .split_first()
                        .map_or((0, seen.as_slice()), |(b, p)| (*b, p));
                    let run = pushed.windows(2).all(|pair| pair[1] == pair[0] + 1);
                    assert!(run, "{seen:?}");
                    let now = (base, pushed.last().copied().unwrap_or(0));
                    assert!(now.0 >= last.0 && (now.1 >= last.1 || pushed.is_empty()));
                    last = now;
                }
            }
        });
        hot.replace(support::Probe::with(&care, [1_000_000]));
        let replacer = thread::spawn({
            let (hot, care) = (hot.clone(), Arc::clone(&care));
            move || {
                for number in 1_000_001..1_000_500 {
                    hot.replace(support::Probe::with(&care, [number]));
                    thread::yield_now();
                }
            }
        });
        for number in 1..5_000 {
            hot.queue_update(push(number));
        }
        replacer.join().unwrap();
        stop.store(true, SeqCst);
        reader.join().unwrap();
        hot.maintain();
        assert_eq!(
            (hot.queued_update_count(), hot.published_seq()),
            (0, hot.latest_seq())
        );
        drop(hot);
        assert_eq!(care.live(), 0);
    });
}

/// Neither readers nor other writers wait while an update is being applied.
#[test]
fn no_thread_waits_for_a_slow_update() {
    finishes(|| {
        let (hot, _care) = probe();
        let (entered, leave) = (Arc::new(Barrier::new(2)), Arc::new(Barrier::new(2)));
        let applier = thread::spawn({
            let (hot, entered, leave) = (hot.clone(), Arc::clone(&entered), Arc::clone(&leave));
            move || {
                hot.queue_update(run(1, move |application| {
                    if application.nth == 1 {
                        entered.wait();
                        leave.wait();
                    }
                }))
            }
        });
        entered.wait();
        // All of this happens while the update is under way.
        let result = hot.queue_update(push(2));
        assert!(!result.published && !result.blocked_by_workers);
        assert!(hot.maintain().busy);
        assert_eq!(
            hot.wait_published(1, Duration::ZERO),
            Err(hotread::WaitError::Timeout)
        );
        let mut handle = hot.create_handle();
        assert_eq!(handle.current().seen.len() + seen(&hot).len(), 0);
        assert_eq!(
            (hot.generation(), hot.latest_seq(), hot.workers().len()),
            (0, 2, 2)
        );
        drop(handle);
        drop(hot.spawn_maintainer().unwrap());
        leave.wait();
        let result = applier.join().unwrap();
        assert!(result.published);
        assert!(result.applied_updates >= 2, "for the other, too");
        assert_eq!(seen(&hot), [1, 2]);
    });
}

#[test]
fn all_who_wait_are_woken() {
    finishes(|| {
        let hot = HotRead::new(Map::new());
        let stop = Arc::new(AtomicBool::new(false));
        let reader = thread::spawn({
            let (mut handle, stop) = (hot.create_handle(), Arc::clone(&stop));
            move || {
                while !stop.load(SeqCst) {
                    handle.current();
                    thread::yield_now();
                    handle.quiescent();
                }
            }
        });
        let waiters: Vec<_> = (0..4)
            .map(|waiter| {
                let hot = hot.clone();
                thread::spawn(move || {
                    for number in 0..300 {
                        let seq = hot.queue_update(MapUpdate::Insert(waiter, number)).last_seq;
                        let outcome = if waiter % 2 == 0 {
                            hot.wait_published(seq, Duration::MAX)
                        } else {
                            block_on(hot.published(seq))
                        };
                        assert_eq!(outcome, Ok(()));
                        assert!(hot.published_seq() >= seq);
                        assert!(hot.read(|map| map[&waiter] == number));
                    }
                })
            })
            .collect();
        for waiter in waiters {
            waiter.join().unwrap();
        }
        stop.store(true, SeqCst);
        reader.join().unwrap();
    });
}

#[test]
fn tasks_wait_for_publications_that_other_tasks_block() {
    finishes(|| {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .build()
            .unwrap();
        runtime.block_on(async {
            let hot = HotRead::new(Map::new());
            let done = Arc::new(AtomicU64::new(0));
            let reader = tokio::spawn({
                let (mut handle, done) = (hot.create_handle(), Arc::clone(&done));
                async move {
                    while done.load(SeqCst) < 8 {
                        // Held across an await, so that publications are blocked in the meantime.
                        handle.current();
                        tokio::task::yield_now().await;
                        handle.quiescent();
                        tokio::task::yield_now().await;
                    }
                }
            });
            let writers: Vec<_> = (0..8)
                .map(|writer| {
                    let (hot, done) = (hot.clone(), Arc::clone(&done));
                    tokio::spawn(async move {
                        for number in 0..100 {
                            let seq = hot.queue_update(MapUpdate::Insert(writer, number)).last_seq;
                            assert_eq!(hot.published(seq).await, Ok(()));
                            assert!(hot.read(|map| map[&writer] == number));
                        }
                        done.fetch_add(1, SeqCst);
                    })
                })
                .collect();
            for writer in writers {
                writer.await.unwrap();
            }
            reader.await.unwrap();
        });
    });
}

/// The last `HotRead`, handles and maintainers are dropped at the same time on different threads.
#[test]
fn everything_may_be_dropped_at_once() {
    finishes(|| {
        for round in 0..200 {
            let (hot, care) = probe();
            let mut handle = hot.create_handle();
            let mut second = hot.create_handle();
            let maintainer = hot.spawn_maintainer().unwrap();
            handle.current();
            hot.queue_update(push(1));
            hot.queue_update(push(2));
            let future = hot.published(2);
            let start = Arc::new(Barrier::new(4));
            let go = |code: Box<dyn FnOnce() + Send>| {
                let start = Arc::clone(&start);
                thread::spawn(move || {
                    start.wait();
                    code();
                })
            };
            let threads = [
                go(Box::new(move || drop(hot))),
                go(Box::new(move || drop(handle))),
                go(Box::new(move || {
                    let seen = second.current().seen.len();
                    assert!(second.current().seen.len() >= seen);
                    drop(maintainer);
                })),
                go(Box::new(move || {
                    let outcome = block_on(future);
                    assert!(
                        matches!(outcome, Ok(()) | Err(hotread::WaitError::Closed)),
                        "{outcome:?}"
                    );
                })),
            ];
            for thread in threads {
                thread.join().unwrap();
            }
            assert_eq!((care.live(), round), (0, round));
        }
    });
}
