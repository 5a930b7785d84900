//! Number of operating system threads that maintenance uses: one for the process while states are
//! registered, none some time after, and none with a future that maintains. A file of its own, with
//! one test, so that no other test starts threads in the meantime.

#![cfg(target_os = "linux")]

mod support;

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, Waker};
use std::thread;
use std::time::{Duration, Instant};

use hotread::{HotRead, HotReadHandle, Published};
use support::{FOREVER, Probe, block_on, hold_up, probe, push, seen};

fn threads() -> usize {
    std::fs::read_dir("/proc/self/task").unwrap().count()
}

/// Returns when the number of threads has fallen to this one.
fn threads_fall_to(expected: usize) {
    let begun = Instant::now();
    while threads() > expected {
        assert!(begun.elapsed() < FOREVER, "a thread remains");
        thread::sleep(Duration::from_millis(20));
    }
}

fn is_pending(future: &mut Published) -> bool {
    let poll = Pin::new(future).poll(&mut Context::from_waker(Waker::noop()));
    poll == Poll::Pending
}

/// Returns a state with a blocked update, which is awaited, and the reader that blocks it.
fn awaited() -> (HotRead<Probe>, HotReadHandle<Probe>, Published) {
    let (hot, _care) = probe();
    let handle = hold_up(&hot, 1);
    let mut future = hot.published(hot.queue_update(push(2)).last_seq);
    assert!(is_pending(&mut future));
    (hot, handle, future)
}

fn a_thousand_awaited_states_share_one_thread() {
    let before = threads();
    let mut awaited: Vec<_> = (0..1_000).map(|_| awaited()).collect();
    assert!(threads() <= before + 1, "{} threads", threads() - before);
    for (hot, handle, future) in &mut awaited {
        handle.quiescent();
        assert_eq!(block_on(future), Ok(()));
        assert_eq!(seen(hot), [1, 2]);
    }
    assert!(threads() <= before + 1, "{} threads", threads() - before);
    // The futures are done, so none of the states needs a maintainer, although all of them exist.
    threads_fall_to(before);
    drop(awaited);
}

fn a_thousand_maintainers_share_one_thread() {
    let before = threads();
    let maintained: Vec<_> = (0..1_000)
        .map(|_| {
            let (hot, _care) = probe();
            let maintainer = hot.spawn_maintainer().unwrap();
            (hot, maintainer)
        })
        .collect();
    assert!(threads() <= before + 1, "{} threads", threads() - before);
    drop(maintained);
    threads_fall_to(before);
    // Afterwards, another one is started.
    let (hot, handle, future) = awaited();
    drop(handle);
    assert_eq!(block_on(future), Ok(()));
    drop(hot);
    threads_fall_to(before);
}

fn waiting_on_threads_starts_none() {
    let before = threads();
    let (hot, handle) = {
        let (hot, _care) = probe();
        let handle = hold_up(&hot, 1);
        (hot, handle)
    };
    let seq = hot.queue_update(push(2)).last_seq;
    assert!(hot.wait_published(seq, Duration::from_millis(1)).is_err());
    assert_eq!(threads(), before);
    drop(handle);
    assert_eq!(hot.wait_published(seq, Duration::ZERO), Ok(()));
    assert_eq!(threads(), before);
}

fn a_maintenance_future_needs_no_thread() {
    let before = threads();
    let runtime = tokio::runtime::Builder::new_current_thread().build();
    runtime.unwrap().block_on(async {
        let (hot, _care) = probe();
        let maintenance = tokio::spawn(hot.maintenance());
        tokio::task::yield_now().await;
        for number in 0..100 {
            let mut handle = hot.create_handle();
            handle.current();
            hot.queue_update(push(number));
            let seq = hot.queue_update(push(number)).last_seq;
            let reader = tokio::spawn(async move {
                tokio::task::yield_now().await;
                drop(handle);
            });
            assert_eq!(hot.published(seq).await, Ok(()));
            reader.await.unwrap();
            assert_eq!(threads(), before);
        }
        assert_eq!(seen(&hot).len(), 200);
        drop(hot);
        maintenance.await.unwrap();
        assert_eq!(threads(), before);
    });
}

/// Runs all cases in one test, so that they run one after another.
#[test]
fn maintenance_takes_one_thread_or_none() {
    waiting_on_threads_starts_none();
    a_maintenance_future_needs_no_thread();
    a_thousand_awaited_states_share_one_thread();
    a_thousand_maintainers_share_one_thread();
}
