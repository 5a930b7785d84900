//! The records that the figures use.

use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::Path;

use fastrand::Rng;
use hotread_proto::{Actor, Key, Put, TableName, Txn, Value};

/// Approximate length of a value in bytes.
pub(crate) const VALUE_BYTES: usize = 100;
/// Records of one transaction when a database is filled.
pub(crate) const BATCH: usize = 1_000;

/// The table of all figures.
pub(crate) fn table() -> TableName {
    TableName::new("accounts").expect("a valid name")
}

/// The actor of all transactions.
pub(crate) fn actor() -> Actor {
    Actor::new("bench").expect("a valid name")
}

/// The key of record `index`; keys order as their indices.
pub(crate) fn key(index: usize) -> Key {
    Key::new(&format!("account-{index:08}")).expect("a valid key")
}

/// A value that no two draws share.
pub(crate) fn json(rng: &mut Rng) -> String {
    json_since(rng, |rng| u64::from(rng.u32(1_000_000_000..)))
}

/// A value with this number as its last field.
pub(crate) fn json_since(rng: &mut Rng, since: impl FnOnce(&mut Rng) -> u64) -> String {
    let (seats, quota) = (rng.u32(100..1_000), rng.u32(100_000..1_000_000));
    let (a, b, since) = (rng.u64(..), rng.u64(..), since(rng));
    format!(
        r#"{{"plan":"team","seats":{seats},"quota":{quota},"token":"{a:016x}{b:016x}","since":{since}}}"#
    )
}

/// Record `index`, with a new value.
pub(crate) fn put(index: usize, rng: &mut Rng) -> Put {
    let value = Value::parse(json(rng).as_bytes()).expect("valid JSON");
    Put::new(key(index), value)
}

/// New values for all of a number of records, in random order: any hundred neighbours are a hundred
/// random keys, all different.
pub(crate) fn shuffled_puts(records: usize, seed: u64) -> Vec<Put> {
    let mut rng = Rng::with_seed(seed);
    let mut order: Vec<usize> = (0..records).collect();
    rng.shuffle(&mut order);
    order.iter().map(|index| put(*index, &mut rng)).collect()
}

/// A transaction of the puts from `at` on, wrapping around at the end.
pub(crate) fn txn(puts: &[Put], at: usize, len: usize) -> Txn {
    let len = len.min(puts.len());
    let neighbours = (0..len).map(|offset| &puts[(at + offset) % puts.len()]);
    neighbours.fold(Txn::new(), |txn, put| txn.put(put.clone()))
}

/// Writes a number of records as newline-delimited JSON, ordered by key like an export.
pub(crate) fn write_ndjson(path: &Path, records: usize) -> std::io::Result<u64> {
    let mut rng = Rng::with_seed(11);
    write_lines(path, records, |index| {
        let (key, value) = (key(index), json(&mut rng));
        format!(r#"{{"key":"{}","value":{value}}}"#, key.as_str())
    })
}

/// Writes a number of lines, and returns their bytes.
pub(crate) fn write_lines(
    path: &Path,
    lines: usize,
    mut line: impl FnMut(usize) -> String,
) -> std::io::Result<u64> {
    let mut file = BufWriter::with_capacity(1 << 20, File::create(path)?);
    for index in 0..lines {
        writeln!(file, "{}", line(index))?;
    }
    let file = file.into_inner()?;
    file.sync_all()?;
    Ok(file.metadata()?.len())
}
