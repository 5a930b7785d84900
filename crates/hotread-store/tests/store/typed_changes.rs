//! Callbacks of typed tables: each change once, in order, when readers see it, whatever the callback
//! does.

use crate::common::{HANG, Scratch, name, put, until};
use hotread::HotReadHandle;
use hotread_store::proto::{MAX_CHANGES_BEHIND, Replace};
use hotread_store::{OnChange, Status, Store, Table};
use std::collections::{BTreeMap, HashMap};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// Long enough for an unwanted call of a callback to happen.
const A_WHILE: Duration = Duration::from_millis(150);

/// Arguments of a callback: key, old and new value.
type Told = (String, Option<i64>, Option<i64>);

fn told(key: &str, old: Option<i64>, new: Option<i64>) -> Told {
    (key.to_owned(), old, new)
}

fn listen(table: &Table<i64>) -> (OnChange, Receiver<Told>) {
    let (tell, hear) = channel();
    let guard = table.on_change(move |key, old, new| {
        let _ = tell.send((key.to_owned(), old.copied(), new.copied()));
    });
    (guard.unwrap(), hear)
}

/// Returns the next `count` changes.
fn take(hear: &Receiver<Told>, count: usize) -> Vec<Told> {
    (0..count)
        .map(|_| hear.recv_timeout(HANG).unwrap())
        .collect()
}

#[track_caller]
fn assert_silent(hear: &Receiver<Told>) {
    assert_eq!(hear.recv_timeout(A_WHILE), Err(RecvTimeoutError::Timeout));
}

fn table(store: &Store) -> Table<i64> {
    store.table("t").unwrap()
}

#[test]
fn each_change_is_told_once_with_old_and_new_value() {
    let there = Scratch::new();
    let store = there.open();
    let table = table(&store);
    table.put("before", &0).unwrap();
    let (guard, hear) = listen(&table);
    table.put("a", &1).unwrap();
    table.put("a", &2).unwrap();
    table.put("a", &2).unwrap();
    let txn = table.txn().put("b", &3).unwrap().delete("a").unwrap();
    txn.commit().unwrap();
    // A transaction of another program.
    let txn = hotread_store::proto::Txn::new().put(put("b", "4"));
    store.commit(&name("t"), txn).unwrap();
    table.delete("before").unwrap();
    assert_eq!(
        take(&hear, 6),
        [
            told("a", None, Some(1)),
            told("a", Some(1), Some(2)),
            told("b", None, Some(3)),
            told("a", Some(2), None),
            told("b", Some(3), Some(4)),
            told("before", Some(0), None),
        ]
    );
    drop(guard);
    table.put("a", &9).unwrap();
    assert_eq!(
        hear.recv_timeout(HANG),
        Err(RecvTimeoutError::Disconnected),
        "the callback is dropped with its guard"
    );
}

/// Returns readers that hold every copy of the table's state, the last of which has 3 under `a`.
fn stall(table: &Table<i64>) -> Vec<HotReadHandle<HashMap<Arc<str>, i64>>> {
    let readers = (0..4).map(|n| {
        table.put("a", &n).unwrap();
        let mut reader = table.reader();
        reader.current();
        reader
    });
    readers.collect()
}

#[test]
fn nothing_is_told_before_readers_can_see_it() {
    let there = Scratch::new();
    let table = table(&there.open());
    let mut readers = stall(&table);
    let (_guard, hear) = listen(&table);
    table.put("a", &9).unwrap();
    assert_eq!(readers[3].current()["a"], 3);
    assert_silent(&hear);
    drop(readers);
    assert_eq!(take(&hear, 1), [told("a", Some(3), Some(9))]);
}

#[test]
fn a_change_that_is_not_visible_yet_is_told() {
    let there = Scratch::new();
    let table = table(&there.open());
    let mut readers = stall(&table);
    table.put("a", &9).unwrap();
    let (_guard, hear) = listen(&table);
    assert_eq!(readers[3].current()["a"], 3);
    assert_silent(&hear);
    drop(readers);
    assert_eq!(take(&hear, 1), [told("a", Some(3), Some(9))]);
}

#[test]
fn a_reader_that_asks_in_a_callback_sees_the_change() {
    let there = Scratch::new();
    let table = table(&there.open());
    let (tell, hear) = channel();
    let mut reader = table.reader();
    let _guard = table.on_change(move |_, _, new| {
        let seen = reader.current()["a"];
        reader.quiescent();
        let _ = tell.send((new.copied().unwrap(), seen));
    });
    for n in 1..=500 {
        table.put("a", &n).unwrap();
    }
    for n in 1..=500 {
        let (new, seen) = hear.recv_timeout(HANG).unwrap();
        assert_eq!(new, n);
        assert!(seen >= new, "told of {new} while readers see {seen}");
    }
}

#[test]
fn no_change_is_lost_however_it_meets_the_beginning() {
    let there = Scratch::new();
    let store = there.open();
    let table = table(&store);
    std::thread::scope(|scope| {
        let writers: Vec<_> = (0..3)
            .map(|writer| {
                let table = table.clone();
                scope.spawn(move || {
                    for n in 0..400 {
                        table.put(&format!("{writer}"), &n).unwrap();
                    }
                })
            })
            .collect();
        let mut all = Vec::new();
        for _ in 0..20 {
            let mut reader = table.reader();
            let (guard, hear) = listen(&table);
            let seen: HashMap<_, _> = reader.current().clone();
            drop(reader);
            all.push((guard, hear, seen));
            std::thread::sleep(Duration::from_millis(3));
        }
        for writer in writers {
            writer.join().unwrap();
        }
        table.put("end", &0).unwrap();
        for (_guard, hear, seen) in all {
            // The reported changes lead from the state seen at the beginning, or shortly before, to the
            // end.
            let mut state: BTreeMap<String, i64> = BTreeMap::new();
            loop {
                let (key, old, new) = hear.recv_timeout(HANG).unwrap();
                if key == "end" {
                    break;
                }
                if let Some(known) = state.get(&key) {
                    assert_eq!(
                        old,
                        Some(*known),
                        "a change of {key} is missing or told twice"
                    );
                } else if let Some(old) = old {
                    assert!(old <= seen[&*key], "{key}: {old} was not told");
                }
                state.insert(key, new.unwrap());
            }
            for writer in ["0", "1", "2"] {
                let last = state.get(writer).or_else(|| seen.get(writer));
                assert_eq!(last, Some(&399));
            }
        }
    });
}

#[test]
fn a_panic_of_a_callback_stops_nothing_and_is_told() {
    let there = Scratch::new();
    let table = table(&there.open());
    let (tell, hear) = channel();
    let guard = table.on_change(move |key, _, _| {
        assert_ne!(key, "bad", "cannot take {key}");
        let _ = tell.send(key.to_owned());
    });
    let guard = guard.unwrap();
    let (_other, others) = listen(&table);
    for key in ["a", "bad", "b"] {
        table.put(key, &1).unwrap();
    }
    assert_eq!(hear.recv_timeout(HANG).unwrap(), "a");
    assert_eq!(hear.recv_timeout(HANG).unwrap(), "b");
    assert_eq!(take(&others, 3).len(), 3);
    assert_eq!(table.reader().current().len(), 3);
    let panics = guard.panics().unwrap();
    assert_eq!(panics.count, 1);
    assert!(panics.last.contains("cannot take bad"), "{}", panics.last);
    assert_eq!(table.status(), Status::CallbackPanicked(panics));
    drop(guard);
    assert_eq!(table.status(), Status::Live);
}

#[test]
fn a_slow_callback_keeps_nothing_waiting_and_gets_the_difference() {
    let there = Scratch::new();
    let table = table(&there.open());
    let (go, wait) = channel::<()>();
    let (tell, hear) = channel();
    let mut first = true;
    let _guard = table.on_change(move |key, old, new| {
        let _ = tell.send((key.to_owned(), old.copied(), new.copied()));
        if std::mem::take(&mut first) {
            let _ = wait.recv();
        }
    });
    table.put("first", &0).unwrap();
    assert_eq!(take(&hear, 1), [told("first", None, Some(0))]);
    // More changes than are kept for it: of each key, only the outcome is reported.
    let mut reader = table.reader();
    let keys: Vec<String> = (0..1_000).map(|n| format!("{n:03}")).collect();
    let rounds = MAX_CHANGES_BEHIND / keys.len() + 2;
    for round in 0..rounds {
        let value = i64::try_from(round).unwrap();
        let mut txn = table.txn();
        for key in &keys {
            txn = txn.put(key, &value).unwrap();
        }
        txn.commit().unwrap();
        assert_eq!(reader.current()["000"], value);
    }
    table.delete("first").unwrap();
    drop(go);
    let all: BTreeMap<String, i64> = (reader.current().iter())
        .map(|(key, value)| (key.to_string(), *value))
        .collect();
    let mut state: BTreeMap<String, i64> = BTreeMap::from([("first".to_owned(), 0)]);
    let mut count = 0;
    while state != all {
        let (key, old, new) = hear.recv_timeout(HANG).unwrap();
        assert_eq!(state.get(&key).copied(), old, "{key}");
        match new {
            Some(new) => drop(state.insert(key, new)),
            None => drop(state.remove(&key)),
        }
        count += 1;
    }
    assert!(count < MAX_CHANGES_BEHIND, "{count} changes were kept");
    assert_silent(&hear);
}

#[test]
fn a_callback_may_use_and_drop_its_table_and_its_guard() {
    let there = Scratch::new();
    let table = table(&there.open());
    let slot: Arc<Mutex<Option<OnChange>>> = Arc::default();
    let (mine, own) = (Mutex::new(Some(table.clone())), slot.clone());
    let (tell, hear) = channel();
    let guard = table.on_change(move |key, _, new| {
        let mut table = mine.lock().unwrap();
        if let ("a", Some(&n)) = (key, new) {
            let table = table.as_ref().unwrap();
            assert_eq!(table.get("a").unwrap(), Some(n));
            table.put("echo", &n).unwrap();
            let _more = table.on_change(|_, _, _| {}).unwrap();
            assert_eq!(table.status(), Status::Live);
        }
        let _ = tell.send(key.to_owned());
        if key == "echo" {
            drop(own.lock().unwrap().take());
            drop(table.take());
        }
    });
    *slot.lock().unwrap() = Some(guard.unwrap());
    table.put("a", &1).unwrap();
    drop(table);
    assert_eq!(hear.recv_timeout(HANG).unwrap(), "a");
    assert_eq!(hear.recv_timeout(HANG).unwrap(), "echo");
    assert_eq!(hear.recv_timeout(HANG), Err(RecvTimeoutError::Disconnected));
}

#[test]
fn what_is_read_again_is_told_as_the_difference() {
    let there = Scratch::new();
    let store = there.open();
    let table = table(&store);
    table
        .txn()
        .put("a", &1)
        .unwrap()
        .put("b", &2)
        .unwrap()
        .commit()
        .unwrap();
    let (_guard, hear) = listen(&table);
    // A refused value holds the state, and the changes that come with its fix are reported at once.
    let write = |key: &str, json: &str| {
        let txn = hotread_store::proto::Txn::new().put(put(key, json));
        store.commit(&name("t"), txn).unwrap().position
    };
    write("a", r#""text""#);
    write("c", "3");
    until("the value is refused", || {
        matches!(table.status(), Status::Rejected(_))
    });
    assert_silent(&hear);
    let fixed = write("a", "5");
    table.wait_for(fixed, HANG).unwrap();
    let mut both = take(&hear, 2);
    both.sort();
    assert_eq!(
        both,
        [told("a", Some(1), Some(5)), told("c", None, Some(3))]
    );
    // Dropped and created again: records that the new table lacks count as deleted.
    store.drop_table(&name("t")).unwrap();
    store.create_table(&name("t"), Default::default()).unwrap();
    let at = write("b", "7");
    until("the new table is followed", || table.position() == at);
    let mut told_of = BTreeMap::from([("a", Some(5)), ("b", Some(2)), ("c", Some(3))]);
    while told_of != BTreeMap::from([("a", None), ("b", Some(7)), ("c", None)]) {
        let (key, old, new) = hear.recv_timeout(HANG).unwrap();
        let known = told_of.iter_mut().find(|(known, _)| **known == key);
        let (_, value) = known.unwrap();
        assert_eq!(*value, old, "{key}");
        *value = new;
    }
    table
        .replace_with(Replace::new(Vec::new()).unguarded())
        .unwrap();
    assert_eq!(take(&hear, 1), [told("b", Some(7), None)]);
}

#[test]
fn the_guard_keeps_the_table_followed() {
    let there = Scratch::new();
    let store = there.open();
    let (guard, hear) = listen(&table(&store));
    let txn = hotread_store::proto::Txn::new().put(put("a", "1"));
    store.commit(&name("t"), txn).unwrap();
    assert_eq!(take(&hear, 1), [told("a", None, Some(1))]);
    drop(guard);
    assert_eq!(hear.recv_timeout(HANG), Err(RecvTimeoutError::Disconnected));
}

#[test]
fn a_waiting_reader_misses_no_change() {
    let there = Scratch::new();
    let table = table(&there.open());
    let mut reader = table.reader();
    assert_eq!(reader.wait_changed(HANG), Ok(true), "nothing was read yet");
    reader.current();
    assert_eq!(reader.wait_changed(Duration::from_millis(20)), Ok(false));
    // Between the read and the wait.
    table.put("a", &0).unwrap();
    assert_eq!(reader.wait_changed(Duration::ZERO), Ok(true));
    let writer = table.clone();
    let writer = std::thread::spawn(move || {
        for n in 1..=2_000 {
            writer.put("a", &n).unwrap();
            if n % 100 == 0 {
                std::thread::sleep(Duration::from_millis(1));
            }
        }
    });
    let mut last = -1;
    while last < 2_000 {
        assert_eq!(reader.wait_changed(HANG), Ok(true), "after {last}");
        let now = reader.current()["a"];
        assert!(now > last, "woken for nothing: {now} after {last}");
        last = now;
    }
    writer.join().unwrap();
}
