//! Imports of good, bad and endless files.

mod fields;
mod json;
mod text;
mod types;

use super::*;
use hotread_proto::limits::MAX_VALUE_BYTES;
use hotread_proto::{Category, InvalidName, InvalidValue};
use proptest::prelude::*;
use std::collections::BTreeMap;
use std::io::{self, Cursor, Read};
use std::path::Path;

fn csv(key: &str) -> Options {
    Options::new(Format::Fields).key(key)
}

fn ndjson() -> Options {
    Options::new(Format::Ndjson)
}

fn array() -> Options {
    Options::new(Format::Json)
}

/// The limit that the documentation states.
const MOST_MEMORY_BYTES: usize = 48 << 20;

type Read1 = Result<(u64, String, String), RowError>;

fn open<'a>(file: impl Read + 'a, options: &Options) -> Result<Rows<'a>, ImportError> {
    Rows::new(Input::new(file, None)?, options)
}

fn read(file: impl AsRef<[u8]>, options: Options) -> Vec<Read1> {
    let mut rows = open(file.as_ref(), &options).unwrap();
    let mut read = Vec::new();
    while let Some(row) = rows.next_row().unwrap() {
        read.push(
            row.map(|Row { at, put }| {
                (at.line, put.key.to_string(), put.value.as_str().to_owned())
            }),
        );
    }
    assert!(rows.buffered() < MOST_MEMORY_BYTES, "{}", rows.buffered());
    assert!(rows.next_row().unwrap().is_none());
    read
}

/// Keys and values of a file without bad rows.
fn all(file: impl AsRef<[u8]>, options: Options) -> Vec<(String, String)> {
    let rows = read(file, options).into_iter().map(Result::unwrap);
    rows.map(|(_, key, value)| (key, value)).collect()
}

fn good(line: u64, key: &str, value: &str) -> Read1 {
    Ok((line, key.to_owned(), value.to_owned()))
}

fn bad(line: u64, reason: RowReason) -> Read1 {
    let at = At::line(line);
    Err(RowError { at, reason })
}

/// The error that ends the file, and the number of rows before it.
fn fatal(file: impl Read, options: Options) -> (usize, ImportError) {
    let mut rows = match open(file, &options) {
        Ok(rows) => rows,
        Err(e) => return (0, e),
    };
    let mut seen = 0;
    loop {
        match rows.next_row() {
            Ok(row) => assert!(row.is_some(), "it should have ended with an error"),
            Err(e) => {
                assert!(rows.next_row().unwrap().is_none());
                return (seen, e);
            }
        }
        seen += 1;
        assert!(rows.buffered() < MOST_MEMORY_BYTES, "{}", rows.buffered());
    }
}

#[test]
fn rows_that_are_too_long_are_skipped() {
    // The limit of values precedes that of rows: a value in a valid row may still be too large.
    let long = "x".repeat(MAX_ROW_BYTES);
    let file = format!("key,v\na,1\n{long},2\nb,\"{long}\n\n\",1\n\"{long}\"\nc,3\n");
    assert_eq!(
        read(file, csv("key")),
        [
            good(2, "a", r#"{"v":"1"}"#),
            bad(3, RowReason::TooLong),
            bad(4, RowReason::TooLong),
            bad(7, RowReason::TooLong),
            good(8, "c", r#"{"v":"3"}"#),
        ]
    );
    let commas = ",".repeat(MAX_ROW_BYTES - 1);
    let found = MAX_ROW_BYTES;
    assert_eq!(
        read(format!("key,v\n{commas}\nc,3\n"), csv("key")),
        [
            bad(2, RowReason::Fields { found, expected: 2 }),
            good(3, "c", r#"{"v":"3"}"#)
        ]
    );
    let line = r#"{"key":"a","value":1}"#;
    let file = format!("{line}\n\"{long}\n{line}\n{long}{long}\n{line}\n{long}x");
    assert_eq!(
        read(file, ndjson()),
        [
            good(1, "a", "1"),
            bad(2, RowReason::TooLong),
            good(3, "a", "1"),
            bad(4, RowReason::TooLong),
            good(5, "a", "1"),
            bad(6, RowReason::TooLong),
        ]
    );
    let exact = format!("{line}{}", " ".repeat(MAX_ROW_BYTES - line.len()));
    assert_eq!(read(exact, ndjson()), [good(1, "a", "1")]);
}

#[test]
fn values_that_are_too_large_are_skipped() {
    // Each character becomes six in JSON.
    let long = "\u{1}".repeat(MAX_VALUE_BYTES / 2);
    let file = format!("a,key,b\n{long}{long},k,\n{long},l,{long}\n{long},m,\n1,n,\n");
    let too_large = |row: &Read1| {
        let error = row.as_ref().unwrap_err();
        assert!(matches!(
            error.reason,
            RowReason::Value(InvalidValue::TooLarge { .. })
        ));
        error.at.line
    };
    let rows = read(file, csv("key"));
    assert_eq!(
        rows[..3].iter().map(too_large).collect::<Vec<_>>(),
        [2, 3, 4]
    );
    assert_eq!(rows[3], good(5, "n", r#"{"a":"1","b":""}"#));

    let line = format!(
        "{{\"key\":\"k\",\"value\":\"{}\"}}\n",
        "x".repeat(MAX_VALUE_BYTES)
    );
    assert_eq!(too_large(&read(line, ndjson())[0]), 1);
}

#[test]
fn endless_input_ends_in_an_error() {
    for (start, byte, format) in [
        ("", b'x', csv("key")),
        ("key,v\na,1\n", b',', csv("key")),
        ("key,v\na,1\n\"", b'x', csv("key")),
        ("", b'x', ndjson()),
        ("{\"key\":\"a\",\"value\":1}\n{", b' ', ndjson()),
    ] {
        let (rows, error) = fatal(Cursor::new(start).chain(io::repeat(byte)), format);
        assert_eq!(rows, usize::from(!start.is_empty()), "{start:?} {byte}");
        assert!(matches!(error, ImportError::Endless { .. }), "{error}");
    }
    let options = Options {
        comment: Some("#".to_owned()),
        ..csv("key")
    };
    let (_, error) = fatal(io::repeat(b'#'), options);
    assert!(matches!(error, ImportError::Endless { line: 1 }));
}

#[test]
fn reading_fails_as_the_reader_does() {
    struct Broken;
    impl Read for Broken {
        fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
            Err(io::Error::other("unplugged"))
        }
    }
    for (start, format) in [
        ("key,v\na,1\nb,2", csv("key")),
        (
            "{\"key\":\"a\",\"value\":1}\n{\"key\":\"b\",\"value\":1}",
            ndjson(),
        ),
    ] {
        let (rows, error) = fatal(Cursor::new(start).chain(Broken), format);
        assert_eq!(rows, 1, "what was not read to its end is no row");
        assert!(matches!(error, ImportError::Io(_)));
    }
    assert!(matches!(fatal(Broken, ndjson()).1, ImportError::Io(_)));
}

/// Bytes, many of which have a special meaning.
fn bytes() -> impl Strategy<Value = Vec<u8>> {
    let byte = prop_oneof![
        4 => prop::sample::select(&b"\r\n\"\",;#{}:a\\\xef\xbb\xbf"[..]),
        1 => any::<u8>(),
    ];
    let parts = prop::sample::select(vec![
        &b"key"[..],
        b"sep=;",
        b"[{\"a\":",
        b"}]",
        b"\"rows\":[",
        b"\xff\xfe",
        b"true",
        b"1.5",
        b"\"key\":",
        b"\"value\":",
        b"{\"key\":\"a\",\"value\":1}\n",
        b"key,v\n",
        b"\n",
        b"\xef\xbb\xbf",
    ]);
    let part = prop_oneof![
        byte.prop_map(|byte| vec![byte]),
        parts.prop_map(<[u8]>::to_vec)
    ];
    let parts = prop::collection::vec(part, 0..48).prop_map(|parts| parts.concat());
    (any::<u8>(), parts).prop_map(|(first, rest)| [vec![first], rest].concat())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    #[test]
    fn any_bytes_are_read_alike_in_pieces(data in bytes()) {
        exercise::rows(&data);
    }
}
