//! Certificates for tests of TLS, made when they are needed: an authority of the test's own, and certificates
//! that it issues to servers and clients.

use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DistinguishedName, DnType,
    ExtendedKeyUsagePurpose, IsCa, KeyPair, KeyUsagePurpose,
};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime};

const DAY: Duration = Duration::from_secs(24 * 60 * 60);
/// Validity of a certificate, unless the test asks for another one.
const VALID: Duration = Duration::from_secs(30 * 24 * 60 * 60);

/// Numbers of the authorities of this process, for their names.
static AUTHORITIES: AtomicU64 = AtomicU64::new(0);

/// A certificate authority, whose own certificate clients may trust.
pub struct Authority(CertifiedIssuer<'static, KeyPair>);

/// A certificate and its key, in PEM.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Certificate {
    /// Certificate, without those of its issuers.
    pub chain: String,
    /// Private key, in PKCS #8.
    pub key: String,
}

/// Files of a [`Certificate`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Files {
    /// File of the certificate.
    pub chain: PathBuf,
    /// File of the private key.
    pub key: PathBuf,
}

#[expect(clippy::new_without_default, reason = "each one is another authority")]
impl Authority {
    /// Creates an authority with a name and a key of its own.
    ///
    /// # Panics
    /// If the system has no randomness.
    pub fn new() -> Self {
        let number = AUTHORITIES.fetch_add(1, Ordering::Relaxed);
        let name = format!("Test authority {number} of process {}", std::process::id());
        let mut params = params(&[], &name, SystemTime::now() + VALID);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let issuer = CertifiedIssuer::self_signed(params, key());
        Self(issuer.expect("an authority can be made"))
    }

    /// Returns the authority's own certificate in PEM.
    pub fn pem(&self) -> String {
        self.0.pem()
    }

    /// Writes the authority's own certificate to `ca.pem` in `folder`.
    ///
    /// # Panics
    /// If the file cannot be written.
    pub fn write(&self, folder: &Path) -> PathBuf {
        write(folder.join("ca.pem"), &self.pem())
    }

    /// Issues a certificate for a server with these host names or IP addresses, valid for a month.
    ///
    /// # Panics
    /// If a name is not one of a host.
    pub fn issue(&self, names: &[&str]) -> Certificate {
        self.issue_until(names, SystemTime::now() + VALID)
    }

    /// Issues a certificate for a server that expired an hour ago.
    ///
    /// # Panics
    /// If a name is not one of a host.
    pub fn issue_expired(&self, names: &[&str]) -> Certificate {
        self.issue_until(names, SystemTime::now() - DAY / 24)
    }

    /// Issues a certificate for a server that is valid from yesterday until `end`, to the second.
    ///
    /// # Panics
    /// If a name is not one of a host.
    pub fn issue_until(&self, names: &[&str], end: SystemTime) -> Certificate {
        self.sign(server(names, end))
    }

    /// Issues a certificate for a server that becomes valid tomorrow.
    ///
    /// # Panics
    /// If a name is not one of a host.
    pub fn issue_for_tomorrow(&self, names: &[&str]) -> Certificate {
        let mut params = server(names, SystemTime::now() + VALID);
        params.not_before = (SystemTime::now() + DAY).into();
        self.sign(params)
    }

    /// Issues a certificate for a client whose subject has this common name, valid for a month.
    ///
    /// # Panics
    /// If the system has no randomness.
    pub fn issue_client(&self, name: &str) -> Certificate {
        self.issue_client_until(name, SystemTime::now() + VALID)
    }

    /// Issues a certificate for a client that is valid from yesterday until `end`, to the second.
    ///
    /// # Panics
    /// If the system has no randomness.
    pub fn issue_client_until(&self, name: &str, end: SystemTime) -> Certificate {
        let mut params = params(&[], name, end);
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        self.sign(params)
    }

    fn sign(&self, params: CertificateParams) -> Certificate {
        let key = key();
        let signed = params.signed_by(&key, &self.0);
        Certificate {
            chain: signed.expect("a certificate can be signed").pem(),
            key: key.serialize_pem(),
        }
    }
}

impl Certificate {
    /// Creates a server's certificate that no authority issued, valid for a month.
    ///
    /// # Panics
    /// If a name is not one of a host.
    pub fn self_signed(names: &[&str]) -> Self {
        let key = key();
        let signed = server(names, SystemTime::now() + VALID).self_signed(&key);
        Self {
            chain: signed.expect("a certificate can be signed").pem(),
            key: key.serialize_pem(),
        }
    }

    /// Writes both to `NAME.pem` and `NAME.key` in `folder`; existing files are overwritten.
    ///
    /// # Panics
    /// If a file cannot be written.
    pub fn write(&self, folder: &Path, name: &str) -> Files {
        Files {
            chain: write(folder.join(format!("{name}.pem")), &self.chain),
            key: write(folder.join(format!("{name}.key")), &self.key),
        }
    }
}

fn server(names: &[&str], end: SystemTime) -> CertificateParams {
    let mut params = params(names, names.first().unwrap_or(&"a server"), end);
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    params
}

fn params(names: &[&str], subject: &str, end: SystemTime) -> CertificateParams {
    let names: Vec<_> = names.iter().map(|&name| name.to_owned()).collect();
    let mut params = CertificateParams::new(names).expect("names of hosts");
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, subject);
    params.not_before = (SystemTime::now() - DAY).into();
    params.not_after = end.into();
    params.use_authority_key_identifier_extension = true;
    params
}

fn key() -> KeyPair {
    KeyPair::generate().expect("a key can be made")
}

fn write(path: PathBuf, text: &str) -> PathBuf {
    std::fs::write(&path, text).expect("the file can be written");
    path
}
