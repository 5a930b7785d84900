//! Copies of tables on disk, so that a replica can start without its server: where they are, what
//! they look like, and the thread that writes them.

mod copy;
mod file;
mod keeper;

pub(crate) use file::Loaded;
pub use keeper::SaveError;
pub(crate) use keeper::{Keeper, Saver};

use crate::address::Address;
use hotread_proto::TableName;
use std::path::PathBuf;
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
    cache: Cache,
}

/// Extension of the file of a copy.
const COPY: &str = "copy";
/// Extension of a copy that is being written. One process at a time does: it holds the lock.
const UNFINISHED: &str = "unfinished";
/// Extension of the file that is locked by the process that writes.
const LOCK: &str = "lock";
/// Extension of the last copy that could not be used, kept for people to look at.
const ASIDE: &str = "set-aside";

impl Cache {
    pub(crate) fn place(&self, server: &Address, table: &TableName) -> Place {
        Place {
            table: table.clone(),
            server: server.authority.clone(),
            cache: self.clone(),
        }
    }
}

impl Place {
    /// The path of a file. Its name says which table and, by a hash, which server:
    /// `flags-9f86d081884c7d65.copy`. Names of tables are lower-case letters, digits, `_` and `-`, so that
    /// nothing in them means anything to a file system; with the hash they are not reserved on any either.
    fn file(&self, extension: &str) -> PathBuf {
        let hash = xxh3_64(self.server.as_bytes());
        let name = format!("{}-{hash:016x}.{extension}", self.table);
        self.cache.dir.join(name)
    }
}
