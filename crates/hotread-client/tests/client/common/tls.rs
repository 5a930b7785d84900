//! TLS before a server that does not speak it, so that a test decides what certificate it shows.

use hotread_testkit::certificates::{Authority, Certificate};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use tempfile::TempDir;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::crypto::ring::default_provider;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::rustls::server::WebPkiClientVerifier;
use tokio_rustls::rustls::version::{TLS12, TLS13};
use tokio_rustls::rustls::{RootCertStore, ServerConfig};

/// An authority, and a folder for its certificates.
pub struct Pki {
    pub authority: Authority,
    pub ca: PathBuf,
    pub folder: TempDir,
}

impl Pki {
    pub fn new() -> Self {
        let (authority, folder) = (Authority::new(), hotread_testkit::folder());
        let ca = authority.write(folder.path());
        Self {
            authority,
            ca,
            folder,
        }
    }

    pub fn path(&self) -> &Path {
        self.folder.path()
    }

    /// Returns TLS with a certificate for this machine.
    pub fn tls(&self) -> Tls {
        Tls::of(&self.authority.issue(&["localhost", "127.0.0.1"]))
    }
}

/// A server's TLS.
pub struct Tls {
    chain: Vec<CertificateDer<'static>>,
    key: PrivateKeyDer<'static>,
    /// Authority of clients, which need a certificate if it is there.
    clients: Option<String>,
    is_old: bool,
}

impl Tls {
    pub fn of(certificate: &Certificate) -> Self {
        let chain = CertificateDer::pem_slice_iter(certificate.chain.as_bytes());
        Self {
            chain: chain.collect::<Result<_, _>>().unwrap(),
            key: PrivateKeyDer::from_pem_slice(certificate.key.as_bytes()).unwrap(),
            clients: None,
            is_old: false,
        }
    }

    pub fn for_clients_of(self, authority: &Authority) -> Self {
        let clients = Some(authority.pem());
        Self { clients, ..self }
    }

    /// Speaks TLS 1.2 only, where a client's certificate is checked before the handshake ends.
    pub fn old(self) -> Self {
        Self {
            is_old: true,
            ..self
        }
    }

    fn acceptor(self) -> TlsAcceptor {
        let provider = Arc::new(default_provider());
        let version = if self.is_old { &TLS12 } else { &TLS13 };
        let builder = ServerConfig::builder_with_provider(provider.clone());
        let builder = builder.with_protocol_versions(&[version]).unwrap();
        let builder = match self.clients {
            None => builder.with_no_client_auth(),
            Some(pem) => {
                let mut roots = RootCertStore::empty();
                roots
                    .add(CertificateDer::from_pem_slice(pem.as_bytes()).unwrap())
                    .unwrap();
                let verifier =
                    WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider);
                builder.with_client_cert_verifier(verifier.build().unwrap())
            }
        };
        let mut config = builder.with_single_cert(self.chain, self.key).unwrap();
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        Arc::new(config).into()
    }
}

/// Accepts TLS connections, and passes their content on to a server.
pub struct Terminator {
    pub address: SocketAddr,
    acceptor: Arc<Mutex<TlsAcceptor>>,
    cut: watch::Sender<()>,
    task: JoinHandle<()>,
}

impl Drop for Terminator {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Terminator {
    pub async fn start(server: SocketAddr, tls: Tls) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let acceptor = Arc::new(Mutex::new(tls.acceptor()));
        let (cut, uncut) = watch::channel(());
        let theirs = acceptor.clone();
        let task = tokio::spawn(async move {
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                let acceptor = theirs.lock().unwrap().clone();
                let mut cut = uncut.clone();
                cut.mark_unchanged();
                tokio::spawn(async move {
                    tokio::select! {
                        () = pass(acceptor, stream, server) => {}
                        _ = cut.changed() => {}
                    }
                });
            }
        });
        Self {
            address,
            acceptor,
            cut,
            task,
        }
    }

    /// Uses other certificates from now on, and cuts open connections.
    pub fn change(&self, tls: Tls) {
        *self.acceptor.lock().unwrap() = tls.acceptor();
        self.cut.send_replace(());
    }

    pub fn url(&self) -> String {
        format!("https://{}", self.address)
    }
}

async fn pass(acceptor: TlsAcceptor, stream: TcpStream, server: SocketAddr) {
    // A client may refuse the certificate.
    let Ok(mut near) = acceptor.accept(stream).await else {
        return;
    };
    assert_eq!(near.get_ref().1.alpn_protocol(), Some(&b"http/1.1"[..]));
    let mut far = TcpStream::connect(server).await.unwrap();
    // Either end may close first.
    let _ = tokio::io::copy_bidirectional(&mut near, &mut far).await;
}
