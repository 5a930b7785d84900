//! Whatever text or bytes come, a name, a position or a time is made of exactly those that have its
//! form, and stays as it was written.

mod support;

use hotread_proto::{Category, Epoch, InvalidName, Key, Position, TableName, Timestamp, TxnId};
use proptest::prelude::*;
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::fmt::Debug;
use std::time::{Duration, UNIX_EPOCH};
use support::config;

/// Texts on both sides of each rule: any; some with control characters; and long ones.
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

/// A name is made exactly if it should be, and then it is the text that was given, also in JSON.
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

        // The same digits with an offset mean a time that much earlier or later.
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
