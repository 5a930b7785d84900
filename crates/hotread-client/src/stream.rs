//! A connection's bytes: TCP, or TLS over TCP. The plain one is used as it is, without an allocation.

use crate::tls::{Secured, TlsError};
use hyper_util::client::legacy::connect::{Connected, Connection};
use socket2::SockRef;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;

/// First byte of the alert with which an end that speaks TLS answers plain text.
const TLS_ALERT: u8 = 0x15;

/// A connection to the server.
#[derive(Debug)]
pub(crate) enum Stream {
    Plain(Tcp),
    Tls(Box<Secured<Tcp>>),
}

/// A TCP connection, which counts what it receives.
#[derive(Debug)]
pub(crate) struct Tcp {
    pub(crate) stream: TcpStream,
    received: u64,
}

impl From<TcpStream> for Tcp {
    fn from(stream: TcpStream) -> Self {
        Self {
            stream,
            received: 0,
        }
    }
}

impl Stream {
    /// Returns the number of bytes received, as they were sent: of an encrypted record, also before the
    /// record is complete.
    pub(crate) fn received(&self) -> u64 {
        match self {
            Self::Plain(tcp) => tcp.received,
            Self::Tls(tls) => tls.stream.get_ref().0.received,
        }
    }
}

/// Returns the reason that nothing more can be sent: an alert of the server, if it has arrived. A server that
/// refuses the client's certificate closes the connection while the first request is being sent.
fn unsent(tls: &mut Secured<Tcp>, error: io::Error) -> io::Error {
    let (tcp, session) = tls.stream.get_mut();
    // The runtime may not know yet that there is something to read. The socket does not block.
    let socket = SockRef::from(&tcp.stream);
    while session.wants_read() && matches!(session.read_tls(&mut &*socket), Ok(1..)) {
        // What is no alert remains in the session, to be read.
        if let Err(alert) = session.process_new_packets() {
            return tls.explain(io::Error::new(io::ErrorKind::InvalidData, alert));
        }
    }
    tls.explain(error)
}

impl Connection for Stream {
    fn connected(&self) -> Connected {
        Connected::new()
    }
}

impl AsyncRead for Tcp {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        let read = Pin::new(&mut self.stream).poll_read(cx, buffer);
        self.received += (buffer.filled().len() - before) as u64;
        read
    }
}

impl AsyncWrite for Tcp {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(cx, bytes)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

impl AsyncRead for Stream {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(tcp) => {
                let (is_first, before) = (tcp.received == 0, buffer.filled().len());
                let read = Pin::new(tcp).poll_read(cx, buffer);
                if is_first && buffer.filled().get(before) == Some(&TLS_ALERT) {
                    return Poll::Ready(Err(io::Error::other(TlsError::TlsServer)));
                }
                read
            }
            Self::Tls(tls) => {
                let read = Pin::new(&mut tls.stream).poll_read(cx, buffer);
                read.map_err(|error| tls.explain(error))
            }
        }
    }
}

impl AsyncWrite for Stream {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Plain(tcp) => Pin::new(tcp).poll_write(cx, bytes),
            Self::Tls(tls) => {
                let written = Pin::new(&mut tls.stream).poll_write(cx, bytes);
                written.map_err(|error| unsent(tls, error))
            }
        }
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Plain(tcp) => Pin::new(tcp).poll_write_vectored(cx, bytes),
            Self::Tls(tls) => {
                let written = Pin::new(&mut tls.stream).poll_write_vectored(cx, bytes);
                written.map_err(|error| unsent(tls, error))
            }
        }
    }

    fn is_write_vectored(&self) -> bool {
        match self {
            Self::Plain(tcp) => tcp.is_write_vectored(),
            Self::Tls(tls) => tls.stream.is_write_vectored(),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(tcp) => Pin::new(tcp).poll_flush(cx),
            Self::Tls(tls) => {
                let flushed = Pin::new(&mut tls.stream).poll_flush(cx);
                flushed.map_err(|error| unsent(tls, error))
            }
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(tcp) => Pin::new(tcp).poll_shutdown(cx),
            Self::Tls(tls) => Pin::new(&mut tls.stream).poll_shutdown(cx),
        }
    }
}
