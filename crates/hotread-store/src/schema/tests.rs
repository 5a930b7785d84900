use super::graph::{MAX_PATTERN_BYTES, MAX_PATTERNS};
use super::*;
use std::time::{Duration, Instant};

fn compile(schema: &str) -> Result<Schema, String> {
    Schema::compile(&Value::parse(schema.as_bytes()).unwrap())
}

fn refused(schema: &str) -> String {
    compile(schema).map(|_| ()).expect_err(schema)
}

fn check(schema: &str, value: &str) -> Result<(), (String, String)> {
    let schema = compile(schema).expect(schema);
    schema.check(&Value::parse(value.as_bytes()).unwrap(), false)
}

/// Returns a schema whose part `n` applies part `n + 1` twice.
fn doubling(levels: usize, last: &str) -> String {
    let parts: Vec<_> = (0..levels)
        .map(|n| {
            let next = n + 1;
            format!(r##""p{n}":{{"allOf":[{{"$ref":"#/$defs/p{next}"}},{{"$ref":"#/$defs/p{next}"}}]}}"##)
        })
        .collect();
    let parts = parts.join(",");
    format!(r##"{{"$ref":"#/$defs/p0","$defs":{{{parts},"p{levels}":{last}}}}}"##)
}

#[test]
fn a_schema_that_doubles_with_each_part_is_refused() {
    assert!(compile(&doubling(8, r#"{"type":"number"}"#)).is_ok());
    for levels in [20, 45, 70] {
        let reason = refused(&doubling(levels, r#"{"type":"number"}"#));
        assert!(reason.contains("evaluations"), "{reason}");
    }
}

#[test]
fn a_part_that_refers_to_itself_in_place_is_refused() {
    for schema in [
        r##"{"$ref":"#"}"##,
        r##"{"allOf":[{"anyOf":[{"$ref":"#"}]}]}"##,
        r##"{"$defs":{"a":{"not":{"$ref":"#/$defs/b"}},"b":{"$ref":"#/$defs/a"}},"$ref":"#/$defs/a"}"##,
        r##"{"$dynamicAnchor":"x","if":{"$dynamicRef":"#x"}}"##,
        r##"{"$id":"http://a/b","oneOf":[{"$ref":"http://a/b"}]}"##,
    ] {
        let reason = refused(schema);
        assert!(reason.contains("refers to itself"), "{schema}: {reason}");
    }
}

#[test]
fn recursion_into_members_is_allowed() {
    let tree = r##"{
        "type": "object", "required": ["n"],
        "properties": {
            "n": {"type": "integer"},
            "left": {"$ref": "#"}, "right": {"$ref": "#"},
            "more": {"type": "array", "items": {"$ref": "#"}}
        },
        "additionalProperties": false
    }"##;
    let mut deep = r#"{"n":1}"#.to_owned();
    for _ in 0..40 {
        deep = format!(r#"{{"n":1,"left":{deep},"more":[{{"n":2}}]}}"#);
    }
    assert_eq!(check(tree, &deep), Ok(()));
    let wrong = deep.replace("\"n\":2", "\"n\":\"2\"");
    let (path, _) = check(tree, &wrong).unwrap_err();
    assert!(path.ends_with("/more/0/n"), "{path}");
}

#[test]
fn a_value_that_would_take_too_long_is_refused_at_once() {
    // The cost doubles with each level of the value.
    let twice = r##"{"properties":{"x":{"$ref":"#"}},"patternProperties":{"x":{"$ref":"#"}}}"##;
    let nested = |levels: usize| format!("{}1{}", r#"{"x":"#.repeat(levels), "}".repeat(levels));
    assert_eq!(check(twice, &nested(8)), Ok(()));
    let began = Instant::now();
    let (_, reason) = check(twice, &nested(90)).unwrap_err();
    assert!(reason.contains("steps"), "{reason}");
    assert!(began.elapsed() < Duration::from_secs(60));
}

#[test]
fn what_looks_at_all_members_for_each_is_counted_so() {
    let schema = r#"{
        "allOf": [{"properties": {"a": {"type": "integer"}}}, {"patternProperties": {"^m": true}}],
        "unevaluatedProperties": false
    }"#;
    let members = |n: usize| {
        let members: Vec<_> = (0..n).map(|n| format!(r#""m{n}":1"#)).collect();
        format!("{{{}}}", members.join(","))
    };
    assert_eq!(check(schema, &members(100)), Ok(()));
    let (_, reason) = check(schema, &members(60_000)).unwrap_err();
    assert!(reason.contains("steps"), "{reason}");
}

#[test]
fn regular_expressions_are_bounded_in_number_and_size() {
    let many: Vec<_> = (0..MAX_PATTERNS + 1)
        .map(|n| format!(r#"{{"pattern":"a{n}"}}"#))
        .collect();
    let many = format!(r#"{{"anyOf":[{}]}}"#, many.join(","));
    assert!(refused(&many).contains("regular expressions"));
    let long = format!(r#"{{"pattern":"{}"}}"#, "a".repeat(MAX_PATTERN_BYTES + 1));
    assert!(refused(&long).contains("regular expression"));
    let large = r#"{"pattern":"(\\p{L}{50}){50}"}"#;
    refused(large);
    for usual in [
        r"^[\\w.+-]+@[\\w-]+(\\.[\\w-]+)+$",
        r"^\\p{L}{1,20}$",
        r"^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$",
        r"^\\d{4}-\\d{2}-\\d{2}T\\d{2}:\\d{2}:\\d{2}(\\.\\d+)?Z$",
    ] {
        compile(&format!(r#"{{"pattern":"{usual}"}}"#)).expect(usual);
    }
}

#[test]
fn large_schemas_and_unknown_references_are_refused() {
    let large = format!(r#"{{"description":"{}"}}"#, "x".repeat(MAX_SCHEMA_BYTES));
    assert!(refused(&large).contains("bytes"));
    for schema in [
        r##"{"$ref":"#/$defs/none"}"##,
        r##"{"$ref":"http://json-schema.org/draft-07/schema#"}"##,
        r##"{"$ref":"other.json"}"##,
        r##"{"$id":"http://a/b","properties":{"x":{"$ref":"https://json-schema.org/draft/2020-12/schema"}}}"##,
    ] {
        assert!(refused(schema).contains("reference"), "{schema}");
    }
}

#[test]
fn common_schemas_are_quick_and_large_ones_are_not() {
    let common = r#"{"type":"object","required":["on"],"additionalProperties":false,
        "properties":{"on":{"type":"boolean"},"percent":{"type":"number","minimum":0,"maximum":100}}}"#;
    assert!(compile(common).unwrap().is_quick());
    assert!(!compile(&doubling(8, "{}")).unwrap().is_quick());
    let listed: Vec<_> = (0..1_000).map(|n| n.to_string()).collect();
    let listed = format!(r#"{{"enum":[{}]}}"#, listed.join(","));
    assert!(!compile(&listed).unwrap().is_quick());
}

/// Measures the longest check that [`MAX_STEPS`] allows.
#[test]
fn the_longest_check_is_bounded() {
    // Each of many items is evaluated by many parts.
    let parts: Vec<_> = (0..60)
        .map(|n| format!(r#"{{"minimum":-{n},"type":"number"}}"#))
        .collect();
    let schema = format!(r#"{{"items":{{"allOf":[{}]}}}}"#, parts.join(","));
    let schema = compile(&schema).unwrap();
    let mut items = 1_000;
    let mut longest = Duration::ZERO;
    loop {
        let value = format!("[{}]", vec!["1"; items].join(","));
        let value = Value::parse(value.as_bytes()).unwrap();
        let began = Instant::now();
        match schema.check(&value, false) {
            Ok(()) => longest = longest.max(began.elapsed()),
            Err((_, reason)) => {
                assert!(reason.contains("steps"), "{reason}");
                break;
            }
        }
        items *= 2;
    }
    println!("the longest check took {longest:?}");
    assert!(longest < Duration::from_secs(60));
}
