//! Writes records to files: newline-delimited JSON, which an [`import`](crate::import) reads back,
//! and CSV, for spreadsheets and other programs.
//!
//! A record is written piece by piece, without an allocation or a copy beyond the writer's own; the
//! writer should be buffered.

use crate::staging::Staging;
use hotread_proto::{Category, Record};
use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::Path;

/// Bytes that are collected before they are written to a file.
const BUFFER_BYTES: usize = 64 << 10;

/// Writes a file that has its name when it is whole and on disk, and not before: in place of what had
/// the name, unless `write` fails. Only its owner may read it. To a device or a pipe it is written
/// directly.
///
/// # Errors
/// If `write` fails, or the file cannot be written. What had the name is as it was then.
pub fn write_file(
    path: &Path,
    write: impl FnOnce(&mut BufWriter<File>) -> io::Result<()>,
) -> io::Result<()> {
    let run = |file| {
        let mut out = BufWriter::with_capacity(BUFFER_BYTES, file);
        write(&mut out)?;
        out.flush()
    };
    if path.metadata().is_ok_and(|meta| !meta.is_file()) {
        return run(File::create(path)?);
    }
    let staging = Staging::begin(path)?;
    run(staging.create_private()?)?;
    staging.publish()
}

/// Writes a line `{"key", "value", "category"?, "expires_at"?}`; the category is left out if it is
/// `general`. What an import makes of it has the same key, value, category and expiry, to the byte.
///
/// # Errors
/// If writing fails.
pub fn ndjson(record: &Record, out: &mut impl Write) -> io::Result<()> {
    out.write_all(b"{\"key\":")?;
    serde_json::to_writer(&mut *out, record.key())?;
    out.write_all(b",\"value\":")?;
    out.write_all(record.value())?;
    if record.category() != Category::GENERAL.as_str() {
        out.write_all(b",\"category\":")?;
        serde_json::to_writer(&mut *out, record.category())?;
    }
    if let Some(at) = record.expires_at() {
        write!(out, ",\"expires_at\":\"{at}\"")?;
    }
    out.write_all(b"}\n")
}

/// Writes the names of the columns that [`csv`] fills.
///
/// # Errors
/// If writing fails.
pub fn csv_header(out: &mut impl Write) -> io::Result<()> {
    out.write_all(b"key,value,category,seq,updated_at,expires_at\n")
}

/// Writes a line with the record's fields: the value as JSON, times as RFC 3339, the last one empty
/// if the record does not expire. Fields are quoted where they need to be.
///
/// Text is written as it is. A spreadsheet takes a key or category that begins with `=`, `+`, `-` or
/// `@` for a formula; open files with records of others as text.
///
/// # Errors
/// If writing fails.
pub fn csv(record: &Record, out: &mut impl Write) -> io::Result<()> {
    csv_field(record.key_bytes(), out)?;
    out.write_all(b",")?;
    csv_field(record.value(), out)?;
    out.write_all(b",")?;
    csv_field(record.category().as_bytes(), out)?;
    write!(out, ",{},{},", record.seq(), record.updated_at())?;
    if let Some(at) = record.expires_at() {
        write!(out, "{at}")?;
    }
    out.write_all(b"\n")
}

/// A field, in quotation marks if it has a character that would end it. No field is empty, and none
/// has a line end: keys and categories have no control characters, and JSON escapes them.
fn csv_field(mut field: &[u8], out: &mut impl Write) -> io::Result<()> {
    if memchr::memchr2(b',', b'"', field).is_none() {
        return out.write_all(field);
    }
    out.write_all(b"\"")?;
    while let Some(quote) = memchr::memchr(b'"', field) {
        out.write_all(&field[..=quote])?;
        out.write_all(b"\"")?;
        field = &field[quote + 1..];
    }
    out.write_all(field)?;
    out.write_all(b"\"")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::import::{CsvOptions, Format, Rows};
    use hotread_proto::{Hasher, Key, Put, Timestamp, Value};
    use proptest::prelude::*;

    fn record(put: &Put) -> Record {
        let (category, at) = (&put.category, Timestamp::from_millis(1).unwrap());
        Record::new(
            &put.key,
            &put.value,
            category,
            7,
            at,
            put.expires_at,
            &Hasher::PLAIN,
        )
    }

    fn put(key: &str, json: &str) -> Put {
        Put::new(
            Key::new(key).unwrap(),
            Value::parse(json.as_bytes()).unwrap(),
        )
    }

    fn written(write: impl FnOnce(&mut Vec<u8>) -> io::Result<()>) -> String {
        let mut out = Vec::new();
        write(&mut out).unwrap();
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn what_goes_without_saying_is_left_out() {
        let plain = put("a\"b", "[1.0]");
        let full = Put {
            category: Category::new("c").unwrap(),
            expires_at: Some(Timestamp::from_millis(2_000).unwrap()),
            ..plain.clone()
        };
        assert_eq!(
            written(|out| ndjson(&record(&plain), out)),
            "{\"key\":\"a\\\"b\",\"value\":[1.0]}\n"
        );
        assert_eq!(
            written(|out| ndjson(&record(&full), out)),
            "{\"key\":\"a\\\"b\",\"value\":[1.0],\"category\":\"c\",\
             \"expires_at\":\"1970-01-01T00:00:02.000Z\"}\n"
        );
        assert_eq!(
            written(|out| csv(&record(&full), out)),
            "\"a\"\"b\",[1.0],c,7,1970-01-01T00:00:00.001Z,1970-01-01T00:00:02.000Z\n"
        );
        assert_eq!(
            written(|out| csv(&record(&put("k", "{\"a\":1,\"b\":2}")), out)),
            "k,\"{\"\"a\"\":1,\"\"b\"\":2}\",general,7,1970-01-01T00:00:00.001Z,\n"
        );
    }

    /// Texts that are hard on quoting.
    fn text() -> impl Strategy<Value = String> {
        "[a-c\",;#'\\\\ \u{e4}\u{feff}\u{2028}\u{1f600}=]{1,12}"
    }

    fn puts() -> impl Strategy<Value = Vec<Put>> {
        let value = prop_oneof![
            text().prop_map(|text| Value::string(&text).unwrap()),
            (text(), any::<f64>(), any::<i64>()).prop_map(|(name, x, n)| {
                let json = serde_json::json!({ name: [x, null, n, true, "\n\r\u{0}"] });
                Value::serialize(&json).unwrap()
            }),
        ];
        let expires_at = prop::option::of(0..=Timestamp::MAX.millis());
        let put = (text(), value, prop::option::of(text()), expires_at).prop_map(
            |(key, value, category, at)| Put {
                key: Key::new(&key).unwrap(),
                value,
                category: category.map_or(Category::GENERAL, |c| Category::new(&c).unwrap()),
                expires_at: at.map(|at| Timestamp::from_millis(at).unwrap()),
            },
        );
        prop::collection::vec(put, 0..8)
    }

    fn read(file: &str, format: Format) -> Vec<Put> {
        let mut rows = Rows::new(file.as_bytes(), format).unwrap();
        let next = || rows.next_row().unwrap().map(|row| row.unwrap().put);
        std::iter::from_fn(next).collect()
    }

    proptest! {
        #[test]
        fn what_is_exported_is_imported_again(puts in puts()) {
            let mut file = Vec::new();
            for put in &puts {
                ndjson(&record(put), &mut file).unwrap();
            }
            let file = String::from_utf8(file).unwrap();
            prop_assert_eq!(read(&file, Format::Ndjson), puts);
        }

        #[test]
        fn csv_gives_each_field_back(puts in puts()) {
            let file = written(|out| {
                csv_header(out)?;
                puts.iter().try_for_each(|put| csv(&record(put), out))
            });
            let read = read(&file, Format::Csv(CsvOptions::new("key")));
            prop_assert_eq!(read.len(), puts.len());
            for (read, put) in read.iter().zip(&puts) {
                let expires_at = put.expires_at.map(|at| at.to_string()).unwrap_or_default();
                prop_assert_eq!(&read.key, &put.key);
                prop_assert_eq!(read.value.to::<serde_json::Value>().unwrap(), serde_json::json!({
                    "value": put.value.as_str(),
                    "category": put.category.as_str(),
                    "seq": "7",
                    "updated_at": "1970-01-01T00:00:00.001Z",
                    "expires_at": expires_at,
                }));
            }
        }

        /// The form with all fields, as the server answers it, is read as well.
        #[test]
        fn records_as_json_are_imported(puts in puts()) {
            let lines = puts.iter().map(|put| serde_json::to_string(&record(put)).unwrap() + "\r\n");
            let file: String = lines.collect();
            prop_assert_eq!(read(&file, Format::Ndjson), puts);
        }
    }
}
