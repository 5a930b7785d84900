//! The builder of a [`HotRead`].

use std::fmt;
use std::sync::Arc as StdArc;

use super::HotRead;
use crate::HotReadState;
use crate::copies::MAX_COPIES;
use crate::event::Event;
use crate::settings::{Limits, Settings};

/// Builder of a [`HotRead`] with settings other than the defaults.
#[derive(Clone)]
#[must_use = "a builder makes nothing until `build` is called"]
pub struct HotReadBuilder<T: HotReadState> {
    /// Boxed, so that a large state is not moved over the stack repeatedly.
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

    /// Lets the number of copies grow to `n` while readers hold outdated ones. Readers may hold up to
    /// `n - 2` distinct old copies while updates still become visible. Default: 2.
    ///
    /// Each copy costs the memory of the state. An extra copy is a clone of the published state,
    /// made when no copy is free and dropped after 1,024 publications that did not need it.
    ///
    /// Values below 2 mean 2, because one copy is read while another is written; values above
    /// [`MAX_COPIES`] mean [`MAX_COPIES`].
    pub fn max_copies(mut self, n: usize) -> Self {
        self.settings.max_copies = n.clamp(2, MAX_COPIES);
        self
    }

    /// Lets [`try_queue_updates`](HotRead::try_queue_updates) refuse a batch that would raise the
    /// number of updates that are not yet visible above `n`. Default: no limit.
    ///
    /// The limit does not apply to [`queue_update`](HotRead::queue_update) and the other methods
    /// that queue. With 0, `try_queue_updates` refuses every batch that is not empty.
    pub fn max_pending(mut self, n: usize) -> Self {
        self.settings.max_pending = Some(n);
        self
    }

    /// Names the state, for its `Debug` output.
    pub fn name(mut self, name: impl Into<StdArc<str>>) -> Self {
        self.settings.name = Some(name.into());
        self
    }

    /// Calls `observer` with each [`Event`], on the thread whose call finds it, after that call has
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

    /// Creates the state and its second copy, which costs one clone.
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
