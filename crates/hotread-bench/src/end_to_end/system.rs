//! What is measured from end to end, behind one face: a server to start, writers that wait for the
//! acknowledgement, watchers that keep a map of their own.

use std::collections::HashMap;
use std::future::Future;
use std::path::Path;
use std::pin::Pin;
use std::sync::Arc;

use hotread_store::Synchronous;
use parking_lot::RwLock;
use tempfile::TempDir;

use super::hotread;
use super::peers::{etcd, nats, redis};
use super::process::{self, Process};
use super::row::Row;
use super::samples::Seen;

/// Why a peer did not do what it was asked to.
pub(super) type Failure = Box<dyn std::error::Error + Send + Sync>;
/// Something that a peer does.
pub(super) type Doing<'a, T> = Pin<Box<dyn Future<Output = Result<T, Failure>> + Send + 'a>>;

/// A system under test.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum System {
    /// HotRead's server over a store with this setting.
    HotRead(Synchronous),
    /// etcd with its defaults: an fsync for each write, or group of them.
    Etcd,
    /// Redis with `appendfsync always`, values by SET and PUBLISH in one MULTI.
    RedisAlways,
    /// The same with Redis's defaults: a snapshot now and then.
    RedisPubSub,
    /// A key-value bucket of NATS JetStream with its defaults: synced every two minutes.
    JetStream,
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
    /// All of them, HotRead first in each class.
    pub(super) const ALL: [Self; 6] = [
        Self::HotRead(Synchronous::Full),
        Self::Etcd,
        Self::RedisAlways,
        Self::HotRead(Synchronous::Normal),
        Self::JetStream,
        Self::RedisPubSub,
    ];

    /// Those of one class that are installed, HotRead first.
    pub(super) fn of(class: Class) -> impl Iterator<Item = Self> {
        let all = Self::ALL.into_iter();
        all.filter(move |system| system.class() == class && system.missing().is_none())
    }

    /// Its row in the tables.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::HotRead(_) => "HotRead",
            Self::Etcd => "etcd",
            Self::RedisAlways => "Redis, appendfsync always",
            Self::RedisPubSub => "Redis pub/sub",
            Self::JetStream => "JetStream KV",
        }
    }

    /// What it promises.
    pub(super) fn class(self) -> Class {
        match self {
            Self::HotRead(Synchronous::Full) | Self::Etcd | Self::RedisAlways => Class::Full,
            Self::HotRead(Synchronous::Normal) | Self::JetStream | Self::RedisPubSub => {
                Class::Normal
            }
        }
    }

    /// Its name as a child's argument.
    pub(super) fn argument(self) -> &'static str {
        match self {
            Self::HotRead(Synchronous::Full) => "hotread-full",
            Self::HotRead(Synchronous::Normal) => "hotread-normal",
            Self::Etcd => "etcd",
            Self::RedisAlways => "redis-always",
            Self::RedisPubSub => "redis-pubsub",
            Self::JetStream => "jetstream",
        }
    }

    /// The program that it needs, where that is not installed.
    pub(super) fn missing(self) -> Option<&'static str> {
        let program = match self {
            Self::HotRead(_) => return None,
            Self::Etcd => etcd::PROGRAM,
            Self::RedisAlways | Self::RedisPubSub => redis::PROGRAM,
            Self::JetStream => nats::PROGRAM,
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
            Self::Etcd => etcd::start(folder.path()),
            Self::RedisAlways => redis::start(folder.path(), &redis::ALWAYS),
            Self::RedisPubSub => redis::start(folder.path(), &[]),
            Self::JetStream => nats::start(folder.path()),
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
            Self::Etcd => etcd::writer(address),
            Self::RedisAlways | Self::RedisPubSub => redis::writer(address),
            Self::JetStream => nats::writer(address),
        }
    }

    /// Connects a watcher. It is ready when this returns; the watching itself is the future inside,
    /// which ends only when something fails.
    pub(super) fn watcher(self, address: &str, seen: Arc<Seen>) -> Doing<'_, Watching> {
        match self {
            Self::HotRead(_) => hotread::watcher(address, seen),
            Self::Etcd => etcd::watcher(address, seen),
            Self::RedisAlways | Self::RedisPubSub => redis::watcher(address, seen),
            Self::JetStream => nats::watcher(address, seen),
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

/// What a peer's watcher keeps: a map that others may read.
pub(super) struct Watched {
    rows: RwLock<HashMap<String, Row>>,
    seen: Arc<Seen>,
}

impl Watched {
    /// An empty map.
    pub(super) fn new(seen: Arc<Seen>) -> Self {
        Self {
            rows: RwLock::new(HashMap::new()),
            seen,
        }
    }

    /// A value came: it is decoded, put into the map, and stamped.
    pub(super) fn put(&self, key: &str, value: &[u8]) -> Result<(), Failure> {
        let row = Row::parse(value)?;
        let update = row.update();
        self.rows.write().insert(key.to_owned(), row);
        if let Some(update) = update {
            self.seen.stamp(update);
        }
        Ok(())
    }
}

/// What a peer says when a watch ends that should not.
pub(super) fn ended() -> Failure {
    "the watch ended".into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_children_are_unique_and_rows_within_a_class() {
        for (index, system) in System::ALL.iter().enumerate() {
            for other in &System::ALL[..index] {
                assert_ne!(system.argument(), other.argument());
                assert!(system.class() != other.class() || system.name() != other.name());
            }
        }
    }

    #[test]
    fn a_watched_value_is_in_the_map_when_it_is_stamped() {
        let seen = Arc::new(Seen::new(4));
        let watched = Watched::new(Arc::clone(&seen));
        let value = super::super::row::value(2, &mut fastrand::Rng::with_seed(1));
        watched.put("k", value.as_bytes()).expect("it is a row");
        assert_eq!(watched.rows.read()["k"].update(), Some(2));
        assert!(!seen.has_all(3));
        assert!(watched.put("k", b"{}").is_err());
    }
}
