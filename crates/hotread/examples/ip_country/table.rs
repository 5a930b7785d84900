//! The state: ranges of addresses, read from a file.

use std::collections::BTreeMap;
use std::fmt;
use std::fs::File;
use std::io::{BufRead, BufReader};
use std::net::Ipv4Addr;

use hotread::HotReadState;

/// Ranges of addresses that do not overlap, by their first address.
#[derive(Clone, Default)]
pub struct Countries {
    pub ranges: BTreeMap<u32, Range>,
    /// Number of batches applied; only used to measure staleness.
    pub batches: u64,
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Range {
    pub last: u32,
    pub country: Country,
}

/// An ISO 3166-1 code; `??` if unknown.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Country([u8; 2]);

#[derive(Clone)]
pub enum Change {
    Set(u32, Range),
    Remove(u32),
    EndOfBatch,
}

impl HotReadState for Countries {
    type Action = Change;

    fn apply_update(&mut self, change: &Change) {
        match change {
            Change::Set(first, range) => {
                self.ranges.insert(*first, *range);
            }
            Change::Remove(first) => {
                self.ranges.remove(first);
            }
            Change::EndOfBatch => self.batches += 1,
        }
    }
}

impl Countries {
    pub fn country_of(&self, address: u32) -> Option<Country> {
        let (_, range) = self.ranges.range(..=address).next_back()?;
        (address <= range.last).then_some(range.country)
    }

    pub fn load(path: &str) -> Result<Self, String> {
        let input = File::open(path).map_err(|error| format!("cannot open {path}: {error}"))?;
        let mut countries = Self::default();
        for (index, line) in BufReader::new(input).lines().enumerate() {
            let line = line.map_err(|error| format!("cannot read {path}: {error}"))?;
            if line.trim().is_empty() || line.starts_with('#') {
                continue;
            }
            countries
                .add(&line)
                .map_err(|error| format!("{path}, line {}: {error}", index + 1))?;
        }
        if countries.ranges.is_empty() {
            return Err(format!("{path}: no ranges in this file"));
        }
        Ok(countries)
    }

    fn add(&mut self, line: &str) -> Result<(), String> {
        let fields: Vec<_> = line.split(',').map(str::trim).collect();
        let &[first, last, country] = fields.as_slice() else {
            return Err(format!("expected start,end,country, found {line:?}"));
        };
        let (first, last) = (parse_address(first)?, parse_address(last)?);
        let country = match country.as_bytes() {
            &[a, b] if a.is_ascii_graphic() && b.is_ascii_graphic() => Country([a, b]),
            _ => {
                return Err(format!(
                    "expected a country code of two letters, found {country:?}"
                ));
            }
        };
        if last < first {
            return Err(format!(
                "the range ends at {last}, before it starts at {first}"
            ));
        }
        if let Some((_, other)) = self.ranges.range(..=last).next_back()
            && other.last >= first
        {
            return Err(format!(
                "the range {first} to {last} overlaps one from an earlier line"
            ));
        }
        self.ranges.insert(first, Range { last, country });
        Ok(())
    }
}

pub fn parse_address(text: &str) -> Result<u32, String> {
    text.parse()
        .or_else(|_| text.parse::<Ipv4Addr>().map(u32::from))
        .map_err(|_| format!("expected an IPv4 address, found {text:?}"))
}

impl fmt::Display for Country {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(str::from_utf8(&self.0).unwrap_or("??"))
    }
}
