//! How a store is opened, beside the options of tables.

pub use hotread_proto::{Alter, History, TableInfo, TableOptions};
use serde::{Deserialize, Serialize};

/// When an acknowledged write is safe.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Synchronous {
    /// Survives the loss of power. Each group of transactions costs an fsync.
    #[default]
    Full,
    /// Survives the end of the process. The loss of power may take the most recent ones, but
    /// damages nothing and leaves no transaction in half.
    Normal,
}
