//! Bounds while a reader is stalled, and after it returns: on the log, the copies, and the clones
//! made. The numbers are those of the documentation.

mod support;

use std::sync::atomic::Ordering::SeqCst;

use hotread::HotRead;
use support::sum::{Add, Sum, stalled};
use support::{Probe, hold_up, probe, push, settle};

/// Visible updates that the log keeps for a copy that a reader holds.
const MAX_LAG_UPDATES: usize = 65_536;
/// Publications that do not need an extra copy before it is dropped.
const SPARE_PUBLICATIONS: usize = 1_024;
/// Applications in one piece of work.
const PIECE: usize = 16_384;

fn check(hot: &HotRead<Sum>, updates: u64) {
    hot.read(|state| assert_eq!((state.count, state.sum), (updates + 1, updates * 3 + 7)));
}

#[test]
fn a_copy_held_too_long_is_given_up_and_the_log_is_bounded() {
    for batch in [1_usize, 1_000] {
        let (hot, mut handle, care) = stalled(3);
        let mut longest = 0;
        let mut updates = 0;
        while updates < 3 * MAX_LAG_UPDATES {
            let result = hot.queue_updates((0..batch).map(|_| Add(3)));
            assert!(result.published);
            updates += batch;
            longest = longest.max(hot.queued_update_count());
        }
        assert!(
            longest > MAX_LAG_UPDATES - batch,
            "it was to be caught up from the log: {longest}"
        );
        assert!(longest <= MAX_LAG_UPDATES + batch, "{longest}");
        assert!(
            hot.queued_update_count() <= batch,
            "no copy needs the log any more"
        );
        check(&hot, updates as u64);
        let held = handle.get().map(|state| (state.count, state.sum));
        assert_eq!(held, Some((1, 7)), "the reader keeps what it holds");
        assert_eq!(care.live(), 3);

        assert_eq!(handle.current().count, updates as u64 + 1);
        hot.maintain();
        for more in 1..10 {
            assert!(hot.queue_update(Add(3)).published);
            check(&hot, (updates + more) as u64);
            assert_eq!(handle.current().count, (updates + more) as u64 + 1);
        }
        handle.quiescent();
        hot.maintain();
        assert_eq!(hot.queued_update_count(), 0);
        drop((hot, handle));
        assert_eq!(care.live(), 0);
    }
}

#[test]
fn what_is_blocked_is_kept_however_much_it_is() {
    let (hot, mut handle, care) = stalled(2);
    assert!(hot.queue_update(Add(3)).published);
    let updates = MAX_LAG_UPDATES + 10_000;
    for _ in 1..updates {
        assert!(hot.queue_update(Add(3)).blocked_by_workers);
    }
    check(&hot, 1);
    assert_eq!((hot.queued_update_count(), hot.generation()), (updates, 2));
    handle.quiescent();
    let result = hot.maintain();
    assert!(result.published && !result.blocked_by_workers && !result.busy);
    assert_eq!(hot.queued_update_count(), 0);
    // One publication for each piece of work.
    let pieces = updates.div_ceil(PIECE) as u64;
    assert!((3..=3 + pieces).contains(&hot.generation()));
    check(&hot, updates as u64);
    assert_eq!(care.live(), 2);
    assert_eq!(
        care.clones.load(SeqCst),
        1,
        "nothing was cloned but the first second copy"
    );
}

#[test]
fn an_extra_copy_unused_for_a_thousand_publications_is_dropped() {
    let (hot, mut handle, care) = stalled(4);
    for _ in 0..2 {
        hot.queue_update(Add(3));
    }
    assert_eq!(care.live(), 3);
    handle.quiescent();
    let mut publications = 0;
    while care.live() > 2 {
        assert!(hot.queue_update(Add(3)).published);
        publications += 1;
        assert!(
            publications <= SPARE_PUBLICATIONS + 10,
            "it is never dropped"
        );
    }
    assert!(
        publications >= SPARE_PUBLICATIONS - 10,
        "dropped after {publications}"
    );
    assert_eq!(hot.queued_update_count(), 0, "the log kept what it lacked");
    // Another extra copy, if needed again, uses the same slot.
    handle.current();
    for _ in 0..2 {
        assert!(hot.queue_update(Add(3)).published);
    }
    assert_eq!(care.live(), 3);
    check(&hot, publications as u64 + 4);
}

#[test]
fn a_reader_that_is_slow_again_costs_no_further_clones() {
    let (hot, mut handle, care) = stalled(3);
    for update in 0..10_000 {
        assert!(hot.queue_update(Add(3)).published);
        if update % 100 == 0 {
            handle.current();
        }
    }
    assert_eq!(care.clones.load(SeqCst), 2, "the second copy and the third");
    check(&hot, 10_000);
}

#[test]
fn a_replacement_is_moved_into_one_copy_and_cloned_once() {
    let (hot, care) = probe();
    for number in 0..10 {
        let before = care.clones.load(SeqCst);
        assert!(hot.replace(Probe::with(&care, [number])).published);
        assert_eq!(care.clones.load(SeqCst) - before, 1);
        assert_eq!((care.live(), hot.queued_update_count()), (2, 0));
    }
    settle(&hot);
}

#[test]
fn a_blocked_replacement_drops_all_that_is_not_visible() {
    let (hot, care) = probe();
    let handle = hold_up(&hot, 1);
    for number in 0..10 {
        hot.queue_update(push(100 + number));
        hot.replace(Probe::with(&care, [number]));
        assert_eq!((care.live(), hot.queued_update_count()), (3, 2));
    }
    hot.queue_update(push(10));
    let before = care.applications.load(SeqCst);
    drop(handle);
    hot.maintain();
    assert_eq!((care.live(), support::seen(&hot)), (2, vec![9, 10]));
    let applied = care.applications.load(SeqCst) - before;
    assert!(applied <= 2, "what was dropped was applied: {applied}");
    settle(&hot);
}
