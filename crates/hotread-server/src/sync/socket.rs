//! What a session does with its WebSocket: messages in, shared frames out, and the end.

use super::Step;
use crate::socket::Wire;
use axum::extract::ws::{CloseFrame, Message, Utf8Bytes, WebSocket, close_code};
use bytes::Bytes;
use futures_util::Stream;
use std::future::poll_fn;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;
use tokio::time::{Instant, timeout};
use tungstenite::Error;
use tungstenite::error::ProtocolError;

/// How long a session that is over waits for its last frames to be taken, and then once more for the
/// peer to close: a peer that does not must not hold anything.
pub(super) const CLOSE_WITHIN: Duration = Duration::from_secs(5);
/// Control messages that a peer may send at once: as many as frames.
const CONTROL_BURST: f64 = 200.0;
/// Control messages a second that it may send for long: as many as frames.
const CONTROLS_PER_SECOND: f64 = 50.0;

/// Bytes that a peer may send at once, whatever they are: empty fragments of a message, of which the
/// WebSocket tells nothing, cost as much as others. More than all that a client has to say in a minute.
const BYTE_BURST: f64 = 262_144.0;
/// Bytes a second that it may send for long: some ten thousand empty fragments, one per cent of a core.
const BYTES_PER_SECOND: f64 = 65_536.0;
/// Most bytes of a peer that are thrown away after a session's last frame.
const MAX_DRAINED: u64 = 1 << 20;

/// What may come in a burst, and at a rate for long.
struct Bucket {
    left: f64,
    burst: f64,
    per_second: f64,
    at: Instant,
}

impl Bucket {
    fn new(burst: f64, per_second: f64, now: Instant) -> Self {
        Self {
            left: burst,
            burst,
            per_second,
            at: now,
        }
    }

    /// So much came. Was it too much?
    fn take(&mut self, amount: f64, now: Instant) -> bool {
        let passed = now.duration_since(self.at).as_secs_f64();
        self.at = now;
        self.left = (self.left + passed * self.per_second).min(self.burst) - amount;
        self.left < 0.0
    }
}

/// What costs a session as much as frames, and is none: pings and pongs of the WebSocket itself, and
/// whatever bytes come. Both have a rate.
pub(super) struct Controls {
    messages: Bucket,
    bytes: Bucket,
    wire: Wire,
    /// How many of the bytes received are counted.
    counted: u64,
}

impl Controls {
    pub(super) fn new(now: Instant, wire: Wire) -> Self {
        Self {
            messages: Bucket::new(CONTROL_BURST, CONTROLS_PER_SECOND, now),
            bytes: Bucket::new(BYTE_BURST, BYTES_PER_SECOND, now),
            counted: wire.received(),
            wire,
        }
    }

    /// Have too many bytes come?
    fn is_flooded(&mut self) -> bool {
        let now = self.wire.received();
        let new = now - std::mem::replace(&mut self.counted, now);
        new > 0 && self.bytes.take(new as f64, Instant::now())
    }
}

/// The next message that says anything.
pub(super) fn read(
    socket: &mut WebSocket,
    controls: &mut Controls,
    cx: &mut Context<'_>,
) -> Poll<Step> {
    loop {
        let next = Pin::new(&mut *socket).poll_next(cx);
        // Also if there is no message: fragments may have come.
        if controls.is_flooded() {
            return Poll::Ready(Step::Flooded);
        }
        let step = match ready!(next) {
            Some(Ok(Message::Text(text))) => Step::Text(text),
            // Answered by the connection itself.
            Some(Ok(Message::Ping(_) | Message::Pong(_))) => {
                match controls.messages.take(1.0, Instant::now()) {
                    true => Step::Flooded,
                    false => continue,
                }
            }
            Some(Ok(Message::Binary(_))) => Step::Unreadable("a binary message".to_owned()),
            Some(Ok(Message::Close(_))) | None => Step::Lost("it was closed".to_owned()),
            Some(Err(error)) => unreadable(error),
        };
        return Poll::Ready(step);
    }
}

/// A peer that broke the rules is told so; one that is gone is not. Nothing more can be read of
/// either.
fn unreadable(error: axum::Error) -> Step {
    let words = error.to_string();
    match error.into_inner().downcast_ref::<Error>() {
        Some(Error::Protocol(ProtocolError::ResetWithoutClosingHandshake)) => Step::Lost(words),
        Some(Error::Protocol(_) | Error::Capacity(_) | Error::Utf8(_) | Error::AttackAttempt) => {
            Step::Unreadable(words)
        }
        _ => Step::Lost(words),
    }
}

/// A shared frame as a message, without copying it.
pub(super) fn text(frame: Arc<str>) -> Message {
    struct Shared(Arc<str>);
    impl AsRef<[u8]> for Shared {
        fn as_ref(&self) -> &[u8] {
            self.0.as_bytes()
        }
    }
    let bytes = Bytes::from_owner(Shared(frame));
    match Utf8Bytes::try_from(bytes) {
        Ok(text) => Message::Text(text),
        Err(_) => unreachable!("a str is UTF-8"),
    }
}

/// Closes the connection of a session whose last frame was taken. What the peer still sends is thrown
/// away, if it is not too much: closed with bytes unread, the connection would be reset, and the last
/// frame might be lost.
pub(super) async fn close(mut socket: WebSocket, wire: Wire) {
    let most = wire.received() + MAX_DRAINED;
    let frame = CloseFrame {
        code: close_code::NORMAL,
        reason: Utf8Bytes::from_static("the last frame says why"),
    };
    let closed = async {
        socket.send(Message::Close(Some(frame))).await?;
        poll_fn(|cx| {
            loop {
                let next = Pin::new(&mut socket).poll_next(cx);
                if wire.received() > most {
                    return Poll::Ready(Ok(()));
                }
                match ready!(next) {
                    Some(Ok(_)) => {}
                    Some(Err(error)) => return Poll::Ready(Err(error)),
                    None => return Poll::Ready(Ok(())),
                }
            }
        })
        .await
    };
    // Late, or with an error: it is dropped in any case.
    let _ = timeout(CLOSE_WITHIN, closed).await;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn control_messages_may_come_in_a_burst_and_then_at_a_rate() {
        let began = Instant::now();
        let mut messages = Controls::new(began, Wire::default()).messages;
        for _ in 0..200 {
            assert!(!messages.take(1.0, began));
        }
        assert!(messages.take(1.0, began));
        for second in 1..5 {
            let now = began + Duration::from_secs(2 * second);
            for _ in 0..50 {
                assert!(!messages.take(1.0, now));
            }
        }
    }
}
