//! Migration of a database to another version of its schema, in numbered steps that go both ways.
//! `docs/durability.md` describes the newest version.

use crate::error::{OpenError, StorageError, from_storage};
use crate::location::Location;
use crate::migrations;
use crate::open;
use std::path::Path;
use std::time::Duration;

pub use crate::migrations::{ALL, LATEST, Migration};

/// The migration status of a database.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
#[non_exhaustive]
pub struct Status {
    /// The schema version, from 1 to [`LATEST`] if this crate supports it.
    pub version: i32,
}

/// The reason a database could not be migrated. The database is unchanged: a migration is one
/// transaction.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum MigrateError {
    /// The database could not be opened.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// The database cannot be migrated down to that version.
    #[error("there is no schema version {to} to go down to from version {from}; {}", below(*.from))]
    NoSuchVersion {
        /// The database's version.
        from: i32,
        /// The requested version.
        to: i32,
    },
    /// SQLite failed.
    #[error(transparent)]
    Storage(#[from] StorageError),
}

fn below(version: i32) -> String {
    match version - 1 {
        0 => "it is the first one".to_owned(),
        last => format!("give one from 1 to {last}"),
    }
}

impl MigrateError {
    /// Returns the error's stable code.
    #[must_use]
    pub fn code(&self) -> hotread_proto::Code {
        match self {
            Self::Open(source) => source.code(),
            Self::NoSuchVersion { .. } => hotread_proto::Code::BadRequest,
            Self::Storage(source) => source.code(),
        }
    }
}

from_storage! { MigrateError::Storage from rusqlite::Error; }

/// Returns the version of a database, which is not changed. Supports databases that are too old to be
/// opened otherwise.
///
/// # Errors
/// If the file cannot be read, is not a HotRead database, or is newer than this version of the crate.
pub fn status(path: impl AsRef<Path>) -> Result<Status, OpenError> {
    let version = open::inspect_existing(path.as_ref())?;
    Ok(Status { version })
}

/// Migrates a database to the newest version, in one transaction. [`Store::open`](crate::Store::open)
/// does the same.
///
/// # Errors
/// As for opening it for writing; and if SQLite fails.
pub fn up(path: impl AsRef<Path>) -> Result<Status, MigrateError> {
    let mut at = Location::new(path.as_ref());
    let mut opened = open::raw_writer(&mut at, false, Duration::ZERO)?;
    let version = migrations::ascend(&mut opened.db)?;
    Ok(Status { version })
}

/// Migrates a database back to an older version, for a program that supports no newer one. Content that
/// the older version cannot represent is lost: see [`Migration::loses`].
///
/// # Errors
/// As for opening it for writing; if its version is `to` or lower already; if SQLite fails.
pub fn down(path: impl AsRef<Path>, to: i32) -> Result<Status, MigrateError> {
    let mut at = Location::new(path.as_ref());
    let mut opened = open::raw_writer(&mut at, false, Duration::ZERO)?;
    let db = &mut opened.db;
    let from = migrations::version(db)?;
    if to < 1 || to >= from {
        return Err(MigrateError::NoSuchVersion { from, to });
    }
    migrations::descend(db, from, to)?;
    Ok(Status { version: to })
}
