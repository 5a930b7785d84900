//! The common interface of all measured systems: a server to start, writers that wait for the
//! acknowledgement, watchers that keep a map of their own.

use std::future::Future;
use std::path::Path;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use tempfile::TempDir;

use super::samples::Seen;
use crate::process::{self, Failure, Process};

/// An operation of a peer.
pub(super) type Doing<'a, T> = Pin<Box<dyn Future<Output = Result<T, Failure>> + Send + 'a>>;

/// A watcher at work.
pub(super) type Watching = Doing<'static, std::convert::Infallible>;

/// Durability of an acknowledged write, in SQLite's terms.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Class {
    /// `FULL`: a power failure.
    Full,
    /// `NORMAL`: a crash of the server's process, at best.
    Normal,
}

impl Class {
    /// SQLite's term for it.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Full => "FULL",
            Self::Normal => "NORMAL",
        }
    }
}

/// A system under test.
pub(super) struct System {
    /// Its row in the tables.
    pub(super) name: &'static str,
    /// Its promise.
    pub(super) class: Class,
    /// The program that it needs, if it is not this one.
    pub(super) program: Option<&'static str>,
    /// Starts a server with an empty table and its files in this folder; returns its address as well.
    pub(super) start: fn(&Path) -> (Process, String),
    /// Connects to write.
    pub(super) writer: fn(&str) -> Doing<'_, Box<dyn Writer>>,
    /// Connects a watcher. It is ready when this returns; the watching itself is the future inside,
    /// which ends only when something fails.
    pub(super) watcher: fn(&str, Arc<Seen>) -> Doing<'_, Watching>,
}

impl System {
    /// Its name as a child's argument.
    pub(super) fn argument(&self) -> String {
        format!("{} {}", self.name, self.class.name())
    }

    /// The program that it needs, if that is not installed.
    pub(super) fn missing(&self) -> Option<&'static str> {
        self.program
            .filter(|name| process::installed(name).is_none())
    }

    /// Starts a server, with its files in a new folder in `parent`.
    pub(super) fn start(&self, parent: &Path) -> Server {
        let folder = tempfile::tempdir_in(parent).expect("the folder is writable");
        let (process, address) = (self.start)(folder.path());
        Server {
            _process: process,
            address,
            _folder: folder,
        }
    }

    /// A connection to write through, as soon as the server accepts writes.
    pub(super) async fn writer(&self, address: &str) -> Result<Box<dyn Writer>, Failure> {
        let start = std::time::Instant::now();
        loop {
            match (self.writer)(address).await {
                Err(_) if start.elapsed() < process::PATIENCE => {}
                done => return done,
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
}

/// A running server; ended when dropped, and its files deleted.
pub(super) struct Server {
    _process: Process,
    pub(super) address: String,
    _folder: TempDir,
}

/// A connection that writes.
pub(super) trait Writer: Send + Sync {
    /// Puts one value, and waits for the acknowledgement.
    fn put<'a>(&'a self, key: &'a str, value: String) -> Doing<'a, ()>;

    /// Puts many values as one transaction if the system has transactions, else one after another without
    /// waiting in between; and waits for all acknowledgements.
    fn batch<'a>(&'a self, puts: &'a [(String, String)]) -> Doing<'a, ()>;
}
