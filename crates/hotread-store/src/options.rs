//! Options for opening a store, and a re-export of the options of tables.

pub use hotread_proto::{Alter, History, TableInfo, TableOptions};
use serde::{Deserialize, Serialize};

/// The failures that an acknowledged write survives.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Synchronous {
    /// Writes survive a power failure. Each group of transactions costs an fsync.
    #[default]
    Full,
    /// Writes survive a crash of the process. A power failure may lose the most recent transactions,
    /// but corrupts nothing and leaves no transaction applied in part.
    Normal,
}
