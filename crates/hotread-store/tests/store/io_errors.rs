//! The disk fails at each operation in turn: no acknowledged transaction is lost, no uncommitted one is
//! visible, and writing resumes on its own once the disk works again.
//!
//! A sample of the operations is tested; with `HOTREAD_EVERY` set, before a release, all of them.

use crate::common::{Scratch, key, name, put};
use crate::crash::{self, check_verify, every, same};
use hotread::HotReadHandle;
use hotread_faultfs::{Disk, Error, Fault, FileKind, Op};
use hotread_proto::{Position, Records, Replace, TableName, Txn, TxnId};
use hotread_store::{CommitError, ReadError, Store, StoreBuilder, Subscription, TableOptions};
use std::collections::BTreeMap;
use std::time::{Duration, Instant};

pub(super) fn on(scratch: &Scratch, disk: &Disk) -> StoreBuilder {
    Store::builder(scratch.path()).vfs(disk.vfs())
}

/// Time after which a call counts as hung.
const HANG: Duration = Duration::from_secs(600);

/// Expected content of a table: values by key.
type Model = BTreeMap<String, String>;

fn content(records: &Records) -> Model {
    let text = |value: &[u8]| String::from_utf8(value.to_vec()).unwrap();
    records
        .iter()
        .map(|record| (record.key().to_owned(), text(record.value())))
        .collect()
}

/// One step of the workload, which can be retried.
#[derive(Clone, Copy, Debug)]
enum Step {
    /// Two records of a live table, the second of which is alternately present and absent.
    Write(u64),
    /// A replacement of the whole table.
    Replace(u64),
    /// A transaction of several hundred kilobytes.
    Large(u64),
}

const STEPS: [Step; 9] = [
    Step::Write(1),
    Step::Write(2),
    Step::Large(3),
    Step::Write(4),
    Step::Replace(5),
    Step::Write(6),
    Step::Large(7),
    Step::Write(8),
    Step::Replace(9),
];

impl Step {
    fn id(self) -> TxnId {
        let (Step::Write(n) | Step::Replace(n) | Step::Large(n)) = self;
        TxnId::new(&format!("step-{n}")).unwrap()
    }

    fn apply(self, model: &mut Model) {
        let mut set = |key: &str, value: String| {
            model.insert(key.to_owned(), value);
        };
        match self {
            Step::Write(n) => {
                set("a", n.to_string());
                set(&format!("only-{n}"), n.to_string());
            }
            Step::Large(n) => {
                set("large", format!("\"{}\"", "l".repeat(200_000)));
                set("a", n.to_string());
            }
            Step::Replace(n) => {
                model.clear();
                model.insert("a".to_owned(), n.to_string());
                model.insert("whole".to_owned(), n.to_string());
            }
        }
    }

    fn commit(self, store: &Store, table: &TableName) -> Result<Position, CommitError> {
        let mut after = Model::new();
        self.apply(&mut after);
        let puts = after.iter().map(|(key, value)| put(key, value));
        if let Step::Replace(_) = self {
            let new = Replace {
                id: Some(self.id()),
                ..Replace::new(puts.collect()).unguarded()
            };
            return store
                .replace(table, new)
                .map(|done| done.committed.position);
        }
        let txn = puts.fold(Txn::new().id(self.id()), Txn::put);
        store.commit(table, txn).map(|done| done.position)
    }
}

/// All kinds of readers of the table.
struct Observers {
    store: Store,
    table: TableName,
    live: HotReadHandle<Records>,
    feed: Subscription,
    /// Records built from the changes of the subscription.
    followed: Records,
}

impl Observers {
    fn new(store: &Store, table: &TableName) -> Self {
        let info = store.table_info(table).unwrap();
        Self {
            live: store.handle(table).unwrap(),
            feed: store.subscribe(table, info.position).unwrap(),
            followed: store.snapshot(table).unwrap(),
            store: store.clone(),
            table: table.clone(),
        }
    }

    /// Checks that all of them see this state.
    fn see(&mut self, model: &Model, context: &dyn Fn() -> String) {
        let page = self.read(|store, table| store.scan(table, &hotread_store::Scan::default()));
        // The live table has the committed state, but the maintainer may be publishing it at this
        // moment.
        let begun = Instant::now();
        while self.live.current().position().seq < page.position.seq {
            assert!(begun.elapsed() < HANG, "not visible {}", context());
            std::thread::yield_now();
        }
        let live = self.live.current();
        assert_eq!(live.position(), page.position, "{}", context());
        assert!(content(live) == *model, "the live table {}", context());
        assert!(live.verify(&hotread_proto::Hasher::PLAIN), "{}", context());
        while let Some(change) = self.feed.next(Duration::ZERO).unwrap() {
            // Panics at a gap or a repetition.
            hotread::HotReadState::apply_update(&mut self.followed, &change);
        }
        assert!(same(&self.followed, live), "the subscriber {}", context());
        assert_eq!(page.position, self.followed.position(), "{}", context());
        let head = self.store.head(&self.table).unwrap();
        assert_eq!(head.position, page.position, "{}", context());
        assert_eq!(head.digest, self.followed.digest(), "{}", context());
        let a = self.read(|store, table| store.get(table, &key("a")));
        let a = a.map(|a| String::from_utf8(a.value().to_vec()).unwrap());
        assert_eq!(a.as_ref(), model.get("a"), "{}", context());
    }

    /// Reads with retries: a read may meet the fault itself, which it reports.
    fn read<R>(&self, read: impl Fn(&Store, &TableName) -> Result<R, ReadError>) -> R {
        for _ in 0..3 {
            match read(&self.store, &self.table) {
                Ok(answer) => return answer,
                Err(ReadError::Storage(_)) => {}
                Err(e) => panic!("{e}"),
            }
        }
        panic!("reading does not go on")
    }
}

/// Counts of a sweep.
#[derive(Default, Debug)]
struct Tally {
    faults: u64,
    unknown: u64,
    failed: u64,
    images: u64,
}

/// Runs the workload on a disk that fails once, or until it is healed; returns `true` if the disk
/// failed.
fn suffer(base: &Disk, scratch: &Scratch, fault: Fault, tally: &mut Tally) -> bool {
    let table = name("t");
    let disk = base.crash(0);
    let store = on(scratch, &disk).open().unwrap();
    let mut observers = Observers::new(&store, &table);
    let mut model = content(&observers.followed);
    disk.fail(fault);
    for step in STEPS {
        let context = || format!("at {step:?} with {fault:?}");
        let mut after = model.clone();
        step.apply(&mut after);
        let mut is_unknown = false;
        for attempt in 0.. {
            match step.commit(&store, &table) {
                Ok(_) => break,
                Err(CommitError::Unknown { .. }) => {
                    is_unknown = true;
                    tally.unknown += 1;
                }
                Err(CommitError::Storage(_)) => tally.failed += 1,
                Err(e) => panic!("{e} {}", context()),
            }
            // While the disk fails, the visible state is the last one before, and reads still work.
            if fault.op != Op::Read && fault.op != Op::Map {
                observers.see(&model, &context);
            }
            // A power failure now would leave all acknowledged transactions.
            tally.images += 1;
            let image = disk.crash(tally.images);
            let other = Scratch::new();
            let image = crash::moved(&image, &other);
            let reopened = on(&other, &image).open().unwrap();
            check_verify(&reopened);
            let left = content(&reopened.snapshot(&table).unwrap());
            assert!(
                left == model || (is_unknown && left == after),
                "{}",
                context()
            );
            assert!(attempt < 5, "writing does not go on {}", context());
            if attempt >= 1 {
                disk.heal();
            }
        }
        step.apply(&mut model);
        observers.see(&model, &context);
    }
    let is_met = disk.counts().faults > 0;
    disk.heal();
    // Each step was applied once.
    for step in STEPS {
        step.commit(&store, &table).unwrap();
    }
    observers.see(&model, &|| format!("in the end, with {fault:?}"));
    assert_eq!(observers.followed.position().seq, 1 + STEPS.len() as u64);
    check_verify(&store);
    assert_eq!(store.stats().halted, None);
    for seed in 0..2 {
        tally.images += 1;
        let other = Scratch::new();
        let image = crash::moved(&disk.crash(seed), &other);
        let reopened = on(&other, &image).open().unwrap();
        check_verify(&reopened);
        let left = reopened.snapshot(&table).unwrap();
        assert!(same(&left, &observers.followed), "{fault:?}");
    }
    tally.faults += u64::from(is_met);
    is_met
}

pub(super) fn base(scratch: &Scratch) -> Disk {
    let disk = Disk::new();
    let store = on(scratch, &disk).open().unwrap();
    let table = name("t");
    store.create_table(&table, TableOptions::default()).unwrap();
    store.commit(&table, Txn::new().put(put("a", "0"))).unwrap();
    disk
}

/// Fails each operation in turn; then each together with all later ones.
fn sweep(op: Op, file: Option<FileKind>, errors: &[Error], stride: usize) -> Tally {
    let scratch = Scratch::new();
    let base = base(&scratch);
    let mut tally = Tally::default();
    for &error in errors {
        for times in [1, u64::MAX] {
            for after in (0..).step_by(stride) {
                let fault = Fault {
                    op,
                    file,
                    after,
                    error,
                    times,
                };
                if !suffer(&base, &scratch, fault, &mut tally) {
                    break;
                }
            }
        }
    }
    assert!(tally.faults > 0, "nothing has failed");
    println!("{op:?} {file:?}: {tally:?}");
    tally
}

#[test]
fn a_failed_write_loses_nothing() {
    let tally = sweep(Op::Write, None, &[Error::Io, Error::Full], every(1, 29));
    assert!(tally.unknown > 0);
}

#[test]
fn a_failed_sync_is_an_unknown_commit_and_is_reconciled() {
    let tally = sweep(Op::Sync, Some(FileKind::Wal), &[Error::Io], 1);
    assert!(tally.unknown >= STEPS.len() as u64, "{tally:?}");
    sweep(Op::Sync, None, &[Error::Io], every(1, 5));
}

#[test]
fn a_failed_read_or_mapping_loses_nothing() {
    let scratch = Scratch::new();
    let base = base(&scratch);
    let mut tally = Tally::default();
    for op in [Op::Read, Op::Map, Op::Truncate] {
        for after in (0..).step_by(every(1, 3)) {
            let fault = Fault {
                after,
                ..Fault::nth(op, 1)
            };
            if !suffer(&base, &scratch, fault, &mut tally) {
                break;
            }
        }
    }
    println!("{tally:?}");
}

/// The sync of a COMMIT fails, and then each operation of the reconciliation in turn. A power failure
/// then leaves a sound database: a later successful sync does not make the remains of the failed one
/// durable.
#[test]
fn power_may_fail_while_a_failed_commit_is_reconciled() {
    let table = name("t");
    let everything = (0..40).step_by(every(1, 3)).map(|after| Fault {
        after,
        ..Fault::nth(Op::Any, 1)
    });
    let pages = [0, 1, 2, 5, 10, 20, 40, 60, 90].map(|after| Fault {
        file: Some(FileKind::Database),
        after,
        ..Fault::nth(Op::Write, 1)
    });
    let large = |n: u64| {
        (0..40).fold(Txn::new(), |txn, at| {
            let json = format!("\"{n}{}\"", "v".repeat(3_000));
            txn.put(put(&format!("{at}"), &json))
        })
    };
    for (at, fault) in everything.chain(pages).enumerate() {
        for has_readers in [false, true] {
            let scratch = Scratch::new();
            let disk = base(&scratch);
            // The next transaction changes pages that are in the database, and not in the WAL.
            let first = on(&scratch, &disk).open().unwrap();
            first.commit(&table, large(1)).unwrap();
            drop(first);
            let store = on(&scratch, &disk).open().unwrap();
            let handle = has_readers.then(|| store.handle(&table).unwrap());
            // All syncs fail, so that closing the database cannot empty the WAL either.
            disk.fail(Fault {
                times: u64::MAX,
                ..Fault::nth(Op::Sync, 1)
            });
            let answer = store.commit(&table, large(2));
            assert!(matches!(answer, Err(CommitError::Unknown { .. })));
            disk.heal();
            disk.fail(Fault {
                times: u64::MAX,
                ..fault
            });
            let _ = store.commit(&table, Txn::new().put(put("more", "1")));
            for seed in 0..4 {
                let other = Scratch::new();
                let image = crash::moved(&disk.crash(at as u64 * 4 + seed), &other);
                let reopened = on(&other, &image).open().unwrap();
                check_verify(&reopened);
                assert!(reopened.table_info(&table).unwrap().position.seq >= 2);
            }
            drop(handle);
        }
    }
}

/// A transaction that was found to be missing stays missing.
#[test]
fn what_was_found_missing_stays_missing() {
    let table = name("t");
    let mut unknown = 0;
    // Fails once, after earlier failures; then power is lost in several ways.
    let mut attempt = |fault: Fault, failures: u64, ways: u64| {
        let scratch = Scratch::new();
        let disk = base(&scratch);
        let store = on(&scratch, &disk).open().unwrap();
        let mut commit = |fault: Fault, record: &str| {
            disk.fail(Fault {
                file: Some(FileKind::Wal),
                ..fault
            });
            let answer = store.commit(&table, Txn::new().put(put(record, "1")));
            match answer {
                Err(CommitError::Unknown { .. }) => unknown += 1,
                // The commit needs fewer operations.
                Ok(_) => return false,
                Err(e) => panic!("{e}"),
            }
            // A refused transaction writes nothing itself.
            let refused = store.commit(&table, Txn::new().put(put("c", "1")).if_seq(key("c"), 7));
            assert!(matches!(refused, Err(CommitError::Refused(_))));
            true
        };
        for _ in 0..failures {
            assert!(commit(Fault::nth(Op::Write, 1), "before"));
        }
        if !commit(fault, "b") {
            return false;
        }
        let found = store.get(&table, &key("b")).unwrap().is_some();
        for seed in 0..ways {
            let there = Scratch::new();
            let image = crash::moved(&disk.crash(seed), &there);
            let store = on(&there, &image).open().unwrap();
            let left = store.get(&table, &key("b")).unwrap().is_some();
            assert_eq!(left, found, "{fault:?}, seed {seed}");
        }
        true
    };
    // A failed write may leave everything that was to be written, which includes the frame that
    // completes a COMMIT. The remains differ from failure to failure.
    for failures in 0..6 {
        let writes = (1..).take_while(|&n| attempt(Fault::nth(Op::Write, n), failures, 1));
        let last = writes.last().unwrap();
        assert!(attempt(Fault::nth(Op::Write, last), failures, 300));
        assert!(attempt(Fault::nth(Op::Sync, 1), failures, 5));
    }
    assert!(unknown > 60, "{unknown}");
}

/// A transaction that is refused because of another one is refused only once that one is committed.
#[test]
fn nothing_is_refused_for_a_transaction_that_failed() {
    let table = name("t");
    for _ in 0..30 {
        let scratch = Scratch::new();
        let disk = base(&scratch);
        let store = on(&scratch, &disk).open().unwrap();
        disk.fail(Fault {
            times: u64::MAX,
            ..Fault::nth(Op::Write, 1)
        });
        let once = || Txn::new().put(put("b", "1")).if_absent(key("b"));
        // The first transaction keeps the committer busy, so that the others form one group.
        let large = (0..500).fold(Txn::new(), |txn, at| txn.put(put(&format!("{at}"), "1")));
        let tickets: Vec<_> = [large, once(), once(), once()]
            .into_iter()
            .map(|txn| store.submit(&table, txn).unwrap())
            .collect();
        for ticket in tickets {
            match ticket.wait() {
                Err(CommitError::Unknown { .. } | CommitError::Storage(_)) => {}
                other => panic!("{other:?}"),
            }
        }
    }
}

/// On a disk that stays broken, each commit fails, reads still work, and the store can be closed.
#[test]
fn a_disk_that_stays_broken_stops_writes_and_nothing_else() {
    let scratch = Scratch::new();
    let disk = base(&scratch);
    let store = on(&scratch, &disk).open().unwrap();
    let table = name("t");
    let mut observers = Observers::new(&store, &table);
    let model = content(&observers.followed);
    for op in [Op::Write, Op::Sync] {
        disk.fail(Fault {
            times: u64::MAX,
            ..Fault::nth(op, 1)
        });
    }
    let begun = Instant::now();
    for n in 0..100 {
        let answer = store.commit(&table, Txn::new().put(put("a", "9")));
        match answer {
            Err(CommitError::Unknown { .. }) if n == 0 => {}
            Err(CommitError::Storage(_)) if n > 0 => {}
            other => panic!("{other:?}"),
        }
        assert!(store.stats().halted.is_some());
        observers.see(&model, &|| "while the disk is broken".to_owned());
    }
    drop((store, observers));
    assert!(begun.elapsed() < HANG, "it hangs");
}
