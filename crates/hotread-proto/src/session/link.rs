//! The connection under a replica: when it is opened, when it counts as lost, and how long to wait
//! before the next one.

use super::MIN_HEARTBEAT;
use std::time::Duration;

/// A connection that is not open, or not greeted, after this time is given up.
const OPEN_WITHIN: Duration = Duration::from_secs(10);
/// So many heartbeats that did not come make a connection count as lost.
const SILENT_HEARTBEATS: u32 = 3;
/// The first wait is at most this long, each further one twice as long as that before …
const FIRST_WAIT: Duration = Duration::from_millis(250);
/// … up to this.
const LONGEST_WAIT: Duration = Duration::from_secs(5);
/// Longest wait that a server may ask for.
const MAX_ASKED_WAIT: Duration = Duration::from_secs(60);
/// A connection that has lasted so long was a good one: the next wait is the first one again.
const HEALTHY_AFTER: Duration = Duration::from_secs(60);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum State {
    /// There is none; the next attempt is at this time.
    Down { retry_at: Duration },
    /// It is being opened.
    Opening { since: Duration },
    /// It is open, and the server has not answered hello.
    Greeting { since: Duration },
    /// The session runs.
    Up { since: Duration },
}

#[derive(Debug)]
pub(super) struct Link {
    pub(super) state: State,
    /// Attempts since the last good connection.
    attempts: u32,
    /// What the server asked for: the next wait is drawn from this span, after this time.
    spread: Option<Duration>,
    at_least: Duration,
    pub(super) heartbeat: Duration,
    pub(super) heard_at: Duration,
    random: u64,
}

impl Link {
    pub(super) fn new(seed: u64, now: Duration) -> Self {
        Self {
            state: State::Down { retry_at: now },
            attempts: 0,
            spread: None,
            at_least: Duration::ZERO,
            heartbeat: OPEN_WITHIN,
            heard_at: now,
            random: seed,
        }
    }

    /// Is it time to open one? Then it counts as being opened.
    pub(super) fn open(&mut self, now: Duration) -> bool {
        match self.state {
            State::Down { retry_at } if now >= retry_at => {
                self.state = State::Opening { since: now };
                true
            }
            _ => false,
        }
    }

    pub(super) fn opened(&mut self, now: Duration) -> bool {
        let opening = matches!(self.state, State::Opening { .. });
        if opening {
            self.state = State::Greeting { since: now };
            self.heard_at = now;
        }
        opening
    }

    pub(super) fn welcomed(&mut self, heartbeat: Duration, now: Duration) {
        // A server cannot make the client wait for ever, nor spin.
        self.heartbeat = heartbeat.clamp(MIN_HEARTBEAT, MAX_ASKED_WAIT);
        self.state = State::Up { since: now };
    }

    /// Longest silence of a session that is not lost.
    pub(super) fn patience(&self) -> Duration {
        self.heartbeat * SILENT_HEARTBEATS
    }

    pub(super) fn is_up(&self) -> bool {
        matches!(self.state, State::Up { .. })
    }

    pub(super) fn is_down(&self) -> bool {
        matches!(self.state, State::Down { .. })
    }

    /// The next wait is to be drawn from this span; from the usual one, if it is 0: without any wait
    /// all clients of a server would come back in the same moment.
    pub(super) fn spread(&mut self, spread_ms: u64) {
        let spread = Duration::from_millis(spread_ms).min(MAX_ASKED_WAIT);
        self.spread = Some(spread).filter(|spread| !spread.is_zero());
    }

    /// The next wait is to be this long at least.
    pub(super) fn at_least(&mut self, wait_ms: u64) {
        self.at_least = Duration::from_millis(wait_ms).min(MAX_ASKED_WAIT);
    }

    /// The connection is gone, or was given up.
    pub(super) fn lost(&mut self, now: Duration) {
        match self.state {
            State::Down { .. } => return,
            State::Up { since } if now.saturating_sub(since) >= HEALTHY_AFTER => self.attempts = 0,
            _ => {}
        }
        let longest = FIRST_WAIT
            .saturating_mul(1 << self.attempts.min(16))
            .min(LONGEST_WAIT);
        let span = self.spread.take().unwrap_or(longest);
        let wait = std::mem::take(&mut self.at_least) + span.mul_f64(self.draw());
        self.attempts += 1;
        self.state = State::Down {
            retry_at: now + wait,
        };
    }

    /// When it counts as lost, or is opened again, if nothing happens until then.
    pub(super) fn deadline(&self) -> Duration {
        match self.state {
            State::Down { retry_at } => retry_at,
            State::Opening { since } | State::Greeting { since } => since + OPEN_WITHIN,
            State::Up { .. } => self.heard_at + self.patience(),
        }
    }

    /// Why it counts as lost now, if it does.
    pub(super) fn overdue(&self, now: Duration) -> Option<&'static str> {
        if now < self.deadline() {
            return None;
        }
        match self.state {
            State::Down { .. } => None,
            State::Opening { .. } => Some("the connection could not be opened in time"),
            State::Greeting { .. } => Some("the server did not answer in time"),
            State::Up { .. } => Some("the server fell silent"),
        }
    }

    /// From 0 to 1. SplitMix64 (Steele, Lea, Flood 2014): which numbers come matters little, but that
    /// a thousand clients draw different ones.
    fn draw(&mut self) -> f64 {
        self.random = self.random.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.random;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((z ^ (z >> 31)) >> 11) as f64 / (1_u64 << 53) as f64
    }
}
