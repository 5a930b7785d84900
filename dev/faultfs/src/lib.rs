//! A disk for SQLite, in memory, that loses power and fails, for tests of programs that store their
//! state in SQLite: of the state that they find afterwards, and of their behavior in the meantime.
//!
//! A [`Disk`] is a SQLite VFS. Connections opened on it write, sync, lock and share memory as they
//! do on a real disk. At any moment, from any thread, [`Disk::crash`] returns the disk that a power
//! failure at this moment would leave: everything that was synced, and some pieces of the rest. The
//! pieces follow from a seed, so one moment yields any number of failures. [`Disk::fail`] makes
//! chosen operations fail.
//!
//! # Costs
//!
//! - **Memory**: each file twice, as its readers see it and as it is durable, and a copy of each
//!   write until the next sync of its file. A program that never syncs keeps a copy of each write.
//!   Some 500 bytes for each `Disk` are never freed; see [`Disk::vfs`].
//! - **Time**: each operation takes one mutex of the disk. A sync copies the sectors written since
//!   the last one, a crash copies all files; other operations wait in the meantime.
//!
//! # Example
//!
//! ```
//! use hotread_faultfs::Disk;
//! use rusqlite::{Connection, OpenFlags};
//!
//! # fn main() -> rusqlite::Result<()> {
//! let disk = Disk::new();
//! let flags = OpenFlags::default();
//! let writer = Connection::open_with_flags_and_vfs("a.db", flags, disk.vfs())?;
//! writer.execute_batch(
//!     "PRAGMA journal_mode = WAL;
//!      PRAGMA synchronous = FULL;
//!      CREATE TABLE t (x);
//!      INSERT INTO t VALUES (1);",
//! )?;
//! for seed in 0..20 {
//!     let image = disk.crash(seed);
//!     let reader = Connection::open_with_flags_and_vfs("a.db", flags, image.vfs())?;
//!     let rows: i64 = reader.query_row("SELECT count(*) FROM t", [], |row| row.get(0))?;
//!     assert_eq!(rows, 1);
//! }
//! # Ok(())
//! # }
//! ```
//!
//! # How to test with it
//!
//! - **A program whose connections are opened by a library** without VFS support takes the disk
//!   from a URI: `file:a.db?vfs=` and [`Disk::vfs`], with `SQLITE_OPEN_URI`. The disk is not in the
//!   file system: there is no directory to create, and its files are found only by [`Disk::files`].
//! - **Power failures**: record the transactions that the program has acknowledged, call
//!   [`Disk::crash`], and only then record those that it has begun. The image must contain each
//!   acknowledged transaction, none that was not begun, and each one in between as a whole or not
//!   at all. Several seeds at one moment are cheaper than several moments, and find other mistakes.
//!   A failure during recovery is a crash of the image after it was opened.
//! - **Errors**: a [`Fault`] at the first operation, then at the second, and so on, until a run has
//!   met no fault ([`Counts::faults`]), covers every operation. With `times: u64::MAX` and
//!   [`Op::Any`] it becomes a power failure at each operation.
//! - **Plant a fault in the program**, such as `PRAGMA synchronous = OFF`, and check that the test
//!   fails.
//!
//! # The medium
//!
//! Assumptions and behavior of the simulation:
//!
//! - **Sectors** of 512 bytes are written whole or not at all. Of a write that was not synced, each
//!   sector's piece survives or not. In most images the pieces survive independently of each other,
//!   which also reorders them: within a sector, a page cache would not do so. In some images
//!   everything happens in order up to a point. The fraction that survives (none, little, half,
//!   nearly all, all) differs between images, and in some images between files.
//! - **Lengths** survive or not, independently of the data. A file that has become longer, but
//!   whose data was lost, reads as zeros there. A truncation may be undone.
//! - **Bytes that were not written are not harmed** (`SQLITE_IOCAP_POWERSAFE_OVERWRITE`, as
//!   SQLite's unix VFS assumes by default). Nothing else is promised to SQLite: neither atomic
//!   writes, nor ordered ones, nor that a file grows only with its data.
//! - **A sync that succeeded is reliable**: media that report success wrongly, or that damage
//!   durable data, are not simulated.
//! - **A sync that failed** is as harmful as on Linux: the data written so far counts as clean.
//!   Readers see it, but no later sync makes it durable unless its sector is written again. (A
//!   power failure before the next sync may preserve some of it; after that sync, none is left.)
//!   The file's length waits for the next sync.
//! - **A write that failed** may have written a prefix: nothing, everything or a part.
//! - **Names**: a file's creation is durable after its first sync. All names are durable as of the
//!   last sync of the directory. As in SQLite's unix VFS, that happens with the first sync of a log
//!   or a journal through each handle that may create it, and with a deletion that asks for it
//!   (`PRAGMA synchronous = EXTRA`). Otherwise a deleted file may reappear, and so may the file
//!   that had the name before, independently for each name.
//! - **Shared memory and locks** are gone after a power failure, as are files without a name.
//!
//! # What is not simulated
//!
//! Decay and misdirected writes; renames and directories (a name is just a name); memory-mapped
//! files (`PRAGMA mmap_size` has no effect, and returns no row); several processes; slowness. No
//! file grows beyond 1 GiB.
//!
//! A power failure follows from its seed and the state of the disk. A whole run of SQLite is not
//! repeatable, however: SQLite draws the salts of its log from the randomness of the default VFS,
//! and threads are scheduled arbitrarily.

mod disk;
mod fault;
mod file;
mod image;
mod locks;
mod shm;
mod vfs;

pub use fault::{Counts, Error, Fault, FileKind, Op};

use crate::disk::Model;
use crate::vfs::{Registration, locked};
use std::fmt;
use std::sync::{Arc, MutexGuard};

/// A simulated disk, registered with SQLite as a VFS. Clones refer to the same disk.
///
/// See the [crate's documentation](crate) for its effects on files.
#[derive(Clone)]
pub struct Disk {
    registration: Arc<Registration>,
}

impl Disk {
    /// Creates an empty disk, whose VFS is registered, but not as the default.
    ///
    /// # Panics
    ///
    /// If SQLite cannot be initialized, as under a failing allocator.
    pub fn new() -> Disk {
        Disk::of(Model::default())
    }

    fn of(model: Model) -> Disk {
        Disk {
            registration: Arc::new(Registration::new(model)),
        }
    }

    /// Returns the name of the VFS, unique within the process, for
    /// [`Connection::open_with_flags_and_vfs`](rusqlite::Connection::open_with_flags_and_vfs) or
    /// the `vfs` parameter of a URI.
    ///
    /// SQLite knows the name until the last clone of the disk is dropped. Connections that are open
    /// then keep the files and continue to work. With the last of them the files are freed, but not
    /// the record of the VFS, some 500 bytes: SQLite does not report when it stops using it.
    pub fn vfs(&self) -> &str {
        &self.registration.name
    }

    /// Returns the disk that a power failure at this moment would leave. The same seed at the same
    /// moment gives the same disk.
    ///
    /// May be called while connections write. A single write or sync is torn, too: an unsynced
    /// write may survive in part, and a sync under way has not happened.
    ///
    /// This disk continues to work; [`power_off`](Disk::power_off) stops it. The returned disk has
    /// power and no faults, and its [`counts`](Disk::counts) are zero. Costs a copy of all files,
    /// for which all operations wait.
    ///
    /// # Panics
    ///
    /// Same as [`new`](Disk::new).
    pub fn crash(&self, seed: u64) -> Disk {
        let image = self.model().crash(seed);
        Disk::of(image)
    }

    /// Makes all operations from now on fail with `SQLITE_IOERR`, except those under way, so that
    /// connections from before a power failure can do nothing. Such connections can be closed, and
    /// may still return cached data.
    pub fn power_off(&self) {
        self.model().power_off();
    }

    /// Adds a fault to those that are active.
    pub fn fail(&self, fault: Fault) {
        self.model().fail(fault);
    }

    /// Removes all faults. Their effects remain.
    pub fn heal(&self) {
        self.model().heal();
    }

    /// Returns the counts of operations so far. [`Counts::faults`] counts those that a fault made
    /// fail.
    pub fn counts(&self) -> Counts {
        self.model().counts()
    }

    /// Returns `true` if any file, as its readers see it, contains these bytes in one piece.
    /// Searches all files. The empty sequence is in each file.
    pub fn contains(&self, needle: &[u8]) -> bool {
        self.model()
            .files()
            .any(|(_, content)| find(content, needle))
    }

    /// Returns names and lengths, in bytes, of all files, by name. Shared memory is not a file.
    pub fn files(&self) -> Vec<(String, u64)> {
        let model = self.model();
        model
            .files()
            .map(|(name, content)| (name.to_owned(), content.len() as u64))
            .collect()
    }

    /// Returns a copy of a file as its readers see it.
    pub fn read(&self, name: &str) -> Option<Vec<u8>> {
        self.model().content(name).map(<[u8]>::to_vec)
    }

    /// Puts a file in place, durably, as if another program had renamed it to `name`: a connection
    /// that has a file of this name open keeps that file.
    pub fn write(&self, name: &str, bytes: impl Into<Vec<u8>>) {
        self.model().place(name, bytes.into());
    }

    fn model(&self) -> MutexGuard<'_, Model> {
        locked(&self.registration.model)
    }
}

impl Default for Disk {
    fn default() -> Self {
        Disk::new()
    }
}

impl fmt::Debug for Disk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Disk")
            .field("vfs", &self.vfs())
            .field("files", &self.files())
            .finish()
    }
}

fn find(haystack: &[u8], needle: &[u8]) -> bool {
    let Some(&first) = needle.first() else {
        return true;
    };
    let mut rest = haystack;
    while let Some(at) = rest.iter().position(|&byte| byte == first) {
        if rest[at..].starts_with(needle) {
            return true;
        }
        rest = &rest[at + 1..];
    }
    false
}
