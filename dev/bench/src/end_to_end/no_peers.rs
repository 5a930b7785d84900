//! In a build without the peers' clients there are none.

use super::system::System;

/// None of the other systems.
pub(super) static ALL: [System; 0] = [];

/// The name of a row that no table has here.
pub(super) const JETSTREAM: &str = "JetStream KV";

/// Why the tables have one row.
pub(super) fn about() -> String {
    "Other systems are not in this build: `cargo bench -p hotread-bench --features peers` measures \
     etcd, Redis and NATS beside it, as far as they are installed."
        .to_owned()
}
