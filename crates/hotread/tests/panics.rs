//! Panics of user code: in updates, clones, drops, iterators and closures. Each has a documented
//! outcome: a panic reaches the caller whose own batch panicked at its first application, if that
//! call applied it; any other panic is caught and counted. No update is lost, and no call
//! deadlocks.

mod support;

use std::sync::Arc;
use std::sync::atomic::Ordering::SeqCst;
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use hotread::{HotRead, Outcome, QueueResult, WaitError};
use support::{
    CLONE, Care, DROP, Probe, apply_everywhere, finishes, hold_up, on_drop, panic_at, panics,
    planned_panic, probe, push, run, seen, settle,
};

fn verdict(hot: &HotRead<Probe>, seq: u64) -> Result<(), WaitError> {
    hot.wait_published(seq, Duration::ZERO)
}

// ---- updates ----

#[test]
fn a_panicking_update_takes_its_whole_batch_with_it() {
    let (hot, care) = probe();
    hot.queue_update(push(1));
    let number = panics(|| hot.queue_updates([push(2), panic_at(3, 1), push(4)]));
    assert_eq!(number, 3, "the panic is resumed to the batch's caller");
    assert_eq!((seen(&hot), hot.panics()), (vec![1], 1));
    assert_eq!(
        (hot.latest_seq(), hot.published_seq()),
        (4, 1),
        "its numbers stay used"
    );
    assert_eq!(verdict(&hot, 1), Ok(()));
    for rejected in 2..=4 {
        assert_eq!(verdict(&hot, rejected), Err(WaitError::Rejected));
    }
    let result = hot.queue_update(push(5));
    assert_eq!((result.first_seq, result.published), (5, true));
    assert_eq!(verdict(&hot, 5), Ok(()));
    assert_eq!(
        verdict(&hot, 4),
        Err(WaitError::Rejected),
        "also when later ones are visible"
    );
    assert_eq!(seen(&hot), [1, 5]);
    settle(&hot);
    drop(hot);
    assert_eq!(care.live(), 0);
}

#[test]
fn a_panic_does_not_reach_a_caller_whose_batch_is_sound() {
    finishes(|| {
        let (hot, _care) = probe();
        let (entered, wait_until_entered) = mpsc::channel();
        let (leave, wait_to_leave) = mpsc::channel();
        let wait_to_leave = std::sync::Mutex::new(wait_to_leave);
        let applier = thread::spawn({
            let hot = hot.clone();
            move || {
                hot.queue_update(run(1, move |application| {
                    if application.nth == 1 {
                        entered.send(()).unwrap();
                        wait_to_leave.lock().unwrap().recv().unwrap();
                    }
                }))
            }
        });
        wait_until_entered.recv().unwrap();
        let bad = hot.queue_updates([push(2), panic_at(3, 1)]);
        let good = hot.queue_update(push(4));
        assert_eq!(
            [bad.outcome(), good.outcome()],
            [Outcome::Pending; 2],
            "the other thread will finish them"
        );
        leave.send(()).unwrap();
        let own = applier.join().unwrap();
        assert_eq!((own.first_seq, own.last_seq, own.queued_updates), (1, 1, 1));
        assert_eq!(own.outcome(), Outcome::Visible);
        assert_eq!((seen(&hot), hot.panics()), (vec![1, 4], 1));
        assert_eq!(verdict(&hot, bad.last_seq), Err(WaitError::Rejected));
        assert_eq!(verdict(&hot, good.last_seq), Ok(()));
        settle(&hot);
    });
}

#[test]
fn waiters_on_other_threads_learn_of_the_rejection() {
    let (hot, _care) = probe();
    let handle = hold_up(&hot, 1);
    let seq = hot.queue_update(panic_at(2, 1)).last_seq;
    let future = hot.published(seq);
    // The maintainer that the future starts makes the attempt, and survives its panic.
    let waiter = thread::spawn(move || support::block_on(future));
    drop(handle);
    assert_eq!(waiter.join().unwrap(), Err(WaitError::Rejected));
    assert_eq!(seen(&hot), [1]);
}

#[test]
fn an_update_that_panics_on_a_later_copy_is_visible_and_stays() {
    let (hot, care) = probe();
    apply_everywhere(&hot, [push(1), panic_at(2, 2), push(3)]);
    assert_eq!((seen(&hot), hot.panics()), (vec![1, 2, 3], 1));
    assert_eq!(verdict(&hot, 3), Ok(()));
    assert_eq!(care.live(), 2, "the copy was rebuilt");
    settle(&hot);
}

/// A batch that is too large to be deferred is applied to both copies by its own call.
#[test]
fn a_later_copys_panic_does_not_reach_the_caller_either() {
    let (hot, care) = probe();
    let result = hot.queue_updates((0..100).map(|number| panic_at(number, 2)));
    assert_eq!(result.outcome(), Outcome::Visible);
    assert_eq!((seen(&hot).len(), hot.panics(), care.live()), (100, 1, 2));
    settle(&hot);
}

#[test]
fn the_same_holds_for_apply_owned() {
    let (hot, _care) = probe();
    let step = run(1, |application| {
        if application.owned {
            planned_panic(1);
        }
    });
    apply_everywhere(&hot, [step]);
    assert_eq!((seen(&hot), hot.queued_update_count()), (vec![1], 0));
    assert_eq!((verdict(&hot, 1), hot.panics()), (Ok(()), 1));
    settle(&hot);
}

#[test]
fn maintain_never_panics_and_finishes_the_work_of_all() {
    let (hot, _care) = probe();
    let handle = hold_up(&hot, 1);
    for number in 2..10 {
        let step = if number % 3 == 0 {
            panic_at(number, 1)
        } else {
            push(number)
        };
        assert!(hot.queue_update(step).blocked_by_workers);
    }
    drop(handle);
    let result = hot.maintain();
    assert!(result.published && !result.blocked_by_workers && !result.busy);
    assert_eq!((seen(&hot), hot.panics()), (vec![1, 2, 4, 5, 7, 8], 3));
    for seq in 2..10 {
        let expected = if seq % 3 == 0 {
            Err(WaitError::Rejected)
        } else {
            Ok(())
        };
        assert_eq!(verdict(&hot, seq), expected, "{seq}");
    }
    settle(&hot);
}

/// The caller applies a backlog that readers had blocked, which includes a batch that panics.
#[test]
fn a_panic_in_the_backlog_does_not_reach_the_next_caller() {
    let (hot, _care) = probe();
    let handle = hold_up(&hot, 1);
    hot.queue_update(panic_at(2, 1));
    drop(handle);
    let result = hot.queue_update(push(3));
    assert_eq!((result.last_seq, result.outcome()), (3, Outcome::Visible));
    assert_eq!((seen(&hot), hot.panics()), (vec![1, 3], 1));
    assert_eq!(verdict(&hot, 2), Err(WaitError::Rejected));
    settle(&hot);
}

/// Both batches panic in one call: the panic of its own is resumed.
#[test]
fn of_several_panics_the_callers_own_is_resumed() {
    let (hot, _care) = probe();
    let handle = hold_up(&hot, 1);
    hot.queue_update(panic_at(2, 1));
    drop(handle);
    assert_eq!(panics(|| hot.queue_update(panic_at(3, 1))), 3);
    assert_eq!((seen(&hot), hot.panics()), (vec![1], 2));
    for seq in [2, 3] {
        assert_eq!(verdict(&hot, seq), Err(WaitError::Rejected));
    }
    settle(&hot);
}

#[test]
fn try_queue_updates_loses_no_batch_to_a_panic_of_others() {
    let hot = HotRead::builder(Probe::new(&Arc::default()))
        .max_pending(1)
        .build();
    let handle = hold_up(&hot, 1);
    hot.queue_update(panic_at(2, 1));
    let full = hot.try_queue_updates(vec![push(3)]).unwrap_err();
    assert_eq!(full.updates.len(), 1);
    drop(handle);
    // The call maintains before it refuses, and the updates that it applies panic.
    let result = hot.try_queue_updates(full.updates).unwrap();
    assert_eq!(result.outcome(), Outcome::Visible);
    assert_eq!((seen(&hot), hot.panics()), (vec![1, 3], 1));
    settle(&hot);
}

/// Two blocked batches. The second panics first, so the copy is discarded and the first is applied
/// again, and now it panics: the rejections occur in the opposite order of the numbers.
#[test]
fn a_rejected_number_stays_rejected_in_any_order_of_panics() {
    let (hot, _care) = probe();
    let handle = hold_up(&hot, 1);
    let first = hot.queue_updates([push(2), panic_at(3, 2)]);
    let second = hot.queue_updates([panic_at(4, 1), push(5)]);
    let third = hot.queue_update(push(6));
    drop(handle);
    hot.maintain();
    assert_eq!((seen(&hot), hot.panics()), (vec![1, 6], 2));
    for seq in first.first_seq..=second.last_seq {
        assert_eq!(verdict(&hot, seq), Err(WaitError::Rejected), "{seq}");
    }
    assert_eq!(verdict(&hot, third.last_seq), Ok(()));
    assert_eq!(verdict(&hot, 1), Ok(()));
}

#[test]
fn after_a_thousand_rejections_the_oldest_are_forgotten() {
    let (hot, _care) = probe();
    let mut rejected = Vec::new();
    for number in 0..1_500 {
        rejected.push(hot.latest_seq() + 1);
        panics(|| hot.queue_update(panic_at(number, 1)));
        hot.queue_update(push(number));
    }
    assert_eq!(verdict(&hot, rejected[0]), Err(WaitError::Forgotten));
    assert_eq!(verdict(&hot, rejected[1_499]), Err(WaitError::Rejected));
    assert_eq!(verdict(&hot, hot.latest_seq()), Ok(()));
    for seq in rejected {
        assert_ne!(verdict(&hot, seq), Ok(()), "{seq} is said to be visible");
    }
    assert_eq!(verdict(&hot, 0), Ok(()));
}

/// Passes only if no abort ends the whole test run.
#[test]
fn a_panicking_update_queued_while_unwinding_does_not_abort() {
    struct AtExit(HotRead<Probe>, mpsc::Sender<QueueResult>);
    impl Drop for AtExit {
        fn drop(&mut self) {
            for step in [panic_at(2, 1), push(3)] {
                let _ = self.1.send(self.0.queue_update(step));
            }
        }
    }
    let (hot, _care) = probe();
    let (sender, results) = mpsc::channel();
    let number = panics(|| {
        let _at_exit = AtExit(hot.clone(), sender);
        planned_panic(1);
    });
    assert_eq!(number, 1);
    let results: Vec<_> = results
        .iter()
        .map(|r| (r.published, r.blocked_by_workers))
        .collect();
    assert_eq!(results, [(false, false), (true, false)]);
    assert_eq!(seen(&hot), [3]);
    assert_eq!(verdict(&hot, 1), Err(WaitError::Rejected));
    settle(&hot);
}

#[test]
fn a_payload_that_panics_when_dropped_is_contained() {
    struct Payload(Arc<Care>);
    impl Drop for Payload {
        fn drop(&mut self) {
            if !thread::panicking() {
                self.0.live_actions.fetch_add(1, SeqCst);
                planned_panic(9);
            }
        }
    }
    let (hot, care) = probe();
    let handle = hold_up(&hot, 1);
    for number in 2..5 {
        let care = Arc::clone(&care);
        hot.queue_update(run(number, move |_| {
            if number == 2 {
                planned_panic(2);
            }
            std::panic::resume_unwind(Box::new(Payload(Arc::clone(&care))));
        }));
    }
    hot.queue_update(push(5));
    drop(handle);
    hot.maintain();
    assert_eq!(care.live_actions(), 2, "both payloads were dropped");
    assert_eq!((seen(&hot), hot.panics()), (vec![1, 5], 3));
    settle(&hot);
}

// ---- clones ----

#[test]
fn a_panicking_clone_at_the_start_leaks_nothing() {
    let care = Arc::<Care>::default();
    care.clone_panics.store(1, SeqCst);
    assert_eq!(panics(|| HotRead::new(Probe::new(&care))), CLONE);
    assert_eq!(care.live(), 0);
}

#[test]
fn a_panicking_clone_loses_no_update() {
    let care = Arc::<Care>::default();
    let hot = HotRead::builder(Probe::new(&care)).max_copies(3).build();
    let handle = hold_up(&hot, 1);
    care.clone_panics.store(2, SeqCst);
    // No copy is free, so a third is to be made. Its absence is not due to a reader.
    for number in [2, 3] {
        let result = hot.queue_update(push(number));
        assert_eq!(result.outcome(), Outcome::Pending);
        assert_eq!(hot.panics(), number - 1);
    }
    assert_eq!((seen(&hot), hot.latest_seq()), (vec![1], 3));
    assert_eq!(verdict(&hot, 3), Ok(()), "the wait makes the next attempt");
    assert_eq!(seen(&hot), [1, 2, 3]);
    assert_eq!(handle.get().map(|state| state.seen.len()), Some(0));
    drop(handle);
    settle(&hot);
    drop(hot);
    assert_eq!(care.live(), 0);
}

/// Each attempt asks for another, so none may be made before the call returns.
#[test]
fn a_clone_that_maintains_and_panics_is_tried_once_a_call() {
    finishes(|| {
        let care = Arc::<Care>::default();
        let hot = HotRead::builder(Probe::new(&care)).max_copies(3).build();
        let handle = hold_up(&hot, 1);
        let weak = hot.downgrade();
        *care.on_clone.lock().unwrap() = Some(Arc::new(move || {
            weak.upgrade().unwrap().maintain();
        }));
        care.clone_panics.store(usize::MAX, SeqCst);
        assert_eq!(hot.queue_update(push(2)).outcome(), Outcome::Pending);
        assert_eq!(hot.panics(), 1);
        assert!(!hot.maintain().published);
        assert_eq!(hot.panics(), 2);
        care.clone_panics.store(0, SeqCst);
        hot.maintain();
        assert_eq!(seen(&hot), [1, 2]);
        *care.on_clone.lock().unwrap() = None;
        drop(handle);
        settle(&hot);
    });
}

#[test]
fn an_update_and_then_the_clone_to_rebuild_the_copy_may_panic() {
    let (hot, care) = probe();
    hot.queue_update(push(1));
    care.clone_panics.store(1, SeqCst);
    assert_eq!(panics(|| hot.queue_update(panic_at(2, 1))), 2);
    assert_eq!(care.live_actions(), 0);
    assert_eq!(seen(&hot), [1]);
    assert!(hot.queue_update(push(3)).published);
    assert_eq!((seen(&hot), care.live()), (vec![1, 3], 2));
    settle(&hot);
}

#[test]
fn a_rejection_is_told_though_a_reader_holds_the_other_copy() {
    let (hot, _care) = probe();
    let mut handle = hold_up(&hot, 1);
    hot.queue_update(push(2));
    let rejected = hot.queue_update(panic_at(3, 1)).last_seq;
    assert_eq!(handle.current().seen, [1]);
    hot.maintain();
    assert_eq!(seen(&hot), [1, 2]);
    assert_eq!(verdict(&hot, rejected), Err(WaitError::Rejected));
    assert_eq!(hot.published_seq(), 2);
    assert!(hot.workers().iter().all(|worker| !worker.blocking));
}

#[test]
fn a_rejection_is_told_though_the_copy_could_not_be_rebuilt() {
    finishes(|| {
        let (hot, care) = probe();
        care.clone_panics.store(1, SeqCst);
        assert_eq!(panics(|| hot.queue_update(panic_at(1, 1))), 1);
        let waited = hot.wait_published(1, Duration::from_millis(1));
        assert_eq!(waited, Err(WaitError::Rejected));
        for number in 2..10 {
            hot.queue_update(push(number));
            hot.maintain();
            assert_eq!(hot.queued_update_count(), 0, "the log empties");
        }
    });
}

#[test]
fn a_replacement_needs_no_clone_to_be_visible() {
    let (hot, care) = probe();
    care.clone_panics.store(1, SeqCst);
    let result = hot.replace(Probe::with(&care, [7]));
    assert_eq!(result.outcome(), Outcome::Visible);
    assert_eq!(seen(&hot), [7]);
    assert_eq!(hot.panics(), 1, "it was the second copy's clone");
    settle(&hot);
}

/// A replacement is cloned, so that the following updates become visible with it; if that fails, it
/// is published first.
#[test]
fn a_replacement_and_what_follows_are_visible_at_once() {
    for clone_panics in [0, 1] {
        let (hot, care) = probe();
        let mut handle = hold_up(&hot, 1);
        let replaced = hot.replace(Probe::with(&care, [7]));
        let after = hot.queue_update(push(8));
        assert_eq!(handle.current().seen, [1]);
        care.clone_panics.store(clone_panics, SeqCst);
        hot.maintain();
        assert_eq!(hot.panics() as usize, clone_panics);
        assert_eq!(verdict(&hot, replaced.last_seq), Ok(()));
        if clone_panics == 0 {
            assert_eq!(seen(&hot), [7, 8]);
        } else {
            assert_eq!(seen(&hot), [7]);
            let waited = verdict(&hot, after.last_seq);
            assert_eq!(waited, Err(WaitError::Timeout), "by our handle");
        }
        assert_eq!(handle.current().seen[0], 7);
        assert_eq!(verdict(&hot, after.last_seq), Ok(()));
        drop(handle);
        settle(&hot);
        drop(hot);
        assert_eq!(care.live(), 0);
    }
}

#[test]
fn a_panicking_snapshot_lets_go_of_the_copy() {
    let (hot, care) = probe();
    care.clone_panics.store(1, SeqCst);
    assert_eq!(panics(|| hot.snapshot()), CLONE);
    assert!(
        hot.workers()
            .iter()
            .all(|worker| worker.generation.is_none())
    );
    settle(&hot);
}

// ---- drops ----

#[test]
fn a_state_that_panics_when_dropped_is_dropped_once() {
    let (hot, care) = probe();
    let mut handle = hot.create_handle();
    care.drop_panics.store(1, SeqCst);
    // The value of the other copy is dropped to make room for the new one.
    let result = hot.replace(Probe::with(&care, [7]));
    assert_eq!(result.outcome(), Outcome::Visible);
    assert_eq!((care.live(), hot.panics()), (2, 1));
    assert_eq!(handle.current().seen, [7]);
    handle.quiescent();
    hot.queue_update(push(1));
    settle(&hot);
    drop(hot);
    care.drop_panics.store(2, SeqCst);
    assert_eq!(
        panics(move || drop(handle)),
        DROP,
        "the last one out drops the state"
    );
    assert_eq!(care.live(), 0);
}

#[test]
fn an_action_that_panics_when_dropped_stays_visible() {
    let (hot, _care) = probe();
    let mut handle = hot.create_handle();
    handle.current();
    hot.queue_updates([on_drop(1, || planned_panic(1)), push(2)]);
    assert_eq!(handle.current().seen, [1, 2]);
    // The last copy takes the action by value, and drops it in the middle of its update.
    hot.maintain();
    assert_eq!((hot.queued_update_count(), seen(&hot)), (0, vec![1, 2]));
    assert_eq!(hot.panics(), 1);
    assert_eq!(verdict(&hot, 2), Ok(()));
    handle.quiescent();
    settle(&hot);
}

#[test]
fn a_rejected_batchs_action_may_panic_when_it_is_dropped() {
    let (hot, _care) = probe();
    let batch = [on_drop(1, || planned_panic(1)), panic_at(2, 1), push(3)];
    assert_eq!(
        panics(|| hot.queue_updates(batch)),
        2,
        "the first panic is the update's"
    );
    assert_eq!(verdict(&hot, 1), Err(WaitError::Rejected));
    hot.queue_update(push(4));
    assert_eq!(seen(&hot), [4]);
    settle(&hot);
}

#[test]
fn the_last_drop_resumes_no_panic_of_what_it_applies() {
    let (hot, care) = probe();
    let mut reader = hot.create_handle();
    let handle = hold_up(&hot, 1);
    hot.queue_updates([push(2), panic_at(3, 1)]);
    hot.queue_update(push(4));
    drop(handle);
    drop(hot);
    assert_eq!(reader.current().seen, [1, 4], "handles read on");
    drop(reader);
    assert_eq!(care.live(), 0);
}

#[test]
fn the_last_drop_drops_all_blocked_actions_though_they_panic() {
    let (hot, care) = probe();
    let mut handle = hold_up(&hot, 1);
    for number in 2..6 {
        let care = Arc::clone(&care);
        hot.queue_update(on_drop(number, move || {
            care.live_actions.fetch_add(1, SeqCst);
            planned_panic(number);
        }));
    }
    drop(hot);
    assert_eq!(care.live_actions(), 4);
    assert_eq!(handle.current().seen, [1]);
    drop(handle);
    assert_eq!(care.live(), 0);
}

// ---- iterators and closures ----

#[test]
fn an_iterator_that_panics_queues_nothing() {
    let (hot, _care) = probe();
    let numbers = (1..5).map(|number| {
        if number == 3 {
            planned_panic(3)
        } else {
            push(number)
        }
    });
    assert_eq!(panics(|| hot.queue_updates(numbers)), 3);
    assert_eq!((hot.latest_seq(), hot.generation()), (0, 0));
    assert_eq!(hot.queue_update(push(5)).first_seq, 1);
    settle(&hot);
}

#[test]
fn a_closure_that_panics_lets_go_of_the_copy() {
    let (hot, _care) = probe();
    let number = panics(|| hot.read(|_| hot.read(|_| planned_panic(1))));
    assert_eq!(number, 1);
    assert!(
        hot.workers()
            .iter()
            .all(|worker| worker.generation.is_none())
    );
    let inner = hot.read(|_| panics(|| hot.read(|_| planned_panic(2))));
    assert_eq!(inner, 2);
    hot.queue_update(push(1));
    assert_eq!(seen(&hot), [1], "the outer read's copy is not remembered");
    settle(&hot);
}
