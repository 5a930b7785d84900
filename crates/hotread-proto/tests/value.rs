//! Values: everything that serde_json reads is accepted, and only white space is removed.

mod support;

use hotread_proto::limits::{MAX_VALUE_BYTES, MAX_VALUE_DEPTH};
use hotread_proto::{InvalidValue, Value};
use proptest::prelude::*;
use proptest::sample::Index;
use serde_json::Value as Json;
use std::time::{Duration, Instant};
use support::{config, json_parts};

fn parsed(json: &[u8]) -> Json {
    serde_json::from_slice(json).unwrap()
}

/// Counts the members of all objects of a JSON text: the colons outside of strings.
fn members(json: &[u8]) -> usize {
    let (mut members, mut in_string, mut escaped) = (0, false, false);
    for byte in json {
        match byte {
            _ if escaped => escaped = false,
            b'\\' => escaped = in_string,
            b'"' => in_string = !in_string,
            b':' if !in_string => members += 1,
            _ => {}
        }
    }
    members
}

/// Checks that any bytes are handled without a panic, with the same verdict as serde_json's.
fn check(bytes: &[u8]) -> Result<(), TestCaseError> {
    match Value::parse(bytes) {
        Ok(value) => {
            let theirs = serde_json::from_slice::<Json>(bytes);
            prop_assert!(theirs.is_ok(), "accepted, but {theirs:?}");
            prop_assert_eq!(parsed(value.as_bytes()), theirs.unwrap());
            let again = Value::parse(value.as_bytes()).unwrap();
            prop_assert_eq!(again.as_str(), value.as_str());
        }
        Err(InvalidValue::NotJson { reason }) => {
            prop_assert!(serde_json::from_slice::<Json>(bytes).is_err(), "{}", reason);
        }
        Err(InvalidValue::DuplicateMember { .. }) => {
            let (given, theirs) = (members(bytes), serde_json::from_slice::<Json>(bytes));
            prop_assert!(theirs.is_ok_and(|json| members(json.to_string().as_bytes()) < given));
        }
        Err(other) => prop_assert!(false, "{}", other),
    }
    Ok(())
}

proptest! {
    #![proptest_config(config(250))]

    #[test]
    fn only_white_space_goes(
        parts in json_parts(),
        spaces in prop::collection::vec("[ \t\r\n]{0,3}", 1..10),
    ) {
        let mut spaced = String::new();
        for (part, space) in parts.iter().zip(spaces.iter().cycle()) {
            spaced.push_str(space);
            spaced.push_str(part);
        }
        spaced.push_str(&spaces[0]);
        let value = Value::parse(spaced.as_bytes()).unwrap();
        prop_assert_eq!(value.as_str(), parts.concat());
        prop_assert_eq!(parsed(value.as_bytes()), parsed(spaced.as_bytes()));
    }

    #[test]
    fn white_space_inside_a_number_or_a_word_is_an_error(
        parts in json_parts(),
        which in any::<Index>(),
        space in "[ \t\r\n]",
    ) {
        let words: Vec<usize> = (0..parts.len())
            .filter(|at| parts[*at].len() > 1 && !parts[*at].starts_with('"'))
            .collect();
        if !words.is_empty() {
            let mut parts = parts;
            let word = &mut parts[words[which.index(words.len())]];
            word.insert_str(1 + which.index(word.len() - 1), &space);
            prop_assert!(Value::parse(parts.concat().as_bytes()).is_err(), "{:?}", parts);
        }
    }

    #[test]
    fn what_serde_json_writes_prettily_becomes_what_it_writes_compactly(parts in json_parts()) {
        let json = parsed(parts.concat().as_bytes());
        let pretty = serde_json::to_string_pretty(&json).unwrap();
        let value = Value::parse(pretty.as_bytes()).unwrap();
        prop_assert_eq!(value.as_str(), json.to_string());
        prop_assert_eq!(&value, &Value::serialize(&json).unwrap());
        prop_assert_eq!(value.to::<Json>().unwrap(), parsed(pretty.as_bytes()));
    }

    #[test]
    fn arbitrary_bytes_do_no_harm(bytes in prop::collection::vec(any::<u8>(), 0..64)) {
        check(&bytes)?;
    }

    #[test]
    fn bytes_that_look_like_json_do_no_harm(
        text in r#"([\[\]{}:, \n"\\0-9eE.+-]|null|true|\\u|d8[0-3]|"a"|"\\"){0,12}"#,
    ) {
        check(text.as_bytes())?;
    }

    #[test]
    fn json_with_a_fault_does_no_harm(
        parts in json_parts(),
        edits in prop::collection::vec((any::<Index>(), any::<Option<u8>>()), 1..3),
    ) {
        let mut bytes = parts.concat().into_bytes();
        for (at, new) in edits {
            if bytes.is_empty() {
                break;
            }
            let at = at.index(bytes.len());
            match new {
                Some(byte) => bytes[at] = byte,
                None => drop(bytes.remove(at)),
            }
        }
        check(&bytes)?;
    }

    #[test]
    fn a_member_that_is_there_twice_is_found_wherever_it_stands(
        parts in json_parts(),
        which in any::<Index>(),
    ) {
        // A comma may follow the end of a member, and the same member once more.
        let starts: Vec<_> = (1..parts.len()).filter(|&at| parts[at] == ":").collect();
        if !starts.is_empty() {
            let name = starts[which.index(starts.len())] - 1;
            let mut parts = parts;
            let again = [parts[name].clone(), ":null,".to_owned()];
            parts.splice(name..name, again);
            let refused = Value::parse(parts.concat().as_bytes());
            let twice = matches!(refused, Err(InvalidValue::DuplicateMember { .. }));
            prop_assert!(twice, "{:?}", parts);
        }
    }

    #[test]
    fn text_becomes_a_string(text in any::<String>()) {
        let value = Value::string(&text).unwrap();
        prop_assert_eq!(value.to::<String>().unwrap(), text);
    }
}

/// Creates an object with this many members in shuffled order, whose names share a prefix; every
/// tenth value is an object as well.
fn object(members: usize) -> String {
    let member = |n: usize| {
        let name = n.wrapping_mul(7_919) % members;
        match n % 10 {
            0 => format!("\"{name:06}\":{{\"{name:06}\":0}}"),
            _ => format!("\"{name:06}\":0"),
        }
    };
    format!(
        "{{{}}}",
        (0..members).map(member).collect::<Vec<_>>().join(",")
    )
}

#[test]
fn looking_for_members_that_are_there_twice_takes_no_square() {
    // Not a multiple of the step between two names, so each name is drawn once; about 1 MB of text.
    const MANY: usize = 80_021;
    // Times of a busy machine are too long at times, so that only the shortest of several count.
    const FEWEST_TRIES: usize = 5;
    const MOST_TRIES: usize = 50;
    let time = |json: &str| {
        let began = Instant::now();
        Value::parse(json.as_bytes()).unwrap();
        began.elapsed()
    };
    let (few, many) = (object(5_003), object(MANY));
    let (mut few_took, mut many_took) = (Duration::MAX, Duration::MAX);
    // Sixteen times the size: quadratic time would be 256 times as much.
    let is_enough = |few: Duration, many| many < 100 * few.max(Duration::from_micros(100));
    for tried in 1..=MOST_TRIES {
        few_took = few_took.min(time(&few));
        many_took = many_took.min(time(&many));
        if tried >= FEWEST_TRIES && is_enough(few_took, many_took) {
            break;
        }
    }
    assert!(
        is_enough(few_took, many_took),
        "{few_took:?} became {many_took:?}"
    );
    let twice = many.replacen('{', "{\"000007\":1,", 1);
    let refused = Value::parse(twice.as_bytes());
    assert!(matches!(refused, Err(InvalidValue::DuplicateMember { .. })));
}

#[test]
fn only_white_space_between_parts_goes() {
    for (given, kept) in [
        ("1.0", "1.0"),
        (" 9007199254740993\n", "9007199254740993"),
        ("1E+5", "1E+5"),
        (r#" " a \" b\\" "#, r#"" a \" b\\""#),
        ("[ 1 ,\t{ \"a b\" : null } ]", r#"[1,{"a b":null}]"#),
        (r#""\u0041\ud83d\ude00""#, r#""\u0041\ud83d\ude00""#),
        (r#"{"b":1,"a":2}"#, r#"{"b":1,"a":2}"#),
    ] {
        assert_eq!(Value::parse(given.as_bytes()).unwrap().as_str(), kept);
    }
}

#[test]
fn what_is_not_json_is_refused() {
    for json in [
        "",
        " ",
        "nul",
        "{",
        "[1,]",
        "{a:1}",
        "'a'",
        "01",
        "1.",
        "+1",
        "1 2",
        "\"a",
        "\"\t\"",
        r#""\x""#,
        r#""\ud800""#,
        r#"{"\udc00":1}"#,
        "1e999",
        "NaN",
        "[1]]",
    ] {
        let error = Value::parse(json.as_bytes()).unwrap_err();
        assert!(
            matches!(error, InvalidValue::NotJson { .. }),
            "{json}: {error}"
        );
    }
    assert!(matches!(
        Value::parse(b"\"\xff\""),
        Err(InvalidValue::NotJson { .. })
    ));
}

#[test]
fn a_member_stands_once_in_an_object() {
    let twice = |json: &str| {
        let refused = Value::parse(json.as_bytes());
        matches!(refused, Err(InvalidValue::DuplicateMember { .. }))
    };
    for json in [
        r#"{"percent":1000,"percent":5}"#,
        r#"{"a":1,"b":2,"a":1}"#,
        r#"{"a":1,"\u0061":1}"#,
        r#"{"":1,"":2}"#,
        r#"[1,{"a":{"b":[{"c":1,"c":2}]}}]"#,
        r#"{"a":{"a":1},"a":2}"#,
        r#"{"\ud83d\ude00":1,"😀":2}"#,
    ] {
        assert!(twice(json), "{json}");
    }
    for json in [
        r#"{"a":{"a":1},"b":{"a":2,"b":3}}"#,
        r#"[{"a":1},{"a":1}]"#,
        r#"{"a":"a","A":1,"a ":2}"#,
        // Equal in appearance but not as text: there is no Unicode normalization.
        "{\"\u{e9}\":1,\"e\u{301}\":2}",
    ] {
        assert!(Value::parse(json.as_bytes()).is_ok(), "{json}");
    }
    let Err(refused) = Value::parse(b"{\n\"secret\":1,\"secret\":2}") else {
        panic!("it was accepted");
    };
    let said = refused.to_string();
    assert!(said.contains("line 2 column 22"), "{said}");
    assert!(!said.contains("secret"), "{said}");
}

#[test]
fn depth_and_size_are_limited() {
    let nested = |depth| format!("{}{}", "[".repeat(depth), "]".repeat(depth));
    assert!(Value::parse(nested(MAX_VALUE_DEPTH).as_bytes()).is_ok());
    let deep = nested(MAX_VALUE_DEPTH + 1);
    assert_eq!(Value::parse(deep.as_bytes()), Err(InvalidValue::TooDeep));
    assert_eq!(
        Value::parse("[".repeat(1 << 20).as_bytes()),
        Err(InvalidValue::TooDeep)
    );

    let string = |bytes| format!("\"{}\"", "x".repeat(bytes - 2));
    assert!(Value::parse(string(MAX_VALUE_BYTES).as_bytes()).is_ok());
    let large = Value::parse(string(MAX_VALUE_BYTES + 1).as_bytes());
    assert_eq!(
        large,
        Err(InvalidValue::TooLarge {
            bytes: MAX_VALUE_BYTES + 1
        })
    );
    let padded = format!("{}{}", string(MAX_VALUE_BYTES), " ".repeat(1000));
    assert!(Value::parse(padded.as_bytes()).is_ok());
}

#[test]
fn values_do_not_show_in_debug_output() {
    let value = Value::string("secret").unwrap();
    assert!(!format!("{value:?}").contains("secret"));
}
