//! Durable tables: in one SQLite file, and in memory behind a [`HotRead`](hotread::HotRead).
//!
//! A program opens a file, and has its tables in memory, where reading costs what it costs in
//! [`hotread`]; every acknowledged change is on disk.
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
//! let flags = store.table::<Flag>("flags")?; // created if it is not there
//! let mut reader = flags.reader(); // one for each thread
//! flags.put("checkout-v2", &Flag { on: true, percent: 5 })?; // on disk when this returns
//! assert!(reader.current()["checkout-v2"].on);
//! # Ok::<(), hotread_store::Error>(())
//! ```
//!
//! A [`Table`] is a state of the program's own type. Beneath it are records with JSON, for programs that
//! know no type: [`Store::handle`] reads them all, [`Store::commit`] and the calls beside it take names and
//! keys as they are stored.
//!
//! # What it costs
//!
//! | | |
//! |---|---|
//! | A read of a typed table | a load, a compare and a look-up in the program's own map |
//! | A read through a handle of whole records | a load, a compare and a search in a B-tree |
//! | A commit | an fsync, shared by all that wait at the time ([`Synchronous::Full`]); some microseconds without ([`Synchronous::Normal`]) |
//! | Memory | of a live table one allocation a record (43 bytes of header, key, category, value) and 16 bytes in each of its two trees |
//! | Disk | each record, and each change for as long as the history keeps it |
//! | | A table is let go of half a minute after its last handle, and loaded again when it is asked for |
//! | Opening | nothing is read until a table is first asked for: then about a second for a million records |
//!
//! # What it promises
//!
//! An acknowledged transaction is on disk whole, and survives the loss of power (with
//! [`Synchronous::Normal`]: the end of the process). Nothing is visible to any reader before that.
//! What is refused, or fails before COMMIT, leaves nothing behind. `docs/durability.md` says how,
//! what it assumes of the disk, and what the file looks like.
//!
//! All calls block; none needs an async runtime. The store runs one thread that writes and one that
//! opens read connections. Two threads serve all stores of the process: one completes publications which
//! readers have held up, and one moves typed tables on after commits of other callers. What a call reads can be given a [`Budget`].
//!
//! # Features
//!
//! `import`, which is off by default: the modules `import` and `export`, for records from files and into
//! files, as CSV and TSV, as JSON by lines, and as JSON.

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

/// The statements of the write path, for benchmarks that run the same ones bare.
#[doc(hidden)]
pub use view::sql;

/// The example of this crate's README is a test.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct CrateReadme;
