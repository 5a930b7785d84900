//! Expired records: the speed of the sweep alongside writers, and the records' absence before it.

use crate::common::{HANG, Scratch, key, name, put};
use hotread_proto::{Change, ChangeOp, Code, Position, Put, Removal, Replace, Timestamp, Txn};
use hotread_store::{Store, Synchronous, TableOptions};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant, SystemTime};

fn normal(scratch: &Scratch) -> Store {
    let builder = Store::builder(scratch.path()).synchronous(Synchronous::Normal);
    let store = builder.open().unwrap();
    for table in ["t", "other"] {
        let options = TableOptions::default();
        store.create_table(&name(table), options).unwrap();
    }
    store
}

fn expiring(key: &str, at: Timestamp) -> Put {
    Put {
        expires_at: Some(at),
        ..put(key, "1")
    }
}

fn now() -> Timestamp {
    SystemTime::now().into()
}

fn records(store: &Store) -> u64 {
    store.table_info(&name("t")).unwrap().records
}

#[test]
fn many_that_expire_at_once_are_swept_in_turns_with_writers() {
    const RECORDS: u64 = 100_000;
    let scratch = Scratch::new();
    let store = normal(&scratch);
    let long_ago = Timestamp::from_millis(1).unwrap();
    let all = (0..RECORDS).map(|n| expiring(&n.to_string(), long_ago));
    store
        .replace(&name("t"), Replace::new(all.collect()))
        .unwrap();
    let begun = Instant::now();
    let (swept, written) = (AtomicBool::new(false), AtomicU64::new(0));
    std::thread::scope(|scope| {
        for writer in 0..4 {
            let (store, swept, written) = (&store, &swept, &written);
            scope.spawn(move || {
                while !swept.load(Ordering::Relaxed) {
                    let txn = Txn::new().put(put(&writer.to_string(), "1"));
                    store.commit(&name("other"), txn).unwrap();
                    written.fetch_add(1, Ordering::Relaxed);
                }
            });
        }
        while records(&store) > 0 && begun.elapsed() < HANG {
            std::thread::sleep(Duration::from_millis(20));
        }
        swept.store(true, Ordering::Relaxed);
    });
    assert_eq!(records(&store), 0);
    let (head, written) = (
        store.table_info(&name("t")).unwrap().position.seq,
        written.into_inner(),
    );
    let (batches, took) = (head - 1, begun.elapsed());
    println!("{RECORDS} swept in {batches} batches in {took:?}, with {written} other transactions");
    // The sweep is split into pieces, and other transactions run in between.
    assert!(
        batches >= RECORDS / 500 && written >= batches / 4,
        "{batches} {written}"
    );
    // Ten times the duration on a small, busy machine. One batch per round would take longer.
    assert!(took < Duration::from_secs(RECORDS / 5_000), "{took:?}");
}

#[test]
fn a_backlog_of_one_table_does_not_delay_another_one() {
    const RECORDS: u64 = 50_000;
    let scratch = Scratch::new();
    let store = normal(&scratch);
    let long_ago = Timestamp::from_millis(1).unwrap();
    let all = (0..RECORDS).map(|n| expiring(&n.to_string(), long_ago));
    store
        .replace(&name("t"), Replace::new(all.collect()))
        .unwrap();
    // They expire later than the whole backlog.
    let few = ["a", "b", "c"].map(|key| expiring(key, now()));
    let few = few.into_iter().fold(Txn::new(), Txn::put);
    store.commit(&name("other"), few).unwrap();
    let before = records(&store);
    let begun = Instant::now();
    while store.table_info(&name("other")).unwrap().records > 0 {
        assert!(begun.elapsed() < HANG);
        std::thread::sleep(Duration::from_millis(1));
    }
    let left = records(&store);
    println!("{before} when they expired, {left} when they were gone");
    assert!(left > before / 2, "{left} of {before}");
    while records(&store) > 0 {
        assert!(begun.elapsed() < HANG);
        std::thread::sleep(Duration::from_millis(20));
    }
}

#[test]
fn a_table_that_is_written_with_a_short_ttl_stays_small() {
    const TTL: Duration = Duration::from_secs(1);
    const SECONDS: usize = 8;
    let scratch = Scratch::new();
    let store = normal(&scratch);
    let begun = Instant::now();
    let (mut written, mut most) = ([0_u64; SECONDS + 1], 0);
    let mut n = 0;
    while begun.elapsed() < Duration::from_secs(SECONDS as u64) {
        let at = now().saturating_add(TTL);
        let txn = (0..100).fold(Txn::new(), |txn, _| {
            n += 1;
            txn.put(expiring(&n.to_string(), at))
        });
        store.commit(&name("t"), txn).unwrap();
        written[begun.elapsed().as_secs() as usize] += 100;
        most = most.max(records(&store));
    }
    // At most the records of any four consecutive seconds.
    let four = written
        .windows(4)
        .map(|seconds| seconds.iter().sum::<u64>());
    let allowed = four.max().unwrap_or(0);
    println!("{n} written in {SECONDS} s, at most {most} there, {allowed} allowed");
    assert!(most <= allowed, "{most} of {n}");
}

#[test]
fn an_expired_record_is_absent_for_preconditions_before_it_is_swept() {
    let scratch = Scratch::new();
    let store = normal(&scratch);
    let table = name("t");
    let long_ago = Timestamp::from_millis(1).unwrap();
    for n in 0..50 {
        let key = key(&n.to_string());
        let old = expiring(key.as_str(), long_ago);
        let seq = store
            .commit(&table, Txn::new().put(old))
            .unwrap()
            .position
            .seq;
        // Most are checked before they are swept, and some after; the answers are the same.
        let changed = Txn::new()
            .put(put(key.as_str(), "2"))
            .if_seq(key.clone(), seq);
        let refused = store.commit(&table, changed).unwrap_err();
        assert_eq!(refused.code(), Code::PreconditionFailed);
        assert_eq!(refused.body().seq, None);
        let new = Txn::new()
            .put(put(key.as_str(), "3"))
            .if_absent(key.clone());
        store.commit(&table, new).unwrap();
        let record = store.get(&table, &key).unwrap().unwrap();
        assert_eq!((record.value(), record.expires_at()), (&b"3"[..], None));
    }
}

/// Returns the keys that a change removes, each with the cause.
fn removed(change: &Change) -> Vec<(String, Removal)> {
    let removal = |op: &ChangeOp| match op {
        ChangeOp::Delete { key, cause } => Some((key.to_string(), *cause)),
        ChangeOp::Put(_) => None,
    };
    change.ops.iter().filter_map(removal).collect()
}

#[test]
fn a_removal_says_whether_the_record_expired() {
    let scratch = Scratch::new();
    let store = normal(&scratch);
    let table = name("t");
    let start = store.table_info(&table).unwrap().position;
    let mut subscription = store.subscribe(&table, start).unwrap();
    let long_ago = Timestamp::from_millis(1).unwrap();
    let txn = ["a", "b"].map(|key| expiring(key, long_ago));
    let txn = txn.into_iter().fold(Txn::new(), Txn::put);
    store.commit(&table, txn.put(put("c", "1"))).unwrap();
    let begun = Instant::now();
    while records(&store) > 1 {
        assert!(begun.elapsed() < HANG);
        std::thread::sleep(Duration::from_millis(5));
    }
    store.commit(&table, Txn::new().delete(key("c"))).unwrap();
    let head = store.table_info(&table).unwrap().position;
    let mut seen = Vec::new();
    let mut at = start;
    while at != head {
        let change = subscription.next(HANG).unwrap().expect("in time");
        at = change.position;
        seen.extend(removed(&change));
    }
    seen.sort_by(|one, other| one.0.cmp(&other.0));
    let deleted = |key: &str| (key.to_owned(), Removal::Deleted);
    let expired = |key: &str| (key.to_owned(), Removal::Expired);
    let all = [expired("a"), expired("b"), deleted("c")];
    assert_eq!(seen, all);
    drop(subscription);
    drop(store);
    let store = Store::open(scratch.path()).unwrap();
    let of_history = |from: Position| -> Vec<_> {
        let changes = store.changes(&table, from, 100).unwrap();
        changes.iter().flat_map(removed).collect()
    };
    let mut seen = of_history(start);
    seen.sort_by(|one, other| one.0.cmp(&other.0));
    assert_eq!(seen, all);
    assert_eq!(store.verify().unwrap().problems, [""; 0]);
}
