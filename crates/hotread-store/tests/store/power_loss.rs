//! Power is lost at any moment: acknowledged transactions are present and whole, and nothing else has
//! changed.
//!
//! A sample of moments and seeds is tested; with `HOTREAD_EVERY` set, before a release, all of them.

use crate::common::{Scratch, key, name, put};
use crate::crash::{
    self, Acked, Ledger, Spec, check_verify, create_tables, every, judge, moved, work,
};
use hotread_faultfs::{Disk, Fault, FileKind, Op};
use hotread_proto::{Digest, Position, Txn, TxnId};
use hotread_store::{
    NewToken, Passphrase, ReadError, Role, SealError, Store, StoreBuilder, Synchronous,
    TableOptions, WalDamage,
};
use std::sync::atomic::{AtomicBool, Ordering};

const WORKERS: usize = 3;

fn on(scratch: &Scratch, disk: &Disk) -> StoreBuilder {
    Store::builder(scratch.path()).vfs(disk.vfs())
}

/// A disk after a power failure, with the transactions known at that time.
struct Image {
    disk: Disk,
    seed: u64,
    acked: Vec<Acked>,
    begun: Vec<Spec>,
}

/// Runs threads that commit and one that reads; power is lost `moments` times, each in several ways.
fn run(synchronous: Synchronous, seed: u64, each: u64, moments: u64, pad: usize) -> Vec<Image> {
    let scratch = Scratch::new();
    let disk = Disk::new();
    create_tables(&on(&scratch, &disk).open().unwrap());
    let store = on(&scratch, &disk).synchronous(synchronous).open().unwrap();
    let ledger = Ledger::default();
    let done = AtomicBool::new(false);
    let mut images = Vec::new();
    std::thread::scope(|scope| {
        let workers: Vec<_> = (0..WORKERS)
            .map(|worker| {
                let (store, ledger) = (store.clone(), &ledger);
                scope.spawn(move || work(&store, ledger, worker, 0..each, pad))
            })
            .collect();
        let reader = scope.spawn(|| {
            let table = name("plain");
            let mut live = store.handle(&table).unwrap();
            let mut last = live.current().position().seq;
            while !done.load(Ordering::Relaxed) {
                let records = live.current();
                assert!(records.position().seq >= last);
                last = records.position().seq;
                crash::check_whole(0, records);
                live.quiescent();
                std::thread::yield_now();
            }
        });
        let total = WORKERS as u64 * each;
        let mut rng = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
        for moment in 0..moments {
            // A moment is a number of acknowledgements, not a time.
            rng = rng.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            let at = (total * moment + (rng >> 33) % total) / moments;
            while (ledger.count() as u64) < at && workers.iter().any(|w| !w.is_finished()) {
                std::thread::yield_now();
            }
            for way in 0..2 {
                let acked = ledger.acked();
                let seed = seed * 1_000 + moment * 2 + way;
                let disk = disk.crash(seed);
                let begun = ledger.begun();
                images.push(Image {
                    disk,
                    seed,
                    acked,
                    begun,
                });
            }
        }
        for worker in workers {
            worker.join().unwrap();
        }
        done.store(true, Ordering::Relaxed);
        reader.join().unwrap();
    });
    assert_eq!(ledger.count() as u64, WORKERS as u64 * each);
    disk.power_off();
    drop(store);
    images
}

/// Opens the remains as a program would, and returns the number of lost transactions.
fn lost(image: &Image, synchronous: Synchronous) -> usize {
    let scratch = Scratch::new();
    let disk = moved(&image.disk, &scratch);
    let store = on(&scratch, &disk).synchronous(synchronous).open().unwrap();
    let lost = judge(&store, &image.acked, &image.begun);
    // Power is lost again. The retried transactions are acknowledged now.
    let again = disk.crash(image.seed);
    disk.power_off();
    drop(store);
    let store = on(&scratch, &again)
        .synchronous(synchronous)
        .open()
        .unwrap();
    check_verify(&store);
    if synchronous == Synchronous::Full {
        let acked: Vec<Acked> = Vec::new();
        assert_eq!(judge(&store, &acked, &image.begun), 0);
    }
    lost
}

/// Returns the loss that opening the log on the real file system reports.
fn said_of_the_log(image: &Image) -> Option<WalDamage> {
    let scratch = Scratch::new();
    for (from, _) in image.disk.files() {
        let suffix = from.rsplit_once("test.db").unwrap().1;
        let to = scratch.file(&format!("test.db{suffix}"));
        std::fs::write(to, image.disk.read(&from).unwrap()).unwrap();
    }
    scratch.open().wal_damage()
}

#[test]
fn acknowledged_transactions_survive_the_loss_of_power() {
    let mut in_doubt = 0;
    for seed in 0..every(12, 6) {
        for image in run(Synchronous::Full, seed, 40, 8, 0) {
            assert_eq!(lost(&image, Synchronous::Full), 0, "seed {}", image.seed);
            // No loss is reported, except for a group that was under way.
            let said = said_of_the_log(&image);
            assert!(said.is_none_or(|damage| !damage.certain), "{said:?}");
            in_doubt += u32::from(said.is_some());
        }
    }
    println!("a group under way was in doubt {in_doubt} times");
}

#[test]
fn large_transactions_survive_the_loss_of_power() {
    for image in run(Synchronous::Full, 20, 30, 5, 20_000) {
        assert_eq!(lost(&image, Synchronous::Full), 0, "seed {}", image.seed);
    }
}

/// The log is being moved into the database, and the move stops after some pages; then power is lost.
#[test]
fn nothing_is_lost_while_the_log_is_moved_into_the_database() {
    let table = name("t");
    let large = put("large", &format!("\"{}\"", "z".repeat(200_000)));
    for (at, pages) in [0, 1, 50, 700, 2_000].into_iter().enumerate() {
        let scratch = Scratch::new();
        let disk = Disk::new();
        let store = on(&scratch, &disk).open().unwrap();
        store.create_table(&table, TableOptions::default()).unwrap();
        disk.fail(Fault {
            file: Some(FileKind::Database),
            after: pages,
            times: u64::MAX,
            ..Fault::nth(Op::Write, 1)
        });
        // Each has several hundred pages with its history; a checkpoint is due after 4,000.
        let commits = 45;
        for n in 0..commits {
            let mut large = large.clone();
            large.key = key(&format!("{}", n % 30));
            let txn = Txn::new().put(large).put(put("n", &n.to_string()));
            store.commit(&table, txn).unwrap();
        }
        assert!(disk.counts().faults > 0, "the log was never moved");
        let images: Vec<Disk> = (0..3)
            .map(|seed| disk.crash(at as u64 * 3 + seed))
            .collect();
        // The move succeeds in the end, and power is lost once more.
        disk.heal();
        store.commit(&table, Txn::new().put(put("x", "1"))).unwrap();
        let last = disk.crash(at as u64);
        disk.power_off();
        drop(store);
        for (image, more) in images.iter().map(|image| (image, 0)).chain([(&last, 1)]) {
            let store = on(&scratch, image).open().unwrap();
            check_verify(&store);
            let info = store.table_info(&table).unwrap();
            assert_eq!(info.position.seq, commits + more);
            let n = store.get(&table, &key("n")).unwrap().unwrap();
            assert_eq!(n.value(), (commits - 1).to_string().as_bytes());
        }
    }
}

/// The control: the simulated disk does lose unsynced writes, and these tests notice it. The remains
/// contain no partial transaction.
#[test]
fn without_a_sync_only_the_last_transactions_may_be_lost() {
    let (mut images, mut with_losses) = (0, 0);
    for seed in 40..every(46, 43) {
        for image in run(Synchronous::Normal, seed, 40, 8, 0) {
            images += 1;
            with_losses += usize::from(lost(&image, Synchronous::Normal) > 0);
        }
    }
    println!("{with_losses} of {images} images have lost something");
    assert!(
        with_losses * 10 > images,
        "{with_losses} of {images} images have lost something; that is too few to prove anything"
    );
}

/// Runs the workload with all operations failing from the first on, then from the second, and so on
/// until it needs no more; and checks the remains of power failures at these moments.
fn at_every_operation(
    stride: u64,
    seeds: u64,
    mut prepared: impl FnMut(&Scratch) -> Disk,
    mut work: impl FnMut(&Scratch, &Disk),
    mut judge: impl FnMut(&Scratch, &Disk),
) -> u64 {
    let mut images = 0;
    for after in (0..).step_by(stride as usize) {
        let scratch = Scratch::new();
        let disk = prepared(&scratch);
        disk.fail(Fault {
            after,
            times: u64::MAX,
            ..Fault::nth(Op::Any, 1)
        });
        work(&scratch, &disk);
        for seed in 0..seeds {
            let image = disk.crash(after * seeds + seed);
            judge(&scratch, &image);
            images += 1;
        }
        if disk.counts().faults == 0 {
            return images;
        }
    }
    images
}

#[test]
fn a_creation_that_lost_power_can_be_repeated() {
    let table = name("t");
    let images = at_every_operation(
        1,
        every(6, 2),
        |_| Disk::new(),
        |scratch, disk| {
            if let Ok(store) = on(scratch, disk).open() {
                let _ = store.create_table(&table, TableOptions::default());
            }
        },
        |scratch, image| {
            let store = on(scratch, image).open().unwrap();
            check_verify(&store);
            if store.tables().unwrap().is_empty() {
                store.create_table(&table, TableOptions::default()).unwrap();
            }
            store.commit(&table, Txn::new().put(put("a", "1"))).unwrap();
            check_verify(&store);
            assert_eq!(store.get(&table, &key("a")).unwrap().unwrap().value(), b"1");
        },
    );
    println!("{images} images");
    assert!(images > every(100, 30), "{images}");
}

#[test]
fn tables_are_created_and_dropped_whole() {
    let (stays, comes, goes) = (name("stays"), name("comes"), name("goes"));
    let base = {
        let scratch = Scratch::new();
        let disk = Disk::new();
        let store = on(&scratch, &disk).open().unwrap();
        for table in [&stays, &goes] {
            let options = TableOptions {
                search: true,
                ..TableOptions::default()
            };
            store.create_table(table, options).unwrap();
            for n in 0..30 {
                let txn = Txn::new().put(put(&format!("{n}"), "\"word\""));
                store.commit(table, txn).unwrap();
            }
        }
        drop(store);
        disk
    };
    let acked = std::cell::RefCell::new(Vec::new());
    let images = at_every_operation(
        every(3, 7),
        every(3, 2),
        |scratch| moved(&base, scratch),
        |scratch, disk| {
            acked.borrow_mut().clear();
            let Ok(store) = on(scratch, disk).open() else {
                return;
            };
            let options = TableOptions {
                search: true,
                ..TableOptions::default()
            };
            if store.create_table(&comes, options).is_ok() {
                acked.borrow_mut().push("created");
            }
            if store.commit(&comes, Txn::new().put(put("a", "1"))).is_ok() {
                acked.borrow_mut().push("filled");
            }
            if store.drop_table(&goes).is_ok() {
                acked.borrow_mut().push("dropped");
            }
            let _ = store.finish_drops();
        },
        |scratch, image| {
            let store = on(scratch, image).open().unwrap();
            check_verify(&store);
            let has = |table| match store.snapshot(table) {
                Ok(records) => Some(records.len()),
                Err(ReadError::UnknownTable { .. }) => None,
                Err(e) => panic!("{e}"),
            };
            let acked = acked.borrow();
            assert_eq!(has(&stays), Some(30));
            match has(&goes) {
                None => {}
                len => assert!(len == Some(30) && !acked.contains(&"dropped")),
            }
            match has(&comes) {
                None => assert!(!acked.contains(&"created")),
                len => assert!(len == Some(1) || !acked.contains(&"filled")),
            }
            if has(&goes).is_some() {
                store.drop_table(&goes).unwrap();
            }
            let again = TableOptions::default();
            assert_eq!(store.create_table(&goes, again).unwrap().records, 0);
            check_verify(&store);
            store.finish_drops().unwrap();
            check_verify(&store);
        },
    );
    println!("{images} images");
}

#[test]
fn acknowledged_tokens_are_there_and_revoked_ones_are_not() {
    let base = {
        let scratch = Scratch::new();
        let disk = Disk::new();
        let store = on(&scratch, &disk).open().unwrap();
        store.create_token("admin", Role::Admin, None).unwrap();
        drop(store);
        disk
    };
    // Tokens whose creation was begun, by name, with their secrets if acknowledged, and the outcome of
    // their revocation, if begun.
    type Made = Vec<(String, Option<NewToken>, Option<bool>)>;
    let made = std::cell::RefCell::new(Made::new());
    let images = at_every_operation(
        every(1, 2),
        every(4, 2),
        |scratch| moved(&base, scratch),
        |scratch, disk| {
            made.borrow_mut().clear();
            let Ok(store) = on(scratch, disk).open() else {
                return;
            };
            for n in 0..4 {
                let name = format!("{n}");
                let token = store.create_token(&name, Role::Read, None).ok();
                let revoked = token.as_ref().filter(|_| n % 2 == 0);
                let revoked = revoked.map(|token| store.revoke_token(&token.info.id).is_ok());
                made.borrow_mut().push((name, token, revoked));
            }
        },
        |scratch, image| {
            let store = on(scratch, image).open().unwrap();
            check_verify(&store);
            let left = store.tokens().unwrap();
            assert!(left.iter().any(|token| token.role == Role::Admin));
            for (name, token, revoked) in made.borrow().iter() {
                let is_there = left.iter().any(|token| token.name == *name);
                match (token, revoked) {
                    (None, _) | (Some(_), Some(false)) => {}
                    (Some(_), Some(true)) => assert!(!is_there),
                    (Some(_), None) => assert!(is_there),
                }
                if let Some(token) = token {
                    let found = store.authenticate(&token.secret);
                    assert_eq!(found.as_deref(), is_there.then_some(&token.info));
                }
            }
            store.create_token("more", Role::Admin, None).unwrap();
        },
    );
    println!("{images} images");
    assert!(images > every(100, 30), "{images}");
}

#[test]
fn a_table_is_rekeyed_whole_or_not_at_all() {
    let (table, old, new) = (name("secret"), "the old one", "the new one");
    let pass = |text: &str| Passphrase::new(text).unwrap();
    let scratch = Scratch::new();
    let disk = Disk::new();
    let mut images = Vec::new();
    {
        let store = on(&scratch, &disk)
            .passphrase(pass(old))
            .quick_keys()
            .open()
            .unwrap();
        let options = TableOptions {
            sealed: true,
            ..TableOptions::default()
        };
        store.create_table(&table, options).unwrap();
        for n in 0..40 {
            let txn = Txn::new().put(put(&format!("{n}"), &format!("\"{}\"", "y".repeat(2_000))));
            store.commit(&table, txn).unwrap();
        }
        let before = disk.counts();
        let rekeying = std::thread::spawn({
            let (store, table, new) = (store.clone(), table.clone(), pass(new));
            move || {
                store.rekey(&table, &new).unwrap();
                store.scrub().unwrap();
            }
        });
        // At growing numbers of operations, as far as this thread keeps up.
        let mut next = 1;
        while !rekeying.is_finished() {
            let counts = disk.counts();
            let done = counts.writes + counts.syncs - before.writes - before.syncs;
            if done >= next {
                images.push((false, disk.crash(next)));
                next = done + 4;
            }
            std::thread::yield_now();
        }
        rekeying.join().unwrap();
        for seed in 0..1 {
            images.push((true, disk.crash(seed)));
        }
        disk.power_off();
    }
    let stride = images.len().div_ceil(3);
    for (at, (rekeyed, image)) in images.iter().enumerate() {
        if at % stride != 0 && !rekeyed {
            continue;
        }
        let readable = |passphrase: &str| {
            let store = on(&scratch, image)
                .passphrase(pass(passphrase))
                .open()
                .unwrap();
            match store.snapshot(&table) {
                Ok(records) => {
                    assert_eq!(records.len(), 40);
                    let txn = Txn::new().put(put("more", "1"));
                    store.commit(&table, txn).unwrap();
                    check_verify(&store);
                    true
                }
                Err(ReadError::Seal { source, .. }) => {
                    assert!(matches!(source, SealError::WrongPassphrase), "{source:?}");
                    false
                }
                Err(e) => panic!("{e}"),
            }
        };
        let is_new = readable(new);
        assert!(is_new || !rekeyed);
        if !is_new {
            assert!(readable(old), "the table is lost");
        }
    }
}

/// A process ends after it has written a transaction that is not durable yet. The next process finds the
/// transaction, and may acknowledge it only once it is durable.
#[test]
fn an_unsynced_log_of_another_process_is_synced_before_it_counts() {
    let table = name("t");
    let txn = || {
        let id = TxnId::new("once").unwrap();
        Txn::new().id(id).put(put("a", "1"))
    };
    for seed in 0..20 {
        let scratch = Scratch::new();
        let disk = Disk::new();
        let first = on(&scratch, &disk)
            .synchronous(Synchronous::Normal)
            .open()
            .unwrap();
        first.create_table(&table, TableOptions::default()).unwrap();
        let unsynced = first.commit(&table, txn()).unwrap();
        // As after a kill: nothing is closed, and the lock is free.
        std::mem::forget(first);
        std::fs::remove_file(scratch.file("test.db.lock")).unwrap();
        let second = on(&scratch, &disk).open().unwrap();
        let acked = second.commit(&table, txn()).unwrap();
        assert_eq!(acked.position, unsynced.position);
        let image = disk.crash(seed);
        disk.power_off();
        drop(second);
        let third = on(&scratch, &image).open().unwrap();
        assert_eq!(third.table_info(&table).unwrap().position, acked.position);
    }
}

/// With `Synchronous::Normal`, a position may later identify another state than the lost one. The digest
/// distinguishes them.
#[test]
fn the_digest_tells_a_lost_state_from_the_one_in_its_place() {
    let table = name("t");
    let commit = |store: &Store, text: &str, n: u64| {
        let txn = Txn::new().put(put(&format!("{text}-{n}"), "1"));
        store.commit(&table, txn).unwrap().position
    };
    let mut taken = 0;
    for seed in 0..40 {
        let scratch = Scratch::new();
        let disk = Disk::new();
        let store = on(&scratch, &disk)
            .synchronous(Synchronous::Normal)
            .open()
            .unwrap();
        store.create_table(&table, TableOptions::default()).unwrap();
        let states: Vec<(Position, Digest)> = (0..10)
            .map(|n| {
                let at = commit(&store, "before", n);
                (at, store.digest_at(&table, at).unwrap().unwrap())
            })
            .collect();
        let image = disk.crash(seed);
        disk.power_off();
        drop(store);
        let store = on(&scratch, &image)
            .synchronous(Synchronous::Normal)
            .open()
            .unwrap();
        let Ok(info) = store.table_info(&table) else {
            // The table itself is lost.
            continue;
        };
        for n in info.position.seq..10 {
            commit(&store, "after", n);
        }
        for (at, digest) in states {
            let is_lost = at.seq > info.position.seq;
            let now = store.digest_at(&table, at).unwrap().unwrap();
            assert_eq!(now != digest, is_lost);
            taken += usize::from(is_lost);
        }
    }
    assert!(taken > 20, "{taken} positions stand for another state");
}
