//! The certificate in use, and its replacement while the server runs.

use super::files::{Fingerprint, Loaded};
use super::identity::Validity;
use super::{Tls, TlsError};
use hotread_proto::Timestamp;
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::{Duration, SystemTime};
use tokio::time::{Instant, sleep};
use tokio_rustls::rustls::ServerConfig;

const DAY: Duration = Duration::from_secs(24 * 60 * 60);
/// Remaining validity below which the log warns: automatic renewals are due long before.
const WARN_BEFORE: Duration = Duration::from_secs(14 * 24 * 60 * 60);
/// Interval between these warnings.
const WARN_EVERY: Duration = DAY;

/// The certificate in use and the files that it came from.
pub(crate) struct Current {
    tls: Tls,
    in_use: RwLock<Arc<Loaded>>,
    /// State of the files before they were last read, successfully or not. Held while they are read.
    read: Mutex<Fingerprint>,
}

impl Current {
    /// Reads the files, unless they were read. A certificate that is not valid at this time is used all the same, with a warning:
    /// the clock may be wrong, and the next one may be under way.
    pub(crate) fn new(mut tls: Tls) -> Result<Self, TlsError> {
        let loaded = match tls.loaded.take() {
            Some(loaded) => loaded,
            None => Arc::new(Loaded::read(&tls)?),
        };
        warn_of_end(loaded.validity, now());
        let read = Mutex::new(loaded.files.clone());
        let in_use = RwLock::new(loaded);
        Ok(Self { tls, in_use, read })
    }

    fn in_use(&self) -> Arc<Loaded> {
        // It is replaced as a whole.
        let in_use = self.in_use.read();
        in_use.unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Returns the configuration for the next connection.
    pub(super) fn config(&self) -> Arc<ServerConfig> {
        self.in_use().config.clone()
    }

    /// Returns the time at which the certificate in use expires.
    pub(crate) fn expires(&self) -> Timestamp {
        self.in_use().validity.until
    }

    /// Reads the files again, on this thread, and uses them for new connections.
    ///
    /// # Errors
    /// If they cannot be used, or the certificate is not valid at this time; then the one in use stays.
    pub(crate) fn reload(&self) -> Result<(), TlsError> {
        // A state of the files alone is always whole.
        let mut read = self.read.lock().unwrap_or_else(PoisonError::into_inner);
        *read = Fingerprint::of(&self.tls);
        let (new, now) = (Loaded::read(&self.tls)?, now());
        let Validity { from, until } = new.validity;
        if !new.validity.contains(now) {
            let path = self.tls.chain.clone();
            return Err(TlsError::NotValid { path, from, until });
        }
        *self.in_use.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(new);
        tracing::info!(expires = %until, "certificate read; new connections get it");
        warn_of_end(self.in_use().validity, now);
        Ok(())
    }

    /// Reads the files again when they have changed and are no longer changing, and warns of the
    /// certificate's end, while this future is polled.
    pub(crate) async fn watch(self: Arc<Self>) {
        let mut seen = None;
        let mut warned = Instant::now();
        loop {
            sleep(self.tls.check_every).await;
            let current = self.clone();
            let check = move || current.check(seen);
            // Without its result, the files are looked at once more.
            seen = tokio::task::spawn_blocking(check).await.ok();
            if warned.elapsed() >= WARN_EVERY {
                warned = Instant::now();
                warn_of_end(self.in_use().validity, now());
            }
        }
    }

    /// Reads the files again if they differ from those that were read, and are as the last check has `seen`
    /// them. Returns their state.
    fn check(&self, seen: Option<Fingerprint>) -> Fingerprint {
        let files = Fingerprint::of(&self.tls);
        let is_read = *self.read.lock().unwrap_or_else(PoisonError::into_inner) == files;
        if !is_read
            && seen.as_ref() == Some(&files)
            && let Err(error) = self.reload()
        {
            let expires = self.expires();
            tracing::error!(%error, %expires, "the certificate stays as it was");
        }
        files
    }
}

fn now() -> Timestamp {
    SystemTime::now().into()
}

/// Warns of a certificate whose validity has ended, ends soon, or has not begun.
fn warn_of_end(validity: Validity, now: Timestamp) {
    let Validity { from, until } = validity;
    let left = validity.left(now);
    if now < from {
        tracing::warn!(%from, "the certificate is not valid yet, and clients refuse it; check the clock");
    } else if left.is_zero() {
        tracing::warn!(expired = %until, "the certificate has expired, and clients refuse it; renew it");
    } else if left < WARN_BEFORE {
        let days = left.as_secs() / DAY.as_secs();
        tracing::warn!(expires = %until, days, "the certificate expires soon; renew it");
    }
}
