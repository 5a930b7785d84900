//! A connection's socket. It holds a permit while it exists, regardless of its protocol, and waits for a
//! limited time for a peer that reads nothing, or too little. Closing a connection with unread bytes resets
//! it, and the peer may lose the answer that it was sent; therefore the socket reads on for a while after
//! an answer to a request whose body was not read.

use crate::fair::Turn;
use std::convert::Infallible;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio::time::{Instant, Sleep};

/// Longest time for which a closed connection is read, if its peer continues to send.
const LINGER: Duration = Duration::from_secs(30);
/// Time of silence after which a closed connection is no longer read.
const LINGER_SILENCE: Duration = Duration::from_secs(2);
/// Bytes read from a closed connection without a pause, and the pause after them: 64 MiB a second, so that
/// discarding bytes does not take the cores from callers that are being served.
const LINGER_BURST: usize = 256 << 10;
const LINGER_PAUSE: Duration = Duration::from_millis(4);
/// Maximum number of bytes read from a closed connection: twice the largest body by default.
const LINGER_BYTES: u64 = 512 << 20;

/// Lowest average rate at which a peer may receive, in bytes a second: a fifth of the slowest link that
/// must work. Data that waits for the peer occupies memory, and may hold a permit.
const MIN_RATE: u32 = 4 << 10;
/// Bytes that the system buffers of a connection before it has sent them. Without a limit it buffers
/// megabytes, and reports room again only when a third of them is gone: a slow peer takes a minute for
/// that, as if it received nothing.
const MAX_UNSENT: u32 = 128 << 10;

/// State shared by a connection and the protocols on it.
#[derive(Debug, Default)]
pub(crate) struct Wire {
    received: AtomicU64,
    unread: AtomicBool,
}

// ORDERING: each value is independent, and one task at a time uses a connection.
impl Wire {
    /// Returns the number of bytes received, including those that a protocol's parser does not report.
    pub(crate) fn received(&self) -> u64 {
        self.received.load(Ordering::Relaxed)
    }

    fn receive(&self, bytes: usize) {
        self.received.fetch_add(bytes as u64, Ordering::Relaxed);
    }

    /// Records whether the body of the last request is unread, at least in part.
    pub(crate) fn set_unread(&self, unread: bool) {
        self.unread.store(unread, Ordering::Relaxed);
    }

    pub(crate) fn is_unread(&self) -> bool {
        self.unread.load(Ordering::Relaxed)
    }
}

struct Lingering {
    until: Instant,
    most: u64,
    /// Bytes read since the last pause.
    burst: usize,
    /// Timer of a silence, or of the pause after a burst.
    timer: Pin<Box<Sleep>>,
}

/// Time to wait for a peer: `max` while it receives nothing, and longer for each byte that
/// it receives. Time in which no data waits for it restores what was used up.
struct Patience {
    max: Duration,
    left: Duration,
    /// Time at which `left` was computed, and whether data waits for the peer since then.
    at: Instant,
    waits: bool,
}

impl Patience {
    fn new(max: Duration, now: Instant) -> Self {
        Self {
            max,
            left: max,
            at: now,
            waits: false,
        }
    }

    /// Records that the peer received `bytes`.
    fn took(&mut self, bytes: usize, now: Instant) {
        self.pass(now, false);
        // A larger number fills it in any case.
        let bytes = u32::try_from(bytes).unwrap_or(u32::MAX);
        let earned = Duration::from_secs(bytes.into()) / MIN_RATE;
        self.left = self.left.saturating_add(earned).min(self.max);
    }

    /// Records that nothing more can be written now, and returns the end of the wait.
    fn wait(&mut self, now: Instant) -> Instant {
        self.pass(now, true);
        now + self.left
    }

    fn pass(&mut self, now: Instant, waits: bool) {
        let passed = now.saturating_duration_since(self.at);
        self.left = match self.waits {
            true => self.left.saturating_sub(passed),
            false => self.left.saturating_add(passed).min(self.max),
        };
        (self.at, self.waits) = (now, waits);
    }
}

/// A connection's permit, and a sign that its socket exists.
type Place = (Turn, mpsc::Sender<Infallible>);

/// A socket with its permit.
pub(crate) struct Socket {
    stream: TcpStream,
    wire: Arc<Wire>,
    patience: Patience,
    /// Timer of a write that waits for the peer.
    stalled: Option<Pin<Box<Sleep>>>,
    /// State of a connection whose sending has ended, and whose received bytes are discarded.
    lingering: Option<Lingering>,
    _place: Place,
}

impl Socket {
    pub(crate) fn new(stream: TcpStream, patience: Duration, place: Place) -> Self {
        bound_unsent(&stream);
        Self {
            stream,
            wire: Arc::default(),
            patience: Patience::new(patience, Instant::now()),
            stalled: None,
            lingering: None,
            _place: place,
        }
    }

    pub(crate) fn wire(&self) -> Arc<Wire> {
        self.wire.clone()
    }

    /// Waits for the first byte of the peer, without taking it from the connection; `None`: the peer closed
    /// the connection.
    pub(crate) async fn first_byte(&self) -> io::Result<Option<u8>> {
        let mut byte = [0];
        let came = self.stream.peek(&mut byte).await?;
        Ok((came > 0).then_some(byte[0]))
    }

    /// Discards received bytes, until the peer closes, falls silent, or has sent enough.
    fn poll_linger(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let Self {
            stream,
            wire,
            lingering,
            ..
        } = self;
        let lingering = lingering.get_or_insert_with(|| Lingering {
            until: Instant::now() + LINGER,
            most: wire.received() + LINGER_BYTES,
            burst: 0,
            timer: Box::pin(tokio::time::sleep(LINGER_SILENCE)),
        });
        let mut bytes = [0; 16 << 10];
        loop {
            let time = lingering.timer.as_mut().poll(cx);
            if lingering.burst >= LINGER_BURST {
                ready!(time);
                lingering.burst = 0;
                let silence = Instant::now() + LINGER_SILENCE;
                lingering.timer.as_mut().reset(silence);
                continue;
            }
            if time.is_ready() {
                return Poll::Ready(());
            }
            let mut buf = ReadBuf::new(&mut bytes);
            let read = ready!(Pin::new(&mut *stream).poll_read(cx, &mut buf));
            let came = buf.filled().len();
            wire.receive(came);
            lingering.burst += came;
            let now = Instant::now();
            let is_enough = wire.received() > lingering.most || now > lingering.until;
            if read.is_err() || came == 0 || is_enough {
                return Poll::Ready(());
            }
            let is_burst = lingering.burst >= LINGER_BURST;
            let wait = if is_burst {
                LINGER_PAUSE
            } else {
                LINGER_SILENCE
            };
            lingering.timer.as_mut().reset(now + wait);
        }
    }

    /// Passes on the result of a write, and enforces the time limit.
    fn written(
        &mut self,
        written: Poll<io::Result<usize>>,
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<usize>> {
        let now = Instant::now();
        if let Poll::Ready(written) = written {
            self.stalled = None;
            self.patience.took(*written.as_ref().unwrap_or(&0), now);
            return Poll::Ready(written);
        }
        let end = self.patience.wait(now);
        let stalled = &mut self.stalled;
        let stalled = stalled.get_or_insert_with(|| Box::pin(tokio::time::sleep_until(end)));
        stalled.as_mut().poll(cx).map(|()| {
            let message = "the peer receives nothing, or too little";
            Err(io::Error::new(io::ErrorKind::TimedOut, message))
        })
    }
}

/// Limits the system's buffer. Only a hint: without it, slow peers take longer to detect.
fn bound_unsent(stream: &TcpStream) {
    #[cfg(any(target_os = "linux", target_os = "android"))]
    let _ = socket2::SockRef::from(stream).set_tcp_notsent_lowat(MAX_UNSENT);
    #[cfg(not(any(target_os = "linux", target_os = "android")))]
    let _ = (stream, MAX_UNSENT);
}

impl AsyncRead for Socket {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        let read = Pin::new(&mut self.stream).poll_read(cx, buf);
        self.wire.receive(buf.filled().len() - before);
        read
    }
}

impl AsyncWrite for Socket {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write(cx, buf);
        self.written(written, cx)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write_vectored(cx, bufs);
        self.written(written, cx)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.lingering.is_none() {
            ready!(Pin::new(&mut self.stream).poll_shutdown(cx))?;
        }
        if self.wire.is_unread() {
            ready!(self.poll_linger(cx));
        }
        Poll::Ready(Ok(()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MAX: Duration = Duration::from_secs(30);

    /// Returns the time until a peer is abandoned that receives `bytes` in each interval of `every`.
    fn lasts(bytes: u32, every: Duration) -> Duration {
        let began = Instant::now();
        let mut patience = Patience::new(MAX, began);
        let mut now = began;
        while now - began < 100 * MAX {
            let end = patience.wait(now);
            now += every;
            if end <= now {
                return end - began;
            }
            patience.took(bytes as usize, now);
        }
        now - began
    }

    #[test]
    fn a_peer_is_waited_for_as_long_as_it_takes_enough_in() {
        let second = Duration::from_secs(1);
        assert_eq!(lasts(0, second), MAX);
        assert!(lasts(1, second) < MAX + second);
        assert!(lasts(MIN_RATE / 2, second) < 2 * MAX + second);
        assert!(lasts(MIN_RATE, second) > 99 * MAX);
        // In pieces, as slow links receive them.
        assert!(lasts(25 * MIN_RATE, 20 * second) > 99 * MAX);
        assert_eq!(lasts(1 << 30, MAX), MAX);
    }

    #[test]
    fn what_was_used_up_comes_back_while_nothing_waits() {
        let began = Instant::now();
        let mut patience = Patience::new(MAX, began);
        let end = patience.wait(began);
        assert_eq!(end, began + MAX);
        let later = began + MAX * 2 / 3;
        patience.took(1, later);
        assert!(patience.wait(later) < later + MAX / 2);
        patience.took(0, later);
        let later = later + MAX;
        assert_eq!(patience.wait(later), later + MAX);
    }
}
