//! The client's end of TLS: its authorities and its own certificate, from files, and the handshake. The
//! server's certificate is always verified; there is no option to skip that.

mod error;
mod files;

pub use error::TlsError;
pub(crate) use error::tls_error;
pub(crate) use files::Files;

use self::error::Context;
use crate::error::Error;
use std::fmt;
use std::io;
use std::sync::{Arc, Mutex, PoisonError};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_rustls::rustls::pki_types::ServerName;
use tokio_rustls::{TlsConnector, client::TlsStream};

/// TLS with one server.
#[derive(Clone)]
pub(crate) struct Tls {
    name: ServerName<'static>,
    files: Files,
    /// The settings from the files, and the state that the files had; the same for all servers of a client.
    read: Arc<Mutex<(TlsConnector, Stamps)>>,
    context: Arc<Context>,
}

/// State of all files.
type Stamps = [files::Stamp; 3];

impl Tls {
    /// Reads the files. `host` is the name that the server's certificate must have.
    ///
    /// # Errors
    /// If no certificate can have that name, or a file is unusable.
    pub(crate) fn new(host: &str, files: Files) -> Result<Self, Error> {
        let name = name(host)?;
        // A change while they are read is noticed at the next connection.
        let stamps = files.stamps();
        let config = files.read()?;
        let context = Context {
            ca: files.ca.clone(),
            has_identity: files.identity.is_some(),
        };
        Ok(Self {
            name,
            files,
            read: Arc::new(Mutex::new((Arc::new(config).into(), stamps))),
            context: Arc::new(context),
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

    /// Returns the settings, from files as they are now. Those that cannot be used leave the settings as they
    /// are, until they change again.
    fn connector(&self) -> TlsConnector {
        let stamps = self.files.stamps();
        let mut read = self.read.lock().unwrap_or_else(PoisonError::into_inner);
        if read.1 != stamps {
            read.1 = stamps;
            match self.files.read() {
                Ok(config) => read.0 = Arc::new(config).into(),
                Err(error) => {
                    tracing::warn!(%error, "the files of TLS that were read before stay in use")
                }
            }
        }
        read.0.clone()
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
        match self.connector().connect(self.name.clone(), stream).await {
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
