//! A connection's socket: it holds a place for as long as it lives, whatever is spoken on it, and
//! waits a bounded time for a peer that takes nothing in, or too little. A connection that is closed with bytes
//! unread is reset, and the peer may lose the answer that it was sent: after an answer to a request
//! whose body was not read, the socket reads on for a while.

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

/// How long a closed connection is read on, if its peer goes on sending.
const LINGER: Duration = Duration::from_secs(30);
/// How long a closed connection is read on while nothing comes.
const LINGER_SILENCE: Duration = Duration::from_secs(2);
/// Bytes that are read of a closed connection without a pause, and the pause after them: 64 MiB a second, so
/// that what is thrown away does not take the cores from callers who are served.
const LINGER_BURST: usize = 256 << 10;
const LINGER_PAUSE: Duration = Duration::from_millis(4);
/// Most bytes that are read of a closed connection: twice the largest body there is by default.
const LINGER_BYTES: u64 = 512 << 20;

/// The slowest that a peer may take in what is sent to it, for long, in bytes a second: a fifth of the slowest
/// link that is to work. What waits for it is memory, and perhaps a turn.
const MIN_RATE: u32 = 4 << 10;
/// Bytes that the system takes of a connection before it has sent them. Without a bound it takes megabytes,
/// and says that there is room again when a third of them is gone: a slow peer takes a minute for that, which
/// looks as if it took nothing in.
const MAX_UNSENT: u32 = 128 << 10;

/// What a connection and those who speak on it know of each other.
#[derive(Debug, Default)]
pub(crate) struct Wire {
    received: AtomicU64,
    unread: AtomicBool,
}

// ORDERING: each is a fact by itself, and one task at a time speaks on a connection.
impl Wire {
    /// How many bytes have come, also those of which a protocol's parser says nothing.
    pub(crate) fn received(&self) -> u64 {
        self.received.load(Ordering::Relaxed)
    }

    fn receive(&self, bytes: usize) {
        self.received.fetch_add(bytes as u64, Ordering::Relaxed);
    }

    /// Whether the body of the request that came last is unread, at least in part.
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
    /// Bytes that were read since the last pause.
    burst: usize,
    /// Runs while nothing comes, or for a pause after a burst.
    timer: Pin<Box<Sleep>>,
}

/// How long a peer is waited for: so long while it takes nothing in, and longer for what it takes. Time in
/// which nothing waits for it gives back what was used up.
struct Patience {
    max: Duration,
    left: Duration,
    /// When it was as much as that, and whether the peer was waited for from then on.
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

    /// The peer took so many bytes in.
    fn took(&mut self, bytes: usize, now: Instant) {
        self.pass(now, false);
        // More than this fills it anyhow.
        let bytes = u32::try_from(bytes).unwrap_or(u32::MAX);
        let earned = Duration::from_secs(bytes.into()) / MIN_RATE;
        self.left = self.left.saturating_add(earned).min(self.max);
    }

    /// Nothing more can be written now. When it is over.
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

/// What a connection holds for as long as its socket lives: a turn, and a sign that it lives.
type Place = (Turn, mpsc::Sender<Infallible>);

/// A socket with its place.
pub(crate) struct Socket {
    stream: TcpStream,
    wire: Arc<Wire>,
    patience: Patience,
    /// Runs while nothing could be written that was to be.
    stalled: Option<Pin<Box<Sleep>>>,
    /// What was sent is at its end, and what comes is thrown away.
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

    /// Throws away what comes, until the peer closes, falls silent, or has sent enough.
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

    /// What became of a write, with an eye on the time.
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
            let message = "the peer takes nothing in, or too little";
            Err(io::Error::new(io::ErrorKind::TimedOut, message))
        })
    }
}

/// A hint: without it, slow peers need more patience.
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

    /// How long a peer is waited for that takes so many bytes in every so often.
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
        // In pieces, as slow links take them.
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
