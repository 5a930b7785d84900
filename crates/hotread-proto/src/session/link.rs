//! Connection of a replica: when to open it, when to consider it lost, and how long to wait before
//! the next attempt.

use super::MIN_HEARTBEAT;
use std::time::Duration;

/// Longest time to open a connection, and to be greeted on it.
const OPEN_WITHIN: Duration = Duration::from_secs(10);
/// Number of silent heartbeats after which a connection counts as lost.
const SILENT_HEARTBEATS: u32 = 3;
/// Upper bound of the first wait; it doubles with each further attempt …
const FIRST_WAIT: Duration = Duration::from_millis(250);
/// … up to this bound.
const LONGEST_WAIT: Duration = Duration::from_secs(5);
/// Longest wait that a server can request.
const MAX_ASKED_WAIT: Duration = Duration::from_secs(60);
/// Duration after which a connection counts as good, so that the next wait is a first one again.
const HEALTHY_AFTER: Duration = Duration::from_secs(60);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum State {
    /// No connection; the next attempt is made at this time.
    Down { retry_at: Duration },
    /// The connection is being opened.
    Opening { since: Duration },
    /// The connection is open, and the server has not answered `hello`.
    Greeting { since: Duration },
    /// The session is established.
    Up { since: Duration },
}

#[derive(Debug)]
pub(super) struct Link {
    pub(super) state: State,
    /// Rounds of attempts since the last good connection; each tries every server once.
    attempts: u32,
    /// Number of servers to choose from.
    servers: usize,
    /// Servers that have failed in this round.
    failed: usize,
    /// The last connection ended because of its server.
    pub(super) server_failed: bool,
    /// Waits that the server requested: a span to draw from, added to a minimum.
    spread: Option<Duration>,
    at_least: Duration,
    pub(super) heartbeat: Duration,
    pub(super) heard_at: Duration,
    random: u64,
}

impl Link {
    pub(super) fn new(seed: u64, servers: usize, now: Duration) -> Self {
        Self {
            state: State::Down { retry_at: now },
            attempts: 0,
            servers,
            failed: 0,
            server_failed: false,
            spread: None,
            at_least: Duration::ZERO,
            heartbeat: OPEN_WITHIN,
            heard_at: now,
            random: seed,
        }
    }

    /// Returns `true` if it is time to open a connection, which then counts as being opened.
    pub(super) fn open(&mut self, now: Duration) -> bool {
        match self.state {
            State::Down { retry_at } if now >= retry_at => {
                self.state = State::Opening { since: now };
                self.server_failed = false;
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
        // A server must not make the client wait indefinitely, nor spin.
        self.heartbeat = heartbeat.clamp(MIN_HEARTBEAT, MAX_ASKED_WAIT);
        self.state = State::Up { since: now };
    }

    /// Returns the longest silence after which a session still counts as alive.
    pub(super) fn patience(&self) -> Duration {
        self.heartbeat * SILENT_HEARTBEATS
    }

    pub(super) fn is_up(&self) -> bool {
        matches!(self.state, State::Up { .. })
    }

    pub(super) fn is_down(&self) -> bool {
        matches!(self.state, State::Down { .. })
    }

    /// Sets the span of the next wait. 0 selects the usual span, because without any wait all
    /// clients of a server would reconnect at the same moment.
    pub(super) fn spread(&mut self, spread_ms: u64) {
        let spread = Duration::from_millis(spread_ms).min(MAX_ASKED_WAIT);
        self.spread = Some(spread).filter(|spread| !spread.is_zero());
    }

    /// Sets the minimum of the next wait.
    pub(super) fn at_least(&mut self, wait_ms: u64) {
        self.at_least = Duration::from_millis(wait_ms).min(MAX_ASKED_WAIT);
    }

    /// Reports that the connection has ended; `server_failed`: because of its server, so that another one
    /// may do better.
    pub(super) fn lost(&mut self, server_failed: bool, now: Duration) {
        match self.state {
            State::Down { .. } => return,
            State::Up { since } if now.saturating_sub(since) >= HEALTHY_AFTER => {
                (self.attempts, self.failed) = (0, 0);
            }
            _ => {}
        }
        self.server_failed = server_failed;
        self.failed += usize::from(server_failed);
        if server_failed && self.failed < self.servers {
            // What this server has asked for does not concern the next one.
            (self.spread, self.at_least) = (None, Duration::ZERO);
            self.state = State::Down { retry_at: now };
            return;
        }
        self.failed = 0;
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

    /// Returns the time at which the connection counts as lost, or is opened again, unless
    /// something happens before.
    pub(super) fn deadline(&self) -> Duration {
        match self.state {
            State::Down { retry_at } => retry_at,
            State::Opening { since } | State::Greeting { since } => since + OPEN_WITHIN,
            State::Up { .. } => self.heard_at + self.patience(),
        }
    }

    /// Returns the reason the connection counts as lost now, if it does.
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

    /// Draws a number from 0 to 1 with SplitMix64 (Steele, Lea, Flood 2014). The sequence matters
    /// little, as long as a thousand clients draw different ones.
    fn draw(&mut self) -> f64 {
        self.random = self.random.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.random;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((z ^ (z >> 31)) >> 11) as f64 / (1_u64 << 53) as f64
    }
}
