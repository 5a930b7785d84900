//! Types of columns.

use super::*;
use crate::export::CSV_COLUMNS;

fn told(files: &[&str], named: &[(&str, Kind)]) -> Result<BTreeMap<String, Kind>, ImportError> {
    let named = named.iter().map(|(name, kind)| ((*name).to_owned(), *kind));
    let mut detector = Detector::new(named.collect());
    for file in files {
        detector.read(Input::new(file.as_bytes(), None)?, &csv("key"))?;
    }
    detector.finish()
}

#[test]
fn types_are_told_by_all_fields_of_a_column() {
    let of = |fields: &[&str]| {
        let rows = fields
            .iter()
            .enumerate()
            .map(|(n, field)| format!("{n},{field}\n"));
        let file = format!("key,v\n{}", rows.collect::<String>());
        told(&[&file], &[]).unwrap()["v"]
    };
    for fields in [&["1", "-20", "", "9007199254740991"][..], &["0"]] {
        assert_eq!(of(fields), Kind::Integer, "{fields:?}");
    }
    for fields in [
        &["1", "2.5"][..],
        &["-0.5", "1.0"],
        &["100.25", "", "3"],
        &["0.0"],
    ] {
        assert_eq!(of(fields), Kind::Number, "{fields:?}");
    }
    assert_eq!(of(&["true", "", "false"]), Kind::Boolean);
    for fields in [
        &["1", "007"][..],
        &["+1"],
        &["1e5"],
        &["1.50"],
        &["19.90", "5"],
        &["-0"],
        &["-0.0"],
        &["00"],
        &[".5"],
        &["5."],
        &[" 5"],
        &["0x10"],
        &["9007199254740992"],
        &["0.1234567890123456"],
        &["1", "true"],
        &["TRUE"],
        &["null"],
        &["NaN"],
        &["-"],
        &["1", "2", "x"],
        &["x", "1"],
        &["", ""],
        &[],
    ] {
        assert_eq!(of(fields), Kind::Text, "{fields:?}");
    }
    // Detection over several files, whose columns may differ.
    let kinds = told(&["key,a,b\n1,1,1\n", "b,key\n1.5,x\n"], &[]).unwrap();
    let named = |name: &str| kinds[name];
    assert_eq!(
        [named("key"), named("a"), named("b")],
        [Kind::Text, Kind::Integer, Kind::Number]
    );
    let kinds = told(&["key,a,b\n1,1,1\n"], &[("a", Kind::Json)]).unwrap();
    assert_eq!([kinds["a"], kinds["b"]], [Kind::Json, Kind::Integer]);
    let unknown = told(&["key,a\n"], &[("b", Kind::Json)]).unwrap_err();
    assert_eq!(
        unknown.to_string(),
        r#"no column is named "b"; name one of "a", "key""#
    );
}

#[test]
fn rows_that_are_too_large_do_not_count_for_types() {
    let long = "x".repeat(MAX_ROW_BYTES + 1);
    for row in [
        format!("1,{long},2"),
        format!("{long},1,2"),
        format!("1,2,{long}"),
        ",x".repeat(MAX_COLUMNS),
        ",x".repeat(3 * MAX_COLUMNS + 1),
    ] {
        let file = format!("key,a,b\n1,2,3\n{row}\n4,5,6.5\n");
        let kinds = told(&[&file], &[]).unwrap();
        assert_eq!([kinds["a"], kinds["b"]], [Kind::Integer, Kind::Number]);
    }
}

#[test]
fn fields_are_written_as_their_columns_types() {
    let with = |kind: Kind, field: &str| {
        let options = Options {
            types: [("v".to_owned(), kind)].into(),
            quote: None,
            delimiter: Some(Delimiter::Byte(b'|')),
            ..csv("key")
        };
        match read(format!("key|v\nk|{field}\n"), options).remove(0) {
            Ok((_, _, value)) => Some(value),
            Err(RowError { reason, .. }) => {
                assert!(matches!(reason, RowReason::NotOfType { .. }), "{reason}");
                None
            }
        }
    };
    for (kind, field, json) in [
        (
            Kind::Integer,
            "-90071992547409930",
            Some("-90071992547409930"),
        ),
        (Kind::Integer, "1.0", None),
        (Kind::Integer, "007", None),
        (Kind::Number, "19.90", Some("19.90")),
        (Kind::Number, "1E-5", Some("1E-5")),
        (Kind::Number, "1e", None),
        (Kind::Number, "1,\"x\":2", None),
        (Kind::Boolean, "TRUE", Some("true")),
        (Kind::Boolean, "False", Some("false")),
        (Kind::Boolean, "1", None),
        (Kind::Json, "[1, 2]", Some("[1,2]")),
        (Kind::Json, "1,\"x\":2", None),
        (Kind::Json, "[", None),
        (Kind::Text, "007", Some("\"007\"")),
    ] {
        let expected = json.map(|json| format!("{{\"v\":{json}}}"));
        assert_eq!(with(kind, field), expected, "{kind} {field}");
    }
    for name in ["text", "integer", "number", "boolean", "json"] {
        assert_eq!(name.parse::<Kind>().unwrap().to_string(), name);
    }
    assert!("int".parse::<Kind>().is_err());
}

#[test]
fn the_last_field_of_a_long_column_counts() {
    let rows: String = (0..20_000).map(|n| format!("k{n},{n}\n")).collect();
    let of = |last: &str| told(&[&format!("key,v\n{rows}k,{last}\n")], &[]).unwrap()["v"];
    assert_eq!(of("1"), Kind::Integer);
    assert_eq!(of("0.5"), Kind::Number);
    assert_eq!(of("x"), Kind::Text);
}

#[test]
fn a_sample_is_read_again_and_its_last_row_is_not_trusted() {
    let mut file = "key,v\n".to_owned();
    while file.len() < SAMPLE_BYTES - 3 {
        file.push_str("k,1\n");
    }
    // The sample ends within the word.
    file.push_str("k,12345678x\n");
    let mut input = Input::new(file.as_bytes(), None).unwrap();
    let mut detector = Detector::new(BTreeMap::new());
    detector.sample(&mut input, &csv("key")).unwrap();
    let types = detector.finish().unwrap();
    assert_eq!(types["v"], Kind::Integer);
    let options = Options {
        types,
        ..csv("key")
    };
    let mut rows = Rows::new(input, &options).unwrap();
    let mut bad = Vec::new();
    while let Some(row) = rows.next_row().unwrap() {
        bad.extend(row.err());
    }
    let lines = file.lines().count() as u64;
    let [
        RowError {
            at,
            reason: RowReason::NotOfType { .. },
        },
    ] = bad[..]
    else {
        panic!("{bad:?}");
    };
    assert_eq!(at.line, lines);
}

#[test]
fn a_column_of_the_key_has_no_type_unless_it_is_kept() {
    let told = |options: &Options, column: &str| {
        let mut detector = Detector::new([(column.to_owned(), Kind::Integer)].into());
        let header = CSV_COLUMNS.join(",");
        let input = Input::new(header.as_bytes(), None).unwrap();
        detector.read(input, options)
    };
    let refused = |told: Result<(), ImportError>| match told {
        Err(ImportError::TypeOfKey { column }) => column,
        other => panic!("{other:?}"),
    };
    let kept = Options {
        keep_key: true,
        ..csv("key")
    };
    assert_eq!(refused(told(&csv("key"), "key")), "key");
    told(&kept, "key").unwrap();
    told(&csv("key"), "value").unwrap();
    // The value of an exported record is JSON.
    assert_eq!(
        refused(told(&Options::new(Format::Fields), "value")),
        "value"
    );
}
