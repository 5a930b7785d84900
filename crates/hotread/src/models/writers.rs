//! Several writers: the right to apply, batches, order, panics.

use std::panic::{AssertUnwindSafe, catch_unwind};

use super::{
    Census, Fixture, Note, Seen, assert_prefix, bomb, explore, explore_fairly, note, thread,
};
use crate::{HotRead, HotReadState, WaitError};

/// Two writers queue at once: whichever of them applies, both updates are visible in the end, in
/// either order.
/// Fault: no_again.
#[test]
fn the_right_to_apply_strands_nothing() {
    explore(|| {
        let fixture = Fixture::new(2);
        let hot = fixture.hot.clone();
        let other = fixture.note(2);
        let writer = thread::spawn(move || {
            hot.queue_update(other);
        });
        // A batch: a single update would take the straight path.
        let batch = [fixture.note(1), fixture.note(3)];
        fixture.hot.queue_updates(batch);
        writer.join().unwrap();
        let mut updates = fixture.hot.read(Seen::updates);
        updates.sort_unstable();
        assert_eq!(updates, [1, 2, 3], "an update was stranded");
        assert_eq!(fixture.settled_log(), 0);
        fixture.end(Vec::new());
    });
}

/// A `maintain` that finds another thread applying leaves its request behind: a copy that the
/// reader let go of just before is not overlooked.
/// Fault: no_again.
#[test]
fn a_busy_maintain_is_made_up_for() {
    explore(|| {
        let fixture = Fixture::new(2);
        let mut handle = fixture.hot.create_handle();
        handle.current();
        fixture.hot.queue_update(fixture.note(1));
        let hot = fixture.hot.clone();
        let other = fixture.note(2);
        let writer = thread::spawn(move || {
            // Blocked unless the reader has let go.
            hot.queue_update(other);
        });
        handle.quiescent();
        fixture.hot.maintain();
        writer.join().unwrap();
        assert_eq!(fixture.hot.read(assert_prefix), 2, "an update was stranded");
        fixture.end(vec![handle]);
    });
}

/// Two writers queue behind a reader that blocks them and lets go in the meantime: maintenance
/// publishes what neither of them can publish.
/// Fault: deferred_and_left.
#[test]
fn blocked_writers_strand_nothing() {
    explore(|| {
        let fixture = Fixture::new(2);
        let mut handle = fixture.hot.create_handle();
        handle.current();
        for number in 1..=2 {
            fixture.hot.queue_update(fixture.note(number));
        }
        let hot = fixture.hot.clone();
        let other = fixture.note(3);
        let writer = thread::spawn(move || {
            assert!(!hot.queue_update(other).published);
        });
        assert!(!fixture.hot.queue_update(fixture.note(4)).published);
        writer.join().unwrap();
        handle.quiescent();
        fixture.hot.maintain();
        let updates = fixture.hot.read(Seen::updates);
        assert_eq!(updates.len(), 4, "an update was stranded");
        fixture.end(vec![handle]);
    });
}

/// Fault: reorder.
#[test]
fn updates_of_one_thread_stay_in_order() {
    explore(|| {
        let fixture = Fixture::new(2);
        let hot = fixture.hot.clone();
        let first = fixture.note(1);
        let writer = thread::spawn(move || {
            hot.queue_update(first);
        });
        for number in [11, 12, 13] {
            fixture.hot.queue_update(fixture.note(number));
        }
        writer.join().unwrap();
        let updates = fixture.hot.read(Seen::updates);
        let ours: Vec<_> = updates.iter().copied().filter(|&n| n > 10).collect();
        assert_eq!(ours, [11, 12, 13]);
        assert_eq!(updates.len(), 4);
        fixture.end(Vec::new());
    });
}

/// A writer queues more than the holder of the right admits, waits for room, and receives the right
/// once the holder has done its share.
/// Fault: no_retry, granted_first.
#[test]
fn a_writer_waits_for_room_and_for_the_right() {
    explore_fairly(|| {
        let fixture = Fixture::new(2);
        let (hot, census) = (fixture.hot.clone(), fixture.census.clone());
        let writer = thread::spawn(move || {
            let note = |number| note(&census, number);
            hot.queue_updates([note(11), note(12)]);
            hot.queue_update(note(13));
            hot.queue_updates([note(14), note(15)]);
            hot.queue_update(note(16));
        });
        fixture.hot.queue_update(fixture.note(1));
        writer.join().unwrap();
        let updates = fixture.hot.read(Seen::updates);
        let theirs: Vec<_> = updates.iter().copied().filter(|&n| n > 10).collect();
        assert_eq!(theirs, [11, 12, 13, 14, 15, 16]);
        assert_eq!(updates.len(), 7);
        assert_eq!(fixture.settled_log(), 0);
        fixture.end(Vec::new());
    });
}

/// Fault: split_batch.
#[test]
fn a_batch_is_seen_whole() {
    explore(|| {
        let fixture = Fixture::new(2);
        let mut handle = fixture.hot.create_handle();
        let reader = thread::spawn(move || {
            let first = assert_prefix(handle.current());
            assert!(first == 0 || first == 2, "half a batch");
            handle
        });
        let batch = [fixture.note(1), fixture.note(2)];
        fixture.hot.queue_updates(batch);
        let handle = reader.join().unwrap();
        fixture.end(vec![handle]);
    });
}

/// Invariant 3, with a reader that comes and goes: in the end, two calls empty the log.
/// Fault: no_catch_up, leak_updates.
#[test]
fn maintenance_empties_the_log() {
    explore(|| {
        let fixture = Fixture::new(2);
        let mut handle = fixture.hot.create_handle();
        let reader = thread::spawn(move || {
            handle.current();
            handle.current();
            handle
        });
        for number in 1..=2 {
            fixture.hot.queue_update(fixture.note(number));
        }
        let mut handle = reader.join().unwrap();
        handle.current();
        fixture.hot.maintain();
        assert_eq!(assert_prefix(handle.current()), 2, "not made visible");
        fixture.hot.maintain();
        assert_eq!(fixture.hot.queued_update_count(), 0, "the log is not empty");
        assert_eq!(fixture.census.alive(), 2, "only the two copies are left");
        fixture.end(vec![handle]);
    });
}

/// A batch that panics is removed whole, its copy is rebuilt, and the other writer's update becomes
/// visible, whichever of the two was applying.
/// Fault: no_rebuild.
#[test]
fn a_panic_removes_its_batch_and_no_other() {
    explore(|| {
        let fixture = Fixture::new(2);
        let census = fixture.census.clone();
        let hot = fixture.hot.clone();
        let writer = thread::spawn(move || {
            let batch = [note(&census, 7), bomb(&census, 8)];
            catch_unwind(AssertUnwindSafe(|| hot.queue_updates(batch))).is_err()
        });
        let update = fixture.note(1);
        let ours = catch_unwind(AssertUnwindSafe(|| fixture.hot.queue_update(update))).is_err();
        let theirs = writer.join().unwrap();
        // If the other thread was applying, the panic stays on that thread.
        assert!(!ours, "a panic of another caller's batch");
        assert!(
            theirs || fixture.hot.panics() == 1,
            "the panic is resumed or counted"
        );
        assert_eq!(fixture.hot.read(Seen::updates), [1]);
        assert_eq!(fixture.settled_log(), 0);
        let outcomes: Vec<_> = (1..=3)
            .map(|seq| fixture.hot.wait_published(seq, std::time::Duration::ZERO))
            .collect();
        let rejected = outcomes
            .iter()
            .filter(|outcome| **outcome == Err(WaitError::Rejected))
            .count();
        assert_eq!(
            rejected, 2,
            "the batch's two numbers, and no other: {outcomes:?}"
        );
        fixture.end(Vec::new());
    });
}

/// A copy that a panic left half changed is cloned again while a reader holds the published one.
#[test]
fn a_rebuilt_copy_is_sound() {
    explore(|| {
        let fixture = Fixture::new(2);
        let mut handle = fixture.hot.create_handle();
        let reader = thread::spawn(move || {
            let first = assert_prefix(handle.current());
            let second = assert_prefix(handle.current());
            assert!(second >= first);
            handle
        });
        let bomb = bomb(&fixture.census, 9);
        let panicked = catch_unwind(AssertUnwindSafe(|| fixture.hot.queue_update(bomb))).is_err();
        assert!(panicked);
        fixture.hot.queue_update(fixture.note(1));
        let handle = reader.join().unwrap();
        fixture.end(vec![handle]);
    });
}

/// `replace` is one update in the order of the others.
#[test]
fn a_replaced_state_is_moved_in_and_cloned() {
    explore(|| {
        let fixture = Fixture::new(2);
        let mut handle = fixture.hot.create_handle();
        let reader = thread::spawn(move || {
            let first = handle.current().updates();
            assert!(first.is_empty() || first[0] == 5, "half replaced");
            handle
        });
        let mut new = Seen::new(&fixture.census);
        new.apply_update(&fixture.note(5));
        fixture.hot.replace(new);
        fixture.hot.queue_update(fixture.note(6));
        let mut handle = reader.join().unwrap();
        handle.quiescent();
        fixture.hot.maintain();
        assert_eq!(fixture.hot.read(Seen::updates), [5, 6]);
        assert_eq!(fixture.settled_log(), 0);
        fixture.end(vec![handle]);
    });
}

/// A `replace` is blocked, and the reader lets go at any moment. The `replace` drops only invisible
/// updates, and a thread that catches up leaves it to be published.
/// Fault: supersede_too_far.
#[test]
fn a_blocked_replace_is_not_lost() {
    explore(|| {
        let fixture = Fixture::new(2);
        let mut handle = fixture.hot.create_handle();
        handle.current();
        let reader = thread::spawn(move || {
            assert_eq!(handle.get().map(Seen::len), Some(0));
            handle.quiescent();
            handle
        });
        fixture.hot.queue_update(fixture.note(1));
        let mut new = Seen::new(&fixture.census);
        new.apply_update(&fixture.note(5));
        fixture.hot.replace(new);
        let handle = reader.join().unwrap();
        fixture.hot.maintain();
        assert_eq!(fixture.hot.read(Seen::updates), [5], "replaced, and lost");
        fixture.hot.queue_update(fixture.note(6));
        assert_eq!(fixture.hot.read(Seen::updates), [5, 6], "the copies differ");
        assert_eq!(fixture.settled_log(), 0);
        fixture.end(vec![handle]);
    });
}

/// A state whose updates queue further updates.
#[derive(Clone)]
struct Chain {
    seen: Seen,
    hot: std::sync::Arc<std::sync::OnceLock<crate::WeakHotRead<Chain>>>,
    census: Census,
}

impl HotReadState for Chain {
    type Action = Note;

    fn apply_update(&mut self, note: &Note) {
        self.seen.apply_update(note);
        if note.number < 10
            && let Some(hot) = self.hot.get().and_then(crate::WeakHotRead::upgrade)
        {
            let result = hot.queue_update(super::note(&self.census, note.number + 10));
            assert!(!result.published && !result.blocked_by_workers);
            assert!(hot.maintain().busy);
        }
    }
}

/// An update queued from inside an update is queued once for each copy, and applied later.
#[test]
fn an_update_queues_another() {
    explore(|| {
        let census = Census::default();
        let link = std::sync::Arc::new(std::sync::OnceLock::new());
        let hot = HotRead::new(Chain {
            seen: Seen::new(&census),
            hot: std::sync::Arc::clone(&link),
            census: census.clone(),
        });
        assert!(link.set(hot.downgrade()).is_ok());
        let other = hot.clone();
        let update = note(&census, 2);
        let writer = thread::spawn(move || {
            other.queue_update(update);
        });
        hot.queue_update(note(&census, 1));
        writer.join().unwrap();
        let mut updates = hot.read(|chain| chain.seen.updates());
        updates.sort_unstable();
        assert_eq!(updates, [1, 2, 11, 11, 12, 12], "stranded or lost");
        hot.maintain();
        assert_eq!(hot.queued_update_count(), 0);
        drop(hot);
        drop(link);
        assert_eq!(census.alive(), 0);
    });
}
