//! Upper bound of a replica's age, proved by the client's own clock: a replica that has reached the
//! head in a pong is as fresh as the ping was. Frames delayed in a buffer prove nothing newer.

use std::collections::VecDeque;
use std::time::Duration;

/// Maximum number of pings without a pong, and of pongs whose head was not reached. More would
/// add no information.
const MAX_OPEN: usize = 16;

#[derive(Debug, Default)]
pub(super) struct Freshness {
    next: u64,
    /// Pings without a pong: number and time of each.
    pings: VecDeque<(u64, Duration)>,
    /// Pongs whose head was not reached: time of the ping, and the head.
    pongs: VecDeque<(Duration, u64)>,
    /// Send time of the newest ping whose pong's head was reached: the content was current then.
    pub(super) fresh_at: Option<Duration>,
}

impl Freshness {
    /// Registers a ping that is sent now, and returns its number.
    pub(super) fn ping(&mut self, now: Duration) -> u64 {
        self.next += 1;
        if self.pings.len() == MAX_OPEN {
            self.pings.pop_front();
        }
        self.pings.push_back((self.next, now));
        self.next
    }

    /// Handles a pong; readers see the state after `reached`.
    pub(super) fn pong(&mut self, n: u64, head: u64, reached: Option<u64>) {
        // Unknown and outdated numbers prove nothing.
        let Some(at) = self.pings.iter().position(|(number, _)| *number == n) else {
            return;
        };
        let (_, sent_at) = self.pings[at];
        self.pings.drain(..=at);
        if reached.is_some_and(|seq| seq >= head) {
            self.prove(sent_at);
        } else if self.pongs.len() < MAX_OPEN {
            // The oldest pongs are kept, because they are reached first.
            self.pongs.push_back((sent_at, head));
        }
    }

    /// Reports that readers see the state after `seq`.
    pub(super) fn reached(&mut self, seq: u64) {
        while let Some((sent_at, _)) = self.pongs.pop_front_if(|(_, head)| *head <= seq) {
            self.prove(sent_at);
        }
    }

    fn prove(&mut self, sent_at: Duration) {
        self.fresh_at = self.fresh_at.max(Some(sent_at));
    }

    /// Forgets pings and pongs of a connection that has ended.
    pub(super) fn disconnected(&mut self) {
        self.pings.clear();
        self.pongs.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const S: fn(u64) -> Duration = Duration::from_secs;

    #[test]
    fn only_a_pong_whose_head_was_reached_proves_something() {
        let mut fresh = Freshness::default();
        let first = fresh.ping(S(1));
        let second = fresh.ping(S(2));
        assert_eq!(fresh.fresh_at, None);
        fresh.pong(first, 7, Some(6));
        assert_eq!(fresh.fresh_at, None);
        fresh.pong(second, 9, Some(6));
        fresh.reached(7);
        assert_eq!(fresh.fresh_at, Some(S(1)));
        fresh.reached(8);
        assert_eq!(fresh.fresh_at, Some(S(1)));
        fresh.reached(9);
        assert_eq!(fresh.fresh_at, Some(S(2)));
    }

    #[test]
    fn pongs_that_nobody_asked_for_prove_nothing() {
        let mut fresh = Freshness::default();
        let n = fresh.ping(S(1));
        fresh.pong(n + 1, 0, Some(5));
        fresh.pong(n, 0, Some(5));
        assert_eq!(fresh.fresh_at, Some(S(1)));
        let lost = fresh.ping(S(2));
        fresh.disconnected();
        fresh.pong(lost, 0, Some(5));
        fresh.pong(n, 0, Some(5));
        assert_eq!(fresh.fresh_at, Some(S(1)));
    }

    #[test]
    fn what_is_kept_is_bounded_and_progress_is_still_proved() {
        let mut fresh = Freshness::default();
        for second in 0..100 {
            let n = fresh.ping(S(second));
            fresh.pong(n, second, None);
            fresh.ping(S(second));
        }
        assert!(fresh.pings.len() <= MAX_OPEN && fresh.pongs.len() <= MAX_OPEN);
        fresh.reached(3);
        assert_eq!(fresh.fresh_at, Some(S(3)));
    }
}
