//! Callbacks for a state's changes: when they run, and what happens if they fall behind.

use hotread::{HotRead, MapUpdate};
use hotread_proto::{Callbacks, MAX_CHANGES_BEHIND, OnChange};
use std::collections::HashMap;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::Duration;

/// Time after which a test counts as hanging.
const HANG: Duration = Duration::from_secs(120);
/// Time in which a callback that must not be called would be called.
const A_WHILE: Duration = Duration::from_millis(150);

type Map = HashMap<Arc<str>, i64>;
type Told = (String, Option<i64>, Option<i64>);

struct Table {
    hot: HotRead<Map>,
    callbacks: Callbacks<Map>,
}

impl Table {
    fn new() -> Self {
        Self {
            hot: HotRead::new(Map::new()),
            callbacks: Callbacks::new(),
        }
    }

    /// Puts a value like a typed table does.
    fn put(&self, key: &str, value: i64) {
        let key: Arc<str> = key.into();
        let changes = [(key.clone(), MapUpdate::Insert(key, value))];
        let told = self.callbacks.keep(&changes);
        let queued = self.hot.queue_updates(changes.map(|(_, update)| update));
        self.callbacks.note(queued.last_seq, told);
    }

    fn listen(&self, mut before: impl FnMut(&str) + Send + 'static) -> (OnChange, Receiver<Told>) {
        let (tell, hear) = channel();
        let call = move |key: &str, old: Option<&i64>, new: Option<&i64>| {
            before(key);
            let _ = tell.send((key.to_owned(), old.copied(), new.copied()));
        };
        let added = self.callbacks.add(&self.hot, Arc::new(()), call);
        (added.unwrap(), hear)
    }
}

fn told(key: &str, old: Option<i64>, new: Option<i64>) -> Told {
    (key.to_owned(), old, new)
}

#[test]
fn a_change_is_told_when_readers_see_it() {
    let table = Table::new();
    let (_guard, hear) = table.listen(|_| ());
    table.put("a", 1);
    assert_eq!(hear.recv_timeout(HANG), Ok(told("a", None, Some(1))));
    let mut reader = table.hot.create_handle();
    reader.current();
    table.put("a", 2);
    table.put("a", 3);
    assert_eq!(hear.recv_timeout(HANG), Ok(told("a", Some(1), Some(2))));
    assert_eq!(hear.recv_timeout(A_WHILE), Err(RecvTimeoutError::Timeout));
    drop(reader);
    assert_eq!(hear.recv_timeout(HANG), Ok(told("a", Some(2), Some(3))));
}

#[test]
fn what_was_queued_before_a_callback_is_told_if_it_is_seen_after_it() {
    let table = Table::new();
    table.put("a", 1);
    let mut reader = table.hot.create_handle();
    reader.current();
    table.put("a", 2);
    table.put("a", 3);
    let (_guard, hear) = table.listen(|_| ());
    assert_eq!(hear.recv_timeout(A_WHILE), Err(RecvTimeoutError::Timeout));
    drop(reader);
    assert_eq!(hear.recv_timeout(HANG), Ok(told("a", Some(2), Some(3))));
}

#[test]
fn a_panic_is_counted_and_the_next_change_is_told() {
    let table = Table::new();
    let (guard, hear) = table.listen(|key| assert_ne!(key, "bad", "cannot take {key}"));
    table.put("bad", 1);
    table.put("good", 1);
    assert_eq!(hear.recv_timeout(HANG), Ok(told("good", None, Some(1))));
    let panics = table.callbacks.panics().unwrap();
    assert_eq!((panics.count, guard.panics()), (1, Some(panics)));
    drop(guard);
    assert_eq!(table.callbacks.panics(), None);
}

#[test]
fn a_callback_that_is_far_behind_gets_the_difference() {
    const KEYS: usize = 100;
    let table = Table::new();
    let (go, wait) = channel::<()>();
    let (_guard, hear) = table.listen(move |_| {
        // The first call waits; later ones do not, because the sender is gone.
        let _ = wait.recv();
    });
    table.put("first", 0);
    for n in 0..=MAX_CHANGES_BEHIND {
        table.put(&(n % KEYS).to_string(), n as i64);
    }
    // The changes before exceeded the limit, so only this key is among the noted ones.
    table.put("last", 0);
    drop(go);
    let mut state = Map::new();
    let mut count = 0;
    while state != table.hot.snapshot() {
        let (key, old, new) = hear.recv_timeout(HANG).unwrap();
        assert_eq!(state.get(&*key).copied(), old, "{key}");
        state.insert(key.into(), new.unwrap());
        count += 1;
    }
    assert!(count < MAX_CHANGES_BEHIND, "{count} changes were kept");
    assert_eq!(hear.recv_timeout(A_WHILE), Err(RecvTimeoutError::Timeout));
}
