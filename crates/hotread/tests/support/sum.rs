//! A state that stays small however many updates it takes, and counts its clones and applications.

use std::sync::Arc;
use std::sync::atomic::Ordering::SeqCst;

use hotread::{HotRead, HotReadHandle, HotReadState};

use super::Care;

pub struct Sum {
    pub count: u64,
    pub sum: u64,
    care: Arc<Care>,
}

impl Sum {
    pub fn new(care: &Arc<Care>) -> Self {
        Self::with(care, 0)
    }

    /// Returns the state that one update of `number` would leave.
    pub fn with(care: &Arc<Care>, number: u64) -> Self {
        care.live.fetch_add(1, SeqCst);
        Self {
            count: u64::from(number != 0),
            sum: number,
            care: Arc::clone(care),
        }
    }
}

impl Clone for Sum {
    fn clone(&self) -> Self {
        self.care.clones.fetch_add(1, SeqCst);
        let mut clone = Self::new(&self.care);
        (clone.count, clone.sum) = (self.count, self.sum);
        clone
    }
}

impl Drop for Sum {
    fn drop(&mut self) {
        self.care.live.fetch_sub(1, SeqCst);
    }
}

#[derive(Clone)]
pub struct Add(pub u64);

impl HotReadState for Sum {
    type Action = Add;

    fn apply_update(&mut self, &Add(number): &Add) {
        self.care.applications.fetch_add(1, SeqCst);
        self.count += 1;
        self.sum += number;
    }
}

/// Returns a state with this many copies, and its counters.
pub fn sum(max_copies: usize) -> (HotRead<Sum>, Arc<Care>) {
    let care = Arc::<Care>::default();
    let hot = HotRead::builder(Sum::new(&care))
        .max_copies(max_copies)
        .build();
    (hot, care)
}

/// Returns a state with the update 7 published to both copies, and a reader that holds the
/// published one.
pub fn stalled(max_copies: usize) -> (HotRead<Sum>, HotReadHandle<Sum>, Arc<Care>) {
    let (hot, care) = sum(max_copies);
    hot.queue_update(Add(7));
    hot.maintain();
    let mut handle = hot.create_handle();
    handle.current();
    (hot, handle, care)
}

/// Returns a state with this number of updates blocked by a reader that holds the older copy.
pub fn blocked(updates: usize) -> (HotRead<Sum>, HotReadHandle<Sum>, Arc<Care>) {
    let (hot, handle, care) = stalled(2);
    assert!(hot.queue_update(Add(1)).published);
    for _ in 0..updates {
        assert!(hot.queue_update(Add(1)).blocked_by_workers);
    }
    (hot, handle, care)
}
