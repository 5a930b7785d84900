//! Calls with unusual arguments, at unusual times and from unusual places: each has a documented
//! outcome. Panics of user code are in `panics.rs`, waits in `waiting.rs`.

mod support;

use std::mem;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use hotread::{HotRead, QueueResult, WaitError};
use support::{
    Care, Probe, apply_everywhere, hold_up, on_drop, panic_at, probe, push, run, seen, settle,
};

fn with_copies(max_copies: usize) -> (HotRead<Probe>, Arc<Care>) {
    let care = Arc::<Care>::default();
    (
        HotRead::builder(Probe::new(&care))
            .max_copies(max_copies)
            .build(),
        care,
    )
}

fn with_pending(max_pending: usize) -> HotRead<Probe> {
    HotRead::builder(Probe::new(&Arc::default()))
        .max_pending(max_pending)
        .build()
}

/// Number of outdated generations that can be held while updates are still published.
fn tolerated(hot: &HotRead<Probe>) -> usize {
    let mut handles = Vec::new();
    while hot.queue_update(push(0)).published {
        let mut handle = hot.create_handle();
        handle.current();
        handles.push(handle);
        assert!(handles.len() < 200, "it never blocks");
    }
    let generations: Vec<_> = handles
        .iter()
        .map(|handle| handle.generation().unwrap())
        .collect();
    assert!(generations.is_sorted_by(|a, b| a < b));
    assert_eq!(
        handles.len(),
        hot.workers()
            .iter()
            .filter(|w| w.generation.is_some())
            .count()
    );
    // The last handle holds the published copy, and the outdated one before it was one too many.
    handles.len() - 2
}

// ---- settings ----

#[test]
fn max_copies_of_zero_and_one_mean_two() {
    for max_copies in [0, 1, 2] {
        let (hot, care) = with_copies(max_copies);
        assert_eq!(tolerated(&hot), 0);
        assert_eq!(care.live(), 2);
        settle(&hot);
    }
}

#[test]
fn n_copies_tolerate_n_minus_two_stalled_generations() {
    for max_copies in 3..7 {
        let (hot, care) = with_copies(max_copies);
        assert_eq!(tolerated(&hot), max_copies - 2);
        assert_eq!(care.live() as usize, max_copies);
        drop(hot);
        assert_eq!(care.live(), 0);
    }
}

#[test]
fn a_huge_max_copies_means_the_most_there_can_be() {
    let (hot, care) = with_copies(usize::MAX);
    assert_eq!(care.live(), 2, "copies are made only when needed");
    assert_eq!(tolerated(&hot), hotread::MAX_COPIES - 2);
    assert_eq!(care.live() as usize, hotread::MAX_COPIES);
    settle(&hot);
}

#[test]
fn max_pending_of_zero_refuses_all_but_an_empty_batch() {
    let hot = with_pending(0);
    let full = hot.try_queue_updates(vec![push(1)]).unwrap_err();
    assert_eq!(
        (full.updates.len(), full.pending, full.max_pending),
        (1, 0, 0)
    );
    assert_eq!(
        hot.try_queue_updates(Vec::new()).unwrap(),
        QueueResult::default()
    );
    assert!(
        hot.queue_update(push(1)).published,
        "queue_update accepts whatever the limit"
    );
    assert_eq!(hot.latest_seq(), 1);
}

#[test]
fn a_refused_batch_is_given_back_and_can_be_tried_again() {
    let hot = with_pending(3);
    let mut handle = hold_up(&hot, 1);
    assert!(
        hot.try_queue_updates(vec![push(2), push(3)])
            .unwrap()
            .blocked_by_workers
    );
    let full = hot.try_queue_updates(vec![push(4), push(5)]).unwrap_err();
    assert_eq!((full.pending, full.max_pending), (2, 3));
    assert!(full.updates.iter().map(|step| step.number).eq([4, 5]));
    assert!(full.to_string().contains("try again"), "{full}");
    assert_eq!(hot.latest_seq(), 3, "a refused batch uses up no numbers");
    assert!(
        hot.try_queue_updates(vec![push(4)]).is_ok(),
        "one still fits"
    );
    handle.quiescent();
    // The pending updates can be published by now: the call maintains before it refuses.
    let result = hot.try_queue_updates(full.updates).unwrap();
    assert_eq!(
        (result.first_seq, result.last_seq, result.published),
        (5, 6, true)
    );
    assert_eq!(seen(&hot), [1, 2, 3, 4, 4, 5]);
}

#[test]
fn what_it_applied_before_it_accepted_is_counted_too() {
    let care = Arc::<Care>::default();
    let hot = HotRead::builder(Probe::new(&care)).max_pending(2).build();
    let mut handle = hold_up(&hot, 1);
    hot.queue_updates([push(2), push(3)]);
    handle.quiescent();
    let before = care.applications.load(SeqCst);
    let result = hot.try_queue_updates(vec![push(4)]).unwrap();
    assert_eq!(
        result.applied_updates,
        care.applications.load(SeqCst) - before
    );
    assert!(result.applied_updates >= 4, "one copy lacked them all");
}

#[test]
fn a_batch_larger_than_the_limit_is_told_to_be_split() {
    let hot = with_pending(2);
    let full = hot
        .try_queue_updates(vec![push(1), push(2), push(3)])
        .unwrap_err();
    assert_eq!((full.updates.len(), full.pending), (3, 0));
    assert!(full.to_string().contains("split it"), "{full}");
    assert!(
        hot.try_queue_updates(vec![push(1), push(2)])
            .unwrap()
            .published
    );
}

#[test]
fn rejected_updates_are_not_pending() {
    let hot = with_pending(2);
    let handle = hold_up(&hot, 1);
    hot.queue_updates([push(2), panic_at(3, 1)]);
    drop(handle);
    hot.maintain();
    assert_eq!(
        hot.wait_published(3, Duration::ZERO),
        Err(WaitError::Rejected)
    );
    assert!(hot.try_queue_updates(vec![push(4), push(5)]).is_ok());
}

// ---- empty and large batches ----

#[test]
fn queueing_nothing_does_nothing_and_answers_zeros() {
    let (hot, _care) = probe();
    let mut handle = hold_up(&hot, 1);
    hot.queue_update(push(2));
    handle.quiescent();
    assert_eq!(hot.queue_updates([]), QueueResult::default());
    assert_eq!(
        (hot.latest_seq(), hot.published_seq()),
        (2, 1),
        "not even what is due"
    );
    let result = hot.queue_updates([push(3)]);
    assert_eq!(
        (result.first_seq, result.last_seq, result.queued_updates),
        (3, 3, 1)
    );
}

#[test]
fn a_large_batch_is_visible_as_a_whole() {
    let (hot, _care) = probe();
    let result = hot.queue_updates((0..50_000).map(push));
    assert_eq!(
        (result.first_seq, result.last_seq, result.queued_updates),
        (1, 50_000, 50_000)
    );
    assert_eq!((hot.generation(), result.applied_updates), (1, 100_000));
    assert!(seen(&hot).into_iter().eq(0..50_000));
}

// ---- handles ----

#[test]
fn a_leaked_handle_holds_its_copy_forever_and_is_named() {
    let care = Arc::<Care>::default();
    let hot = HotRead::builder(Probe::new(&care)).max_copies(3).build();
    let mut handle = hot.create_named_handle("leaked");
    handle.current();
    mem::forget(handle);
    for number in 0..100 {
        assert!(
            hot.queue_update(push(number)).published,
            "a third copy takes its place"
        );
    }
    let mut second = hot.create_handle();
    second.current();
    mem::forget(second);
    assert!(
        hot.queue_update(push(100)).published,
        "that one is outdated only now"
    );
    assert!(hot.queue_update(push(101)).blocked_by_workers);
    assert_eq!(
        hot.wait_published(102, Duration::ZERO),
        Err(WaitError::Timeout)
    );
    let blocking: Vec<_> = hot
        .workers()
        .into_iter()
        .filter(|worker| worker.blocking)
        .collect();
    assert_eq!(blocking.len(), 2);
    assert_eq!(blocking[0].name.as_deref(), Some("leaked"));
    assert_eq!(blocking[0].generation, Some(0));
    assert!(blocking[0].blocking_for.is_some());
    drop(hot);
    assert_eq!(care.live(), 3, "the leaked handles keep the state");
}

#[test]
fn a_leaked_quiescent_handle_blocks_nothing() {
    let (hot, _care) = probe();
    mem::forget(hot.create_handle());
    for number in 0..10 {
        assert!(hot.queue_update(push(number)).published);
    }
    settle(&hot);
}

#[test]
fn a_handle_that_is_dropped_on_another_thread_lets_go_there() {
    let (hot, care) = probe();
    let handle = hold_up(&hot, 1);
    assert!(hot.queue_update(push(2)).blocked_by_workers);
    thread::spawn(move || drop(handle)).join().unwrap();
    hot.maintain();
    assert_eq!(seen(&hot), [1, 2]);
    settle(&hot);
    let mut handle = hot.create_handle();
    handle.current();
    drop(hot);
    thread::spawn(move || drop(handle)).join().unwrap();
    assert_eq!(
        care.live(),
        0,
        "the last one out dropped the states on its thread"
    );
}

// ---- calls from inside updates ----

#[test]
fn an_update_inside_an_update_is_queued_for_each_copy() {
    let (hot, _care) = probe();
    let weak = hot.downgrade();
    let answers = Arc::new(Mutex::new(Vec::new()));
    let result = hot.queue_update(run(1, {
        let answers = Arc::clone(&answers);
        move |application| {
            let hot = weak.upgrade().unwrap();
            let result = hot.queue_update(push(10 + application.nth as u64));
            answers.lock().unwrap().push((
                result.last_seq,
                result.published,
                result.blocked_by_workers,
            ));
        }
    }));
    assert!(result.published);
    assert_eq!(seen(&hot), [1, 11, 12]);
    assert_eq!(
        *answers.lock().unwrap(),
        [(2, false, false), (3, false, false)]
    );
    assert_eq!(
        (hot.latest_seq(), hot.published_seq()),
        (3, 3),
        "finished by the same call"
    );
    settle(&hot);
}

#[test]
fn clones_and_drops_may_queue_too() {
    let (hot, _care) = probe();
    let weak = hot.downgrade();
    let dropped = Arc::new(AtomicUsize::new(0));
    let step = on_drop(1, {
        let dropped = Arc::clone(&dropped);
        move || {
            dropped.fetch_add(1, SeqCst);
            weak.upgrade().unwrap().queue_update(push(2));
        }
    });
    apply_everywhere(&hot, [step]);
    assert_eq!((seen(&hot), dropped.load(SeqCst)), (vec![1, 2], 1));
    settle(&hot);
}

#[test]
fn an_update_may_observe_what_it_is_part_of() {
    let (hot, _care) = probe();
    let weak = hot.downgrade();
    let found = Arc::new(Mutex::new(Vec::new()));
    let batch = [
        push(1),
        run(2, {
            let found = Arc::clone(&found);
            move |_| {
                let hot = weak.upgrade().unwrap();
                let mut handle = hot.create_handle();
                let seen = handle.current().seen.len();
                found.lock().unwrap().push((
                    seen,
                    hot.latest_seq(),
                    hot.published_seq(),
                    hot.generation(),
                    hot.queued_update_count(),
                    hot.workers().len(),
                ));
            }
        }),
    ];
    apply_everywhere(&hot, batch);
    // At first the update is not visible; later it is, but the second copy still lacks it. It is in
    // the log throughout, and our handle is the only reader.
    assert_eq!(
        *found.lock().unwrap(),
        [(0, 2, 0, 0, 2, 1), (2, 2, 2, 1, 2, 1)]
    );
}

#[test]
fn an_update_may_drop_handles_and_hotreads() {
    let (hot, care) = probe();
    let mut handle = hot.create_handle();
    handle.current();
    let things = Arc::new(Mutex::new(Some((handle, hot.clone()))));
    hot.queue_update(run(1, move |_| drop(things.lock().unwrap().take())));
    assert_eq!(
        hot.workers()
            .iter()
            .filter(|worker| worker.generation.is_some())
            .count(),
        0
    );
    assert_eq!(seen(&hot), [1]);
    settle(&hot);
    drop(hot);
    assert_eq!(care.live(), 0);
}

#[test]
fn an_iterator_may_queue_and_its_updates_come_first() {
    let (hot, _care) = probe();
    let result = hot.queue_updates((1..4).map(|number| {
        assert!(
            hot.queue_update(push(10 + number)).published,
            "nothing is locked"
        );
        push(number)
    }));
    assert_eq!((result.first_seq, result.last_seq), (4, 6));
    assert_eq!(seen(&hot), [11, 12, 13, 1, 2, 3]);
}

#[test]
fn a_reader_may_queue_and_sees_its_copy_unchanged_meanwhile() {
    let (hot, _care) = probe();
    hot.read(|state| {
        assert!(hot.queue_update(push(1)).published);
        assert!(
            hot.queue_update(push(2)).blocked_by_workers,
            "by this very read"
        );
        assert_eq!(
            hot.wait_published(2, Duration::ZERO),
            Err(WaitError::Timeout)
        );
        assert_eq!(state.seen, [0_u64; 0]);
    });
    assert_eq!(hot.wait_published(2, Duration::ZERO), Ok(()));
    settle(&hot);
}

// ---- after the last drop ----

#[test]
fn a_weak_hotread_is_worth_nothing_after_the_last_drop() {
    let (hot, care) = probe();
    let weak = hot.downgrade();
    let second = weak.upgrade().expect("it is alive");
    drop(hot);
    assert!(weak.clone().upgrade().is_some(), "one is left");
    let mut handle = second.create_handle();
    drop(second);
    assert!(weak.upgrade().is_none());
    assert_eq!(handle.current().seen, [0_u64; 0]);
    drop(handle);
    assert_eq!(care.live(), 0, "a weak one keeps nothing");
    drop(weak);
}

#[test]
fn with_the_last_hotread_goes_what_is_still_blocked() {
    let (hot, _care) = probe();
    let dropped = Arc::new(AtomicUsize::new(0));
    let count = |number| {
        let dropped = Arc::clone(&dropped);
        on_drop(number, move || {
            dropped.fetch_add(1, SeqCst);
        })
    };
    let mut handle = hold_up(&hot, 1);
    hot.queue_updates([count(2), count(3)]);
    let mut reader = hot.create_handle();
    reader.current();
    drop(hot);
    assert_eq!(dropped.load(SeqCst), 2);
    assert_eq!(
        (handle.current().seen.len(), reader.current().seen.len()),
        (1, 1)
    );

    let (hot, _care) = probe();
    let mut handle = hold_up(&hot, 1);
    hot.queue_updates([count(2), count(3)]);
    handle.quiescent();
    drop(hot);
    assert_eq!(handle.current().seen, [1, 2, 3], "one last attempt is made");
}
