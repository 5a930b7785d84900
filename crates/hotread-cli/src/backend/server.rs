//! A server, and how its errors are told.

use crate::args::Secret;
use crate::exit::Failure;
use anyhow::Result;
use hotread_client::{ClientBuilder, Error, blocking};
use hotread_proto::Code;

/// Where a server is, and what it wants to be shown.
#[derive(Clone)]
pub(crate) struct Remote {
    pub(crate) url: String,
    pub(crate) token: Option<Secret>,
}

impl Remote {
    /// The address may be without a scheme: `127.0.0.1:7400`.
    pub(crate) fn new(url: String, token: Option<Secret>) -> Self {
        let url = match url.contains("://") {
            true => url,
            false => format!("http://{url}"),
        };
        Self { url, token }
    }

    /// A client that is listed with this name where it follows a table.
    pub(crate) fn builder(&self, name: &str) -> ClientBuilder {
        let builder = blocking::Client::builder(&self.url).name(name);
        match &self.token {
            Some(token) => builder.token(token.reveal()),
            None => builder,
        }
    }

    /// An error as this command tells it.
    pub(crate) fn explain(&self, error: Error) -> anyhow::Error {
        match error {
            // Address and token are checked before anything is sent.
            Error::BadUrl(_) | Error::TlsNotSupported => Failure::usage(error).into(),
            Error::Api { mut body, .. } if body.code == Code::Unauthenticated => {
                let more = match self.token {
                    None => "set HOTREAD_TOKEN, or give --token",
                    Some(_) => "the one of HOTREAD_TOKEN or --token was sent",
                };
                body.message = format!("{}: {} ({more})", self.url, body.message);
                Failure::from(body).into()
            }
            Error::Api { mut body, .. } if body.code == Code::Sealed => {
                body.message.push_str(", to the server where it is started");
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
            // What the server says of what was asked of it.
            Error::Api { .. } | Error::Invalid { .. } | Error::Rejected(_) => error.into(),
            // It is about the server itself, or the way to it.
            _ => anyhow::Error::new(error).context(self.url.clone()),
        }
    }
}

/// A server that is asked.
pub(crate) struct Server {
    remote: Remote,
    client: blocking::Client,
}

impl Server {
    /// Nothing is sent yet.
    pub(crate) fn new(remote: Remote) -> Result<Self> {
        let client = remote.builder("hotread-command").build_blocking();
        let client = client.map_err(|error| remote.explain(error))?;
        Ok(Self { remote, client })
    }

    /// Makes a call.
    pub(crate) fn ask<T>(
        &self,
        call: impl FnOnce(&blocking::Client) -> Result<T, Error>,
    ) -> Result<T> {
        call(&self.client).map_err(|error| self.remote.explain(error))
    }
}
