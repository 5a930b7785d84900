//! A server with TLS, and clients that trust its authority.

use super::{Api, Ask, Reply, hang};
use hotread_server::{ServerBuilder, Tls};
use hotread_testkit::certificates::{Authority, Certificate, Files};
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use tempfile::TempDir;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_rustls::rustls::client::WebPkiServerVerifier;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use tokio_rustls::rustls::version::{TLS12, TLS13};
use tokio_rustls::rustls::{ClientConfig, RootCertStore, SupportedProtocolVersion};

/// Interval between the server's checks of its files.
pub const CHECK_EVERY: Duration = Duration::from_millis(50);

/// Name in the certificates of servers.
pub const HOST: &str = "localhost";

/// A running server with a certificate for [`HOST`].
pub struct Secure {
    pub api: Api,
    pub authority: Authority,
    pub files: Files,
    folder: TempDir,
}

impl Secure {
    pub async fn start() -> Self {
        Self::with(|builder| builder).await
    }

    pub async fn with(change: impl FnOnce(ServerBuilder) -> ServerBuilder) -> Self {
        let authority = Authority::new();
        let certificate = authority.issue(&[HOST]);
        Self::of(authority, &certificate, |tls, _| tls, change).await
    }

    /// Starts a server that demands certificates of this authority from its clients.
    pub async fn for_clients_of(clients: &Authority) -> Self {
        let authority = Authority::new();
        let certificate = authority.issue(&[HOST]);
        let demand = |tls: Tls, folder: &Path| tls.client_ca(clients.write(folder));
        Self::of(authority, &certificate, demand, |builder| builder).await
    }

    pub async fn of(
        authority: Authority,
        certificate: &Certificate,
        tls: impl FnOnce(Tls, &Path) -> Tls,
        change: impl FnOnce(ServerBuilder) -> ServerBuilder,
    ) -> Self {
        let folder = hotread_testkit::folder();
        let files = certificate.write(folder.path(), "server");
        let of_files = Tls::from_files(&files.chain, &files.key).check_every(CHECK_EVERY);
        let tls = tls(of_files, folder.path());
        let api = Api::with(|builder| change(builder.tls(tls))).await;
        Self {
            api,
            authority,
            files,
            folder,
        }
    }

    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// Puts another certificate in the place of the server's, one file after the other.
    pub fn replace(&self, certificate: &Certificate) {
        let new = certificate.write(self.folder(), "new");
        std::fs::rename(&new.chain, &self.files.chain).unwrap();
        std::fs::rename(&new.key, &self.files.key).unwrap();
    }

    pub fn client(&self) -> Client {
        Client::new(&self.authority, None)
    }

    pub async fn connect(&self) -> TlsStream<TcpStream> {
        self.client().connect(&self.api).await.unwrap()
    }

    /// Sends a request over a connection of its own, without a client's certificate.
    pub async fn send(&self, ask: Ask) -> Reply {
        ask.over(self.connect().await).await.unwrap()
    }

    /// Returns a number of the server's metrics.
    pub async fn metric(&self, name: &str) -> Option<u64> {
        let reply = self.send(self.api.get("/metrics")).await;
        assert_eq!(reply.status, 200);
        let text = String::from_utf8(reply.body).unwrap();
        let mut lines = text.lines();
        let number = lines.find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        number.map(|number| number.parse().unwrap())
    }

    /// Returns the certificate that a new connection gets.
    pub async fn presented(&self) -> Vec<u8> {
        let stream = self.connect().await;
        let (_, session) = stream.get_ref();
        session.peer_certificates().unwrap()[0].to_vec()
    }
}

/// A client that trusts one authority.
#[derive(Clone)]
pub struct Client(Arc<ClientConfig>);

impl Client {
    pub fn new(authority: &Authority, identity: Option<&Certificate>) -> Self {
        Self::speaking(&[&TLS13, &TLS12], authority, identity)
    }

    pub fn speaking(
        versions: &[&'static SupportedProtocolVersion],
        authority: &Authority,
        identity: Option<&Certificate>,
    ) -> Self {
        let provider = Arc::new(ring::default_provider());
        let mut roots = RootCertStore::empty();
        roots.add(der(&authority.pem())).unwrap();
        let verifier =
            WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider.clone());
        let config = ClientConfig::builder_with_provider(provider)
            .with_protocol_versions(versions)
            .unwrap()
            .with_webpki_verifier(verifier.build().unwrap());
        let mut config = match identity {
            None => config.with_no_client_auth(),
            Some(Certificate { chain, key }) => {
                let key = PrivateKeyDer::from_pem_slice(key.as_bytes()).unwrap();
                config.with_client_auth_cert(vec![der(chain)], key).unwrap()
            }
        };
        config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        Self(Arc::new(config))
    }

    pub async fn connect(&self, api: &Api) -> io::Result<TlsStream<TcpStream>> {
        let name = ServerName::try_from(HOST).unwrap();
        let connector = TlsConnector::from(self.0.clone());
        hang(connector.connect(name, api.connect().await)).await
    }

    /// Sends a request over a connection of its own. A server's refusal of the client's certificate may come
    /// with the answer.
    pub async fn send(&self, api: &Api, ask: Ask) -> io::Result<Reply> {
        ask.over(self.connect(api).await?).await
    }
}

pub fn der(pem: &str) -> CertificateDer<'static> {
    CertificateDer::from_pem_slice(pem.as_bytes()).unwrap()
}
