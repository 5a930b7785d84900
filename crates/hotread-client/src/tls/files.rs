//! The files of a client's TLS: reading them, and noticing that they have changed.

use crate::error::Error;
use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::SystemTime;
use tokio_rustls::rustls::client::Resumption;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::pem::{self, PemObject};
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::rustls::{ClientConfig, RootCertStore};

/// Largest file, in bytes: several times the list of all public authorities.
const MAX_FILE_BYTES: u64 = 1 << 20;
/// Some editors begin a file with it.
const BYTE_ORDER_MARK: &[u8] = b"\xef\xbb\xbf";

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

/// State of a file, by which a change is noticed; `None`: the file cannot be looked at.
pub(super) type Stamp = Option<(SystemTime, u64, u64)>;

impl Files {
    pub(crate) fn are_given(&self) -> bool {
        self.ca.is_some() || self.identity.is_some()
    }

    /// Returns the state of the files. The system's authorities are not looked at.
    pub(super) fn stamps(&self) -> [Stamp; 3] {
        let certificate = self.identity.as_ref().map(|(certificate, _)| certificate);
        let key = self.identity.as_ref().map(|(_, key)| key);
        [self.ca.as_ref(), certificate, key].map(|path| stamp(path?).ok())
    }

    /// Reads the files.
    ///
    /// # Errors
    /// If a file is unusable.
    pub(super) fn read(&self) -> Result<ClientConfig, Error> {
        // Not the process's default provider, which is for the program around the client to choose.
        let builder = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()
            .map_err(|error| Error::BadTls(error.to_string()))?
            .with_root_certificates(authorities(self.ca.as_deref())?);
        let mut config = match &self.identity {
            None => builder.with_no_client_auth(),
            Some((certificate, key)) => {
                let chain = certificates(certificate)?;
                let config = builder.with_client_auth_cert(chain, private_key(key)?);
                config.map_err(|error| {
                    let what = format!(
                        "it does not go with the key in {}: {error}; give a certificate and its own key",
                        key.display()
                    );
                    bad(certificate, &what)
                })?
            }
        };
        config.alpn_protocols = vec![HTTP_1_1.to_vec()];
        // A resumed session would not verify the certificate again.
        config.resumption = Resumption::disabled();
        Ok(config)
    }
}

fn stamp(path: &Path) -> io::Result<(SystemTime, u64, u64)> {
    let metadata = path.metadata()?;
    #[cfg(unix)]
    let file = std::os::unix::fs::MetadataExt::ino(&metadata);
    #[cfg(not(unix))]
    let file = 0;
    Ok((metadata.modified()?, metadata.len(), file))
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
    let text = read(file)?;
    let certificates = CertificateDer::pem_slice_iter(&text).collect::<Result<Vec<_>, _>>();
    let certificates = certificates.map_err(|error| not_pem(file, &error))?;
    if certificates.is_empty() {
        let why = "it has no certificate in PEM (-----BEGIN CERTIFICATE-----)";
        return Err(bad(file, why));
    }
    Ok(certificates)
}

fn private_key(file: &Path) -> Result<PrivateKeyDer<'static>, Error> {
    let text = read(file)?;
    PrivateKeyDer::from_pem_slice(&text).map_err(|error| {
        if matches!(error, pem::Error::NoItemsFound) || is_encrypted(&text) {
            let why = "it has no private key without a passphrase in PEM; `openssl pkey -in FILE -out FILE` \
                       removes a passphrase";
            bad(file, why)
        } else {
            not_pem(file, &error)
        }
    })
}

/// Returns `true` if the text of a key says that it needs a passphrase.
fn is_encrypted(text: &[u8]) -> bool {
    const MARK: &[u8] = b"ENCRYPTED";
    text.windows(MARK.len()).any(|part| part == MARK)
}

fn read(file: &Path) -> Result<Vec<u8>, Error> {
    let mut text = Vec::new();
    let read =
        File::open(file).and_then(|open| open.take(MAX_FILE_BYTES + 1).read_to_end(&mut text));
    match read {
        Err(error) => Err(bad(file, &error.to_string())),
        Ok(_) if text.len() as u64 > MAX_FILE_BYTES => Err(bad(
            file,
            &format!("it has more than {MAX_FILE_BYTES} bytes"),
        )),
        Ok(_) => Ok(match text.strip_prefix(BYTE_ORDER_MARK) {
            Some(rest) => rest.to_owned(),
            None => text,
        }),
    }
}

/// Returns the error of a file that is damaged. The parser's message would quote a line, which may be of the
/// key.
fn not_pem(file: &Path, error: &pem::Error) -> Error {
    let why = match error {
        pem::Error::MissingSectionEnd { .. } => {
            "it ends within a PEM section, or has no line breaks"
        }
        pem::Error::Base64Decode(_) => "its base64 is damaged",
        _ => "it is not PEM",
    };
    bad(file, why)
}

fn bad(file: &Path, why: &str) -> Error {
    Error::BadTls(format!("{} cannot be used for TLS: {why}", file.display()))
}
