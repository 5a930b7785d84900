//! In a build without the peers' clients there are none.

use std::path::Path;
use std::sync::Arc;

use super::process::Process;
use super::samples::Seen;
use super::system::{Class, Doing, Watching, Writer};

/// None of the other systems.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Peer {}

impl Peer {
    pub(super) const ALL: [Self; 0] = [];

    pub(super) fn name(self) -> &'static str {
        match self {}
    }

    pub(super) fn class(self) -> Class {
        match self {}
    }

    pub(super) fn argument(self) -> &'static str {
        match self {}
    }

    pub(super) fn program(self) -> &'static str {
        match self {}
    }

    pub(super) fn start(self, _: &Path) -> (Process, String) {
        match self {}
    }

    pub(super) fn writer(self, _: &str) -> Doing<'_, Box<dyn Writer>> {
        match self {}
    }

    pub(super) fn watcher(self, _: &str, _: Arc<Seen>) -> Doing<'_, Watching> {
        match self {}
    }
}

/// The name of a row that no table has here.
pub(super) const JETSTREAM: &str = "JetStream KV";

/// Why the tables have one row.
pub(super) fn about() -> String {
    "Other systems are not in this build: `cargo bench -p hotread-bench --features peers` measures \
     etcd, Redis and NATS beside it, as far as they are installed."
        .to_owned()
}
