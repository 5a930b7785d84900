//! `hotread import` with bad rows, refused rows and interruptions: how it stops, and how it goes on.

use super::import::{created, values};
use super::{Place, Ran};

#[test]
fn a_bad_row_stops_it_and_what_came_before_stays() {
    let place = Place::new();
    let mut lines: Vec<_> = (0..2_500)
        .map(|n| format!("{{\"key\":\"k{n:04}\",\"value\":{n}}}"))
        .collect();
    lines[1_800] = "{\"key\":\"bad\"}".into();
    let file = place.file("x.ndjson", lines.join("\n"));
    let ran = place.run(&["import", "t", &file]);
    assert_eq!(ran.code, 1);
    let error = ran.err.lines().last().unwrap();
    for words in [
        "x.ndjson, line 1801: ",
        "\"value\" is missing",
        "1,800 rows before it were",
        "--skip-rows 1800 continues after them",
        "--skip-bad",
    ] {
        assert!(error.contains(words), "{error}");
    }
    assert_eq!(values(&place, "t").len(), 1_800);
}

#[test]
fn a_file_that_is_bad_from_the_start_leaves_nothing_behind() {
    let place = Place::new();
    let file = place.file("x.ndjson", "hello\n");
    place
        .run(&["import", "t", &file])
        .failed(1, "line 1: not JSON");
    place
        .run(&["import", "t", &file, "--json"])
        .failed_json(1, "BAD_REQUEST");
    place
        .run(&["import", "t", "none.ndjson"])
        .failed(1, "none.ndjson");
    place
        .run(&["import", "t", "none.ndjson", "--json"])
        .failed_json(1, "NO_SUCH_FILE");
    place
        .run(&["import", "t", ".", "--format", "csv", "--key", "a"])
        .failed(1, "directory");
    let empty = place.file("empty.csv", "");
    place.run(&["import", "t", &empty, "--key", "a"]).failed(
        2,
        "the file is empty; to import no rows, name the columns with --columns",
    );
    assert!(!place.db().exists());
}

#[test]
fn an_empty_input_is_no_rows_only_as_ndjson() {
    let place = Place::new();
    let words = "stdin is empty; give --format ndjson if no rows are meant";
    place.run_with("", &["import", "t", "-"]).failed(2, words);
    let plain = place.file("plain", "");
    place
        .run(&["import", "t", &plain])
        .failed(2, "plain is empty");
    for format in ["csv", "json"] {
        let ran = place.run_with("", &["import", "t", "-", "--format", format]);
        assert!([1, 2].contains(&ran.code), "{ran:?}");
        assert!(ran.err.starts_with("hotread: stdin: "), "{ran:?}");
    }
    assert!(!place.db().exists());
    let ndjson = ["import", "t", "-", "--format", "ndjson"];
    let said = created(place.run_with("", &ndjson));
    assert!(said.starts_with("0 rows read; 0 records in t; "), "{said}");
    assert!(!said.contains("rows/s"), "{said}");
}

#[test]
fn an_object_with_two_arrays_is_refused_before_its_first_row() {
    let place = Place::new();
    let rows = |key: &str| format!("[{{\"key\":\"{key}\",\"value\":1}}]");
    let two = format!("{{\"a\": {}, \"n\": 1, \"b\": {}}}", rows("x"), rows("y"));
    let file = place.file("two.json", &two);
    let words =
        "a second array, in the member \"b\" after \"a\"; name the rows' member with --member NAME";
    for more in [&[][..], &["--skip-bad"], &["--dry-run"], &["--replace"]] {
        place
            .run(&[&["import", "t", &file], more].concat())
            .failed(2, words);
    }
    place
        .run_with(&two, &["import", "t", "-", "--format", "json"])
        .failed(2, words);
    let good = place.file("good.json", rows("z"));
    place.run(&["import", "t", &good, &file]).failed(2, words);
    let twice = place.file("twice.json", two.replace("\"b\"", "\"a\""));
    place
        .run(&["import", "t", &twice, "--member", "a"])
        .failed(1, "the array \"a\" twice");
    assert!(!place.db().exists(), "nothing was imported");
    created(place.run(&["import", "t", &file, "--member", "b"]));
    assert_eq!(values(&place, "t")[0].0, "y");
}

#[test]
fn lines_and_single_objects_are_not_taken_for_an_array() {
    let place = Place::new();
    let line = "{\"id\":\"a\",\"tags\":[{\"id\":\"x\"}]}\n";
    let lines = place.file("lines.json", [line, line].concat());
    let import = |file: &str, more: &[&str]| {
        place.run(&[&["import", "t", file, "--key", "id"], more].concat())
    };
    let words = "line 2: there is more text after the end of the JSON; each line is an object, so \
                 read it as ndjson (--format ndjson)";
    for more in [&[][..], &["--skip-bad"], &["--replace"]] {
        import(&lines, more).failed(2, words);
    }
    place
        .run_with(
            [line, line].concat(),
            &["import", "t", "-", "--format", "json", "--key", "id"],
        )
        .failed(2, words);
    let trailing = place.file("trailing.json", "[{\"id\":1}] trailing");
    import(&trailing, &[]).failed(1, "there is more text after the end of the JSON");

    let single = place.file("single.json", "{\"id\":\"single\",\"tags\":[]}");
    let words = "the object has the key's member \"id\" itself, outside of its array \"tags\"; to \
                 import the object as one row, read it as ndjson; otherwise name the rows' member \
                 with --member NAME (--format ndjson)";
    import(&single, &[]).failed(2, words);
    let pretty = place.file(
        "pretty.json",
        "{\n  \"id\": \"p\",\n  \"tags\": [\"x\"]\n}\n",
    );
    let words = "put [ ] around it; otherwise name the rows' member with --member NAME";
    import(&pretty, &["--skip-bad"]).failed(2, words);
    assert!(!place.db().exists(), "nothing was imported");

    created(import(&lines, &["--format", "ndjson"]));
    import(&single, &["--format", "ndjson"]).ok();
    let keys: Vec<_> = values(&place, "t")
        .into_iter()
        .map(|(key, _)| key)
        .collect();
    assert_eq!(keys, ["a", "single"]);
}

#[test]
fn quotes_delimiters_and_encodings_are_named_where_they_are_wrong() {
    let place = Place::new();
    let run = |text: &[u8], args: &[&str]| {
        let file = place.file("x.csv", text);
        place.run(&[&["import", "t", &file, "--key", "k"], args].concat())
    };
    run(b"k,v\na,1\nb,\"x\"y\n", &["--replace"])
        .failed(1, "line 3: text follows a closing quote; double each quote");
    run(b"k,v\na,\"x\"y\n", &["--flexible"]).failed(1, "with --quote none");
    run(b"k,v\n\"a\" ,1\n", &[]).failed(1, "--trim allows blanks");
    // The file is read with another delimiter than it has.
    let words = "if ';' separates the columns, give --delimiter ';'";
    run(b"k;first, last\na;1\n", &[]).failed(2, words);
    let words = "if '\\t' separates the columns, give --delimiter '\\t'";
    run(b"k\tfirst, last\na\t1\n", &[]).failed(2, words);
    let columns = ["--columns", "k,v"];
    run(b"a;1\n", &columns).failed(1, "separates the fields, give --delimiter CHAR");
    for text in [&b"k,v\na,\xe4\n"[..], b"k,\xe4\na,1\n"] {
        run(text, &[]).failed(
            1,
            "name the file's encoding with --encoding, such as --encoding latin1",
        );
    }
    let lines = place.file("x.ndjson", b"{\"key\":\"a\",\"value\":\"\xe4\"}\n");
    place.run(&["import", "t", &lines]).failed(
        1,
        "the row is not UTF-8 (byte 20); name the file's encoding with --encoding",
    );
    assert!(!place.db().exists());

    created(place.run(&["import", "t", &lines, "--encoding", "latin1"]));
    for (text, args) in [
        (&b"k,v\na,\"x\"y\n"[..], &["--quote", "none"][..]),
        (b"k,v\n\"a\" ,1\n", &["--trim"]),
        (b"k;first, last\na;1\n", &["--delimiter", ";"]),
        (b"k\tfirst, last\na\t1\n", &["--delimiter", "\\t"]),
        (b"a;1\n", &["--columns", "k,v", "--delimiter", ";"]),
        (b"k,v\na,\xe4\n", &["--encoding", "latin1"]),
        (b"k|v\na|1\n", &[]),
    ] {
        run(text, args).ok();
        assert_eq!(values(&place, "t")[0].0, "a");
    }
}

#[test]
fn a_type_is_given_once_and_to_no_key() {
    let place = Place::new();
    let file = place.file("x.csv", "k,v\n1,2\n");
    let run = |types: &str| place.run(&["import", "t", &file, "--key", "k", "--types", types]);
    run("v=integer,v=text").failed(2, "--types names the column \"v\" twice");
    run("v=integer,text,auto").failed(2, "--types says text or auto twice");
    run("k=integer").failed(2, "\"k\" has no type, since it is part of the key");
    assert!(!place.db().exists());
    let kept = [
        "import",
        "t",
        &file,
        "--key",
        "k",
        "--types",
        "k=text",
        "--keep-key",
    ];
    created(place.run(&kept));
    run("v=text,auto").ok();
    assert_eq!(values(&place, "t")[0].1, serde_json::json!({ "v": "2" }));
}

#[test]
fn bad_rows_are_left_out_if_asked_for() {
    let place = Place::new();
    let file = place.file("x.csv", "k,v\na,1\n,2\nb,3,4\nc,5\n");
    let ran = place.run(&["import", "t", &file, "--key", "k", "--skip-bad"]);
    assert_eq!(ran.code, 7, "{ran:?}");
    assert!(
        ran.out
            .starts_with("4 rows read, 2 left out; 2 records in t; "),
        "{}",
        ran.out
    );
    assert!(
        ran.err.contains("x.csv, line 3: the key is empty"),
        "{}",
        ran.err
    );
    assert!(
        ran.err.contains("x.csv, line 4: the row has 3 fields"),
        "{}",
        ran.err
    );
    let ran = place.run(&["import", "t", &file, "--key", "k", "--skip-bad", "--json"]);
    assert_eq!((ran.code, ran.err.as_str()), (7, ""));
    let answer: serde_json::Value = serde_json::from_str(&ran.out).unwrap();
    assert_eq!(
        (&answer["bad_rows"], &answer["bad"][0]["line"]),
        (&2.into(), &3.into())
    );
}

#[test]
fn many_bad_rows_are_counted_not_listed() {
    let place = Place::new();
    let file = place.file("x.ndjson", "{}\n".repeat(250));
    let ran = place.run(&["import", "t", &file, "--skip-bad"]);
    assert_eq!(ran.code, 7);
    assert_eq!(ran.err.lines().count(), 102);
    assert!(ran.err.ends_with("and 150 more bad rows\n"), "{}", ran.err);
}

#[test]
fn the_schema_judges_row_by_row() {
    let schema = |place: &Place| {
        let file = place.file("s.json", r#"{"type": "number"}"#);
        place.run(&["table", "create", "t", "--schema", &file]).ok();
    };
    let lines: String = (0..1_500)
        .map(|n| match n {
            1_200 | 1_300 => format!("{{\"key\":\"a\",\"value\":\"{n}\"}}\n"),
            n => format!(
                "{{\"key\":\"{}\",\"value\":{n}}}\n",
                if n % 2 == 0 { "a" } else { "b" }
            ),
        })
        .collect();
    let place = Place::new();
    schema(&place);
    let file = place.file("x.ndjson", &lines);
    let ran = place.run(&["import", "t", &file, "--json"]);
    let error = ran.failed_json(4, "SCHEMA_VIOLATION");
    let message = error["message"].as_str().unwrap();
    assert!(
        message.contains("line 1201: ") && message.contains("1,200 rows before it"),
        "{message}"
    );
    assert_eq!(values(&place, "t")[0].1, 1_198);

    let place = Place::new();
    schema(&place);
    let file = place.file("x.ndjson", &lines);
    let ran = place.run(&["import", "t", &file, "--skip-bad"]);
    assert_eq!(ran.code, 7);
    assert!(
        ran.err.contains("line 1201: ") && ran.err.contains("line 1301: "),
        "{}",
        ran.err
    );
    assert_eq!(
        values(&place, "t"),
        [("a".into(), 1_498.into()), ("b".into(), 1_499.into())]
    );
    place.run(&["rm", "t", "a"]).ok();

    let bad = place.file(
        "y.ndjson",
        "{\"key\":\"a\",\"value\":1}\n{\"key\":\"c\",\"value\":\"x\"}\n",
    );
    place
        .run(&["import", "t", &bad, "--replace"])
        .failed(4, "line 2: ");
    let ran = place.run(&["import", "t", &bad, "--replace", "--skip-bad"]);
    assert_eq!(ran.code, 7, "{ran:?}");
    assert_eq!(values(&place, "t"), [("a".into(), 1.into())]);
}

#[test]
fn a_file_that_breaks_off_says_how_far_it_came() {
    let place = Place::new();
    let file = place.file("x.csv", "k,v\na,1\nb,2\n\"c,3\n");
    let ran = place.run(&["import", "t", &file, "--key", "k"]);
    assert_eq!(ran.code, 1);
    let words = "x.csv: line 4: a quote in the row that begins here is never closed";
    assert!(
        ran.err.contains(words) && ran.err.contains("2 rows before it were"),
        "{}",
        ran.err
    );
    assert_eq!(values(&place, "t").len(), 2);
}

#[test]
fn an_import_goes_on_where_it_stopped() {
    let place = Place::new();
    let row = |n: u32| match n {
        2_100 => "oops\n".to_owned(),
        n => format!("{{\"key\":\"{n}\",\"value\":{n}}}\n"),
    };
    let file = place.file("x.ndjson", (0..3_000).map(row).collect::<String>());
    let ran = place.run(&["import", "t", &file]);
    assert!(ran.err.contains("--skip-rows 2100"), "{}", ran.err);
    let ran = place.run(&[
        "import",
        "t",
        &file,
        "--skip-rows",
        "2100",
        "--skip-bad",
        "--json",
    ]);
    assert_eq!(ran.code, 7, "{ran:?}");
    let answer: serde_json::Value = serde_json::from_str(&ran.out).unwrap();
    assert_eq!(
        (&answer["rows"], &answer["records"]),
        (&900.into(), &2_999.into())
    );
    assert_eq!(answer["bad"][0]["line"], 2_101);
}

#[test]
fn a_signal_ends_it_and_says_how_to_go_on() {
    use std::io::Write;
    let place = Place::new();
    let mut child = place
        .command(&["import", "t", "-", "--format", "ndjson"])
        .stdin(std::process::Stdio::piped())
        .stdout(std::process::Stdio::piped())
        .stderr(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    let mut stdin = child.stdin.take().unwrap();
    for n in 0..2_500 {
        writeln!(stdin, "{{\"key\":\"{n}\",\"value\":{n}}}").unwrap();
    }
    stdin.flush().unwrap();
    // The input stays open, so the import waits for more after it has created the table.
    let deadline = std::time::Instant::now() + std::time::Duration::from_secs(60);
    let committed = || place.run(&["table", "show", "t", "--json"]);
    while committed().out.is_empty() || committed().json()[0]["records"] != 2_000 {
        assert!(std::time::Instant::now() < deadline, "it does not begin");
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
    let pid = rustix::process::Pid::from_child(&child);
    rustix::process::kill_process(pid, rustix::process::Signal::INT).unwrap();
    let ran: Ran = child.wait_with_output().unwrap().into();
    drop(stdin);
    assert_eq!(ran.code, 130, "{ran:?}");
    for words in [
        "interrupted",
        "2,500 rows before it were imported",
        "--skip-rows 2500",
    ] {
        assert!(ran.err.contains(words), "{}", ran.err);
    }
    assert_eq!(values(&place, "t").len(), 2_500);
}
