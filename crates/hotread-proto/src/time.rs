//! Points in time, with the precision of records.

use crate::strict::as_text;
use serde::{Deserialize, Deserializer, de};
use std::fmt;
use std::str::FromStr;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

/// A point in time: milliseconds since 1970-01-01T00:00:00Z, up to the end of the year 9999.
///
/// Read as a number of milliseconds or as RFC 3339 with any offset; written as RFC 3339 in UTC,
/// always with three digits of a second's fraction, so that times sort as text. Finer fractions are
/// cut off.
///
/// ```
/// use hotread_proto::Timestamp;
///
/// let at: Timestamp = "2026-11-21T10:30:00.25+01:00".parse()?;
/// assert_eq!(at.millis(), 1_795_253_400_250);
/// assert_eq!(at.to_string(), "2026-11-21T09:30:00.250Z");
/// assert_eq!("1795253400250".parse::<Timestamp>()?, at);
/// # Ok::<(), hotread_proto::InvalidTimestamp>(())
/// ```
#[derive(Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Timestamp(i64);

/// A text or a number that is not a [`Timestamp`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "{given:?} is not a time between 1970 and 9999; give milliseconds since 1970 or RFC 3339, \
     such as 2026-11-21T09:30:00Z"
)]
#[non_exhaustive]
pub struct InvalidTimestamp {
    /// The rejected input, cut after 64 characters.
    pub given: String,
}

impl InvalidTimestamp {
    fn new(given: impl fmt::Display) -> Self {
        Self {
            given: given.to_string().chars().take(64).collect(),
        }
    }
}

impl Timestamp {
    /// 1970-01-01T00:00:00Z.
    pub const EPOCH: Self = Self(0);
    /// The last millisecond of the year 9999, which RFC 3339 ends with.
    pub const MAX: Self = Self(253_402_300_799_999);

    /// Creates a time from milliseconds since 1970.
    ///
    /// # Errors
    /// If the time is before 1970 or after 9999.
    pub fn from_millis(millis: i64) -> Result<Self, InvalidTimestamp> {
        if (0..=Self::MAX.0).contains(&millis) {
            Ok(Self(millis))
        } else {
            Err(InvalidTimestamp::new(millis))
        }
    }

    /// Returns the milliseconds since 1970.
    #[must_use]
    pub fn millis(self) -> i64 {
        self.0
    }

    /// Adds a duration, up to the end of the year 9999.
    #[must_use]
    pub fn saturating_add(self, duration: std::time::Duration) -> Self {
        let millis = i64::try_from(duration.as_millis()).unwrap_or(i64::MAX);
        Self(self.0.saturating_add(millis).min(Self::MAX.0))
    }

    /// Subtracts a duration, down to the beginning of 1970.
    #[must_use]
    pub fn saturating_sub(self, duration: std::time::Duration) -> Self {
        let millis = i64::try_from(duration.as_millis()).unwrap_or(i64::MAX);
        Self(self.0.saturating_sub(millis).max(0))
    }
}

/// Converts the system's time, limited to the range.
impl From<std::time::SystemTime> for Timestamp {
    fn from(time: std::time::SystemTime) -> Self {
        let since = time.duration_since(std::time::UNIX_EPOCH);
        Self::EPOCH.saturating_add(since.unwrap_or_default())
    }
}

impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (seconds, millis) = (self.0.div_euclid(1_000), self.0.rem_euclid(1_000));
        let time = OffsetDateTime::from_unix_timestamp(seconds).ok();
        let text = time.and_then(|time| time.format(&Rfc3339).ok());
        // Three digits always, so that times sort as text.
        let text = text.as_deref().and_then(|text| text.strip_suffix('Z'));
        f.pad(&format!("{}.{millis:03}Z", text.ok_or(fmt::Error)?))
    }
}

as_text!(Timestamp);

impl FromStr for Timestamp {
    type Err = InvalidTimestamp;

    fn from_str(text: &str) -> Result<Self, InvalidTimestamp> {
        let millis = || {
            if text.bytes().all(|b| b.is_ascii_digit()) {
                return text.parse().ok();
            }
            // The parser accepts any character between date and time.
            let between = text.as_bytes().get(10)?;
            let time = OffsetDateTime::parse(text, &Rfc3339).ok()?;
            let millis = time.unix_timestamp_nanos().div_euclid(1_000_000);
            i64::try_from(millis)
                .ok()
                .filter(|_| b"Tt ".contains(between))
        };
        let at = millis().and_then(|millis| Self::from_millis(millis).ok());
        at.ok_or_else(|| InvalidTimestamp::new(text))
    }
}

impl<'de> Deserialize<'de> for Timestamp {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visitor;

        impl de::Visitor<'_> for Visitor {
            type Value = Timestamp;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("milliseconds since 1970 or a time as in RFC 3339")
            }
            fn visit_i64<E: de::Error>(self, millis: i64) -> Result<Timestamp, E> {
                Timestamp::from_millis(millis).map_err(E::custom)
            }
            fn visit_u64<E: de::Error>(self, millis: u64) -> Result<Timestamp, E> {
                let millis = i64::try_from(millis).map_err(|_| InvalidTimestamp::new(millis));
                millis.and_then(Timestamp::from_millis).map_err(E::custom)
            }
            fn visit_str<E: de::Error>(self, text: &str) -> Result<Timestamp, E> {
                text.parse().map_err(E::custom)
            }
        }

        deserializer.deserialize_any(Visitor)
    }
}
