//! Events that an observer receives: rejections, copies cloned again, and readers that block.

mod support;

use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use hotread::{Event, HotRead, WaitError, WeakHotRead};
use support::{
    Care, Probe, finishes, hold_up, panic_at, panics, planned_panic, push, seen, settle,
};

type Events = Arc<Mutex<Vec<Event>>>;

fn observed(max_copies: usize) -> (HotRead<Probe>, Arc<Care>, Events) {
    let (care, events) = (Arc::<Care>::default(), Events::default());
    let hot = HotRead::builder(Probe::new(&care))
        .max_copies(max_copies)
        .observer({
            let events = Arc::clone(&events);
            move |event| events.lock().unwrap().push(event.clone())
        })
        .build();
    (hot, care, events)
}

fn take(events: &Events) -> Vec<Event> {
    std::mem::take(&mut events.lock().unwrap())
}

#[test]
fn the_observer_is_told_of_a_rejection_and_of_the_rebuilt_copy() {
    let (hot, _care, events) = observed(2);
    hot.queue_update(push(1));
    panics(|| hot.queue_updates([push(2), panic_at(3, 1)]));
    let rejected = Event::Rejected {
        first_seq: 2,
        last_seq: 3,
    };
    assert_eq!(take(&events), [rejected, Event::Rebuilt]);
    hot.queue_update(panic_at(4, 2));
    hot.maintain();
    assert_eq!(take(&events), [Event::Rebuilt], "what is visible stays");
    settle(&hot);
    assert_eq!(take(&events), []);
}

#[test]
fn the_observer_is_told_who_blocks_after_a_second_and_again() {
    finishes(|| {
        let (hot, _care, events) = observed(2);
        let mut handle = hold_up(&hot, 1);
        let told = |hot: &HotRead<Probe>| loop {
            hot.queue_update(push(2));
            if let Some(event) = take(&events).pop() {
                break event;
            }
            thread::sleep(Duration::from_millis(5));
        };
        let mut last = Duration::ZERO;
        for _ in 0..2 {
            let Event::Blocked { by, blocked_for } = told(&hot) else {
                panic!("nothing else happens");
            };
            let names: Vec<_> = by.iter().map(|worker| worker.name.as_deref()).collect();
            assert_eq!(names, [Some("in the way")]);
            assert!(by[0].blocking && by[0].generation == Some(0));
            assert!(blocked_for >= Duration::from_secs(1));
            assert!(blocked_for >= last * 2, "when the time has doubled");
            last = blocked_for;
        }
        handle.quiescent();
        settle(&hot);
        assert_eq!(take(&events), []);
    });
}

#[test]
fn an_observer_may_use_the_hotread() {
    finishes(|| {
        let slot = Arc::new(Mutex::new(None::<WeakHotRead<Probe>>));
        let hot = HotRead::builder(Probe::new(&Arc::default()))
            .observer({
                let slot = Arc::clone(&slot);
                move |event| {
                    let weak = slot.lock().unwrap().clone();
                    let hot = weak.and_then(|weak| weak.upgrade()).unwrap();
                    if let Event::Rejected { last_seq, .. } = event {
                        hot.queue_update(push(1_000 + last_seq));
                        let waited = hot.wait_published(*last_seq, Duration::ZERO);
                        assert_eq!(waited, Err(WaitError::Rejected));
                    }
                }
            })
            .build();
        *slot.lock().unwrap() = Some(hot.downgrade());
        panics(|| hot.queue_update(panic_at(1, 1)));
        assert_eq!((seen(&hot), hot.panics()), (vec![1_001], 1));
        settle(&hot);
    });
}

#[test]
fn a_panic_of_the_observer_is_caught_and_counted() {
    let hot = HotRead::builder(Probe::new(&Arc::default()))
        .observer(|_| planned_panic(9))
        .build();
    assert_eq!(panics(|| hot.queue_update(panic_at(1, 1))), 1);
    assert_eq!(hot.panics(), 3, "the update's, and those of two events");
    assert!(hot.queue_update(push(2)).published);
    settle(&hot);
}

#[test]
fn each_rejection_in_a_backlog_is_told() {
    let (hot, _care, events) = observed(2);
    let handle = hold_up(&hot, 1);
    for number in 2..8 {
        hot.queue_update(if number % 2 == 0 {
            panic_at(number, 1)
        } else {
            push(number)
        });
    }
    drop(handle);
    hot.maintain();
    let rejected: Vec<_> = take(&events)
        .into_iter()
        .filter_map(|event| match event {
            Event::Rejected { first_seq, .. } => Some(first_seq),
            _ => None,
        })
        .collect();
    assert_eq!(rejected, [2, 4, 6]);
    settle(&hot);
}
