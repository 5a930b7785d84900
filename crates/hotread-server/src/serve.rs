//! Listening: connections are accepted, within the limits, and closed when the server stops.

use crate::access::is_loopback;
use crate::caller::{Peer, Who};
use crate::clock;
use crate::error::Failure;
use crate::http::{self, answer};
use crate::limits::MAX_BUFFER_BYTES;
use crate::metrics::count;
use crate::options::Options;
use crate::socket::Socket;
use crate::state::{AppState, Drain, stopping};
use crate::tls::{self, Stream};
use crate::work;
use axum::Router;
use axum::body::Body;
use axum::http::Request;
use hotread_proto::Code;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use std::convert::Infallible;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, mpsc, watch};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, timeout, timeout_at};
use tower::ServiceExt;

/// Pause when no connection can be accepted, usually for want of file descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
/// Connections beyond the limit that are answered with the reason at a time. The others are closed without
/// an answer.
const MAX_REFUSALS: usize = 32;
/// Longest wait for the first byte of the request that such an answer is for, with the TLS handshake before
/// it; and longest time to send the answer.
const REFUSAL_PATIENCE: Duration = Duration::from_secs(1);
/// Maximum number of bytes read of its request: closing a connection with unread bytes resets it before the
/// peer sees the answer.
const REFUSAL_BYTES: u64 = 16 << 10;

/// Reason a server does not serve.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ServeError {
    /// Other machines could connect, and a requirement for that is missing.
    #[error(
        "{address} can be reached from other machines, but {}; or listen on 127.0.0.1 behind a proxy \
         that encrypts",
        missing(*no_tokens, *no_plaintext)
    )]
    OtherMachines {
        /// The listener's address.
        address: SocketAddr,
        /// `true` if the store has no tokens.
        no_tokens: bool,
        /// `true` if there is no [`Tls`](crate::Tls), and
        /// [`Options::allow_plaintext`](crate::Options::allow_plaintext) is not set.
        no_plaintext: bool,
    },
    /// The listener cannot be used.
    #[error("the listener cannot be used: {0}; check that it is bound")]
    Listener(#[source] io::Error),
}

/// Returns the missing requirements, with the action to take.
fn missing(no_tokens: bool, no_plaintext: bool) -> &'static str {
    match (no_tokens, no_plaintext) {
        (true, true) => {
            "two things are missing, an admin token and encryption: create the token, and give the \
             server a certificate, or allow plaintext if you trust the network"
        }
        (true, false) => "an admin token is missing: create one",
        (false, _) => {
            "encryption is missing: give the server a certificate, or allow plaintext if you trust the \
             network"
        }
    }
}

impl ServeError {
    /// Returns the error's stable code.
    #[must_use]
    pub fn code(&self) -> Code {
        Code::BadConfig
    }
}

/// Serves until `shutdown` resolves and all running work is done, or cut off.
pub(crate) async fn serve(
    state: Arc<AppState>,
    stop: watch::Sender<Drain>,
    listener: TcpListener,
    shutdown: impl Future<Output = ()> + Send,
) -> Result<(), ServeError> {
    let address = listener.local_addr().map_err(ServeError::Listener)?;
    check_address(&state, address)?;
    lengthen_queue(&listener, state.settings().options.max_connections)
        .map_err(ServeError::Listener)?;
    announce(&state, address);
    tracing::info!(%address, tls = state.tls.is_some(), "listening");
    if state.is_open() {
        tracing::warn!(
            "there are no tokens: every program on this machine may do everything; create one \
             before a proxy or another machine leads to the server"
        );
    }

    let router = http::router(state.clone());
    // Each socket holds a sender, regardless of its protocol, so that the channel ends with the last one.
    let (alive, gone) = mpsc::channel(1);
    let refusals = Arc::new(Semaphore::new(MAX_REFUSALS));
    let mut connections = JoinSet::new();
    // In the same set, so that it ends with the connections.
    let giving = state.clone();
    connections.spawn(async move { giving.budgets.give_back().await });
    connections.spawn(work::keep_a_thread());
    if let Some(tls) = &state.tls {
        connections.spawn(tls.clone().watch());
    }
    let mut shutdown = pin!(shutdown);
    let mut failing = false;
    loop {
        tokio::select! {
            biased;
            () = &mut shutdown => break,
            Some(_) = connections.join_next() => {}
            accepted = listener.accept() => match accepted {
                Ok((stream, _)) if !clock::is_writable() => {
                    if !std::mem::replace(&mut failing, true) {
                        tracing::error!("requests are not served: the clock shows no year from 1970 to 9999");
                    }
                    refuse(&state, stream, clock::failure(), &refusals);
                }
                Ok((stream, peer)) => {
                    failing = false;
                    let Some(turn) = state.places.try_next(Who::peer(peer), None) else {
                        count(&state.metrics.refused_connections);
                        let message = "the server has too many connections; try again later";
                        let failure = Failure::new(Code::TooManyConnections, message);
                        refuse(&state, stream, failure, &refusals);
                        continue;
                    };
                    count(&state.metrics.connections);
                    // Written data should be sent immediately. If the option cannot be set, the connection is
                    // slower.
                    let _ = stream.set_nodelay(true);
                    let patience = Duration::from_millis(state.settings().options.write_timeout_ms);
                    let socket = Socket::new(stream, patience, (turn, alive.clone()));
                    connections.spawn(connection(state.clone(), router.clone(), socket, peer));
                }
                Err(error) if is_of_the_peer(&error) => {}
                Err(error) => {
                    if !std::mem::replace(&mut failing, true) {
                        tracing::warn!(%error, "connections cannot be accepted; raise the limit of open files, or allow fewer connections");
                    }
                    sleep(ACCEPT_PAUSE).await;
                }
            },
        }
    }
    drop((listener, alive));
    drain(&state, &stop, connections, gone).await;
    Ok(())
}

pub(crate) fn check_address(state: &AppState, address: SocketAddr) -> Result<(), ServeError> {
    let settings = state.settings();
    settings
        .options
        .check_address(address, state.store.has_tokens(), state.tls.is_some())
}

impl Options {
    /// Checks whether a server with these options may listen at an address, like
    /// [`Server::check_address`](crate::Server::check_address), but before its store is opened. A store that
    /// does not exist yet has no tokens.
    ///
    /// # Errors
    /// [`ServeError::OtherMachines`].
    pub fn check_address(
        &self,
        address: SocketAddr,
        has_tokens: bool,
        has_tls: bool,
    ) -> Result<(), ServeError> {
        let (no_tokens, no_plaintext) = (!has_tokens, !(has_tls || self.allow_plaintext));
        if is_loopback(address) || !(no_tokens || no_plaintext) {
            return Ok(());
        }
        Err(ServeError::OtherMachines {
            address,
            no_tokens,
            no_plaintext,
        })
    }
}

/// Sets the length of the queue of connections to be accepted to the most connections; the system limits it
/// to `net.core.somaxconn`. A runtime's listener has a queue of 128. Beyond its length, Linux (with SYN
/// cookies, its default) drops the last packet of a handshake: the peer regards itself as connected, and if
/// it sends nothing, neither side ever finds out.
fn lengthen_queue(listener: &TcpListener, connections: usize) -> io::Result<()> {
    let length = i32::try_from(connections).unwrap_or(i32::MAX);
    Ok(rustix::net::listen(listener, length)?)
}

/// Writes the server's address for processes that find the database in use: one small write, without a
/// thread.
fn announce(state: &AppState, address: SocketAddr) {
    let ip = match address.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        ip => ip,
    };
    let scheme = if state.tls.is_some() { "https" } else { "http" };
    let url = format!("{scheme}://{}", SocketAddr::new(ip, address.port()));
    if let Err(error) = state.store.announce(&url) {
        tracing::warn!(%error, "the address could not be written to the lock file");
    }
}

/// Returns `true` if the peer was gone before its connection was accepted.
fn is_of_the_peer(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset, Interrupted};
    matches!(
        error.kind(),
        ConnectionAborted | ConnectionRefused | ConnectionReset | Interrupted
    )
}

async fn connection(state: Arc<AppState>, router: Router, socket: Socket, peer: SocketAddr) {
    let wire = socket.wire();
    let (stream, certified) = match &state.tls {
        None => (Stream::Plain(socket), None),
        // In a box, so that a connection without TLS has no room for a handshake.
        Some(current) => match Box::pin(tls::accept(&state, current, socket, peer)).await {
            Some(accepted) => accepted,
            None => return,
        },
    };
    let address = peer;
    let peer = Peer { address, certified };
    let service = service_fn(|request: Request<Incoming>| {
        let mut request = request.map(Body::new);
        request.extensions_mut().insert(peer.clone());
        request.extensions_mut().insert(wire.clone());
        router.clone().oneshot(request)
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(Duration::from_millis(
            state.settings().options.head_timeout_ms,
        ))
        .max_buf_size(MAX_BUFFER_BYTES)
        .serve_connection(TokioIo::new(stream), service)
        .with_upgrades();
    let mut connection = pin!(connection);
    let mut shutdown = state.shutdown.clone();
    let ended = tokio::select! {
        ended = clock::guarded(connection.as_mut()) => ended,
        _ = stopping(&mut shutdown) => {
            connection.as_mut().graceful_shutdown();
            clock::guarded(connection.as_mut()).await
        }
    };
    if let Err(error) = ended {
        // Peers vanish; their work was logged with their request.
        tracing::debug!(peer = %address, %error, "a connection ended with an error");
    }
}

/// Tells a connection why it is not served, if that takes no time.
fn refuse(state: &AppState, stream: TcpStream, failure: Failure, refusals: &Arc<Semaphore>) {
    let Ok(turn) = refusals.clone().try_acquire_owned() else {
        return;
    };
    let current = state.tls.clone();
    tokio::spawn(async move {
        let _turn = turn;
        let answer = answer::raw(&failure);
        let until = Instant::now() + REFUSAL_PATIENCE;
        let Some(current) = current else {
            return answer_next(stream, &answer, until).await;
        };
        // After a timeout the connection is closed all the same.
        let accepting = tls::accept_any(&current, stream);
        if let Ok(Some(stream)) = timeout_at(until, accepting).await {
            answer_next(stream, &answer, until).await;
        }
    });
}

/// Sends the last bytes of a connection once its request begins, or at this time: to a client, an answer before
/// its request is a fault of the connection.
async fn answer_next<S>(mut stream: S, answer: &[u8], at: Instant)
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    // The answer is sent in any case.
    let _ = timeout_at(at, stream.read_u8()).await;
    say_last(&mut stream, answer).await;
}

/// Sends the last bytes of a connection, and gives the peer a moment to read them.
pub(crate) async fn say_last<S>(stream: &mut S, bytes: &[u8])
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let say = async {
        stream.write_all(bytes).await?;
        stream.shutdown().await?;
        let mut rest = stream.take(REFUSAL_BYTES);
        tokio::io::copy(&mut rest, &mut tokio::io::sink()).await
    };
    // After a timeout or an error the connection is closed all the same.
    let _ = timeout(REFUSAL_PATIENCE, say).await;
}

/// Lets running work finish, for a while.
async fn drain(
    state: &AppState,
    stop: &watch::Sender<Drain>,
    mut connections: JoinSet<()>,
    mut gone: mpsc::Receiver<Infallible>,
) {
    let settings = state.settings();
    let until = Instant::now() + Duration::from_millis(settings.options.drain_ms);
    let spread = Duration::from_millis(settings.options.goodbye_spread_ms);
    stop.send_replace(Some(spread));
    let open = || state.places.depth().0;
    tracing::info!(open = open(), "stopping");
    if timeout_at(until, gone.recv()).await.is_err() {
        tracing::warn!(open = open(), "connections are cut off");
    }
    connections.shutdown().await;
    // Also work that belongs to no connection.
    state.ended.send_replace(true);
}
