//! The files of TLS: reading and checking them, and noticing that they have changed.

use super::identity::Validity;
use super::{Tls, TlsError};
use rustix::fs::{Mode, OFlags};
use std::fs::{self, File};
use std::io::{self, Read};
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::sync::Arc;
use tokio_rustls::rustls::crypto::{CryptoProvider, ring};
use tokio_rustls::rustls::pki_types::pem::{self, PemObject};
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::rustls::server::{NoServerSessionStorage, WantsServerCert, WebPkiClientVerifier};
use tokio_rustls::rustls::{ConfigBuilder, Error, RootCertStore, ServerConfig, WantsVerifier};

/// Largest file of certificates or of a key, in bytes: several times the list of all public authorities.
const MAX_FILE_BYTES: u64 = 1 << 20;
/// Some editors begin a file with it.
const BYTE_ORDER_MARK: &[u8] = b"\xef\xbb\xbf";

/// The protocol that clients may ask for inside TLS.
const ALPN: &[u8] = b"http/1.1";

/// Files that were read and fit together.
#[derive(Debug)]
pub(super) struct Loaded {
    pub(super) config: Arc<ServerConfig>,
    pub(super) validity: Validity,
    /// State of the files before they were read.
    pub(super) files: Fingerprint,
}

impl Loaded {
    /// Reads the files. The certificate need not be valid at this time.
    pub(super) fn read(tls: &Tls) -> Result<Self, TlsError> {
        let files = Fingerprint::of(tls);
        let chain = certificates(&tls.chain)?;
        let unusable = |reason| TlsError::Unusable {
            path: tls.chain.clone(),
            reason,
        };
        let validity = Validity::of(&chain[0]).map_err(unusable)?;
        let config = verifying(tls)?.with_single_cert(chain, key(&tls.key)?);
        let mut config = config.map_err(|error| match error {
            Error::InconsistentKeys(_) => TlsError::Mismatch {
                certificate: tls.chain.clone(),
                key: tls.key.clone(),
            },
            Error::InvalidCertificate(error) => unusable(error.to_string()),
            error => TlsError::Unusable {
                path: tls.key.clone(),
                reason: error.to_string(),
            },
        })?;
        config.alpn_protocols = vec![ALPN.to_vec()];
        // A resumed session would keep a certificate, of either end, that is no longer accepted.
        config.session_storage = Arc::new(NoServerSessionStorage {});
        config.send_tls13_tickets = 0;
        let config = Arc::new(config);
        Ok(Self {
            config,
            validity,
            files,
        })
    }
}

/// Begins a configuration that demands a certificate of clients if their authorities are named.
fn verifying(tls: &Tls) -> Result<ConfigBuilder<ServerConfig, WantsServerCert>, TlsError> {
    // Not the process's default provider, which is for the program around the server to choose.
    let provider = Arc::new(ring::default_provider());
    let builder = builder(provider.clone());
    let Some(path) = &tls.client_ca else {
        return Ok(builder.with_no_client_auth());
    };
    let unusable = |reason: String| TlsError::Unusable {
        path: path.clone(),
        reason,
    };
    let mut roots = RootCertStore::empty();
    for certificate in certificates(path)? {
        let added = roots.add(certificate);
        added.map_err(|error| unusable(error.to_string()))?;
    }
    let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider).build();
    let verifier = verifier.map_err(|error| unusable(error.to_string()))?;
    Ok(builder.with_client_cert_verifier(verifier))
}

fn builder(provider: Arc<CryptoProvider>) -> ConfigBuilder<ServerConfig, WantsVerifier> {
    ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("the provider supports TLS 1.2 and 1.3")
}

/// Returns the certificates of a file, of which there is at least one.
fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let text = read(path)?;
    let certificates: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&text).collect();
    let certificates = certificates.map_err(|error| not_pem(path, &error))?;
    match certificates.is_empty() {
        false => Ok(certificates),
        true => Err(TlsError::NoCertificate {
            path: path.to_owned(),
        }),
    }
}

fn key(path: &Path) -> Result<PrivateKeyDer<'static>, TlsError> {
    let text = read(path)?;
    PrivateKeyDer::from_pem_slice(&text).map_err(|error| {
        if matches!(error, pem::Error::NoItemsFound) || is_encrypted(&text) {
            let path = path.to_owned();
            TlsError::NoKey { path }
        } else {
            not_pem(path, &error)
        }
    })
}

/// Returns `true` if the text of a key says that it needs a passphrase.
fn is_encrypted(text: &[u8]) -> bool {
    const MARK: &[u8] = b"ENCRYPTED";
    text.windows(MARK.len()).any(|part| part == MARK)
}

/// Returns the error of a file that is damaged. The parser's message would quote a line, which may be of the
/// key.
fn not_pem(path: &Path, error: &pem::Error) -> TlsError {
    let reason = match error {
        pem::Error::MissingSectionEnd { .. } => {
            "it ends within a PEM section, or has no line breaks"
        }
        pem::Error::Base64Decode(_) => "its base64 is damaged",
        _ => "it is no PEM file",
    };
    unreadable(path, reason)
}

fn read(path: &Path) -> Result<Vec<u8>, TlsError> {
    let failed = |error: io::Error| unreadable(path, error);
    let mut text = Vec::new();
    let file = open(path).map_err(failed)?;
    let mut file = file.take(MAX_FILE_BYTES + 1);
    file.read_to_end(&mut text).map_err(failed)?;
    if text.len() as u64 > MAX_FILE_BYTES {
        return Err(unreadable(
            path,
            format!("it is larger than {MAX_FILE_BYTES} bytes"),
        ));
    }
    Ok(match text.strip_prefix(BYTE_ORDER_MARK) {
        Some(rest) => rest.to_owned(),
        None => text,
    })
}

/// Opens a file, or a pipe, which is empty if no process has it open for writing. Without that, opening the
/// pipe would wait for such a process.
fn open(path: &Path) -> io::Result<File> {
    let flags = OFlags::RDONLY | OFlags::CLOEXEC;
    let file = rustix::fs::open(path, flags | OFlags::NONBLOCK, Mode::empty())?;
    // The content of a pipe that is being written is waited for.
    rustix::fs::fcntl_setfl(&file, flags)?;
    Ok(file.into())
}

fn unreadable(path: &Path, reason: impl ToString) -> TlsError {
    TlsError::Unreadable {
        path: path.to_owned(),
        reason: reason.to_string(),
    }
}

/// State of the files by which changes are noticed; `None` for a file that is not there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Fingerprint(Vec<Option<FileState>>);

/// State of a file. The time is that of the last change of its content, name or rights, which a copy of an
/// older file has as well.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct FileState {
    device: u64,
    inode: u64,
    bytes: u64,
    changed: (i64, i64),
}

impl Fingerprint {
    pub(super) fn of(tls: &Tls) -> Self {
        let paths = [Some(&tls.chain), Some(&tls.key), tls.client_ca.as_ref()];
        let state = |path| {
            let file = fs::metadata(path).ok()?;
            Some(FileState {
                device: file.dev(),
                inode: file.ino(),
                bytes: file.len(),
                changed: (file.ctime(), file.ctime_nsec()),
            })
        };
        Self(paths.into_iter().flatten().map(state).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_that_need_a_passphrase_are_told_from_damaged_ones() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.key");
        let read = |text: &str| {
            fs::write(&path, text).unwrap();
            key(&path)
        };
        let older = "-----BEGIN RSA PRIVATE KEY-----\nProc-Type: 4,ENCRYPTED\nDEK-Info: AES-128-CBC,00\n\nAAAA\n\
                     -----END RSA PRIVATE KEY-----\n";
        let newer =
            "-----BEGIN ENCRYPTED PRIVATE KEY-----\nAAAA\n-----END ENCRYPTED PRIVATE KEY-----\n";
        for text in [older, newer, ""] {
            assert!(matches!(read(text), Err(TlsError::NoKey { .. })), "{text}");
        }
        for text in [
            "-----BEGIN PRIVATE KEY-----\n(damaged)\n-----END PRIVATE KEY-----\n",
            "-----BEGIN PRIVATE KEY----- AAAA -----END PRIVATE KEY-----",
        ] {
            let error = read(text).unwrap_err();
            assert!(matches!(error, TlsError::Unreadable { .. }), "{text}");
            assert!(!error.to_string().contains('['), "{error}");
        }
    }

    #[test]
    fn a_byte_order_mark_is_passed_over() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.pem");
        fs::write(&path, b"\xef\xbb\xbf-----BEGIN").unwrap();
        assert_eq!(read(&path).unwrap(), b"-----BEGIN");
    }
}
