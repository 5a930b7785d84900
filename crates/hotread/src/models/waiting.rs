//! Completion of blocked publications, without a lost wake-up: loom fails a model in which a thread
//! sleeps forever.

use std::future::Future;
use std::pin::pin;
use std::sync::Arc as StdArc;
use std::task::{Context, Poll, Wake, Waker};
use std::time::Duration;

use super::{Fixture, Seen, assert_prefix, explore_fairly, explore_sparingly, thread};
use crate::sync::atomic::{
    AtomicUsize,
    Ordering::{AcqRel, Acquire},
};
use crate::sync::thread as park;
use crate::{HotRead, HotReadHandle, WaitError};

/// Lets go of the copy that a publication waits for, in one of the reader's ways.
fn let_go(handle: &mut HotReadHandle<Seen>, how: Release) {
    match how {
        Release::Refresh => assert!(handle.refresh()),
        Release::Quiescent => handle.quiescent(),
    }
}

#[derive(Clone, Copy)]
enum Release {
    Refresh,
    Quiescent,
}

/// Returns a fixture with update 1 published and update 2 blocked by the handle.
fn blocked() -> (Fixture, HotReadHandle<Seen>) {
    let fixture = Fixture::new(2);
    let mut handle = fixture.hot.create_handle();
    handle.current();
    assert!(fixture.hot.queue_update(fixture.note(1)).published);
    assert!(fixture.hot.queue_update(fixture.note(2)).blocked_by_workers);
    (fixture, handle)
}

/// Returns the same fixture with two handles that block update 2.
fn blocked_by_two() -> (Fixture, [HotReadHandle<Seen>; 2]) {
    let fixture = Fixture::new(2);
    let mut handles = [fixture.hot.create_handle(), fixture.hot.create_handle()];
    for handle in &mut handles {
        handle.current();
    }
    assert!(fixture.hot.queue_update(fixture.note(1)).published);
    assert!(fixture.hot.queue_update(fixture.note(2)).blocked_by_workers);
    (fixture, handles)
}

fn a_waiter_completes(how: Release) {
    explore_fairly(move || {
        let (fixture, mut handle) = blocked();
        let hot = fixture.hot.clone();
        let waiter = thread::spawn(move || {
            assert_eq!(hot.wait_published(2, Duration::MAX), Ok(()));
        });
        let_go(&mut handle, how);
        waiter.join().unwrap();
        assert_eq!(assert_prefix(handle.current()), 2);
        fixture.end(vec![handle]);
    });
}

/// Fault: no_barrier_letting_go, no_leader_barrier.
#[test]
fn a_waiter_completes_when_the_reader_goes_quiescent() {
    a_waiter_completes(Release::Quiescent);
}

#[test]
fn a_waiter_completes_when_the_reader_moves_forward() {
    a_waiter_completes(Release::Refresh);
}

/// The reader drops its handle instead.
#[test]
fn a_waiter_completes_when_the_handle_is_dropped() {
    explore_fairly(|| {
        let (fixture, handle) = blocked();
        let hot = fixture.hot.clone();
        let waiter = thread::spawn(move || {
            assert_eq!(hot.wait_published(2, Duration::MAX), Ok(()));
        });
        drop(handle);
        waiter.join().unwrap();
        fixture.end(Vec::new());
    });
}

/// A `read` holds the copy rather than a handle.
#[test]
fn a_waiter_completes_when_a_read_ends() {
    explore_fairly(|| {
        let fixture = Fixture::new(2);
        let hot = fixture.hot.clone();
        let reader = thread::spawn(move || {
            hot.read(assert_prefix);
        });
        for number in 1..=2 {
            fixture.hot.queue_update(fixture.note(number));
        }
        assert_eq!(fixture.hot.wait_published(2, Duration::MAX), Ok(()));
        reader.join().unwrap();
        fixture.end(Vec::new());
    });
}

/// Two waiters, one of them the reader itself: one completes the publication, and it wakes both.
#[test]
fn two_waiters_hear_of_one_publication() {
    explore_fairly(|| {
        let (fixture, mut handle) = blocked();
        let hot = fixture.hot.clone();
        let waiter = thread::spawn(move || {
            assert_eq!(hot.wait_published(2, Duration::MAX), Ok(()));
        });
        handle.quiescent();
        assert_eq!(fixture.hot.wait_published(2, Duration::MAX), Ok(()));
        waiter.join().unwrap();
        fixture.end(vec![handle]);
    });
}

/// The waiter finds another thread applying, and is woken by its publication.
/// Fault: straight_forgets_waiters.
#[test]
fn a_waiter_hears_of_anothers_publication() {
    explore_fairly(|| {
        let fixture = Fixture::new(2);
        let hot = fixture.hot.clone();
        let writer = thread::spawn(move || {
            let outcome = hot.wait_published(1, Duration::MAX);
            assert!(matches!(
                outcome,
                Ok(()) | Err(WaitError::NotQueued { latest: 0 })
            ));
        });
        fixture.hot.queue_update(fixture.note(1));
        writer.join().unwrap();
        fixture.end(Vec::new());
    });
}

/// No call follows once the reader has let go: the maintainer must publish.
/// Fault: no_barrier_letting_go.
#[test]
fn a_maintainer_completes() {
    explore_fairly(|| {
        let (fixture, mut handle) = blocked();
        let maintainer = fixture.hot.spawn_maintainer().unwrap();
        handle.quiescent();
        let published = fixture.hot.published(2);
        assert_eq!(block_on(published), Ok(()));
        assert_eq!(fixture.hot.panics(), 0);
        drop(maintainer);
        fixture.end(vec![handle]);
    });
}

/// Counts its applications, and wakes the thread that created it at each.
struct Bell {
    applied: StdArc<AtomicUsize>,
}

impl Bell {
    /// Queues an update that rings.
    fn queue(hot: &HotRead<Seen>) -> Self {
        let applied = StdArc::new(AtomicUsize::new(0));
        let (count, listener) = (StdArc::clone(&applied), park::current());
        hot.update(move |_| {
            count.fetch_add(1, AcqRel);
            listener.unpark();
        });
        Self { applied }
    }

    fn wait_for(&self, times: usize) {
        while self.applied.load(Acquire) < times {
            park::park();
        }
    }
}

/// The maintainer may be idle when an update leaves the second copy behind: it applies the update
/// there as well.
/// Fault: idle_maintainer_unasked, maintainer_forgets_helped.
#[test]
fn an_idle_maintainer_is_woken() {
    explore_fairly(|| {
        let fixture = Fixture::new(2);
        let maintainer = fixture.hot.spawn_maintainer().unwrap();
        Bell::queue(&fixture.hot).wait_for(2);
        drop(maintainer);
        fixture.end(Vec::new());
    });
}

/// The publication is blocked only after the maintainer is idle.
#[test]
fn a_maintainer_completes_what_is_blocked_later() {
    explore_sparingly(|| {
        let fixture = Fixture::new(2);
        let mut handle = fixture.hot.create_handle();
        handle.current();
        fixture.hot.queue_update(fixture.note(1));
        let maintainer = fixture.hot.spawn_maintainer().unwrap();
        let bell = Bell::queue(&fixture.hot);
        handle.quiescent();
        bell.wait_for(1);
        drop(maintainer);
        fixture.end(vec![handle]);
    });
}

/// A future without a maintainer starts one.
#[test]
fn a_future_starts_a_maintainer() {
    explore_fairly(|| {
        let (fixture, mut handle) = blocked();
        let mut published = Box::pin(fixture.hot.published(2));
        let mut context = Context::from_waker(Waker::noop());
        assert!(published.as_mut().poll(&mut context).is_pending());
        handle.quiescent();
        assert_eq!(block_on(published), Ok(()));
        fixture.end(vec![handle]);
    });
}

/// Every update is visible, but a reader holds a copy that lacks one: once it lets go, the
/// maintainer applies the update to that copy as well.
/// Fault: maintainer_leaves_lag.
#[test]
fn a_maintainer_empties_the_log() {
    explore_fairly(|| {
        let fixture = Fixture::new(2);
        let mut handle = fixture.hot.create_handle();
        handle.current();
        let bell = Bell::queue(&fixture.hot);
        let maintainer = fixture.hot.spawn_maintainer().unwrap();
        handle.quiescent();
        bell.wait_for(2);
        drop(maintainer);
        fixture.end(vec![handle]);
    });
}

/// A future is registered while a publication is under way.
#[test]
fn a_future_hears_of_a_publication_under_way() {
    explore_fairly(|| {
        let fixture = Fixture::new(2);
        let hot = fixture.hot.clone();
        let update = fixture.note(1);
        let writer = thread::spawn(move || {
            hot.queue_update(update);
        });
        // Wherever the writer is, the update will be visible, or its number is not assigned yet.
        let outcome = block_on(fixture.hot.published(1));
        assert!(matches!(
            outcome,
            Ok(()) | Err(WaitError::NotQueued { latest: 0 })
        ));
        writer.join().unwrap();
        fixture.end(Vec::new());
    });
}

/// The last `HotRead` is dropped while a future waits, which wakes the future.
#[test]
fn a_future_hears_of_the_end() {
    explore_fairly(|| {
        let (fixture, handle) = blocked();
        let published = fixture.hot.published(2);
        let waiter = thread::spawn(move || block_on(published));
        drop(fixture.hot);
        assert_eq!(waiter.join().unwrap(), Err(WaitError::Closed));
        drop(handle);
        assert_eq!(fixture.census.alive(), 0);
    });
}

/// A publication wakes a task that waits for a change, with no other thread at work.
/// Fault: no_straight_fence.
#[test]
fn a_task_hears_of_a_change() {
    explore_fairly(|| {
        let fixture = Fixture::new(2);
        let mut handle = fixture.hot.create_handle();
        handle.current();
        let reader = thread::spawn(move || {
            assert_eq!(block_on(handle.changed()), Ok(()));
            handle
        });
        assert!(fixture.hot.queue_update(fixture.note(1)).published);
        let mut handle = reader.join().unwrap();
        assert_eq!(assert_prefix(handle.current()), 1);
        fixture.end(vec![handle]);
    });
}

/// A waiter works for the leader as well, which found it at work. The waiter's update is visible
/// before the leader's, and the waiter hands on the remaining work.
/// Fault: rest_not_handed_on.
#[test]
fn a_waiter_that_leaves_hands_on_what_is_left() {
    explore_fairly(|| {
        let (fixture, mut handle) = blocked();
        // More than one piece of work each.
        let batch = || fixture.hot.queue_updates((0..8).map(|n| fixture.note(n)));
        let (first, last) = (batch().last_seq, batch().last_seq);
        handle.quiescent();
        let hot = fixture.hot.clone();
        let waiter = thread::spawn(move || {
            assert_eq!(hot.wait_published(first, Duration::MAX), Ok(()));
        });
        assert_eq!(fixture.hot.wait_published(last, Duration::MAX), Ok(()));
        waiter.join().unwrap();
        fixture.end(vec![handle]);
    });
}

/// A task leads and is dropped: the thread that followed leads from then on.
/// Fault: no_successor.
#[test]
fn a_follower_succeeds_a_leader_that_leaves() {
    explore_fairly(|| {
        let (fixture, mut handle) = blocked();
        let mut maintenance = Box::pin(fixture.hot.maintenance());
        let mut context = Context::from_waker(Waker::noop());
        assert!(maintenance.as_mut().poll(&mut context).is_pending());
        let hot = fixture.hot.clone();
        let follower = thread::spawn(move || {
            assert_eq!(hot.wait_published(2, Duration::MAX), Ok(()));
        });
        drop(maintenance);
        handle.quiescent();
        follower.join().unwrap();
        fixture.end(vec![handle]);
    });
}

/// Two readers hold the copy that the leader waits for. The second to let go wakes it.
/// Fault: hint_believed.
#[test]
fn the_last_reader_to_let_go_wakes_the_leader() {
    explore_fairly(|| {
        let (fixture, [mut first, mut second]) = blocked_by_two();
        let reader = thread::spawn(move || {
            first.quiescent();
            second.quiescent();
            [first, second]
        });
        assert_eq!(fixture.hot.wait_published(2, Duration::MAX), Ok(()));
        let handles = reader.join().unwrap();
        fixture.end(handles.into());
    });
}

/// Both let go at the same time: each may find the other still there, but not both.
#[test]
fn of_two_readers_that_let_go_at_once_one_wakes_the_leader() {
    explore_sparingly(|| {
        let (fixture, handles) = blocked_by_two();
        let readers = handles.map(|mut handle| {
            thread::spawn(move || {
                handle.quiescent();
                handle
            })
        });
        assert_eq!(fixture.hot.wait_published(2, Duration::MAX), Ok(()));
        let handles = readers.map(|reader| reader.join().unwrap());
        fixture.end(handles.into());
    });
}

struct Unpark(park::Thread);

impl Wake for Unpark {
    fn wake(self: StdArc<Self>) {
        self.0.unpark();
    }
}

fn block_on<T>(future: impl Future<Output = T>) -> T {
    let waker = Waker::from(StdArc::new(Unpark(park::current())));
    let mut future = pin!(future);
    loop {
        match future.as_mut().poll(&mut Context::from_waker(&waker)) {
            Poll::Ready(outcome) => return outcome,
            Poll::Pending => park::park(),
        }
    }
}
