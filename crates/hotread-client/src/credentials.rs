//! The token that is sent with each request, and the source of the next one.

use crate::error::Error;
use std::io;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio_tungstenite::tungstenite::http::HeaderValue;

/// Source of tokens.
#[derive(Clone)]
pub(crate) enum Source {
    /// No source: no token is sent.
    Nowhere,
    /// A constant token.
    Fixed(String),
    /// A file with the token, read again when the server refuses a token.
    File(PathBuf),
    /// A function that returns the token, called again when the server refuses a token.
    Provider(Arc<dyn Fn() -> io::Result<String> + Send + Sync>),
}

/// The current token.
pub(crate) struct Credentials {
    source: Source,
    /// Header with the token; `None`: the source was not read yet.
    header: Mutex<Option<HeaderValue>>,
}

impl Credentials {
    /// Returns credentials. A constant token is checked immediately.
    ///
    /// # Errors
    /// If the characters of a constant token do not fit into a header.
    pub(crate) fn new(source: Source) -> Result<Self, Error> {
        let header = match &source {
            Source::Fixed(token) => Some(header(token).map_err(Error::BadUrl)?),
            _ => None,
        };
        let header = Mutex::new(header);
        Ok(Self { source, header })
    }

    /// Returns the header to send.
    ///
    /// # Errors
    /// If the source of a token fails.
    pub(crate) fn current(&self) -> Result<Option<HeaderValue>, Error> {
        if matches!(self.source, Source::Nowhere) {
            return Ok(None);
        }
        let known = self.known().clone();
        if known.is_some() {
            return Ok(known);
        }
        let header = Some(self.ask()?);
        self.known().clone_from(&header);
        Ok(header)
    }

    /// Reads the source again after the server refused `used`. Returns `true` if there is a different token
    /// now.
    pub(crate) fn renew(&self, used: Option<&HeaderValue>) -> bool {
        if !self.is_renewable() {
            return false;
        }
        if self.known().as_ref() != used {
            // Another call has renewed the token already.
            return true;
        }
        let next = self.ask().ok();
        let other = next.is_some() && next.as_ref() != used;
        *self.known() = next;
        other
    }

    /// Returns `true` if the source can return different tokens.
    pub(crate) fn is_renewable(&self) -> bool {
        matches!(self.source, Source::File(_) | Source::Provider(_))
    }

    fn ask(&self) -> Result<HeaderValue, Error> {
        let token = match &self.source {
            Source::Nowhere => Err("no source of tokens is set".to_owned()),
            Source::Fixed(token) => Ok(token.clone()),
            Source::File(path) => std::fs::read_to_string(path)
                .map_err(|error| format!("{} cannot be read: {error}", path.display())),
            Source::Provider(ask) => ask().map_err(|error| error.to_string()),
        };
        let header = token.and_then(|token| header(token.trim()));
        header.map_err(Error::NoToken)
    }

    fn known(&self) -> MutexGuard<'_, Option<HeaderValue>> {
        // No foreign code runs while it is locked, so the value is intact even after a panic.
        self.header.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn header(token: &str) -> Result<HeaderValue, String> {
    let value = HeaderValue::from_str(&format!("Bearer {token}"));
    let mut value = value
        .map_err(|_| "the token has characters that no token may have; copy it again".to_owned())?;
    value.set_sensitive(true);
    Ok(value)
}
