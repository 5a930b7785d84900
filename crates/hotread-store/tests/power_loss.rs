//! Power is lost at any moment: what was acknowledged is there, whole, and nothing else has changed.

mod crash;
mod support;

use crash::{Acked, Ledger, Spec, check_verify, create_tables, judge, work};
use hotread_sim::{Disk, Fault, Op};
use hotread_store::{History, Passphrase, Store, StoreBuilder, Synchronous, TableOptions};
use std::sync::atomic::{AtomicBool, Ordering};
use support::{Scratch, key, name, put};

use hotread_proto::Txn;

const WORKERS: usize = 3;

fn on(scratch: &Scratch, disk: &Disk) -> StoreBuilder {
    Store::builder(scratch.path()).vfs(disk.vfs())
}

/// A disk as a power failure left it, and what was known then.
struct Image {
    disk: Disk,
    seed: u64,
    acked: Vec<Acked>,
    begun: Vec<Spec>,
}

/// Several threads commit, one reads; power is lost `moments` times, each in some ways.
fn run(synchronous: Synchronous, seed: u64, each: u64, moments: u64, pad: usize) -> Vec<Image> {
    let scratch = Scratch::new();
    let disk = Disk::new();
    let store = on(&scratch, &disk).synchronous(synchronous).open().unwrap();
    create_tables(&store);
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

/// Opens what is left, as a program would; gives how much is lost.
fn lost(image: &Image, synchronous: Synchronous) -> usize {
    let scratch = Scratch::new();
    // Names on the simulated disk are paths; each run has its own.
    let (path, _) = image.disk.files().into_iter().next().unwrap();
    let path = path.trim_end_matches("-wal").trim_end_matches("-journal");
    let bytes = |suffix: &str| image.disk.read(&format!("{path}{suffix}"));
    let here = scratch.path().to_str().unwrap().to_owned();
    let disk = Disk::new();
    for suffix in ["", "-wal", "-journal"] {
        if let Some(bytes) = bytes(suffix) {
            disk.write(&format!("{here}{suffix}"), bytes);
        }
    }
    let store = on(&scratch, &disk).synchronous(synchronous).open().unwrap();
    let lost = judge(&store, &image.acked, &image.begun);
    // Power is lost again. What was tried again is acknowledged now.
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

#[test]
fn acknowledged_transactions_survive_the_loss_of_power() {
    for seed in 0..12 {
        for image in run(Synchronous::Full, seed, 40, 8, 0) {
            assert_eq!(lost(&image, Synchronous::Full), 0, "seed {}", image.seed);
        }
    }
}
