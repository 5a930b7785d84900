//! What a session does with its WebSocket: messages in, shared frames out, and the end.

use super::Step;
use axum::extract::ws::{CloseFrame, Message, Utf8Bytes, WebSocket, close_code};
use bytes::Bytes;
use futures_util::Stream;
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

/// Pings and pongs of the WebSocket itself, which cost as much as frames: they have a rate as well.
pub(super) struct Controls {
    left: f64,
    at: Instant,
}

impl Controls {
    pub(super) fn new(now: Instant) -> Self {
        Self {
            left: CONTROL_BURST,
            at: now,
        }
    }

    /// One came. Was it one too many?
    fn take(&mut self, now: Instant) -> bool {
        let passed = now.duration_since(self.at).as_secs_f64();
        self.at = now;
        self.left = (self.left + passed * CONTROLS_PER_SECOND).min(CONTROL_BURST) - 1.0;
        self.left < 0.0
    }
}

/// The next message that says anything.
pub(super) fn read(
    socket: &mut WebSocket,
    controls: &mut Controls,
    cx: &mut Context<'_>,
) -> Poll<Step> {
    loop {
        let step = match ready!(Pin::new(&mut *socket).poll_next(cx)) {
            Some(Ok(Message::Text(text))) => Step::Text(text),
            // Answered by the connection itself.
            Some(Ok(Message::Ping(_) | Message::Pong(_))) => match controls.take(Instant::now()) {
                true => Step::Flooded,
                false => continue,
            },
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
/// away: closed with bytes unread, the connection would be reset, and the last frame might be lost.
pub(super) async fn close(mut socket: WebSocket) {
    let frame = CloseFrame {
        code: close_code::NORMAL,
        reason: Utf8Bytes::from_static("the last frame says why"),
    };
    let closed = async {
        socket.send(Message::Close(Some(frame))).await?;
        while let Some(message) = socket.recv().await {
            message?;
        }
        Ok::<_, axum::Error>(())
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
        let mut controls = Controls::new(began);
        for _ in 0..200 {
            assert!(!controls.take(began));
        }
        assert!(controls.take(began));
        for second in 1..5 {
            let now = began + Duration::from_secs(2 * second);
            for _ in 0..50 {
                assert!(!controls.take(now));
            }
        }
    }
}
