//! The handshake of a connection, in the connection's own task.

use super::{Current, Stream, identity};
use crate::error::Failure;
use crate::http::answer;
use crate::log::Line;
use crate::metrics::count;
use crate::serve::say_last;
use crate::socket::Socket;
use crate::state::{AppState, stopping};
use hotread_proto::{Actor, Code};
use std::net::SocketAddr;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

/// Reason a connection has no TLS.
enum Unfinished {
    /// The peer closed it before it sent anything, as probes of a port do.
    Unused,
    Failed(String),
}

/// Waits for a peer's handshake, and returns the connection with the actor of the peer's certificate. `None`:
/// it failed, took too long, or the server was told to stop.
pub(crate) async fn accept(
    state: &AppState,
    current: &Current,
    socket: Socket,
    peer: SocketAddr,
) -> Option<(Stream, Option<Actor>)> {
    let within = Duration::from_millis(state.settings().options.head_timeout_ms);
    let mut shutdown = state.shutdown.clone();
    let done = tokio::select! {
        done = timeout(within, handshake(current, socket)) => done,
        _ = stopping(&mut shutdown) => return None,
    };
    let reason = match done {
        Ok(Ok(stream)) => {
            let (_, session) = stream.get_ref();
            let certificate = session.peer_certificates().and_then(<[_]>::first);
            let actor = certificate.and_then(|certificate| identity::actor(certificate));
            return Some((Stream::Secure(Box::new(stream)), actor));
        }
        Ok(Err(Unfinished::Unused)) => return None,
        Ok(Err(Unfinished::Failed(reason))) => reason,
        Err(_) => "it was not finished in time".to_owned(),
    };
    count(&state.metrics.failed_handshakes);
    if let Some(left_out) = state.lines.take(Line::Handshake) {
        tracing::warn!(%peer, reason, left_out, "a TLS handshake failed");
    }
    None
}

async fn handshake(current: &Current, mut socket: Socket) -> Result<TlsStream<Socket>, Unfinished> {
    match socket.first_byte().await {
        Ok(None) | Err(_) => return Err(Unfinished::Unused),
        Ok(Some(byte)) if is_plain(byte) => {
            demand_tls(&mut socket).await;
            return Err(Unfinished::Failed("the peer does not speak TLS".to_owned()));
        }
        Ok(Some(_)) => {}
    }
    let accepting = TlsAcceptor::from(current.config()).accept(socket);
    match accepting.into_fallible().await {
        Ok(stream) => Ok(stream),
        Err((error, mut socket)) => {
            // The peer gets the alert with the reason, even if it has sent more in the meantime.
            say_last(&mut socket, &[]).await;
            Err(Unfinished::Failed(error.to_string()))
        }
    }
}

/// Returns `true` if a connection that begins with this byte is one without TLS. The first byte of a handshake
/// is 22.
fn is_plain(first: u8) -> bool {
    first.is_ascii_alphabetic()
}

/// Answers a request without TLS.
async fn demand_tls<S>(stream: &mut S)
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let message = "this port speaks TLS; use https:// or wss://";
    let failure = Failure::new(Code::TlsFailed, message);
    say_last(stream, &answer::raw(&failure)).await;
}

/// Waits for the handshake of a connection that is only told why it is not served. `None`: it failed.
pub(crate) async fn accept_any(
    current: &Current,
    mut stream: TcpStream,
) -> Option<TlsStream<TcpStream>> {
    let mut first = [0];
    if stream.peek(&mut first).await.ok()? == 1 && is_plain(first[0]) {
        demand_tls(&mut stream).await;
        return None;
    }
    let accepting = TlsAcceptor::from(current.config()).accept(stream);
    accepting.await.ok()
}
