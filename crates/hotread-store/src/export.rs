//! Writes records to files, which an [`import`](crate::import) reads back byte for byte: JSON, by lines
//! or as an array, and CSV or TSV.
//!
//! A record is written piece by piece, without an allocation or a copy beyond the writer's own; the
//! writer should be buffered.

use crate::staging::Staging;
use hotread_proto::{Category, Record};
use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::Path;

/// Size of the buffer of a file.
const BUFFER_BYTES: usize = 64 << 10;

/// Writes a file that appears under its name only when it is complete and on disk, and then replaces a
/// file with that name, unless `write` fails. Only its owner may read it. A device or a pipe is written
/// directly.
///
/// # Errors
/// If `write` fails, or the file cannot be written. A file with that name is unchanged then.
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

/// Columns of records as CSV and TSV. A file that has these columns is read as records; `seq` and
/// `updated_at` are not read.
pub const CSV_COLUMNS: [&str; 6] = [
    "key",
    "value",
    "category",
    "seq",
    "updated_at",
    "expires_at",
];

/// Formats of exported records.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// A line `{"key", "value", "category"?, "expires_at"?}` for each record.
    Ndjson,
    /// An array of such objects.
    Json,
    /// A header, [`CSV_COLUMNS`], and a line for each record: the value as JSON, times as RFC 3339, the
    /// last one empty if the record does not expire. Fields are quoted where they need to be.
    ///
    /// Text is written unchanged. A spreadsheet interprets a key or category that begins with `=`, `+`,
    /// `-` or `@` as a formula; open files with records of others as text.
    Csv,
    /// The same with tabs between fields.
    Tsv,
}

/// Writes records. An import of the output results in the same keys, values, categories and expiries,
/// byte for byte.
///
/// # Errors
/// If writing fails.
pub fn write<'a>(
    format: Format,
    records: impl IntoIterator<Item = &'a Record>,
    out: &mut impl Write,
) -> io::Result<()> {
    let mut records = records.into_iter();
    let delimiter = match format {
        Format::Ndjson => {
            return records.try_for_each(|record| {
                json(record, out)?;
                out.write_all(b"\n")
            });
        }
        Format::Json => {
            let mut before: &[u8] = b"[\n";
            for record in records {
                out.write_all(before)?;
                json(record, out)?;
                before = b",\n";
            }
            return out.write_all(if before == b"[\n" { b"[]\n" } else { b"\n]\n" });
        }
        Format::Csv => b',',
        Format::Tsv => b'\t',
    };
    let separator = [delimiter];
    for (at, column) in CSV_COLUMNS.into_iter().enumerate() {
        out.write_all(if at > 0 { &separator } else { b"" })?;
        out.write_all(column.as_bytes())?;
    }
    out.write_all(b"\n")?;
    records.try_for_each(|record| line(record, delimiter, out))
}

/// Writes an object. The category is omitted if it is `general`.
fn json(record: &Record, out: &mut impl Write) -> io::Result<()> {
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
    out.write_all(b"}")
}

/// Writes a line of fields.
fn line(record: &Record, delimiter: u8, out: &mut impl Write) -> io::Result<()> {
    let category = record.category().as_bytes();
    for text in [record.key_bytes(), record.value(), category] {
        field(text, delimiter, out)?;
        out.write_all(&[delimiter])?;
    }
    let (between, seq, at) = (char::from(delimiter), record.seq(), record.updated_at());
    write!(out, "{seq}{between}{at}{between}")?;
    if let Some(at) = record.expires_at() {
        write!(out, "{at}")?;
    }
    out.write_all(b"\n")
}

/// Writes a field, in quotation marks if it contains the delimiter or a quote. Fields are never empty
/// and contain no line ends: keys and categories have no control characters, and JSON escapes them.
fn field(mut text: &[u8], delimiter: u8, out: &mut impl Write) -> io::Result<()> {
    if memchr::memchr2(delimiter, b'"', text).is_none() {
        return out.write_all(text);
    }
    out.write_all(b"\"")?;
    while let Some(quote) = memchr::memchr(b'"', text) {
        out.write_all(&text[..=quote])?;
        out.write_all(b"\"")?;
        text = &text[quote + 1..];
    }
    out.write_all(text)?;
    out.write_all(b"\"")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::import::{self, Delimiter, Input, Options, Rows};
    use hotread_proto::{Hasher, Key, Put, Timestamp, Value};
    use proptest::prelude::*;

    const FORMATS: [Format; 4] = [Format::Ndjson, Format::Json, Format::Csv, Format::Tsv];

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

    fn written(format: Format, puts: &[Put]) -> String {
        let records: Vec<_> = puts.iter().map(record).collect();
        let mut out = Vec::new();
        write(format, &records, &mut out).unwrap();
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
        let puts = [plain, full, put("k", "{\"a\":1,\"b\":2}")];
        let objects = [
            "{\"key\":\"a\\\"b\",\"value\":[1.0]}",
            "{\"key\":\"a\\\"b\",\"value\":[1.0],\"category\":\"c\",\
             \"expires_at\":\"1970-01-01T00:00:02.000Z\"}",
            "{\"key\":\"k\",\"value\":{\"a\":1,\"b\":2}}",
        ];
        assert_eq!(written(Format::Ndjson, &puts), objects.join("\n") + "\n");
        let array = format!("[\n{}\n]\n", objects.join(",\n"));
        assert_eq!(written(Format::Json, &puts), array);
        assert_eq!(written(Format::Json, &[]), "[]\n");
        assert_eq!(
            written(Format::Csv, &puts[1..]),
            "key,value,category,seq,updated_at,expires_at\n\
             \"a\"\"b\",[1.0],c,7,1970-01-01T00:00:00.001Z,1970-01-01T00:00:02.000Z\n\
             k,\"{\"\"a\"\":1,\"\"b\"\":2}\",general,7,1970-01-01T00:00:00.001Z,\n"
        );
        assert_eq!(
            written(Format::Tsv, &puts[..1]),
            "key\tvalue\tcategory\tseq\tupdated_at\texpires_at\n\
             \"a\"\"b\"\t[1.0]\tgeneral\t7\t1970-01-01T00:00:00.001Z\t\n"
        );
    }

    /// Texts that are difficult to quote.
    fn text() -> impl Strategy<Value = String> {
        "[a-c\",;#'\\\\ \u{e4}\u{feff}\u{2028}\u{1f600}=\\[{]{1,12}"
    }

    /// Any text, with control characters, and empty ones.
    fn string() -> impl Strategy<Value = String> {
        prop_oneof![
            text(),
            "(?s:.){0,6}",
            "[\u{0}-\u{1f}\u{7f}-\u{9f}\"\\\\]{0,6}"
        ]
    }

    /// A number in any form that JSON has.
    fn number() -> impl Strategy<Value = String> {
        "-?(0|[1-9][0-9]{0,24})(\\.[0-9]{1,20})?([eE][+-]?[0-9]{1,2})?"
    }

    fn json() -> impl Strategy<Value = String> {
        let leaf = prop_oneof![
            Just("null".to_owned()),
            any::<bool>().prop_map(|truth| truth.to_string()),
            number(),
            string().prop_map(|text| serde_json::to_string(&text).unwrap()),
            Just("\"\\u0041\\/\\ud83d\\ude00\"".to_owned()),
        ];
        leaf.prop_recursive(3, 16, 4, |inner| {
            let name = prop::sample::select(vec!["a", "b", "", "key", "value", "\\n"]);
            let members = prop::collection::btree_map(name, inner.clone(), 0..4);
            let object = members.prop_map(|members| {
                let members = members
                    .iter()
                    .map(|(name, value)| format!("\"{name}\":{value}"));
                format!("{{{}}}", members.collect::<Vec<_>>().join(","))
            });
            let array = prop::collection::vec(inner, 0..4)
                .prop_map(|items| format!("[{}]", items.join(",")));
            prop_oneof![object, array]
        })
    }

    fn puts() -> impl Strategy<Value = Vec<Put>> {
        let expires_at = prop::option::of(0..=Timestamp::MAX.millis());
        let put = (text(), json(), prop::option::of(text()), expires_at).prop_map(
            |(key, json, category, at)| Put {
                key: Key::new(&key).unwrap(),
                value: Value::parse(json.as_bytes()).unwrap(),
                category: category.map_or(Category::GENERAL, |c| Category::new(&c).unwrap()),
                expires_at: at.map(|at| Timestamp::from_millis(at).unwrap()),
            },
        );
        prop::collection::vec(put, 0..8)
    }

    fn read(file: &str, format: Format) -> Vec<Put> {
        let mut options = Options::new(match format {
            Format::Ndjson => import::Format::Ndjson,
            Format::Json => import::Format::Json,
            Format::Csv | Format::Tsv => import::Format::Fields,
        });
        if format == Format::Tsv {
            options.delimiter = Some(Delimiter::Byte(b'\t'));
        }
        let mut rows = Rows::new(Input::new(file.as_bytes(), None).unwrap(), &options).unwrap();
        let next = || rows.next_row().unwrap().map(|row| row.unwrap().put);
        std::iter::from_fn(next).collect()
    }

    proptest! {
        #[test]
        fn what_is_exported_is_imported_again(puts in puts()) {
            for format in FORMATS {
                prop_assert_eq!(&read(&written(format, &puts), format), &puts, "{:?}", format);
            }
        }

        /// The form with all fields, as in the server's answers, is read as well.
        #[test]
        fn records_as_json_are_imported(puts in puts()) {
            let lines = puts.iter().map(|put| serde_json::to_string(&record(put)).unwrap() + "\r\n");
            let file: String = lines.collect();
            prop_assert_eq!(read(&file, Format::Ndjson), puts);
        }
    }
}
