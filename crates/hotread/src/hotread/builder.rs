//! The builder of a [`HotRead`].

use std::fmt;
use std::sync::Arc as StdArc;

use super::HotRead;
use crate::HotReadState;
use crate::copies::MAX_COPIES;
use crate::event::Event;
use crate::settings::{Limits, Settings};

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
