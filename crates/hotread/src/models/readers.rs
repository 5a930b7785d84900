//! Readers while one writer publishes: invariants 1 and 2, and the life of slots and copies.

use super::{Fixture, Seen, assert_prefix, explore, note, thread};
use crate::HotReadHandle;
use crate::settings::Limits;

/// A reader moves forward as often as it can while a writer publishes. It looks at the copy it
/// holds twice, so that a write in between is seen.
fn moving_forward(copies: usize, updates: u64, steps: usize) {
    explore(move || {
        let fixture = Fixture::new(copies);
        let mut handle = fixture.hot.create_handle();
        let reader = thread::spawn(move || {
            let mut before = 0;
            for _ in 0..steps {
                let seen = assert_prefix(handle.current());
                assert!(seen >= before, "went backwards");
                assert_eq!(handle.generation(), Some(seen as u64));
                before = seen;
                assert_eq!(handle.get().map(|held| held.len()), Some(seen));
            }
            handle
        });
        for number in 1..=updates {
            fixture.hot.queue_update(fixture.note(number));
        }
        let handle = reader.join().unwrap();
        fixture.end(vec![handle]);
    });
}

/// Fault: no_reader_fence.
#[test]
fn first_read_sees_a_whole_state() {
    moving_forward(2, 1, 1);
}

/// Fault: no_reader_fence, no_writer_fence, no_validation.
#[test]
fn moving_forward_with_two_copies() {
    moving_forward(2, 2, 2);
}

/// With a third copy, the writer returns to the first one while a reader is still validating it.
/// Fault: no_reader_fence, no_writer_fence, no_validation.
#[test]
fn moving_forward_with_three_copies() {
    explore(|| {
        let fixture = Fixture::new(3);
        // Grow to three copies before the concurrent part.
        let mut holder = fixture.hot.create_handle();
        holder.current();
        for number in 1..=2 {
            fixture.hot.queue_update(fixture.note(number));
        }
        drop(holder);
        let mut handle = fixture.hot.create_handle();
        handle.current();
        let reader = thread::spawn(move || {
            let first = assert_prefix(handle.current());
            assert_eq!(handle.get().map(|held| held.len()), Some(first));
            let second = assert_prefix(handle.current());
            assert!(second >= first, "went backwards");
            assert_eq!(handle.get().map(|held| held.len()), Some(second));
            handle
        });
        for number in 3..=5 {
            fixture.hot.queue_update(fixture.note(number));
        }
        let handle = reader.join().unwrap();
        fixture.end(vec![handle]);
    });
}

/// A reader looks at an outdated copy a last time and lets go of it, in each of the three ways. If
/// the writer's scan sees that, the look happened before the write.
/// Fault: relaxed_slot, relaxed_scan.
#[test]
fn a_copy_is_written_only_after_the_last_look() {
    let ways: [fn(HotReadHandle<Seen>); 3] = [
        |mut handle| assert!(handle.refresh()),
        |mut handle| handle.quiescent(),
        drop,
    ];
    for let_go in ways {
        explore(move || {
            let fixture = Fixture::new(2);
            let mut handle = fixture.hot.create_handle();
            handle.current();
            fixture.hot.queue_update(fixture.note(1));
            let reader = thread::spawn(move || {
                assert_eq!(handle.get().map(Seen::len), Some(0));
                let_go(handle);
            });
            fixture.hot.queue_update(fixture.note(2));
            reader.join().unwrap();
            fixture.end(Vec::new());
        });
    }
}

/// A reader keeps its copy; the writer makes a third copy and goes on.
#[test]
fn growth_while_a_reader_holds() {
    explore(|| {
        let fixture = Fixture::new(3);
        let mut stalled = fixture.hot.create_handle();
        stalled.current();
        let mut handle = fixture.hot.create_handle();
        let reader = thread::spawn(move || {
            let seen = assert_prefix(handle.current());
            assert_eq!(handle.get().map(|held| held.len()), Some(seen));
            handle
        });
        for number in 1..=2 {
            let result = fixture.hot.queue_update(fixture.note(number));
            // The other reader may hold one more copy, so that no copy is free.
            assert!(result.published || result.blocked_by_workers);
        }
        assert_eq!(stalled.get().map(|held| held.len()), Some(0));
        let handle = reader.join().unwrap();
        fixture.end(vec![handle, stalled]);
    });
}

/// An extra copy was dropped; its node, which a late reader may still name in passing, is filled
/// again.
#[test]
fn a_dropped_extra_copy_is_used_again() {
    explore(|| {
        let fixture = Fixture::new(3);
        let mut holder = fixture.hot.create_handle();
        holder.current();
        let mut number = 0;
        let mut publish = |count| {
            for _ in 0..count {
                number += 1;
                fixture.hot.queue_update(fixture.note(number));
            }
        };
        publish(2);
        holder.quiescent();
        fixture.hot.maintain();
        assert_eq!(fixture.census.alive(), 3, "three copies and an empty log");
        publish(u64::from(Limits::SMALL.spare) + 2);
        fixture.hot.maintain();
        assert_eq!(fixture.census.alive(), 2, "the extra copy was dropped");
        holder.current();
        let mut handle = holder.clone();
        let reader = thread::spawn(move || {
            let seen = assert_prefix(handle.current());
            assert_eq!(handle.get().map(|held| held.len()), Some(seen));
            handle
        });
        publish(2);
        assert_prefix(holder.current());
        let handle = reader.join().unwrap();
        fixture.end(vec![handle, holder]);
    });
}

/// Fault: relaxed_publish, relaxed_validation.
#[test]
fn quiescent_and_back() {
    explore(|| {
        let fixture = Fixture::new(2);
        let mut handle = fixture.hot.create_handle();
        let reader = thread::spawn(move || {
            let first = assert_prefix(handle.current());
            handle.quiescent();
            assert!(handle.get().is_none());
            let second = assert_prefix(handle.current());
            assert!(second >= first, "went backwards");
            handle
        });
        for number in 1..=2 {
            fixture.hot.queue_update(fixture.note(number));
        }
        let handle = reader.join().unwrap();
        fixture.end(vec![handle]);
    });
}

/// A handle is created, used and dropped while a writer publishes.
/// Fault: relaxed_publish.
#[test]
fn creation_and_drop_during_publication() {
    explore(|| {
        let fixture = Fixture::new(2);
        let hot = fixture.hot.clone();
        let reader = thread::spawn(move || {
            let mut handle = hot.create_handle();
            assert_prefix(handle.current());
        });
        for number in 1..=2 {
            fixture.hot.queue_update(fixture.note(number));
        }
        reader.join().unwrap();
        fixture.end(Vec::new());
    });
}

/// One thread drops its handle while another creates one, which may get the same slot.
#[test]
fn a_slot_is_used_again() {
    explore(|| {
        let fixture = Fixture::new(2);
        let mut first = fixture.hot.create_handle();
        let hot = fixture.hot.clone();
        let dropper = thread::spawn(move || {
            assert_prefix(first.current());
            drop(first);
            let mut second = hot.create_handle();
            assert_prefix(second.current());
            second
        });
        for number in 1..=2 {
            fixture.hot.queue_update(fixture.note(number));
        }
        let second = dropper.join().unwrap();
        fixture.end(vec![second]);
    });
}

/// The last slot of a leaf is released and claimed again: scans see its new owner.
/// Fault: branch_bit_kept_clear.
#[test]
fn a_leaf_is_used_again() {
    explore(|| {
        let fixture = Fixture::new(2);
        // The first leaf has room for one under loom, each further one for two.
        let idle = fixture.hot.create_handle();
        let first = fixture.hot.create_handle();
        let hot = fixture.hot.clone();
        let reader = thread::spawn(move || {
            drop(first);
            let mut second = hot.create_handle();
            let seen = assert_prefix(second.current());
            assert_eq!(second.get().map(|held| held.len()), Some(seen));
            second
        });
        for number in 1..=2 {
            fixture.hot.queue_update(fixture.note(number));
        }
        let second = reader.join().unwrap();
        fixture.end(vec![idle, second]);
    });
}

/// One of two readers in a leaf leaves: scans see the other.
/// Fault: branch_bit_cleared_early.
#[test]
fn a_neighbour_in_the_leaf_leaves() {
    explore(|| {
        let fixture = Fixture::new(2);
        let idle = fixture.hot.create_handle();
        let (mut stays, mut leaves) = (fixture.hot.create_handle(), fixture.hot.create_handle());
        stays.current();
        let reader = thread::spawn(move || {
            assert_prefix(leaves.current());
            drop(leaves);
        });
        for number in 1..=2 {
            fixture.hot.queue_update(fixture.note(number));
        }
        assert_eq!(stays.get().map(|held| held.len()), Some(0));
        reader.join().unwrap();
        fixture.end(vec![idle, stays]);
    });
}

/// `read` on two threads, nested on one of them.
#[test]
fn read_and_read_inside_read() {
    explore(|| {
        let fixture = Fixture::new(2);
        let hot = fixture.hot.clone();
        let reader = thread::spawn(move || {
            let outer = hot.read(|outer| {
                let first = assert_prefix(outer);
                let inner = hot.read(assert_prefix);
                assert_eq!(first, inner, "the inner read sees the outer copy");
                assert_eq!(outer.len(), first);
                first
            });
            let later = hot.read(assert_prefix);
            assert!(later >= outer, "went backwards");
        });
        for number in 1..=2 {
            fixture.hot.queue_update(fixture.note(number));
        }
        reader.join().unwrap();
        fixture.end(Vec::new());
    });
}

/// A thread that has seen a generation, or a number as published, gets at least that one from
/// `current`.
/// Fault: generation_first.
#[test]
fn generation_is_never_ahead_of_current() {
    explore(|| {
        let fixture = Fixture::new(2);
        let hot = fixture.hot.clone();
        let mut handle = fixture.hot.create_handle();
        handle.current();
        let reader = thread::spawn(move || {
            let generation = hot.generation();
            let seq = hot.published_seq();
            let seen = handle.current().len() as u64;
            assert!(seen >= generation, "generation() was ahead of current()");
            assert!(seen >= seq, "published_seq() was ahead of current()");
            assert!(handle.generation() >= Some(generation));
            (hot, handle)
        });
        fixture.hot.queue_update(fixture.note(1));
        let (hot, handle) = reader.join().unwrap();
        drop(hot);
        fixture.end(vec![handle]);
    });
}

/// The last `HotRead` is dropped while a reader moves forward, and the reader is the last owner.
#[test]
fn a_handle_outlives_the_state() {
    explore(|| {
        let fixture = Fixture::new(2);
        let mut handle = fixture.hot.create_handle();
        let census = fixture.census.clone();
        handle.current();
        fixture.hot.queue_update(note(&census, 1));
        // Blocked until the reader lets go, which may happen before or after the end.
        fixture.hot.queue_update(note(&census, 2));
        let reader = thread::spawn(move || {
            let first = assert_prefix(handle.current());
            let second = assert_prefix(handle.current());
            assert!(second >= first);
        });
        drop(fixture.hot);
        reader.join().unwrap();
        assert_eq!(census.alive(), 0, "something was not dropped");
    });
}
