//! What imports make of good, bad and endless files.

use super::*;
use hotread_proto::limits::MAX_VALUE_BYTES;
use hotread_proto::{Category, InvalidName, InvalidValue};
use proptest::prelude::*;
use std::io::{self, Cursor};

fn csv(key: &str) -> Format {
    Format::Csv(CsvOptions::new(key))
}

/// What the documentation promises.
const MOST_MEMORY_BYTES: usize = 32 << 20;

type Read1 = Result<(u64, String, String), RowError>;

fn read(file: impl AsRef<[u8]>, format: Format) -> Vec<Read1> {
    let mut rows = Rows::new(file.as_ref(), format).unwrap();
    let mut read = Vec::new();
    while let Some(row) = rows.next_row().unwrap() {
        read.push(
            row.map(|Row { line, put }| (line, put.key.to_string(), put.value.as_str().to_owned())),
        );
    }
    assert!(rows.buffered() < MOST_MEMORY_BYTES, "{}", rows.buffered());
    assert_eq!(rows.bytes_read(), file.as_ref().len() as u64);
    assert!(rows.next_row().unwrap().is_none());
    read
}

fn good(line: u64, key: &str, value: &str) -> Read1 {
    Ok((line, key.to_owned(), value.to_owned()))
}

fn bad(line: u64, reason: RowReason) -> Read1 {
    Err(RowError { line, reason })
}

/// The error that ends the file, after how many rows.
fn fatal(file: impl Read, format: Format) -> (usize, ImportError) {
    let mut rows = match Rows::new(file, format) {
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
fn csv_columns_become_members_in_their_order() {
    let file = "b,key,a\n1,k,\n\"x \"\"y\"\", z\",l,ä\\\n";
    assert_eq!(
        read(file, csv("key")),
        [
            good(2, "k", r#"{"b":"1","a":""}"#),
            good(3, "l", r#"{"b":"x \"y\", z","a":"ä\\"}"#),
        ]
    );
    assert_eq!(read("key\nk", csv("key")), [good(2, "k", "{}")]);
}

#[test]
fn a_row_is_on_the_line_on_which_it_begins() {
    for end in ["\n", "\r\n", "\r"] {
        let file = [
            "\u{feff}key,v",
            "",
            "a,\"1",
            "2",
            "\"",
            "",
            "#c",
            "b,3",
            "x",
            "c,4",
        ]
        .join(end);
        let format = Format::Csv(CsvOptions {
            comment: Some(b'#'),
            ..CsvOptions::new("key")
        });
        let text = serde_json::to_string(&format!("1{end}2{end}")).unwrap();
        let fields = RowReason::Fields {
            found: 1,
            expected: 2,
        };
        assert_eq!(
            read(file, format),
            [
                good(3, "a", &format!("{{\"v\":{text}}}")),
                good(8, "b", r#"{"v":"3"}"#),
                bad(9, fields),
                good(10, "c", r#"{"v":"4"}"#),
            ],
            "{end:?}"
        );
    }
    let lines = "\u{feff}\n\r\n{\"key\":\"a\",\"value\":1}\r\n \nx\n{\"key\":\"b\",\"value\":2}";
    let rows = read(lines, Format::Ndjson);
    assert_eq!(rows[0], good(3, "a", "1"));
    assert!(matches!(rows[1], Err(RowError { line: 5, .. })));
    assert_eq!(rows[2], good(6, "b", "2"));
}

#[test]
fn files_without_a_header_are_given_names() {
    let format = Format::Csv(CsvOptions {
        columns: Some(["start", "end", "country"].map(str::to_owned).to_vec()),
        delimiter: b';',
        comment: Some(b'#'),
        ..CsvOptions::new("start")
    });
    assert_eq!(
        read("# IPv4\n1;2;DE\n#\n3;4;\"#\"", format.clone()),
        [
            good(2, "1", r#"{"end":"2","country":"DE"}"#),
            good(4, "3", r##"{"end":"4","country":"#"}"##),
        ]
    );
    assert_eq!(read("", format), []);
}

#[test]
fn bad_rows_of_csv_say_why() {
    let file = b"key,name\na\nb,1,2,3,4\n,x\n..,x\n\xff,x\nc,ab\xff\nd,ok\n";
    let not_utf8 = |column: &str, at| RowReason::NotUtf8 {
        column: column.to_owned(),
        at,
    };
    let fields = |found| RowReason::Fields { found, expected: 2 };
    assert_eq!(
        read(file, csv("key")),
        [
            bad(2, fields(1)),
            bad(3, fields(5)),
            bad(4, InvalidName::Empty { what: "key" }.into()),
            bad(5, InvalidName::Dots.into()),
            bad(6, not_utf8("key", 0)),
            bad(7, not_utf8("name", 2)),
            good(8, "d", r#"{"name":"ok"}"#),
        ]
    );
}

#[test]
fn headers_and_options_are_checked() {
    let error = |file: &str, format| fatal(file.as_bytes(), format).1.to_string();
    assert_eq!(
        error("a,b\n", csv("c")),
        r#"no column is named "c"; name one of "a", "b""#
    );
    assert!(error(",b\n", csv("")).contains(r#"name one of "", "b""#));
    assert!(error("", csv("a")).contains("no header"));
    assert!(error("\n\r\n", csv("a")).contains("no header"));
    assert!(error("a,b,a\n", csv("b")).contains(r#"two columns are named "a""#));
    assert!(error(&",".repeat(MAX_COLUMNS), csv("b")).contains("4097 columns"));
    assert!(error(&"a".repeat(MAX_ROW_BYTES + 1), csv("b")).contains("header has more"));
    let names: Vec<_> = (0..99).map(|n| n.to_string()).collect();
    assert!(error(&names.join(","), csv("b")).ends_with(r#""19" and 79 more"#));
    assert!(matches!(
        fatal(&b"a,\xff\n"[..], csv("a")).1,
        ImportError::ColumnNotUtf8 { number: 2 }
    ));
    for (delimiter, comment, byte) in [
        (b'"', None, b'"'),
        (b'\n', None, b'\n'),
        (0xe4, None, 0xe4),
        (b',', Some(b','), b','),
        (b',', Some(b'\r'), b'\r'),
    ] {
        let options = CsvOptions {
            delimiter,
            comment,
            ..CsvOptions::new("a")
        };
        let error = fatal(&b"a\n"[..], Format::Csv(options)).1;
        assert!(matches!(error, ImportError::InvalidOptions { byte: b } if b == byte));
    }
}

#[test]
fn a_quote_that_is_never_closed_is_no_record() {
    let (rows, error) = fatal(&b"key,v\na,1\nb,\"2\nc,3\n"[..], csv("key"));
    assert_eq!(rows, 1);
    assert!(matches!(error, ImportError::UnclosedQuote { line: 3 }));
    // Closed by the last byte, and a quote that is none.
    assert_eq!(read("key,v\na,\"1\"", csv("key")).len(), 1);
    assert_eq!(
        read("key,v\na,5\"", csv("key")),
        [good(2, "a", r#"{"v":"5\""}"#)]
    );
}

#[test]
fn lines_of_json_keep_what_they_say() {
    let line = br#" { "seq": 7, "h": {"x": []}, "value": {"b": 1.0, "a": "\u0041"},
        "expires_at": "2026-11-21T09:30:00Z", "updated_at": null, "category": "c\u0061t",
        "key": "k\/1" } "#;
    let line: Vec<u8> = line.iter().copied().filter(|&b| b != b'\n').collect();
    let mut rows = Rows::new(&line[..], Format::Ndjson).unwrap();
    let put = rows.next_row().unwrap().unwrap().unwrap().put;
    assert_eq!(put.key.as_str(), "k/1");
    assert_eq!(put.value.as_str(), r#"{"b":1.0,"a":"\u0041"}"#);
    assert_eq!(put.category.as_str(), "cat");
    assert_eq!(put.expires_at.unwrap().millis(), 1_795_253_400_000);

    let line = br#"{"key":"a","value":null,"expires_at":1795253400000}"#;
    let mut rows = Rows::new(&line[..], Format::Ndjson).unwrap();
    let put = rows.next_row().unwrap().unwrap().unwrap().put;
    assert_eq!(put.value.as_str(), "null");
    assert_eq!(put.category, Category::GENERAL);
    assert_eq!(put.expires_at.unwrap().millis(), 1_795_253_400_000);
}

#[test]
fn bad_lines_of_json_say_why() {
    let reason = |line: &str| match &read(line, Format::Ndjson)[..] {
        [Err(RowError { line: 1, reason })] => reason.clone(),
        other => panic!("{line}: {other:?}"),
    };
    for (line, text) in [
        (
            r#"{"key":"a","value":1,}"#,
            "not JSON: trailing comma at column 22; write one object on each line",
        ),
        (
            r#"{"key":"a""#,
            "not JSON: EOF while parsing an object at column 10; write one object on each line",
        ),
        (
            r#"{"key":"a","value":1} {}"#,
            "not JSON: trailing characters at column 23; write one object on each line",
        ),
        (
            r#""secret""#,
            r#"not a JSON object; write {"key": …, "value": …} on each line"#,
        ),
        (
            r#"{"value":1}"#,
            r#"the field "key" is missing; each line needs a key and a value"#,
        ),
        (
            r#"{"key":"a"}"#,
            r#"the field "value" is missing; each line needs a key and a value"#,
        ),
        (
            r#"{"key":"a","key":"b","value":1}"#,
            r#"the field "key" is there twice; remove one"#,
        ),
        (
            r#"{"key":"a","value":1,"ttl\n":5}"#,
            r#"the field "ttl\n" is not known; put it into the value, or remove it"#,
        ),
        (
            r#"{"key":5,"value":1}"#,
            r#"the field "key" is not a string; quote it"#,
        ),
        (
            r#"{"key":"a","value":1,"category":null}"#,
            r#"the field "category" is not a string; quote it"#,
        ),
        (
            r#"{"key":"","value":1}"#,
            "the key is empty; give at least one character",
        ),
        (
            r#"{"key":"a","value":1,"category":""}"#,
            "the category is empty; give at least one character",
        ),
        (
            r#"{"key":"a","value":1,"expires_at":"soon"}"#,
            "expires_at: \"soon\" is not a time between 1970 and 9999; give milliseconds since 1970 or RFC 3339, such as 2026-11-21T09:30:00Z",
        ),
    ] {
        assert_eq!(reason(line).to_string(), text);
    }
    let deep = format!(
        r#"{{"key":"a","value":{}1{}}}"#,
        "[".repeat(101),
        "]".repeat(101)
    );
    assert_eq!(reason(&deep), InvalidValue::TooDeep.into());
    for time in ["1.5", "-1", "[]", "true"] {
        let line = format!(r#"{{"key":"a","value":1,"expires_at":{time}}}"#);
        assert!(matches!(reason(&line), RowReason::Time(_)), "{time}");
    }
    for lone in [
        r#"{"key":"\ud800","value":1}"#,
        r#"{"key":"a","value":"\ud800"}"#,
        "{\"key\":\"a\tb\",\"value\":1}",
    ] {
        let reason = reason(lone);
        let refused = matches!(reason, RowReason::NotJson { .. } | RowReason::Value(_));
        assert!(refused, "{lone} {reason:?}");
    }
    assert!(matches!(
        read(b"{\"key\":\"\xff\",\"value\":1}", Format::Ndjson)[..],
        [Err(RowError {
            reason: RowReason::NotJson { .. },
            ..
        })]
    ));
}

#[test]
fn rows_that_are_too_long_are_skipped() {
    // Values are limited before rows are; what fits in a row may still be too large for a value.
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
        read(file, Format::Ndjson),
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
    assert_eq!(read(exact, Format::Ndjson), [good(1, "a", "1")]);
}

#[test]
fn values_that_are_too_large_are_skipped() {
    // Each character takes six as JSON.
    let long = "\u{1}".repeat(MAX_VALUE_BYTES / 2);
    let file = format!("a,key,b\n{long}{long},k,\n{long},l,{long}\n{long},m,\n1,n,\n");
    let too_large = |row: &Read1| {
        let error = row.as_ref().unwrap_err();
        assert!(matches!(
            error.reason,
            RowReason::Value(InvalidValue::TooLarge { .. })
        ));
        error.line
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
    assert_eq!(too_large(&read(line, Format::Ndjson)[0]), 1);
}

#[test]
fn endless_input_ends_in_an_error() {
    for (start, byte, format) in [
        ("", b'x', csv("key")),
        ("key,v\na,1\n", b',', csv("key")),
        ("key,v\na,1\n\"", b'x', csv("key")),
        ("", b'x', Format::Ndjson),
        ("{\"key\":\"a\",\"value\":1}\n{", b' ', Format::Ndjson),
    ] {
        let (rows, error) = fatal(Cursor::new(start).chain(io::repeat(byte)), format);
        assert_eq!(rows, usize::from(!start.is_empty()), "{start:?} {byte}");
        assert!(matches!(error, ImportError::Endless { .. }), "{error}");
    }
    let options = CsvOptions {
        comment: Some(b'#'),
        ..CsvOptions::new("key")
    };
    let (_, error) = fatal(io::repeat(b'#'), Format::Csv(options));
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
            Format::Ndjson,
        ),
    ] {
        let (rows, error) = fatal(Cursor::new(start).chain(Broken), format);
        assert_eq!(rows, 1, "what was not read to its end is no row");
        assert!(matches!(error, ImportError::Io(_)));
    }
    assert!(matches!(
        fatal(Broken, Format::Ndjson).1,
        ImportError::Io(_)
    ));
}

#[test]
fn endings_promise_formats() {
    let guess = |name: &str| Format::guess(Path::new(name));
    assert_eq!(guess("a/b.csv"), Some(csv("")));
    assert!(matches!(guess("b.TSV"), Some(Format::Csv(o)) if o.delimiter == b'\t'));
    assert_eq!(guess("b.jsonl"), Some(Format::Ndjson));
    assert_eq!(guess("b.ndjson"), Some(Format::Ndjson));
    assert_eq!(guess("b.json"), None);
    assert_eq!(guess("csv"), None);
}

/// Bytes of which many mean something.
fn bytes() -> impl Strategy<Value = Vec<u8>> {
    let byte = prop_oneof![
        4 => prop::sample::select(&b"\r\n\"\",;#{}:a\\\xef\xbb\xbf"[..]),
        1 => any::<u8>(),
    ];
    let parts = prop::sample::select(vec![
        &b"key"[..],
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

proptest! {
    /// Against a writer that quotes everything, as RFC 4180 allows.
    #[test]
    fn fields_are_read_as_they_were_written(
        names in prop::collection::hash_set("\\PC{0,6}", 1..6),
        rows in prop::collection::vec(prop::collection::vec("(?s:[\"\r\n,a]|.){0,10}", 6), 0..10),
        end in prop::sample::select(vec!["\n", "\r\n", "\r"]),
    ) {
        let quoted = |fields: &mut dyn Iterator<Item = &String>| {
            let fields: Vec<_> =
                fields.map(|field| format!("\"{}\"", field.replace('"', "\"\""))).collect();
            fields.join(",") + end
        };
        let mut columns = vec!["the key".to_owned()];
        columns.extend(names);
        let mut file = quoted(&mut columns.iter());
        let keys: Vec<_> = (0..rows.len()).map(|n| n.to_string()).collect();
        for (key, row) in keys.iter().zip(&rows) {
            file += &quoted(&mut std::iter::once(key).chain(&row[1..columns.len()]));
        }
        let read = read(file, csv("the key"));
        prop_assert_eq!(read.len(), rows.len());
        for (n, row) in read.into_iter().enumerate() {
            let (_, key, value) = row.unwrap();
            prop_assert_eq!(&key, &keys[n]);
            let value: serde_json::Value = serde_json::from_str(&value).unwrap();
            prop_assert_eq!(value.as_object().unwrap().len(), columns.len() - 1);
            for (column, text) in columns.iter().zip(&rows[n]).skip(1) {
                prop_assert_eq!(value[column].as_str().unwrap(), text);
            }
        }
    }
}
