//! Options for opening a store, and a re-export of the options of tables.

pub use hotread_proto::{Alter, History, TableInfo, TableOptions};
use serde::{Deserialize, Serialize};

/// The failures that an acknowledged write survives.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Synchronous {
    /// Writes survive the loss of power. Each group of transactions costs an fsync.
    #[default]
    Full,
    /// Writes survive the end of the process. The loss of power may take the most recent transactions,
    /// but corrupts nothing and leaves no transaction applied in part.
    Normal,
}
