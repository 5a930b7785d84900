//! The server's own counters. `http/metrics.rs` exposes them.

use axum::http::StatusCode;
use std::sync::atomic::{AtomicU64, Ordering};

/// Number of classes of status, 1xx to 5xx.
const CLASSES: usize = 5;

/// Defines the counters, each with its name and its help on `/metrics`.
macro_rules! metrics {
    ($($field:ident: $name:literal, $help:literal;)*) => {
        /// The server's own counters since its creation. The store's counters are read when they are
        /// exposed.
        // ORDERING: all of them only inform operators, and independent of each other.
        #[derive(Default)]
        pub(crate) struct Metrics {
            $(#[doc = $help] pub(crate) $field: AtomicU64,)*
            /// Answers of each route, by its method and pattern, and class of status. The last entry counts
            /// requests without a route.
            pub(crate) requests: Vec<(&'static str, &'static str, [AtomicU64; CLASSES])>,
        }

        impl Metrics {
            /// Returns all counters except those of requests: name, help and number.
            pub(crate) fn counters(&self) -> impl Iterator<Item = (&'static str, &'static str, u64)> {
                [$(($name, $help, read(&self.$field))),*].into_iter()
            }
        }
    };
}

metrics! {
    connections: "accepted_connections", "Connections accepted";
    refused_connections: "refused_connections", "Connections refused because there were too many";
    failed_handshakes: "failed_handshakes", "TLS handshakes that failed, those of peers without TLS included";
    rate_limited: "rate_limited", "Requests refused because they were too frequent";
    event_streams: "accepted_event_streams", "Streams of events begun";
    events_sent: "events", "Events sent on streams";
    frames_sent: "frames", "Frames sent on sync sessions";
    bytes_sent: "frame_bytes", "Bytes of those frames";
    resumes: "resumes", "Sync sessions that resumed";
    snapshots: "snapshots", "Snapshots sent";
    folds: "folds", "Times that changes were coalesced";
    nacks: "nacks", "Values that clients refused";
    failed_sessions: "failed_sessions", "Sync sessions that ended with an error";
    lost_sessions: "lost_sessions", "Sync sessions whose connection was lost";
    frames_received: "received_frames", "Frames received on sync sessions";
}

/// Adds one.
pub(crate) fn count(counter: &AtomicU64) {
    counter.fetch_add(1, Ordering::Relaxed);
}

pub(crate) fn read(counter: &AtomicU64) -> u64 {
    counter.load(Ordering::Relaxed)
}

impl Metrics {
    /// Creates counters for these routes, by method and pattern, and for requests without a route.
    pub(crate) fn new(routes: impl Iterator<Item = (&'static str, &'static str)>) -> Self {
        let routes = routes.chain([("any", "unknown")]);
        let requests = routes.map(|(method, path)| (method, path, Default::default()));
        Self {
            requests: requests.collect(),
            ..Self::default()
        }
    }

    /// Counts an answer; `route` is its index in the table, or any larger number.
    pub(crate) fn request(&self, route: usize, status: StatusCode) {
        let class = usize::from(status.as_u16() / 100).clamp(1, CLASSES) - 1;
        let last = self.requests.len().saturating_sub(1);
        if let Some((_, _, classes)) = self.requests.get(route.min(last)) {
            count(&classes[class]);
        }
    }
}
