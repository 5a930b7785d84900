//! The parts of a certificate that rustls does not reveal: its validity, and its subject as an actor.

use hotread_proto::{Actor, Timestamp};
use std::time::Duration;
use x509_cert::Certificate;
use x509_cert::der::Decode;
use x509_cert::time::Time;

/// Period in which a certificate is valid.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Validity {
    pub(super) from: Timestamp,
    pub(super) until: Timestamp,
}

impl Validity {
    /// Returns the validity of a certificate.
    pub(super) fn of(der: &[u8]) -> Result<Self, String> {
        let certificate = parse(der)?;
        let validity = certificate.tbs_certificate().validity();
        Ok(Self {
            from: timestamp(validity.not_before),
            until: timestamp(validity.not_after),
        })
    }

    pub(super) fn contains(self, now: Timestamp) -> bool {
        self.from <= now && now <= self.until
    }

    /// Returns the time until the end, which is zero after it.
    pub(super) fn left(self, now: Timestamp) -> Duration {
        let millis = self.until.millis().saturating_sub(now.millis());
        Duration::from_millis(u64::try_from(millis).unwrap_or(0))
    }
}

/// Returns the actor of a client's certificate, which was verified: the first common name of its subject.
/// One that is missing or is no actor's name is replaced by the serial number. `None`: a certificate of a form
/// that only rustls understands.
pub(super) fn actor(der: &[u8]) -> Option<Actor> {
    let certificate = parse(der).ok()?;
    let certificate = certificate.tbs_certificate();
    // Also an error of its encoding counts as no name.
    let name = certificate.subject().common_name().ok().flatten();
    name.and_then(|name| Actor::new(&name.value()).ok())
        .or_else(|| {
            let bytes = certificate.serial_number().as_bytes();
            // A zero before a number whose first bit is set keeps it from being negative.
            let bytes = bytes.strip_prefix(&[0]).unwrap_or(bytes);
            let digits: String = bytes.iter().map(|byte| format!("{byte:02X}")).collect();
            Actor::new(&format!("certificate {digits}")).ok()
        })
}

fn parse(der: &[u8]) -> Result<Certificate, String> {
    Certificate::from_der(der).map_err(|error| error.to_string())
}

fn timestamp(time: Time) -> Timestamp {
    let millis = i64::try_from(time.to_unix_duration().as_millis());
    // Both have years of four digits.
    let time = millis
        .ok()
        .and_then(|millis| Timestamp::from_millis(millis).ok());
    time.unwrap_or(Timestamp::MAX)
}
