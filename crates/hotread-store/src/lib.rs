//! Durable tables in one SQLite file, kept in memory behind a [`HotRead`](hotread::HotRead).
//!
//! A program opens a file and has its tables in memory, where a read costs what it costs in
//! [`hotread`]. Every acknowledged change is on disk.
//!
//! ```
//! use hotread_store::Store;
//!
//! #[derive(Clone, serde::Serialize, serde::Deserialize)]
//! struct Flag {
//!     on: bool,
//!     percent: u8,
//! }
//!
//! # let dir = tempfile::tempdir().expect("a folder");
//! # let path = dir.path().join("flags.db");
//! let store = Store::open(path)?;
//! let flags = store.table::<Flag>("flags")?; // created if missing
//! let mut reader = flags.reader(); // one for each thread
//! flags.put("checkout-v2", &Flag { on: true, percent: 5 })?; // on disk when this returns
//! assert!(reader.current()["checkout-v2"].on);
//! # Ok::<(), hotread_store::Error>(())
//! ```
//!
//! A [`Table`] is a state of the program's own type. Beneath it are records with JSON values, for
//! programs without a type for them: [`Store::handle`] reads whole records, and [`Store::commit`] and
//! the calls next to it take names and keys as they are stored.
//!
//! # Costs
//!
//! | | |
//! |---|---|
//! | A read of a typed table | a load, a compare and a look-up in the program's own map |
//! | A read through a handle of whole records | a load, a compare and a search in a B-tree |
//! | A commit | an fsync, shared by all commits that wait at the time ([`Synchronous::Full`]); a few microseconds without one ([`Synchronous::Normal`]) |
//! | Memory | for each record of a live table, one allocation (43 bytes of header, key, category, value) and 16 bytes in each of two trees |
//! | | A live table is unloaded half a minute after its last handle is dropped, and loaded again on the next request |
//! | Disk | each record, and each change for as long as the history keeps it |
//! | Opening | reads no records; a table is loaded on first use: about a second for a million records |
//!
//! # Guarantees
//!
//! An acknowledged transaction is on disk as a whole and survives a power failure (with
//! [`Synchronous::Normal`]: a crash of the process). No reader sees it before that. A transaction that
//! is refused, or that fails before COMMIT, leaves nothing behind. `docs/durability.md` explains how
//! this is achieved, what is assumed of the disk, and the format of the file.
//!
//! All calls block, and no async runtime is needed. The store runs one thread that writes and one that
//! opens read connections. Two threads serve all stores of the process: one completes publications that
//! readers have blocked, and one applies commits of other callers to typed tables. A [`Budget`] bounds
//! the time that reading calls take.
//!
//! # Features
//!
//! `import` (off by default): the modules `import` and `export`, which read records from files and
//! write them to files as CSV, TSV, JSON lines and JSON.

#![warn(missing_docs)]

mod backup;
mod budget;
mod committer;
mod error;
#[cfg(feature = "import")]
pub mod export;
mod feed;
mod files;
#[doc(hidden)]
pub mod fuzzing;
#[cfg(feature = "import")]
pub mod import;
mod inode;
mod live;
mod location;
mod lock;
pub mod migrate;
mod migrations;
mod open;
mod options;
mod pin;
mod read;
mod replace;
mod rows;
mod schema;
mod seal;
mod search_index;
mod staging;
mod states;
mod stats;
mod store;
mod subscription;
mod table;
mod temporary;
mod text;
mod ticket;
mod token;
mod typed;
mod verify;
mod view;
mod wal;

pub use budget::Budget;
pub use error::{BackupError, CommitError, Holder, OpenError, ReadError, StorageError, TableError};
pub use hotread_proto as proto;
pub use hotread_proto::{
    Actor, CallbackPanics, Entries, MAX_CHANGES, Note, OnChange, PutOptions, TableTxn, TypedTable,
};
pub use options::{Alter, History, Synchronous, TableInfo, TableOptions};
pub use pin::{MAX_PINNED_AGE, MAX_PINNED_BYTES, MAX_PINNED_CHANGES, Pin};
pub use read::{DEFAULT_PAGE, Found, MAX_PAGE, MAX_PAGE_BYTES, Page, Scan, Search};
pub use schema::TableSchema;
pub use seal::{Passphrase, PassphraseError, SHORT_PASSPHRASE_BYTES, SealError};
pub use stats::{COMMIT_BOUNDS_US, GROUP_BOUNDS, Histogram, Stats};
pub use store::{Store, StoreBuilder};
pub use subscription::{Recent, Subscription};
pub use ticket::{GrowthTicket, ReplaceTicket, Replaced, Ticket};
pub use token::{
    MAX_TOKEN_NAME_BYTES, MAX_TOKEN_TABLES, MAX_TOKENS, NewToken, ParseRoleError, Role, TokenError,
    TokenInfo,
};
pub use typed::{Error, Status, Table, WaitForError};
pub use verify::{Report, VerifiedTable};
pub use view::REMEMBERED_TXNS;
pub use wal::WalDamage;

/// The statements of the write path, for benchmarks that run them without the store.
#[doc(hidden)]
pub use view::sql;

/// Runs the example of this crate's README as a test.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct CrateReadme;
