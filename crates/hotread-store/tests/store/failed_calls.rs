//! The disk fails in calls other than commits: creating and dropping tables, opening, reading, rekeying.

use crate::common::{Scratch, key, name, put};
use crate::crash::{check_verify, same};
use crate::io_errors::{base, on};
use hotread_faultfs::{Disk, Error, Fault, Op};
use hotread_proto::{Code, TableName, Txn};
use hotread_store::{OpenError, Passphrase, TableOptions};

/// Creating and dropping tables while each operation fails in turn: afterwards the known tables are
/// those on disk.
#[test]
fn a_table_whose_creation_seemed_to_fail_is_known_if_it_is_there() {
    let (made, gone) = (name("made"), name("gone"));
    let options = || TableOptions {
        search: true,
        ..TableOptions::default()
    };
    for (op, times) in [
        (Op::Sync, 1),
        (Op::Sync, 3),
        (Op::Write, 1),
        (Op::Write, 50),
    ] {
        for after in 0..40 {
            let scratch = Scratch::new();
            let disk = base(&scratch);
            let store = on(&scratch, &disk).open().unwrap();
            store.create_table(&gone, options()).unwrap();
            disk.fail(Fault {
                after,
                times,
                ..Fault::nth(op, 1)
            });
            let created = store.create_table(&made, options());
            let dropped = store.drop_table(&gone);
            let _ = store.finish_drops();
            let is_met = disk.counts().faults > 0;
            disk.heal();
            let has = |table: &TableName| store.table_info(table).is_ok();
            // A write makes sure that the store has been reconciled.
            store
                .commit(&name("t"), Txn::new().put(put("x", "1")))
                .unwrap();
            assert!(created.is_err() || has(&made));
            assert!(dropped.is_err() || !has(&gone));
            if !has(&made) {
                store.create_table(&made, options()).unwrap();
            }
            if has(&gone) {
                store.drop_table(&gone).unwrap();
            }
            store.commit(&made, Txn::new().put(put("y", "1"))).unwrap();
            store.create_table(&gone, options()).unwrap();
            assert_eq!(store.handle(&gone).unwrap().current().len(), 0);
            store.finish_drops().unwrap();
            check_verify(&store);
            if !is_met {
                break;
            }
        }
    }
}

/// Opening fails at each operation in turn, and is retried: the database is unchanged.
#[test]
fn an_opening_that_failed_leaves_the_database_as_it_was() {
    let table = name("t");
    let there = Scratch::new();
    let base = base(&there);
    let store = on(&there, &base).open().unwrap();
    for n in 0..20 {
        let txn = Txn::new().put(put(&format!("{n}"), &format!("\"{}\"", "w".repeat(5_000))));
        store.commit(&table, txn).unwrap();
    }
    let before = store.snapshot(&table).unwrap();
    // With its WAL, as after a crash.
    let base = base.crash(0);
    drop(store);
    let (mut failed, mut opened) = (0, 0);
    for op in [
        Op::Open,
        Op::Read,
        Op::Write,
        Op::Sync,
        Op::Truncate,
        Op::Map,
    ] {
        for (after, times) in (0..60).flat_map(|after| [(after, 1), (after, u64::MAX)]) {
            let disk = base.crash(0);
            disk.fail(Fault {
                after,
                times,
                ..Fault::nth(op, 1)
            });
            match on(&there, &disk).open() {
                Ok(_) => opened += 1,
                Err(OpenError::Storage { .. }) => failed += 1,
                Err(e) => panic!("{e}, {op:?} after {after}"),
            }
            let is_met = disk.counts().faults > 0;
            let image = disk.crash(after);
            disk.heal();
            for disk in [disk, image] {
                let store = on(&there, &disk).open().unwrap();
                check_verify(&store);
                assert!(same(&store.snapshot(&table).unwrap(), &before));
            }
            if !is_met {
                break;
            }
        }
    }
    assert!(failed > 30, "{failed} failed, {opened} did not");
}

#[test]
fn a_read_that_fails_is_not_told_as_damage() {
    let scratch = Scratch::new();
    let disk = Disk::new();
    let table = name("t");
    {
        let store = on(&scratch, &disk).open().unwrap();
        let options = TableOptions {
            search: true,
            ..TableOptions::default()
        };
        store.create_table(&table, options).unwrap();
        for n in 0..40 {
            let value = format!("\"{}\"", "x".repeat(2_000));
            let txn = Txn::new().put(put(&n.to_string(), &value));
            store.commit(&table, txn).unwrap();
        }
    }
    let (mut failed, mut nth) = (0, 0);
    loop {
        nth += 1;
        disk.fail(Fault::nth(Op::Read, nth));
        let faults = disk.counts().faults;
        let opened = on(&scratch, &disk).read_only(true).open();
        let code = match opened {
            Err(e) => Some((e.code(), e.to_string())),
            Ok(store) => {
                let looked = [
                    store.verify().map(|report| report.problems),
                    store.snapshot(&table).map(|_| Vec::new()),
                    store.get(&table, &key("7")).map(|_| Vec::new()),
                ];
                let mut error = None;
                for look in looked {
                    match look {
                        Ok(problems) => assert_eq!(problems, [""; 0], "read {nth}"),
                        Err(e) => error = Some((e.code(), e.to_string())),
                    }
                }
                error
            }
        };
        if disk.counts().faults == faults {
            break;
        }
        disk.heal();
        if let Some((code, text)) = code {
            failed += 1;
            assert_ne!(code, Code::Corrupt, "read {nth}: {text}");
        }
    }
    assert!(failed > 20, "{failed} of {nth}");
}

/// At any lack of room, the table is as it was, or whole if the outcome is unknown.
#[test]
fn rekeying_on_a_full_disk_leaves_everything_as_it_was() {
    let (table, pass) = (name("secret"), |text| Passphrase::new(text).unwrap());
    let scratch = Scratch::new();
    let disk = Disk::new();
    let store = on(&scratch, &disk)
        .passphrase(pass("old"))
        .quick_keys()
        .open()
        .unwrap();
    let sealed = TableOptions {
        sealed: true,
        ..TableOptions::default()
    };
    store.create_table(&table, sealed).unwrap();
    store
        .create_table(&name("t"), TableOptions::default())
        .unwrap();
    for n in 0..30 {
        let txn = Txn::new().put(put(&format!("{n}"), &format!("\"{}\"", "y".repeat(2_000))));
        store.commit(&table, txn).unwrap();
    }
    let before = store.table_info(&table).unwrap();
    let mut refused = 0;
    for after in [0, 1, 8, 30] {
        disk.fail(Fault {
            after,
            times: u64::MAX,
            error: Error::Full,
            ..Fault::nth(Op::Write, 1)
        });
        let rekeyed = store.rekey(&table, &pass("new"));
        let scrubbed = store.scrub();
        disk.heal();
        // A write makes sure that the store has been reconciled.
        store
            .commit(&name("t"), Txn::new().put(put("x", "1")))
            .unwrap();
        if rekeyed.is_ok() {
            break;
        }
        assert!(scrubbed.is_err());
        let now = store.table_info(&table).unwrap();
        if now.position.epoch != before.position.epoch {
            assert_eq!(rekeyed.unwrap_err().code(), Code::CommitUnknown);
            break;
        }
        refused += 1;
        assert_eq!(now, before);
        let records = store.snapshot(&table).unwrap();
        assert_eq!((records.len(), records.digest()), (30, before.digest));
        check_verify(&store);
    }
    println!("{refused} refused");
    assert!(refused >= 3, "{refused}");
}
