//! Servers and clients of the peers, as their users would run them: Debian's packages with their
//! defaults but for what the module says, on the loopback, with files on the same disk.

mod etcd;
mod nats;
mod program;
mod redis;
mod watched;

use std::path::Path;
use std::sync::Arc;

use super::process::Process;
use super::samples::Seen;
use super::system::{Class, Doing, Watching, Writer};

/// Another system.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Peer {
    /// etcd with its defaults: an fsync for each write, or group of them.
    Etcd,
    /// Redis with `appendfsync always`, values by SET and PUBLISH in one MULTI.
    RedisAlways,
    /// A key-value bucket of NATS JetStream with its defaults: synced every two minutes.
    JetStream,
    /// As the other Redis with Redis's defaults: a snapshot now and then.
    RedisPubSub,
}

impl Peer {
    pub(super) const ALL: [Self; 4] = [
        Self::Etcd,
        Self::RedisAlways,
        Self::JetStream,
        Self::RedisPubSub,
    ];

    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Etcd => "etcd",
            Self::RedisAlways => "Redis, appendfsync always",
            Self::JetStream => JETSTREAM,
            Self::RedisPubSub => "Redis pub/sub",
        }
    }

    pub(super) fn class(self) -> Class {
        match self {
            Self::Etcd | Self::RedisAlways => Class::Full,
            Self::JetStream | Self::RedisPubSub => Class::Normal,
        }
    }

    pub(super) fn argument(self) -> &'static str {
        match self {
            Self::Etcd => "etcd",
            Self::RedisAlways => "redis-always",
            Self::JetStream => "jetstream",
            Self::RedisPubSub => "redis-pubsub",
        }
    }

    /// The program that it needs.
    pub(super) fn program(self) -> &'static str {
        match self {
            Self::Etcd => etcd::PROGRAM,
            Self::RedisAlways | Self::RedisPubSub => redis::PROGRAM,
            Self::JetStream => nats::PROGRAM,
        }
    }

    pub(super) fn start(self, folder: &Path) -> (Process, String) {
        match self {
            Self::Etcd => etcd::start(folder),
            Self::RedisAlways => redis::start(folder, &redis::ALWAYS),
            Self::JetStream => nats::start(folder),
            Self::RedisPubSub => redis::start(folder, &[]),
        }
    }

    pub(super) fn writer(self, address: &str) -> Doing<'_, Box<dyn Writer>> {
        match self {
            Self::Etcd => etcd::writer(address),
            Self::RedisAlways | Self::RedisPubSub => redis::writer(address),
            Self::JetStream => nats::writer(address),
        }
    }

    pub(super) fn watcher(self, address: &str, seen: Arc<Seen>) -> Doing<'_, Watching> {
        match self {
            Self::Etcd => etcd::watcher(address, seen),
            Self::RedisAlways | Self::RedisPubSub => redis::watcher(address, seen),
            Self::JetStream => nats::watcher(address, seen),
        }
    }
}

/// JetStream's row, which goals name.
pub(super) const JETSTREAM: &str = "JetStream KV";

/// How the peers are spoken to, and which of them are here.
pub(super) fn about() -> String {
    let version = |program: &str| {
        program::version(program, "--version")
            .unwrap_or_else(|| format!("{program} is not installed"))
    };
    format!(
        "Peers: {}; {}; {}. Clients: async-nats, redis-rs, and tonic with etcd's messages. Redis's \
         values are SET and PUBLISHed in one MULTI.",
        version(etcd::PROGRAM),
        version(redis::PROGRAM),
        version(nats::PROGRAM),
    )
}
