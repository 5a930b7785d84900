//! Bounds on the memory, and on the work of later calls, that a stalled reader causes. Counted
//! rather than timed.

mod support;

use std::sync::Arc;
use std::sync::atomic::Ordering::SeqCst;
use std::time::Duration;

use hotread::{HotRead, Outcome, WaitError};
use support::sum::{Add, Sum, blocked, stalled, sum};
use support::{Care, FOREVER, Probe, finishes, hold_up, panic_at, probe, push, run, seen, settle};

/// Applications in one piece of work.
const PIECE: usize = 16_384;
/// Visible updates that the log keeps for a copy that a reader holds.
const MAX_LAG_UPDATES: usize = 65_536;

/// Runs `code` and counts the applications that it makes.
fn applications<R>(care: &Care, code: impl FnOnce() -> R) -> (R, usize) {
    let before = care.applications.load(SeqCst);
    let result = code();
    (result, care.applications.load(SeqCst) - before)
}

// ---- replacements ----

#[test]
fn a_thousand_blocked_replacements_keep_one_state() {
    let (hot, handle, care) = stalled(2);
    hot.queue_update(Add(1));
    let clones = care.clones.load(SeqCst);
    for number in 1..=1_000 {
        let result = hot.replace(Sum::with(&care, number));
        assert_eq!(result.outcome(), Outcome::Blocked);
        assert_eq!((care.live(), hot.queued_update_count()), (3, 2));
    }
    assert_eq!(care.clones.load(SeqCst), clones);
    drop(handle);
    let (result, applied) = applications(&care, || hot.maintain());
    assert!(result.published && !result.blocked_by_workers);
    assert_eq!((applied, care.live()), (0, 2));
    assert_eq!(hot.queued_update_count(), 0);
    hot.read(|state| assert_eq!(state.sum, 1_000));
    let cloned = care.clones.load(SeqCst) - clones;
    assert!(cloned <= 2, "{cloned} clones");
}

#[test]
fn what_a_replacement_supersedes_is_never_applied() {
    let (hot, care) = probe();
    let handle = hold_up(&hot, 1);
    let before = hot.queue_updates((0..100).map(push));
    let replaced = hot.replace(Probe::with(&care, [7]));
    let after = hot.queue_update(push(8));
    assert_eq!(care.live_actions.load(SeqCst), 0);
    assert_eq!(hot.queued_update_count(), 3, "and what one copy lacks");
    drop(handle);
    let ((), applied) = applications(&care, || settle(&hot));
    assert!(applied <= 6, "8 and those that `settle` adds: {applied}");
    assert_eq!(seen(&hot)[..2], [7, 8]);
    for result in [before, replaced, after] {
        let waited = hot.wait_published(result.last_seq, Duration::ZERO);
        assert_eq!(waited, Ok(()));
    }
}

#[test]
fn the_superseded_count_as_visible_with_the_replacement() {
    let (hot, care) = probe();
    let mut handle = hold_up(&hot, 1);
    let old = hot.queue_update(push(2)).last_seq;
    // It would be rejected, but no copy ever gets it.
    let bad = hot.queue_update(panic_at(3, 1)).last_seq;
    hot.replace(Probe::with(&care, [7]));
    for seq in [old, bad] {
        let waited = hot.wait_published(seq, Duration::ZERO);
        assert_eq!(waited, Err(WaitError::Timeout));
    }
    handle.quiescent();
    for seq in [old, bad] {
        assert_eq!(hot.wait_published(seq, Duration::ZERO), Ok(()));
    }
    assert_eq!((seen(&hot), hot.panics()), (vec![7], 0));
}

#[test]
fn superseded_updates_are_dropped_at_once() {
    let (hot, care) = probe();
    let handle = hold_up(&hot, 1);
    let guard = Arc::new(());
    for number in 0..100 {
        let guard = Arc::clone(&guard);
        hot.queue_update(run(number, move |_| drop(Arc::clone(&guard))));
    }
    assert_eq!(Arc::strong_count(&guard), 101);
    hot.replace(Probe::with(&care, [7]));
    assert_eq!(Arc::strong_count(&guard), 1);
    drop(handle);
}

#[test]
fn visible_updates_are_not_superseded() {
    let (hot, care) = probe();
    // The second copy lacks a visible update; the replacement is moved into it.
    hot.queue_updates([push(1), push(2)]);
    let mut reader = hot.create_handle();
    reader.current();
    assert_eq!(
        hot.replace(Probe::with(&care, [7])).outcome(),
        Outcome::Visible
    );
    assert_eq!(reader.get().unwrap().seen, [1, 2]);
    assert_eq!(reader.current().seen, [7]);
    drop(reader);
    settle(&hot);
}

#[test]
fn a_replacement_with_three_copies_waits_for_no_reader() {
    let (hot, handle, care) = stalled(3);
    hot.queue_update(Add(1));
    for number in 1..100 {
        let result = hot.replace(Sum::with(&care, number));
        assert_eq!(result.outcome(), Outcome::Visible);
        hot.read(|state| assert_eq!(state.sum, number));
        assert!(care.live() <= 3);
    }
    let held = handle.get().map(|state| state.sum);
    assert_eq!(held, Some(7), "the reader keeps what it holds");
}

// ---- pieces ----

#[test]
fn queue_update_behind_a_large_backlog_applies_a_piece() {
    let (hot, handle, care) = blocked(100_000);
    drop(handle);
    let total = 100_003;
    let mut calls = 0;
    while hot.published_seq() < hot.latest_seq() {
        let (result, applied) = applications(&care, || hot.queue_update(Add(1)));
        assert!(applied <= 2 * PIECE, "a piece for each copy: {applied}");
        assert_eq!(result.applied_updates, applied);
        let expected = match result.published {
            true => Outcome::Visible,
            false => Outcome::Pending,
        };
        assert_eq!(result.outcome(), expected, "no reader is in the way");
        calls += 1;
        assert!(calls < 100);
    }
    assert!(calls >= 100_000 / PIECE, "{calls}");
    hot.read(|state| assert_eq!(state.count, total - 1 + calls as u64));
    hot.maintain();
    assert_eq!(hot.queued_update_count(), 0);
}

#[test]
fn a_zero_timeout_applies_one_piece() {
    let (hot, handle, care) = blocked(100_000);
    drop(handle);
    let seq = hot.latest_seq();
    let mut attempts = 0;
    loop {
        let (waited, applied) = applications(&care, || hot.wait_published(seq, Duration::ZERO));
        assert!(applied <= 2 * PIECE, "a piece for each copy: {applied}");
        attempts += 1;
        match waited {
            Ok(()) => break,
            Err(error) => assert_eq!(error, WaitError::Timeout),
        }
        assert!(attempts < 100);
    }
    assert!(attempts >= 100_000 / PIECE, "{attempts}");
}

#[test]
fn a_wait_goes_on_piece_by_piece_until_all_is_visible() {
    finishes(|| {
        let (hot, handle, _care) = blocked(100_000);
        drop(handle);
        let generation = hot.generation();
        assert_eq!(hot.wait_published(hot.latest_seq(), FOREVER), Ok(()));
        let publications = hot.generation() - generation;
        assert!(publications as usize >= 100_000 / PIECE, "{publications}");
        hot.read(|state| assert_eq!(state.count, hot.latest_seq()));
    });
}

#[test]
fn maintain_makes_all_visible_that_was_queued_when_it_began() {
    let (hot, handle, care) = blocked(100_000);
    drop(handle);
    let (result, applied) = applications(&care, || hot.maintain());
    assert!(result.published && !result.blocked_by_workers && !result.busy);
    assert_eq!(hot.published_seq(), hot.latest_seq());
    assert_eq!(hot.queued_update_count(), 0);
    assert_eq!(result.applied_updates, applied);
    // The first update after the reader came was visible before, and in one copy.
    assert_eq!((applied, result.pruned_updates), (200_001, 100_001));
}

#[test]
fn try_queue_updates_behind_a_large_backlog_is_bounded_as_well() {
    let care = Arc::<Care>::default();
    let hot = HotRead::builder(Sum::new(&care))
        .max_pending(60_000)
        .build();
    let mut handle = hot.create_handle();
    handle.current();
    hot.queue_update(Add(1));
    for _ in 0..60_000 {
        assert!(hot.try_queue_updates(vec![Add(1)]).is_ok());
    }
    assert_eq!(
        hot.try_queue_updates(vec![Add(1)]).unwrap_err().pending,
        60_000
    );
    drop(handle);
    let result = hot.try_queue_updates(vec![Add(1)]).unwrap();
    assert_eq!(result.outcome(), Outcome::Visible, "it maintained first");
    assert_eq!(hot.published_seq(), 60_002);
}

#[test]
fn a_batch_larger_than_a_piece_is_visible_as_a_whole() {
    let (hot, care) = sum(2);
    let len = 3 * PIECE;
    let result = hot.queue_updates((0..len).map(|_| Add(1)));
    assert_eq!(result.outcome(), Outcome::Visible);
    assert_eq!((hot.generation(), hot.published_seq()), (1, len as u64));
    assert_eq!(care.applications.load(SeqCst), 2 * len);
    assert_eq!(hot.queued_update_count(), 0, "it does not stay in memory");
}

// ---- closing ----

#[test]
fn the_last_drop_applies_nothing_that_no_handle_can_see() {
    let (hot, handle, care) = blocked(1_000);
    hot.read(|state| assert_eq!(state.count, 2));
    drop(handle);
    let ((), applied) = applications(&care, || drop(hot));
    assert_eq!((applied, care.live()), (0, 0));
}

#[test]
fn the_last_drop_applies_what_a_handle_may_still_see() {
    let (hot, handle, care) = blocked(50_000);
    let total = hot.latest_seq();
    let mut reader = hot.create_handle();
    drop(handle);
    let ((), applied) = applications(&care, || drop(hot));
    assert!((50_000..=2 * 50_001).contains(&applied), "{applied}");
    assert_eq!(reader.current().count, total);
    assert_eq!(care.live(), 1, "the copy that is not published is gone");
    drop(reader);
    assert_eq!(care.live(), 0);
}

#[test]
fn the_last_drop_keeps_only_copies_that_are_held_or_published() {
    let (hot, mut handle, care) = blocked(10);
    let mut reader = hot.create_handle();
    reader.current();
    drop(hot);
    assert_eq!(care.live(), 2);
    assert_eq!(handle.get().unwrap().count, 1, "it was in the way");
    assert_eq!((handle.current().count, reader.current().count), (2, 2));
    drop((handle, reader));
    assert_eq!(care.live(), 0);
}

// ---- panics in a backlog ----

#[test]
fn panicking_batches_in_a_backlog_cost_no_second_pass() {
    const UPDATES: usize = 30_000;
    for panicking in [1, 10, 100] {
        let (hot, care) = probe();
        let handle = hold_up(&hot, 1);
        for number in 0..UPDATES {
            hot.queue_update(match number % (UPDATES / panicking) {
                5 => panic_at(number as u64, 1),
                _ => push(number as u64),
            });
        }
        drop(handle);
        let clones = care.clones.load(SeqCst);
        let (_, applied) = applications(&care, || {
            while hot.published_seq() < hot.latest_seq() || hot.queued_update_count() > 0 {
                hot.maintain();
            }
        });
        assert_eq!(
            (seen(&hot).len(), hot.panics() as usize),
            (UPDATES - panicking + 1, panicking)
        );
        let most = 3 * UPDATES + 3 * panicking;
        assert!(
            applied <= most,
            "{panicking} panics: {applied} applications"
        );
        assert!(care.clones.load(SeqCst) - clones <= panicking + 2);
        settle(&hot);
    }
}

#[test]
fn a_backlog_of_nothing_but_panics_is_cleared() {
    let (hot, care) = probe();
    let handle = hold_up(&hot, 1);
    for number in 0..500 {
        hot.queue_update(panic_at(number, 1));
    }
    drop(handle);
    let (_, applied) = applications(&care, || {
        while hot.maintain().published || hot.queued_update_count() > 0 {}
    });
    assert!(applied <= 502, "{applied}");
    assert_eq!((seen(&hot), hot.panics()), (vec![1], 500));
    assert_eq!(
        hot.wait_published(501, Duration::ZERO),
        Err(WaitError::Rejected)
    );
    settle(&hot);
}

// ---- copies too far behind ----

#[test]
fn of_two_copies_one_held_too_far_behind_is_given_up() {
    let (hot, mut handle, care) = stalled(2);
    let clones = care.clones.load(SeqCst);
    let len = MAX_LAG_UPDATES + 1;
    let (result, applied) = applications(&care, || hot.queue_updates((0..len).map(|_| Add(1))));
    assert_eq!((result.outcome(), applied), (Outcome::Visible, len));
    assert_eq!(hot.queued_update_count(), 0, "no copy needs the log");
    assert_eq!(
        handle.get().unwrap().count,
        1,
        "the reader keeps what it holds"
    );
    assert_eq!(hot.queue_update(Add(1)).outcome(), Outcome::Blocked);
    assert!(hot.maintain().blocked_by_workers);
    handle.quiescent();
    let (_, applied) = applications(&care, || hot.maintain());
    assert!(applied <= 2, "cloned, not replayed: {applied}");
    assert_eq!(care.clones.load(SeqCst) - clones, 1);
    assert_eq!((care.live(), hot.queued_update_count()), (2, 0));
    hot.read(|state| assert_eq!(state.count as usize, len + 2));
}

#[test]
fn of_two_copies_one_held_within_the_limit_is_caught_up() {
    let (hot, mut handle, care) = stalled(2);
    let clones = care.clones.load(SeqCst);
    hot.queue_updates((0..MAX_LAG_UPDATES).map(|_| Add(1)));
    assert_eq!(hot.queued_update_count(), MAX_LAG_UPDATES);
    handle.quiescent();
    let (_, applied) = applications(&care, || hot.maintain());
    assert_eq!((applied, hot.queued_update_count()), (MAX_LAG_UPDATES, 0));
    assert_eq!(care.clones.load(SeqCst), clones);
}
