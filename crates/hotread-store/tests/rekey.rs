//! Cost of rekeying a small sealed table in a large database. A process of its own, because its memory
//! is measured.

#[allow(dead_code, reason = "it is for the other tests, too")]
#[path = "store/common.rs"]
mod common;

use common::{Scratch, name, put};
use hotread_faultfs::Disk;
use hotread_proto::{Replace, Txn};
use hotread_store::{History, Passphrase, Store, StoreBuilder, TableOptions};
use std::sync::{Mutex, PoisonError};

/// Bytes by which memory may grow: the page caches of the writer and of the copy, 64 MiB each, and some
/// more. A copy in memory would take the 200 MiB of the file as well.
const MAY_GROW_BYTES: u64 = 160 << 20;

/// Serializes the tests of this file, which share the memory that is measured.
static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());

fn passphrase(text: &str) -> Passphrase {
    Passphrase::new(text).unwrap()
}

/// Creates a table `secret` of ten records, and a table `large` of `bytes` bytes.
fn with_tables(builder: StoreBuilder, bytes: usize) -> Store {
    let store = builder
        .passphrase(passphrase("old"))
        .quick_keys()
        .open()
        .unwrap();
    let sealed = TableOptions {
        sealed: true,
        ..TableOptions::default()
    };
    let without_history = TableOptions {
        history: History {
            max_changes: 1,
            ..History::default()
        },
        ..TableOptions::default()
    };
    store.create_table(&name("secret"), sealed).unwrap();
    store.create_table(&name("large"), without_history).unwrap();
    let few = (0..10).fold(Txn::new(), |txn, n| txn.put(put(&n.to_string(), "1")));
    store.commit(&name("secret"), few).unwrap();
    let text = format!("\"{}\"", "x".repeat(2_000));
    let many = (0..bytes / text.len()).map(|n| put(&n.to_string(), &text));
    store
        .replace(&name("large"), Replace::new(many.collect()))
        .unwrap();
    store
}

#[test]
fn a_small_table_is_rekeyed_without_rewriting_a_large_file() {
    let _alone = ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner);
    let (scratch, disk) = (Scratch::new(), Disk::new());
    let builder = Store::builder(scratch.path()).vfs(disk.vfs());
    let store = with_tables(builder, 8 << 20);
    let writes = |work: &dyn Fn()| {
        let before = disk.counts().writes;
        work();
        disk.counts().writes - before
    };
    let rekeying = writes(&|| {
        store
            .rekey(&name("secret"), &passphrase("new"))
            .map(drop)
            .unwrap();
    });
    let scrubbing = writes(&|| store.scrub().unwrap());
    println!("{rekeying} writes for the new keys, {scrubbing} for the file");
    // Other tables wait for the rekeying only, unless the file is rewritten in the meantime.
    assert!(rekeying * 20 < scrubbing, "{rekeying} {scrubbing}");
    assert_eq!(store.verify().unwrap().problems, [""; 0]);
}

#[test]
fn others_write_while_a_table_is_rekeyed() {
    let _alone = ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner);
    let (scratch, disk) = (Scratch::new(), Disk::new());
    let builder = Store::builder(scratch.path()).vfs(disk.vfs());
    let store = with_tables(builder, 8 << 20);
    let more = (0..900).fold(Txn::new(), |txn, n| txn.put(put(&n.to_string(), "2")));
    store.commit(&name("secret"), more).unwrap();
    store
        .create_table(&name("other"), TableOptions::default())
        .unwrap();
    // The test measures time in writes to the disk.
    let writes = || disk.counts().writes;
    let begun = writes();
    let committed = std::thread::scope(|scope| {
        let rekeying = scope.spawn(|| store.rekey(&name("secret"), &passphrase("new")));
        while writes() == begun && !rekeying.is_finished() {
            std::thread::yield_now();
        }
        for n in 0..20 {
            let txn = Txn::new().put(put(&n.to_string(), "1"));
            store.commit(&name("other"), txn).unwrap();
        }
        let committed = writes() - begun;
        rekeying.join().unwrap().unwrap();
        committed
    });
    let before = writes();
    store.scrub().unwrap();
    let scrubbing = writes() - before;
    println!("{committed} writes until others had written, {scrubbing} for the file");
    // The other writers waited for the table at most, and not for the file.
    assert!(committed * 4 < scrubbing, "{committed} {scrubbing}");
    assert_eq!(store.table_info(&name("other")).unwrap().records, 20);
    assert_eq!(store.verify().unwrap().problems, [""; 0]);
}

/// Returns the peak memory of this process since the last call, in bytes, if the system reports it.
fn peak_bytes() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find(|line| line.starts_with("VmHWM:"))?;
    let kib: u64 = line.split_whitespace().nth(1)?.parse().ok()?;
    std::fs::write("/proc/self/clear_refs", "5").ok()?;
    Some(kib << 10)
}

#[test]
fn rekeying_and_rewriting_a_large_file_take_bounded_memory() {
    let _alone = ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner);
    let scratch = Scratch::new();
    let store = with_tables(Store::builder(scratch.path()), 96 << 20);
    let before = peak_bytes().and_then(|_| peak_bytes());
    store
        .rekey(&name("secret"), &passphrase("new"))
        .map(drop)
        .unwrap();
    store.scrub().unwrap();
    if let (Some(before), Some(after)) = (before, peak_bytes()) {
        let grown = after.saturating_sub(before);
        println!("memory grew by {} MiB", grown >> 20);
        assert!(grown < MAY_GROW_BYTES, "{grown}");
    }
    assert_eq!(store.verify().unwrap().problems, [""; 0]);
}
