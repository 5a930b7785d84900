//! The client's end of TLS: its authorities and its own certificate, from files, and the handshake. The
//! server's certificate is always verified; there is no option to skip that.

mod error;

pub use error::TlsError;
pub(crate) use error::tls_error;

use self::error::Context;
use crate::error::Error;
use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_rustls::rustls::crypto::{CryptoProvider, ring};
use tokio_rustls::rustls::pki_types::pem::{self, PemObject};
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use tokio_rustls::rustls::{ClientConfig, RootCertStore};
use tokio_rustls::{TlsConnector, client::TlsStream};

/// The protocol offered to the server by ALPN.
const HTTP_1_1: &[u8] = b"http/1.1";

/// Files of a client's TLS, all in PEM.
#[derive(Debug, Clone, Default)]
pub(crate) struct Files {
    /// Certificates of authorities; `None`: those of the system.
    pub(crate) ca: Option<PathBuf>,
    /// The client's own certificate with its chain, and its key.
    pub(crate) identity: Option<(PathBuf, PathBuf)>,
}

impl Files {
    pub(crate) fn are_given(&self) -> bool {
        self.ca.is_some() || self.identity.is_some()
    }
}

/// TLS with one server.
#[derive(Clone)]
pub(crate) struct Tls {
    connector: TlsConnector,
    name: ServerName<'static>,
    context: Arc<Context>,
}

impl Tls {
    /// Reads the files. `host` is the name that the server's certificate must have.
    ///
    /// # Errors
    /// If no certificate can have that name, or a file is unusable.
    pub(crate) fn new(host: &str, files: Files) -> Result<Self, Error> {
        let name = name(host)?;
        let provider = Arc::new(ring::default_provider());
        let context = Arc::new(Context {
            ca: files.ca.clone(),
            has_identity: files.identity.is_some(),
        });
        let mut config = config(provider, &files)?;
        config.alpn_protocols = vec![HTTP_1_1.to_vec()];
        Ok(Self {
            connector: Arc::new(config).into(),
            name,
            context,
        })
    }

    /// Returns the TLS of another server, with the same files.
    ///
    /// # Errors
    /// If no certificate can have that name.
    pub(crate) fn with_host(&self, host: &str) -> Result<Self, Error> {
        let name = name(host)?;
        Ok(Self {
            name,
            ..self.clone()
        })
    }

    /// Makes the handshake over a connection.
    ///
    /// # Errors
    /// A [`TlsError`] within, where the two ends do not agree.
    pub(crate) async fn connect<S>(&self, stream: S) -> io::Result<Secured<S>>
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        let context = self.context.clone();
        match self.connector.connect(self.name.clone(), stream).await {
            Ok(stream) => Ok(Secured { stream, context }),
            Err(error) => Err(context.explain_handshake(error)),
        }
    }
}

impl fmt::Debug for Tls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Tls").field(&self.name).finish()
    }
}

/// A TLS connection.
#[derive(Debug)]
pub(crate) struct Secured<S> {
    pub(crate) stream: TlsStream<S>,
    context: Arc<Context>,
}

impl<S> Secured<S> {
    /// Replaces an error of this connection by one that says what to do.
    pub(crate) fn explain(&self, error: io::Error) -> io::Error {
        self.context.explain(error)
    }
}

fn name(host: &str) -> Result<ServerName<'static>, Error> {
    ServerName::try_from(host.to_owned()).map_err(|_| {
        Error::BadUrl(format!(
            "the server's address has a host that no certificate can name: {host:?}; give its DNS name or IP \
             address"
        ))
    })
}

fn config(provider: Arc<CryptoProvider>, files: &Files) -> Result<ClientConfig, Error> {
    let builder = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| Error::BadTls(error.to_string()))?
        .with_root_certificates(authorities(files.ca.as_deref())?);
    let Some((certificate, key)) = &files.identity else {
        return Ok(builder.with_no_client_auth());
    };
    let chain = certificates(certificate)?;
    let secret = PrivateKeyDer::from_pem_file(key).map_err(|error| match error {
        pem::Error::NoItemsFound => bad(
            key,
            "it has no private key (one without a passphrase, in PEM)",
        ),
        error => unreadable(key, &error),
    })?;
    let config = builder.with_client_auth_cert(chain, secret);
    config.map_err(|error| {
        let what = format!(
            "it does not go with the key in {}: {error}; give the certificate and the key that were made \
             together",
            key.display()
        );
        bad(certificate, &what)
    })
}

/// Returns the authorities that may issue a server's certificate.
fn authorities(file: Option<&Path>) -> Result<RootCertStore, Error> {
    let mut roots = RootCertStore::empty();
    let Some(file) = file else {
        let system = rustls_native_certs::load_native_certs();
        // Some systems list certificates that are not valid for this; the others count.
        roots.add_parsable_certificates(system.certs);
        if roots.is_empty() {
            let why = system.errors.first();
            let why = why.map_or(String::new(), |error| format!(" ({error})"));
            return Err(Error::BadTls(format!(
                "the system has no certificates of authorities{why}; install them (on Debian the package \
                 ca-certificates), or give the authority of the server as `tls_ca`"
            )));
        }
        return Ok(roots);
    };
    for certificate in certificates(file)? {
        let added = roots.add(certificate);
        added.map_err(|error| bad(file, &format!("a certificate in it is malformed: {error}")))?;
    }
    Ok(roots)
}

/// Reads the certificates of a file, at least one.
fn certificates(file: &Path) -> Result<Vec<CertificateDer<'static>>, Error> {
    let read = CertificateDer::pem_file_iter(file).and_then(Iterator::collect);
    let certificates: Vec<_> = read.map_err(|error| unreadable(file, &error))?;
    if certificates.is_empty() {
        return Err(bad(
            file,
            "it has no certificate in PEM (-----BEGIN CERTIFICATE-----)",
        ));
    }
    Ok(certificates)
}

fn unreadable(file: &Path, error: &pem::Error) -> Error {
    match error {
        pem::Error::Io(error) => bad(file, &error.to_string()),
        error => bad(file, &format!("it is not PEM: {error}")),
    }
}

fn bad(file: &Path, why: &str) -> Error {
    Error::BadTls(format!("{} cannot be used for TLS: {why}", file.display()))
}
