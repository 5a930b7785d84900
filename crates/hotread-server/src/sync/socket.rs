//! The WebSocket of a session: messages in, shared frames out, and the end.

use super::Step;
use crate::rate::{Bucket, Rate};
use crate::socket::Wire;
use axum::extract::ws::{CloseFrame, Message, Utf8Bytes, WebSocket, close_code};
use bytes::Bytes;
use futures_util::Stream;
use hotread_proto::Code;
use std::future::poll_fn;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;
use tokio::time::{Instant, timeout};
use tungstenite::Error;
use tungstenite::error::ProtocolError;

/// Time for which a session that is over waits for its last frames to be sent, and then once more for the
/// peer to close; after that a peer holds no more resources.
pub(super) const CLOSE_WITHIN: Duration = Duration::from_secs(5);
/// Control messages that a peer may send: 50 a second on average, 200 at once, as many as frames.
const CONTROLS: Rate = Rate::new(50, 200);
/// Bytes of any kind that a peer may send: 64 KiB a second on average, 256 KiB at once. Empty fragments of
/// a message, which the WebSocket does not report, cost as much as others: ten thousand a second are one
/// per cent of a core. The burst is more than a client has to send in a minute.
const BYTES: Rate = Rate::new(64 << 10, 256 << 10);
/// Maximum number of bytes of a peer that are discarded after a session's last frame.
const MAX_DRAINED: u64 = 1 << 20;

/// Limits on input that costs a session as much as frames: the WebSocket's pings and pongs, and bytes of
/// any kind.
pub(super) struct Controls {
    began: Instant,
    messages: Bucket,
    bytes: Bucket,
    wire: Arc<Wire>,
    /// Number of received bytes that were already counted.
    counted: u64,
}

impl Controls {
    pub(super) fn new(wire: Arc<Wire>) -> Self {
        Self {
            began: Instant::now(),
            messages: Bucket::default(),
            bytes: Bucket::default(),
            counted: wire.received(),
            wire,
        }
    }

    /// Returns `true` if too many bytes have arrived.
    fn is_flooded(&mut self) -> bool {
        let now = self.wire.received();
        let new = now - std::mem::replace(&mut self.counted, now);
        new > 0 && self.bytes.take(new, BYTES, self.began.elapsed()).is_err()
    }
}

/// Waits for the next message with content.
pub(super) fn read(
    socket: &mut WebSocket,
    controls: &mut Controls,
    cx: &mut Context<'_>,
) -> Poll<Step> {
    loop {
        let next = Pin::new(&mut *socket).poll_next(cx);
        // Checked without a message, too, because fragments may have arrived.
        if controls.is_flooded() {
            return Poll::Ready(flooded());
        }
        let step = match ready!(next) {
            Some(Ok(Message::Text(text))) => Step::Text(text),
            // The connection itself answers them.
            Some(Ok(Message::Ping(_) | Message::Pong(_))) => {
                match controls
                    .messages
                    .take(1, CONTROLS, controls.began.elapsed())
                {
                    Ok(()) => continue,
                    Err(_) => flooded(),
                }
            }
            Some(Ok(Message::Binary(_))) => unreadable("a binary message"),
            Some(Ok(Message::Close(_))) | None => Step::Lost("it was closed".to_owned()),
            Some(Err(error)) => failed(error),
        };
        return Poll::Ready(step);
    }
}

fn flooded() -> Step {
    let message = "too many pings or fragments of the WebSocket in a short time; send fewer";
    Step::Fail(Code::RateLimited, message.to_owned())
}

fn unreadable(what: &str) -> Step {
    Step::Fail(
        Code::ProtocolError,
        format!("the message is not a frame: {what}"),
    )
}

/// Returns the step for a failed connection. A peer that violated the protocol is told; one that is gone is
/// not. Either sends no more messages.
fn failed(error: axum::Error) -> Step {
    let words = error.to_string();
    match error.into_inner().downcast_ref::<Error>() {
        Some(Error::Protocol(ProtocolError::ResetWithoutClosingHandshake)) => Step::Lost(words),
        Some(Error::Protocol(_) | Error::Capacity(_) | Error::Utf8(_) | Error::AttackAttempt) => {
            unreadable(&words)
        }
        _ => Step::Lost(words),
    }
}

/// Returns a shared frame as a message, without copying it.
pub(super) fn text(frame: Arc<str>) -> Message {
    let bytes = Bytes::from_owner(Arc::<[u8]>::from(frame));
    match Utf8Bytes::try_from(bytes) {
        Ok(text) => Message::Text(text),
        Err(_) => unreachable!("a str is UTF-8"),
    }
}

/// Closes the connection of a session whose last frame was sent. Limited input of the peer is discarded:
/// closing with unread bytes would reset the connection, and might lose the last frame.
pub(super) async fn close(mut socket: WebSocket, wire: Arc<Wire>) {
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
    // After a timeout or an error the connection is dropped all the same.
    let _ = timeout(CLOSE_WITHIN, closed).await;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn control_messages_may_come_in_a_burst_and_then_at_a_rate() {
        let messages = Controls::new(Arc::default()).messages;
        for _ in 0..200 {
            messages.take(1, CONTROLS, Duration::ZERO).unwrap();
        }
        assert!(messages.take(1, CONTROLS, Duration::ZERO).is_err());
        for second in 1..5 {
            for _ in 0..50 {
                let now = Duration::from_secs(2 * second);
                messages.take(1, CONTROLS, now).unwrap();
            }
        }
    }
}
