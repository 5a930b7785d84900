//! Rate limits of a caller, for requests and for input without content: a token bucket for each, in one
//! atomic word.
//!
//! The word holds the bucket as a time, as in the generic cell rate algorithm (ITU-T I.371): the moment at
//! which the bucket will be full again. A request moves it forward by the time that one request is worth;
//! if that takes it further ahead than the time that a burst is worth, the request is refused.

use crate::caller::Who;
use dashmap::DashMap;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{PoisonError, RwLock};
use std::time::{Duration, Instant};

/// Maximum number of callers with a bucket of their own, some 100 bytes each; those beyond share one.
const MAX_CALLERS: usize = 16_384;
/// Time between two removals of idle callers, in nanoseconds; each visits all callers.
const SWEEP_NS: u64 = 1_000_000_000;

/// A rate: an average a second, and a burst.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Rate {
    /// Time that one request is worth, in nanoseconds.
    interval: u64,
    /// Time that a burst is worth, in nanoseconds.
    burst: u64,
}

impl Rate {
    /// Returns a rate. Neither number may be 0.
    pub(crate) const fn new(per_second: u32, burst: u32) -> Self {
        let interval = 1_000_000_000 / per_second as u64;
        let burst = interval * burst as u64;
        Self { interval, burst }
    }
}

/// Time at which the bucket is full again, in nanoseconds since a fixed moment.
#[derive(Debug, Default)]
pub(crate) struct Bucket(AtomicU64);

impl Bucket {
    /// Takes `many` out, or returns the time to wait; `now` is the time since the fixed moment.
    pub(crate) fn take(&self, many: u64, rate: Rate, now: Duration) -> Result<(), Duration> {
        let now = nanos(now);
        let worth = many.saturating_mul(rate.interval);
        let after = |full: u64| full.max(now).saturating_add(worth);
        let fits = |full| Some(after(full)).filter(|next| next - now <= rate.burst);
        // ORDERING: each bucket is independent.
        let taken = self
            .0
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, fits);
        let wait = |full| Duration::from_nanos(after(full) - now - rate.burst);
        taken.map(drop).map_err(wait)
    }
}

fn nanos(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}

/// Buckets of all callers.
#[derive(Debug)]
pub(crate) struct Limiter {
    began: Instant,
    rate: RwLock<Rate>,
    buckets: DashMap<Who, Bucket>,
    known: AtomicUsize,
    swept: AtomicU64,
    others: Bucket,
}

impl Limiter {
    /// Creates a limiter of `per_second` requests on average, and `burst` at once.
    pub(crate) fn new(per_second: u32, burst: u32) -> Self {
        Self {
            began: Instant::now(),
            rate: RwLock::new(Rate::new(per_second.max(1), burst.max(1))),
            buckets: DashMap::new(),
            known: AtomicUsize::new(0),
            swept: AtomicU64::new(0),
            others: Bucket::default(),
        }
    }

    /// Changes the rate. Callers keep what they have used so far, as time.
    pub(crate) fn set(&self, per_second: u32, burst: u32) {
        let mut rate = self.rate.write().unwrap_or_else(PoisonError::into_inner);
        *rate = Rate::new(per_second.max(1), burst.max(1));
    }

    /// Counts a request, or returns the time to wait.
    pub(crate) fn take(&self, who: Who) -> Result<(), Duration> {
        self.take_at(who, self.began.elapsed())
    }

    fn take_at(&self, who: Who, now: Duration) -> Result<(), Duration> {
        let rate = *self.rate.read().unwrap_or_else(PoisonError::into_inner);
        if let Some(bucket) = self.buckets.get(&who) {
            return bucket.take(1, rate, now);
        }
        // ORDERING: the count may be off by the number of simultaneous callers.
        if self.known.load(Ordering::Relaxed) >= MAX_CALLERS {
            self.sweep(nanos(now));
        }
        if self.known.load(Ordering::Relaxed) >= MAX_CALLERS {
            return self.others.take(1, rate, now);
        }
        let bucket = self.buckets.entry(who).or_insert_with(|| {
            self.known.fetch_add(1, Ordering::Relaxed);
            Bucket::default()
        });
        bucket.take(1, rate, now)
    }

    /// Removes the callers whose bucket is full: a new one is the same.
    fn sweep(&self, now: u64) {
        let swept = self.swept.load(Ordering::Relaxed);
        if swept != 0 && now.saturating_sub(swept) < SWEEP_NS {
            return;
        }
        let (on, off) = (Ordering::Relaxed, Ordering::Relaxed);
        if self
            .swept
            .compare_exchange(swept, now.max(1), on, off)
            .is_err()
        {
            return;
        }
        self.buckets.retain(|_, bucket| {
            let stays = bucket.0.load(Ordering::Relaxed) > now;
            if !stays {
                self.known.fetch_sub(1, Ordering::Relaxed);
            }
            stays
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ONE: Who = Who::Token(1);

    fn at(millis: u64) -> Duration {
        Duration::from_millis(millis)
    }

    #[test]
    fn a_burst_passes_and_then_the_rate() {
        let limiter = Limiter::new(10, 3);
        for _ in 0..3 {
            assert_eq!(limiter.take_at(ONE, at(0)), Ok(()));
        }
        assert_eq!(limiter.take_at(ONE, at(0)), Err(at(100)));
        assert_eq!(limiter.take_at(ONE, at(60)), Err(at(40)));
        assert_eq!(limiter.take_at(ONE, at(100)), Ok(()));
        assert_eq!(limiter.take_at(ONE, at(100)), Err(at(100)));
        assert_eq!(limiter.take_at(Who::Token(2), at(100)), Ok(()));
        for _ in 0..3 {
            assert_eq!(limiter.take_at(ONE, at(10_000)), Ok(()), "full again");
        }
        assert!(limiter.take_at(ONE, at(10_000)).is_err());
        limiter.set(10, 4);
        assert_eq!(limiter.take_at(ONE, at(10_000)), Ok(()));
        assert!(limiter.take_at(ONE, at(10_000)).is_err());
    }

    #[test]
    fn threads_do_not_get_more_out_than_is_in() {
        let limiter = Limiter::new(1, 1_000);
        let passed = AtomicUsize::new(0);
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    for _ in 0..1_000 {
                        if limiter.take_at(ONE, at(0)).is_ok() {
                            passed.fetch_add(1, Ordering::Relaxed);
                        }
                    }
                });
            }
        });
        assert_eq!(passed.into_inner(), 1_000);
    }

    #[test]
    fn callers_are_bounded_in_memory_and_forgotten_when_idle() {
        let limiter = Limiter::new(1, 2);
        for id in 0..MAX_CALLERS as u64 {
            assert!(limiter.take_at(Who::Token(id), at(0)).is_ok());
        }
        let stranger = |n: u64| Who::Token(MAX_CALLERS as u64 + n);
        assert!(limiter.take_at(stranger(0), at(0)).is_ok());
        assert!(limiter.take_at(stranger(1), at(0)).is_ok());
        let third = limiter.take_at(stranger(2), at(0));
        assert!(third.is_err(), "they share a bucket");
        assert_eq!(limiter.buckets.len(), MAX_CALLERS);
        assert!(limiter.take_at(stranger(3), at(60_000)).is_ok());
        assert_eq!(limiter.buckets.len(), 1);
        assert_eq!(limiter.known.load(Ordering::Relaxed), 1);
    }
}
