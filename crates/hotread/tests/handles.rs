//! Handles and `read`: created, moved and dropped at any time, by any thread, also by one that
//! ends.

mod support;

use std::cell::RefCell;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::SeqCst};
use std::sync::{Barrier, mpsc};
use std::thread;
use std::time::{Duration, Instant};

use hotread::{
    HotRead, HotReadBuilder, HotReadHandle, Maintainer, Published, WaitError, WeakHotRead,
};
use support::{Probe, hold_up, panics, planned_panic, probe, push, seen, settle};

type Map = std::collections::BTreeMap<u64, u64>;

#[test]
fn the_types_can_be_sent_and_shared_as_promised() {
    fn send<T: Send>() {}
    fn share<T: Send + Sync>() {}
    send::<HotReadHandle<Map>>();
    share::<HotRead<Map>>();
    share::<WeakHotRead<Map>>();
    send::<HotReadBuilder<Map>>();
    share::<Maintainer>();
    fn future<T: Future + Send + Unpin + 'static>() {}
    future::<Published>();
}

// ---- the life of a handle ----

#[test]
fn a_handle_keeps_its_copy_until_it_asks_again() {
    let (hot, _care) = probe();
    let mut handle = hot.create_handle();
    assert!(handle.get().is_none() && handle.generation().is_none() && !handle.is_latest());
    assert!(handle.refresh(), "from nothing to the first");
    assert!(!handle.refresh(), "nothing new");
    assert!(handle.is_latest());
    hot.queue_update(push(1));
    assert!(!handle.is_latest());
    assert_eq!(
        (handle.get().unwrap().seen.len(), handle.generation()),
        (0, Some(0))
    );
    assert!(handle.refresh());
    assert_eq!(
        (handle.get().unwrap().seen.len(), handle.generation()),
        (1, Some(1))
    );
    handle.quiescent();
    handle.quiescent();
    assert!(handle.get().is_none() && !handle.is_latest());
    assert_eq!(handle.current().seen, [1]);
    let mut second = handle.clone();
    assert!(second.get().is_none(), "a clone is quiescent");
    assert_eq!(second.current().seen, [1]);
}

#[test]
fn handles_read_on_after_the_last_hotread_is_gone() {
    let (hot, care) = probe();
    let mut early = hot.create_handle();
    let mut outdated = hold_up(&hot, 1);
    drop(hot);
    assert_eq!(outdated.get().unwrap().seen.len(), 0);
    let mut late = early.clone();
    for handle in [&mut early, &mut outdated, &mut late] {
        assert_eq!(handle.current().seen, [1]);
        assert!(handle.is_latest());
        handle.quiescent();
        assert_eq!(handle.current().seen, [1]);
    }
    drop((early, outdated));
    assert_eq!(
        thread::spawn(move || late.current().seen.len())
            .join()
            .unwrap(),
        1
    );
    assert_eq!(care.live(), 0);
}

#[test]
fn a_handle_works_on_whichever_thread_it_is_moved_to() {
    let (hot, _care) = probe();
    let mut handle = hot.create_handle();
    for number in 0..20 {
        // Moved while it holds a copy, and while it holds none.
        if number % 3 == 0 {
            handle.quiescent();
        }
        hot.queue_update(push(number));
        handle = thread::spawn(move || {
            assert_eq!(handle.current().seen.len() as u64, number + 1);
            handle
        })
        .join()
        .unwrap();
    }
    drop(handle);
    settle(&hot);
}

/// Time to create this number of handles, read through each, and drop them.
fn make_and_drop(count: usize, newest_first: bool) -> Duration {
    let hot = HotRead::new(Map::new());
    let start = Instant::now();
    let mut handles: Vec<_> = (0..count).map(|_| hot.create_handle()).collect();
    for handle in &mut handles {
        assert!(handle.current().is_empty());
    }
    if newest_first {
        handles.reverse();
    }
    drop(handles);
    let time = start.elapsed();
    assert!(hot.workers().is_empty());
    time
}

#[test]
fn the_cost_of_handles_grows_with_their_number() {
    for newest_first in [false, true] {
        // Quadratic cost would be a hundredfold. Other work on the machine may disturb an attempt
        // or two.
        let ratio = (0..5)
            .map(|_| {
                let few = make_and_drop(10_000, newest_first);
                make_and_drop(100_000, newest_first).div_duration_f64(few)
            })
            .find(|&ratio| ratio < 40.0);
        assert!(
            ratio.is_some(),
            "five times in a row it was more than fortyfold"
        );
    }
}

#[test]
fn a_publication_finds_the_one_reader_among_many_that_are_gone() {
    let (hot, _care) = probe();
    let mut handles: Vec<_> = (0..10_000).map(|_| hot.create_handle()).collect();
    for index in [9_999, 5_000, 0] {
        let mut handle = handles.swap_remove(index);
        handle.current();
        assert!(hot.queue_update(push(1)).published);
        assert!(
            hot.queue_update(push(2)).blocked_by_workers,
            "number {index} is seen"
        );
        drop(handle);
        hot.maintain();
    }
    drop(handles);
    settle(&hot);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tasks_keep_handles_across_awaits_and_threads() {
    let hot = HotRead::new(Map::new());
    let tasks: Vec<_> = (0..20)
        .map(|_| {
            let mut handle = hot.create_handle();
            tokio::spawn(async move {
                let mut last = 0;
                while last < 200 {
                    let now = handle.current().len();
                    assert!(now >= last);
                    last = now;
                    handle.quiescent();
                    tokio::task::yield_now().await;
                }
            })
        })
        .collect();
    for key in 0..200 {
        hot.queue_update(hotread::MapUpdate::Insert(key, key));
        tokio::task::yield_now().await;
    }
    assert_eq!(hot.published(200).await, Ok(()));
    for task in tasks {
        task.await.unwrap();
    }
    hot.maintain();
    assert_eq!(hot.queued_update_count(), 0);
}

// ---- status of readers ----

#[test]
fn workers_tells_who_blocks_and_for_how_long() {
    let (hot, _care) = probe();
    let mut ada = hot.create_named_handle("ada");
    let mut bob = hot.create_named_handle(String::from("bob"));
    let _idle = hot.create_handle();
    ada.current();
    hot.queue_update(push(1));
    bob.current();
    let list = |hot: &HotRead<Probe>| {
        let mut list: Vec<_> = hot
            .workers()
            .into_iter()
            .map(|w| (w.name, w.generation, w.blocking))
            .collect();
        list.sort();
        list
    };
    let names = ["ada", "bob"].map(|name| Some(Arc::from(name)));
    let [a, b] = names;
    let idle = (None, None, false);
    assert_eq!(
        list(&hot),
        [
            idle.clone(),
            (a.clone(), Some(0), false),
            (b.clone(), Some(1), false)
        ]
    );
    hot.queue_update(push(2));
    assert_eq!(
        list(&hot),
        [
            idle.clone(),
            (a.clone(), Some(0), true),
            (b.clone(), Some(1), false)
        ]
    );
    let waits = |hot: &HotRead<Probe>| {
        hot.workers()
            .into_iter()
            .find_map(|worker| worker.blocking_for)
    };
    let first = waits(&hot).expect("ada is in the way");
    hot.queue_update(push(3));
    let second = waits(&hot).expect("still");
    assert!(
        second >= first,
        "it is the same wait, not one for each update"
    );
    ada.quiescent();
    hot.maintain();
    assert_eq!(
        list(&hot),
        [idle.clone(), (a, None, false), (b.clone(), Some(1), false)]
    );
    assert_eq!(waits(&hot), None);
    drop(ada);
    assert_eq!(list(&hot), [idle, (b, Some(1), false)]);
}

// ---- read ----

#[test]
fn a_nested_read_sees_the_copy_of_the_outer_one() {
    let (hot, _care) = probe();
    let other = hot.clone();
    let mut handle = hot.create_handle();
    hot.read(|outer| {
        hot.queue_update(push(1));
        assert_eq!(handle.current().seen, [1], "a handle moves on");
        other.read(|inner| {
            assert!(std::ptr::eq(outer, inner));
            assert_eq!(panics(|| other.read(|_| planned_panic(1))), 1);
            assert!(other.read(|innermost| std::ptr::eq(outer, innermost)));
        });
        assert!(
            hot.read(|inner| std::ptr::eq(outer, inner)),
            "also after one has ended"
        );
        assert_eq!(hot.snapshot().seen.len(), 0);
    });
    assert_eq!(seen(&hot), [1]);
}

#[test]
fn reads_of_different_states_nest_and_do_not_mix() {
    let (one, _care) = probe();
    let (two, _care) = probe();
    for number in 0..10 {
        one.read(|a| {
            two.read(|b| {
                assert_eq!((a.seen.len(), b.seen.len()), (number, 2 * number));
                one.queue_update(push(1));
                two.queue_updates([push(2), push(2)]);
                one.read(|again| assert!(std::ptr::eq(a, again)));
                two.read(|again| assert!(std::ptr::eq(b, again)));
            });
        });
        one.maintain();
        two.maintain();
    }
}

#[test]
fn a_thread_that_ends_frees_the_slot_that_it_read_with() {
    let (hot, _care) = probe();
    for number in 0..30 {
        let hot = hot.clone();
        let thread = thread::Builder::new()
            .name(format!("reader {number}"))
            .spawn(move || {
                hot.read(|_| {
                    let workers = hot.workers();
                    let name = workers[0].name.as_deref();
                    assert_eq!((workers.len(), name), (1, thread::current().name()));
                    assert_eq!(workers[0].generation, Some(hot.generation()));
                });
                assert_eq!(hot.workers()[0].generation, None);
            });
        thread.unwrap().join().unwrap();
    }
    assert!(hot.workers().is_empty());
}

#[test]
fn a_threads_slot_for_read_outlives_the_state_harmlessly() {
    let (go, wait) = mpsc::channel::<HotRead<Probe>>();
    let thread = thread::spawn(move || {
        let mut live = Vec::new();
        for hot in wait {
            hot.queue_update(push(1));
            assert_eq!(seen(&hot), [1]);
            if live.len() < 20 {
                live.push(hot);
            }
        }
        // The live ones are still read, however many have gone since.
        for hot in &live {
            assert_eq!(seen(hot), [1]);
            settle(hot);
            assert_eq!(hot.workers().len(), 1);
        }
    });
    let mut all = Vec::new();
    for _ in 0..200 {
        let (hot, care) = probe();
        all.push(care);
        go.send(hot).unwrap();
    }
    drop(go);
    thread.join().unwrap();
    assert!(all.iter().all(|care| care.live() == 0));
}

/// Reads in its destructor.
struct AtExit {
    hot: HotRead<Probe>,
    found: Arc<AtomicU64>,
}

impl Drop for AtExit {
    fn drop(&mut self) {
        let hot = &self.hot;
        let same = hot.read(|outer| {
            hot.queue_update(push(2));
            hot.read(|inner| std::ptr::eq(outer, inner))
        });
        self.found.store(if same { 1 } else { 2 }, SeqCst);
    }
}

thread_local! {
    static AT_EXIT: RefCell<Option<AtExit>> = const { RefCell::new(None) };
}

#[test]
fn a_thread_may_read_while_its_storage_is_torn_down() {
    // Destructors run in the opposite order of first uses: once ours comes before that of the
    // storage for `read`, and once after; then each `read` has a slot of its own.
    for read_first in [false, true] {
        let (hot, care) = probe();
        let found = Arc::new(AtomicU64::new(0));
        let at_exit = AtExit {
            hot: hot.clone(),
            found: Arc::clone(&found),
        };
        thread::spawn({
            let hot = hot.clone();
            move || {
                if read_first {
                    hot.read(|_| ());
                }
                AT_EXIT.with(|cell| *cell.borrow_mut() = Some(at_exit));
                hot.read(|_| ());
            }
        })
        .join()
        .unwrap();
        assert_ne!(found.load(SeqCst), 0, "the destructor ran");
        assert!(hot.workers().is_empty(), "its slot is free again");
        settle(&hot);
        drop(hot);
        assert_eq!(care.live(), 0);
        if read_first {
            assert_eq!(found.load(SeqCst), 1, "the inner read sees the outer copy");
        }
    }
}

#[test]
fn many_threads_may_make_and_drop_handles_at_once() {
    let (hot, care) = probe();
    let start = Arc::new(Barrier::new(4));
    let threads: Vec<_> = (0..4)
        .map(|number| {
            let (hot, start) = (hot.clone(), Arc::clone(&start));
            thread::spawn(move || {
                start.wait();
                let mut kept = Vec::new();
                for step in 0..2_000 {
                    let mut handle = hot.create_handle();
                    handle.current();
                    match step % 4 {
                        0 => kept.push(handle),
                        1 => kept.push(handle.clone()),
                        2 => kept.clear(),
                        _ => drop(hot.queue_update(push(number))),
                    }
                }
            })
        })
        .collect();
    for thread in threads {
        thread.join().unwrap();
    }
    assert!(hot.workers().is_empty());
    assert_eq!(seen(&hot).len() as u64, hot.published_seq());
    settle(&hot);
    drop(hot);
    assert_eq!(care.live(), 0);
}

#[test]
fn a_state_is_unshared_when_nothing_else_holds_it() {
    let hot = HotRead::new(Vec::<u64>::new());
    assert!(hot.is_unshared());
    let weak = hot.downgrade();
    let _maintainer = hot.spawn_maintainer().unwrap();
    hot.read(|_| ());
    assert!(hot.is_unshared(), "these do not hold it");
    let clone = hot.clone();
    assert!(!hot.is_unshared());
    drop(clone);
    let handle = hot.create_handle();
    assert!(!hot.is_unshared());
    drop(handle);
    let guard = hot.guard();
    assert!(!hot.is_unshared());
    drop(guard);
    let readers = hot.readers();
    assert!(!hot.is_unshared());
    drop(readers);
    assert!(hot.is_unshared());
    drop(hot);
    assert!(weak.upgrade().is_none());
}

#[test]
fn a_handle_says_which_update_its_copy_has() {
    let hot = HotRead::new(Map::new());
    let mut handle = hot.create_handle();
    assert_eq!(handle.seq(), None);
    handle.current();
    assert_eq!(handle.seq(), Some(0));
    let held = hot.create_handle();
    for n in 1..=10 {
        let queued = hot.insert(n, n).last_seq;
        assert_eq!(handle.current().len() as u64, n);
        assert_eq!(handle.seq(), Some(queued));
    }
    // A batch, a replacement, and an update that is not visible yet.
    let batch = hot.queue_updates((11..=15).map(|n| hotread::MapUpdate::Insert(n, n)));
    handle.current();
    assert_eq!(handle.seq(), Some(batch.last_seq));
    let replaced = hot.replace(Map::new()).last_seq;
    assert!(handle.current().is_empty());
    assert_eq!(handle.seq(), Some(replaced));
    let mut other = hot.create_handle();
    other.current();
    let seen = hot.insert(1, 1).last_seq;
    handle.current();
    hot.insert(2, 2);
    assert_eq!(handle.current().len(), 1, "`other` holds the second copy");
    assert_eq!(handle.seq(), Some(seen));
    handle.quiescent();
    assert_eq!((handle.seq(), held.seq()), (None, None));
}

#[test]
fn a_thread_waits_for_the_next_state() {
    let hot = HotRead::new(Map::new());
    let mut handle = hot.create_handle();
    let long = Duration::from_secs(600);
    assert_eq!(handle.wait_changed(long), Ok(true), "nothing was read yet");
    handle.current();
    assert_eq!(handle.wait_changed(Duration::from_millis(5)), Ok(false));
    hot.insert(0, 0);
    assert_eq!(handle.wait_changed(Duration::ZERO), Ok(true));
    thread::scope(|scope| {
        scope.spawn(|| {
            for n in 1..=5_000 {
                hot.insert(n, n);
                if n % 500 == 0 {
                    thread::sleep(Duration::from_millis(1));
                }
            }
        });
        let mut seen = handle.current().len();
        while seen <= 5_000 {
            assert_eq!(handle.wait_changed(long), Ok(true));
            let now = handle.current().len();
            assert!(now > seen, "woken for nothing");
            seen = now;
        }
    });
    handle.current();
    drop(hot);
    assert_eq!(handle.wait_changed(long), Err(WaitError::Closed));
}
