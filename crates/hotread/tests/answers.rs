//! The results of calls are true: blocking readers, the number of queued updates, the state of a
//! batch, and the caller to which a panic belongs.

mod support;

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use hotread::{HotRead, MapUpdate, Outcome, QueueResult, WaitError};
use support::{
    Care, Gate, Probe, finishes, hold_up, panic_at, panics, planned_panic, probe, push, run, seen,
    settle,
};

fn with_copies(max_copies: usize) -> (HotRead<Probe>, Arc<Care>) {
    let care = Arc::<Care>::default();
    let builder = HotRead::builder(Probe::new(&care));
    (builder.max_copies(max_copies).build(), care)
}

// ---- blocking readers ----

#[test]
fn maintain_says_so_when_an_update_is_blocked() {
    let (hot, _care) = probe();
    let mut handle = hold_up(&hot, 1);
    hot.queue_update(push(2));
    let result = hot.maintain();
    assert!(result.blocked_by_workers && !result.published);
    handle.quiescent();
    let result = hot.maintain();
    assert!(!result.blocked_by_workers && result.published);
}

#[test]
fn the_next_update_publishes_a_backlog_of_any_length() {
    for blocked in [1, 2, 3, 62, 63, 64, 65, 200] {
        for copies in [2, 3] {
            let (hot, _care) = with_copies(copies);
            let mut handles: Vec<_> = (1..copies as u64).map(|n| hold_up(&hot, n)).collect();
            for number in 0..blocked {
                let result = hot.queue_update(push(number));
                assert_eq!(result.outcome(), Outcome::Blocked, "{number} of {blocked}");
                assert_eq!(result.applied_updates, 0);
            }
            assert!(hot.queued_update_count() as u64 >= blocked);
            handles[0].current();
            let result = hot.queue_update(push(blocked));
            assert_eq!(result.outcome(), Outcome::Visible, "after {blocked}");
            assert_eq!(seen(&hot).len() as u64, copies as u64 + blocked);
        }
    }
}

#[test]
fn maintain_says_so_when_only_the_second_copy_is_held() {
    let (hot, _care) = probe();
    let mut handle = hold_up(&hot, 1);
    assert_eq!(hot.published_seq(), hot.latest_seq());
    let result = hot.maintain();
    assert!(result.blocked_by_workers && !result.published);
    // It moves on to the published copy, and blocks nothing any more.
    handle.current();
    let result = hot.maintain();
    assert!(!result.blocked_by_workers);
    assert_eq!((result.applied_updates, hot.queued_update_count()), (1, 0));
}

#[test]
fn maintain_says_so_with_three_copies_too() {
    let (hot, _care) = with_copies(3);
    let mut handle = hold_up(&hot, 1);
    hot.queue_update(push(2));
    for _ in 0..2 {
        let result = hot.maintain();
        assert!(result.blocked_by_workers, "the third copy lacks an update");
        assert_eq!(hot.queued_update_count(), 2);
    }
    handle.quiescent();
    assert!(!hot.maintain().blocked_by_workers);
    assert_eq!(hot.queued_update_count(), 0);
}

#[test]
fn a_reader_of_the_published_copy_is_in_no_way() {
    let (hot, _care) = probe();
    let mut handle = hot.create_handle();
    hot.queue_update(push(1));
    hot.maintain();
    handle.current();
    let result = hot.maintain();
    assert!(!result.blocked_by_workers && !result.busy);
    assert!(hot.workers().iter().all(|worker| !worker.blocking));
}

#[test]
fn maintain_says_so_also_while_another_thread_applies() {
    finishes(|| {
        let (hot, _care) = with_copies(3);
        let mut handle = hold_up(&hot, 1);
        let gate = Gate::default();
        let step = gate.step(2);
        let applier = thread::spawn({
            let hot = hot.clone();
            move || hot.queue_update(step)
        });
        gate.arrived();
        let result = hot.maintain();
        assert!(result.busy && result.blocked_by_workers);
        handle.quiescent();
        let result = hot.maintain();
        assert!(result.busy && !result.blocked_by_workers);
        gate.open();
        assert_eq!(applier.join().unwrap().outcome(), Outcome::Visible);
        settle(&hot);
    });
}

#[test]
fn an_empty_log_is_blocked_by_no_reader() {
    let (hot, _care) = probe();
    let mut handle = hot.create_handle();
    handle.current();
    for _ in 0..2 {
        let result = hot.maintain();
        assert_eq!(result, hotread::MaintenanceResult::default());
    }
}

// ---- number of queued updates ----

#[test]
fn the_count_is_that_of_what_some_copy_lacks() {
    let (hot, _care) = probe();
    assert_eq!(hot.queued_update_count(), 0);
    hot.queue_update(push(1));
    assert_eq!(hot.queued_update_count(), 1, "the second copy lacks it");
    let handle = hold_up(&hot, 2);
    assert_eq!(hot.queued_update_count(), 1);
    hot.queue_updates([push(3), push(4)]);
    assert_eq!(hot.queued_update_count(), 3);
    drop(handle);
    hot.maintain();
    assert_eq!(hot.queued_update_count(), 0);
}

/// While any update is known to be invisible after the count was taken, the count is not 0.
#[test]
fn the_count_is_never_zero_while_an_update_is_invisible() {
    finishes(|| {
        for maintained in [false, true] {
            let (hot, _care) = probe();
            let maintainer = maintained.then(|| hot.spawn_maintainer().unwrap());
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
            let writers: Vec<_> = (0..4_u64)
                .map(|number| {
                    let hot = hot.clone();
                    thread::spawn(move || {
                        for round in 0..4_000 {
                            let seq = hot.queue_update(push(number)).last_seq;
                            let count = hot.queued_update_count();
                            let invisible = hot.published_seq() < seq;
                            assert!(count > 0 || !invisible, "{seq} is in neither");
                            if round % 7 == number {
                                hot.maintain();
                            }
                        }
                    })
                })
                .collect();
            for writer in writers {
                writer.join().unwrap();
            }
            stop.store(true, SeqCst);
            reader.join().unwrap();
            drop(maintainer);
            settle(&hot);
        }
    });
}

/// The update stops when it reaches the second copy: the first has it, and it is visible.
#[test]
fn the_count_is_not_zero_while_the_second_copy_is_updated() {
    finishes(|| {
        let (hot, _care) = probe();
        let gate = Gate::default();
        let step = run(1, {
            let gate = gate.clone();
            move |application| {
                if application.nth == 2 {
                    gate.stop();
                }
            }
        });
        hot.queue_update(step);
        let maintaining = thread::spawn({
            let hot = hot.clone();
            move || hot.maintain()
        });
        gate.arrived();
        assert_eq!(hot.published_seq(), 1);
        assert_eq!(hot.queued_update_count(), 1);
        gate.open();
        assert_eq!(maintaining.join().unwrap().pruned_updates, 1);
        assert_eq!(hot.queued_update_count(), 0);
    });
}

// ---- state of a batch ----

#[test]
fn an_outcome_names_each_of_three_cases() {
    finishes(|| {
        let (hot, _care) = probe();
        assert_eq!(hot.queue_update(push(1)).outcome(), Outcome::Visible);
        let gate = Gate::default();
        let step = gate.step(2);
        let applier = thread::spawn({
            let hot = hot.clone();
            move || hot.queue_update(step)
        });
        gate.arrived();
        let pending = hot.queue_updates([push(3), push(4)]);
        assert_eq!(pending.outcome(), Outcome::Pending);
        assert!(!pending.published && !pending.blocked_by_workers);
        gate.open();
        assert_eq!(applier.join().unwrap().outcome(), Outcome::Visible);
        let handle = hold_up(&hot, 5);
        let blocked = hot.queue_update(push(6));
        assert_eq!(blocked.outcome(), Outcome::Blocked);
        assert!(!blocked.published && blocked.blocked_by_workers);
        drop(handle);
        settle(&hot);
    });
}

#[test]
fn nothing_is_visible_at_once() {
    let result = QueueResult::default();
    assert_eq!(
        (result.outcome(), result.published),
        (Outcome::Visible, false)
    );
    let (hot, _care) = probe();
    let _handle = hold_up(&hot, 1);
    assert_eq!(hot.queue_updates([]).outcome(), Outcome::Visible);
}

/// A caller whose update neither it nor the applying thread can publish learns that readers block
/// it.
#[test]
fn a_caller_whose_update_stays_blocked_is_told_so() {
    finishes(|| {
        let (hot, _care) = probe();
        let handle = hold_up(&hot, 1);
        for number in 2..200 {
            let threads = [0, 1].map(|_| {
                let hot = hot.clone();
                thread::spawn(move || hot.queue_update(push(number)))
            });
            for thread in threads {
                let result = thread.join().unwrap();
                // Either thread may apply, and the other may find it at work.
                assert!(!result.published);
                let is_told = result.outcome() == Outcome::Blocked;
                assert!(is_told || number == 2, "{number}: {result:?}");
            }
        }
        drop(handle);
        settle(&hot);
    });
}

#[test]
fn a_result_counts_both_its_own_and_what_it_took_on() {
    finishes(|| {
        let (hot, care) = probe();
        let gate = Gate::default();
        let step = gate.step(1);
        let applier = thread::spawn({
            let hot = hot.clone();
            move || hot.queue_update(step)
        });
        gate.arrived();
        hot.queue_updates((0..10).map(push));
        gate.open();
        let result = applier.join().unwrap();
        assert_eq!((result.first_seq, result.queued_updates), (1, 1));
        assert_eq!(result.applied_updates, care.applications.load(SeqCst));
        assert!(result.applied_updates >= 11);
    });
}

#[test]
fn flags_agree_with_what_is_seen_under_contention() {
    finishes(|| {
        let (hot, _care) = with_copies(3);
        let writers: Vec<_> = (0..4_u64)
            .map(|number| {
                let hot = hot.clone();
                thread::spawn(move || {
                    let mut handle = hot.create_handle();
                    for round in 0..2_000 {
                        let result = hot.queue_update(push(number));
                        assert!(!(result.published && result.blocked_by_workers));
                        if result.published {
                            assert!(hot.published_seq() >= result.last_seq);
                            assert!(handle.current().seen.len() as u64 >= result.last_seq);
                        }
                        if round % 3 == 0 {
                            handle.quiescent();
                        }
                    }
                })
            })
            .collect();
        for writer in writers {
            writer.join().unwrap();
        }
        settle(&hot);
    });
}

// ---- a maintainer empties the log ----

#[test]
fn a_maintainer_empties_the_log_when_updates_stop() {
    finishes(|| {
        let (hot, _care) = probe();
        let maintainer = hot.spawn_maintainer().unwrap();
        for number in 0..10 {
            hot.queue_update(push(number));
            // No further call: the maintainer brings the second copy up to date on its own.
            while hot.queued_update_count() > 0 {
                thread::yield_now();
            }
        }
        drop(maintainer);
    });
}

#[test]
fn a_maintainer_frees_old_values_from_both_copies() {
    finishes(|| {
        let values = [(); 3].map(|()| Arc::new([0_u8; 1024]));
        let hot = HotRead::new(BTreeMap::new());
        let maintainer = hot.spawn_maintainer().unwrap();
        for value in &values {
            hot.queue_update(MapUpdate::Insert(1, Arc::clone(value)));
        }
        hot.queue_update(MapUpdate::Clear);
        while values.iter().any(|value| Arc::strong_count(value) > 1) {
            thread::yield_now();
        }
        assert!(hot.read(BTreeMap::is_empty));
        drop(maintainer);
    });
}

#[test]
fn a_maintainer_frees_what_a_reader_held_when_it_lets_go() {
    finishes(|| {
        let value = Arc::new(0);
        let hot = HotRead::new(BTreeMap::from([(1, Arc::clone(&value))]));
        hot.maintain();
        let maintainer = hot.spawn_maintainer().unwrap();
        let mut handle = hot.create_handle();
        handle.current();
        hot.queue_update(MapUpdate::Remove(1));
        assert!(Arc::strong_count(&value) > 1, "the reader's copy has it");
        handle.quiescent();
        while Arc::strong_count(&value) > 1 {
            thread::yield_now();
        }
        drop(maintainer);
    });
}

// ---- panics and their callers ----

/// Two of three callers whose batches one thread applies panic: neither panic is resumed to that
/// thread.
#[test]
fn a_thread_that_applies_for_others_gets_its_own_result() {
    finishes(|| {
        let (hot, _care) = probe();
        let gate = Gate::default();
        let step = gate.step(1);
        let applier = thread::spawn({
            let hot = hot.clone();
            move || hot.queue_update(step)
        });
        gate.arrived();
        let callers = [panic_at(2, 1), push(3), panic_at(4, 1)].map(|step| {
            let hot = hot.clone();
            thread::spawn(move || hot.queue_update(step))
                .join()
                .expect("it only queues")
        });
        gate.open();
        let own = applier.join().expect("its own batch is sound");
        assert_eq!((own.last_seq, own.outcome()), (1, Outcome::Visible));
        let verdicts = callers.map(|r| hot.wait_published(r.last_seq, Duration::ZERO));
        let rejected = Err(WaitError::Rejected);
        assert_eq!(verdicts, [rejected, Ok(()), rejected]);
        assert_eq!((seen(&hot), hot.panics()), (vec![1, 3], 2));
        settle(&hot);
    });
}

/// If its own batch panics as well, that panic is resumed to it, while the others' batches
/// complete.
#[test]
fn a_thread_that_applies_for_others_gets_its_own_panic() {
    finishes(|| {
        let (hot, _care) = probe();
        let gate = Gate::default();
        let step = run(1, {
            let gate = gate.clone();
            move |_| {
                gate.stop();
                planned_panic(1);
            }
        });
        let applier = thread::spawn({
            let hot = hot.clone();
            move || panics(|| hot.queue_update(step))
        });
        gate.arrived();
        let bad = hot.queue_update(panic_at(2, 1)).last_seq;
        let good = hot.queue_update(push(3)).last_seq;
        gate.open();
        assert_eq!(applier.join().unwrap(), 1);
        assert_eq!(hot.wait_published(good, Duration::ZERO), Ok(()));
        for seq in [1, bad] {
            let waited = hot.wait_published(seq, Duration::ZERO);
            assert_eq!(waited, Err(WaitError::Rejected));
        }
        assert_eq!((seen(&hot), hot.panics()), (vec![3], 2));
        settle(&hot);
    });
}

#[test]
fn under_contention_each_panic_reaches_its_caller_or_no_one() {
    finishes(|| {
        let (hot, _care) = probe();
        let outcomes = Arc::new(Mutex::new(Vec::new()));
        let writers: Vec<_> = (0..4_u64)
            .map(|writer| {
                let (hot, outcomes) = (hot.clone(), Arc::clone(&outcomes));
                thread::spawn(move || {
                    for round in 0..500 {
                        let number = writer * 1_000 + round;
                        if round % 10 != 3 {
                            // Sound: it never panics, whichever batches it applies.
                            hot.queue_update(push(number));
                            continue;
                        }
                        let step = panic_at(number, 1);
                        let call = std::panic::AssertUnwindSafe(|| hot.queue_update(step));
                        match std::panic::catch_unwind(call) {
                            Ok(result) => {
                                outcomes.lock().unwrap().push(result.last_seq);
                                assert!(!result.published);
                            }
                            Err(payload) => {
                                let planned = payload.downcast::<support::Planned>();
                                assert_eq!(planned.expect("planned").0, number);
                            }
                        }
                    }
                })
            })
            .collect();
        for writer in writers {
            writer.join().expect("no other caller's panic");
        }
        for &seq in outcomes.lock().unwrap().iter() {
            let waited = hot.wait_published(seq, support::FOREVER);
            assert_eq!(waited, Err(WaitError::Rejected));
        }
        assert_eq!((hot.panics(), seen(&hot).len()), (4 * 50, 4 * 450));
        settle(&hot);
    });
}
