//! Replacements that are compared with their table outside of the writer: their effect while others
//! write, and the time for which they block the writer.

use crate::common::{self, Numbers, Scratch, name, put};
use hotread_proto::{Code, Put, Refusal, Replace, TableName, Txn};
use hotread_store::{CommitError, History, Store, Synchronous, TableOptions};
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

/// Number of records to replace.
const RECORDS: usize = 20_000;

fn with_table(scratch: &Scratch, options: TableOptions) -> (Store, TableName) {
    let builder = Store::builder(scratch.path()).synchronous(Synchronous::Normal);
    let (store, table) = (builder.open().unwrap(), name("t"));
    store.create_table(&table, options).unwrap();
    (store, table)
}

/// Returns all records, a few of which have a value of this round.
fn content(round: usize) -> Vec<Put> {
    let value = |n: usize| if n.is_multiple_of(1_000) { round } else { 0 };
    (0..RECORDS)
        .map(|n| put(&format!("{n:06}"), &value(n).to_string()))
        .collect()
}

#[test]
fn the_writer_is_held_for_what_changes() {
    let scratch = Scratch::new();
    let (store, table) = with_table(&scratch, TableOptions::default());
    store.replace(&table, Replace::new(content(0))).unwrap();
    let mut round = 0;
    let mut held = |compared: bool| -> Duration {
        round += 1;
        let before = store.stats().group_us.sum;
        let new = Replace::new(content(round));
        let replaced = match compared {
            true => store.submit_compared(&table, new, 100).unwrap().wait(),
            false => store.submit_replace(&table, new).unwrap().wait(),
        };
        let replaced = replaced.unwrap();
        assert_eq!((replaced.written, replaced.deleted), (20, 0));
        Duration::from_micros(store.stats().group_us.sum - before)
    };
    // The minimum of several runs, since other programs use the machine too.
    let whole = (0..5).map(|_| held(false)).min().unwrap();
    let changes = (0..5).map(|_| held(true)).min().unwrap();
    assert!(4 * changes < whole, "{changes:?}, and {whole:?} for all");

    let new = Replace::new(content(round + 1));
    let error = store.submit_compared(&table, new, 19).unwrap_err();
    assert_eq!(error.code(), Code::TooLarge);
}

#[test]
fn replacements_of_embedders_are_compared_outside_of_the_writer() {
    let scratch = Scratch::new();
    let (store, table) = with_table(&scratch, TableOptions::default());
    for round in 0..3 {
        store.replace(&table, Replace::new(content(round))).unwrap();
    }
    let typed = store.table::<usize>("t").unwrap();
    let all: Vec<_> = (0..RECORDS).map(|n| (format!("{n:06}"), 7)).collect();
    let replaced = typed.replace(all.iter().map(|(key, value)| (key.as_str(), value)));
    let replaced = replaced.unwrap();
    assert_eq!(replaced.written, RECORDS as u64);
    assert_eq!(store.stats().whole_replacements, 0);
    let ticket = store.submit_replace(&table, Replace::new(content(0)));
    ticket.unwrap().wait().unwrap();
    assert_eq!(store.stats().whole_replacements, 1);
}

#[test]
fn a_replacement_succeeds_while_its_table_keeps_changing() {
    let scratch = Scratch::new();
    let history = History {
        // Without a history, no comparison can be brought up to date.
        max_changes: 0,
        ..History::default()
    };
    let options = TableOptions {
        history,
        ..TableOptions::default()
    };
    let (store, table) = with_table(&scratch, options);
    store.replace(&table, Replace::new(content(0))).unwrap();
    let done = AtomicBool::new(false);
    let replaced = std::thread::scope(|scope| {
        scope.spawn(|| {
            while !done.load(Ordering::Relaxed) {
                let txn = Txn::new().put(put("000001", "9"));
                store.commit(&table, txn).unwrap();
            }
        });
        let replace = |round| {
            store
                .replace(&table, Replace::new(content(round)))
                .map(drop)
        };
        let replaced = (1..20).try_for_each(replace);
        done.store(true, Ordering::Relaxed);
        replaced
    });
    replaced.unwrap();
    let replaced = store.replace(&table, Replace::new(content(20))).unwrap();
    assert!(replaced.written >= 20);
    assert_eq!(store.table_info(&table).unwrap().records, RECORDS as u64);
}

#[test]
fn a_replacement_is_the_table_whatever_was_written_meanwhile() {
    let scratch = Scratch::new();
    // The whole history is kept, and checked at the end.
    let history = History {
        max_changes: u64::MAX >> 1,
        ..History::default()
    };
    let options = TableOptions {
        history,
        ..TableOptions::default()
    };
    let (store, table) = with_table(&scratch, options);
    let from = store.head(&table).unwrap().position;
    let mut follows = store.subscribe(&table, from).unwrap();
    let done = AtomicBool::new(false);
    let mut replaced = BTreeMap::new();
    std::thread::scope(|scope| {
        let (store, table, done) = (&store, &table, &done);
        for seed in 0..2 {
            scope.spawn(move || {
                let mut numbers = Numbers(seed);
                while !done.load(Ordering::Relaxed) {
                    let key = format!("{:03}", numbers.next() % 200);
                    let txn = match numbers.next() % 3 {
                        0 => Txn::new().delete(common::key(&key)),
                        n => Txn::new().put(put(&key, &n.to_string())),
                    };
                    store.commit(table, txn).unwrap();
                }
            });
        }
        let mut numbers = Numbers(7);
        while replaced.len() < 60 {
            let keys = (0..200)
                .filter(|_| !numbers.next().is_multiple_of(4))
                .collect::<Vec<_>>();
            let records = keys.iter().map(|n| put(&format!("{n:03}"), "1"));
            let new = Replace::new(records.collect()).unguarded();
            let content: Vec<_> = keys.iter().map(|n| format!("{n:03}")).collect();
            match store
                .submit_compared(table, new, 1_000)
                .map(|ticket| ticket.wait())
            {
                Ok(Ok(answer)) => {
                    let seq = answer.committed.position.seq;
                    replaced.insert(seq, (content, answer.written, answer.deleted));
                }
                Ok(Err(CommitError::Refused(Refusal::Outdated)))
                | Err(CommitError::Refused(Refusal::Outdated)) => {}
                other => panic!("{other:?}"),
            }
        }
        done.store(true, Ordering::Relaxed);
    });
    let mut state = BTreeMap::new();
    let (mut seen, mut by_others) = (0, 0);
    let head = store.head(&table).unwrap().position.seq;
    loop {
        let change = follows.next(common::HANG).unwrap();
        let change = change.expect("the history has it");
        for op in &change.ops {
            match op {
                hotread_proto::ChangeOp::Put(record) => {
                    state.insert(record.key().to_owned(), record.value().to_vec());
                }
                hotread_proto::ChangeOp::Delete { key, .. } => drop(state.remove(key.as_str())),
            }
        }
        match replaced.get(&change.position.seq) {
            Some((content, written, deleted)) => {
                seen += 1;
                assert_eq!(state.keys().cloned().collect::<Vec<_>>(), *content);
                assert!(state.values().all(|value| value == b"1"));
                assert_eq!(written + deleted, change.ops.len() as u64);
            }
            None => by_others += 1,
        }
        if change.position.seq == head {
            break;
        }
    }
    assert_eq!(seen, replaced.len());
    assert!(by_others > seen, "others wrote {by_others} times");
}
