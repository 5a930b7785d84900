//! Servers and clients of the peers, as their users would run them: Debian's packages with their
//! defaults, except for settings that a module names, on the loopback, with files on the same disk.

mod etcd;
mod nats;
mod program;
mod redis;
mod watched;

use super::system::System;

/// The other systems.
pub(super) static ALL: [System; 4] = [etcd::SYSTEM, redis::ALWAYS, nats::SYSTEM, redis::PUBSUB];

/// JetStream's row, which goals name.
pub(super) const JETSTREAM: &str = "JetStream KV";

/// Describes the clients of the peers, and the installed versions.
pub(super) fn about() -> String {
    let [etcd, redis, nats] = [etcd::PROGRAM, redis::PROGRAM, nats::PROGRAM].map(|program| {
        let version = program::version(program, "--version");
        version.unwrap_or_else(|| format!("{program} is not installed"))
    });
    format!(
        "Peers: {etcd}; {redis}; {nats}. Clients: async-nats, redis-rs, and tonic with etcd's messages. \
         Redis's values are SET and PUBLISHed in one MULTI."
    )
}
