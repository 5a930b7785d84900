//! The contract of a state: [`HotReadState`].

/// A value that [`HotRead`](crate::HotRead) can keep, and the updates that change it in small
/// steps.
///
/// # The contract
///
/// Every copy of the state receives the same updates in the same order, independently of the other
/// copies. So that the copies stay equal:
///
/// - [`apply_update`](Self::apply_update) depends only on `self` and `update`: no clock, no
///   randomness, no I/O, no iteration order of a randomly seeded map.
/// - Clones share nothing that updates or readers mutate. An `Arc` of something immutable is fine;
///   an `Arc<Mutex<_>>` that `apply_update` locks is not.
/// - [`apply_owned`](Self::apply_owned) does the same as `apply_update`. It runs at most once for
///   an update, and possibly never.
///
/// [`testing::check_contract`](crate::testing::check_contract) checks all three. Breaking the
/// contract causes no undefined behavior: readers then see states that differ from one generation
/// to the next.
///
/// # Calls from inside an update
///
/// `apply_update`, `apply_owned`, `Clone` and `Drop` may use the same `HotRead`: observe it, create
/// and drop handles, and queue updates, which are applied after the present ones. An update queued
/// from inside `apply_update` is queued once for each copy.
///
/// An update must not wait for a lock that another thread holds while it queues an update of the
/// same state: that thread may be waiting for room in the queue
/// ([`queue_update`](crate::HotRead::queue_update)), and both would wait forever.
///
/// # Panics
///
/// A panic in the first application of an update removes its whole batch. See
/// [`HotRead::queue_update`](crate::HotRead::queue_update).
pub trait HotReadState: Clone + Send + Sync + 'static {
    /// One step of change.
    type Action: Clone + Send + Sync + 'static;

    /// Applies one update. Called once for each copy, with the same updates in the same order.
    fn apply_update(&mut self, update: &Self::Action);

    /// Applies one update and consumes it. Called instead of [`apply_update`](Self::apply_update)
    /// on the last copy that an update reaches, so that values can be moved rather than cloned.
    fn apply_owned(&mut self, update: Self::Action) {
        self.apply_update(&update);
    }
}
