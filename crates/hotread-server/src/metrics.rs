//! What the server itself counts. How it is shown is in `http/metrics.rs`.

use axum::http::StatusCode;
use std::sync::atomic::{AtomicU64, Ordering};

/// 1xx to 5xx.
const CLASSES: usize = 5;

/// What the server itself counts, since it was made. What the store counts is asked when it is shown.
// ORDERING: all of them are for people, and each stands for itself.
#[derive(Default)]
pub(crate) struct Metrics {
    /// Frames and their bytes that sync sessions sent.
    pub(crate) frames_sent: AtomicU64,
    pub(crate) bytes_sent: AtomicU64,
    /// Sync sessions that went on where the client was.
    pub(crate) resumes: AtomicU64,
    /// Snapshots that were sent to their end.
    pub(crate) snapshots: AtomicU64,
    /// Times that changes were folded for a slow client.
    pub(crate) folds: AtomicU64,
    /// Values that a client refused.
    pub(crate) nacks: AtomicU64,
    /// Sync sessions that ended with an error, and those whose connection was lost.
    pub(crate) failed_sessions: AtomicU64,
    pub(crate) lost_sessions: AtomicU64,
    /// Frames that clients sent.
    pub(crate) frames_received: AtomicU64,
    /// Connections that were taken in, and those that found no place.
    pub(crate) connections: AtomicU64,
    pub(crate) refused_connections: AtomicU64,
    /// Requests that came too fast.
    pub(crate) rate_limited: AtomicU64,
    /// Streams of server-sent events that were begun, and the events on them.
    pub(crate) event_streams: AtomicU64,
    pub(crate) events_sent: AtomicU64,
    /// Answers of each route, by its method and pattern, and of none in the end, by class of status.
    pub(crate) requests: Vec<(&'static str, &'static str, [AtomicU64; CLASSES])>,
}

/// Adds one.
pub(crate) fn count(counter: &AtomicU64) {
    counter.fetch_add(1, Ordering::Relaxed);
}

pub(crate) fn read(counter: &AtomicU64) -> u64 {
    counter.load(Ordering::Relaxed)
}

impl Metrics {
    /// For these routes, by method and pattern, and for requests of none.
    pub(crate) fn new(routes: impl Iterator<Item = (&'static str, &'static str)>) -> Self {
        let routes = routes.chain([("any", "unknown")]);
        Self {
            requests: routes
                .map(|(method, path)| (method, path, Default::default()))
                .collect(),
            ..Self::default()
        }
    }

    /// A request was answered; `route` is its place in the table, or anything behind it.
    pub(crate) fn request(&self, route: usize, status: StatusCode) {
        let class = usize::from(status.as_u16() / 100).clamp(1, CLASSES) - 1;
        let last = self.requests.len().saturating_sub(1);
        if let Some((_, _, classes)) = self.requests.get(route.min(last)) {
            count(&classes[class]);
        }
    }
}
