//! Durable tables: in one SQLite file, and in memory behind a [`HotRead`](hotread::HotRead).
//!
//! A program opens a file, and has its tables in memory, where reading costs what it costs in
//! [`hotread`]; every acknowledged change is on disk.
//!
//! ```
//! use hotread_store::proto::{Key, Put, TableName, Txn, Value};
//! use hotread_store::{Store, TableOptions};
//!
//! # let dir = tempfile::tempdir()?;
//! # let path = dir.path().join("flags.db");
//! let store = Store::open(path)?;
//! let flags = TableName::new("flags")?;
//! store.create_table(&flags, TableOptions::default())?;
//!
//! let mut reader = store.handle(&flags)?; // one for each thread
//! let on = Put::new(Key::new("checkout-v2")?, Value::parse(br#"{"on": true}"#)?);
//! let committed = store.commit(&flags, Txn::new().put(on))?; // on disk when this returns
//!
//! let record = reader.current().get("checkout-v2").expect("it was committed");
//! assert_eq!(record.value(), br#"{"on":true}"#);
//! assert_eq!(record.seq(), committed.position.seq);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # What it costs
//!
//! | | |
//! |---|---|
//! | A read through a handle | a load, a compare and a search in a B-tree |
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
//! All calls block; none needs an async runtime. The store runs one thread that writes, one that
//! opens read connections, and one for all live tables of the process that completes publications which
//! readers have held up. What a call reads can be given a [`Budget`].

#![warn(missing_docs)]

mod admin;
mod backup;
mod budget;
mod builder;
mod clear;
mod committer;
mod error;
mod expired;
pub mod export;
mod feed;
#[doc(hidden)]
pub mod fuzzing;
mod house;
pub mod import;
mod inode;
mod live;
mod lock;
pub mod migrate;
mod open;
mod options;
mod pin;
mod queue;
mod read;
mod replace;
mod rows;
mod schema;
mod seal;
mod staging;
mod stats;
mod store;
mod subscription;
mod table;
mod text;
mod ticket;
mod token;
mod verify;
mod view;
mod wal;

pub use budget::Budget;
pub use builder::StoreBuilder;
pub use error::{BackupError, CommitError, Holder, OpenError, ReadError, StorageError, TableError};
pub use hotread_proto as proto;
pub use options::{History, Synchronous, TableInfo, TableOptions};
pub use pin::{MAX_PINNED_AGE, MAX_PINNED_BYTES, MAX_PINNED_CHANGES, Pin};
pub use read::{DEFAULT_PAGE, MAX_CHANGES, MAX_PAGE, Page, Scan, Search};
pub use seal::{Passphrase, PassphraseError, SHORT_PASSPHRASE_BYTES, SealError};
pub use stats::{COMMIT_BOUNDS_US, GROUP_BOUNDS, Histogram, Stats};
pub use store::Store;
pub use subscription::{Recent, Subscription};
pub use ticket::{GrowthTicket, ReplaceTicket, Replaced, Ticket};
pub use token::{
    MAX_TOKEN_NAME_BYTES, MAX_TOKEN_TABLES, MAX_TOKENS, NewToken, ParseRoleError, Role, TokenError,
    TokenInfo,
};
pub use verify::{Report, VerifiedTable};
pub use view::REMEMBERED_TXNS;
pub use wal::WalDamage;

/// The statements of the write path, for benchmarks that run the same ones bare.
#[doc(hidden)]
pub use view::sql;
