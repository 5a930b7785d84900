//! A server, and the reporting of its errors.

use crate::args::{Secret, TlsFiles};
use crate::exit::Failure;
use anyhow::Result;
use hotread_client::{ClientBuilder, Error, TlsError, blocking};
use hotread_proto::Code;

/// Address of a server, or several separated by commas, the token that it is sent, and the files of TLS with it.
#[derive(Clone)]
pub(crate) struct Remote {
    pub(crate) url: String,
    pub(crate) token: Option<Secret>,
    tls: TlsFiles,
}

impl Remote {
    /// Takes addresses with or without a scheme: `127.0.0.1:7400`.
    pub(crate) fn new(url: String, token: Option<Secret>, tls: TlsFiles) -> Self {
        let addresses = url.split(',').map(str::trim);
        let whole = addresses.map(
            |address| match address.is_empty() || address.contains("://") {
                true => address.to_owned(),
                false => format!("http://{address}"),
            },
        );
        let url = whole.collect::<Vec<_>>().join(",");
        Self { url, token, tls }
    }

    /// Returns a builder of clients, which the server lists under this name where they follow a table.
    pub(crate) fn builder(&self, name: &str) -> ClientBuilder {
        let mut builder = blocking::Client::builder(&self.url).name(name);
        if let Some(token) = &self.token {
            builder = builder.token(token.reveal());
        }
        if let Some(ca) = &self.tls.ca {
            builder = builder.tls_ca(ca);
        }
        if let Some((certificate, key)) = &self.tls.identity {
            builder = builder.tls_identity(certificate, key);
        }
        builder
    }

    /// Returns an error as this command reports it.
    pub(crate) fn explain(&self, error: Error) -> anyhow::Error {
        match error {
            // Address and token are checked before anything is sent.
            Error::BadUrl(_) => Failure::usage(error).into(),
            Error::Tls(ref tls) => {
                let mut body = error.body();
                body.message += flags(tls);
                if !matches!(tls, TlsError::OneOf { .. }) {
                    body.message = format!("{}: {}", self.url, body.message);
                }
                Failure::from(body).into()
            }
            Error::Api { mut body, .. } if body.code == Code::Unauthenticated => {
                let more = match self.token {
                    None => "set HOTREAD_TOKEN, or give --token",
                    Some(_) => "the one of HOTREAD_TOKEN or --token was sent",
                };
                body.message = format!("{}: {} ({more})", self.url, body.message);
                Failure::from(body).into()
            }
            Error::Api { mut body, .. }
                if matches!(body.code, Code::Sealed | Code::WrongPassphrase) =>
            {
                body.message
                    .push_str(" (`hotread serve --passphrase-file FILE`)");
                Failure::from(body).into()
            }
            Error::CommitUnknown { ref id, .. } => {
                let mut body = error.body();
                body.message = format!(
                    "{}: {}; an import can be run again as it is, `set` and `rm` with --txn-id {id}",
                    self.url, body.message
                );
                Failure::from(body).into()
            }
            // The server's answer about the request.
            Error::Api { .. } | Error::Invalid { .. } | Error::Rejected(_) | Error::BadTls(_) => {
                error.into()
            }
            // Concerns the server itself, or the connection.
            _ => anyhow::Error::new(error).context(self.url.clone()),
        }
    }
}

/// Returns the options that do what a message about TLS advises, to append to the message.
fn flags(error: &TlsError) -> &'static str {
    match error {
        TlsError::UnknownIssuer { .. } | TlsError::Authority => " (`--tls-ca FILE`)",
        TlsError::CertificateRequired | TlsError::CertificateRefused { .. } => {
            " (`--tls-client-cert FILE --tls-client-key FILE`)"
        }
        TlsError::OneOf { why, .. } => flags(why),
        _ => "",
    }
}

/// A client of a server, with a runtime for its calls.
pub(crate) struct Server {
    remote: Remote,
    client: blocking::Client,
}

impl Server {
    /// Creates the client; sends nothing yet.
    pub(crate) fn new(remote: Remote) -> Result<Self> {
        let client = remote.builder("hotread-command").build_blocking();
        let client = client.map_err(|error| remote.explain(error))?;
        Ok(Self { remote, client })
    }

    /// Makes a call, and waits for its answer.
    pub(crate) fn ask<T>(
        &self,
        call: impl FnOnce(&blocking::Client) -> Result<T, Error>,
    ) -> Result<T> {
        call(&self.client).map_err(|error| self.remote.explain(error))
    }
}
