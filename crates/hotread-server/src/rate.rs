//! How often one caller may ask: a token bucket for each, in one atomic word.
//!
//! The word holds the bucket as a time, in the way of the generic cell rate algorithm (ITU-T I.371):
//! the moment at which it will be full again. A request moves it on by the time that one request is
//! worth; if that takes it further ahead than the time that a burst is worth, the request is refused.

use crate::caller::Who;
use dashmap::DashMap;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

/// Most callers whose rate is known at a time, some 100 bytes each. What comes beyond shares a
/// bucket.
const MAX_CALLERS: usize = 16_384;
/// How long to wait before callers are forgotten again, in nanoseconds: that is a pass over all.
const SWEEP_NS: u64 = 1_000_000_000;

/// When the bucket is full again, in nanoseconds since the limiter was made.
#[derive(Debug, Default)]
struct Bucket(AtomicU64);

impl Bucket {
    /// Takes one request out, or says how long that has to wait, in nanoseconds.
    fn take(&self, now: u64, interval: u64, burst: u64) -> Result<(), u64> {
        // ORDERING: each bucket stands for itself.
        let mut full = self.0.load(Ordering::Relaxed);
        loop {
            let next = full.max(now).saturating_add(interval);
            let ahead = next - now;
            if ahead > burst {
                return Err(ahead - burst);
            }
            match self
                .0
                .compare_exchange_weak(full, next, Ordering::Relaxed, Ordering::Relaxed)
            {
                Ok(_) => return Ok(()),
                Err(seen) => full = seen,
            }
        }
    }
}

/// Buckets for all callers.
#[derive(Debug)]
pub(crate) struct Limiter {
    began: Instant,
    /// What a request is worth, in nanoseconds.
    interval: AtomicU64,
    /// What a burst is worth, in nanoseconds.
    burst: AtomicU64,
    buckets: DashMap<Who, Bucket>,
    known: AtomicUsize,
    swept: AtomicU64,
    others: Bucket,
}

impl Limiter {
    /// `per_second` requests on average, `burst` at once.
    pub(crate) fn new(per_second: u32, burst: u32) -> Self {
        let limiter = Self {
            began: Instant::now(),
            interval: AtomicU64::new(0),
            burst: AtomicU64::new(0),
            buckets: DashMap::new(),
            known: AtomicUsize::new(0),
            swept: AtomicU64::new(0),
            others: Bucket::default(),
        };
        limiter.set(per_second, burst);
        limiter
    }

    /// Changes the rate. Callers keep what they have used of it so far, as time.
    pub(crate) fn set(&self, per_second: u32, burst: u32) {
        let interval = 1_000_000_000 / u64::from(per_second.max(1));
        // ORDERING: a request that sees one of them is counted with the other's old value, once.
        self.interval.store(interval, Ordering::Relaxed);
        let burst = interval * u64::from(burst.max(1));
        self.burst.store(burst, Ordering::Relaxed);
    }

    /// Takes a request out of a bucket.
    fn count(&self, bucket: &Bucket, now: u64) -> Result<(), u64> {
        let interval = self.interval.load(Ordering::Relaxed);
        bucket.take(now, interval, self.burst.load(Ordering::Relaxed))
    }

    /// Counts a request, or says how long to wait.
    pub(crate) fn take(&self, who: Who) -> Result<(), Duration> {
        self.take_at(who, self.began.elapsed())
    }

    fn take_at(&self, who: Who, now: Duration) -> Result<(), Duration> {
        let now = u64::try_from(now.as_nanos()).unwrap_or(u64::MAX);
        let taken = match self.buckets.get(&who) {
            Some(bucket) => self.count(&bucket, now),
            None => self.admit(who, now),
        };
        taken.map_err(Duration::from_nanos)
    }

    fn admit(&self, who: Who, now: u64) -> Result<(), u64> {
        // ORDERING: the count may be off by those that come at the same moment.
        if self.known.load(Ordering::Relaxed) >= MAX_CALLERS {
            self.sweep(now);
        }
        if self.known.load(Ordering::Relaxed) >= MAX_CALLERS {
            return self.count(&self.others, now);
        }
        let bucket = self.buckets.entry(who).or_insert_with(|| {
            self.known.fetch_add(1, Ordering::Relaxed);
            Bucket::default()
        });
        self.count(&bucket, now)
    }

    /// Forgets those whose bucket is full: a new one is the same.
    fn sweep(&self, now: u64) {
        let swept = self.swept.load(Ordering::Relaxed);
        let due = swept == 0 || now.saturating_sub(swept) >= SWEEP_NS;
        let mine = due
            && self
                .swept
                .compare_exchange(swept, now.max(1), Ordering::Relaxed, Ordering::Relaxed)
                .is_ok();
        if mine {
            self.buckets.retain(|_, bucket| {
                let stays = bucket.0.load(Ordering::Relaxed) > now;
                if !stays {
                    self.known.fetch_sub(1, Ordering::Relaxed);
                }
                stays
            });
        }
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
        assert!(
            limiter.take_at(stranger(2), at(0)).is_err(),
            "they share a bucket"
        );
        assert_eq!(limiter.buckets.len(), MAX_CALLERS);
        assert!(limiter.take_at(stranger(3), at(60_000)).is_ok());
        assert_eq!(limiter.buckets.len(), 1);
        assert_eq!(limiter.known.load(Ordering::Relaxed), 1);
    }
}
