//! Typed tables: the state that readers see after a commit, values that the type refuses, and the end of
//! the table or the store.

use crate::common::{HANG, until};
use hotread_store::proto::limits::MAX_VALUE_DEPTH;
use hotread_store::proto::{
    InvalidInput, Key, Position, Put, RecordSet, Replace, TableName, Txn, Value,
};
use hotread_store::{
    CommitError, Error, Passphrase, PutOptions, Scan, Status, Store, Table, TableOptions,
    WaitForError,
};
use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Barrier};
use std::time::Duration;

#[derive(Clone, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
struct Flag {
    on: bool,
    percent: u8,
}

const ON: Flag = Flag {
    on: true,
    percent: 5,
};
const OFF: Flag = Flag {
    on: false,
    percent: 0,
};

struct Fixture {
    dir: tempfile::TempDir,
    store: Store,
}

impl Fixture {
    fn new() -> Self {
        let dir = hotread_testkit::folder();
        let store = Store::open(dir.path().join("test.db")).unwrap();
        Self { dir, store }
    }

    fn flags(&self) -> Table<Flag> {
        self.store.table("flags").unwrap()
    }

    /// Writes a value without the type, as another program may.
    fn write(&self, key: &str, json: &str) -> Position {
        let put = Put::new(
            Key::new(key).unwrap(),
            Value::parse(json.as_bytes()).unwrap(),
        );
        let txn = Txn::new().put(put);
        self.store.commit(&flags(), txn).unwrap().position
    }
}

fn flags() -> TableName {
    TableName::new("flags").unwrap()
}

#[test]
fn readers_see_a_commit_when_it_returns() {
    let there = Fixture::new();
    let flags = there.flags();
    let mut reader = flags.reader();
    assert!(reader.current().is_empty());

    let at = flags.put("a", &ON).unwrap();
    assert_eq!(reader.current()["a"], ON);
    assert_eq!(flags.position(), at);
    assert_eq!(flags.get("a").unwrap(), Some(ON));

    let committed = flags
        .txn()
        .put("b", &OFF)
        .unwrap()
        .delete("a")
        .unwrap()
        .commit()
        .unwrap();
    assert_eq!(committed.position.seq, at.seq + 1);
    assert_eq!(reader.current().len(), 1);
    assert_eq!(reader.current()["b"], OFF);

    flags.delete("b").unwrap();
    flags.delete("b").unwrap();
    assert!(reader.current().is_empty());
    assert_eq!(flags.status(), Status::Live);
    assert_eq!(flags.get("b").unwrap(), None);
}

#[test]
fn readers_see_what_others_commit() {
    let there = Fixture::new();
    let flags = there.flags();
    let mut reader = flags.reader();
    let at = there.write("a", r#"{"on":true,"percent":5}"#);
    flags.wait_for(at, HANG).unwrap();
    assert_eq!(reader.current()["a"], ON);

    // The runner advances the table without a call.
    let mut last = at;
    for n in 0..3_000 {
        last = there.write("b", &format!(r#"{{"on":false,"percent":{}}}"#, n % 100));
    }
    until("the runner moves the table on", || flags.position() == last);
    assert_eq!(reader.current()["b"].percent, 99);
}

#[test]
fn a_table_opened_again_has_what_it_had() {
    let there = Fixture::new();
    there.flags().put("a", &ON).unwrap();
    let path = there.store.path().to_owned();
    for round in 0..20 {
        let store = Store::open(&path);
        // The previous table is closed by then, whatever the runner was about to do.
        let Fixture {
            dir: _,
            store: first,
        } = &there;
        if round == 0 {
            drop(store.unwrap_err());
            first.close();
            continue;
        }
        break;
    }
    let Fixture { dir, store } = there;
    drop(store);
    for round in 1..=20_u8 {
        let store = Store::open(&path).unwrap();
        let flags = store.table::<Flag>("flags").unwrap();
        assert_eq!(
            flags.reader().current()["a"].percent,
            if round == 1 { 5 } else { round - 1 }
        );
        flags
            .put(
                "a",
                &Flag {
                    on: true,
                    percent: round,
                },
            )
            .unwrap();
    }
    drop(dir);
}

#[test]
fn handles_of_one_type_share_their_state() {
    let there = Fixture::new();
    let (one, other) = (there.flags(), there.flags());
    let raw = there.store.table_as::<RecordSet>("flags").unwrap();
    let sorted = there
        .store
        .table_as::<BTreeMap<String, Flag>>("flags")
        .unwrap();
    one.put("a", &ON).unwrap();
    // The states are the same, so there is no wait.
    assert_eq!(other.reader().current()["a"], ON);
    let at = other.position();
    raw.wait_for(at, HANG).unwrap();
    sorted.wait_for(at, HANG).unwrap();
    assert_eq!(
        raw.reader().current().get("a").unwrap().value(),
        br#"{"on":true,"percent":5}"#
    );
    assert_eq!(sorted.reader().current()["a"], ON);
    raw.put("b", &Value::parse(b"{\"on\":false,\"percent\":0}").unwrap())
        .unwrap();
    one.wait_for(raw.position(), HANG).unwrap();
    assert_eq!(one.reader().current()["b"], OFF);
}

#[test]
fn a_refused_value_keeps_the_last_good_state_until_it_is_fixed() {
    let there = Fixture::new();
    let flags = there.flags();
    let mut reader = flags.reader();
    let good = flags.put("a", &ON).unwrap();

    let bad = there.write("a", r#"{"on":"yes"}"#);
    until("the value is refused", || {
        matches!(flags.status(), Status::Rejected(_))
    });
    let Status::Rejected(refused) = flags.status() else {
        panic!("{:?}", flags.status());
    };
    assert_eq!((refused.key.as_str(), refused.seq), ("a", bad.seq));
    assert_eq!(
        flags.wait_for(bad, HANG),
        Err(WaitForError::Rejected(refused))
    );
    assert_eq!(reader.current()["a"], ON, "the last good state");
    assert!(matches!(flags.get("a"), Err(Error::Rejected { .. })));

    // Other records wait as well, and a second value is refused.
    let held = flags.put("b", &OFF).unwrap();
    there.write("c", "[]");
    flags.delete("d").unwrap();
    assert!(!reader.current().contains_key("b"));
    assert_eq!(flags.position(), good);

    // Fixing one of the two is not enough.
    flags.put("a", &OFF).unwrap();
    assert!(matches!(flags.status(), Status::Rejected(refused) if refused.key.as_str() == "c"));
    let fixed = flags.delete("c").unwrap();
    flags.wait_for(fixed, HANG).unwrap();
    assert_eq!(
        *reader.current(),
        HashMap::from([("a".into(), OFF), ("b".into(), OFF)])
    );
    assert_eq!(flags.status(), Status::Live);
    assert!(flags.wait_for(held, HANG).is_ok());
}

#[test]
fn a_table_with_a_refused_value_does_not_start() {
    let there = Fixture::new();
    there
        .store
        .create_table(&flags(), TableOptions::default())
        .unwrap();
    there.write("a", r#"{"on":1}"#);
    let error = there.store.table::<Flag>("flags").unwrap_err();
    assert!(
        matches!(&error, Error::Rejected { refused, .. } if refused.key.as_str() == "a"),
        "{error}"
    );
    assert!(error.to_string().contains("\"a\""), "{error}");
    // A table of whole records refuses no value.
    assert_eq!(
        there
            .store
            .table_as::<RecordSet>("flags")
            .unwrap()
            .reader()
            .current()
            .len(),
        1
    );
}

#[test]
fn reasons_say_nothing_of_sealed_values() {
    let dir = hotread_testkit::folder();
    let passphrase = Passphrase::new("six random words for this test".to_owned()).unwrap();
    let store = Store::builder(dir.path().join("test.db"))
        .passphrase(passphrase)
        .quick_keys()
        .open()
        .unwrap();
    let sealed = TableOptions {
        sealed: true,
        ..TableOptions::default()
    };
    store.create_table(&flags(), sealed).unwrap();
    let flags = store.table::<u8>("flags").unwrap();
    let raw = store.table_as::<RecordSet>("flags").unwrap();
    raw.put("a", &Value::string("top secret").unwrap()).unwrap();
    until("the value is refused", || {
        matches!(flags.status(), Status::Rejected(_))
    });
    let status = format!("{} {:?}", flags.status(), flags.get("a"));
    assert!(!status.contains("secret"), "{status}");
}

#[test]
fn a_table_that_is_created_again_is_followed() {
    let there = Fixture::new();
    let flags = there.flags();
    let mut reader = flags.reader();
    let old = flags.put("a", &ON).unwrap();
    there.store.drop_table(flags.name()).unwrap();
    until("it is dropped", || flags.status() == Status::Dropped);
    assert_eq!(reader.current()["a"], ON, "the last state stays");
    assert!(matches!(
        flags.put("a", &OFF),
        Err(Error::Commit(CommitError::UnknownTable { .. }))
    ));

    there
        .store
        .create_table(flags.name(), TableOptions::default())
        .unwrap();
    let new = flags.put("b", &OFF).unwrap();
    assert_ne!(new.epoch, old.epoch);
    until("the new one is followed", || flags.position() == new);
    assert_eq!(*reader.current(), HashMap::from([("b".into(), OFF)]));
    assert_eq!(
        flags.wait_for(old, HANG),
        Err(WaitForError::OtherEpoch { now: new.epoch })
    );
}

#[test]
fn a_closed_store_leaves_readers_the_last_state() {
    let there = Fixture::new();
    let flags = there.flags();
    let mut reader = flags.reader();
    flags.put("a", &ON).unwrap();
    there.store.close();
    until("it is closed", || flags.status() == Status::Closed);
    assert!(flags.put("b", &ON).is_err());
    drop((flags, there));
    assert_eq!(reader.current()["a"], ON);
}

#[test]
fn the_file_is_free_when_store_and_tables_are_dropped() {
    let dir = hotread_testkit::folder();
    let path = dir.path().join("test.db");
    for round in 0..30 {
        let store = Store::open(&path).unwrap_or_else(|error| panic!("round {round}: {error}"));
        let flags = store.table::<Flag>("flags").unwrap();
        let other = flags.clone();
        // A refused value and its fix make the runner read the table, while it holds the store.
        let raw = store.table_as::<RecordSet>("flags").unwrap();
        raw.put("a", &Value::parse(b"1").unwrap()).unwrap();
        raw.delete("a").unwrap();
        if round % 2 == 0 {
            drop(store);
            drop((raw, flags, other));
        } else {
            drop((raw, flags, other));
            drop(store);
        }
    }
}

#[test]
fn a_store_that_only_reads_has_a_fixed_state() {
    let there = Fixture::new();
    there.flags().put("a", &ON).unwrap();
    let reading = Store::builder(there.store.path())
        .read_only(true)
        .open()
        .unwrap();
    let flags = reading.table::<Flag>("flags").unwrap();
    there.flags().put("a", &OFF).unwrap();
    assert_eq!(flags.status(), Status::Fixed);
    assert_eq!(flags.reader().current()["a"], ON);
    assert_eq!(flags.get("a").unwrap(), Some(OFF), "the disk is read");
    let never = Position {
        seq: 9,
        ..flags.position()
    };
    assert_eq!(
        flags.wait_for(never, Duration::ZERO),
        Err(WaitForError::Ended(Status::Fixed))
    );
    assert!(reading.table::<Flag>("none").is_err());
}

#[test]
fn a_stalled_reader_is_named_and_nothing_is_lost() {
    let there = Fixture::new();
    let flags = there.flags();
    let mut readers: Vec<_> = (0..4)
        .map(|n| flags.named_reader(&format!("worker-{n}")))
        .collect();
    for (n, reader) in readers.iter_mut().enumerate() {
        flags
            .put(
                "a",
                &Flag {
                    on: true,
                    percent: n as u8,
                },
            )
            .unwrap();
        assert_eq!(usize::from(reader.current()["a"].percent), n);
    }
    let at = flags.put("a", &OFF).unwrap();
    assert_eq!(
        flags.wait_for(at, Duration::ZERO),
        Err(WaitForError::Blocked)
    );
    assert!(
        matches!(flags.status(), Status::Blocked { reader: Some(name) } if name.starts_with("worker-"))
    );
    drop(readers);
    flags.wait_for(at, HANG).unwrap();
    assert_eq!(flags.reader().current()["a"], OFF);
}

#[test]
fn conditions_and_options_are_those_of_the_store() {
    let there = Fixture::new();
    let flags = there.flags();
    let new = PutOptions::new().category("beta").if_absent();
    let at = flags.put_with("a", &ON, new.clone()).unwrap();
    assert!(matches!(
        flags.put_with("a", &OFF, new),
        Err(Error::Commit(CommitError::Refused(_)))
    ));
    let page = flags.scan(&Scan::default()).unwrap();
    assert_eq!(page.records[0].category(), "beta");
    flags
        .put_with("a", &OFF, PutOptions::new().if_seq(at.seq))
        .unwrap();
    let gone = PutOptions::new().expires_in(Duration::from_secs(3_600));
    flags.put_with("b", &ON, gone).unwrap();
    assert!(
        flags.scan(&Scan::default()).unwrap().records[1]
            .expires_at()
            .is_some()
    );
    assert!(
        flags
            .txn()
            .if_present("c")
            .unwrap()
            .put("c", &ON)
            .unwrap()
            .commit()
            .is_err()
    );
    assert!(flags.put("", &ON).is_err());
    assert!(
        flags
            .put_with("a", &ON, PutOptions::new().category(""))
            .is_err()
    );

    flags.replace([("x", &ON), ("y", &OFF)]).unwrap();
    assert_eq!(flags.reader().current().len(), 2);
    assert!(
        matches!(flags.replace([]), Err(Error::Commit(_))),
        "emptying needs a word"
    );
    flags
        .replace_with(Replace::new(Vec::new()).unguarded())
        .unwrap();
    assert!(flags.reader().current().is_empty());
}

#[test]
fn a_value_that_cannot_be_stored_is_an_error() {
    #[derive(Clone, serde::Serialize, serde::Deserialize)]
    struct Nested(Option<Box<Nested>>);
    let there = Fixture::new();
    let table = there.store.table::<HashMap<u8, Nested>>("flags").unwrap();
    let mut deep = Nested(None);
    for _ in 0..=MAX_VALUE_DEPTH {
        deep = Nested(Some(Box::new(deep)));
    }
    // An `Option` adds no level of JSON.
    table.put("a", &HashMap::from([(1, deep)])).unwrap();

    let numbers = there.store.table::<f64>("numbers").unwrap();
    let error = numbers.put("a", &f64::NAN).unwrap_err();
    assert!(
        matches!(&error, Error::Input(InvalidInput::Unreadable { key, .. }) if key.as_str() == "a"),
        "{error}"
    );
    assert!(
        numbers
            .replace([("a", &1.5), ("b", &f64::INFINITY)])
            .is_err()
    );
    assert!(numbers.put("\0", &1.5).is_err());
    assert_eq!(numbers.get("a").unwrap(), None);
    assert_eq!(numbers.status(), Status::Live);
}

#[test]
fn a_state_that_panics_ends_without_the_store() {
    #[derive(Clone, Default)]
    struct Fragile;
    impl hotread::HotReadState for Fragile {
        type Action = ();
        fn apply_update(&mut self, (): &()) {
            panic!("not today");
        }
    }
    impl hotread_store::proto::Replicated for Fragile {
        type Value = u8;
        fn empty() -> Self {
            Self
        }
        fn put(_: &Arc<str>, _: &hotread_store::proto::Record) -> Result<(), String> {
            Ok(())
        }
        fn delete(_: &Arc<str>) {}
    }
    let there = Fixture::new();
    let fragile = there.store.table_as::<Fragile>("flags").unwrap();
    let at = fragile.put("a", &1).unwrap();
    assert_eq!(fragile.status(), Status::Failed("not today".into()));
    assert!(matches!(
        fragile.wait_for(at, HANG),
        Err(WaitForError::Ended(_))
    ));
    assert_eq!(
        fragile.get("a").unwrap(),
        Some(1),
        "the table is not concerned"
    );
    assert_eq!(
        there.store.table::<u8>("flags").unwrap().reader().current()["a"],
        1
    );
}

#[test]
fn many_threads_open_two_tables_at_once() {
    const THREADS: usize = 16;
    let there = Fixture::new();
    let begin = Barrier::new(THREADS);
    let tables = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..THREADS)
            .map(|n| {
                let (there, begin) = (&there, &begin);
                scope.spawn(move || {
                    begin.wait();
                    let mut all = Vec::new();
                    for round in 0..20 {
                        let name = ["t", "u"][(n + round) % 2];
                        let key = format!("{n}-{round}");
                        // There are two types of each table, and each is at some time the last of its
                        // own.
                        if n % 3 == 0 {
                            let table = there.store.table_as::<BTreeMap<String, u64>>(name);
                            let table = table.unwrap();
                            let at = table.put(&key, &1).unwrap();
                            assert_eq!(table.reader().current()[&key], 1);
                            assert!(table.position().seq >= at.seq);
                        } else {
                            let table = there.store.table::<u64>(name).unwrap();
                            table.put(&key, &1).unwrap();
                            assert_eq!(table.reader().current()[&*key], 1);
                            all.push(table);
                        }
                    }
                    all
                })
            })
            .collect();
        let tables = threads.into_iter().flat_map(|t| t.join().unwrap());
        tables.collect::<Vec<_>>()
    });
    let of = |name: &'static str| {
        tables
            .iter()
            .filter(move |table| table.name().as_str() == name)
    };
    for name in ["t", "u"] {
        let last = of(name).next().unwrap().info().unwrap();
        assert_eq!(
            last.position.seq,
            THREADS as u64 * 10,
            "each commit is there once"
        );
        for table in of(name) {
            table.wait_for(last.position, HANG).unwrap();
            assert_eq!(table.reader().current().len() as u64, last.records);
            assert_eq!(table.status(), Status::Live);
        }
    }
}
