//! Positions: a state of one epoch of a table.

use crate::strict::as_text;
use serde::{Deserialize, Serialize};
use std::fmt;
use std::str::FromStr;

/// One incarnation of a table: a random number, drawn when the table is created, restored from a
/// backup or rekeyed. Positions of different epochs cannot be compared.
///
/// Written as 16 hexadecimal digits, so that no language rounds it.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Epoch(pub u64);

impl fmt::Display for Epoch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

as_text!(Epoch, "16 lower-case hexadecimal digits");

impl FromStr for Epoch {
    type Err = ParsePositionError;

    fn from_str(text: &str) -> Result<Self, ParsePositionError> {
        let digits =
            text.len() == 16 && text.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
        match u64::from_str_radix(text, 16) {
            Ok(epoch) if digits => Ok(Self(epoch)),
            _ => Err(ParsePositionError),
        }
    }
}

/// A state of a table: after the transaction `seq` of this epoch. Sequence numbers are 1, 2, 3, …
/// without gaps; 0 is the empty table.
///
/// Written as `epoch:seq`, in JSON as `{"epoch": "…", "seq": …}`.
///
/// ```
/// use hotread_proto::Position;
///
/// let at: Position = "00c0ffee00c0ffee:42".parse()?;
/// assert_eq!(at.seq, 42);
/// assert_eq!(at.to_string(), "00c0ffee00c0ffee:42");
/// # Ok::<(), hotread_proto::ParsePositionError>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Position {
    /// Epoch of the table.
    pub epoch: Epoch,
    /// Last transaction that the state contains.
    pub seq: u64,
}

impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.epoch, self.seq)
    }
}

impl FromStr for Position {
    type Err = ParsePositionError;

    fn from_str(text: &str) -> Result<Self, ParsePositionError> {
        let (epoch, seq) = text.split_once(':').ok_or(ParsePositionError)?;
        if !seq.bytes().all(|b| b.is_ascii_digit()) {
            return Err(ParsePositionError);
        }
        Ok(Self {
            epoch: epoch.parse()?,
            seq: seq.parse().map_err(|_| ParsePositionError)?,
        })
    }
}

/// A text that is not an [`Epoch`] or a [`Position`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "not a position; give 16 hexadecimal digits, a colon and a sequence number, as they were answered"
)]
#[non_exhaustive]
pub struct ParsePositionError;
