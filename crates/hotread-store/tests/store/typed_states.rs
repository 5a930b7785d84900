//! Typed tables whose state's own code is slow, panics or calls back, and whose readers or other threads
//! are in the way.

use hotread::HotReadState;
use hotread_store::proto::{
    InvalidInput, Key, Position, Put, Record, Replace, Replicated, TableName, Txn, Value,
};
use hotread_store::{
    Error, Passphrase, PutOptions, Status, Store, Table, TableOptions, WaitForError,
};
use std::collections::HashMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::SeqCst};
use std::sync::{Arc, Mutex, OnceLock, mpsc};
use std::time::Duration;

use crate::common::{HANG, until};

fn store() -> (tempfile::TempDir, Store) {
    let dir = hotread_testkit::folder();
    let store = Store::open(dir.path().join("test.db")).unwrap();
    (dir, store)
}

fn name(table: &str) -> TableName {
    TableName::new(table).unwrap()
}

/// Writes a value without the type, as another program may.
fn write(store: &Store, table: &str, key: &str, json: &str) -> Position {
    let value = Value::parse(json.as_bytes()).unwrap();
    let txn = Txn::new().put(Put::new(Key::new(key).unwrap(), value));
    store.commit(&name(table), txn).unwrap().position
}

/// A map of numbers with test code in it: before an update is applied, before a record is read, and when
/// a state is created for a table's content.
macro_rules! state {
    ($name:ident, apply: |$value:ident| $apply:expr, put: |$record:ident| $check:block, load: $load:block) => {
        #[derive(Clone, Default)]
        struct $name(HashMap<Arc<str>, i64>);

        impl HotReadState for $name {
            type Action = (Arc<str>, Option<i64>);

            fn apply_update(&mut self, (key, value): &Self::Action) {
                let $value = *value;
                $apply;
                match value {
                    Some(value) => drop(self.0.insert(key.clone(), *value)),
                    None => drop(self.0.remove(key)),
                }
            }
        }

        impl Replicated for $name {
            type Value = i64;

            fn empty() -> Self {
                Self::default()
            }

            fn with_capacity(_: usize) -> Self {
                $load
                Self::default()
            }

            fn put(key: &Arc<str>, $record: &Record) -> Result<Self::Action, String> {
                $check
                let value = $record.value_as().map_err(|error| error.to_string())?;
                Ok((key.clone(), Some(value)))
            }

            fn delete(key: &Arc<str>) -> Self::Action {
                (key.clone(), None)
            }
        }
    };
}

/// Returns readers that hold every copy of a table's state, each another one; and the last change they
/// saw.
fn stall<S: Replicated<Value = i64>>(
    table: &Table<i64, S>,
) -> (Vec<hotread::HotReadHandle<S>>, Position) {
    let mut last = table.position();
    let readers = (0..4).map(|n| {
        last = table.put("a", &n).unwrap();
        let mut reader = table.reader();
        reader.current();
        reader
    });
    let readers = readers.collect();
    (readers, last)
}

state!(Bomb, apply: |value| assert_ne!(value, Some(99), "cannot be applied"), put: |record| {}, load: {});

#[test]
fn an_update_that_panics_later_ends_the_state() {
    for is_last in [false, true] {
        let (_dir, store) = store();
        let table = store.table_as::<Bomb>("t").unwrap();
        let (readers, seen) = stall(&table);
        // Applied by the thread that publishes, once the readers have moved on.
        let bomb = table.put("b", &99).unwrap();
        let last = if is_last {
            bomb
        } else {
            table.put("c", &7).unwrap()
        };
        drop(readers);
        // No call asks for the outcome of an update.
        until("the state has ended", || {
            matches!(table.status(), Status::Failed(_))
        });
        let ended = |answer| matches!(answer, Err(WaitForError::Ended(Status::Failed(_))));
        assert!(ended(table.wait_for(last, HANG)), "{is_last}");
        assert!(ended(table.wait_for(bomb, HANG)), "{is_last}");
        assert!(matches!(table.status(), Status::Failed(_)), "{is_last}");
        assert!(table.position().seq >= seen.seq && table.position().seq < bomb.seq);
        // The table is not affected, and another type reads it.
        assert_eq!(table.get("b").unwrap(), Some(99));
        let numbers = store.table::<i64>("t").unwrap();
        assert_eq!(numbers.reader().current()["b"], 99);
    }
}

#[test]
fn what_readers_see_is_not_blocked() {
    let (_dir, store) = store();
    let table = store.table::<i64>("t").unwrap();
    let (readers, seen) = stall(&table);
    let next = table.put("b", &1).unwrap();
    assert_eq!(table.wait_for(seen, Duration::ZERO), Ok(()));
    assert_eq!(table.position(), seen);
    assert_eq!(
        table.wait_for(next, Duration::ZERO),
        Err(WaitForError::Blocked)
    );
    drop(readers);
    table.wait_for(next, HANG).unwrap();
}

state!(Slow, apply: |value| { let _ = value; std::thread::sleep(Duration::from_micros(1_500)) }, put: |record| {}, load: {});

#[test]
fn a_commit_is_seen_while_another_thread_applies() {
    let (_dir, store) = store();
    let table = store.table_as::<Slow>("t").unwrap();
    for n in 0..300 {
        table.put("a", &n).unwrap();
        assert_eq!(table.reader().current().0["a"], n);
        // The maintainer brings the other copy up to date at some time.
        std::thread::sleep(Duration::from_micros((n as u64 * 137) % 12_000));
    }
}

state!(NotBad, apply: |value| { let _ = value; }, put: |record| { if record.category() == "bad" { return Err("bad".to_owned()); } }, load: {});

#[test]
fn a_record_is_checked_with_its_category() {
    let (_dir, store) = store();
    let table = store.table_as::<NotBad>("t").unwrap();
    let bad = PutOptions::new().category("bad");
    assert!(matches!(
        table.put_with("a", &1, bad),
        Err(Error::Input(InvalidInput::Unreadable { .. }))
    ));
    let mut put = Put::new(Key::new("a").unwrap(), Value::serialize(&1).unwrap());
    put.category = hotread_store::proto::Category::new("bad").unwrap();
    assert!(table.replace_with(Replace::new(vec![put])).is_err());
    assert_eq!(table.status(), Status::Live);
    table
        .put_with("a", &1, PutOptions::new().category("fine"))
        .unwrap();
}

/// A value that is written as a text and read as a number.
#[derive(Clone, Debug)]
struct Odd;

impl serde::Serialize for Odd {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str("top secret")
    }
}

impl<'de> serde::Deserialize<'de> for Odd {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        u8::deserialize(deserializer).map(|_| Self)
    }
}

state!(Telltale, apply: |value| if let Some(value) = value { panic!("cannot apply {value}") }, put: |record| {}, load: {});

#[test]
fn nothing_tells_of_sealed_values() {
    let dir = hotread_testkit::folder();
    let passphrase = Passphrase::new("six random words for this test".to_owned()).unwrap();
    let path = dir.path().join("test.db");
    let store = Store::builder(path)
        .passphrase(passphrase)
        .quick_keys()
        .open()
        .unwrap();
    let sealed = TableOptions {
        sealed: true,
        ..TableOptions::default()
    };
    store.create_table(&name("t"), sealed.clone()).unwrap();
    store.create_table(&name("u"), sealed).unwrap();
    let refused = store.table::<Odd>("t").unwrap().put("a", &Odd).unwrap_err();
    assert!(
        !format!("{refused} {refused:?}").contains("secret"),
        "{refused}"
    );
    let telltale = store.table_as::<Telltale>("u").unwrap();
    telltale.put("a", &424_242).unwrap();
    let status = telltale.status();
    assert!(matches!(status, Status::Failed(_)));
    assert!(!status.to_string().contains("424242"), "{status}");
}

#[test]
fn a_new_table_has_every_commit_before_it() {
    let (_dir, store) = store();
    let first = store.table::<i64>("t").unwrap();
    let mut stalled: Vec<_> = (0..4)
        .map(|_| store.handle(first.name()).unwrap())
        .collect();
    for (n, reader) in stalled.iter_mut().enumerate() {
        write(&store, "t", "a", &n.to_string());
        reader.current();
    }
    drop(first);
    write(&store, "t", "late", "1");
    let table = store.table::<i64>("t").unwrap();
    assert_eq!(table.reader().current()["late"], 1);
}

static LOADS: AtomicU64 = AtomicU64::new(0);
state!(Counted, apply: |value| { let _ = value; }, put: |record| {}, load: { LOADS.fetch_add(1, SeqCst); });

#[test]
fn a_fix_reads_the_table_once() {
    let (_dir, store) = store();
    let table = store.table_as::<Counted>("t").unwrap();
    let mut stalled: Vec<_> = (0..4)
        .map(|_| store.handle(table.name()).unwrap())
        .collect();
    for (n, reader) in stalled.iter_mut().enumerate() {
        write(&store, "t", "a", &n.to_string());
        reader.current();
    }
    write(&store, "t", "bad", r#""text""#);
    until("the value is refused", || {
        matches!(table.status(), Status::Rejected(_))
    });
    let before = LOADS.load(SeqCst);
    table.put("bad", &3).unwrap();
    assert_eq!(table.reader().current().0["bad"], 3);
    assert_eq!(table.status(), Status::Live);
    assert_eq!(LOADS.load(SeqCst), before + 1);
}

static ARMED: AtomicBool = AtomicBool::new(false);

#[derive(Clone, Default)]
struct DropBomb;

impl Drop for DropBomb {
    fn drop(&mut self) {
        assert!(!ARMED.load(SeqCst) || std::thread::panicking(), "dropped");
    }
}

impl HotReadState for DropBomb {
    type Action = ();

    fn apply_update(&mut self, (): &()) {}
}

impl Replicated for DropBomb {
    type Value = i64;

    fn empty() -> Self {
        Self
    }

    fn put(_: &Arc<str>, _: &Record) -> Result<(), String> {
        std::thread::sleep(Duration::from_millis(20));
        Ok(())
    }

    fn delete(_: &Arc<str>) {}
}

#[test]
fn a_panic_on_the_runner_leaves_other_tables_alone() {
    let (_dir, store) = store();
    let other = store.table::<i64>("other").unwrap();
    for _ in 0..10 {
        ARMED.store(false, SeqCst);
        let table = store.table_as::<DropBomb>("t").unwrap();
        table.put("a", &1).unwrap();
        ARMED.store(true, SeqCst);
        // Either this thread or the runner drops the table last.
        let _ = catch_unwind(AssertUnwindSafe(move || drop(table)));
        std::thread::sleep(Duration::from_millis(30));
    }
    ARMED.store(false, SeqCst);
    let at = write(&store, "other", "x", "1");
    until("the runner moves other tables on", || {
        other.position() == at
    });
}

static INNER: OnceLock<Table<i64, Reenter>> = OnceLock::new();
static ANSWERS: Mutex<Vec<Result<(), WaitForError>>> = Mutex::new(Vec::new());
state!(
    Reenter,
    apply: |value| if let (Some(table), Some(1)) = (INNER.get(), value) {
        let position = table.position();
        let never = Position { seq: position.seq + 99, ..position };
        assert_eq!(table.status(), Status::Live);
        let answer = table.wait_for(never, HANG);
        ANSWERS.lock().unwrap().push(answer);
    },
    put: |record| {},
    load: {}
);

#[test]
fn the_states_code_may_ask_its_own_table() {
    let (dir, store) = store();
    let table = store.table_as::<Reenter>("t").unwrap();
    let _ = INNER.set(table.clone());
    let (told, done) = mpsc::channel();
    let own = table.clone();
    std::thread::spawn(move || told.send(own.put("a", &1)));
    let put = done.recv_timeout(HANG).expect("no call hangs");
    put.unwrap();
    // Called once for each copy, the second time perhaps on another thread.
    table.put("a", &2).unwrap();
    let answers = ANSWERS.lock().unwrap();
    assert!(!answers.is_empty());
    let within = |answer: &Result<_, _>| *answer == Err(WaitForError::WithinUpdate);
    assert!(answers.iter().all(within), "{answers:?}");
    // The table in the static holds the store, and the store its file.
    std::mem::forget(dir);
}

#[test]
fn a_table_asked_for_after_a_drop_is_a_new_one() {
    let (_dir, store) = store();
    let table = store.table::<i64>("t").unwrap();
    table.put("a", &1).unwrap();
    store.drop_table(table.name()).unwrap();
    let again = store.table::<i64>("t").unwrap();
    again.put("b", &2).unwrap();
    assert_eq!(*again.reader().current(), HashMap::from([("b".into(), 2)]));
    assert_eq!(again.status(), Status::Live);
    // The older handle shares the state.
    assert_eq!(table.position(), again.position());
}

#[test]
fn a_table_with_a_held_state_is_refused() {
    let (_dir, store) = store();
    let table = store.table::<i64>("t").unwrap();
    write(&store, "t", "bad", "[]");
    assert!(matches!(
        store.table::<i64>("t"),
        Err(Error::Rejected { .. })
    ));
    table.delete("bad").unwrap();
    assert!(store.table::<i64>("t").is_ok());
}

#[test]
fn a_store_that_only_reads_gives_the_table_of_the_moment() {
    let (_dir, store) = store();
    let table = store.table::<i64>("t").unwrap();
    table.put("a", &1).unwrap();
    let reading = Store::builder(store.path()).read_only(true).open().unwrap();
    let one = reading.table::<i64>("t").unwrap();
    table.put("a", &2).unwrap();
    let two = reading.table::<i64>("t").unwrap();
    assert_eq!(one.reader().current()["a"], 1);
    assert_eq!(two.reader().current()["a"], 2);
}

static HOLD: AtomicBool = AtomicBool::new(false);
state!(
    Plug,
    apply: |value| { let _ = value; },
    put: |record| {
        while HOLD.load(SeqCst) && std::thread::current().name() == Some("hotread-tables") {
            std::thread::sleep(Duration::from_millis(1));
        }
    },
    load: {}
);

#[test]
fn a_commit_is_seen_however_many_came_before_it() {
    let (_dir, store) = store();
    let plug = store.table_as::<Plug>("plug").unwrap();
    let table = store.table::<i64>("t").unwrap();
    // The runner is busy, so that the commit below has all the work.
    for others in [1_021, 1_022, 1_023, 2_500] {
        HOLD.store(true, SeqCst);
        let plugged = write(&store, "plug", "x", "1");
        write(&store, "t", "bad", r#""text""#);
        for n in 0..others {
            write(&store, "t", "k", &n.to_string());
        }
        table.put("bad", &others).unwrap();
        assert_eq!(table.reader().current()["bad"], others);
        HOLD.store(false, SeqCst);
        plug.wait_for(plugged, HANG).unwrap();
    }
}
