//! Rows of JSON, and keys.

use super::*;

#[test]
fn lines_of_json_keep_what_they_say() {
    let line = br#" { "seq": 7, "h": {"x": []}, "value": {"b": 1.0, "a": "\u0041"},
        "expires_at": "2026-11-21T09:30:00Z", "updated_at": null, "category": "c\u0061t",
        "key": "k\/1" } "#;
    let line: Vec<u8> = line.iter().copied().filter(|&b| b != b'\n').collect();
    let mut rows = open(&line[..], &ndjson()).unwrap();
    let put = rows.next_row().unwrap().unwrap().unwrap().put;
    assert_eq!(put.key.as_str(), "k/1");
    assert_eq!(put.value.as_str(), r#"{"b":1.0,"a":"\u0041"}"#);
    assert_eq!(put.category.as_str(), "cat");
    assert_eq!(put.expires_at.unwrap().millis(), 1_795_253_400_000);

    let line = br#"{"key":"a","value":null,"expires_at":1795253400000}"#;
    let mut rows = open(&line[..], &ndjson()).unwrap();
    let put = rows.next_row().unwrap().unwrap().unwrap().put;
    assert_eq!(put.value.as_str(), "null");
    assert_eq!(put.category, Category::GENERAL);
    assert_eq!(put.expires_at.unwrap().millis(), 1_795_253_400_000);
}

#[test]
fn bad_lines_of_json_say_why() {
    let reason = |line: &str| match &read(line, ndjson())[..] {
        [Err(RowError { reason, .. })] => reason.clone(),
        other => panic!("{line}: {other:?}"),
    };
    for (line, text) in [
        (
            r#"{"key":"a","value":1,}"#,
            "not JSON: trailing comma at column 22; each row has to be an object",
        ),
        (
            r#"{"key":"a""#,
            "not JSON: EOF while parsing an object at column 10; each row has to be an object",
        ),
        (
            r#"{"key":"a","value":1} {}"#,
            "not JSON: trailing characters at column 23; each row has to be an object",
        ),
        (
            r#""secret""#,
            r#"not a JSON object; each row has to be one, such as {"key": …, "value": …}"#,
        ),
        (
            r#"{"value":1}"#,
            r#"the field "key" is missing; give each row a key and a value, or name the members that are the key"#,
        ),
        (
            r#"{"key":"a"}"#,
            r#"the field "value" is missing; give each row a key and a value, or name the members that are the key"#,
        ),
        (
            r#"{"key":"a","key":"b","value":1}"#,
            r#"the field "key" is there twice; remove one"#,
        ),
        (
            r#"{"key":"a","value":1,"ttl\n":5}"#,
            r#""ttl\n" is not a field of a record; put it into the value, or name the members that are the key"#,
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
    let not_utf8 = bad(1, RowReason::RowNotUtf8 { at: 8 });
    assert_eq!(
        read(b"{\"key\":\"\xff\",\"value\":1}", ndjson()),
        [not_utf8]
    );
}

#[test]
fn keys_are_made_of_one_or_more_parts() {
    let two = |options: Options| options.key("b");
    assert_eq!(
        all("a,b,c\nx,y:z,1\n", two(csv("a"))),
        [("x:y:z".into(), r#"{"c":"1"}"#.into())]
    );
    let kept = Options {
        keep_key: true,
        key_separator: "/".to_owned(),
        ..two(csv("a"))
    };
    assert_eq!(
        all("a,b,c\nx:,y,1\n", kept.clone()),
        [("x:/y".into(), r#"{"a":"x:","b":"y","c":"1"}"#.into())]
    );
    let separator = RowReason::Separator {
        separator: ":".to_owned(),
    };
    assert_eq!(read("a,b\nx:y,z\n", two(csv("a"))), [bad(2, separator)]);

    let line = r#"{"b": 1.50, "c\u0061": [1, {"a": null}], "a": "x\u0079"}"#;
    assert_eq!(
        all(line, two(ndjson().key("a"))),
        [("xy:1.50".into(), r#"{"ca":[1,{"a":null}]}"#.into())]
    );
    let kept = Options {
        keep_key: true,
        ..ndjson().key("b")
    };
    let value = r#"{"b":1.50,"c\u0061":[1,{"a":null}],"a":"x\u0079"}"#;
    assert_eq!(all(line, kept), [("1.50".into(), value.into())]);
    let reason = |line: &str| match &read(line, ndjson().key("a"))[..] {
        [Err(RowError { reason, .. })] => reason.clone(),
        other => panic!("{other:?}"),
    };
    let member = || "a".to_owned();
    assert_eq!(reason(r#"{"b":1}"#), RowReason::NoKey { member: member() });
    assert_eq!(
        reason(r#"{"a":1,"a":1}"#),
        RowReason::KeyTwice { member: member() }
    );
    assert_eq!(
        reason(r#"{"a":true}"#),
        RowReason::KeyType { member: member() }
    );
    assert_eq!(
        reason(r#"{"a":{}}"#),
        RowReason::KeyType { member: member() }
    );
    assert!(matches!(
        reason(r#"{"a":1,"b":2,"b":3}"#),
        RowReason::Value(_)
    ));
    assert!(matches!(reason(r#"{"a":1} x"#), RowReason::NotJson { .. }));
    assert_eq!(reason("[1]"), RowReason::NotObject);
}

#[test]
fn arrays_are_read_element_by_element() {
    let rows = r#"[{"id":1,"v":"]}\\\""}, {"id":"b",
        "v":[{"x":"["}]}
        ,{"id":3}]"#;
    let expected = [
        good(1, "1", r#"{"v":"]}\\\""}"#),
        good(1, "b", r#"{"v":[{"x":"["}]}"#),
        good(3, "3", "{}"),
    ];
    assert_eq!(read(rows, array().key("id")), expected);
    let around = format!(r#"{{"name":"x","n":{{"a":[1]}},"rows":{rows},"more":null}}"#);
    assert_eq!(read(&around, array().key("id")), expected);
    let named = Options {
        member: Some("rows".to_owned()),
        ..array().key("id")
    };
    assert_eq!(read(around.replace("null", "[2]"), named), expected);
    assert_eq!(read("[]", array()), []);
    assert_eq!(read(" {\"a\":[ ]} \n", array()), []);
    let records = r#"[{"key":"a","value":1}]"#;
    assert_eq!(read(records, array()), [good(1, "a", "1")]);

    let items = read(r#"[1,{"key":"a"},"x",[]]"#, array());
    let at: Vec<_> = items
        .iter()
        .map(|row| row.as_ref().unwrap_err().at.item)
        .collect();
    assert_eq!(at, [Some(1), Some(2), Some(3), Some(4)]);
    let long = format!(
        r#"[{{"key":"a","value":1}},"{}",{{"key":"b","value":2}}]"#,
        "x\n".repeat(MAX_ROW_BYTES)
    );
    let rows = read(long, array());
    assert_eq!((rows.len(), &rows[0]), (3, &good(1, "a", "1")));
    assert_eq!(rows[1].as_ref().unwrap_err().reason, RowReason::TooLong);
    assert_eq!(rows[2], good(1 + MAX_ROW_BYTES as u64, "b", "2"));
}

#[test]
fn what_is_no_array_of_rows_is_refused() {
    for (text, rows, words) in [
        ("", 0, "an array or an object"),
        ("5", 0, "an array or an object"),
        ("[1", 1, "a comma or the closing bracket"),
        ("[1 2]", 1, "a comma or the closing bracket"),
        ("[1,", 1, "an element"),
        ("[{\"a\":1", 0, "the file ends inside an object or array"),
        ("[] []", 0, "there is more text after the end of the JSON"),
        (
            "{\"key\":\"a\",\"value\":1}\n{}",
            0,
            "line 2: there is more text after the end of the JSON; each line is an object, so read it as ndjson",
        ),
        (
            "{\"a\":[1],\"b\":[2]}",
            1,
            "a second array, in the member \"b\" after \"a\"",
        ),
        (
            "{\"a\":1}",
            0,
            "has no array; to import the object as one row, read it as ndjson",
        ),
        (
            "{\n\"a\":1}",
            0,
            "has no array; to import the object as one row, put [ ] around it",
        ),
        ("{a:1}", 0, "a member's name"),
        ("{\"a\" 1}", 0, "a colon"),
    ] {
        let (seen, error) = fatal(text.as_bytes(), array());
        assert_eq!(seen, rows, "{text}");
        assert!(error.to_string().contains(words), "{text}: {error}");
    }
    for text in ["{\"a\":[1]}", "{\"rows\":1}", "[1]"] {
        let options = Options {
            member: Some("rows".to_owned()),
            ..array()
        };
        assert_eq!(fatal(text.as_bytes(), options).0, 0);
    }
}

#[test]
fn all_arrays_of_an_object_are_found_before_the_first_row() {
    let named = |member: &str| Options {
        member: Some(member.to_owned()),
        ..array()
    };
    let check = |text: &str, options: &Options| {
        check_arrays(Input::new(text.as_bytes(), None).unwrap(), options)
    };
    let rows = format!(
        "[{}]",
        vec!["{\"key\":\"a]\",\"value\":1}"; 1_000].join(",\n")
    );
    let two = format!("{{\"a\":{rows},\"n\":1,\"b\":{rows}}}");
    let error = check(&two, &array()).unwrap_err();
    assert!(
        matches!(&error, ImportError::SecondArray { first, second } if first == "a" && second == "b"),
        "{error}"
    );
    check(&two, &named("b")).unwrap();
    for options in [array(), named("a")] {
        let twice = two.replace("\"b\"", "\"a\"");
        let error = check(&twice, &options).unwrap_err();
        assert!(
            matches!(&error, ImportError::ArrayTwice { member } if member == "a"),
            "{error}"
        );
    }
    // Other errors come with the rows before them.
    for text in [&rows, "{\"a\":[{} 2]}", "{\"a\":[1", "5", "{\"a\":1}"] {
        check(text, &array()).unwrap();
    }
    // What is after the end of the JSON is found before its rows, and lines are told from other text.
    for (text, lines) in [
        ("{\"a\":[{\"key\":1}]}\n{\"a\":[]}", true),
        ("{\"key\":\"a\",\"value\":[]}\n\n{\"key\":\"b\"", true),
        ("{\"a\":[],\n\"b\":1}\n{}", false),
        ("{\"a\":[]} {}", false),
        ("{\"a\":[]}\nx", false),
        ("[{\"key\":\"a\",\"value\":\"]\"}] x", false),
        ("[]\n[]", false),
    ] {
        let error = check(text, &array()).unwrap_err();
        assert!(
            matches!(error, ImportError::MoreText { of_lines, .. } if of_lines == lines),
            "{text}: {error}"
        );
    }
    // Rows beyond the limit of one are passed over in pieces.
    let long = format!("{{\"a\":[\"{}\"],\"b\":[]}}", "x".repeat(2 * MAX_ROW_BYTES));
    assert!(check(&long, &array()).is_err());
}

#[test]
fn an_object_that_may_be_a_row_is_not_one_around_rows() {
    let check = |text: &str, options: &Options| {
        check_arrays(Input::new(text.as_bytes(), None).unwrap(), options)
    };
    let two = array().key("id").key("at");
    for (text, options) in [
        ("{\"id\":\"single\",\"tags\":[]}", array().key("id")),
        ("{\"tags\":[{\"id\":1}],\"id\":\"a\"}", array().key("id")),
        ("{\"at\":1,\"id\":\"a\",\"tags\":[]}", two.clone()),
        ("{\"key\":\"a\",\"value\":[]}", array()),
    ] {
        let error = check(text, &options).unwrap_err();
        let own = matches!(&error, ImportError::OwnKey { one_line: true, .. });
        assert!(own, "{text}: {error}");
        let member = if text.contains("tags") {
            "tags"
        } else {
            "value"
        };
        let named = Options {
            member: Some(member.to_owned()),
            ..options
        };
        check(text, &named).unwrap();
    }
    for text in ["{\"a\": [ \"x\"]}", "{\"a\":[[]]}", "{\n\"a\":[1,{}]}"] {
        let error = check(text, &array().key("id")).unwrap_err();
        let is_one_line = !text.contains('\n');
        assert!(
            matches!(&error, ImportError::NotObjects { member, one_line }
                if member == "a" && *one_line == is_one_line),
            "{text}: {error}"
        );
    }
    for (text, options) in [
        ("{\"n\":1,\"a\":[ {\"id\":2}]}", array().key("id")),
        ("{\"n\":1,\"a\":[\n]}", array().key("id")),
        ("{\"at\":1,\"a\":[]}", two),
        ("{\"key\":\"a\",\"rows\":[]}", array()),
    ] {
        check(text, &options).unwrap();
    }
}
