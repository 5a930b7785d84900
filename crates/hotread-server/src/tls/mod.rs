//! TLS: a server's certificate and the authorities of its clients, from files that are read again when they
//! change; the handshake of a connection.

mod current;
mod files;
mod handshake;
mod identity;
mod stream;

pub(crate) use current::Current;
pub(crate) use handshake::{accept, accept_any};
pub(crate) use stream::Stream;

use files::Loaded;
use hotread_proto::{Code, Timestamp};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

/// Default of the interval at which the files are checked for changes.
const CHECK_EVERY: Duration = Duration::from_secs(2);

/// TLS of a server: the files of its certificate and key, and of the authorities of its clients.
///
/// [`ServerBuilder::build`](crate::ServerBuilder::build) reads the files, each a PEM file of at most 1 MiB.
/// A running server reads them again once they have changed, and on
/// [`ServerHandle::reload_tls`](crate::ServerHandle::reload_tls): new connections get the new certificate,
/// and existing ones continue. A change is noticed after one to two times
/// [`check_every`](Self::check_every), when the files have been the same for that time, so that a pair may be
/// replaced one after the other. Files that cannot be used leave the certificate in use as it is, with an error in the log.
///
/// The server speaks TLS 1.2 and 1.3, offers `http/1.1` (ALPN), and resumes no TLS session: each connection
/// proves its certificate. A handshake takes at most [`Options::head_timeout_ms`](crate::Options::head_timeout_ms).
/// A request without TLS is answered with status 400 and the reason. A connection takes some 10 KiB more than
/// without TLS while it is idle, and up to 64 KiB while data waits for its peer.
///
/// ```no_run
/// use hotread_server::{Server, Store, Tls};
///
/// # fn run() -> Result<(), Box<dyn std::error::Error>> {
/// let store = Store::open("flags.db")?;
/// let tls = Tls::from_files("flags.example.pem", "flags.example.key");
/// let server = Server::builder(store).tls(tls).build()?;
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone)]
#[must_use = "it does nothing until it is given to `ServerBuilder::tls`"]
pub struct Tls {
    chain: PathBuf,
    key: PathBuf,
    client_ca: Option<PathBuf>,
    check_every: Duration,
    /// Content of the files, if it was read.
    loaded: Option<Arc<Loaded>>,
}

impl Tls {
    /// TLS with the certificate in one file, followed by the certificates of its issuers, and its private
    /// key in another, without a passphrase. Both may be one file.
    pub fn from_files(certificate: impl Into<PathBuf>, key: impl Into<PathBuf>) -> Self {
        Self {
            chain: certificate.into(),
            key: key.into(),
            client_ca: None,
            check_every: CHECK_EVERY,
            loaded: None,
        }
    }

    /// Requires a certificate of every client, issued by an authority of this file, for the use as a
    /// client's where it names its uses.
    ///
    /// A certificate gives no rights: in a store with tokens, a token is required as well. Where there are no
    /// tokens, its subject's common name is the actor of its client's writes. If that is no valid
    /// [`Actor`](hotread_proto::Actor), the actor is `certificate SERIAL`, with the serial number in
    /// hexadecimal digits.
    pub fn client_ca(mut self, path: impl Into<PathBuf>) -> Self {
        self.client_ca = Some(path.into());
        self.loaded = None;
        self
    }

    /// Sets the interval at which the files are checked for changes. Default: 2 s.
    pub fn check_every(mut self, interval: Duration) -> Self {
        self.check_every = interval;
        self
    }

    /// Reads the files now, instead of when the server is built: before its store is created, for example.
    ///
    /// # Errors
    /// If the files cannot be used.
    pub fn read(mut self) -> Result<Self, TlsError> {
        self.loaded = Some(Arc::new(Loaded::read(&self)?));
        Ok(self)
    }
}

/// Reason the files of TLS cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum TlsError {
    /// A file cannot be read, or is no PEM file.
    #[error("{path} cannot be read: {reason}; name a PEM file that the server's user may read", path = path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// The system's or the parser's message.
        reason: String,
    },
    /// The file has no certificate.
    #[error(
        "{path} has no certificate; it needs `-----BEGIN CERTIFICATE-----`, for a server its own \
         certificate before those of its issuers",
        path = path.display()
    )]
    NoCertificate {
        /// The file.
        path: PathBuf,
    },
    /// The file has no private key.
    #[error(
        "{path} has no private key without a passphrase; `openssl pkey -in FILE -out FILE` removes a \
         passphrase",
        path = path.display()
    )]
    NoKey {
        /// The file.
        path: PathBuf,
    },
    /// A certificate or a key is damaged, or of an unsupported kind.
    #[error(
        "{path} cannot be used: {reason}; use X.509 certificates with keys of ECDSA (P-256, P-384), Ed25519 \
         or RSA (from 2048 bits)",
        path = path.display()
    )]
    Unusable {
        /// The file.
        path: PathBuf,
        /// The problem.
        reason: String,
    },
    /// The key does not belong to the certificate.
    #[error(
        "the key of {key} is not that of the first certificate of {certificate}; name the pair, and replace \
         both when the certificate is renewed",
        key = key.display(),
        certificate = certificate.display()
    )]
    Mismatch {
        /// The certificate's file.
        certificate: PathBuf,
        /// The key's file.
        key: PathBuf,
    },
    /// A new certificate is not valid now, so that the one in use is better.
    #[error(
        "the certificate of {path} is valid from {from} to {until}, and not now; renew it, or set the clock",
        path = path.display()
    )]
    NotValid {
        /// The certificate's file.
        path: PathBuf,
        /// Beginning of its validity.
        from: Timestamp,
        /// End of its validity.
        until: Timestamp,
    },
}

impl TlsError {
    /// Returns the error's stable code.
    #[must_use]
    pub fn code(&self) -> Code {
        Code::BadConfig
    }
}
