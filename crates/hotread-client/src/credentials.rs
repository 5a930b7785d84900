//! The token that is sent with each request, and where the next one comes from.

use crate::error::Error;
use std::io;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio_tungstenite::tungstenite::http::HeaderValue;

/// Where tokens come from.
#[derive(Clone)]
pub(crate) enum Source {
    /// No token is sent.
    Nowhere,
    /// This one, always.
    Fixed(String),
    /// What this file has in it, read again when a token is refused.
    File(PathBuf),
    /// What this gives, asked again when a token is refused.
    Provider(Arc<dyn Fn() -> io::Result<String> + Send + Sync>),
}

/// The token as it is now.
pub(crate) struct Credentials {
    source: Source,
    /// The header with it; `None`: it was not asked for yet.
    header: Mutex<Option<HeaderValue>>,
}

impl Credentials {
    /// # Errors
    /// If a token that is given already cannot be sent.
    pub(crate) fn new(source: Source) -> Result<Self, Error> {
        let header = match &source {
            Source::Fixed(token) => Some(header(token).map_err(Error::BadUrl)?),
            _ => None,
        };
        let header = Mutex::new(header);
        Ok(Self { source, header })
    }

    /// The header to be sent.
    ///
    /// # Errors
    /// If there is to be a token, and there is none.
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

    /// The server refused `used`. True: there is another one now.
    pub(crate) fn renew(&self, used: Option<&HeaderValue>) -> bool {
        if !self.is_renewable() {
            return false;
        }
        if self.known().as_ref() != used {
            // Another call was refused before.
            return true;
        }
        let next = self.ask().ok();
        let other = next.is_some() && next.as_ref() != used;
        *self.known() = next;
        other
    }

    /// Tokens may change.
    pub(crate) fn is_renewable(&self) -> bool {
        matches!(self.source, Source::File(_) | Source::Provider(_))
    }

    fn ask(&self) -> Result<HeaderValue, Error> {
        let token = match &self.source {
            Source::Nowhere => Err("there is to be none".to_owned()),
            Source::Fixed(token) => Ok(token.clone()),
            Source::File(path) => std::fs::read_to_string(path)
                .map_err(|error| format!("{} cannot be read: {error}", path.display())),
            Source::Provider(ask) => ask().map_err(|error| error.to_string()),
        };
        let header = token.and_then(|token| header(token.trim()));
        header.map_err(Error::NoToken)
    }

    fn known(&self) -> MutexGuard<'_, Option<HeaderValue>> {
        // No code of others runs while it is locked, so that it is whole even after a panic.
        self.header.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn header(token: &str) -> Result<HeaderValue, String> {
    let value = HeaderValue::from_str(&format!("Bearer {token}"));
    let mut value = value
        .map_err(|_| "the token has characters that no token has; copy it again".to_owned())?;
    value.set_sensitive(true);
    Ok(value)
}
