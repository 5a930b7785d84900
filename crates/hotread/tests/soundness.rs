//! Safe code with coroutines, panics while dropping, huge batches and small stacks: no copy is
//! written while a reader refers to it, and no panic aborts.

mod support;

use std::cell::RefCell;
use std::mem;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicPtr, AtomicUsize, Ordering::SeqCst};
use std::thread;
use std::time::Duration;

use corosensei::{Coroutine, Yielder};
use hotread::{HotRead, HotReadState, MAX_BATCH, Outcome, WaitError};
use support::{
    Application, Probe, apply_everywhere, finishes, panics, planned_panic, probe, push, run, seen,
    settle,
};

// ---- coroutines that read ----

type Steps = Coroutine<(), (), ()>;

/// A coroutine that suspends itself inside a `read`, and records the state with which the read
/// began. It checks that state whenever it is resumed.
fn reading(hot: &HotRead<Probe>, suspensions: usize, began_with: &Rc<RefCell<Vec<u64>>>) -> Steps {
    let (hot, began_with) = (hot.clone(), Rc::clone(began_with));
    Coroutine::new(move |yielder: &Yielder<(), ()>, ()| {
        hot.read(|state| {
            let seen = state.seen.clone();
            began_with.borrow_mut().clone_from(&seen);
            for _ in 0..suspensions {
                yielder.suspend(());
                assert_eq!(state.seen, seen, "written while it is read");
            }
        });
    })
}

fn is_blocked(hot: &HotRead<Probe>, number: u64) -> bool {
    match hot.queue_update(push(number)).outcome() {
        Outcome::Blocked => true,
        outcome => {
            assert_eq!(outcome, Outcome::Visible);
            false
        }
    }
}

#[test]
fn reads_of_coroutines_may_end_in_the_order_they_began() {
    let (hot, _care) = probe();
    let found = Rc::default();
    let mut first = reading(&hot, 1, &found);
    first.resume(());
    assert!(!is_blocked(&hot, 1));
    // On this thread it begins inside the first read, and so sees the same copy.
    let mut second = reading(&hot, 3, &found);
    second.resume(());
    assert_eq!(*found.borrow(), [0_u64; 0]);
    first.resume(());
    assert!(first.done(), "the outer read has ended");
    assert!(is_blocked(&hot, 2), "the inner one has not");
    assert!(hot.maintain().blocked_by_workers);
    second.resume(());
    second.resume(());
    second.resume(());
    assert!(second.done());
    assert!(hot.maintain().published);
    assert_eq!(seen(&hot), [1, 2]);
    settle(&hot);
}

#[test]
fn a_coroutine_dropped_inside_a_read_lets_go() {
    let (hot, _care) = probe();
    let found = Rc::default();
    let mut outer = reading(&hot, 10, &found);
    let mut inner = reading(&hot, 10, &found);
    outer.resume(());
    inner.resume(());
    assert!(!is_blocked(&hot, 1));
    drop(outer);
    assert!(is_blocked(&hot, 2), "by the inner read");
    inner.resume(());
    drop(inner);
    assert!(!is_blocked(&hot, 3));
    assert_eq!(seen(&hot), [1, 2, 3]);
    settle(&hot);
}

#[test]
fn a_coroutine_that_is_leaked_inside_a_read_holds_its_copy() {
    let (hot, care) = probe();
    thread::spawn({
        let hot = hot.clone();
        move || {
            let mut leaked = reading(&hot, 10, &Rc::default());
            leaked.resume(());
            mem::forget(leaked);
        }
    })
    .join()
    .unwrap();
    // The thread's storage is gone, and the copy that the coroutine holds is not written.
    assert!(!is_blocked(&hot, 1));
    assert!(is_blocked(&hot, 2));
    assert!(hot.maintain().blocked_by_workers);
    assert_eq!((seen(&hot), care.live()), (vec![1], 2));
}

/// Eight coroutines read, suspend themselves, are resumed in any order and dropped half way.
#[test]
fn any_interleaving_of_reads_sees_copies_that_do_not_change() {
    let mut chance = 1_u64;
    let mut draw = |below: u64| {
        chance ^= chance << 13;
        chance ^= chance >> 7;
        chance ^= chance << 17;
        chance % below
    };
    for max_copies in [2, 3] {
        let hot = HotRead::builder(Probe::new(&Arc::default()))
            .max_copies(max_copies)
            .build();
        let found = Rc::default();
        let mut running: Vec<Steps> = Vec::new();
        for number in 0..3_000 {
            match draw(4) {
                0 if running.len() < 8 => {
                    running.push(reading(&hot, draw(4) as usize, &found));
                }
                1 => drop(hot.queue_update(push(number))),
                _ if running.is_empty() => drop(hot.maintain()),
                _ => {
                    let index = draw(running.len() as u64) as usize;
                    running[index].resume(());
                    if running[index].done() || draw(10) == 0 {
                        running.swap_remove(index);
                    }
                }
            }
        }
        running.clear();
        settle(&hot);
    }
}

// ---- coroutines that write ----

/// An update that suspends the coroutine it runs on, when it is first applied.
///
/// The yielder is passed by a pointer, because updates are `'static`. It is used only while the
/// coroutine is inside `queue_update`, so it is alive.
fn suspending(number: u64, yielder: &Yielder<(), ()>) -> support::Step {
    let yielder = AtomicPtr::new((&raw const *yielder).cast_mut());
    run(number, move |application: &Application| {
        if application.nth == 1 {
            // SAFETY: see above.
            unsafe { &*yielder.load(SeqCst) }.suspend(());
        }
    })
}

/// A coroutine that is suspended inside `apply_update`, with the right to apply.
fn writing(hot: &HotRead<Probe>) -> Steps {
    let hot = hot.clone();
    let mut coroutine = Coroutine::new(move |yielder: &Yielder<(), ()>, ()| {
        let result = hot.queue_update(suspending(1, yielder));
        assert_eq!(result.outcome(), Outcome::Visible);
    });
    coroutine.resume(());
    coroutine
}

#[test]
fn calls_while_a_coroutine_is_inside_an_update() {
    finishes(|| {
        let (hot, _care) = probe();
        let mut writer = writing(&hot);
        // This thread is inside the update, wherever it was suspended.
        let waited = hot.wait_published(1, Duration::MAX);
        assert_eq!(waited, Err(WaitError::WithinUpdate));
        assert_eq!(hot.queue_update(push(2)).outcome(), Outcome::Pending);
        assert!(hot.maintain().busy);
        assert_eq!(seen(&hot), [0_u64; 0]);
        let (other, _care) = probe();
        assert_eq!(other.queue_update(push(3)).outcome(), Outcome::Visible);
        assert_eq!(other.wait_published(1, Duration::ZERO), Ok(()));
        writer.resume(());
        assert!(writer.done());
        assert_eq!(seen(&hot), [1, 2]);
        assert_eq!(hot.wait_published(2, Duration::ZERO), Ok(()));
        settle(&hot);
    });
}

#[test]
fn coroutines_inside_updates_may_end_in_the_order_they_began() {
    finishes(|| {
        let states = [probe().0, probe().0, probe().0];
        let mut writers = [&states[0], &states[1], &states[2]].map(writing);
        for (index, writer) in writers.iter_mut().enumerate() {
            writer.resume(());
            assert!(writer.done());
            for (other, hot) in states.iter().enumerate() {
                let expected = match other <= index {
                    true => Ok(()),
                    false => Err(WaitError::WithinUpdate),
                };
                assert_eq!(hot.wait_published(1, Duration::MAX), expected);
            }
        }
        states.iter().for_each(settle);
    });
}

#[test]
fn a_coroutine_dropped_inside_an_update_rejects_it() {
    finishes(|| {
        let (hot, care) = probe();
        let writer = writing(&hot);
        hot.queue_update(push(2));
        drop(writer);
        assert_eq!((seen(&hot), hot.panics()), (vec![2], 1));
        assert_eq!(
            hot.wait_published(1, Duration::ZERO),
            Err(WaitError::Rejected)
        );
        settle(&hot);
        drop(hot);
        assert_eq!(care.live(), 0);
    });
}

#[test]
fn a_closure_may_suspend_the_coroutine_too() {
    finishes(|| {
        let (hot, _care) = probe();
        let mut writer = {
            let hot = hot.clone();
            Coroutine::new(move |yielder: &Yielder<(), ()>, ()| {
                let yielder = AtomicPtr::new((&raw const *yielder).cast_mut());
                let calls = AtomicUsize::new(0);
                let reply = hot.update(move |state| {
                    if calls.fetch_add(1, SeqCst) == 0 {
                        // SAFETY: the coroutine is inside `update`, so its yielder is alive.
                        unsafe { &*yielder.load(SeqCst) }.suspend(());
                    }
                    state.seen.push(1);
                    state.seen.len()
                });
                assert_eq!(reply.get(), Some(&1));
            })
        };
        writer.resume(());
        let waited = hot.wait_published(1, Duration::MAX);
        assert_eq!(waited, Err(WaitError::WithinUpdate));
        writer.resume(());
        assert!(writer.done());
        settle(&hot);
    });
}

// ---- panics while a panic is handled ----

/// State whose actions panic whenever they are dropped with the flag set, even while unwinding.
#[derive(Clone, Default)]
struct Touchy(Vec<u64>);

struct TouchyAction {
    number: u64,
    /// The kind of application that panics: by reference, by value, or neither.
    panics: Panics,
    drop_panics: bool,
}

#[derive(Clone, Copy, PartialEq)]
enum Panics {
    Never,
    ByReference,
    ByValue,
}

impl Clone for TouchyAction {
    fn clone(&self) -> Self {
        unreachable!("the library clones no update")
    }
}

impl Drop for TouchyAction {
    fn drop(&mut self) {
        if mem::take(&mut self.drop_panics) {
            planned_panic(self.number);
        }
    }
}

impl HotReadState for Touchy {
    type Action = TouchyAction;

    fn apply_update(&mut self, update: &TouchyAction) {
        if update.panics == Panics::ByReference {
            planned_panic(update.number);
        }
        self.0.push(update.number);
    }

    fn apply_owned(&mut self, mut update: TouchyAction) {
        if update.panics == Panics::ByValue {
            // Its own drop would be a second panic while this one unwinds, for which the state is
            // responsible. The library is responsible for the rest of the batch.
            update.drop_panics = false;
            planned_panic(update.number);
        }
        self.0.push(update.number);
    }
}

fn touchy(first: Panics) -> [TouchyAction; 4] {
    [0, 1, 2, 3].map(|number| TouchyAction {
        number,
        panics: if number == 0 { first } else { Panics::Never },
        drop_panics: number > 0,
    })
}

/// Passes only if no abort ends the whole test run, like the following tests.
#[test]
fn the_rest_of_a_batch_may_panic_when_it_is_dropped() {
    let hot = HotRead::new(Touchy::default());
    hot.queue_updates(touchy(Panics::ByValue));
    hot.maintain();
    assert_eq!(hot.queued_update_count(), 0);
    assert_eq!(hot.read(|state| state.0.clone()), [0, 1, 2, 3]);
    assert_eq!(hot.panics(), 4, "the application's, and each drop's");
    assert!(hot.queue_updates(touchy(Panics::Never)).published);
}

#[test]
fn a_rejected_batch_may_panic_when_it_is_dropped() {
    let hot = HotRead::new(Touchy::default());
    assert_eq!(
        panics(|| hot.queue_updates(touchy(Panics::ByReference))),
        0,
        "the application's"
    );
    assert_eq!(hot.panics(), 4);
    assert!(hot.read(|state| state.0.is_empty()));
}

#[test]
fn what_is_dropped_with_the_state_may_panic() {
    for superseded in [false, true] {
        let hot = HotRead::new(Touchy::default());
        let mut handle = hot.create_handle();
        handle.current();
        hot.queue_updates([TouchyAction {
            number: 9,
            panics: Panics::Never,
            drop_panics: true,
        }]);
        hot.queue_updates(touchy(Panics::Never));
        if superseded {
            hot.replace(Touchy::default());
            assert_eq!(hot.panics(), 3);
        }
        drop(hot);
        assert_eq!(handle.current().0, [9]);
    }
}

/// A payload whose drop panics, with a payload whose drop panics as well.
struct Nasty(usize);

impl Drop for Nasty {
    fn drop(&mut self) {
        if self.0 > 0 {
            std::panic::resume_unwind(Box::new(Nasty(self.0 - 1)));
        }
    }
}

fn nasty(number: u64) -> support::Step {
    run(number, |_| std::panic::resume_unwind(Box::new(Nasty(3))))
}

#[test]
fn a_payload_may_panic_when_it_is_dropped_and_so_may_that_one() {
    let (hot, _care) = probe();
    let handle = support::hold_up(&hot, 1);
    for number in 2..5 {
        hot.queue_update(nasty(number));
    }
    drop(handle);
    hot.maintain();
    assert_eq!((seen(&hot), hot.panics()), (vec![1], 3));
    let caught = catch_unwind(AssertUnwindSafe(|| hot.queue_update(nasty(5))));
    // This payload belongs to the test, so it is leaked here.
    mem::forget(caught.unwrap_err());
    settle(&hot);
}

#[test]
fn nothing_is_resumed_on_a_thread_that_unwinds() {
    struct AtExit(HotRead<Probe>);
    impl Drop for AtExit {
        fn drop(&mut self) {
            self.0.queue_update(nasty(2));
            self.0.queue_update(push(3));
            apply_everywhere(&self.0, [support::panic_at(4, 2)]);
        }
    }
    let (hot, _care) = probe();
    let number = panics(|| {
        let _at_exit = AtExit(hot.clone());
        planned_panic(1);
    });
    assert_eq!((number, seen(&hot), hot.panics()), (1, vec![3, 4], 2));
    settle(&hot);
}

// ---- sizes ----

#[derive(Clone)]
struct Ticks(u64);

impl HotReadState for Ticks {
    type Action = ();

    fn apply_update(&mut self, (): &()) {
        self.0 += 1;
    }
}

#[test]
fn a_batch_too_long_to_be_numbered_panics_before_it_is_queued() {
    let hot = HotRead::new(Ticks(0));
    for len in [1 << 62, usize::MAX, MAX_BATCH + 1] {
        let batch = || vec![(); len];
        assert!(catch_unwind(AssertUnwindSafe(|| hot.queue_updates(batch()))).is_err());
        assert!(catch_unwind(AssertUnwindSafe(|| hot.try_queue_updates(batch()))).is_err());
        assert_eq!((hot.latest_seq(), hot.generation()), (0, 0));
    }
    assert_eq!(hot.panics(), 0, "not of the updates");
    let result = hot.queue_updates([(); 3]);
    assert_eq!((result.first_seq, result.last_seq), (1, 3));
    assert_eq!(hot.read(|state| state.0), 3);
}

const BIG: usize = 512 * 1024;

#[derive(Clone)]
struct Big([u8; BIG]);

impl HotReadState for Big {
    type Action = (usize, u8);

    fn apply_update(&mut self, &(index, value): &(usize, u8)) {
        self.0[index] = value;
    }
}

/// A state of half a mebibyte fits a stack of four, also without optimization.
#[test]
fn a_large_state_fits_a_small_stack() {
    let thread = thread::Builder::new().stack_size(4 << 20).spawn(|| {
        let hot = HotRead::builder(Big([0; BIG])).max_copies(3).build();
        let mut first = hot.create_handle();
        first.current();
        assert!(hot.queue_update((0, 1)).published);
        let mut second = hot.create_handle();
        second.current();
        // Cloned, since readers hold both of the others.
        assert!(hot.queue_update((1, 2)).published);
        assert_eq!(hot.read(|state| (state.0[0], state.0[1])), (1, 2));
        drop((first, second));
        hot.maintain();
        assert!(hot.replace(Big([7; BIG])).published);
        hot.maintain();
        assert!(hot.queue_update((0, 1)).published);
        assert_eq!(hot.guard().0[BIG - 1], 7);
        // A panic causes its copy to be cloned again.
        assert!(catch_unwind(AssertUnwindSafe(|| hot.queue_update((BIG, 1)))).is_err());
        assert!(hot.queue_update((1, 1)).published);
        assert_eq!(hot.read(|state| state.0[..3].to_vec()), [1, 1, 7]);
    });
    thread.unwrap().join().unwrap();
}
