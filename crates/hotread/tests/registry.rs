//! The readers' slots: thousands of handles are created and dropped on many threads, and a
//! publication finds each reader that is present, however many there were before.

mod support;

use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::sync::{Arc, Barrier};
use std::thread;

use hotread::{HotRead, HotReadHandle, Outcome};
use support::finishes;
use support::sum::{Add, Sum, sum};

/// Checks that this reader, which holds the published copy, is found to block the update after the
/// next, and that no other reader is.
fn is_found(hot: &HotRead<Sum>, handle: &mut HotReadHandle<Sum>) {
    handle.current();
    assert_eq!(hot.queue_update(Add(1)).outcome(), Outcome::Visible);
    assert_eq!(hot.queue_update(Add(1)).outcome(), Outcome::Blocked);
    let workers = hot.workers().into_iter();
    assert_eq!(workers.filter(|worker| worker.blocking).count(), 1);
    handle.quiescent();
    assert!(!hot.maintain().blocked_by_workers);
    assert_eq!(hot.queued_update_count(), 0);
}

#[test]
fn a_reader_is_found_after_a_hundred_thousand_have_gone() {
    let (hot, _care) = sum(2);
    let mut handles: Vec<_> = (0..100_000).map(|_| hot.create_handle()).collect();
    assert_eq!(hot.workers().len(), 100_000);
    // The last one, one in the middle, and the first.
    for index in [99_999, 50_000, 0] {
        is_found(&hot, &mut handles[index]);
    }
    let mut last = handles.pop().unwrap();
    drop(handles);
    assert_eq!(hot.workers().len(), 1);
    is_found(&hot, &mut last);
    drop(last);
    assert!(hot.workers().is_empty());
    is_found(&hot, &mut hot.create_handle());
}

/// The slots are in trees of 64 × 64 × 64, except the first few.
#[test]
fn there_may_be_more_handles_than_one_tree_of_slots_holds() {
    let (hot, care) = sum(2);
    let mut handles: Vec<_> = (0..270_000).map(|_| hot.create_handle()).collect();
    for index in [0, 7, 8, 71, 72, 4_103, 4_104, 262_151, 262_152, 269_999] {
        is_found(&hot, &mut handles[index]);
    }
    handles.truncate(4_105);
    for index in [0, 8, 4_103, 4_104] {
        is_found(&hot, &mut handles[index]);
    }
    drop(hot);
    handles.truncate(1);
    assert_eq!(handles[0].current().count, 2 * 14);
    drop(handles);
    assert_eq!(care.live(), 0);
}

#[test]
fn slots_are_used_again_in_whatever_order_they_are_freed() {
    let (hot, _care) = sum(2);
    let mut handles = Vec::new();
    for round in 0..50 {
        while handles.len() < 300 {
            handles.push(hot.create_handle());
        }
        // Every third, from an offset that changes.
        let mut number = round;
        handles.retain(|_| {
            number += 1;
            number % 3 != 0
        });
        assert_eq!(hot.workers().len(), handles.len());
        let index = round * 7 % handles.len();
        is_found(&hot, &mut handles[index]);
    }
}

#[test]
fn handles_keep_their_names_while_others_come_and_go() {
    let (hot, _care) = sum(2);
    let mut handles = Vec::new();
    for number in 0..500 {
        handles.push(hot.create_named_handle(format!("number {number}")));
        if number % 2 == 0 {
            handles.swap_remove(number * 31 % handles.len());
        }
    }
    let workers = hot.workers();
    assert_eq!(workers.len(), handles.len());
    let mut names: Vec<_> = workers
        .into_iter()
        .filter_map(|worker| worker.name)
        .collect();
    names.sort();
    names.dedup();
    assert_eq!(names.len(), handles.len(), "no name is lost or repeated");
}

#[test]
fn a_reader_is_found_while_many_threads_claim_and_release() {
    finishes(|| {
        let (hot, _care) = sum(2);
        // Ahead of our reader, so that it shares its leaf with those that come and go.
        let front: Vec<_> = (0..60).map(|_| hot.create_handle()).collect();
        let mut reader = hot.create_handle();
        drop(front);
        let stop = Arc::new(AtomicBool::new(false));
        let threads: Vec<_> = (0..4)
            .map(|thread| {
                let (hot, stop) = (hot.clone(), Arc::clone(&stop));
                thread::spawn(move || {
                    while !stop.load(SeqCst) {
                        // Quiescent, so that they block nothing; some reach other leaves.
                        let handles: Vec<_> =
                            (0..1 + thread * 40).map(|_| hot.create_handle()).collect();
                        drop(handles);
                    }
                })
            })
            .collect();
        for _ in 0..3_000 {
            is_found(&hot, &mut reader);
        }
        stop.store(true, SeqCst);
        for thread in threads {
            thread.join().unwrap();
        }
        assert_eq!(hot.workers().len(), 1);
    });
}

#[test]
fn many_threads_keep_and_drop_thousands_of_handles() {
    finishes(|| {
        let (hot, _care) = sum(2);
        let start = Arc::new(Barrier::new(8));
        let threads: Vec<_> = (0..8_u64)
            .map(|seed| {
                let (hot, start) = (hot.clone(), Arc::clone(&start));
                thread::spawn(move || {
                    start.wait();
                    let mut handles = Vec::new();
                    let mut chance = seed * 2 + 1;
                    for _ in 0..3_000 {
                        chance = chance
                            .wrapping_mul(6_364_136_223_846_793_005)
                            .wrapping_add(1);
                        let draw = (chance >> 33) as usize;
                        match draw % 4 {
                            0 | 1 => handles.push(hot.create_handle()),
                            2 if !handles.is_empty() => {
                                handles.swap_remove(draw % handles.len());
                            }
                            _ => drop(hot.queue_update(Add(1))),
                        }
                        if let Some(handle) = handles.last_mut() {
                            handle.current();
                            handle.quiescent();
                        }
                    }
                    handles.len()
                })
            })
            .collect();
        for thread in threads {
            assert!(thread.join().unwrap() > 0);
        }
        assert!(hot.workers().is_empty());
        assert_eq!(hot.published_seq(), hot.latest_seq());
        is_found(&hot, &mut hot.create_handle());
    });
}
