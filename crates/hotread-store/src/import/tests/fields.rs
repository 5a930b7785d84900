//! Rows of fields.

use super::*;

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
        let format = Options {
            comment: Some("#".to_owned()),
            ..csv("key")
        };
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
    let rows = read(lines, ndjson());
    assert_eq!(rows[0], good(3, "a", "1"));
    assert!(matches!(
        rows[1],
        Err(RowError {
            at: At { line: 5, .. },
            ..
        })
    ));
    assert_eq!(rows[2], good(6, "b", "2"));
}

#[test]
fn files_without_a_header_are_given_names() {
    let format = Options {
        columns: Columns::Named(["start", "end", "country"].map(str::to_owned).to_vec()),
        delimiter: Some(Delimiter::Byte(b';')),
        comment: Some("#".to_owned()),
        ..csv("start")
    };
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
    assert!(error(",b\n", Options::new(Format::Fields)).contains(r#"name one of "", "b""#));
    assert!(error("", csv("a")).contains("the file is empty"));
    assert!(error("\n\r\n", csv("a")).contains("the file is empty"));
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
        let options = Options {
            delimiter: Some(Delimiter::Byte(delimiter)),
            comment: comment.map(|byte: u8| char::from(byte).to_string()),
            ..csv("a")
        };
        let error = fatal(&b"a\n"[..], options).1;
        assert!(matches!(error, ImportError::InvalidOptions { byte: b } if b == byte));
    }
}

#[test]
fn a_quote_that_is_never_closed_is_no_record() {
    let (rows, error) = fatal(&b"key,v\na,1\nb,\"2\nc,3\n"[..], csv("key"));
    assert_eq!(rows, 1);
    assert!(matches!(error, ImportError::UnclosedQuote { line: 3 }));
    // The last byte closes a quote; a quote within a field has no special meaning.
    assert_eq!(read("key,v\na,\"1\"", csv("key")).len(), 1);
    assert_eq!(
        read("key,v\na,5\"", csv("key")),
        [good(2, "a", r#"{"v":"5\""}"#)]
    );
}

#[test]
fn text_after_a_closing_quote_is_a_bad_row() {
    let file = "key,v\na,\"x\"y\nb,\"x\"\"y\"\nc,x\"y\"\nd,\"1\n2\"3,\ne,\"x\" \nf,\"\"";
    assert_eq!(
        read(file, csv("key")),
        [
            bad(2, RowReason::Misquoted),
            good(3, "b", r#"{"v":"x\"y"}"#),
            good(4, "c", r#"{"v":"x\"y\""}"#),
            bad(5, RowReason::Misquoted),
            bad(7, RowReason::Misquoted),
            good(8, "f", r#"{"v":""}"#),
        ]
    );
    let trimmed = Options {
        trim: true,
        ..csv("key")
    };
    assert_eq!(
        read("key,v\na,\"x\" \t\nb,\"x\" y\nc,\"x\" \"y\"\n", trimmed),
        [
            good(2, "a", r#"{"v":"x"}"#),
            bad(3, RowReason::Misquoted),
            bad(4, RowReason::Misquoted),
        ]
    );
    // Blanks before an opening quote are outside of the field, wherever the text is cut.
    let spaced = "key,v, w\n \"a\" ,\t \"x, \"\"y\" , \" z\"\n   \nb, \"1\n2\",3\n";
    for cut in [spaced.len(), 1, 2, 3] {
        let trimmed = Options {
            trim: true,
            flexible: true,
            ..csv("key")
        };
        let pieces = exercise::Pieces {
            data: spaced.as_bytes(),
            size: cut,
        };
        let mut rows = open(pieces, &trimmed).unwrap();
        let mut next = || rows.next_row().unwrap().unwrap();
        let put = next().unwrap().put;
        assert_eq!(put.key.as_str(), "a");
        assert_eq!(put.value.as_str(), r#"{"v":"x, \"y","w":"z"}"#);
        assert_eq!(next().unwrap_err().at, At::line(3), "a row of blanks");
        let row = next().unwrap();
        assert_eq!((row.at, row.put.key.as_str()), (At::line(4), "b"));
        assert_eq!(row.put.value.as_str(), r#"{"v":"1\n2","w":"3"}"#);
    }
    let tabs = Options {
        trim: true,
        delimiter: Some(Delimiter::Byte(b'\t')),
        ..csv("key")
    };
    assert_eq!(
        read("key\tv\tw\na\t\t \"x\"\n", tabs),
        [good(2, "a", r#"{"v":"","w":"x"}"#)]
    );
    let unquoted = Options {
        quote: None,
        ..csv("key")
    };
    assert_eq!(
        read("key,v\na,\"x\"y\n", unquoted),
        [good(2, "a", r#"{"v":"\"x\"y"}"#)]
    );
    let (_, error) = fatal(&b"\"key\"s,v\na,1\n"[..], csv("key"));
    assert!(matches!(error, ImportError::HeaderMisquoted { line: 1 }));
    // Such a row does not decide the type of a column.
    let mut detector = Detector::new(BTreeMap::new());
    let input = Input::new(&b"key,v\na,1\nb,\"2\"x\n"[..], None).unwrap();
    detector.read(input, &csv("key")).unwrap();
    assert_eq!(detector.finish().unwrap()["v"], Kind::Integer);
}

#[test]
fn the_delimiter_is_told_by_the_header() {
    for file in [
        "key,v\na,1\n",
        "key|v\na|1\n",
        "key;v\na;1\n",
        "key\tv\na\t1\n",
        "\"key\";\"v\"\na;1\n",
        "sep=|\nkey|v\na|1\n",
        "\"sep=;\"\r\nkey;v\r\na;1\r\n",
        "sep=,\n key , v \na,1\n",
        "\u{feff}sep=;\nkey;v\na;1",
    ] {
        assert_eq!(
            all(file, csv("key")),
            [("a".into(), r#"{"v":"1"}"#.into())],
            "{file}"
        );
    }
    // A quoted delimiter does not count, and a comma has precedence.
    let file = "\"v, w\";key\n1;a\n";
    assert_eq!(
        all(file, csv("key")),
        [("a".into(), r#"{"v, w":"1"}"#.into())]
    );
    let options = Options {
        quote: Some(b'\''),
        ..csv("key")
    };
    assert_eq!(
        all("'v, w';key\n1;a\n", options),
        [("a".into(), r#"{"v, w":"1"}"#.into())]
    );
    let file = "v;w,key\n1,a\n";
    assert_eq!(
        all(file, csv("key")),
        [("a".into(), r#"{"v;w":"1"}"#.into())]
    );
    // A first row of data is not a header.
    let options = Options {
        columns: Columns::Numbered,
        ..csv("1")
    };
    assert_eq!(all("a;b\n", options), [("a;b".into(), "{}".into())]);
}

#[test]
fn fields_between_blanks_leave_the_rest_to_the_last() {
    let services = "# Services\n\nssh\t\t22/tcp\t\t# login\r\n  http 80/tcp  www  web # x\nbad\n#\n\
                    c#x 1/udp #";
    let options = Options {
        delimiter: Some(Delimiter::Blanks),
        comment: Some("#".to_owned()),
        columns: Columns::Named(["name", "port", "aliases"].map(str::to_owned).to_vec()),
        flexible: true,
        ..csv("port")
    };
    let no_key = RowReason::NoKey {
        member: "port".to_owned(),
    };
    assert_eq!(
        read(services, options),
        [
            good(3, "22/tcp", r#"{"name":"ssh"}"#),
            good(4, "80/tcp", r#"{"name":"http","aliases":"www  web"}"#),
            bad(5, no_key),
            good(7, "1/udp", r#"{"name":"c#x"}"#),
        ]
    );
    let suffixes = "// list\n\ncom\n*.ck\n!www.ck\n";
    let options = Options {
        delimiter: Some(Delimiter::Blanks),
        comment: Some("//".to_owned()),
        columns: Columns::Numbered,
        ..Options::new(Format::Fields)
    };
    let keys: Vec<_> = all(suffixes, options)
        .into_iter()
        .map(|(key, _)| key)
        .collect();
    assert_eq!(keys, ["com", "*.ck", "!www.ck"]);
}

#[test]
fn ragged_rows_lose_nothing() {
    let file = "key,a,b\nk,1\nl\nm,1,2,3,\n";
    let options = Options {
        flexible: true,
        ..csv("key")
    };
    assert_eq!(
        read(file, options.clone()),
        [
            good(2, "k", r#"{"a":"1"}"#),
            good(3, "l", "{}"),
            good(4, "m", r#"{"a":"1","b":"2","_rest":["3",""]}"#),
        ]
    );
    let (_, error) = fatal(&b"key,_rest\n"[..], options);
    assert!(matches!(error, ImportError::DuplicateColumn { .. }));
}

#[test]
fn empty_fields_are_what_was_asked_for() {
    let file = "key,a,n\nk,,\nl,\"\",7\n";
    let read = |empty| {
        let options = Options {
            empty,
            types: [("n".to_owned(), Kind::Integer)].into(),
            ..csv("key")
        };
        let rows = all(file, options).into_iter();
        rows.map(|(_, value)| value).collect::<Vec<_>>()
    };
    assert_eq!(
        read(Empty::Text),
        [r#"{"a":"","n":null}"#, r#"{"a":"","n":7}"#]
    );
    assert_eq!(
        read(Empty::Null),
        [r#"{"a":null,"n":null}"#, r#"{"a":null,"n":7}"#]
    );
    assert_eq!(read(Empty::Missing), ["{}", r#"{"n":7}"#]);
    let options = Options {
        trim: true,
        ..csv("key")
    };
    let trimmed = all("key, a\n k ,\" 1 \"\n", options);
    assert_eq!(trimmed, [("k".into(), r#"{"a":"1"}"#.into())]);
    assert_eq!(
        all("key, a\n k , 1\n", csv("key")),
        [(" k ".into(), r#"{"a":" 1"}"#.into())]
    );
}

proptest! {
    /// Compared with a writer that quotes all fields, as RFC 4180 allows.
    #[test]
    fn fields_are_read_as_they_were_written(
        names in prop::collection::hash_set(
            "\\PC{0,6}".prop_map(|name| name.trim_matches(' ').to_owned()),
            1..6,
        ),
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
