//! Copies of tables on disk, so that a replica can start without its server: where they are, what
//! they look like, and the thread that writes them.

mod copy;
mod file;
mod keeper;

pub use keeper::SaveError;
pub(crate) use keeper::{Keeper, Saver};

use crate::address::Address;
use hotread_proto::TableName;
use std::path::{Path, PathBuf};
use std::time::Duration;
use xxhash_rust::xxh3::xxh3_64;

/// Least time between two copies of one table, unless the builder is told otherwise.
pub(crate) const SAVE_EVERY: Duration = Duration::from_secs(10);

/// Where copies are kept, and how often they are written.
#[derive(Debug, Clone)]
pub(crate) struct Cache {
    pub(crate) dir: PathBuf,
    pub(crate) every: Duration,
}

/// The files of one table of one server.
#[derive(Debug, Clone)]
pub(crate) struct Place {
    table: TableName,
    server: String,
    dir: PathBuf,
    /// What the names of the files begin with.
    stem: String,
    every: Duration,
}

impl Cache {
    /// The name says which table and, by a hash, which server: `flags-9f86d081884c7d65`. Names of
    /// tables are lower-case letters, digits, `_` and `-`, so that nothing in them means anything to
    /// a file system; with the hash they are not reserved on any either.
    pub(crate) fn place(&self, server: &Address, table: &TableName) -> Place {
        let server = server.authority().to_owned();
        let hash = xxh3_64(server.as_bytes());
        Place {
            table: table.clone(),
            dir: self.dir.clone(),
            stem: format!("{table}-{hash:016x}"),
            every: self.every,
            server,
        }
    }
}

impl Place {
    /// The copy.
    fn copy(&self) -> PathBuf {
        self.file("copy")
    }

    /// A copy that is being written. One process at a time does: it holds the [lock](Self::lock).
    fn unfinished(&self) -> PathBuf {
        self.file("unfinished")
    }

    /// Is locked by whoever writes.
    fn lock(&self) -> PathBuf {
        self.file("lock")
    }

    /// The last copy that could not be used, kept for somebody to look at.
    fn aside(&self) -> PathBuf {
        self.file("set-aside")
    }

    fn file(&self, extension: &str) -> PathBuf {
        self.dir.join(format!("{}.{extension}", self.stem))
    }

    fn dir(&self) -> &Path {
        &self.dir
    }
}
