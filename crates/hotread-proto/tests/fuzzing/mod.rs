//! Fuzz targets of the session. Both `dev/fuzz/session` and the test that replays their corpora
//! include this module.

pub mod decode;
pub mod follow;
pub mod serve;

use crate::table::{POISON, Table};
use hotread_proto::{Body, Key, Put, Txn, Value};
use std::time::Duration;

/// Bytes that decide what happens next.
pub struct Input<'a>(pub &'a [u8]);

impl Input<'_> {
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Returns the next byte; 0 once none is left.
    pub fn byte(&mut self) -> u8 {
        let Some((first, rest)) = self.0.split_first() else {
            return 0;
        };
        self.0 = rest;
        *first
    }

    /// Returns a number from 0 to `n - 1`; `n` must be less than 256.
    pub fn below(&mut self, n: u8) -> u8 {
        self.byte() % n
    }

    pub fn flag(&mut self) -> bool {
        self.byte() & 1 == 1
    }

    /// Returns a time of up to 65 s, most of them short.
    pub fn time(&mut self) -> Duration {
        let (scale, n) = (self.below(4), u64::from(self.byte()));
        Duration::from_millis(n << (scale * 2 + scale.saturating_sub(2) * 2))
    }

    /// Returns a text of up to 255 bytes, made valid UTF-8.
    pub fn text(&mut self) -> String {
        let length = usize::from(self.byte()).min(self.0.len());
        let (text, rest) = self.0.split_at(length);
        self.0 = rest;
        String::from_utf8_lossy(text).into_owned()
    }
}

fn key(input: &mut Input<'_>) -> Key {
    Key::new(&format!("k{}", input.below(12))).expect("a short name")
}

/// Commits a transaction.
fn commit(table: &mut Table, input: &mut Input<'_>, now: Duration) {
    let mut txn = Txn::new();
    for _ in 0..=input.below(4) {
        let key = key(input);
        txn = match input.below(4) {
            0 => txn.delete(key),
            kind => {
                let start = if kind == 1 { POISON } else { "\"fine" };
                let text = format!("{start}-{}\"", input.below(16));
                let value = Value::parse(text.as_bytes()).expect("a string");
                txn.put(Put::new(key, value))
            }
        };
    }
    table.commit(Body::Txn(txn), now);
}
