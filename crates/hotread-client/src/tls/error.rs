//! Reasons a TLS connection fails, as told to the caller.

use hotread_proto::Timestamp;
use std::error::Error;
use std::fmt;
use std::io;
use std::net::IpAddr;
use std::path::PathBuf;
use std::time::{Duration, SystemTime};
use tokio_rustls::rustls;
use tokio_rustls::rustls::pki_types::UnixTime;
use tokio_rustls::rustls::{AlertDescription, CertificateError, InvalidMessage};

/// Names of a certificate that a message lists; further ones are counted.
const LISTED: usize = 8;

/// Reason there is no TLS connection to the server.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum TlsError {
    /// The server's certificate has expired.
    #[error(
        "the server's certificate expired at {at}; renew it at the server, or set this machine's clock if \
         that is wrong"
    )]
    Expired {
        /// End of the certificate's validity.
        at: Timestamp,
    },
    /// The server's certificate is not valid yet.
    #[error(
        "the server's certificate is not valid before {from}; set the clock of this machine, or of the \
         machine that made the certificate"
    )]
    NotYetValid {
        /// Beginning of the certificate's validity.
        from: Timestamp,
    },
    /// The server's certificate is for other names than the one in the address.
    #[error(
        "the server's certificate is for {}, not for {wanted}; connect by a name that it has, or give the \
         server a certificate for {wanted}",
        Names(names)
    )]
    WrongName {
        /// Host name or IP address in the client's address.
        wanted: String,
        /// Names that the certificate has.
        names: Vec<String>,
    },
    /// The server's certificate was not issued by an authority that the client trusts, or by no authority at
    /// all.
    #[error("{}", untrusted(ca.as_ref()))]
    UnknownIssuer {
        /// File of [`tls_ca`](crate::ClientBuilder::tls_ca); `None`: the system's authorities.
        ca: Option<PathBuf>,
    },
    /// The server's certificate is itself that of an authority, which proves no server's name.
    #[error(
        "the server's certificate is that of an authority (CA:TRUE); use it as `tls_ca`, and give the server \
         a certificate that this authority issued"
    )]
    Authority,
    /// The server speaks plain HTTP.
    #[error("the server at this address does not speak TLS; give an address with http://")]
    PlainServer,
    /// The server speaks TLS, and the address asks for plain HTTP.
    #[error("the server at this address speaks TLS; give an address with https://")]
    TlsServer,
    /// The server requires a certificate of the client, and none is set.
    #[error("the server requires a certificate of the client; set one with `tls_identity`")]
    CertificateRequired,
    /// The server does not accept the client's certificate.
    #[error(
        "the server refuses the client's certificate ({why}); set one of `tls_identity` that is valid, and \
         issued by an authority that the server trusts"
    )]
    CertificateRefused {
        /// The server's reason, in a few words.
        why: String,
    },
    /// The failure with one of several servers.
    #[error("{server}: {why}")]
    OneOf {
        /// Address of the server.
        server: String,
        /// The failure.
        why: Box<Self>,
    },
    /// Another failure of the handshake.
    #[error("no TLS connection can be made with the server: {0}")]
    Handshake(String),
}

fn untrusted(ca: Option<&PathBuf>) -> String {
    match ca {
        None => "the server's certificate was not issued by an authority that this system trusts; give the \
                 authority's certificate with `tls_ca` (for a certificate that its owner signed, that \
                 certificate itself)"
            .to_owned(),
        Some(ca) => format!(
            "the server's certificate was not issued by an authority in {}; give the file of the server's \
             authority as `tls_ca`, or let the server send the certificates in between as well",
            ca.display()
        ),
    }
}

/// The names of a certificate, in a sentence.
struct Names<'a>(&'a [String]);

impl fmt::Display for Names<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.is_empty() {
            return f.write_str("no name at all (it has no subjectAltName)");
        }
        let listed = self.0.len().min(LISTED);
        f.write_str(&self.0[..listed].join(", "))?;
        match self.0.len() - listed {
            0 => Ok(()),
            more => write!(f, " and {more} more"),
        }
    }
}

/// What the client was set to, which determines what to advise.
#[derive(Debug)]
pub(super) struct Context {
    /// File of authorities; `None`: those of the system.
    pub(super) ca: Option<PathBuf>,
    /// `true` if the client has a certificate.
    pub(super) has_identity: bool,
}

impl Context {
    /// Replaces an error of a handshake by one that says what to do.
    pub(super) fn explain_handshake(&self, error: io::Error) -> io::Error {
        if error.kind() == io::ErrorKind::UnexpectedEof {
            // A server that is about to end does this as well, so trying again may help.
            let ended = "the server closed the connection during the TLS handshake";
            return io::Error::new(error.kind(), ended);
        }
        match of_tls(&error) {
            Some(tls) => io::Error::other(self.meaning(tls)),
            None => error,
        }
    }

    /// Replaces an error of an open connection by one that says what to do. In TLS 1.3, a server refuses the
    /// client's certificate after the client's end of the handshake.
    pub(super) fn explain(&self, error: io::Error) -> io::Error {
        if error.kind() == io::ErrorKind::UnexpectedEof {
            return io::Error::new(error.kind(), "the server closed the connection");
        }
        let refused = match of_tls(&error) {
            Some(rustls::Error::AlertReceived(alert)) => self.alert(*alert),
            _ => return error,
        };
        match refused {
            TlsError::CertificateRequired | TlsError::CertificateRefused { .. } => {
                io::Error::other(refused)
            }
            _ => error,
        }
    }

    fn meaning(&self, error: &rustls::Error) -> TlsError {
        match error {
            rustls::Error::InvalidCertificate(error) => self.certificate(error),
            rustls::Error::InvalidMessage(InvalidMessage::InvalidContentType) => {
                TlsError::PlainServer
            }
            rustls::Error::AlertReceived(alert) => self.alert(*alert),
            other => TlsError::Handshake(other.to_string()),
        }
    }

    /// Returns the meaning of the refusal of a server's certificate.
    fn certificate(&self, error: &CertificateError) -> TlsError {
        match error {
            CertificateError::ExpiredContext { not_after, .. } => TlsError::Expired {
                at: timestamp(*not_after),
            },
            CertificateError::NotValidYetContext { not_before, .. } => TlsError::NotYetValid {
                from: timestamp(*not_before),
            },
            CertificateError::NotValidForNameContext {
                expected,
                presented,
            } => TlsError::WrongName {
                wanted: expected.to_str().into_owned(),
                names: presented.iter().map(|name| bare(name)).collect(),
            },
            CertificateError::UnknownIssuer => TlsError::UnknownIssuer {
                ca: self.ca.clone(),
            },
            CertificateError::Other(other) if is_authority(other) => TlsError::Authority,
            CertificateError::InvalidPurpose | CertificateError::InvalidPurposeContext { .. } => {
                let why = "its certificate is not made for servers; give it one with the extended key usage \
                           serverAuth";
                TlsError::Handshake(why.to_owned())
            }
            other => TlsError::Handshake(format!("its certificate is not accepted: {other}")),
        }
    }

    /// Returns the meaning of a server's alert.
    fn alert(&self, alert: AlertDescription) -> TlsError {
        use AlertDescription as Alert;
        let why = match alert {
            Alert::CertificateRequired if !self.has_identity => {
                return TlsError::CertificateRequired;
            }
            Alert::CertificateExpired => "it has expired, or is not valid yet",
            Alert::UnknownCA => "its issuer is unknown to the server",
            Alert::CertificateRevoked => "it was revoked",
            Alert::UnsupportedCertificate => "it is not made for clients",
            Alert::CertificateRequired => "none of its kind was asked for",
            Alert::BadCertificate | Alert::CertificateUnknown | Alert::AccessDenied => {
                "the server does not say why"
            }
            Alert::DecryptError => "its key is another one",
            Alert::ProtocolVersion => {
                return TlsError::Handshake("it speaks neither TLS 1.2 nor TLS 1.3".to_owned());
            }
            Alert::HandshakeFailure | Alert::InsufficientSecurity => {
                // In TLS 1.2, servers answer so as well if they require a certificate.
                let why = "the two ends have no cipher or kind of key in common";
                return TlsError::Handshake(match self.has_identity {
                    true => why.to_owned(),
                    false => format!(
                        "{why}, or it requires a certificate of the client; set one with `tls_identity`"
                    ),
                });
            }
            Alert::NoApplicationProtocol => {
                return TlsError::Handshake("it does not offer HTTP/1.1".to_owned());
            }
            Alert::UnrecognisedName => {
                return TlsError::Handshake("it does not serve this name".to_owned());
            }
            other => return TlsError::Handshake(format!("it answered with the alert {other:?}")),
        };
        match self.has_identity {
            true => TlsError::CertificateRefused {
                why: why.to_owned(),
            },
            false => TlsError::Handshake(format!("it answered with the alert {alert:?}")),
        }
    }
}

fn of_tls(error: &io::Error) -> Option<&rustls::Error> {
    error.get_ref()?.downcast_ref()
}

/// Returns `true` if an authority's certificate was used as that of a server; the TLS library has no variant
/// of its own for that.
fn is_authority(error: &rustls::OtherError) -> bool {
    error.to_string() == "CaUsedAsEndEntity"
}

fn timestamp(time: UnixTime) -> Timestamp {
    (SystemTime::UNIX_EPOCH + Duration::from_secs(time.as_secs())).into()
}

/// Removes the kind around a name: `DnsName("a.example")`. It stays, as OpenSSL writes it, where the name of a
/// host looks like an address, for which it is not valid.
fn bare(name: &str) -> String {
    let parts = name.split_once('(');
    let (kind, inner) = parts.unwrap_or_default();
    let inner = inner.strip_suffix(')').unwrap_or(name).trim_matches('"');
    match kind == "DnsName" && inner.parse::<IpAddr>().is_ok() {
        true => format!("DNS:{inner}"),
        false => inner.to_owned(),
    }
}

/// Returns the TLS error in a chain of causes.
pub(crate) fn tls_error(error: &(dyn Error + 'static)) -> Option<TlsError> {
    let mut cause = Some(error);
    while let Some(error) = cause {
        // The content of an I/O error is not one of its causes.
        let inner = error.downcast_ref::<io::Error>();
        let inner = inner.and_then(|error| error.get_ref()?.downcast_ref());
        if let Some(found) = inner.or_else(|| error.downcast_ref()) {
            return Some(TlsError::clone(found));
        }
        cause = error.source();
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_shown_without_their_kind_unless_it_is_the_wrong_one() {
        assert_eq!(bare("DnsName(\"a.example\")"), "a.example");
        assert_eq!(bare("IpAddress(127.0.0.1)"), "127.0.0.1");
        assert_eq!(bare("DnsName(\"127.0.0.1\")"), "DNS:127.0.0.1");
        assert_eq!(bare("something else"), "something else");
    }
}
