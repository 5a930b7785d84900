//! The databases that the figures start from, and their folder.

use std::cell::{OnceCell, RefCell};
use std::collections::BTreeMap;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::rc::Rc;

use fastrand::Rng;
use hotread_proto::Txn;
use hotread_store::{Store, Synchronous, TableOptions};
use tempfile::TempDir;

use super::{bare, data};
use crate::{rounds, target};

/// Durations and repetitions of measurements, and the databases to start from.
pub type Plan = rounds::Plan<Files>;
/// The files of a run, for all its figures.
pub type Files = Rc<Scratch>;

/// A folder next to the benchmark's program, deleted at the end, with the databases that figures start
/// from: each is created when it is first needed.
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
            let folder = tempfile::Builder::new()
                .prefix("hotread-bench-")
                .tempdir_in(target::folder());
            folder.expect("the target folder is writable")
        });
        folder.path().join(name)
    }

    /// A new folder in the folder, deleted when it is dropped.
    pub(crate) fn folder(&self) -> TempDir {
        tempfile::tempdir_in(self.file("")).expect("the folder is writable")
    }

    /// A database with a number of records in one table, at rest: without a WAL, synced.
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
    pub(crate) fn copy(&self, records: usize) -> Database {
        self.copy_of(&self.base(records))
    }

    /// A copy of a database, on the disk.
    pub(crate) fn copy_of(&self, base: &Path) -> Database {
        let folder = self.folder();
        let path = folder.path().join("copy.db");
        fs::copy(base, &path).expect("the folder is writable");
        let file = File::open(&path).expect("the copy is there");
        file.sync_all().expect("the copy reaches the disk");
        Database {
            _folder: folder,
            path,
        }
    }
}

/// A database to write to, deleted when dropped.
pub(crate) struct Database {
    _folder: TempDir,
    pub(crate) path: PathBuf,
}

impl Database {
    /// Opens a store on it.
    pub(crate) fn open(&self, synchronous: Synchronous) -> Store {
        let builder = Store::builder(&self.path).synchronous(synchronous);
        let builder = builder.actor(data::actor());
        builder.open().expect("the copy is a database")
    }
}

/// Creates a database with a table of a number of records, and brings it to rest.
pub(crate) fn fill(path: &Path, records: usize) {
    let store = Store::builder(path).synchronous(Synchronous::Normal);
    let store = store.open().expect("the folder is writable");
    let table = data::table();
    store
        .create_table(&table, TableOptions::default())
        .expect("there is no table yet");
    let mut rng = Rng::with_seed(5);
    let mut tickets = Vec::new();
    for start in (0..records).step_by(data::BATCH) {
        let indices = start..(start + data::BATCH).min(records);
        let txn = indices.fold(Txn::new(), |txn, index| txn.put(data::put(index, &mut rng)));
        tickets.push(store.submit(&table, txn).expect("it is within the limits"));
    }
    for ticket in tickets {
        ticket.wait().expect("it commits");
    }
    drop(store);
    bare::bring_to_rest(path).expect("no other process has it open");
}

/// The kind of a folder's file system.
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
