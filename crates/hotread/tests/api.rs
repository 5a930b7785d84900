//! The interface beyond handles and updates: a factory that only reads, guards, scoped reads,
//! projections, and updates by closures.

mod support;

use std::collections::{BTreeMap, HashMap};
use std::panic::{RefUnwindSafe, UnwindSafe};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use hotread::{
    Event, HotRead, HotReadGuard, HotReadHandle, Outcome, Projection, Readers, Reply, WaitError,
    WeakHotRead,
};
use support::{Probe, hold_up, panics, planned_panic, probe, push, seen, settle};

type Map = BTreeMap<u64, u64>;

// ---- types ----

#[test]
fn the_types_can_be_sent_shared_and_kept() {
    fn kept<T: Send + 'static>() {}
    fn shared<T: Send + Sync + 'static>() {}
    shared::<Readers<Map>>();
    kept::<HotReadGuard<Map>>();
    kept::<Projection<Map, u64>>();
    kept::<Projection<Vec<u8>, [u8]>>();
    shared::<Reply<String>>();
    shared::<Event>();
    kept::<hotread::Maintenance>();
}

#[test]
fn panics_may_pass_what_refers_to_a_state() {
    fn safe<T: UnwindSafe + RefUnwindSafe>() {}
    safe::<HotRead<Map>>();
    safe::<HotReadHandle<Map>>();
    safe::<Readers<Map>>();
    safe::<WeakHotRead<Map>>();
}

#[test]
fn debug_output_names_the_state_and_how_far_it_is() {
    let hot = HotRead::builder(Map::new()).name("prices").build();
    hot.insert(1, 2);
    let mut handle = hot.create_handle();
    handle.current();
    let shown = format!("{hot:?} {:?}", hot.readers());
    assert_eq!(shown.matches("prices").count(), 2, "{shown}");
    assert!(shown.contains("generation: 1"), "{shown}");
    assert!(shown.contains("latest_seq: 1"), "{shown}");
    let shown = format!("{handle:?}");
    assert!(shown.contains("Some(1)") && shown.contains("is_latest: true"));
    assert_eq!(format!("{:?}", hot.guard()), "HotReadGuard({1: 2})");
    let shown = format!("{:?}", hot.update(|map| map.len()));
    assert!(shown.contains("Some(1)"), "{shown}");
    for shown in [
        format!("{:?}", hot.downgrade()),
        format!("{:?}", hot.published(1)),
        format!("{:?}", hot.maintenance()),
        format!("{:?}", handle.changed()),
        format!("{:?}", hot.spawn_maintainer().unwrap()),
        format!("{:?}", HotRead::builder(Map::new()).max_copies(3)),
        format!("{:?}", handle.project(|map| map)),
    ] {
        assert!(!shown.is_empty());
    }
}

// ---- a factory that only reads ----

#[test]
fn readers_read_in_every_way_that_a_hotread_does() {
    let hot = HotRead::new(Map::new());
    let readers = hot.readers();
    hot.insert(1, 2);
    assert_eq!(readers.read(|map| map[&1]), 2);
    assert_eq!(readers.snapshot(), BTreeMap::from([(1, 2)]));
    assert_eq!(readers.guard()[&1], 2);
    assert_eq!(readers.create_handle().current()[&1], 2);
    assert_eq!((readers.generation(), readers.published_seq()), (1, 1));
    let _named = readers.create_named_handle("ada");
    let names: Vec<_> = hot.workers().into_iter().map(|w| w.name).collect();
    assert!(names.contains(&Some("ada".into())), "{names:?}");
}

#[test]
fn readers_read_on_after_the_last_hotread_is_gone() {
    let (hot, care) = probe();
    let readers = hot.readers().clone();
    hot.queue_update(push(1));
    drop(hot);
    let mut handle = readers.create_handle();
    assert_eq!(handle.current().seen, [1]);
    assert_eq!(readers.read(|state| state.seen.clone()), [1]);
    let read = thread::spawn(move || readers.snapshot().seen.clone());
    assert_eq!(read.join().unwrap(), [1]);
    drop(handle);
    assert_eq!(care.live(), 0);
}

// ---- guards ----

#[test]
fn a_guard_keeps_its_copy_until_it_is_dropped() {
    let (hot, _care) = probe();
    hot.queue_update(push(1));
    let guard = hot.guard();
    assert_eq!(hot.queue_update(push(2)).outcome(), Outcome::Visible);
    assert_eq!(hot.queue_update(push(3)).outcome(), Outcome::Blocked);
    assert_eq!(
        (guard.seen.as_slice(), guard.generation()),
        ([1].as_slice(), 1)
    );
    let guard = thread::spawn(move || {
        assert_eq!(guard.seen, [1]);
        guard
    });
    drop(guard.join().unwrap());
    assert!(hot.workers().is_empty(), "its slot is free");
    hot.maintain();
    assert_eq!(seen(&hot), [1, 2, 3]);
    settle(&hot);
}

#[test]
fn a_guard_outlives_the_hotread() {
    let (hot, care) = probe();
    hot.queue_update(push(1));
    let guard = hot.guard();
    drop(hot);
    assert_eq!((guard.seen.as_slice(), care.live()), ([1].as_slice(), 1));
    drop(guard);
    assert_eq!(care.live(), 0);
}

#[test]
fn with_lets_go_when_its_closure_ends_and_when_it_panics() {
    let (hot, _care) = probe();
    let mut handle = hot.create_handle();
    hot.queue_update(push(1));
    assert_eq!(handle.with(|state| state.seen.len()), 1);
    assert!(handle.get().is_none());
    assert_eq!(panics(|| handle.with(|_| planned_panic(7))), 7);
    assert!(handle.get().is_none());
    for number in 2..5 {
        assert!(hot.queue_update(push(number)).published);
        handle.with(|state| {
            assert_eq!(state.seen.len() as u64, number);
            // The handle holds the copy in the meantime.
            assert!(hot.workers().iter().any(|w| w.generation.is_some()));
        });
    }
    settle(&hot);
}

// ---- projections ----

struct Config {
    limits: Vec<u32>,
    name: String,
}

impl Clone for Config {
    fn clone(&self) -> Self {
        Self {
            limits: self.limits.clone(),
            name: self.name.clone(),
        }
    }
}

impl hotread::HotReadState for Config {
    type Action = u32;

    fn apply_update(&mut self, limit: &u32) {
        self.limits.push(*limit);
    }
}

#[test]
fn a_projection_shows_a_part_and_moves_with_the_state() {
    let hot = HotRead::new(Config {
        limits: vec![1],
        name: "first".into(),
    });
    let mut limits = hot
        .create_handle()
        .project(|config| config.limits.as_slice());
    let mut name = hot.create_handle().project(|config| config.name.as_str());
    assert_eq!(
        (limits.current(), name.current()),
        ([1].as_slice(), "first")
    );
    hot.queue_update(2);
    assert_eq!(limits.current(), [1, 2]);
    name.quiescent();
    let mut second = limits.clone();
    limits.quiescent();
    assert!(hot.queue_update(3).published);
    assert_eq!((limits.current().len(), second.current().len()), (3, 3));
    let mut whole = limits.into_handle();
    assert_eq!(whole.current().name, "first");
}

#[test]
fn a_projection_holds_the_copy_as_its_handle_does() {
    let (hot, _care) = probe();
    let mut part = hot.create_handle().project(|state| &state.seen);
    part.current();
    assert!(hot.queue_update(push(1)).published);
    assert!(hot.queue_update(push(2)).blocked_by_workers);
    part.quiescent();
    assert!(hot.maintain().published);
    drop(part);
    assert!(hot.workers().iter().all(|w| w.generation.is_none()));
}

// ---- updates by closures ----

#[test]
fn the_verdict_of_an_update_reaches_its_caller() {
    let hot = HotRead::new(HashMap::from([("apples", 3)]));
    let take = |n: i32| {
        hot.update(move |stock| match stock.get_mut("apples") {
            Some(left) if *left >= n => {
                *left -= n;
                Ok(*left)
            }
            _ => Err("too few"),
        })
    };
    let reply = take(2);
    assert_eq!((reply.get(), reply.seq()), (Some(&Ok(1)), 1));
    assert_eq!(reply.result().outcome(), Outcome::Visible);
    let refused = take(2);
    assert_eq!(refused.get(), Some(&Err("too few")));
    assert_eq!(
        refused.result().outcome(),
        Outcome::Visible,
        "it changed nothing"
    );
    assert_eq!(take(1).get(), Some(&Ok(0)));
    assert_eq!(hot.snapshot()["apples"], 0);
}

#[test]
fn a_blocked_update_has_no_verdict_until_it_is_visible() {
    let (hot, _care) = probe();
    let handle = hold_up(&hot, 1);
    let reply = hot.update(|state| {
        state.seen.push(2);
        state.seen.len()
    });
    assert_eq!(reply.result().outcome(), Outcome::Blocked);
    assert_eq!(reply.get(), None);
    let copy = reply.clone();
    drop(handle);
    assert_eq!(hot.wait_published(reply.seq(), support::FOREVER), Ok(()));
    assert_eq!((reply.get(), copy.get()), (Some(&2), Some(&2)));
    settle(&hot);
}

#[test]
fn a_closure_runs_for_each_copy_and_its_first_answer_counts() {
    let (hot, _care) = probe();
    let calls = Arc::new(Mutex::new(0));
    let reply = hot.update({
        let calls = Arc::clone(&calls);
        move |state| {
            let mut calls = calls.lock().unwrap();
            *calls += 1;
            state.seen.push(1);
            *calls
        }
    });
    hot.maintain();
    assert_eq!((*calls.lock().unwrap(), reply.get()), (2, Some(&1)));
    settle(&hot);
}

#[test]
fn closures_keep_the_order_of_other_updates() {
    let (hot, _care) = probe();
    let handle = hold_up(&hot, 1);
    for number in (2..20).step_by(2) {
        hot.queue_update(push(number));
        hot.update(move |state| state.seen.push(number + 1));
    }
    drop(handle);
    hot.maintain();
    assert!(seen(&hot).into_iter().eq(1..20));
    settle(&hot);
}

#[test]
fn a_closure_that_panics_is_rejected_and_has_no_verdict() {
    let (hot, _care) = probe();
    let handle = hold_up(&hot, 1);
    let reply = hot.update(|state| {
        state.seen.push(2);
        planned_panic(2)
    });
    let reply: Reply<()> = reply;
    drop(handle);
    hot.maintain();
    assert_eq!(reply.get(), None);
    let waited = hot.wait_published(reply.seq(), Duration::ZERO);
    assert_eq!((waited, seen(&hot)), (Err(WaitError::Rejected), vec![1]));
    assert_eq!(panics(|| hot.update(|_| planned_panic(3)).result()), 3);
    settle(&hot);
}

// ---- a handle that is a clone of another ----

#[test]
fn a_handle_without_a_name_is_made_by_cloning() {
    let (hot, _care) = probe();
    let named: HotReadHandle<Probe> = hot.create_named_handle("ada");
    let clone = named.clone();
    drop(named);
    let names: Vec<_> = hot
        .workers()
        .into_iter()
        .map(|worker| worker.name)
        .collect();
    assert_eq!(names, [None]);
    drop(clone);
}
