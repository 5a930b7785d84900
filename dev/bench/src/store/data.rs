//! The records that the figures use, the databases they start from, and where those lie.

use std::cell::{OnceCell, RefCell};
use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};

use fastrand::Rng;
use hotread_proto::{Actor, Key, Put, TableName, Txn, Value};
use hotread_store::{Store, Synchronous, TableOptions};
use tempfile::TempDir;

use super::bare;
use crate::target;

/// About how long a value is, in bytes.
pub(crate) const VALUE_BYTES: usize = 100;
/// Records of one transaction when a database is filled.
pub(crate) const BATCH: usize = 1_000;

/// The table of all figures.
pub(crate) fn table() -> TableName {
    TableName::new("accounts").expect("a valid name")
}

/// The actor of all transactions.
pub(crate) fn actor() -> Actor {
    Actor::new("bench").expect("a valid name")
}

/// The key of record `index`; keys order as their indices.
pub(crate) fn key(index: usize) -> Key {
    Key::new(&format!("account-{index:08}")).expect("a valid key")
}

/// A value that no two draws share.
pub(crate) fn json(rng: &mut Rng) -> String {
    format!(
        r#"{{"plan":"team","seats":{:03},"quota":{:06},"token":"{:016x}{:016x}","since":{:010}}}"#,
        rng.u32(100..1_000),
        rng.u32(100_000..1_000_000),
        rng.u64(..),
        rng.u64(..),
        rng.u32(1_000_000_000..),
    )
}

/// Record `index`, with a new value.
pub(crate) fn put(index: usize, rng: &mut Rng) -> Put {
    let value = Value::parse(json(rng).as_bytes()).expect("valid JSON");
    Put::new(key(index), value)
}

/// New values for all of so many records, in random order: any hundred neighbours are a hundred
/// random keys, all different.
pub(crate) fn shuffled_puts(records: usize, seed: u64) -> Vec<Put> {
    let mut rng = Rng::with_seed(seed);
    let mut order: Vec<usize> = (0..records).collect();
    rng.shuffle(&mut order);
    order.iter().map(|index| put(*index, &mut rng)).collect()
}

/// A transaction of the puts from `at` on, around the end.
pub(crate) fn txn(puts: &[Put], at: usize, len: usize) -> Txn {
    let len = len.min(puts.len());
    let neighbours = (0..len).map(|offset| &puts[(at + offset) % puts.len()]);
    neighbours.fold(Txn::new(), |txn, put| txn.put(put.clone()))
}

/// Writes so many records as newline-delimited JSON, ordered by key, as an export has them.
pub(crate) fn write_ndjson(path: &Path, records: usize) -> std::io::Result<u64> {
    let mut rng = Rng::with_seed(11);
    let mut file = BufWriter::with_capacity(1 << 20, File::create(path)?);
    for index in 0..records {
        let (key, value) = (key(index), json(&mut rng));
        writeln!(file, r#"{{"key":"{}","value":{value}}}"#, key.as_str())?;
    }
    let file = file.into_inner()?;
    file.sync_all()?;
    Ok(file.metadata()?.len())
}

/// A folder beside the benchmark's program, gone at the end, with the databases that figures start
/// from: each is made when it is first asked for.
#[derive(Debug, Default)]
pub struct Scratch {
    folder: OnceCell<TempDir>,
    /// By the number of their records.
    bases: RefCell<BTreeMap<usize, PathBuf>>,
}

impl Scratch {
    /// A path in the folder.
    pub(crate) fn file(&self, name: &str) -> PathBuf {
        let folder = self.folder.get_or_init(|| {
            let mut builder = tempfile::Builder::new();
            builder.prefix("hotread-bench-");
            builder
                .tempdir_in(target::folder())
                .expect("the target folder is writable")
        });
        folder.path().join(name)
    }

    /// A database with so many records in one table, at rest: without a WAL, synced.
    pub(crate) fn base(&self, records: usize) -> PathBuf {
        if let Some(path) = self.bases.borrow().get(&records) {
            return path.clone();
        }
        let path = self.file(&format!("base-{records}.db"));
        fill(&path, records);
        self.bases.borrow_mut().insert(records, path.clone());
        path
    }

    /// A copy of such a database.
    pub(crate) fn copy(&self, records: usize) -> Copy {
        let base = self.base(records);
        let folder = tempfile::tempdir_in(self.file("")).expect("the folder is writable");
        let path = folder.path().join("copy.db");
        fs::copy(base, &path).expect("the folder is writable");
        let file = File::open(&path).expect("the copy is there");
        file.sync_all().expect("the copy reaches the disk");
        Copy {
            _folder: folder,
            path,
        }
    }
}

/// A database to write to, gone when dropped.
pub(crate) struct Copy {
    _folder: TempDir,
    pub(crate) path: PathBuf,
}

impl Copy {
    /// The store on it.
    pub(crate) fn open(&self, synchronous: Synchronous) -> Store {
        let builder = Store::builder(&self.path).synchronous(synchronous);
        let builder = builder.actor(actor());
        builder.open().expect("the copy is a database")
    }
}

/// Makes a database with a table of so many records, and brings it to rest.
pub(crate) fn fill(path: &Path, records: usize) {
    let store = Store::builder(path).synchronous(Synchronous::Normal);
    let store = store.open().expect("the folder is writable");
    let table = table();
    store
        .create_table(&table, TableOptions::default())
        .expect("there is no table yet");
    let mut rng = Rng::with_seed(5);
    let mut tickets = Vec::new();
    for start in (0..records).step_by(BATCH) {
        let indices = start..(start + BATCH).min(records);
        let txn = indices.fold(Txn::new(), |txn, index| txn.put(put(index, &mut rng)));
        tickets.push(store.submit(&table, txn).expect("it is within the limits"));
    }
    for ticket in tickets {
        ticket.wait().expect("it commits");
    }
    drop(store);
    bare::bring_to_rest(path).expect("nobody else has it open");
}

/// The kind of the file system on which a folder lies.
pub(crate) fn file_system(folder: &Path) -> String {
    let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
    let folder = folder.canonicalize().unwrap_or_else(|_| folder.to_owned());
    // "36 35 98:0 /root /mount/point options - type source …", the deepest mount counts.
    let mounts = mounts.lines().filter_map(|line| {
        let (place, kind) = line.split_once(" - ")?;
        let point = place.split(' ').nth(4)?;
        let kind = kind.split(' ').next()?;
        folder.starts_with(point).then_some((point.len(), kind))
    });
    let deepest = mounts.max_by_key(|(depth, _)| *depth);
    deepest.map_or("file system".into(), |(_, kind)| {
        format!("{kind} file system")
    })
}
