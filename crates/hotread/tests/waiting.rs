//! Waiting for an update to become visible, on a thread and as a future, and the maintainers that
//! complete blocked publications in the meantime.

mod support;

use std::future::Future;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::{Pin, pin};
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::sync::{Arc, Barrier, Mutex, mpsc};
use std::task::{Context, Poll, Waker};
use std::thread;
use std::time::Duration;

use hotread::{HotRead, HotReadHandle, Published, WaitError};
use support::{
    CountingWaker, FOREVER, Probe, apply_everywhere, block_on, finishes, hold_up, panic_at,
    planned_panic, probe, push, run, seen, settle,
};

/// Lets go of the copy a little later, in each of the possible ways.
fn lets_go(mut handle: HotReadHandle<Probe>, way: usize) {
    thread::spawn(move || {
        // Only a few: each may cost a time slice on a busy machine.
        for _ in 0..way % 20 {
            thread::yield_now();
        }
        match way % 3 {
            0 => drop(handle),
            1 => handle.quiescent(),
            _ => {
                handle.current();
                // Still holds a copy, but the published one.
            }
        }
        // Dropped with the thread, much later.
        thread::sleep(Duration::from_millis(1));
    });
}

fn poll(future: &mut Published, waker: &Arc<CountingWaker>) -> Poll<Result<(), WaitError>> {
    let waker = Waker::from(Arc::clone(waker));
    Pin::new(future).poll(&mut Context::from_waker(&waker))
}

// ---- wait_published ----

#[test]
fn a_timeout_of_zero_makes_one_attempt() {
    let (hot, _care) = probe();
    let mut handle = hold_up(&hot, 1);
    let seq = hot.queue_update(push(2)).last_seq;
    assert_eq!(
        hot.wait_published(seq, Duration::ZERO),
        Err(WaitError::Timeout)
    );
    handle.quiescent();
    assert_eq!(seen(&hot), [1], "no thread has maintained");
    assert_eq!(hot.wait_published(seq, Duration::ZERO), Ok(()));
    assert_eq!(seen(&hot), [1, 2]);
}

#[test]
fn a_wait_ends_when_the_time_is_up_and_the_update_stays_queued() {
    let (hot, _care) = probe();
    let handle = hold_up(&hot, 1);
    let seq = hot.queue_update(push(2)).last_seq;
    assert_eq!(
        hot.wait_published(seq, Duration::from_millis(5)),
        Err(WaitError::Timeout)
    );
    drop(handle);
    hot.maintain();
    assert_eq!(seen(&hot), [1, 2]);
}

#[test]
fn a_wait_without_end_is_woken_by_the_reader_that_lets_go() {
    finishes(|| {
        for round in 0..300 {
            let (hot, _care) = probe();
            let handle = hold_up(&hot, 1);
            let seq = hot.queue_update(push(2)).last_seq;
            lets_go(handle, round);
            assert_eq!(hot.wait_published(seq, Duration::MAX), Ok(()));
            assert_eq!(seen(&hot), [1, 2]);
        }
    });
}

/// Both waiters most likely sleep by the time the update that another thread applies is done.
#[test]
fn waiters_learn_what_became_of_an_update_others_apply() {
    for panics in [false, true] {
        finishes(move || {
            let (hot, _care) = probe();
            let (entered, leave) = (Arc::new(Barrier::new(2)), Arc::new(Barrier::new(2)));
            let step = run(1, {
                let (entered, leave) = (Arc::clone(&entered), Arc::clone(&leave));
                move |application| {
                    if application.nth == 1 {
                        entered.wait();
                        leave.wait();
                        if panics {
                            planned_panic(1);
                        }
                    }
                }
            });
            let applier = thread::spawn({
                let hot = hot.clone();
                move || catch_unwind(AssertUnwindSafe(|| hot.queue_update(step))).is_err()
            });
            entered.wait();
            let waiter = thread::spawn({
                let hot = hot.clone();
                move || hot.wait_published(1, Duration::MAX)
            });
            let task = thread::spawn({
                let future = hot.published(1);
                move || block_on(future)
            });
            thread::sleep(Duration::from_millis(20));
            leave.wait();
            let expected = if panics {
                Err(WaitError::Rejected)
            } else {
                Ok(())
            };
            assert_eq!(waiter.join().unwrap(), expected);
            assert_eq!(task.join().unwrap(), expected);
            assert_eq!(applier.join().unwrap(), panics);
        });
    }
}

#[test]
fn a_number_that_was_never_queued_is_refused_at_once() {
    let (hot, _care) = probe();
    hot.queue_update(push(1));
    for seq in [2, 3, u64::MAX] {
        let expected = Err(WaitError::NotQueued { latest: 1 });
        assert_eq!(hot.wait_published(seq, Duration::MAX), expected);
        assert_eq!(block_on(hot.published(seq)), expected);
    }
    let early = hot.published(2);
    hot.queue_update(push(2));
    assert_eq!(
        block_on(early),
        Err(WaitError::NotQueued { latest: 1 }),
        "asked too early"
    );
}

#[test]
fn the_number_zero_is_visible_from_the_start() {
    let (hot, _care) = probe();
    assert_eq!(hot.wait_published(0, Duration::ZERO), Ok(()));
    assert_eq!(block_on(hot.published(0)), Ok(()));
}

#[test]
fn waiting_inside_an_update_for_what_is_not_visible_is_refused() {
    let (hot, _care) = probe();
    let answers = Arc::new(Mutex::new(Vec::new()));
    hot.queue_update(push(1));
    let weak = hot.downgrade();
    let step = run(2, {
        let answers = Arc::clone(&answers);
        move |_| {
            let hot = weak.upgrade().unwrap();
            let mut answers = answers.lock().unwrap();
            answers.push([1, 2, 3].map(|seq| hot.wait_published(seq, FOREVER)));
        }
    });
    apply_everywhere(&hot, [step]);
    let not_queued = Err(WaitError::NotQueued { latest: 2 });
    // While the second copy is updated, the update is visible already.
    let first = [Ok(()), Err(WaitError::WithinUpdate), not_queued];
    let second = [Ok(()), Ok(()), not_queued];
    assert_eq!(*answers.lock().unwrap(), [first, second]);
    settle(&hot);
}

/// The wait is for the outer state, and the thread is inside updates of both.
#[test]
fn waiting_inside_nested_updates_of_two_states_is_refused() {
    let (outer, _care) = probe();
    let (inner, _care) = probe();
    let answers = Arc::new(Mutex::new(Vec::new()));
    let weak = outer.downgrade();
    let code = {
        let answers = Arc::clone(&answers);
        move || {
            let answer = weak
                .upgrade()
                .unwrap()
                .wait_published(1, Duration::from_millis(1));
            answers.lock().unwrap().push(answer);
        }
    };
    outer.queue_update(run(1, move |application| {
        if application.nth == 1 {
            let code = code.clone();
            apply_everywhere(&inner, [run(2, move |_| code())]);
        }
    }));
    assert_eq!(*answers.lock().unwrap(), [Err(WaitError::WithinUpdate); 2]);
}

// ---- futures ----

#[test]
fn a_future_of_what_is_visible_is_ready_at_once() {
    let (hot, _care) = probe();
    let seq = hot.queue_update(push(1)).last_seq;
    let waker = Arc::default();
    assert_eq!(poll(&mut hot.published(seq), &waker), Poll::Ready(Ok(())));
    assert_eq!(Arc::strong_count(&waker), 1);
}

#[test]
fn a_future_resolves_when_the_reader_lets_go() {
    finishes(|| {
        for round in 0..300 {
            let (hot, _care) = probe();
            let handle = hold_up(&hot, 1);
            let seq = hot.queue_update(push(2)).last_seq;
            lets_go(handle, round);
            assert_eq!(block_on(hot.published(seq)), Ok(()));
            assert_eq!(seen(&hot), [1, 2]);
        }
    });
}

#[test]
fn the_waker_of_the_last_poll_is_woken_and_none_is_kept() {
    let (hot, _care) = probe();
    let handle = hold_up(&hot, 1);
    let seq = hot.queue_update(push(2)).last_seq;
    let (old, new, cancelled) = (Arc::default(), Arc::default(), Arc::default());
    let mut future = hot.published(seq);
    assert_eq!(poll(&mut future, &old), Poll::Pending);
    assert_eq!(poll(&mut future, &new), Poll::Pending);
    assert_eq!(Arc::strong_count(&old), 1, "replaced");
    let mut other = hot.published(seq);
    assert_eq!(poll(&mut other, &cancelled), Poll::Pending);
    drop(other);
    assert_eq!(
        Arc::strong_count(&cancelled),
        1,
        "a dropped future waits no longer"
    );
    drop(handle);
    assert_eq!(block_on(hot.published(seq)), Ok(()));
    while new.0.load(SeqCst) == 0 {
        thread::yield_now();
    }
    assert_eq!(poll(&mut future, &new), Poll::Ready(Ok(())));
    assert_eq!((old.0.load(SeqCst), cancelled.0.load(SeqCst)), (0, 0));
}

#[test]
fn a_future_that_outlives_the_hotread_says_how_it_ended() {
    for succeeds in [false, true] {
        let (hot, _care) = probe();
        let mut handle = hold_up(&hot, 1);
        let seq = hot.queue_update(push(2)).last_seq;
        let (unpolled, waiting) = (hot.published(seq), hot.published(seq));
        let waiter = thread::spawn(move || block_on(waiting));
        if succeeds {
            handle.quiescent();
        }
        drop(hot);
        let expected = if succeeds {
            Ok(())
        } else {
            Err(WaitError::Closed)
        };
        assert_eq!(waiter.join().unwrap(), expected);
        assert_eq!(block_on(unpolled), expected);
        assert_eq!(handle.current().seen.len(), if succeeds { 2 } else { 1 });
    }
}

#[test]
fn a_future_keeps_neither_the_hotread_nor_the_state_alive() {
    let (hot, care) = probe();
    let handle = hold_up(&hot, 1);
    let seq = hot.queue_update(push(2)).last_seq;
    let mut future = hot.published(seq);
    assert_eq!(poll(&mut future, &Arc::default()), Poll::Pending);
    let weak = hot.downgrade();
    drop(hot);
    drop(handle);
    assert!(weak.upgrade().is_none());
    assert_eq!(care.live(), 0);
    assert_eq!(block_on(future), Err(WaitError::Closed));
}

#[test]
fn a_waker_that_panics_harms_no_other_waiter() {
    struct Bad;
    impl std::task::Wake for Bad {
        fn wake(self: Arc<Self>) {
            planned_panic(1);
        }
    }
    let (hot, _care) = probe();
    let mut handle = hold_up(&hot, 1);
    let seq = hot.queue_update(push(2)).last_seq;
    let mut bad = pin!(hot.published(seq));
    let waker = Waker::from(Arc::new(Bad));
    assert!(
        bad.as_mut()
            .poll(&mut Context::from_waker(&waker))
            .is_pending()
    );
    let good = thread::spawn({
        let future = hot.published(seq);
        move || block_on(future)
    });
    handle.quiescent();
    // The call that publishes wakes the waiters; the panic of a waker is caught there.
    let _ = catch_unwind(AssertUnwindSafe(|| hot.maintain()));
    assert_eq!(good.join().unwrap(), Ok(()));
    assert_eq!(block_on(bad), Ok(()));
    drop(handle);
    settle(&hot);
}

// ---- maintainers ----

#[test]
fn a_maintainer_completes_what_a_reader_had_blocked() {
    finishes(|| {
        let (hot, _care) = probe();
        let maintainer = hot.spawn_maintainer().unwrap();
        for number in (0..600).step_by(2) {
            let mut handle = hot.create_handle();
            handle.current();
            hot.queue_update(push(number));
            let seq = hot.queue_update(push(number + 1)).last_seq;
            lets_go(handle, number as usize / 2);
            while hot.published_seq() < seq {
                thread::yield_now();
            }
        }
        assert_eq!(hot.panics(), 0);
        drop(maintainer);
        assert!(seen(&hot).into_iter().eq(0..600));
    });
}

#[test]
fn when_its_maintainer_is_dropped_a_waiting_future_gets_another() {
    finishes(|| {
        for round in 0..50 {
            let (hot, _care) = probe();
            let handle = hold_up(&hot, 1);
            let seq = hot.queue_update(push(2)).last_seq;
            let maintainer = hot.spawn_maintainer().unwrap();
            let waiter = thread::spawn({
                let future = hot.published(seq);
                move || block_on(future)
            });
            for _ in 0..round {
                thread::yield_now();
            }
            drop(maintainer);
            drop(handle);
            assert_eq!(waiter.join().unwrap(), Ok(()));
        }
    });
}

#[test]
fn many_maintainers_may_come_and_go() {
    finishes(|| {
        let (hot, _care) = probe();
        let handle = hold_up(&hot, 1);
        let seq = hot.queue_update(push(2)).last_seq;
        for _ in 0..50 {
            drop(hot.spawn_maintainer().unwrap());
        }
        let mut maintainers: Vec<_> = (0..20).map(|_| hot.spawn_maintainer().unwrap()).collect();
        maintainers.truncate(7);
        assert_eq!(seen(&hot), [1]);
        drop(handle);
        assert_eq!(block_on(hot.published(seq)), Ok(()));
        maintainers.truncate(3);
        // These outlive the last `HotRead`, which stops them.
        drop(hot);
    });
}

#[test]
fn a_maintainer_survives_panics_and_counts_them() {
    finishes(|| {
        let (hot, _care) = probe();
        let maintainer = hot.spawn_maintainer().unwrap();
        for number in [10, 20, 30] {
            let handle = hold_up(&hot, number);
            let seqs = [push(number + 1), panic_at(number + 2, 1), push(number + 3)];
            let seqs = seqs.map(|step| hot.queue_update(step).last_seq);
            drop(handle);
            let expected = [Ok(()), Err(WaitError::Rejected), Ok(())];
            assert_eq!(seqs.map(|seq| block_on(hot.published(seq))), expected);
        }
        // The panics are counted when the maintainer's turn is over, just after the publication.
        while hot.panics() < 3 {
            thread::yield_now();
        }
        assert_eq!(hot.panics(), 3);
        drop(hot);
        drop(maintainer);
    });
}

/// A clone that fails once, as for lack of memory.
#[test]
fn a_maintainer_tries_again_after_a_clone_has_panicked() {
    finishes(|| {
        let care = Arc::<support::Care>::default();
        let hot = HotRead::builder(Probe::new(&care)).max_copies(3).build();
        let handle = hold_up(&hot, 1);
        let maintainer = hot.spawn_maintainer().unwrap();
        // By then it most likely sleeps.
        thread::sleep(Duration::from_millis(20));
        care.clone_panics.store(1, SeqCst);
        assert!(!hot.queue_update(push(2)).blocked_by_workers);
        while hot.published_seq() < 2 {
            thread::yield_now();
        }
        assert_eq!(hot.panics(), 1);
        drop((handle, maintainer));
    });
}

#[test]
fn a_maintainers_update_may_drop_the_last_hotread() {
    finishes(|| {
        let (hot, care) = probe();
        let mut handle = hold_up(&hot, 1);
        let maintainer = hot.spawn_maintainer().unwrap();
        let slot = Arc::new(Mutex::new(None));
        hot.queue_update(run(2, {
            let slot = Arc::clone(&slot);
            move |_| drop(slot.lock().unwrap().take())
        }));
        let after = hot.queue_update(push(3)).last_seq;
        let after = hot.published(after);
        *slot.lock().unwrap() = Some(hot);
        handle.quiescent();
        assert_eq!(block_on(after), Ok(()));
        assert_eq!(handle.current().seen, [1, 2, 3]);
        drop(maintainer);
        drop(handle);
        while care.live() > 0 {
            thread::yield_now();
        }
    });
}

#[test]
fn a_maintainer_may_be_dropped_by_the_update_that_it_applies() {
    finishes(|| {
        let (hot, _care) = probe();
        let handle = hold_up(&hot, 1);
        let slot = Arc::new(Mutex::new(Some(hot.spawn_maintainer().unwrap())));
        let dropped = Arc::new(AtomicBool::new(false));
        let seq = hot.queue_update(run(2, {
            let (slot, dropped) = (Arc::clone(&slot), Arc::clone(&dropped));
            move |_| {
                let maintainer = slot.lock().unwrap().take();
                drop(maintainer);
                dropped.store(true, SeqCst);
            }
        }));
        drop(handle);
        while hot.published_seq() < seq.last_seq {
            thread::yield_now();
        }
        assert!(dropped.load(SeqCst));
        settle(&hot);
    });
}

#[test]
fn an_idle_maintainer_sleeps_until_a_publication_is_blocked() {
    finishes(|| {
        let (hot, _care) = probe();
        let maintainer = hot.spawn_maintainer().unwrap();
        let (sender, receiver) = mpsc::channel();
        // Long idle, then blocked: by then it most likely sleeps.
        thread::sleep(Duration::from_millis(20));
        let handle = hold_up(&hot, 1);
        let seq = hot.queue_update(push(2)).last_seq;
        thread::sleep(Duration::from_millis(20));
        thread::spawn(move || {
            drop(handle);
            sender.send(()).unwrap();
        });
        receiver.recv().unwrap();
        while hot.published_seq() < seq {
            thread::yield_now();
        }
        drop(maintainer);
    });
}
