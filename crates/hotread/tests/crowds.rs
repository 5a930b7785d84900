//! Many waiters for one publication: all are woken, whichever of them watches the readers and
//! whichever stop waiting in the meantime.

mod support;

use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, Barrier};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use hotread::{HotRead, HotReadHandle, WaitError};
use support::{FOREVER, Probe, block_on, finishes, hold_up, panic_at, probe, push, seen, settle};

/// Short enough to pass before the reader lets go.
const SHORT: Duration = Duration::from_millis(2);

type Waited = Result<(), WaitError>;

fn wait(hot: &HotRead<Probe>, seq: u64, timeout: Duration) -> JoinHandle<Waited> {
    let hot = hot.clone();
    thread::spawn(move || hot.wait_published(seq, timeout))
}

fn all(threads: Vec<JoinHandle<Waited>>, expected: Waited) {
    for thread in threads {
        assert_eq!(thread.join().unwrap(), expected);
    }
}

/// Returns a blocked update's number, and the reader that blocks it.
fn blocked() -> (HotRead<Probe>, u64, HotReadHandle<Probe>) {
    let (hot, _care) = probe();
    let handle = hold_up(&hot, 1);
    let seq = hot.queue_update(push(2)).last_seq;
    (hot, seq, handle)
}

/// Sleeps until the started threads most likely wait.
fn let_them_sleep() {
    thread::sleep(Duration::from_millis(20));
}

#[test]
fn two_hundred_threads_end_when_the_reader_lets_go() {
    finishes(|| {
        let (hot, seq, handle) = blocked();
        let threads = (0..200).map(|_| wait(&hot, seq, FOREVER)).collect();
        let_them_sleep();
        drop(handle);
        all(threads, Ok(()));
        assert_eq!(seen(&hot), [1, 2]);
        settle(&hot);
    });
}

#[test]
fn two_hundred_tasks_and_threads_end_when_it_lets_go() {
    finishes(|| {
        let (hot, seq, mut handle) = blocked();
        let mut threads: Vec<_> = (0..100).map(|_| wait(&hot, seq, FOREVER)).collect();
        threads.extend((0..100).map(|_| {
            let future = hot.published(seq);
            thread::spawn(move || block_on(future))
        }));
        let_them_sleep();
        handle.quiescent();
        all(threads, Ok(()));
    });
}

#[test]
fn those_who_time_out_leave_the_others_waiting() {
    finishes(|| {
        let (hot, seq, handle) = blocked();
        let patient = (0..10).map(|_| wait(&hot, seq, FOREVER)).collect();
        let hasty = (0..100).map(|_| wait(&hot, seq, SHORT)).collect();
        all(hasty, Err(WaitError::Timeout));
        drop(handle);
        all(patient, Ok(()));
    });
}

#[test]
fn two_hundred_threads_time_out_behind_a_reader_that_stays() {
    finishes(|| {
        let (hot, seq, handle) = blocked();
        let threads = (0..200).map(|_| wait(&hot, seq, SHORT)).collect();
        all(threads, Err(WaitError::Timeout));
        assert_eq!(seen(&hot), [1]);
        drop(handle);
        assert_eq!(hot.wait_published(seq, FOREVER), Ok(()));
    });
}

/// The first waiter watches the readers; it leaves while the second waits.
#[test]
fn a_leader_that_times_out_is_succeeded_by_a_follower() {
    finishes(|| {
        for round in 0..60 {
            let (hot, seq, handle) = blocked();
            let leader = wait(&hot, seq, SHORT);
            // In some rounds it leads by then, in others it does not.
            thread::sleep(SHORT / 20 * (round % 20));
            let follower = wait(&hot, seq, FOREVER);
            assert_eq!(leader.join().unwrap(), Err(WaitError::Timeout));
            drop(handle);
            assert_eq!(follower.join().unwrap(), Ok(()));
        }
    });
}

#[test]
fn a_line_of_leaders_times_out_one_after_another() {
    finishes(|| {
        let (hot, seq, handle) = blocked();
        let patient = wait(&hot, seq, FOREVER);
        let hasty = (1..20).map(|n| wait(&hot, seq, SHORT * n)).collect();
        all(hasty, Err(WaitError::Timeout));
        let second = wait(&hot, seq, FOREVER);
        drop(handle);
        all(vec![patient, second], Ok(()));
    });
}

#[test]
fn a_maintainer_goes_on_when_the_thread_that_led_times_out() {
    finishes(|| {
        for round in 0..30 {
            let (hot, seq, handle) = blocked();
            let leader = wait(&hot, seq, SHORT);
            thread::sleep(SHORT / 10 * (round % 10));
            let maintainer = hot.spawn_maintainer().unwrap();
            assert_eq!(leader.join().unwrap(), Err(WaitError::Timeout));
            drop(handle);
            // No caller acts: only the maintainer can publish it.
            while hot.published_seq() < seq {
                thread::yield_now();
            }
            drop(maintainer);
        }
    });
}

#[test]
fn threads_wait_alongside_a_maintainer_and_after_it() {
    finishes(|| {
        for stays in [true, false] {
            let (hot, seq, handle) = blocked();
            let maintainer = hot.spawn_maintainer().unwrap();
            let_them_sleep();
            let threads = (0..20).map(|_| wait(&hot, seq, FOREVER)).collect();
            let_them_sleep();
            let maintainer = stays.then_some(maintainer);
            drop(handle);
            all(threads, Ok(()));
            drop(maintainer);
            settle(&hot);
        }
    });
}

/// Each waits for its own of many blocked updates, the later of which are rejected or sound.
#[test]
fn each_of_many_waiters_learns_what_became_of_its_update() {
    finishes(|| {
        let (hot, _seq, handle) = blocked();
        let threads: Vec<_> = (0..100)
            .map(|number| {
                let is_bad = number % 5 == 0;
                let step = if is_bad {
                    panic_at(number, 1)
                } else {
                    push(number)
                };
                let thread = wait(&hot, hot.queue_update(step).last_seq, FOREVER);
                let expected = if is_bad {
                    Err(WaitError::Rejected)
                } else {
                    Ok(())
                };
                (thread, expected)
            })
            .collect();
        drop(handle);
        for (thread, expected) in threads {
            assert_eq!(thread.join().unwrap(), expected);
        }
    });
}

/// Of many readers of the outdated copy, the last to let go wakes the waiter that watches.
#[test]
fn the_last_of_many_readers_to_let_go_wakes_the_waiters() {
    finishes(|| {
        for round in 0..50 {
            let (hot, _care) = probe();
            let mut handles: Vec<_> = (0..64).map(|_| hot.create_handle()).collect();
            handles
                .iter_mut()
                .for_each(|handle| assert!(handle.refresh()));
            hot.queue_update(push(1));
            let seq = hot.queue_update(push(2)).last_seq;
            let waiters = (0..3).map(|_| wait(&hot, seq, FOREVER)).collect();
            if round % 2 == 0 {
                thread::sleep(Duration::from_millis(2));
            }
            let start = Arc::new(Barrier::new(4));
            let readers: Vec<_> = (0..4)
                .map(|reader| {
                    let mut handles: Vec<_> = handles.split_off(handles.len() - 16);
                    let start = Arc::clone(&start);
                    thread::spawn(move || {
                        start.wait();
                        handles.iter_mut().for_each(|handle| match reader {
                            0 => handle.quiescent(),
                            1 => assert!(handle.refresh()),
                            _ => drop(handle.current().seen.len()),
                        });
                        if reader == 3 {
                            handles.clear();
                        }
                        handles
                    })
                })
                .collect();
            let kept: Vec<_> = readers.into_iter().map(|r| r.join().unwrap()).collect();
            all(waiters, Ok(()));
            drop(kept);
        }
    });
}

/// Readers let go repeatedly, and each waiter waits repeatedly.
#[test]
fn a_crowd_waits_while_readers_come_and_go() {
    finishes(|| {
        let (hot, _care) = probe();
        let left = Arc::new(AtomicUsize::new(8));
        let readers: Vec<_> = (0..3)
            .map(|_| {
                let (mut handle, left) = (hot.create_handle(), Arc::clone(&left));
                thread::spawn(move || {
                    while left.load(SeqCst) > 0 {
                        handle.current();
                        thread::yield_now();
                        handle.quiescent();
                    }
                })
            })
            .collect();
        let waiters: Vec<_> = (0..8_u64)
            .map(|number| {
                let (hot, left) = (hot.clone(), Arc::clone(&left));
                thread::spawn(move || {
                    for round in 0..200 {
                        let seq = hot.queue_update(push(number)).last_seq;
                        let timeout = match (round + number) % 3 {
                            0 => Duration::from_micros(round),
                            _ => FOREVER,
                        };
                        match hot.wait_published(seq, timeout) {
                            Ok(()) => assert!(hot.published_seq() >= seq),
                            Err(error) => assert_eq!(error, WaitError::Timeout),
                        }
                    }
                    left.fetch_sub(1, SeqCst);
                })
            })
            .collect();
        for thread in waiters.into_iter().chain(readers) {
            thread.join().unwrap();
        }
        settle(&hot);
        assert_eq!(seen(&hot).iter().filter(|&&n| n < 8).count(), 8 * 200);
    });
}
