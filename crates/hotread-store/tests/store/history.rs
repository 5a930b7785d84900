//! The history of a table: its limits, and its subscribers.

use crate::common::{Numbers, Scratch, key, name, put};
use hotread_proto::{Code, Epoch, Position, Txn};
use hotread_store::{History, ReadError, Store, Synchronous, TableOptions};
use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

const PATIENCE: Duration = Duration::from_secs(600);

fn fast(scratch: &Scratch) -> Store {
    let builder = Store::builder(scratch.path()).synchronous(Synchronous::Normal);
    builder.open().unwrap()
}

fn keeping(history: History) -> TableOptions {
    TableOptions {
        history,
        ..TableOptions::default()
    }
}

#[test]
fn history_is_kept_as_its_options_say() {
    let scratch = Scratch::new();
    let store = fast(&scratch);
    let unlimited = History {
        max_changes: u64::MAX,
        max_age_s: u64::MAX,
        max_bytes: u64::MAX,
    };
    let value = format!("\"{}\"", "x".repeat(998));
    for (table, history, least, most) in [
        (
            "none",
            History {
                max_changes: 0,
                ..unlimited
            },
            0,
            0,
        ),
        (
            "one",
            History {
                max_changes: 1,
                ..unlimited
            },
            1,
            1,
        ),
        (
            "some",
            History {
                max_changes: 20,
                ..unlimited
            },
            20,
            21,
        ),
        // A change takes some dozen bytes in addition to its value.
        (
            "bytes",
            History {
                max_bytes: 20_000,
                ..unlimited
            },
            15,
            21,
        ),
        (
            "no_bytes",
            History {
                max_bytes: 0,
                ..unlimited
            },
            0,
            0,
        ),
        (
            "small",
            History {
                max_bytes: 20_000,
                max_changes: 3,
                ..unlimited
            },
            3,
            3,
        ),
        ("all", unlimited, 100, 100),
        ("default", History::default(), 100, 100),
    ] {
        let table = name(table);
        store.create_table(&table, keeping(history)).unwrap();
        let mut floor = 1;
        for n in 1..=100 {
            store
                .commit(&table, Txn::new().put(put(&(n % 7).to_string(), &value)))
                .unwrap();
            let info = store.table_info(&table).unwrap();
            assert!(info.floor >= floor, "{table}: the floor only rises");
            floor = info.floor;
            let kept = info.position.seq + 1 - floor;
            assert!(
                kept <= most && kept >= least.min(n),
                "{table}: {kept} at {n}"
            );
            assert_eq!(info.records, n.min(7));
            let at = |seq| Position {
                seq,
                ..info.position
            };
            let changes = store.changes(&table, at(floor - 1), 1000).unwrap();
            let seqs: Vec<_> = changes.iter().map(|change| change.position.seq).collect();
            assert_eq!(seqs, (floor..=n).collect::<Vec<_>>());
            if floor > 1 {
                let error = store.changes(&table, at(floor - 2), 1).unwrap_err();
                let expected = ReadError::Gone {
                    table: table.clone(),
                    floor,
                };
                assert_eq!(error, expected);
                assert_eq!(error.code(), Code::Gone);
                let error = store.subscribe(&table, at(floor - 2)).unwrap_err();
                assert_eq!(error, expected);
            }
            assert_eq!(store.digest_at(&table, at(n)).unwrap(), Some(info.digest));
            let before = store
                .digest_at(&table, at(floor.saturating_sub(2)))
                .unwrap();
            assert!(before.is_none());
        }
    }
    assert_eq!(store.verify().unwrap().problems, [""; 0]);
    let floors = |store: &Store| -> Vec<_> {
        store
            .tables()
            .unwrap()
            .into_iter()
            .map(|t| t.floor)
            .collect()
    };
    let before = floors(&store);
    drop(store);
    assert_eq!(floors(&fast(&scratch)), before);
}

#[test]
fn history_that_is_too_old_goes_also_when_nothing_is_written() {
    let scratch = Scratch::new();
    let store = fast(&scratch);
    let (aged, kept) = (name("aged"), name("kept"));
    let history = History {
        max_age_s: 0,
        ..History::default()
    };
    store.create_table(&aged, keeping(history)).unwrap();
    store.create_table(&kept, TableOptions::default()).unwrap();
    // More than one trim removes.
    for n in 0..2_500 {
        let txn = Txn::new().put(put(&(n % 5).to_string(), "1"));
        for table in [&aged, &kept] {
            drop(store.submit(table, txn.clone()).unwrap());
        }
    }
    store
        .commit(&kept, Txn::new().put(put("last", "1")))
        .unwrap();
    let start = Instant::now();
    while store.table_info(&aged).unwrap().floor <= 2_500 {
        assert!(start.elapsed() < PATIENCE);
        std::thread::sleep(Duration::from_millis(50));
    }
    let info = store.table_info(&aged).unwrap();
    assert_eq!((info.position.seq, info.floor), (2_500, 2_501));
    assert_eq!(store.table_info(&kept).unwrap().floor, 1);
    assert_eq!(store.verify().unwrap().problems, [""; 0]);
}

#[test]
fn a_subscription_begins_where_the_history_has_it() {
    let scratch = Scratch::new();
    let store = fast(&scratch);
    let table = name("t");
    let history = History {
        max_changes: 5,
        ..History::default()
    };
    let created = store.create_table(&table, keeping(history)).unwrap();
    for n in 0..30 {
        store
            .commit(&table, Txn::new().put(put(&n.to_string(), "1")))
            .unwrap();
    }
    let info = store.table_info(&table).unwrap();
    let at = |seq| Position {
        seq,
        ..info.position
    };
    let mut following = store.subscribe(&table, at(info.floor - 1)).unwrap();
    assert_eq!(following.lag(), 31 - info.floor);
    for seq in info.floor..=30 {
        let change = following.next(Duration::ZERO).unwrap().unwrap();
        assert_eq!(change.position, at(seq));
    }
    assert!(following.next(Duration::ZERO).unwrap().is_none());
    assert_eq!((following.lag(), following.position()), (0, at(30)));

    let mut at_head = store.subscribe(&table, at(30)).unwrap();
    assert!(at_head.next(Duration::ZERO).unwrap().is_none());
    store.commit(&table, Txn::new().delete(key("1"))).unwrap();
    for following in [&mut at_head, &mut following] {
        let change = following.next(PATIENCE).unwrap().unwrap();
        assert_eq!(change.position, at(31));
        assert_eq!(change.ops.len(), 1);
    }

    let elsewhere = Position {
        epoch: Epoch(created.position.epoch.0 ^ 1),
        seq: 31,
    };
    for position in [at(32), at(u64::MAX), elsewhere] {
        let expected = ReadError::NeverThere {
            table: table.clone(),
            from: position,
            head: at(31),
        };
        assert_eq!(store.subscribe(&table, position).unwrap_err(), expected);
        assert_eq!(store.changes(&table, position, 1).unwrap_err(), expected);
        assert_eq!(expected.code(), Code::EpochChanged);
    }
    for gone in [0, 1, store.table_info(&table).unwrap().floor - 2] {
        let error = store.subscribe(&table, at(gone)).unwrap_err();
        assert_eq!(error.code(), Code::Gone, "{error}");
    }
}

#[test]
fn a_subscriber_misses_nothing_or_gets_an_error() {
    let scratch = Scratch::new();
    let store = fast(&scratch);
    let table = name("t");
    // Less than is kept in memory for subscribers, so that neither the memory nor the disk has it.
    let history = History {
        max_changes: 300,
        ..History::default()
    };
    let start = store
        .create_table(&table, keeping(history))
        .unwrap()
        .position;
    const LAST: u64 = 6_000;
    let stalled = store.subscribe(&table, start).unwrap();
    let outcomes: Vec<_> = std::thread::scope(|scope| {
        let followers: Vec<_> = (0..6)
            .map(|slowness| {
                let store = store.clone();
                let table = &table;
                // A thread that starts late would find the start trimmed.
                let mut following = store.subscribe(table, start).unwrap();
                scope.spawn(move || {
                    let mut numbers = Numbers(slowness);
                    let (mut at, mut gone) = (0, 0);
                    while at < LAST {
                        match following.next(PATIENCE) {
                            Ok(change) => {
                                let change = change.expect("it comes some time");
                                assert_eq!(change.position.seq, at + 1, "a gap or a repetition");
                                assert_eq!(change.ops[0].key(), (at % 50).to_string());
                                at += 1;
                            }
                            Err(ReadError::Gone { floor, .. }) => {
                                assert!(floor > at + 1);
                                gone += 1;
                                // Recovers as a program would: takes the table, and continues from
                                // there.
                                let snapshot = store.snapshot(table).unwrap();
                                assert!(snapshot.position().seq > at);
                                at = snapshot.position().seq;
                                match store.subscribe(table, snapshot.position()) {
                                    Ok(next) => following = next,
                                    Err(ReadError::Gone { .. }) => {}
                                    Err(other) => panic!("{other}"),
                                }
                            }
                            Err(other) => panic!("{other}"),
                        }
                        if slowness > 0 && numbers.below(200) < slowness {
                            std::thread::sleep(Duration::from_millis(2 * slowness));
                        }
                    }
                    gone
                })
            })
            .collect();
        scope.spawn(|| {
            for n in 0..LAST {
                let txn = Txn::new().put(put(&(n % 50).to_string(), &n.to_string()));
                store.submit(&table, txn).unwrap();
            }
        });
        followers.into_iter().map(|f| f.join().unwrap()).collect()
    });
    println!("fell behind the history: {outcomes:?}");
    let mut stalled = stalled;
    let mut seen = 0;
    let error = loop {
        match stalled.next(Duration::ZERO) {
            Ok(change) => {
                let change = change.unwrap();
                seen += 1;
                assert_eq!(change.position.seq, seen);
            }
            Err(error) => break error,
        }
    };
    assert_eq!(error.code(), Code::Gone, "{error}");
    // The error persists.
    assert_eq!(stalled.next(PATIENCE).unwrap_err().code(), Code::Gone);
    assert_eq!(store.verify().unwrap().problems, [""; 0]);
}

#[test]
fn the_history_of_one_table_is_not_that_of_another() {
    let scratch = Scratch::new();
    let store = fast(&scratch);
    let tables = ["a", "b"].map(name);
    for table in &tables {
        store.create_table(table, TableOptions::default()).unwrap();
    }
    let starts = tables
        .clone()
        .map(|table| store.table_info(&table).unwrap().position);
    let mut following = [0, 1].map(|n| store.subscribe(&tables[n], starts[n]).unwrap());
    for n in 0..50 {
        store
            .commit(&tables[n % 2], Txn::new().put(put(&n.to_string(), "1")))
            .unwrap();
    }
    for (n, following) in following.iter_mut().enumerate() {
        let mut keys = BTreeSet::new();
        while let Some(change) = following.next(Duration::ZERO).unwrap() {
            keys.insert(change.ops[0].key().parse::<usize>().unwrap());
        }
        assert_eq!(keys, (0..50).filter(|m| m % 2 == n).collect());
    }
    let error = store.subscribe(&tables[0], starts[1]).unwrap_err();
    assert_eq!(error.code(), Code::EpochChanged);
}

/// A table can be loaded at any moment of a commit: the loaded state may be ahead of the changes that
/// follow.
#[test]
fn tables_are_loaded_and_followed_in_the_midst_of_commits() {
    let scratch = Scratch::new();
    let done = AtomicBool::new(false);
    let store = fast(&scratch);
    let tables: Vec<_> = (0..200).map(|n| name(&format!("t{n}"))).collect();
    for table in &tables {
        store.create_table(table, TableOptions::default()).unwrap();
    }
    std::thread::scope(|scope| {
        scope.spawn(|| {
            struct Stop<'a>(&'a AtomicBool);
            impl Drop for Stop<'_> {
                fn drop(&mut self) {
                    self.0.store(true, Ordering::Relaxed);
                }
            }
            let _stop = Stop(&done);
            for table in &tables {
                let mut reader = store.handle(table).unwrap();
                let from = reader.current().position();
                let mut following = store.subscribe(table, from).unwrap();
                let change = following.next(PATIENCE).unwrap().unwrap();
                assert_eq!(change.position.seq, from.seq + 1);
                let seen = reader.current();
                assert!(seen.position().seq >= from.seq);
                assert!(seen.verify(&hotread_proto::Hasher::PLAIN));
            }
        });
        let mut n = 0;
        while !done.load(Ordering::Relaxed) {
            n += 1;
            let tickets: Vec<_> = tables
                .iter()
                .map(|table| {
                    let txn = Txn::new().put(put("a", &n.to_string())).put(put("b", "1"));
                    store.submit(table, txn).unwrap()
                })
                .collect();
            for ticket in tickets {
                ticket.wait().unwrap();
            }
        }
    });
}

#[test]
fn subscribers_are_told_why_nothing_comes_any_more() {
    let scratch = Scratch::new();
    let store = scratch.open();
    let table = name("t");
    let start = store.create_table(&table, TableOptions::default()).unwrap();
    let mut following = store.subscribe(&table, start.position).unwrap();
    store.commit(&table, Txn::new().put(put("a", "1"))).unwrap();
    let reader = Store::builder(scratch.path())
        .read_only(true)
        .open()
        .unwrap();
    let refused = reader.subscribe(&table, start.position);
    assert_eq!(refused.unwrap_err(), ReadError::NotTold);
    drop((reader, store));
    assert_eq!(following.next(PATIENCE).unwrap().unwrap().position.seq, 1);
    assert_eq!(following.next(PATIENCE).unwrap_err(), ReadError::Closed);
}
