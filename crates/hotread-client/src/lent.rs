//! A connection that returns to its owner when its borrower drops it.

use crate::stream::Stream;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::sync::oneshot;

/// A stream that is lent. The handshake of a WebSocket consumes its stream, and drops it when the server
/// answers with something else, together with the rest of that answer.
#[derive(Debug)]
pub(crate) struct Lent {
    /// `None` while it is dropped.
    stream: Option<Stream>,
    back: Option<oneshot::Sender<Stream>>,
}

impl Lent {
    /// Returns the lent stream, and the receiver to which it returns when it is dropped. If the receiver is
    /// dropped first, the stream does not return.
    pub(crate) fn new(stream: Stream) -> (Self, oneshot::Receiver<Stream>) {
        let (back, comes_back) = oneshot::channel();
        let lent = Self {
            stream: Some(stream),
            back: Some(back),
        };
        (lent, comes_back)
    }

    /// Returns the number of bytes received over the stream.
    pub(crate) fn received(&self) -> u64 {
        self.stream.as_ref().map_or(0, Stream::received)
    }

    fn stream(&mut self) -> Pin<&mut Stream> {
        Pin::new(self.stream.as_mut().expect("it is there until drop"))
    }
}

impl Drop for Lent {
    fn drop(&mut self) {
        if let (Some(stream), Some(back)) = (self.stream.take(), self.back.take()) {
            // The owner may not want it back.
            let _ = back.send(stream);
        }
    }
}

impl AsyncRead for Lent {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        self.stream().poll_read(cx, buffer)
    }
}

impl AsyncWrite for Lent {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.stream().poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.stream().poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.stream().poll_shutdown(cx)
    }
}
