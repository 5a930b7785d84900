//! Connections to a name that may have several addresses, some of them dead; with TLS or without. Used for
//! sessions and for requests.

use crate::heavy::elsewhere;
use crate::progress::{MAX_UNSENT, Sent};
use crate::stream::{Stream, Tcp};
use crate::tls::Tls;
use hyper::Uri;
use hyper_util::client::legacy::Client;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use std::io;
use std::net::{IpAddr, SocketAddr, ToSocketAddrs};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};
use tower_service::Service;

/// Time after which the next address is tried as well, while the earlier ones have not answered: the
/// Connection Attempt Delay of RFC 8305.
const NEXT_AFTER: Duration = Duration::from_millis(250);

/// Longest time of a connection attempt for a request; after that the server counts as unreachable.
const CONNECT_WITHIN: Duration = Duration::from_secs(5);
/// Longest time of the TLS handshake that follows, before a request.
const HANDSHAKE_WITHIN: Duration = Duration::from_secs(5);

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
            // Names do not distinguish upper and lower case.
            Err(_) => Self::Name(host.to_ascii_lowercase(), port),
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
pub(crate) fn requests(connector: Connector) -> Requests {
    Client::builder(TokioExecutor::new())
        .pool_timer(TokioTimer::new())
        .build(connector)
}

/// Connects to one server, regardless of the host in a request.
#[derive(Debug, Clone)]
pub(crate) struct Connector {
    target: Target,
    tls: Option<Arc<Tls>>,
}

impl Connector {
    /// Returns the connector of a server that speaks TLS, or plain HTTP.
    pub(crate) fn new(target: Target, tls: Option<Tls>) -> Self {
        let tls = tls.map(Arc::new);
        Self { target, tls }
    }

    /// Connects, with TLS if the server speaks it. The system may take seconds to look up the addresses.
    pub(crate) async fn connect(&self) -> io::Result<Stream> {
        self.secure(self.tcp().await?).await
    }

    /// Connects to the first address that accepts, as RFC 8305 describes: addresses are tried in parallel, each
    /// a little later than the one before, with alternating families.
    async fn tcp(&self) -> io::Result<TcpStream> {
        let stream = first_of(in_turn(self.target.addresses().await?)).await?;
        stream.set_nodelay(true)?;
        Ok(stream)
    }

    /// Makes the TLS handshake, if the server speaks TLS.
    async fn secure(&self, stream: TcpStream) -> io::Result<Stream> {
        let tcp = Tcp::from(stream);
        Ok(match &self.tls {
            None => Stream::Plain(tcp),
            Some(tls) => Stream::Tls(Box::new(tls.connect(tcp).await?)),
        })
    }
}

impl Service<Uri> for Connector {
    type Response = TokioIo<Stream>;
    type Error = io::Error;
    type Future = Pin<Box<dyn Future<Output = io::Result<Self::Response>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _: Uri) -> Self::Future {
        let connector = self.clone();
        Box::pin(async move {
            let late = |why| io::Error::new(io::ErrorKind::TimedOut, why);
            let stream = timeout(CONNECT_WITHIN, connector.tcp()).await;
            let stream = stream.map_err(|_| late("no connection in time"))??;
            // A small send buffer shows early that bytes move, or that they do not.
            #[cfg(any(target_os = "linux", target_os = "android"))]
            let _ = socket2::SockRef::from(&stream).set_tcp_notsent_lowat(MAX_UNSENT);
            let secured = timeout(HANDSHAKE_WITHIN, connector.secure(stream)).await;
            let secured = secured.map_err(|_| late("no TLS handshake in time"))??;
            Ok(TokioIo::new(secured))
        })
    }
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
    use crate::tls::Files;
    use bytes::Bytes;
    use hotread_testkit::BlackHole;
    use hotread_testkit::certificates::Authority;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpListener;
    use tokio::time::Instant;

    /// Time after which a test counts as hanging.
    const HANG: Duration = Duration::from_secs(60);

    async fn listening() -> (TcpListener, SocketAddr) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        (listener, address)
    }

    #[tokio::test]
    async fn a_dead_first_address_does_not_keep_the_second_from_being_used() {
        let dead = BlackHole::open();
        let (_listener, alive) = listening().await;
        let stream = timeout(HANG, first_of(vec![dead.address, alive])).await;
        assert_eq!(stream.unwrap().unwrap().peer_addr().unwrap(), alive);
    }

    #[tokio::test]
    async fn a_request_is_made_though_the_first_address_is_dead() {
        let dead = BlackHole::open();
        let (listener, alive) = listening().await;
        let answers = async {
            let (mut stream, _) = listener.accept().await.unwrap();
            // Bytes before the request are not an answer to it.
            stream.read_u8().await.unwrap();
            let answer = b"HTTP/1.1 204 No Content\r\n\r\n";
            stream.write_all(answer).await.unwrap();
            stream
        };
        let requests = requests(Connector::new(
            Target::Addresses(vec![dead.address, alive]),
            None,
        ));
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
    async fn a_handshake_that_does_not_end_is_given_up() {
        let (listener, silent) = listening().await;
        let folder = hotread_testkit::folder();
        let files = Files {
            ca: Some(Authority::new().write(folder.path())),
            identity: None,
        };
        let tls = Tls::new("127.0.0.1", files).unwrap();
        let mut connector = Connector::new(Target::Addresses(vec![silent]), Some(tls));
        let connecting = tokio::spawn(connector.call(Uri::from_static("https://a.example")));
        let (mut stream, _) = listener.accept().await.unwrap();
        // The handshake has begun.
        stream.read_u8().await.unwrap();
        tokio::time::pause();
        let error = timeout(HANG, connecting)
            .await
            .unwrap()
            .unwrap()
            .unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
        assert!(error.to_string().contains("TLS handshake"), "{error}");
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
