//! Properties that users of hotread 0.1 rely on. Each test states one that the tests of the
//! published crate, version 0.1.2, check, in terms of the present interface.

mod support;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::SeqCst};
use std::thread;

use hotread::{HotRead, HotReadHandle, MapUpdate, Outcome};
use support::{Care, Probe, finishes, probe, push, seen};

type Prices = BTreeMap<&'static str, u32>;

/// Returns a state and a reader that holds it from before the update 7, which other readers see.
fn outdated_reader() -> (HotRead<Probe>, HotReadHandle<Probe>) {
    let (hot, _care) = probe();
    let mut reader = hot.create_handle();
    assert_eq!(reader.current().seen, [0_u64; 0]);
    assert_eq!(hot.queue_update(push(7)).outcome(), Outcome::Visible);
    assert_eq!(hot.create_handle().current().seen, [7]);
    (hot, reader)
}

/// Number of handles that hold this generation.
fn holders(hot: &HotRead<Probe>, generation: u64) -> usize {
    let workers = hot.workers().into_iter();
    workers
        .filter(|worker| worker.generation == Some(generation))
        .count()
}

// ---- reading ----

#[test]
fn a_reader_begins_with_the_initial_state() {
    let hot = HotRead::new(Probe::with(&Arc::default(), [3, 5]));
    assert_eq!(hot.create_handle().current().seen, [3, 5]);
}

#[test]
fn the_first_copy_a_reader_holds_is_the_published_one() {
    let hot = HotRead::new(Probe::with(&Arc::default(), [3]));
    let mut reader = hot.create_handle();
    assert_eq!(reader.current().seen, [3]);
    assert!(reader.is_latest());
    assert_eq!(reader.generation(), Some(hot.generation()));
}

#[test]
fn an_update_goes_to_the_copy_that_readers_do_not_hold() {
    let (hot, _care) = probe();
    let mut reader = hot.create_handle();
    let state = reader.current();
    let result = hot.queue_update(push(7));
    assert_eq!(result.applied_updates, 1, "to the other copy only");
    assert_eq!(state.seen, [0_u64; 0], "what is held does not change");
}

#[test]
fn the_next_read_sees_an_update_whose_call_has_returned() {
    let (hot, _care) = probe();
    let mut reader = hot.create_handle();
    hot.queue_update(push(7));
    assert_eq!(reader.current().seen, [7]);
}

#[test]
fn a_reader_moves_to_the_generation_that_was_published() {
    let (hot, _care) = probe();
    let mut reader = hot.create_handle();
    assert_eq!(reader.current().seen, [0_u64; 0]);
    assert_eq!(reader.generation(), Some(0));
    hot.queue_update(push(7));
    assert_eq!(reader.current().seen, [7]);
    assert_eq!(reader.generation(), Some(1));
}

#[test]
fn an_old_reference_stays_good_while_others_see_the_new_state() {
    let (hot, _care) = probe();
    let mut early = hot.create_handle();
    let old = early.current();
    hot.queue_update(push(7));
    let mut late = hot.create_handle();
    assert_eq!(late.current().seen, [7]);
    assert_eq!(old.seen, [0_u64; 0]);
}

#[test]
fn a_quiescent_reader_holds_no_generation() {
    let (hot, _care) = probe();
    let mut reader = hot.create_handle();
    reader.current();
    assert_eq!(holders(&hot, hot.generation()), 1);
    reader.quiescent();
    assert_eq!(holders(&hot, hot.generation()), 0);
}

#[test]
fn a_handle_reads_on_another_thread_without_any_hotread() {
    let (hot, _care) = probe();
    hot.queue_update(push(7));
    let mut reader = hot.create_handle();
    drop(hot);
    let found = thread::spawn(move || reader.current().seen.clone());
    assert_eq!(found.join().unwrap(), [7]);
}

// ---- writing ----

#[test]
fn the_later_of_two_updates_of_one_batch_wins() {
    let prices = HotRead::new(Prices::new());
    prices.queue_updates([MapUpdate::Insert("tea", 3), MapUpdate::Insert("tea", 4)]);
    assert_eq!(prices.create_handle().current()["tea"], 4);
}

#[test]
fn what_a_batch_sets_and_then_removes_is_gone() {
    let prices = HotRead::new(Prices::new());
    prices.queue_updates([MapUpdate::Insert("tea", 3), MapUpdate::Remove("tea")]);
    assert!(prices.create_handle().current().is_empty());
}

#[test]
fn a_batch_is_one_publication() {
    let (hot, _care) = probe();
    let result = hot.queue_updates([push(7), push(8)]);
    assert!(result.published);
    assert_eq!((result.queued_updates, result.applied_updates), (2, 2));
    assert_eq!((hot.generation(), hot.published_seq()), (1, 2));
}

#[test]
fn concurrent_readers_see_all_of_a_batch_or_nothing() {
    const LEN: usize = 100;
    finishes(|| {
        let (hot, _care) = probe();
        let readers = [(); 4].map(|()| {
            let mut reader = hot.create_handle();
            thread::spawn(move || {
                let mut len = 0;
                while len < 20 * LEN {
                    len = reader.current().seen.len();
                    assert!(len.is_multiple_of(LEN), "{len} of a batch of {LEN}");
                }
            })
        });
        for _ in 0..20 {
            let batch = (0..LEN as u64).map(push);
            let seq = hot.queue_updates(batch).last_seq;
            assert_eq!(hot.wait_published(seq, support::FOREVER), Ok(()));
        }
        for reader in readers {
            reader.join().unwrap();
        }
    });
}

// ---- maintenance ----

#[test]
fn maintain_is_blocked_by_a_reference_to_the_old_copy() {
    let (hot, _care) = probe();
    let mut early = hot.create_handle();
    let old = early.current();
    hot.queue_update(push(7));
    assert_eq!(hot.create_handle().current().seen, [7]);
    assert!(hot.maintain().blocked_by_workers);
    assert_eq!(old.seen, [0_u64; 0]);
}

#[test]
fn maintain_is_blocked_while_a_handle_is_outdated() {
    let (hot, reader) = outdated_reader();
    let mut fresh = hot.create_handle();
    assert_eq!(fresh.current().seen, [7], "everything is visible");
    for _ in 0..3 {
        let result = hot.maintain();
        assert!(result.blocked_by_workers && !result.published);
        assert_eq!(result.applied_updates, 0);
    }
    drop(reader);
}

#[test]
fn maintain_brings_the_old_copy_up_after_its_reader_left() {
    let (hot, mut reader) = outdated_reader();
    reader.quiescent();
    let result = hot.maintain();
    assert!(!result.blocked_by_workers);
    assert_eq!((result.applied_updates, result.pruned_updates), (1, 1));
    assert_eq!(hot.queued_update_count(), 0);
}

#[test]
fn maintain_brings_the_old_copy_up_after_a_blocked_maintain() {
    let (hot, mut reader) = outdated_reader();
    assert!(hot.maintain().blocked_by_workers);
    reader.quiescent();
    let result = hot.maintain();
    assert!(!result.blocked_by_workers);
    assert_eq!((result.applied_updates, result.pruned_updates), (1, 1));
    assert_eq!(hot.queued_update_count(), 0);
}

#[test]
fn an_update_stays_in_the_log_until_both_copies_have_it() {
    let (hot, mut reader) = outdated_reader();
    assert_eq!(hot.queued_update_count(), 1);
    hot.maintain();
    assert_eq!(hot.queued_update_count(), 1, "the reader is still there");
    reader.quiescent();
    assert_eq!(hot.queued_update_count(), 1, "letting go applies nothing");
    hot.maintain();
    assert_eq!(hot.queued_update_count(), 0);
}

/// Each update is awaited before the next one is queued, so that no later call can publish it: only
/// the readers, which ask again, and the maintenance can.
#[test]
fn busy_readers_get_each_update_from_maintenance_alone() {
    const UPDATES: u64 = 1_000;
    finishes(|| {
        let care = Arc::<Care>::default();
        let hot = HotRead::new(Probe::new(&care));
        let stop = Arc::new(AtomicBool::new(false));
        let maintainer = thread::spawn({
            let (hot, stop) = (hot.clone(), Arc::clone(&stop));
            move || {
                while !stop.load(SeqCst) {
                    hot.maintain();
                    thread::yield_now();
                }
            }
        });
        let observed = Arc::new([(); 4].map(|()| AtomicU64::new(0)));
        let readers: Vec<_> = (0..observed.len())
            .map(|index| {
                let (mut reader, observed) = (hot.create_handle(), Arc::clone(&observed));
                thread::spawn(move || {
                    let mut distinct = 0;
                    let mut last = 0;
                    while last < UPDATES {
                        let now = reader.current().seen.last().copied().unwrap_or(0);
                        distinct += u64::from(now != last);
                        last = now;
                        observed[index].store(now, SeqCst);
                        thread::yield_now();
                    }
                    distinct
                })
            })
            .collect();
        for number in 1..=UPDATES {
            hot.queue_update(push(number));
            while observed.iter().any(|last| last.load(SeqCst) < number) {
                thread::yield_now();
            }
        }
        for reader in readers {
            assert_eq!(reader.join().unwrap(), UPDATES, "one update was skipped");
        }
        stop.store(true, SeqCst);
        maintainer.join().unwrap();
        hot.maintain();
        assert_eq!(hot.queued_update_count(), 0);
        assert!(seen(&hot).into_iter().eq(1..=UPDATES));
    });
}
