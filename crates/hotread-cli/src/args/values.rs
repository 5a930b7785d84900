//! Values of options: numbers with their units and bounds, times, and positions in a history.

use hotread_proto::{InvalidTimestamp, Position, Timestamp};
use std::str::FromStr;
use std::time::Duration;

/// Parses a number of bytes: `4096`, `64KiB`, `256MiB`, `1GiB`; with `kB`, `MB`, `GB` in steps of 1000.
pub(super) fn bytes(text: &str) -> Result<u64, String> {
    let digits = text.len() - text.trim_start_matches(|c: char| c.is_ascii_digit()).len();
    let (number, unit) = text.split_at(digits);
    let factor = match unit.trim_start() {
        "" | "B" => Some(1),
        "kB" | "KB" => Some(1_000),
        "MB" => Some(1_000_000),
        "GB" => Some(1_000_000_000),
        "KiB" => Some(1 << 10),
        "MiB" => Some(1 << 20),
        "GiB" => Some(1 << 30),
        _ => None,
    };
    number
        .parse()
        .ok()
        .zip(factor)
        .and_then(|(number, factor): (u64, u64)| number.checked_mul(factor))
        .ok_or_else(|| "give bytes such as 4096, 64KiB, 256MiB or 1GiB".to_owned())
}

pub(super) fn at_least_one(text: &str) -> Result<usize, String> {
    match text.parse() {
        Ok(number) if number > 0 => Ok(number),
        _ => Err("give a number from 1".to_owned()),
    }
}

pub(super) fn page(text: &str) -> Result<usize, String> {
    match at_least_one(text) {
        Ok(number) if number <= hotread_store::MAX_PAGE => Ok(number),
        _ => Err(format!(
            "give a number from 1 to {}",
            hotread_store::MAX_PAGE
        )),
    }
}

/// Parses a duration: `90s`, `1h`, `7d`.
pub(super) fn duration(text: &str) -> Result<Duration, String> {
    humantime::parse_duration(text)
        .map_err(|_| "give a number with its unit, such as 90s, 1h or 7d".to_owned())
}

/// Parses a time; a date alone is the beginning of that day in UTC.
pub(super) fn time(text: &str) -> Result<Timestamp, InvalidTimestamp> {
    const DATE: &str = "2026-12-24";
    let is_date = text.len() == DATE.len() && text.as_bytes()[4] == b'-';
    match is_date {
        true => format!("{text}T00:00:00Z")
            .parse()
            .or_else(|_| text.parse()),
        false => text.parse(),
    }
}

/// A place in a table's history: a position, or a sequence number of the table's current epoch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Since {
    Seq(u64),
    Position(Position),
}

/// Forms of a place in a history.
const PLACE: &str = "a sequence number such as 42, or EPOCH:SEQ such as 00c0ffee00c0ffee:42";

impl FromStr for Since {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text.parse() {
            Ok(seq) if !text.starts_with('+') => Ok(Self::Seq(seq)),
            _ => match text.parse() {
                Ok(position) => Ok(Self::Position(position)),
                Err(_) => Err(format!("not a position; give {PLACE}")),
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_date_is_the_begin_of_its_day() {
        let begin = "2026-12-24T00:00:00Z".parse::<Timestamp>();
        assert_eq!(time("2026-12-24"), begin);
        assert_eq!(time("1798070400000"), begin);
        assert_eq!(time("2026-12-24T01:00:00+01:00"), begin);
        for text in ["2026-13-24", "24.12.2026", "2026-1-24 ", "soon"] {
            let error = time(text).unwrap_err().to_string();
            assert!(error.contains(text) && !error.contains("T00"), "{error}");
        }
    }

    #[test]
    fn a_place_is_a_number_or_a_position() {
        assert_eq!("42".parse::<Since>().unwrap(), Since::Seq(42));
        let position = "00c0ffee00c0ffee:42";
        let parsed = Since::Position(position.parse().unwrap());
        assert_eq!(position.parse::<Since>().unwrap(), parsed);
        for text in ["", "+1", "-1", "x", "1:2", "99999999999999999999"] {
            assert!(text.parse::<Since>().is_err(), "{text:?}");
        }
    }

    #[test]
    fn sizes_have_units() {
        for (text, size) in [
            ("0", Ok(0)),
            ("4096", Ok(4096)),
            ("256MiB", Ok(256 << 20)),
            ("1 GB", Ok(1_000_000_000)),
        ] {
            assert_eq!(bytes(text), size);
        }
        for text in ["", "MiB", "-1", "1.5GiB", "1T", "99999999999GiB"] {
            assert!(bytes(text).is_err(), "{text}");
        }
    }
}
