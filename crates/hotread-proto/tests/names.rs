//! Names, positions and times are parsed from exactly the texts that have their form, and are
//! written as they were read.

mod support;

use hotread_proto::{
    Actor, Category, Epoch, InvalidName, Key, Note, Position, TableName, Timestamp, TxnId,
};
use proptest::prelude::*;
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::fmt::Debug;
use std::time::{Duration, UNIX_EPOCH};
use support::config;

/// Generates texts on both sides of each rule: any text, text with control characters, and long
/// text.
fn text() -> impl Strategy<Value = String> {
    prop_oneof![
        any::<String>(),
        "[a-c_. -]{0,4}",
        "\\.{0,3}",
        "[a-z0-9_-]{1,3}[a-zA-Z0-9_/-]{0,3}",
        "[!-~]{0,3}[\u{0}-\u{a0}]{0,2}[!-~]{0,3}",
        "[a-z0-9]{62,66}",
        "[a-zé]{60,66}",
        "[a-zé😀]{300,520}",
        "[a-z]{510,514}",
    ]
}

fn bytes() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        prop::collection::vec(any::<u8>(), 0..12),
        text().prop_map(String::into_bytes),
    ]
}

fn control(c: char) -> bool {
    matches!(u32::from(c), 0..=0x1f | 0x7f..=0x9f)
}

/// Checks that a name is accepted exactly if it should be, and is then the given text, also in
/// JSON.
fn check<T: Serialize + DeserializeOwned + PartialEq + Debug + AsRef<str>>(
    text: &str,
    made: Result<T, InvalidName>,
    expected: bool,
) -> Result<(), TestCaseError> {
    prop_assert_eq!(made.is_ok(), expected, "{:?}: {:?}", text, made);
    let json = serde_json::to_string(text).unwrap();
    let read = serde_json::from_str::<T>(&json);
    match made {
        Ok(name) => {
            prop_assert_eq!(name.as_ref(), text);
            prop_assert_eq!(serde_json::to_string(&name).unwrap(), json);
            prop_assert_eq!(read.unwrap(), name);
        }
        Err(error) => {
            prop_assert!(
                !error.to_string().contains(control),
                "{:?}",
                error.to_string()
            );
            prop_assert!(read.is_err());
        }
    }
    Ok(())
}

proptest! {
    #![proptest_config(config(500))]

    #[test]
    fn keys(bytes in bytes()) {
        let text = String::from_utf8(bytes.clone());
        let expected = text.as_ref().is_ok_and(|text| {
            (1..=512).contains(&bytes.len()) && !text.contains(control) && text != "." && text != ".."
        });
        match text {
            Ok(text) => {
                prop_assert_eq!(Key::new(&text), Key::from_bytes(&bytes));
                check(&text, Key::new(&text), expected)?;
            }
            Err(error) => {
                let at = error.utf8_error().valid_up_to();
                prop_assert_eq!(Key::from_bytes(&bytes), Err(InvalidName::NotUtf8 { what: "key", at }));
            }
        }
    }

    #[test]
    fn actors_and_notes(bytes in bytes()) {
        let text = String::from_utf8_lossy(&bytes);
        let is_line = |max| (1..=max).contains(&text.len()) && !text.contains(control);
        check(&text, Actor::new(&text), is_line(64))?;
        check(&text, Note::new(&text), is_line(512))?;
        prop_assert_eq!(Note::new(&text), Note::from_bytes(text.as_bytes()));
        prop_assert!(std::str::from_utf8(&bytes).is_ok() || Note::from_bytes(&bytes).is_err());
    }

    #[test]
    fn categories(text in text()) {
        let expected = (1..=64).contains(&text.len()) && !text.contains(control);
        check(&text, Category::new(&text), expected)?;
    }

    #[test]
    fn table_names(text in text()) {
        let letter = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
        let expected = text.len() <= 64
            && text.starts_with(letter)
            && text.chars().all(|c| letter(c) || c == '_' || c == '-');
        check(&text, TableName::new(&text), expected)?;
    }

    #[test]
    fn transaction_ids(text in text()) {
        let expected = (1..=64).contains(&text.len()) && text.chars().all(|c| ('!'..='~').contains(&c));
        check(&text, TxnId::new(&text), expected)?;
    }

    #[test]
    fn keys_are_ordered_as_their_bytes(one in text(), other in text()) {
        if let (Ok(a), Ok(b)) = (Key::new(&one), Key::new(&other)) {
            prop_assert_eq!(a.cmp(&b), one.as_bytes().cmp(other.as_bytes()));
        }
    }

    #[test]
    fn positions(
        epoch in any::<u64>(),
        seq in any::<u64>(),
        text in prop_oneof![any::<String>(), "[A-F+]?[0-9a-f]{15,16}:?[a+-]?[0-9]{0,21}"],
    ) {
        let position = Position { epoch: Epoch(epoch), seq };
        prop_assert_eq!(position.to_string(), format!("{epoch:016x}:{seq}"));
        prop_assert_eq!(position.to_string().parse(), Ok(position));
        let json = serde_json::to_string(&position).unwrap();
        prop_assert_eq!(&json, &format!(r#"{{"epoch":"{epoch:016x}","seq":{seq}}}"#));
        prop_assert_eq!(serde_json::from_str::<Position>(&json).unwrap(), position);

        let expected = text.split_once(':').is_some_and(|(epoch, seq)| {
            epoch.len() == 16
                && epoch.chars().all(|c| "0123456789abcdef".contains(c))
                && seq.chars().all(|c| c.is_ascii_digit())
                && seq.parse::<u64>().is_ok()
        });
        prop_assert_eq!(text.parse::<Position>().is_ok(), expected);
    }

    #[test]
    fn times_are_read_as_they_are_written(
        millis in prop_oneof![0..=Timestamp::MAX.millis(), 0..5_000_i64],
        (sign, hours, minutes) in (prop::bool::ANY, 0..24_i64, 0..60_i64),
    ) {
        let at = Timestamp::from_millis(millis).unwrap();
        prop_assert_eq!(at.to_string().parse(), Ok(at));
        prop_assert_eq!(millis.to_string().parse(), Ok(at));
        let json = serde_json::to_string(&at).unwrap();
        prop_assert_eq!(serde_json::from_str::<Timestamp>(&json).unwrap(), at);
        prop_assert_eq!(serde_json::from_str::<Timestamp>(&millis.to_string()).unwrap(), at);

        // The same digits with an offset mean a time that is earlier or later by it.
        let offset = (hours * 60 + minutes) * 60_000;
        let (sign, expected) = if sign { ('+', millis - offset) } else { ('-', millis + offset) };
        let text = at.to_string().replace('Z', &format!("{sign}{hours:02}:{minutes:02}"));
        prop_assert_eq!(text.parse::<Timestamp>().ok(), Timestamp::from_millis(expected).ok());
    }

    #[test]
    fn times_stay_in_range(
        millis in 0..=Timestamp::MAX.millis(),
        by in prop_oneof![0..Timestamp::MAX.millis().unsigned_abs(), any::<u64>()],
    ) {
        let at = Timestamp::from_millis(millis).unwrap();
        let duration = Duration::from_millis(by);
        let (sum, difference) = (i128::from(millis) + i128::from(by), i128::from(millis) - i128::from(by));
        let max = i128::from(Timestamp::MAX.millis());
        prop_assert_eq!(i128::from(at.saturating_add(duration).millis()), sum.min(max));
        prop_assert_eq!(i128::from(at.saturating_sub(duration).millis()), difference.max(0));
        prop_assert_eq!(at.saturating_add(Duration::MAX), Timestamp::MAX);
        prop_assert_eq!(at.saturating_sub(Duration::MAX), Timestamp::EPOCH);
        prop_assert_eq!(Timestamp::from(UNIX_EPOCH + Duration::from_millis(millis.unsigned_abs())), at);
    }

    #[test]
    fn arbitrary_text_as_a_time_does_no_harm(
        text in prop_oneof![
            any::<String>(),
            "[0-9]{0,20}",
            "(1969|1970|2026|9999)-[01][0-9]-[0-3][0-9][Tt xé][0-2][0-9]:[0-6][0-9]:[0-6][0-9](\\.[0-9]{1,12})?(Z|z|[+-][0-2][0-9]:[0-6][0-9])",
        ],
    ) {
        if let Ok(at) = text.parse::<Timestamp>() {
            prop_assert_eq!(at.to_string().parse(), Ok(at));
            let between = text.as_bytes().get(10).copied();
            prop_assert!(text.chars().all(|c| c.is_ascii_digit()) || matches!(between, Some(b'T' | b't' | b' ')));
        }
    }
}

#[test]
fn each_fault_of_a_name_has_its_own_error() {
    let too_long = |what, bytes, max| InvalidName::TooLong { what, bytes, max };
    let control = |what, code, at| InvalidName::Control { what, code, at };
    let (empty, ascii) = (InvalidName::Empty { what: "key" }, "n".repeat(65));
    let not_utf8 = |what| InvalidName::NotUtf8 { what, at: 2 };
    for (made, fault) in [
        (Key::new("").map(drop), empty),
        (
            Key::new(&"ä".repeat(257)).map(drop),
            too_long("key", 514, 512),
        ),
        (Key::new("a\tb").map(drop), control("key", 9, 1)),
        (Key::new("a\u{85}").map(drop), control("key", 0x85, 1)),
        (Key::new(".").map(drop), InvalidName::Dots),
        (Key::new("..").map(drop), InvalidName::Dots),
        (Key::from_bytes(b"ab\xff").map(drop), not_utf8("key")),
        (Category::new("a\nb").map(drop), control("category", 10, 1)),
        (
            TxnId::new(&ascii).map(drop),
            too_long("transaction id", 65, 64),
        ),
        (Actor::new(&ascii).map(drop), too_long("actor", 65, 64)),
        (
            Note::new(&"ä".repeat(257)).map(drop),
            too_long("note", 514, 512),
        ),
        (Note::new("a\u{1b}[31m").map(drop), control("note", 27, 1)),
        (Note::from_bytes(b"ab\xff").map(drop), not_utf8("note")),
    ] {
        assert_eq!(made, Err(fault));
    }
    for key in ["...", "a/b", "a b", "ключ", "%2e", &"x".repeat(512)] {
        assert_eq!(Key::new(key).unwrap().as_str(), key);
    }
    for line in ["x", "Łukasz O'Neil", "„why?“ \u{202e}", &ascii[..64]] {
        assert_eq!(Actor::new(line).unwrap().as_str(), line);
        assert_eq!(Note::new(line).unwrap().as_str(), line);
    }
    for table in ["-a", "_a", "A", "a b", "a/b", "ä", "a.b"] {
        let error = TableName::new(table).unwrap_err();
        assert!(matches!(error, InvalidName::Form { .. }), "{error}");
    }
    let escaped: Key = serde_json::from_str(r#""a\u0062""#).unwrap();
    assert_eq!(escaped.as_str(), "ab");
}

#[test]
fn a_tidy_key_stays_what_it_is_in_a_path() {
    let is_tidy = |key: &str| Key::new(key).unwrap().is_tidy();
    for key in ["a", "a/b", "...", "a/...", ".a/b.", "%2E", "a/%2E%2E/b"] {
        assert!(is_tidy(key), "{key}");
    }
    for key in ["/", "a/", "/a", "a//b", "a/./b", "a/../b", "./a", "a/.."] {
        assert!(!is_tidy(key), "{key}");
    }
}

#[test]
fn what_is_no_position_and_no_time_is_refused() {
    for text in [
        "",
        ":",
        "1:2",
        "0000000000000000:",
        "0000000000000000:-1",
        "0000000000000000:+1",
        "+000000000000000:1",
        "00C0FFEE00c0ffee:1",
        "0000000000000000:18446744073709551616",
    ] {
        assert!(text.parse::<Position>().is_err(), "{text:?}");
    }
    for text in [
        "",
        "now",
        "-1",
        "2026-11-21",
        "2026-11-21T10:30:00",
        "2026-11-21x10:30:00Z",
        "+5",
        "-0",
        "1969-12-31T23:59:59Z",
        "1969-12-31T23:59:59.9999Z",
    ] {
        assert!(text.parse::<Timestamp>().is_err(), "{text:?}");
    }
    for json in [
        "null",
        "1.5",
        "-1",
        "18446744073709551615",
        "\"soon\"",
        "253402300800000",
    ] {
        assert!(serde_json::from_str::<Timestamp>(json).is_err(), "{json}");
    }
}

#[test]
fn times_sort_as_text() {
    let millis = [
        0,
        9,
        910,
        999,
        1_000,
        60_000,
        1_795_253_400_250,
        Timestamp::MAX.millis(),
    ];
    let written = millis.map(|millis| Timestamp::from_millis(millis).unwrap().to_string());
    assert_eq!(written[2], "1970-01-01T00:00:00.910Z");
    assert_eq!(written[4], "1970-01-01T00:00:01.000Z");
    assert_eq!(written[7], "9999-12-31T23:59:59.999Z");
    assert!(written.is_sorted() && written.iter().all(|time| time.len() == 24));
}
