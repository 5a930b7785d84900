//! Copies of tables on disk, with which a replica can start without its server: their place, their format,
//! and the thread that writes them.

mod copy;
mod file;
mod keeper;

pub(crate) use file::Loaded;
pub use keeper::SaveError;
pub(crate) use keeper::{Keeper, Saver};

use hotread_proto::TableName;
use std::path::PathBuf;
use std::time::Duration;
use xxhash_rust::xxh3::xxh3_64;

/// Default of the least time between two copies of one table.
pub(crate) const SAVE_EVERY: Duration = Duration::from_secs(10);

/// Directory of the copies, and the interval between them.
#[derive(Debug, Clone)]
pub(crate) struct Cache {
    pub(crate) dir: PathBuf,
    pub(crate) every: Duration,
}

/// The files of one table of one server, or of several that serve the same tables.
#[derive(Debug, Clone)]
pub(crate) struct Place {
    table: TableName,
    server: String,
    cache: Cache,
}

/// Extension of the file of a copy.
const COPY: &str = "copy";
/// Extension of a copy that is being written, by the one process that holds the lock.
const UNFINISHED: &str = "unfinished";
/// Extension of the file that the writing process locks.
const LOCK: &str = "lock";
/// Extension of the last unusable copy, kept for inspection.
const ASIDE: &str = "set-aside";

impl Cache {
    pub(crate) fn place(&self, server: String, table: &TableName) -> Place {
        Place {
            table: table.clone(),
            server,
            cache: self.clone(),
        }
    }
}

impl Place {
    /// Returns the path of a file. Its name has the table and, by a hash, the server:
    /// `flags-9f86d081884c7d65.copy`. Names of tables are lower-case letters, digits, `_` and `-`, none of
    /// which is special to a file system; with the hash, the name is not reserved on any of them either.
    fn file(&self, extension: &str) -> PathBuf {
        let hash = xxh3_64(self.server.as_bytes());
        let name = format!("{}-{hash:016x}.{extension}", self.table);
        self.cache.dir.join(name)
    }
}
