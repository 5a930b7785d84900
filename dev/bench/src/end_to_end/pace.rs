//! A steady rate.

use std::time::Duration;

use tokio::time::{Instant, sleep_until};

/// A steady rate. A missed tick is skipped.
pub(super) struct Pace {
    next: Instant,
    interval: Duration,
}

impl Pace {
    /// A number of ticks a second, from now on.
    pub(super) fn new(rate: u32) -> Self {
        Self {
            next: Instant::now(),
            interval: Duration::from_secs(1) / rate,
        }
    }

    /// Waits for the next tick.
    pub(super) async fn tick(&mut self) {
        self.next = (self.next + self.interval).max(Instant::now());
        sleep_until(self.next).await;
    }
}
