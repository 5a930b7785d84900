//! TCP connections to a name that may have several addresses, some of them dead; used for sessions and for
//! requests.

use crate::heavy::elsewhere;
use crate::progress::{MAX_UNSENT, Sent};
use hyper::Uri;
use hyper_util::client::legacy::Client;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use std::io;
use std::net::{IpAddr, SocketAddr, ToSocketAddrs};
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};
use tower_service::Service;

/// Time after which the next address is tried as well, while the earlier ones have not answered: the
/// Connection Attempt Delay of RFC 8305.
const NEXT_AFTER: Duration = Duration::from_millis(250);

/// Longest time of a connection attempt; after that the server counts as unreachable.
const CONNECT_WITHIN: Duration = Duration::from_secs(5);

/// An HTTP client that reuses its connections.
pub(crate) type Requests = Client<Connector, Sent>;

/// The host to connect to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Target {
    Addresses(Vec<SocketAddr>),
    Name(String, u16),
}

impl Target {
    /// Parses a name or an address, without the brackets of IPv6.
    pub(crate) fn new(host: &str, port: u16) -> Self {
        match host.parse::<IpAddr>() {
            Ok(ip) => Self::Addresses(vec![(ip, port).into()]),
            Err(_) => Self::Name(host.to_owned(), port),
        }
    }

    /// Returns the addresses. The system may take seconds to look them up.
    async fn addresses(&self) -> io::Result<Vec<SocketAddr>> {
        let (host, port) = match self {
            Self::Addresses(addresses) => return Ok(addresses.clone()),
            Self::Name(host, port) => (host.clone(), *port),
        };
        let found = elsewhere(move || (host, port).to_socket_addrs().map(Iterator::collect));
        found.await.unwrap_or_else(|_| {
            Err(io::Error::other(
                "the system refuses to start a thread that looks up the server's name",
            ))
        })
    }
}

/// Returns the HTTP client of a server.
pub(crate) fn requests(target: Target) -> Requests {
    Client::builder(TokioExecutor::new())
        .pool_timer(TokioTimer::new())
        .build(Connector(target))
}

/// A connector that connects every request to one server, regardless of the host in the request.
#[derive(Clone)]
pub(crate) struct Connector(Target);

impl Service<Uri> for Connector {
    type Response = TokioIo<TcpStream>;
    type Error = io::Error;
    type Future = Pin<Box<dyn Future<Output = io::Result<Self::Response>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _: Uri) -> Self::Future {
        let target = self.0.clone();
        Box::pin(async move {
            let late = |_| io::Error::new(io::ErrorKind::TimedOut, "no connection in time");
            let stream = timeout(CONNECT_WITHIN, connect(&target)).await;
            let stream = stream.map_err(late)??;
            stream.set_nodelay(true)?;
            // A small send buffer shows early that bytes move, or that they do not.
            #[cfg(any(target_os = "linux", target_os = "android"))]
            let _ = socket2::SockRef::from(&stream).set_tcp_notsent_lowat(MAX_UNSENT);
            Ok(TokioIo::new(stream))
        })
    }
}

/// Connects to the first address of a host that accepts, as RFC 8305 describes: addresses are tried in
/// parallel, each a little later than the one before, with alternating families.
pub(crate) async fn connect(target: &Target) -> io::Result<TcpStream> {
    first_of(in_turn(target.addresses().await?)).await
}

/// Returns the addresses with alternating families, each family in its own order.
fn in_turn(addresses: Vec<SocketAddr>) -> Vec<SocketAddr> {
    let of_first = |address: &SocketAddr| {
        let first = addresses.first();
        first.is_some_and(|first| first.is_ipv6() == address.is_ipv6())
    };
    let (first, second): (Vec<_>, Vec<_>) = addresses.iter().copied().partition(of_first);
    let (mut first, mut second) = (first.into_iter(), second.into_iter());
    let mut sorted = Vec::with_capacity(addresses.len());
    while sorted.len() < addresses.len() {
        sorted.extend(first.next());
        sorted.extend(second.next());
    }
    sorted
}

/// Returns the first connection that is accepted, and abandons the others.
async fn first_of(addresses: Vec<SocketAddr>) -> io::Result<TcpStream> {
    let mut addresses = addresses.into_iter();
    let mut attempts = JoinSet::new();
    let mut failed = io::Error::new(io::ErrorKind::NotFound, "the name has no address");
    loop {
        match addresses.next() {
            Some(address) => drop(attempts.spawn(TcpStream::connect(address))),
            None if attempts.is_empty() => return Err(failed),
            None => {}
        }
        let more = addresses.len() > 0;
        tokio::select! {
            Some(attempt) = attempts.join_next() => match attempt {
                Ok(Ok(stream)) => return Ok(stream),
                Ok(Err(error)) => failed = error,
                Err(error) => failed = io::Error::other(error),
            },
            () = sleep(NEXT_AFTER), if more => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::progress::Progress;
    use bytes::Bytes;
    use std::net::Ipv4Addr;
    use std::sync::Arc;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::{TcpListener, TcpSocket};
    use tokio::time::Instant;

    /// Time after which a test counts as hanging.
    const HANG: Duration = Duration::from_secs(60);

    /// An address that never answers, because its listener's queue is full, with the sockets that keep the
    /// queue full.
    async fn dead() -> (SocketAddr, Vec<TcpStream>, TcpListener) {
        let socket = TcpSocket::new_v4().unwrap();
        socket.bind((Ipv4Addr::LOCALHOST, 0).into()).unwrap();
        let listener = socket.listen(1).unwrap();
        let address = listener.local_addr().unwrap();
        let mut queue = Vec::new();
        while let Ok(taken) = timeout(2 * NEXT_AFTER, TcpStream::connect(address)).await {
            queue.push(taken.unwrap());
        }
        (address, queue, listener)
    }

    async fn listening() -> (TcpListener, SocketAddr) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        (listener, address)
    }

    #[tokio::test]
    async fn a_dead_first_address_does_not_keep_the_second_from_being_used() {
        let (dead, _queue, _full) = dead().await;
        let (_listener, alive) = listening().await;
        let stream = timeout(HANG, first_of(vec![dead, alive])).await;
        assert_eq!(stream.unwrap().unwrap().peer_addr().unwrap(), alive);
    }

    #[tokio::test]
    async fn a_request_is_made_though_the_first_address_is_dead() {
        let (dead, _queue, _full) = dead().await;
        let (listener, alive) = listening().await;
        let answers = async {
            let (mut stream, _) = listener.accept().await.unwrap();
            // Bytes before the request are not an answer to it.
            stream.read_u8().await.unwrap();
            let answer = b"HTTP/1.1 204 No Content\r\n\r\n";
            stream.write_all(answer).await.unwrap();
            stream
        };
        let requests = requests(Target::Addresses(vec![dead, alive]));
        let progress = Progress::new(HANG, 0, Instant::now());
        let nothing = Sent::new(Bytes::new(), Arc::new(progress));
        let request = hyper::Request::get("http://two.example/").body(nothing);
        let asked = requests.request(request.unwrap());
        let (answer, _open) = timeout(HANG, async { tokio::join!(asked, answers) })
            .await
            .unwrap();
        assert_eq!(answer.unwrap().status().as_u16(), 204);
    }

    #[tokio::test]
    async fn an_address_that_refuses_leads_to_the_next_at_once() {
        let (listener, refusing) = listening().await;
        drop(listener);
        let refused = first_of(vec![refusing, refusing]).await.unwrap_err();
        assert_eq!(refused.kind(), io::ErrorKind::ConnectionRefused);
        let (_listener, alive) = listening().await;
        let stream = first_of(vec![refusing, alive]).await.unwrap();
        assert_eq!(stream.peer_addr().unwrap(), alive);
        assert!(first_of(Vec::new()).await.is_err());
    }

    #[test]
    fn families_take_turns_and_the_resolvers_order_is_kept() {
        let parse = |texts: &[&str]| -> Vec<SocketAddr> {
            texts.iter().map(|text| text.parse().unwrap()).collect()
        };
        let given = parse(&["[::1]:1", "[::2]:1", "[::3]:1", "1.0.0.1:1", "1.0.0.2:1"]);
        let tried = parse(&["[::1]:1", "1.0.0.1:1", "[::2]:1", "1.0.0.2:1", "[::3]:1"]);
        assert_eq!(in_turn(given), tried);
    }
}
