//! Settings of a new [`HotRead`], and the limits of its work.

use std::fmt;
use std::sync::Arc as StdArc;
use std::time::Duration;

use crate::HotReadState;
use crate::copies::MAX_COPIES;
use crate::event::Event;
use crate::hotread::HotRead;

/// Bounds on work and memory. Parameters rather than constants, so that the models, which use small
/// ones, check what ships.
#[derive(Clone)]
pub(crate) struct Limits {
    /// Updates that may be queued ahead of a caller by others that run, before it waits for room.
    /// A few microseconds of work for a small state, some ten for a large map.
    pub(crate) inbox: usize,
    /// Updates of others that one call applies before it hands the right on: some four inboxes.
    pub(crate) help: usize,
    /// Applications in one piece of work, after which a backlog is left for the next one; about a
    /// millisecond for a large map.
    pub(crate) piece: usize,
    /// Visible updates that the other copy may get together with the next publication rather than
    /// at once. Spares small updates a second pass; a large batch is not kept in memory for it.
    pub(crate) deferred: usize,
    /// Updates that readers already see and that the log keeps for a copy that a stalled reader
    /// holds. A copy further behind is cloned when it comes free, so that the log stays bounded.
    pub(crate) lag: u64,
    /// Publications that an extra copy sits out before it is dropped. Cloning a large state costs
    /// about as much as some thousand updates, so dropping at once would clone over and over.
    pub(crate) spare: u32,
    /// How long a maintainer leaves the second copy behind while nothing is blocked.
    pub(crate) tick: Duration,
    /// How long a publication is blocked before the observer is told.
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

    /// Small ones, so that the models reach them.
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

/// What is told of events.
pub(crate) type Observer = StdArc<dyn Fn(&Event) + Send + Sync>;

/// What the builder has settled.
#[derive(Clone)]
pub(crate) struct Settings {
    pub(crate) max_copies: usize,
    pub(crate) max_pending: Option<usize>,
    pub(crate) name: Option<StdArc<str>>,
    pub(crate) observer: Option<Observer>,
    pub(crate) limits: Limits,
}

/// Settings of a new [`HotRead`].
#[derive(Clone)]
#[must_use = "a builder makes nothing until `build` is called"]
pub struct HotReadBuilder<T: HotReadState> {
    /// Boxed, so that a large state is not moved over the stack again and again.
    initial: Box<T>,
    settings: Settings,
}

impl<T: HotReadState> HotReadBuilder<T> {
    pub(crate) fn new(initial: T) -> Self {
        Self {
            initial: Box::new(initial),
            settings: Settings {
                max_copies: 2,
                max_pending: None,
                name: None,
                observer: None,
                limits: Limits::SHIPPED,
            },
        }
    }

    /// Lets the pool grow to `n` copies while readers hold outdated ones; `n` copies tolerate
    /// `n - 2` distinct stalled generations. The default is 2.
    ///
    /// Each copy costs the memory of the state. An extra one is made by cloning the published
    /// state when no copy is free, and dropped when 1,024 publications did not need it.
    ///
    /// 0 and 1 mean 2, because one copy is being read while the other is written; more than
    /// [`MAX_COPIES`] means that many.
    pub fn max_copies(mut self, n: usize) -> Self {
        self.settings.max_copies = n.clamp(2, MAX_COPIES);
        self
    }

    /// Lets [`try_queue_updates`](HotRead::try_queue_updates) refuse a batch that would bring the
    /// updates that are not visible yet above `n`. The default is no limit.
    ///
    /// [`queue_update`](HotRead::queue_update) and its kin accept whatever the limit. With 0,
    /// every `try_queue_updates` of anything is refused.
    pub fn max_pending(mut self, n: usize) -> Self {
        self.settings.max_pending = Some(n);
        self
    }

    /// Names the state, for `Debug`.
    pub fn name(mut self, name: impl Into<StdArc<str>>) -> Self {
        self.settings.name = Some(name.into());
        self
    }

    /// Tells `observer` of each [`Event`], on the thread whose call finds it, after that call has
    /// done its work. A panic of the observer is caught.
    pub fn observer(mut self, observer: impl Fn(&Event) + Send + Sync + 'static) -> Self {
        self.settings.observer = Some(StdArc::new(observer));
        self
    }

    #[cfg(all(test, any(hotread_loom, hotread_shuttle)))]
    pub(crate) fn small_limits(mut self) -> Self {
        self.settings.limits = Limits::SMALL;
        self
    }

    /// Makes the state and its second copy, which costs one clone.
    ///
    /// # Panics
    ///
    /// If cloning the state panics.
    #[must_use]
    pub fn build(self) -> HotRead<T> {
        HotRead::with_settings(self.initial, self.settings)
    }
}

impl<T: HotReadState> fmt::Debug for HotReadBuilder<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HotReadBuilder")
            .field("max_copies", &self.settings.max_copies)
            .field("max_pending", &self.settings.max_pending)
            .field("name", &self.settings.name)
            .finish_non_exhaustive()
    }
}
