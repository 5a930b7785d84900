//! The empty list of peers, for a build without their clients.

use super::system::System;

/// No other systems.
pub(super) static ALL: [System; 0] = [];

/// The name of a row that no table has in this build.
pub(super) const JETSTREAM: &str = "JetStream KV";

/// Explains that the tables have one row.
pub(super) fn about() -> String {
    "Other systems are not in this build: `cargo bench -p hotread-bench --features peers` also \
     measures etcd, Redis and NATS, as far as they are installed."
        .to_owned()
}
