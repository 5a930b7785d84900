//! Pins: the history that they keep, and the limits of that.

use crate::common::{HANG, Scratch, name, put};
use hotread_proto::{Code, Epoch, Position, TableName, Txn};
use hotread_store::{
    History, MAX_PINNED_AGE, MAX_PINNED_BYTES, MAX_PINNED_CHANGES, ReadError, Store, Synchronous,
    TableOptions,
};
use rusqlite::Connection;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

fn fast(scratch: &Scratch) -> Store {
    let builder = Store::builder(scratch.path()).synchronous(Synchronous::Normal);
    builder.open().unwrap()
}

/// Returns options with limits out of reach, except the given one.
fn keeping(limit: impl FnOnce(&mut History)) -> TableOptions {
    let mut history = History {
        max_changes: u64::MAX,
        max_age_s: u64::MAX,
        max_bytes: u64::MAX,
    };
    limit(&mut history);
    TableOptions {
        history,
        ..TableOptions::default()
    }
}

fn commit(store: &Store, table: &TableName, times: u64) {
    for n in 0..times {
        let txn = Txn::new().put(put(&(n % 7).to_string(), "1"));
        store.commit(table, txn).unwrap();
    }
}

fn at(store: &Store, table: &TableName, seq: u64) -> Position {
    let head = store.head(table).unwrap().position;
    Position { seq, ..head }
}

/// Returns the sequence numbers of the history after a position.
fn after(store: &Store, from: Position, table: &TableName) -> Result<Vec<u64>, ReadError> {
    let changes = store.changes(table, from, 1_000)?;
    Ok(changes.iter().map(|change| change.position.seq).collect())
}

#[test]
fn what_is_pinned_is_kept_beyond_the_limits_and_no_longer() {
    let scratch = Scratch::new();
    let store = fast(&scratch);
    for (table, options) in [
        ("changes", keeping(|history| history.max_changes = 10)),
        ("bytes", keeping(|history| history.max_bytes = 400)),
    ] {
        let table = name(table);
        store.create_table(&table, options).unwrap();
        commit(&store, &table, 50);
        let unpinned = store.floor(&table).unwrap();
        assert!(unpinned > 30, "{unpinned}");
        let first = store.pin(&table, at(&store, &table, 50)).unwrap();
        commit(&store, &table, 50);
        let second = store.pin(&table, at(&store, &table, 100)).unwrap();
        let again = store.pin(&table, second.position()).unwrap();
        commit(&store, &table, 100);
        // Every change after the pin is kept, and no change before it.
        assert_eq!(store.floor(&table), Ok(51));
        let kept = after(&store, first.position(), &table).unwrap();
        assert_eq!(kept, (51..=200).collect::<Vec<_>>());
        assert!(!first.is_void() && !second.is_void());
        let before = at(&store, &table, 49);
        let gone = after(&store, before, &table).unwrap_err();
        assert_eq!(gone.code(), Code::Gone);
        let gone = store.pin(&table, before).unwrap_err();
        assert_eq!(
            gone,
            ReadError::Gone {
                table: table.clone(),
                floor: 51
            }
        );

        drop(first);
        commit(&store, &table, 1);
        assert_eq!(store.floor(&table), Ok(101));
        drop(second);
        commit(&store, &table, 1);
        assert_eq!(store.floor(&table), Ok(101), "it is pinned twice");
        assert_eq!(again.position().seq, 100);
        drop(again);
        commit(&store, &table, 50);
        assert!(store.floor(&table).unwrap() > 230);
    }
    assert_eq!(store.verify().unwrap().problems, [""; 0]);
}

#[test]
fn what_cannot_be_pinned_is_refused() {
    let scratch = Scratch::new();
    let store = fast(&scratch);
    let table = name("t");
    store.create_table(&table, keeping(|_| {})).unwrap();
    commit(&store, &table, 3);
    let head = at(&store, &table, 3);
    let elsewhere = Position {
        epoch: Epoch(head.epoch.0 ^ 1),
        ..head
    };
    let refused = store.pin(&table, elsewhere).unwrap_err();
    assert_eq!(refused.code(), Code::EpochChanged);
    let refused = store.pin(&name("nowhere"), head).unwrap_err();
    assert_eq!(refused.code(), Code::UnknownTable);
    let reader = Store::builder(scratch.path()).read_only(true);
    let refused = reader.open().unwrap().pin(&table, head).unwrap_err();
    assert_eq!(refused, ReadError::NotTold);
    let pin = store.pin(&table, head).unwrap();
    assert!(!pin.is_void());
    store.drop_table(&table).unwrap();
    assert!(pin.is_void());
}

/// The table keeps no history: a transaction that is committed at the moment of the pin is just being
/// trimmed.
#[test]
fn a_pin_at_the_head_keeps_all_that_is_committed_later() {
    let scratch = Scratch::new();
    let store = fast(&scratch);
    let table = name("t");
    let options = keeping(|history| history.max_changes = 0);
    store.create_table(&table, options).unwrap();
    let _following = store.subscribe(&table, at(&store, &table, 0)).unwrap();
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        /// Stops the writer, even if the test fails.
        struct Stop<'a>(&'a AtomicBool);
        impl Drop for Stop<'_> {
            fn drop(&mut self) {
                self.0.store(true, Ordering::Relaxed);
            }
        }

        for _ in 0..2 {
            scope.spawn(|| {
                while !done.load(Ordering::Relaxed) {
                    commit(&store, &table, 10);
                }
            });
        }
        let _stop = Stop(&done);
        for _ in 0..200 {
            // Retries until a pin is made while the head has not moved.
            let (head, pin) = loop {
                let head = store.head(&table).unwrap().position;
                match store.pin(&table, head) {
                    Ok(pin) if store.head(&table).unwrap().position == head => break (head, pin),
                    Ok(_) | Err(ReadError::Gone { .. }) => {}
                    Err(other) => panic!("{other}"),
                }
            };
            while store.head(&table).unwrap().position.seq < head.seq + 5 {
                assert!(!pin.is_void());
                std::thread::yield_now();
            }
            let kept = after(&store, head, &table).unwrap();
            let expected: Vec<_> = (head.seq + 1..).take(kept.len()).collect();
            assert!(kept.len() >= 5 && kept == expected, "{head}: {kept:?}");
        }
    });
}

/// Opens a database whose history was made longer, larger or older by SQL.
fn altered(scratch: &Scratch, sql: &str) -> Store {
    let db = Connection::open(scratch.path()).unwrap();
    db.execute_batch(sql).unwrap();
    drop(db);
    fast(scratch)
}

#[test]
fn a_pin_is_void_once_it_keeps_too_much() {
    let scratch = Scratch::new();
    let (long, large) = (name("long"), name("large"));
    {
        let store = fast(&scratch);
        let options = keeping(|history| history.max_changes = 10);
        store.create_table(&long, options).unwrap();
        let options = keeping(|history| history.max_bytes = 1_000);
        store.create_table(&large, options).unwrap();
        for table in [&long, &large] {
            commit(&store, table, 5);
        }
    }
    // With 19 more changes or bytes the limit is reached. The changes are copies of the last one.
    let changes = MAX_PINNED_CHANGES + 10 - 19;
    let bytes = MAX_PINNED_BYTES + 1_000 - 19;
    let store = altered(
        &scratch,
        &format!(
            "UPDATE tables SET head = {changes} WHERE name = 'long';
             WITH RECURSIVE seqs (seq) AS (VALUES (6) UNION ALL SELECT seq + 1 FROM seqs
                                           WHERE seq < {changes})
             INSERT INTO changes SELECT c.table_id << 40 | seqs.seq, c.table_id, seqs.seq, c.at, c.digest, c.records, c.bytes,
                                        c.ops, c.actor, c.note
             FROM seqs, changes c JOIN tables t ON t.id = c.table_id
             WHERE t.name = 'long' AND c.seq = 5;
             UPDATE tables SET history_bytes = {bytes} WHERE name = 'large';"
        ),
    );
    for (table, enough) in [(&long, 19), (&large, 0)] {
        let behind = store.pin(table, at(&store, table, 0)).unwrap();
        let later = store.pin(table, at(&store, table, 3)).unwrap();
        commit(&store, table, enough);
        assert!(!behind.is_void(), "{table}");
        assert_eq!(store.floor(table), Ok(1));
        // The oldest changes are trimmed as far as needed, and void the first pin; the other one still
        // holds.
        commit(&store, table, 1);
        assert!(behind.is_void() && !later.is_void(), "{table}");
        let error = after(&store, behind.position(), table).unwrap_err();
        assert_eq!(error.code(), Code::Gone);
        let error = store.pin(table, behind.position()).unwrap_err();
        assert_eq!(error.code(), Code::Gone);
        // A void pin keeps nothing.
        drop(later);
        commit(&store, table, 1);
        assert!(store.floor(table).unwrap() > 4, "{table}");
        assert!(behind.is_void());
    }
}

#[test]
fn a_pin_keeps_what_is_too_old_for_a_while() {
    let scratch = Scratch::new();
    let tables = ["free", "pinned", "older"].map(name);
    {
        let store = fast(&scratch);
        for table in &tables {
            let options = keeping(|history| history.max_age_s = 60);
            store.create_table(table, options).unwrap();
            commit(&store, table, 5);
        }
    }
    let ms = |age: Duration| age.as_millis();
    let (half, twice) = (ms(MAX_PINNED_AGE / 2), ms(MAX_PINNED_AGE * 2));
    let store = altered(
        &scratch,
        &format!(
            "UPDATE changes SET at = at - {half};
             UPDATE changes SET at = at - {twice}
             WHERE table_id = (SELECT id FROM tables WHERE name = 'older') AND seq < 4;"
        ),
    );
    let [free, pinned, older] = &tables;
    let pin = store.pin(pinned, at(&store, pinned, 2)).unwrap();
    let void = store.pin(older, at(&store, older, 1)).unwrap();
    let late = store.pin(older, at(&store, older, 3)).unwrap();
    let begun = Instant::now();
    while store.floor(free) != Ok(6) {
        assert!(begun.elapsed() < HANG, "nothing is trimmed");
        std::thread::sleep(Duration::from_millis(50));
    }
    // Served after the round of maintenance that was just observed.
    store.create_table(&name("new"), keeping(|_| {})).unwrap();
    assert_eq!((store.floor(pinned), pin.is_void()), (Ok(3), false));
    assert_eq!(after(&store, pin.position(), pinned).unwrap(), [3, 4, 5]);
    assert_eq!((store.floor(older), void.is_void()), (Ok(4), true));
    assert_eq!(after(&store, late.position(), older).unwrap(), [4, 5]);
}

/// No transaction is written, and so no commit trims.
#[test]
fn what_was_pinned_goes_also_when_nothing_is_written() {
    let scratch = Scratch::new();
    let store = fast(&scratch);
    let table = name("t");
    let options = keeping(|history| history.max_changes = 10);
    store.create_table(&table, options).unwrap();
    let pin = store.pin(&table, at(&store, &table, 0)).unwrap();
    commit(&store, &table, 100);
    assert_eq!(store.floor(&table), Ok(1));
    drop(pin);
    let begun = Instant::now();
    while store.floor(&table) != Ok(91) {
        assert!(begun.elapsed() < HANG, "nothing is trimmed");
        std::thread::sleep(Duration::from_millis(50));
    }
    assert_eq!(store.table_info(&table).unwrap().floor, 91);
}
