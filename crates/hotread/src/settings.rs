//! Settings of a builder: limits of work and memory, and the observer of events.

use std::sync::Arc as StdArc;
use std::time::Duration;

use crate::event::Event;

/// Bounds on work and memory. Parameters rather than constants, so that the models, which use small
/// values, check the code that ships.
#[derive(Clone)]
pub(crate) struct Limits {
    /// Updates of other running writers that may be queued ahead of a caller before it waits for
    /// room. A few microseconds of work for a small state, tens for a large map.
    pub(crate) inbox: usize,
    /// Updates of other callers that one call applies before it hands the right on: about four
    /// inboxes.
    pub(crate) help: usize,
    /// Applications in one piece of work, after which a backlog is left for the next one; about a
    /// millisecond for a large map.
    pub(crate) piece: usize,
    /// Visible updates that the other copy may receive together with the next publication rather
    /// than immediately. Spares small updates a second pass; a large batch is not kept in memory
    /// for it.
    pub(crate) deferred: usize,
    /// Updates that readers already see and that the log keeps for a copy that a stalled reader
    /// holds. A copy further behind is cloned when it becomes free, so that the log stays bounded.
    pub(crate) lag: u64,
    /// Publications that do not need an extra copy before it is dropped. Cloning a large state
    /// costs about as much as a thousand updates, so dropping it immediately would clone
    /// repeatedly.
    pub(crate) spare: u32,
    /// Time for which a maintainer leaves the second copy behind while no publication is blocked.
    pub(crate) tick: Duration,
    /// Time for which a publication is blocked before the observer is called.
    pub(crate) report: Duration,
}

impl Limits {
    pub(crate) const SHIPPED: Self = Self {
        inbox: 128,
        help: 512,
        piece: 16_384,
        deferred: 64,
        lag: 65_536,
        spare: 1024,
        tick: Duration::from_millis(100),
        report: Duration::from_secs(1),
    };

    /// Small values, so that the models reach the limits.
    #[cfg(all(test, any(hotread_loom, hotread_shuttle)))]
    pub(crate) const SMALL: Self = Self {
        inbox: 2,
        help: 2,
        piece: 8,
        deferred: 1,
        lag: 8,
        spare: 4,
        tick: Duration::ZERO,
        report: Duration::from_secs(1),
    };
}

/// Callback that receives events.
pub(crate) type Observer = StdArc<dyn Fn(&Event) + Send + Sync>;

/// Settings chosen through the builder.
#[derive(Clone)]
pub(crate) struct Settings {
    pub(crate) max_copies: usize,
    pub(crate) max_pending: Option<usize>,
    pub(crate) name: Option<StdArc<str>>,
    pub(crate) observer: Option<Observer>,
    pub(crate) limits: Limits,
}
