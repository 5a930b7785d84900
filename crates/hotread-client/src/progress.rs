//! Time limits of a call. It is abandoned when nothing moves, or when less moves than over the slowest link
//! that must work; its size alone is no reason.

use bytes::Bytes;
use hyper::body::{Body, Frame, SizeHint};
use std::convert::Infallible;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::time::Instant;

/// Lowest average rate, in bytes a second, the same as the server's limit: a fifth of the slowest link that
/// must work.
const MIN_RATE: u32 = 4 << 10;
/// Rate at which a server handles a body, in bytes a second, at the least.
const BYTES_A_SECOND: u32 = 1 << 20;
/// Bytes that the system buffers of a connection before it has sent them; small, so that progress is seen.
pub(crate) const MAX_UNSENT: u32 = 128 << 10;
/// Bytes of a request that may be in flight unseen: [`MAX_UNSENT`], and what hyper and TLS buffer.
const MAX_UNSEEN: usize = 640 << 10;
/// Size of the parts in which a body is handed over, in bytes.
const PART_BYTES: usize = 64 << 10;

/// Progress of one exchange.
#[derive(Debug)]
pub(crate) struct Progress {
    /// Longest time in which nothing moves.
    silence: Duration,
    began: Instant,
    /// Size of the request's body.
    body: usize,
    moved: Mutex<Moved>,
}

#[derive(Debug)]
struct Moved {
    last: Instant,
    sent: usize,
    received: usize,
}

/// Returns the time that `bytes` take at `rate` bytes a second.
fn time_for(bytes: usize, rate: u32) -> Duration {
    Duration::from_secs_f64(bytes as f64 / f64::from(rate))
}

impl Progress {
    pub(crate) fn new(silence: Duration, body: usize, now: Instant) -> Self {
        Self {
            silence,
            began: now,
            body,
            moved: Mutex::new(Moved {
                last: now,
                sent: 0,
                received: 0,
            }),
        }
    }

    fn moved(&self) -> MutexGuard<'_, Moved> {
        self.moved.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Records that `bytes` of the body were taken to be sent.
    fn send(&self, bytes: usize, now: Instant) {
        let mut moved = self.moved();
        (moved.sent, moved.last) = (moved.sent + bytes, now);
    }

    /// Records that a part of the answer has arrived.
    pub(crate) fn receive(&self, bytes: usize, now: Instant) {
        let mut moved = self.moved();
        (moved.received, moved.last) = (moved.received + bytes, now);
    }

    /// Returns the deadline, which progress moves.
    pub(crate) fn until(&self) -> Instant {
        let moved = self.moved();
        let work = time_for(self.body, BYTES_A_SECOND);
        let unseen = match moved.received {
            0 => time_for(moved.sent.min(MAX_UNSEEN), MIN_RATE) + work,
            _ => Duration::ZERO,
        };
        let all = time_for(self.body + moved.received, MIN_RATE) + work;
        (moved.last + self.silence + unseen).min(self.began + self.silence + all)
    }
}

/// A request's body, which records when its parts are sent.
pub(crate) struct Sent {
    rest: Bytes,
    progress: Arc<Progress>,
}

impl Sent {
    pub(crate) fn new(body: Bytes, progress: Arc<Progress>) -> Self {
        Self {
            rest: body,
            progress,
        }
    }
}

impl Body for Sent {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        if self.rest.is_empty() {
            return Poll::Ready(None);
        }
        let bytes = self.rest.len().min(PART_BYTES);
        let part = self.rest.split_to(bytes);
        self.progress.send(bytes, Instant::now());
        Poll::Ready(Some(Ok(Frame::data(part))))
    }

    fn is_end_stream(&self) -> bool {
        self.rest.is_empty()
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.rest.len() as u64)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SILENCE: Duration = Duration::from_secs(30);
    const SECOND: Duration = Duration::from_secs(1);

    /// Moves bytes at a rate until all have moved or the deadline has passed, and returns the time it took.
    fn run(
        body: usize,
        answer: usize,
        rate: usize,
        moves: impl Fn(&Progress, usize, Instant),
    ) -> (bool, Duration) {
        let began = Instant::now();
        let progress = Progress::new(SILENCE, body, began);
        let (mut now, mut left) = (began, body.max(answer));
        while left > 0 {
            now += SECOND;
            if progress.until() <= now {
                return (false, now - began);
            }
            let bytes = rate.min(left);
            left -= bytes;
            moves(&progress, bytes, now);
        }
        (true, now - began)
    }

    #[test]
    fn large_answers_and_bodies_over_a_slow_link_are_waited_for() {
        for rate in [50_000, 20_000, 5_000] {
            let answer = run(0, 20 << 20, rate, Progress::receive);
            let body = run(20 << 20, 0, rate, Progress::send);
            for (done, took) in [answer, body] {
                assert!(done && took > SILENCE, "{rate} B/s: {took:?}");
            }
        }
    }

    #[test]
    fn an_answer_that_trickles_or_stops_is_given_up() {
        let (done, took) = run(0, 20 << 20, 100, Progress::receive);
        assert!(!done && took < 2 * SILENCE, "{took:?}");
        let now = Instant::now();
        let progress = Progress::new(SILENCE, 0, now);
        assert_eq!(progress.until(), now + SILENCE);
        progress.receive(1 << 20, now + SECOND);
        assert_eq!(progress.until(), now + SECOND + SILENCE);
    }

    #[test]
    fn a_body_that_stops_is_given_up_by_what_may_be_on_its_way() {
        let now = Instant::now();
        let progress = Progress::new(SILENCE, 64 << 20, now);
        progress.send(32 << 20, now);
        let unseen = time_for(MAX_UNSEEN, MIN_RATE) + time_for(64 << 20, BYTES_A_SECOND);
        assert_eq!(progress.until(), now + SILENCE + unseen);
        assert!(unseen < 8 * SILENCE);
    }
}
