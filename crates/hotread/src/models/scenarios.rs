//! Larger scenarios, for shuttle: more threads and steps than loom can exhaust.

use std::future::Future;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::task::{Context, Waker};
use std::time::Duration;

use super::{Fixture, Seen, bomb, explore, explore_fairly, note, thread};
use crate::HotReadHandle;

/// Range of numbers of one writer: an update is its writer's number times this, plus its step.
const STEPS: u64 = 100;

/// Checks that each writer's updates appear in its order, whichever thread applied them, and that
/// pairs are never split.
fn assert_orderly(seen: &Seen, before: usize) -> usize {
    let updates = seen.updates();
    assert!(updates.len() >= before, "went backwards");
    let mut last = [0; 10];
    for number in &updates {
        let (writer, step) = ((number / STEPS) as usize, number % STEPS);
        assert!(step > last[writer], "out of order: {updates:?}");
        last[writer] = step;
    }
    for (writer, step) in last.iter().enumerate().skip(5) {
        assert!(
            step % 2 == 0,
            "writer {writer}'s batch is split: {updates:?}"
        );
    }
    updates.len()
}

/// Readers with handles and with `read` come, hold, move on and let go, while writers queue single
/// updates and batches, with two to four copies.
#[test]
fn readers_come_and_go_beside_writers() {
    for copies in 2..=4 {
        explore(move || {
            let fixture = Fixture::new(copies);
            let mut threads = Vec::new();
            for writer in [1, 2] {
                let (hot, census) = (fixture.hot.clone(), fixture.census.clone());
                threads.push(thread::spawn(move || {
                    for step in 1..=3 {
                        hot.queue_update(note(&census, writer * STEPS + step));
                    }
                }));
            }
            let (hot, census) = (fixture.hot.clone(), fixture.census.clone());
            threads.push(thread::spawn(move || {
                for step in [1, 3] {
                    hot.queue_updates([
                        note(&census, 5 * STEPS + step),
                        note(&census, 5 * STEPS + step + 1),
                    ]);
                }
            }));
            for reader in 0..3 {
                let hot = fixture.hot.clone();
                threads.push(thread::spawn(move || {
                    let mut handle: HotReadHandle<Seen> = hot.create_handle();
                    let mut seen = 0;
                    for step in 0..4 {
                        match (reader + step) % 4 {
                            0 | 1 => seen = assert_orderly(handle.current(), seen),
                            2 => {
                                handle.quiescent();
                                seen = hot.read(|state| assert_orderly(state, seen));
                            }
                            _ => handle = handle.clone(),
                        }
                    }
                }));
            }
            for thread in threads {
                thread.join().unwrap();
            }
            fixture.hot.maintain();
            assert_eq!(fixture.hot.read(|state| assert_orderly(state, 0)), 10);
            assert_eq!(fixture.settled_log(), 0);
            fixture.end(Vec::new());
        });
    }
}

/// Four writers, maintenance and panicking updates contend for the right to apply.
#[test]
fn writers_contend_and_nothing_is_stranded() {
    explore_fairly(|| {
        let fixture = Fixture::new(2);
        let mut threads = Vec::new();
        for writer in 1..=4 {
            let (hot, census) = (fixture.hot.clone(), fixture.census.clone());
            threads.push(thread::spawn(move || {
                let mut panics = 0;
                for step in 1..=3 {
                    let number = writer * STEPS + step;
                    let update = if writer == 4 && step == 2 {
                        bomb(&census, number)
                    } else {
                        note(&census, number)
                    };
                    let call = AssertUnwindSafe(|| hot.queue_update(update));
                    panics += usize::from(catch_unwind(call).is_err());
                    if step == 2 {
                        let call = AssertUnwindSafe(|| hot.maintain());
                        panics += usize::from(catch_unwind(call).is_err());
                    }
                }
                panics
            }));
        }
        let panics: usize = threads
            .into_iter()
            .map(|thread| thread.join().unwrap())
            .sum();
        assert!(
            panics <= 1,
            "the panic is resumed in the call that queued it"
        );
        assert_eq!(fixture.hot.panics(), 1, "and counted, on whichever thread");
        assert_eq!(fixture.hot.read(|state| assert_orderly(state, 0)), 11);
        assert_eq!(fixture.settled_log(), 0);
        assert_eq!(fixture.census.alive(), 2, "only the two copies are left");
        fixture.end(Vec::new());
    });
}

/// More writers than the bounds admit: callers wait in line for room and for the right, some stop
/// waiting, and maintenance waits as well. Every one of them wakes.
/// Fault: no_retry, line_left_behind.
#[test]
fn writers_at_the_bounds_wait_in_line() {
    explore_fairly(|| {
        let fixture = Fixture::new(2);
        let mut threads = Vec::new();
        for writer in [1, 2] {
            let (hot, census) = (fixture.hot.clone(), fixture.census.clone());
            threads.push(thread::spawn(move || {
                for step in 1..=3 {
                    hot.queue_update(note(&census, writer * STEPS + step));
                }
                3
            }));
        }
        for writer in [5, 6] {
            let (hot, census) = (fixture.hot.clone(), fixture.census.clone());
            threads.push(thread::spawn(move || {
                for step in [1, 3] {
                    let number = writer * STEPS + step;
                    hot.queue_updates([note(&census, number), note(&census, number + 1)]);
                }
                4
            }));
        }
        let (hot, census) = (fixture.hot.clone(), fixture.census.clone());
        threads.push(thread::spawn(move || {
            let mut accepted = 0;
            for step in 1..=2 {
                hot.maintain();
                let update = note(&census, 3 * STEPS + step);
                accepted += usize::from(hot.try_queue_updates(vec![update]).is_ok());
            }
            accepted
        }));
        let queued: usize = threads
            .into_iter()
            .map(|thread| thread.join().unwrap())
            .sum();
        assert_eq!(fixture.hot.read(|state| assert_orderly(state, 0)), queued);
        assert_eq!(fixture.settled_log(), 0);
        fixture.end(Vec::new());
    });
}

/// Readers hold the copy that a leader and its followers wait for, and let go of it at the same
/// time; the first leader leaves in the meantime.
#[test]
fn one_of_many_waiters_leads() {
    explore_fairly(|| {
        let fixture = Fixture::new(2);
        let handles: Vec<_> = (0..3)
            .map(|_| {
                let mut handle = fixture.hot.create_handle();
                handle.current();
                handle
            })
            .collect();
        fixture.hot.queue_update(fixture.note(STEPS + 1));
        fixture.hot.queue_update(fixture.note(STEPS + 2));
        let mut maintenance = Box::pin(fixture.hot.maintenance());
        let mut context = Context::from_waker(Waker::noop());
        assert!(maintenance.as_mut().poll(&mut context).is_pending());
        let waiters = [(); 3].map(|()| {
            let hot = fixture.hot.clone();
            thread::spawn(move || assert_eq!(hot.wait_published(2, Duration::MAX), Ok(())))
        });
        let readers = handles.into_iter().map(|mut handle| {
            thread::spawn(move || {
                handle.quiescent();
                handle
            })
        });
        let readers: Vec<_> = readers.collect();
        drop(maintenance);
        for waiter in waiters {
            waiter.join().unwrap();
        }
        let handles = readers.into_iter().map(|reader| reader.join().unwrap());
        let handles = handles.collect();
        fixture.end(handles);
    });
}

/// A blocked publication with a maintainer, two waiters, and readers that let go in turn.
#[test]
fn waiters_and_a_maintainer_share_the_work() {
    explore_fairly(|| {
        let fixture = Fixture::new(3);
        let maintainer = fixture.hot.spawn_maintainer().unwrap();
        let mut readers = Vec::new();
        for _ in 0..2 {
            let mut handle = fixture.hot.create_handle();
            handle.current();
            readers.push(thread::spawn(move || {
                for _ in 0..2 {
                    assert_orderly(handle.current(), 0);
                }
                handle.quiescent();
                handle
            }));
        }
        let mut waiters = Vec::new();
        for writer in [1, 2] {
            let (hot, census) = (fixture.hot.clone(), fixture.census.clone());
            waiters.push(thread::spawn(move || {
                for step in 1..=2 {
                    let result = hot.queue_update(note(&census, writer * STEPS + step));
                    assert_eq!(hot.wait_published(result.last_seq, Duration::MAX), Ok(()));
                }
            }));
        }
        for waiter in waiters {
            waiter.join().unwrap();
        }
        let handles = readers.into_iter().map(|reader| reader.join().unwrap());
        let handles = handles.collect();
        assert_eq!(fixture.hot.panics(), 0);
        drop(maintainer);
        assert_eq!(fixture.hot.read(|state| assert_orderly(state, 0)), 4);
        fixture.end(handles);
    });
}
