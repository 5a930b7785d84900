//! What is measured from end to end, behind one face: a server to start, writers that wait for the
//! acknowledgement, watchers that keep a map of their own.

use std::future::Future;
use std::path::Path;
use std::pin::Pin;
use std::sync::Arc;

use hotread_store::Synchronous;
use tempfile::TempDir;

use super::peers::Peer;
use super::process::{self, Process};
use super::samples::Seen;
use super::{OURS, hotread};

/// Why a peer did not do what it was asked to.
pub(super) type Failure = Box<dyn std::error::Error + Send + Sync>;
/// Something that a peer does.
pub(super) type Doing<'a, T> = Pin<Box<dyn Future<Output = Result<T, Failure>> + Send + 'a>>;

/// A system under test.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum System {
    /// HotRead's server over a store with this setting.
    HotRead(Synchronous),
    /// Another one, where its client is built in.
    Peer(Peer),
}

/// What an acknowledged write survives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Class {
    /// The loss of power.
    Full,
    /// The end of the server's process, at best.
    Normal,
}

impl Class {
    /// SQLite's word for it.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Full => "FULL",
            Self::Normal => "NORMAL",
        }
    }
}

impl System {
    /// All of them, HotRead first.
    pub(super) fn all() -> impl Iterator<Item = Self> {
        let ours = [Synchronous::Full, Synchronous::Normal].map(Self::HotRead);
        ours.into_iter()
            .chain(Peer::ALL.into_iter().map(Self::Peer))
    }

    /// Those of one class that are installed, HotRead first.
    pub(super) fn of(class: Class) -> impl Iterator<Item = Self> {
        Self::all().filter(move |system| system.class() == class && system.missing().is_none())
    }

    /// Its row in the tables.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::HotRead(_) => OURS,
            Self::Peer(peer) => peer.name(),
        }
    }

    /// What it promises.
    pub(super) fn class(self) -> Class {
        match self {
            Self::HotRead(Synchronous::Full) => Class::Full,
            Self::HotRead(Synchronous::Normal) => Class::Normal,
            Self::Peer(peer) => peer.class(),
        }
    }

    /// Its name as a child's argument.
    pub(super) fn argument(self) -> &'static str {
        match self {
            Self::HotRead(Synchronous::Full) => "hotread-full",
            Self::HotRead(Synchronous::Normal) => "hotread-normal",
            Self::Peer(peer) => peer.argument(),
        }
    }

    /// The program that it needs, where that is not installed.
    pub(super) fn missing(self) -> Option<&'static str> {
        let program = match self {
            Self::HotRead(_) => return None,
            Self::Peer(peer) => peer.program(),
        };
        process::installed(program).is_none().then_some(program)
    }

    /// Starts a server with an empty table, with its files in a new folder in `parent`.
    ///
    /// # Panics
    /// If it does not start.
    pub(super) fn start(self, parent: &Path) -> Server {
        let folder = tempfile::tempdir_in(parent).expect("the folder is writable");
        let (process, address) = match self {
            Self::HotRead(synchronous) => {
                let server = hotread::Server::start(&folder.path().join("bench.db"), synchronous);
                server.into_parts()
            }
            Self::Peer(peer) => peer.start(folder.path()),
        };
        Server {
            system: self,
            _process: process,
            address,
            _folder: folder,
        }
    }

    /// A connection to write through.
    pub(super) fn writer(self, address: &str) -> Doing<'_, Box<dyn Writer>> {
        match self {
            Self::HotRead(_) => hotread::writer(address),
            Self::Peer(peer) => peer.writer(address),
        }
    }

    /// Connects a watcher. It is ready when this returns; the watching itself is the future inside,
    /// which ends only when something fails.
    pub(super) fn watcher(self, address: &str, seen: Arc<Seen>) -> Doing<'_, Watching> {
        match self {
            Self::HotRead(_) => hotread::watcher(address, seen),
            Self::Peer(peer) => peer.watcher(address, seen),
        }
    }
}

/// A running server; gone with its files when dropped.
pub(super) struct Server {
    system: System,
    _process: Process,
    pub(super) address: String,
    _folder: TempDir,
}

impl Server {
    /// A connection to write through, as soon as the server takes writes.
    ///
    /// # Errors
    /// If it takes none for a long time.
    pub(super) async fn writer(&self) -> Result<Box<dyn Writer>, Failure> {
        let start = std::time::Instant::now();
        loop {
            let failure = match self.system.writer(&self.address).await {
                Ok(writer) => return Ok(writer),
                Err(failure) => failure,
            };
            if start.elapsed() > process::PATIENCE {
                return Err(failure);
            }
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        }
    }
}

/// A connection that writes.
pub(super) trait Writer: Send + Sync {
    /// Puts one value, and waits for the acknowledgement.
    fn put<'a>(&'a self, key: &'a str, value: String) -> Doing<'a, ()>;

    /// Puts many values as one transaction where there are such, else one after the other without
    /// waiting in between; and waits for all acknowledgements.
    fn batch<'a>(&'a self, puts: &'a [(String, String)]) -> Doing<'a, ()>;
}

/// A watcher at work.
pub(super) type Watching = Doing<'static, std::convert::Infallible>;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_children_are_unique_and_rows_within_a_class() {
        let all: Vec<System> = System::all().collect();
        for (index, system) in all.iter().enumerate() {
            for other in &all[..index] {
                assert_ne!(system.argument(), other.argument());
                assert!(system.class() != other.class() || system.name() != other.name());
            }
        }
    }
}
