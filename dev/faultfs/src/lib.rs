//! A disk for SQLite, in memory, that loses power and fails: to test what a program that stores
//! its state in SQLite finds again, and what it does meanwhile.
//!
//! A [`Disk`] is a SQLite VFS. Connections opened on it write, sync, lock and share memory as they
//! do on a real disk. At any moment, from any thread, [`Disk::crash`] returns the disk that a power
//! failure at this moment would leave: everything that was synced, and of the rest some pieces.
//! Which pieces follows from a seed, so one moment yields as many failures as one cares to look at.
//! [`Disk::fail`] makes chosen operations fail.
//!
//! # What it costs
//!
//! - **Memory**: each file twice, as its readers see it and as it is durable, and a copy of each
//!   write until the next sync of its file. A program that never syncs pays for all it ever wrote.
//!   Some 500 bytes for each `Disk` are never freed, see [`Disk::vfs`].
//! - **Time**: each operation takes one mutex of the disk. A sync copies the sectors written since
//!   the last, a crash all files; either holds up all others meanwhile.
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
//! - **A program whose connections are opened by a library** that knows no VFS takes the disk from
//!   a URI: `file:a.db?vfs=` and [`Disk::vfs`], with `SQLITE_OPEN_URI`. Nothing of it is in the
//!   file system: there is no directory to create and no file to look for but with
//!   [`Disk::files`].
//! - **Power failures**: note what the program has acknowledged, call [`Disk::crash`], and only then
//!   note what it has begun. Of the image, what was acknowledged must be there, what was not begun
//!   must not, and nothing in between may be there in part. Several seeds at one moment are
//!   cheaper than several moments, and find other mistakes. A failure during recovery is a crash
//!   of the image, once it was opened.
//! - **Errors**: a [`Fault`] at the first operation, then at the second, and so on, until a run has
//!   met none ([`Counts::faults`]): no place is left out. With `times: u64::MAX` and [`Op::Any`]
//!   it becomes a power failure at each operation.
//! - **Plant a fault in the program**, such as `PRAGMA synchronous = OFF`, and see the test fail.
//!
//! # The medium
//!
//! What the simulation assumes, and lets happen:
//!
//! - **Sectors** of 512 bytes are written whole or not at all. Of a write that was not synced, each
//!   sector's piece survives or not. In most images the pieces fare independently of each other,
//!   which reorders them, too: within a sector that is more than a page cache would do. In some
//!   images everything happens in order up to a point. How much survives (nothing, little, half,
//!   nearly all, all) differs between images, and in some between files.
//! - **Lengths** survive or not, apart from the data. A file that has become longer, but whose data
//!   was lost, reads as zeros there. A truncation may be undone.
//! - **What was not written is not harmed** (`SQLITE_IOCAP_POWERSAFE_OVERWRITE`, as SQLite's unix
//!   VFS assumes by default). Nothing else is promised to SQLite: neither atomic writes, nor
//!   ordered ones, nor that a file grows only with its data.
//! - **A sync that succeeded is true**: media that lie about it, or that damage what was durable,
//!   are not simulated.
//! - **A sync that failed** is as bad as on Linux: what was written so far counts as clean. Readers
//!   see it, but no later sync makes it durable unless its sector is written again. (Before the
//!   next sync a power failure may find some of it durable, after it none.) The file's length
//!   waits for the next sync.
//! - **A write that failed** may have written a prefix: nothing, everything or a part.
//! - **Names**: that a file was created is durable after its first sync. All names are durable as
//!   they are once the directory was synced. As in SQLite's unix VFS, that happens with the first
//!   sync of a log or a journal through each handle that may create it, and with a deletion that
//!   asks for it (`PRAGMA synchronous = EXTRA`). Otherwise a deleted file may be there again, and so
//!   may the one that had the name before; each name fares for itself.
//! - **Shared memory and locks** are gone after a power failure, as are files without a name.
//!
//! # What is not simulated
//!
//! Decay and misdirected writes; renames and directories (a name is just a name); memory-mapped
//! files (`PRAGMA mmap_size` has no effect, and returns no row); several processes; slowness. No
//! file grows beyond 1 GiB.
//!
//! A power failure follows from its seed and the state of the disk. A whole run of SQLite does not
//! repeat, though: it draws the salts of its log from the randomness of the default VFS, and threads
//! take turns as they like.

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

/// A simulated disk, known to SQLite as a VFS. Clones are the same disk.
///
/// See the [crate's documentation](crate) for what it does to files.
#[derive(Clone)]
pub struct Disk {
    registration: Arc<Registration>,
}

impl Disk {
    /// An empty disk, whose VFS is registered, but not as the default.
    ///
    /// # Panics
    ///
    /// If SQLite cannot be initialised, as under a failing allocator.
    pub fn new() -> Disk {
        Disk::of(Model::default())
    }

    fn of(model: Model) -> Disk {
        Disk {
            registration: Arc::new(Registration::new(model)),
        }
    }

    /// The name of the VFS, unique within the process, for
    /// [`Connection::open_with_flags_and_vfs`](rusqlite::Connection::open_with_flags_and_vfs) or
    /// the `vfs` parameter of a URI.
    ///
    /// SQLite knows the name until the last clone of the disk is dropped. Connections that are open
    /// then keep the files and go on working. With the last of them the files are freed, but not the
    /// record of the VFS, some 500 bytes: SQLite does not tell when it uses it no longer.
    pub fn vfs(&self) -> &str {
        &self.registration.name
    }

    /// The disk that a power failure at this moment would leave. The same seed at the same moment
    /// leaves the same.
    ///
    /// May be called while connections write. What happens in a single write or sync is torn, too:
    /// an unsynced write may survive in part, and a sync under way is one that has not happened.
    ///
    /// This disk goes on; [`power_off`](Disk::power_off) stops it. The other one has power and no
    /// faults, and its [`counts`](Disk::counts) are zero. Costs a copy of all files, and holds up
    /// all operations meanwhile.
    ///
    /// # Panics
    ///
    /// As [`new`](Disk::new).
    pub fn crash(&self, seed: u64) -> Disk {
        let image = self.model().crash(seed);
        Disk::of(image)
    }

    /// From now on all operations fail with `SQLITE_IOERR`, those under way excepted, so that
    /// connections from before a power failure can do nothing. They can be closed, and what they
    /// have cached they may still return.
    pub fn power_off(&self) {
        self.model().power_off();
    }

    /// Lets operations fail, in addition to those that already shall.
    pub fn fail(&self, fault: Fault) {
        self.model().fail(fault);
    }

    /// Forgets all faults. What they have done stays.
    pub fn heal(&self) {
        self.model().heal();
    }

    /// What has been asked of the disk so far. [`Counts::faults`] tells whether a fault was met.
    pub fn counts(&self) -> Counts {
        self.model().counts()
    }

    /// Whether these bytes, in one piece, are in any file as its readers see it. Looks through all
    /// of them. No bytes are in each file.
    pub fn contains(&self, needle: &[u8]) -> bool {
        self.model()
            .files()
            .any(|(_, content)| find(content, needle))
    }

    /// Names and lengths, in bytes, of all files, by name. Shared memory is no file.
    pub fn files(&self) -> Vec<(String, u64)> {
        let model = self.model();
        model
            .files()
            .map(|(name, content)| (name.to_owned(), content.len() as u64))
            .collect()
    }

    /// A copy of a file as its readers see it.
    pub fn read(&self, name: &str) -> Option<Vec<u8>> {
        self.model().content(name).map(<[u8]>::to_vec)
    }

    /// Puts a file in place, durably, as if another program had renamed it to `name`: whoever has a
    /// file of this name open keeps that one.
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
