//! Futures: of an update, of any change, and one that maintains. Polling those that wait runs no
//! user code; the one that maintains does a bounded piece of work at a time.

mod support;

use std::future::Future;
use std::pin::Pin;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Waker};
use std::thread;

use hotread::{HotRead, HotReadHandle, WaitError};
use support::sum::blocked as blocked_sums;
use support::{
    Care, CountingWaker, Probe, apply_everywhere, block_on, finishes, hold_up, probe, push, run,
    seen, settle,
};

/// Applications in one piece of work.
const PIECE: usize = 16_384;

fn poll<F: Future + Unpin>(future: &mut F, waker: &Arc<CountingWaker>) -> Poll<F::Output> {
    let waker = Waker::from(Arc::clone(waker));
    Pin::new(future).poll(&mut Context::from_waker(&waker))
}

fn wakes(waker: &CountingWaker) -> usize {
    waker.0.load(SeqCst)
}

/// Returns a blocked update's number, and the reader that blocks it.
fn blocked() -> (HotRead<Probe>, u64, HotReadHandle<Probe>, Arc<Care>) {
    let (hot, care) = probe();
    let handle = hold_up(&hot, 1);
    let seq = hot.queue_update(push(2)).last_seq;
    (hot, seq, handle, care)
}

// ---- waiting for an update ----

#[test]
fn awaiting_inside_an_update_is_refused() {
    finishes(|| {
        let (hot, _care) = probe();
        let answers = Arc::new(Mutex::new(Vec::new()));
        let step = run(1, {
            let (weak, answers) = (hot.downgrade(), Arc::clone(&answers));
            move |_| {
                let hot = weak.upgrade().unwrap();
                let answer = block_on(hot.published(hot.latest_seq()));
                answers.lock().unwrap().push(answer);
            }
        });
        apply_everywhere(&hot, [step]);
        // While the second copy gets it, it is visible already.
        assert_eq!(
            *answers.lock().unwrap(),
            [Err(WaitError::WithinUpdate), Ok(())]
        );
        settle(&hot);
    });
}

/// The future is of the outer state, and the thread is inside an update of another one.
#[test]
fn awaiting_inside_nested_updates_is_refused() {
    finishes(|| {
        let (outer, _care) = probe();
        let (inner, _care) = probe();
        let answer = Arc::new(Mutex::new(None));
        outer.queue_update(run(1, {
            let (weak, answer) = (outer.downgrade(), Arc::clone(&answer));
            move |application| {
                if application.nth == 1 {
                    let (weak, answer) = (weak.clone(), Arc::clone(&answer));
                    inner.queue_update(run(2, move |_| {
                        let future = weak.upgrade().unwrap().published(1);
                        *answer.lock().unwrap() = Some(block_on(future));
                    }));
                }
            }
        }));
        assert_eq!(*answer.lock().unwrap(), Some(Err(WaitError::WithinUpdate)));
    });
}

#[test]
fn polling_runs_no_update() {
    finishes(|| {
        let (hot, _care) = probe();
        let handle = hold_up(&hot, 1);
        let threads = Arc::new(Mutex::new(Vec::new()));
        let step = run(2, {
            let threads = Arc::clone(&threads);
            move |_| threads.lock().unwrap().push(thread::current().id())
        });
        let mut future = hot.published(hot.queue_update(step).last_seq);
        let waker = Arc::default();
        drop(handle);
        // No reader blocks any more, so that the next maintenance can publish.
        while poll(&mut future, &waker).is_pending() {
            thread::yield_now();
        }
        let threads = threads.lock().unwrap();
        assert!(!threads.is_empty());
        assert!(!threads.contains(&thread::current().id()));
    });
}

#[test]
fn dropping_a_future_runs_no_update_and_no_drop_of_the_state() {
    let (hot, seq, handle, care) = blocked();
    let mut future = hot.published(seq);
    assert!(poll(&mut future, &Arc::default()).is_pending());
    let before = care.applications.load(SeqCst);
    drop(hot);
    assert_eq!(care.live(), 2, "held and published");
    drop(handle);
    assert_eq!(care.live(), 0, "though the future is there");
    drop(future);
    assert_eq!(care.applications.load(SeqCst), before);
}

#[test]
fn a_publication_wakes_each_waiting_task_once() {
    finishes(|| {
        let (hot, seq, handle, _care) = blocked();
        let later = hot.queue_update(push(3)).last_seq;
        let mut waiting: Vec<_> = (0..100)
            .map(|number| {
                let future = hot.published(if number % 2 == 0 { seq } else { later });
                (future, Arc::<CountingWaker>::default())
            })
            .collect();
        for (future, waker) in &mut waiting {
            assert!(poll(future, waker).is_pending());
        }
        drop(handle);
        for (future, waker) in &mut waiting {
            while wakes(waker) == 0 {
                thread::yield_now();
            }
            assert_eq!(poll(future, waker), Poll::Ready(Ok(())));
        }
        hot.queue_update(push(4));
        settle(&hot);
        assert!(waiting.iter().all(|(_, waker)| wakes(waker) == 1));
    });
}

#[test]
fn an_update_that_is_not_awaited_yet_wakes_no_task() {
    let (hot, seq, mut handle, _care) = blocked();
    let waker = Arc::default();
    let mut early = hot.published(seq);
    assert!(poll(&mut early, &waker).is_pending());
    drop(early);
    handle.quiescent();
    assert_eq!(hot.wait_published(seq, support::FOREVER), Ok(()));
    assert_eq!(wakes(&waker), 0, "its future was dropped");
}

// ---- maintaining ----

#[test]
fn a_maintenance_future_completes_what_readers_blocked() {
    let (hot, seq, handle, _care) = blocked();
    let waker = Arc::default();
    let mut maintenance = hot.maintenance();
    assert!(poll(&mut maintenance, &waker).is_pending());
    assert_eq!(wakes(&waker), 0, "there is nothing to do but wait");
    drop(handle);
    assert_eq!(wakes(&waker), 1, "by the reader that lets go");
    assert_eq!(hot.published_seq(), seq - 1);
    assert!(poll(&mut maintenance, &waker).is_pending());
    assert_eq!(hot.published_seq(), seq);
    assert_eq!(hot.queued_update_count(), 0);
}

#[test]
fn a_poll_of_maintenance_applies_one_piece() {
    let (hot, handle, care) = blocked_sums(100_000);
    let waker = Arc::default();
    let mut maintenance = hot.maintenance();
    assert!(poll(&mut maintenance, &waker).is_pending());
    drop(handle);
    let mut polls = 0;
    while polls < wakes(&waker) {
        let before = care.applications.load(SeqCst);
        assert!(poll(&mut maintenance, &waker).is_pending());
        let applied = care.applications.load(SeqCst) - before;
        assert!(applied <= 2 * PIECE, "a piece for each copy: {applied}");
        polls += 1;
    }
    assert!(polls >= 100_000 / PIECE, "{polls}");
    assert_eq!(hot.published_seq(), hot.latest_seq());
    assert_eq!(hot.queued_update_count(), 0);
}

#[test]
fn an_update_wakes_an_idle_maintenance_future_to_catch_up() {
    let (hot, _care) = probe();
    let waker = Arc::default();
    let mut maintenance = hot.maintenance();
    assert!(poll(&mut maintenance, &waker).is_pending());
    hot.queue_update(push(1));
    assert_eq!(hot.queued_update_count(), 1, "the second copy lacks it");
    assert_eq!(wakes(&waker), 1);
    assert!(poll(&mut maintenance, &waker).is_pending());
    assert_eq!(hot.queued_update_count(), 0);
}

#[test]
fn a_maintenance_future_ends_with_the_last_hotread() {
    finishes(|| {
        let (hot, care) = probe();
        let maintenance = hot.maintenance();
        let runner = thread::spawn(move || block_on(maintenance));
        let weak = hot.downgrade();
        drop(hot);
        runner.join().unwrap();
        assert!(weak.upgrade().is_none());
        assert_eq!(care.live(), 0, "it keeps no state alive");
    });
}

#[test]
fn a_second_maintenance_future_takes_over() {
    let (hot, seq, handle, _care) = blocked();
    let wakers: [Arc<CountingWaker>; 2] = Default::default();
    let mut futures = [hot.maintenance(), hot.maintenance()];
    for (future, waker) in futures.iter_mut().zip(&wakers) {
        assert!(poll(future, waker).is_pending());
    }
    let [first, mut second] = futures;
    drop(first);
    drop(handle);
    assert_eq!(wakes(&wakers[1]), 1);
    assert!(poll(&mut second, &wakers[1]).is_pending());
    assert_eq!(hot.published_seq(), seq);
}

#[test]
fn a_dropped_maintenance_future_leaves_its_place_to_a_thread() {
    finishes(|| {
        for polls in 0..3 {
            let (hot, seq, handle, _care) = blocked();
            let mut maintenance = hot.maintenance();
            for _ in 0..polls {
                assert!(poll(&mut maintenance, &Arc::default()).is_pending());
            }
            let task = thread::spawn({
                let future = hot.published(seq);
                move || block_on(future)
            });
            let thread = thread::spawn({
                let hot = hot.clone();
                move || hot.wait_published(seq, support::FOREVER)
            });
            thread::sleep(std::time::Duration::from_millis(5));
            drop(maintenance);
            drop(handle);
            assert_eq!(task.join().unwrap(), Ok(()));
            assert_eq!(thread.join().unwrap(), Ok(()));
        }
    });
}

#[test]
fn a_maintenance_future_survives_panics_and_counts_them() {
    let (hot, _care) = probe();
    let handle = hold_up(&hot, 1);
    let bad = hot.queue_update(support::panic_at(2, 1)).last_seq;
    hot.queue_update(push(3));
    let mut maintenance = hot.maintenance();
    drop(handle);
    assert!(poll(&mut maintenance, &Arc::default()).is_pending());
    assert_eq!((seen(&hot), hot.panics()), (vec![1, 3], 1));
    assert_eq!(block_on(hot.published(bad)), Err(WaitError::Rejected));
}

/// A runtime with one thread: the future maintains while other tasks read and write.
#[tokio::test(flavor = "current_thread")]
async fn one_thread_reads_writes_and_maintains() {
    let (hot, _care) = probe();
    let maintenance = tokio::spawn(hot.maintenance());
    let readers: Vec<_> = (0..4)
        .map(|_| {
            let mut handle = hot.create_handle();
            tokio::spawn(async move {
                while handle.current().seen.len() < 300 {
                    // Held across the await, so that updates are blocked in the meantime.
                    tokio::task::yield_now().await;
                    handle.quiescent();
                    tokio::task::yield_now().await;
                }
            })
        })
        .collect();
    for number in 0..300 {
        let seq = hot.queue_update(push(number)).last_seq;
        assert_eq!(hot.published(seq).await, Ok(()));
    }
    for reader in readers {
        reader.await.unwrap();
    }
    drop(hot);
    maintenance.await.unwrap();
}

// ---- waiting for any change ----

#[test]
fn changed_resolves_at_once_before_the_first_read() {
    let (hot, _care) = probe();
    let mut handle = hot.create_handle();
    assert!(handle.has_changed());
    assert_eq!(
        poll(&mut handle.changed(), &Arc::default()),
        Poll::Ready(Ok(()))
    );
    handle.current();
    assert!(!handle.has_changed());
    assert!(poll(&mut handle.changed(), &Arc::default()).is_pending());
}

#[test]
fn changed_resolves_with_the_next_publication() {
    let (hot, _care) = probe();
    let mut handle = hot.create_handle();
    let waker = Arc::default();
    for number in 1..10 {
        handle.current();
        let mut changed = handle.changed();
        assert!(poll(&mut changed, &waker).is_pending());
        hot.queue_update(push(number));
        assert_eq!(wakes(&waker), number as usize);
        assert_eq!(poll(&mut changed, &waker), Poll::Ready(Ok(())));
        drop(changed);
        assert!(handle.has_changed(), "until it is read");
        assert_eq!(handle.current().seen.last(), Some(&number));
        assert!(!handle.has_changed());
    }
}

#[test]
fn a_handle_that_waits_for_a_change_is_in_no_updates_way() {
    let (hot, _care) = probe();
    let mut handle = hot.create_handle();
    handle.current();
    let waker = Arc::default();
    let mut changed = handle.changed();
    assert!(poll(&mut changed, &waker).is_pending());
    for number in 0..10 {
        assert!(hot.queue_update(push(number)).published);
    }
    assert_eq!(wakes(&waker), 1, "by the first of them");
    assert_eq!(poll(&mut changed, &waker), Poll::Ready(Ok(())));
    drop(changed);
    assert_eq!(handle.current().seen.len(), 10);
}

#[test]
fn a_change_is_not_forgotten_by_going_quiescent() {
    let (hot, _care) = probe();
    let mut handle = hot.create_handle();
    handle.current();
    handle.quiescent();
    assert!(!handle.has_changed());
    assert!(poll(&mut handle.changed(), &Arc::default()).is_pending());
    hot.queue_update(push(1));
    assert!(handle.has_changed());
    assert_eq!(
        poll(&mut handle.changed(), &Arc::default()),
        Poll::Ready(Ok(()))
    );
    handle.with(|state| assert_eq!(state.seen, [1]));
    assert!(!handle.has_changed(), "`with` has read it");
}

#[test]
fn changed_ends_when_the_last_hotread_is_gone_and_all_was_seen() {
    finishes(|| {
        let (hot, _care) = probe();
        let mut handle = hot.create_handle();
        let seen = Arc::new(AtomicUsize::new(0));
        let reader = thread::spawn({
            let seen = Arc::clone(&seen);
            move || {
                let mut error = None;
                while error.is_none() {
                    error = block_on(handle.changed()).err();
                    seen.store(handle.current().seen.len(), SeqCst);
                }
                error
            }
        });
        for number in 1..=100 {
            hot.queue_update(push(number));
        }
        drop(hot);
        assert_eq!(reader.join().unwrap(), Some(WaitError::Closed));
        assert_eq!(seen.load(SeqCst), 100, "none is missed");
    });
}

#[test]
fn a_dropped_changed_future_is_woken_no_more() {
    let (hot, _care) = probe();
    let mut handle = hot.create_handle();
    handle.current();
    let waker = Arc::default();
    assert!(poll(&mut handle.changed(), &waker).is_pending());
    hot.queue_update(push(1));
    assert_eq!((wakes(&waker), Arc::strong_count(&waker)), (0, 1));
}

/// Whenever `has_changed` is true, `current` returns a newer state, and otherwise it does not.
#[test]
fn has_changed_is_in_step_with_current() {
    finishes(|| {
        let (hot, _care) = probe();
        let writer = thread::spawn({
            let hot = hot.clone();
            move || (0..5_000).for_each(|n| assert_eq!(hot.queue_update(push(n)).queued_updates, 1))
        });
        let mut handle = hot.create_handle();
        let mut last = handle.current().seen.len();
        while last < 5_000 {
            let changed = handle.has_changed();
            let now = handle.current().seen.len();
            assert!(now >= last);
            assert!(!changed || now > last, "it said that there was a change");
            last = now;
            if last % 2 == 0 {
                handle.quiescent();
            }
            thread::yield_now();
            if writer.is_finished() {
                hot.maintain();
            }
        }
        assert!(!handle.has_changed());
        writer.join().unwrap();
    });
}
