//! Limits: each is reported, and a caller can continue after each.

use crate::common::{Scratch, key, name, put};
use hotread_proto::{
    Code, Key, Op, Refusal, Replace, TableName, Timestamp, Txn, TxnTooLarge, Value,
};
use hotread_store::{
    COMMIT_BOUNDS_US, CommitError, GROUP_BOUNDS, ReadError, Scan, Store, Synchronous, TableOptions,
};
use rusqlite::Connection;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

const PATIENCE: Duration = Duration::from_secs(600);

fn with_table(scratch: &Scratch) -> (Store, TableName) {
    let builder = Store::builder(scratch.path()).synchronous(Synchronous::Normal);
    let (store, table) = (builder.open().unwrap(), name("t"));
    store.create_table(&table, TableOptions::default()).unwrap();
    (store, table)
}

fn string(bytes: usize) -> String {
    format!("\"{}\"", "x".repeat(bytes - 2))
}

#[test]
fn what_is_as_large_as_allowed_is_stored_and_read_back() {
    let scratch = Scratch::new();
    let (store, table) = with_table(&scratch);
    let longest = "k".repeat(512);
    let largest = string(1 << 20);
    store
        .commit(&table, Txn::new().put(put(&longest, &largest)))
        .unwrap();
    let found = store.get(&table, &key(&longest)).unwrap().unwrap();
    assert_eq!(found.value(), largest.as_bytes());
    assert!(Key::new(&"k".repeat(513)).is_err());
    assert!(Value::parse(string((1 << 20) + 1).as_bytes()).is_err());

    let ops = |n: usize| (0..n).map(|n| Op::Put(put(&n.to_string(), "1"))).collect();
    let txn = |ops| Txn { ops, ..Txn::new() };
    store.commit(&table, txn(ops(1_000))).unwrap();
    let before = store.table_info(&table).unwrap();
    let refused = |txn: Txn, expected: TxnTooLarge| {
        let error = store.commit(&table, txn).unwrap_err();
        let code = match expected {
            TxnTooLarge::Empty => Code::BadRequest,
            _ => Code::TooLarge,
        };
        assert_eq!(error, CommitError::Refused(Refusal::Limit(expected)));
        assert_eq!(error.code(), code);
    };
    refused(txn(ops(1_001)), TxnTooLarge::Ops { ops: 1_001 });
    refused(Txn::new(), TxnTooLarge::Empty);
    // Exactly eight MiB, and one byte more. Each key is a byte, each category seven.
    let large = |more: usize| {
        let puts = (0..8).map(|n| {
            let bytes = (1 << 20) - 8 + if n == 0 { more } else { 0 };
            Op::Put(put(&n.to_string(), &string(bytes)))
        });
        txn(puts.collect())
    };
    assert_eq!(store.table_info(&table).unwrap(), before);
    store.commit(&table, large(0)).unwrap();
    let max = 8 << 20;
    refused(
        large(1),
        TxnTooLarge::Bytes {
            bytes: max + 1,
            max,
        },
    );
}

#[test]
fn a_replacement_may_change_so_much_and_no_more() {
    let scratch = Scratch::new();
    let (store, table) = with_table(&scratch);
    store.commit(&table, Txn::new().put(put("a", "1"))).unwrap();
    let value = Value::parse(string(1 << 20).as_bytes()).unwrap();
    let records = (0..257).map(|n| hotread_proto::Put::new(key(&n.to_string()), value.clone()));
    let new = Replace::new(records.collect());
    let error = store.replace(&table, new).unwrap_err();
    assert_eq!(error.code(), Code::TooLarge, "{error}");
    assert_eq!(store.table_info(&table).unwrap().position.seq, 1);
    assert!(store.get(&table, &key("a")).unwrap().is_some());
    store.commit(&table, Txn::new().put(put("b", "1"))).unwrap();
}

#[test]
fn pages_are_as_long_as_asked_and_never_too_long() {
    let scratch = Scratch::new();
    let (store, table) = with_table(&scratch);
    for n in 0..3 {
        let ops = (0..600).map(|m| Op::Put(put(&format!("{n}-{m}"), "1")));
        let txn = Txn {
            ops: ops.collect(),
            ..Txn::new()
        };
        store.commit(&table, txn).unwrap();
    }
    for (limit, found) in [
        (0, 100),
        (1, 1),
        (999, 999),
        (1_000, 1_000),
        (usize::MAX, 1_000),
    ] {
        let scan = Scan {
            limit,
            ..Scan::default()
        };
        let page = store.scan(&table, &scan).unwrap();
        assert_eq!(page.records.len(), found);
        assert_eq!(
            page.next.as_ref().map(Key::as_str),
            page.records.last().map(|r| r.key())
        );
    }
}

/// Holds SQLite's write lock, so that the committer waits.
fn hold(scratch: &Scratch) -> Connection {
    let other = Connection::open(scratch.path()).unwrap();
    other.busy_timeout(PATIENCE).unwrap();
    other.execute_batch("BEGIN IMMEDIATE").unwrap();
    other
}

#[test]
fn a_full_queue_makes_callers_wait_and_loses_nothing() {
    let scratch = Scratch::new();
    let (store, table) = with_table(&scratch);
    let other = hold(&scratch);
    const EACH: usize = 800;
    let submitted = AtomicUsize::new(0);
    std::thread::scope(|scope| {
        let callers: Vec<_> = (0..4)
            .map(|caller| {
                let (store, table, submitted) = (&store, &table, &submitted);
                scope.spawn(move || {
                    let tickets: Vec<_> = (0..EACH)
                        .map(|n| {
                            let txn = Txn::new().put(put(&format!("{caller}-{n}"), "1"));
                            let ticket = store.submit(table, txn).unwrap();
                            submitted.fetch_add(1, Ordering::Relaxed);
                            ticket
                        })
                        .collect();
                    let seqs = tickets.into_iter().map(|t| t.wait().unwrap().position.seq);
                    let seqs: Vec<_> = seqs.collect();
                    assert!(seqs.is_sorted(), "one thread's are in its order");
                })
            })
            .collect();
        // 1,024 wait, and up to 512 are with the committer.
        let start = Instant::now();
        while store.stats().waiting < 1_024 {
            assert!(start.elapsed() < PATIENCE);
            std::thread::yield_now();
        }
        assert!(submitted.load(Ordering::Relaxed) <= 1_024 + 512);
        assert!(store.stats().waiting <= 1_024);
        other.execute_batch("ROLLBACK").unwrap();
        for caller in callers {
            caller.join().unwrap();
        }
    });
    assert_eq!(store.table_info(&table).unwrap().records, 4 * EACH as u64);
    let stats = store.stats();
    assert_eq!((stats.committed, stats.waiting), (4 * EACH as u64, 0));
    assert_eq!(stats.waiting_bytes, 0);
}

#[test]
fn many_committers_share_groups_and_are_all_answered() {
    let scratch = Scratch::new();
    let (store, table) = with_table(&scratch);
    std::thread::scope(|scope| {
        for caller in 0..64 {
            let (store, table) = (&store, &table);
            scope.spawn(move || {
                for n in 0..20 {
                    let key = key(&format!("{caller}-{n}"));
                    let new = put(key.as_str(), "1");
                    let committed = store.commit(table, Txn::new().put(new)).unwrap();
                    // A caller whose commit returned can read the record.
                    let read = store.get(table, &key).unwrap().unwrap();
                    assert_eq!(read.seq(), committed.position.seq);
                }
            });
        }
    });
    assert_eq!(store.table_info(&table).unwrap().position.seq, 64 * 20);
    let stats = store.stats();
    assert_eq!(stats.committed, 64 * 20);
    assert!(stats.groups < stats.committed / 2, "{stats:?}");
}

#[test]
fn each_group_is_counted_by_its_size_and_its_times() {
    let scratch = Scratch::new();
    let (store, table) = with_table(&scratch);
    let empty = store.stats();
    for histogram in [&empty.group_us, &empty.commit_us, &empty.group_sizes] {
        assert_eq!(histogram.counts.len(), histogram.bounds.len() + 1);
        assert!(histogram.bounds.is_sorted_by(|a, b| a < b));
        assert_eq!(histogram.sum + histogram.counts.iter().sum::<u64>(), 0);
    }
    assert_eq!(empty.commit_us.bounds, COMMIT_BOUNDS_US);
    assert_eq!(empty.group_sizes.bounds, GROUP_BOUNDS);
    for _ in 0..5 {
        store.commit(&table, Txn::new().put(put("a", "1"))).unwrap();
    }
    // A refused transaction is in no group.
    let refused = Txn::new().put(put("a", "1")).if_seq(key("a"), 99);
    store.commit(&table, refused).unwrap_err();
    let other = hold(&scratch);
    let first = store.submit(&table, Txn::new().put(put("a", "1"))).unwrap();
    while store.stats().waiting > 0 {
        std::thread::yield_now();
    }
    // These wait for the first one, and form one group.
    let tickets = (0..3).map(|_| store.submit(&table, Txn::new().put(put("a", "1"))));
    let tickets: Vec<_> = tickets.collect::<Result<_, _>>().unwrap();
    other.execute_batch("ROLLBACK").unwrap();
    for ticket in std::iter::once(first).chain(tickets) {
        ticket.wait().unwrap();
    }
    let stats = store.stats();
    assert_eq!((stats.groups, stats.committed), (7, 9));
    let sizes = &stats.group_sizes;
    // Sizes up to 1, up to 2, and up to 4.
    assert_eq!((&sizes.counts[..3], sizes.sum), (&[6, 0, 1][..], 9));
    for times in [&stats.group_us, &stats.commit_us] {
        assert_eq!(times.counts.iter().sum::<u64>(), 7);
    }
    assert!(stats.commit_us.sum <= stats.group_us.sum);
    let json = serde_json::to_value(&stats).unwrap();
    assert_eq!(json["group_sizes"]["sum"], 9);
    assert_eq!(json["group_sizes"]["bounds"][9], 512);
    let reader = Store::builder(scratch.path()).read_only(true);
    let reader = reader.open().unwrap().stats();
    assert_eq!(reader.group_us, empty.group_us);
}

#[test]
fn a_refusal_in_a_group_concerns_one_caller() {
    let scratch = Scratch::new();
    let (store, table) = with_table(&scratch);
    let other = hold(&scratch);
    let tickets: Vec<_> = (0..300)
        .map(|n| {
            let txn = Txn::new().put(put(&n.to_string(), "1"));
            let txn = if n % 3 == 0 {
                txn.if_seq(key("none"), 9)
            } else {
                txn
            };
            store.submit(&table, txn).unwrap()
        })
        .collect();
    other.execute_batch("ROLLBACK").unwrap();
    for (n, ticket) in tickets.into_iter().enumerate() {
        assert_eq!(ticket.wait().is_err(), n % 3 == 0);
    }
    let info = store.table_info(&table).unwrap();
    assert_eq!((info.records, info.position.seq), (200, 200));
    let stats = store.stats();
    assert_eq!((stats.committed, stats.refused), (200, 100));
    assert_eq!(store.verify().unwrap().problems, [""; 0]);
}

#[test]
fn what_was_submitted_is_done_before_the_file_is_closed() {
    let scratch = Scratch::new();
    let (store, table) = with_table(&scratch);
    let other = hold(&scratch);
    let clone = store.clone();
    let tickets: Vec<_> = (0..700)
        .map(|n| {
            let txn = Txn::new().put(put(&n.to_string(), "1"));
            clone.submit(&table, txn).unwrap()
        })
        .collect();
    drop(store);
    clone.get(&table, &key("0")).unwrap();
    other.execute_batch("ROLLBACK").unwrap();
    drop(other);
    let mut following = clone
        .subscribe(&table, clone.table_info(&table).unwrap().position)
        .unwrap();
    let mut reader = clone.handle(&table).unwrap();
    drop(clone);
    for ticket in tickets {
        ticket.wait().unwrap();
    }
    // A handle that outlives the store still reads the last state.
    assert_eq!(reader.current().len(), 700);
    while following.position().seq < 700 {
        assert!(following.next(PATIENCE).unwrap().is_some());
    }
    drop((following, reader));
    let (store, _) = (Store::open(scratch.path()).unwrap(), ());
    assert_eq!(store.table_info(&table).unwrap().records, 700);
}

#[test]
fn times_never_go_backwards_whatever_the_clock_does() {
    let scratch = Scratch::new();
    let (store, table) = with_table(&scratch);
    store.commit(&table, Txn::new().put(put("a", "1"))).unwrap();
    drop(store);
    // As if the clock had been far ahead.
    let ahead = Timestamp::from_millis(4_000_000_000_000).unwrap();
    let db = Connection::open(scratch.path()).unwrap();
    db.execute("UPDATE tables SET updated_at = ?1", [ahead.millis()])
        .unwrap();
    db.close().unwrap();
    let store = scratch.open();
    for n in 0..3 {
        let committed = store
            .commit(&table, Txn::new().put(put(&n.to_string(), "1")))
            .unwrap();
        assert_eq!(committed.at, ahead);
        let record = store.get(&table, &key(&n.to_string())).unwrap().unwrap();
        assert_eq!(record.updated_at(), ahead);
    }
    assert_eq!(store.table_info(&table).unwrap().updated_at, ahead);
}

#[test]
fn readers_with_old_copies_are_named_and_block_for_a_while_only() {
    let scratch = Scratch::new();
    let (store, table) = with_table(&scratch);
    let live = store.live(&table).unwrap();
    let mut n = 0;
    let mut commit = || {
        n += 1;
        store.commit(&table, Txn::new().put(put("a", &n.to_string())))
    };
    // Holds one reader in each copy.
    let mut workers = Vec::new();
    for worker in 0..4 {
        commit().unwrap();
        let mut handle = live.create_named_handle(format!("worker-{worker}"));
        handle.current();
        workers.push(handle);
    }
    let visible = live.read(|records| records.position().seq);
    let error = loop {
        match store.submit(&table, Txn::new().put(put("a", "1"))) {
            Ok(_) => {}
            Err(error) => break error,
        }
    };
    match &error {
        CommitError::ReadersStalled {
            waiting, worker, ..
        } => {
            assert!(*waiting >= 65_536);
            // Transactions that wait in the queue may still follow.
            assert!(*waiting <= 65_536 + 1_024 + 512, "{waiting}");
            let worker = worker.as_deref().unwrap();
            assert!(worker.starts_with("worker-"), "{worker}");
            assert!(error.to_string().contains(worker), "{error}");
        }
        other => panic!("{other}"),
    }
    assert_eq!(error.code(), Code::ReadersStalled);
    // The disk has the newest state, and other tables can be written.
    assert!(store.get(&table, &key("a")).unwrap().unwrap().seq() > visible + 60_000);
    let other = name("other");
    store.create_table(&other, TableOptions::default()).unwrap();
    store.commit(&other, Txn::new().put(put("a", "1"))).unwrap();

    drop(workers);
    let start = Instant::now();
    while let Err(error) = commit() {
        assert_eq!(error.code(), Code::ReadersStalled);
        assert!(start.elapsed() < PATIENCE);
        std::thread::yield_now();
    }
    live.wait_published(live.latest_seq(), PATIENCE).unwrap();
    let head = store.table_info(&table).unwrap().position;
    assert_eq!(live.read(|records| records.position()), head);
}

#[test]
fn a_store_without_readers_left_says_so() {
    let scratch = Scratch::new();
    let builder = Store::builder(scratch.path()).readers(0);
    let store = builder.open().unwrap();
    let table = name("t");
    store.create_table(&table, TableOptions::default()).unwrap();
    // The minimum of one connection is enough for all threads.
    std::thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| {
                for _ in 0..50 {
                    match store.get(&table, &key("a")) {
                        Ok(found) => assert!(found.is_none()),
                        Err(ReadError::Storage(e)) => assert_eq!(e.code(), Code::Busy),
                        Err(other) => panic!("{other}"),
                    }
                }
            });
        }
    });
}
