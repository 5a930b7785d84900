//! Formats, encodings, and compressed files.

use super::*;

#[test]
fn endings_promise_formats() {
    let guess = |name: &str| Format::of_name(Path::new(name));
    assert_eq!(guess("a/b.csv"), Some((Format::Fields, None)));
    let tabs = Some((Format::Fields, Some(Delimiter::Byte(b'\t'))));
    assert_eq!(guess("b.TSV"), tabs);
    assert_eq!(guess("b.tab.GZ"), tabs);
    for name in ["b.jsonl", "b.ndjson", "b.ndjson.zst"] {
        assert_eq!(guess(name), Some((Format::Ndjson, None)));
    }
    assert_eq!(guess("b.json"), Some((Format::Json, None)));
    for name in ["csv", "b.txt", "b.gz", ""] {
        assert_eq!(guess(name), None);
    }
    let of = |text: &str| Format::of_text(text.as_bytes());
    assert_eq!(of(" \n[1"), Some(Format::Json));
    assert_eq!(of("{\"a\":1}\n{\"a\""), Some(Format::Ndjson));
    assert_eq!(of("{\"a\":1}"), Some(Format::Ndjson));
    assert_eq!(of("{\"a\":\"long"), Some(Format::Ndjson));
    assert_eq!(of("{\n  \"a\": [\n"), Some(Format::Json));
    assert_eq!(of("a,b\n"), None);
    assert_eq!(of(""), None);
}

#[test]
fn text_is_decoded_by_mark_or_by_name() {
    let text = "key,v\na,ä€\n";
    let encode =
        |bytes: fn(u16) -> [u8; 2]| text.encode_utf16().flat_map(bytes).collect::<Vec<_>>();
    let (little, big) = (encode(u16::to_le_bytes), encode(u16::to_be_bytes));
    let expected = [("a".to_owned(), r#"{"v":"ä€"}"#.to_owned())];
    let marked = |mark: &[u8], bytes: &[u8]| [mark, bytes].concat();
    for file in [
        marked(b"\xff\xfe", &little),
        marked(b"\xfe\xff", &big),
        marked(b"\xef\xbb\xbf", text.as_bytes()),
    ] {
        assert_eq!(all(file, csv("key")), expected);
    }
    let named = |bytes: &[u8], name: &str| -> Result<Vec<Put>, ImportError> {
        let input = Input::new(bytes, Some(name.parse().unwrap()))?;
        let mut rows = Rows::new(input, &csv("key"))?;
        let mut puts = Vec::new();
        while let Some(row) = rows.next_row()? {
            puts.push(row.unwrap().put);
        }
        Ok(puts)
    };
    let value = |bytes: &[u8], name: &str| named(bytes, name).unwrap()[0].value.as_str().to_owned();
    assert_eq!(value(&little, "utf-16le"), expected[0].1);
    assert_eq!(value(&big, "UTF-16BE"), expected[0].1);
    assert_eq!(value(b"key,v\na,\xe4\n", "latin1"), r#"{"v":"ä"}"#);
    assert_eq!(value(b"key,v\na,\x82\xa0\n", "shift_jis"), r#"{"v":"あ"}"#);
    // A byte order mark takes precedence over a given encoding.
    assert_eq!(
        value(&marked(b"\xff\xfe", &little), "latin1"),
        expected[0].1
    );
    for bytes in [&little, &big] {
        assert!(matches!(
            fatal(&bytes[..], csv("key")).1,
            ImportError::NulBytes
        ));
    }
    let cut = named(&little[..little.len() - 1], "utf-16le").unwrap_err();
    assert!(cut.to_string().contains("it is not UTF-16LE"), "{cut}");
    assert!(named(b"key\n\x81\xff", "shift_jis").is_err());
    assert!("utf-7".parse::<Encoding>().is_err());
}

/// `{"key":"a","value":1}` twice, as two frames of zstd with a checksum and a skippable one, written by
/// `zstd`.
const ZSTD: &[u8] = include_bytes!("../testdata/two_frames.ndjson.zst");
/// The same as two members of gzip, written by `gzip`.
const GZIP: &[u8] = include_bytes!("../testdata/two_members.ndjson.gz");

#[test]
fn compressed_files_are_told_by_their_first_bytes() {
    for file in [ZSTD, GZIP] {
        let one = || good(1, "a", "1");
        let (first, second) = (one(), good(2, "a", "1"));
        assert_eq!(read(file, ndjson()), [first, second]);
        let (_, error) = fatal(&file[..file.len() - 3], ndjson());
        assert!(matches!(error, ImportError::Io(_)), "{error}");
        let mut damaged = file.to_vec();
        let last = damaged.len() - 2;
        damaged[last] ^= 1;
        let (_, error) = fatal(&damaged[..], ndjson());
        assert!(matches!(error, ImportError::Io(_)), "{error}");
    }
    // A window of 3.75 TiB, for which no memory is reserved.
    let huge = [0x28, 0xb5, 0x2f, 0xfd, 0x00, 0xff, 0x01, 0x00, 0x00];
    assert!(matches!(fatal(&huge[..], ndjson()).1, ImportError::Io(_)));
}

#[test]
fn a_small_file_that_holds_much_takes_no_memory() {
    use flate2::{Compression, write::GzEncoder};
    use std::io::Write as _;

    let mut gzip = GzEncoder::new(Vec::new(), Compression::best());
    let zeros = vec![b' '; 1 << 20];
    for _ in 0..2 * MAX_SKIPPED_BYTES / zeros.len() {
        gzip.write_all(&zeros).unwrap();
    }
    let bomb = gzip.finish().unwrap();
    assert!(bomb.len() < 1 << 20);
    for options in [csv("key"), ndjson()] {
        let (_, error) = fatal(&bomb[..], options);
        assert!(
            matches!(
                error,
                ImportError::Endless { .. } | ImportError::HeaderTooLong
            ),
            "{error}"
        );
    }
}
