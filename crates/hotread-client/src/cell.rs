//! The status of a replica, as its task publishes it.

use crate::status::{Now, Status};
use hotread_proto::ErrorBody;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};
use tokio::sync::watch;

#[derive(Debug)]
pub(crate) struct Cell {
    pub(crate) began: Instant,
    /// The process that runs the replica's task.
    pid: u32,
    pub(crate) now: watch::Sender<Now>,
    /// Microseconds from `began` until the content was last known to be the newest, plus one; 0: unknown.
    /// Outside `now`, so that reading it costs one load.
    fresh: AtomicU64,
}

impl Cell {
    pub(crate) fn new(began: Instant) -> Self {
        Self {
            began,
            pid: std::process::id(),
            now: watch::Sender::new(Now::new(began)),
            fresh: AtomicU64::new(0),
        }
    }

    pub(crate) fn set(&self, now: &Now) {
        let fresh = now.fresh_at.map_or(0, |at| {
            let micros = at.saturating_duration_since(self.began).as_micros();
            u64::try_from(micros).map_or(u64::MAX, |micros| micros.saturating_add(1))
        });
        // ORDERING: releases what was published before, for `age`.
        self.fresh.store(fresh, Ordering::Release);
        self.now.send_if_modified(|old| {
            let changed = *old != *now;
            if changed {
                old.clone_from(now);
            }
            changed
        });
    }

    /// Ends the replica with this reason, unless it already ended with another.
    pub(crate) fn fail(&self, body: ErrorBody) {
        self.now.send_if_modified(|now| {
            let first = !matches!(now.session, Status::Failed(_));
            if first {
                now.session = Status::Failed(body);
            }
            first
        });
    }

    /// Returns the status at this moment. A forked process has the replica without the task that follows
    /// the table, and perhaps with a lock that no thread of it releases.
    pub(crate) fn status(&self) -> Status {
        match self.pid == std::process::id() {
            true => self.now().status(),
            false => Status::Forked { from: self.pid },
        }
    }

    /// Returns the latest report. Drop the reference soon: the task waits for it.
    pub(crate) fn now(&self) -> watch::Ref<'_, Now> {
        self.now.borrow()
    }

    pub(crate) fn age(&self) -> Option<Duration> {
        // ORDERING: acquires what was published before that time was proved: a caller that asks for the
        // current state after this gets one that is at least that fresh.
        let micros = self.fresh.load(Ordering::Acquire).checked_sub(1)?;
        let now = self.began.elapsed();
        Some(now.saturating_sub(Duration::from_micros(micros)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PATIENCE: Duration = Duration::from_secs(6);

    /// Returns the last report of a task that was stopped `ago`.
    fn stopped(ago: Duration) -> Now {
        let at = Instant::now()
            .checked_sub(ago)
            .expect("the machine runs longer");
        Now {
            session: Status::Live,
            fresh_at: Some(at),
            patience: PATIENCE,
            ..Now::new(at)
        }
    }

    #[test]
    fn status_follows_from_the_age_at_the_moment_it_is_asked() {
        assert_eq!(stopped(Duration::ZERO).status(), Status::Live);
        // There was no report since, and the last one is unchanged.
        let mut now = stopped(2 * PATIENCE);
        let proved = now.fresh_at.unwrap();
        assert_eq!(now.status(), Status::Stale { since: proved });
        // Before the first proof, the session's own age counts.
        now.fresh_at = None;
        assert!(matches!(now.status(), Status::Stale { .. }));
        now.live_since = Instant::now();
        assert_eq!(now.status(), Status::Live);
    }

    #[test]
    fn a_fork_says_that_it_is_one_whatever_was_said_before() {
        let mut cell = Cell::new(Instant::now());
        cell.set(&stopped(Duration::ZERO));
        assert_eq!(cell.status(), Status::Live);
        let from = cell.pid + 1;
        cell.pid = from;
        assert_eq!(cell.status(), Status::Forked { from });
    }
}
