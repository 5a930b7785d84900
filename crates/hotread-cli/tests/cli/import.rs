//! `hotread import`: formats, types, duplicates and replacements.

use super::{Place, Ran};

const CSV: &str = "code,name,note\nFI,Finland,\nSE,Sweden,\"north, too\"\nFI,Suomi,again\n";

pub(super) fn values(place: &Place, table: &str) -> Vec<(String, serde_json::Value)> {
    let records = place.run(&["ls", table, "--all", "--json"]).json();
    let of = |r: &serde_json::Value| (r["key"].as_str().unwrap().to_owned(), r["value"].clone());
    records.iter().map(of).collect()
}

/// Checks that the import created the table and reported it; returns its output.
#[track_caller]
pub(super) fn created(ran: Ran) -> String {
    assert_eq!(
        (ran.code, ran.err.as_str()),
        (0, "table t was created\n"),
        "{}",
        ran.out
    );
    ran.out
}

#[test]
fn csv_rows_become_objects_and_the_last_of_a_key_counts() {
    let place = Place::new();
    let file = place.file("countries.csv", CSV);
    let said = created(place.run(&["import", "t", &file, "--key", "code"]));
    let words = "3 rows read, 1 row had a key that appeared before; 2 records in t; ";
    assert!(said.starts_with(words), "{said}");
    assert!(said.contains(" rows/s; digest "), "{said}");
    let expected = [
        (
            "FI".to_owned(),
            serde_json::json!({ "name": "Suomi", "note": "again" }),
        ),
        (
            "SE".to_owned(),
            serde_json::json!({ "name": "Sweden", "note": "north, too" }),
        ),
    ];
    assert_eq!(values(&place, "t"), expected);
    let answer = place
        .run(&["import", "t", &file, "--key", "code", "--json"])
        .json()
        .remove(0);
    assert_eq!(
        (&answer["rows"], &answer["records"]),
        (&3.into(), &2.into())
    );
    assert_eq!(
        (&answer["created"], &answer["bad_rows"]),
        (&false.into(), &0.into())
    );
    assert_eq!(answer["seq"], 2);
}

#[test]
fn the_column_of_the_keys_has_to_be_named() {
    let place = Place::new();
    let file = place.file("countries.csv", CSV);
    place
        .run(&["import", "t", &file])
        .failed(2, "\"code\", \"name\", \"note\" with --key COLUMN");
    place
        .run(&["import", "t", &file, "--key", "cod"])
        .failed(2, "no column is named \"cod\"");
    assert!(!place.db().exists());
}

#[test]
fn files_without_header_and_with_comments() {
    let place = Place::new();
    let file = place.file("geo.txt", "# ranges\n1;5;DE\n\n6;9;FR\n");
    let ran = place.run(&[
        "import",
        "t",
        &file,
        "--format",
        "csv",
        "--no-header",
        "--columns",
        "start,end,country",
        "--comment",
        "#",
        "--key",
        "start",
        "--delimiter",
        ";",
    ]);
    created(ran);
    assert_eq!(
        values(&place, "t")[0].1,
        serde_json::json!({ "end": 5, "country": "DE" })
    );
    place
        .run(&["import", "t", &file, "--key", "start"])
        .failed(2, "--format");
    place
        .run(&["import", "t", &file, "--delimiter", "ab"])
        .failed(2, "one ASCII character");
    let numbered = [
        "import",
        "n",
        &file,
        "--no-header",
        "--comment",
        "#",
        "--delimiter",
        ";",
    ];
    let ran = place.run(&[&numbered[..], &["--key", "1"]].concat());
    assert_eq!(ran.code, 0, "{ran:?}");
    assert_eq!(
        values(&place, "n")[1],
        ("6".to_owned(), serde_json::json!({ "2": 9, "3": "FR" }))
    );
    let file = place.file("geo.tsv", "a\tb\n1\t2\n");
    assert_eq!(
        place
            .run(&["import", "t", &file, "--key", "a", "--json"])
            .code,
        0
    );
}

#[test]
fn ndjson_comes_from_files_and_from_stdin() {
    let place = Place::new();
    let lines =
        "{\"key\":\"a\",\"value\":[1.0],\"category\":\"c\"}\n\n{\"key\":\"b\",\"value\":null}";
    let file = place.file("x.jsonl", lines);
    created(place.run(&["import", "t", &file]));
    let before = values(&place, "t");
    for (table, options) in [("u", &["--format", "ndjson"][..]), ("v", &[])] {
        let ran = place.run_with(lines, &[&["import", table, "-"], options].concat());
        assert_eq!(ran.code, 0, "{ran:?}");
        assert_eq!(values(&place, table), before);
    }
    place
        .run_with("a,b\n", &["import", "u", "-"])
        .failed(2, "--format");
    place
        .run(&["import", "t", "-", "-"])
        .failed(2, "give `-` once");
    place
        .run(&["import", "t", &file, "--trim"])
        .failed(2, "--trim is for CSV");
    place
        .run(&["import", "t", &file, "--member", "a"])
        .failed(2, "--member is for JSON");
}

#[test]
fn a_replacement_makes_the_table_equal_the_file_in_one_step() {
    let place = Place::with_table();
    for key in ["old", "same", "changed"] {
        place.run(&["set", "t", key, "1"]).ok();
    }
    let record = |key: &str, value: u8| format!("{{\"key\":\"{key}\",\"value\":{value}}}\n");
    let lines = [
        record("same", 1),
        record("changed", 7),
        record("changed", 2),
        record("new", 3),
    ];
    let file = place.file("x.ndjson", lines.concat());
    let said = place.run(&["import", "t", &file, "--replace"]).ok();
    assert!(
        said.starts_with(
            "4 rows read, 1 row had a key that appeared before, 2 written, 1 deleted; 3 records in t; "
        ),
        "{said}"
    );
    let keys: Vec<_> = values(&place, "t")
        .into_iter()
        .map(|(key, _)| key)
        .collect();
    assert_eq!(keys, ["changed", "new", "same"]);
    let info = place
        .run(&["table", "show", "t", "--json"])
        .json()
        .remove(0);
    assert_eq!(info["seq"], 4);

    let bad = place.file("bad.ndjson", record("x", 1) + "oops\n");
    place
        .run(&["import", "t", &bad, "--replace"])
        .failed(1, "line 2: not JSON");
    assert_eq!(values(&place, "t").len(), 3);
    let empty = place.file("empty.ndjson", "");
    place
        .run(&["import", "t", &empty, "--replace"])
        .failed(1, "--allow-empty");
    assert_eq!(values(&place, "t").len(), 3);
    place
        .run(&["import", "t", &empty, "--replace", "--allow-empty"])
        .ok();
    assert_eq!(values(&place, "t").len(), 0);
}

#[test]
fn a_replacement_without_good_rows_is_refused() {
    let place = Place::with_table();
    for n in 0..30 {
        place.run(&["set", "t", &n.to_string(), "1"]).ok();
    }
    let bad = place.file("bad.ndjson", "{\"name\":\"a\",\"value\":1}\n".repeat(5));
    for options in [&["--skip-bad"][..], &[]] {
        let args = [&["import", "t", &bad, "--replace"], options].concat();
        let ran = place.run(&args);
        assert_eq!(ran.code, 1, "{ran:?}");
        assert_eq!(values(&place, "t").len(), 30);
    }
    let args = ["import", "t", &bad, "--replace", "--skip-bad"];
    place.run(&args).failed(1, "--allow-empty");
    let ran = place.run(&[&args[..], &["--allow-empty"]].concat());
    assert_eq!(ran.code, 7, "{ran:?}");
    assert_eq!(values(&place, "t").len(), 0);
}

#[test]
fn a_replacement_by_a_file_that_was_cut_off_is_refused() {
    let place = Place::with_table();
    let rows = |count: u32| -> String {
        let row = |n| format!("{{\"key\":\"{n}\",\"value\":1}}\n");
        (0..count).map(row).collect()
    };
    let whole = place.file("whole.ndjson", rows(100));
    let cut = place.file("cut.ndjson", rows(10));
    place.run(&["import", "t", &whole, "--replace"]).ok();
    place
        .run(&["import", "t", &cut, "--replace"])
        .failed(4, "delete 90 of 100 records");
    place
        .run(&["import", "t", &cut, "--replace", "--max-delete", "89%"])
        .failed(4, "--max-delete");
    place
        .run(&["import", "t", &cut, "--replace", "--if-seq", "7"])
        .failed(4, "should be at seq 7, but is at seq 1");
    place
        .run(&["import", "t", &cut, "--replace", "--max-delete", "101"])
        .failed(2, "from 0% to 100%");
    let allowed = ["--max-delete", "90", "--if-seq", "1"];
    place
        .run(&[&["import", "t", &cut, "--replace"][..], &allowed].concat())
        .ok();
    assert_eq!(values(&place, "t").len(), 10);
}

#[test]
fn rows_that_are_large_make_small_transactions() {
    let place = Place::new();
    let large = "x".repeat(900_000);
    let lines = (0..40).map(|n| format!("{{\"key\":\"k{n}\",\"value\":\"{large}\"}}\n"));
    let file = place.file("x.ndjson", lines.collect::<String>());
    created(place.run(&["import", "t", &file]));
    assert_eq!(
        place.run(&["table", "show", "t", "--json"]).json()[0]["seq"],
        5
    );
}

/// The example `key,on,percent` of the README, for its type.
#[test]
fn types_are_told_by_the_columns_of_all_files() {
    let place = Place::new();
    let one = place.file(
        "one.csv",
        "key,on,percent,code,share\nexit,false,,007,1\ncheckout,true,50,008,0.5\n",
    );
    let two = place.file("two.csv", "key,on,percent,code\nmore,true,5,x\n");
    created(place.run(&["import", "t", &one, &two, "--key", "key"]));
    let json = |text: &str| serde_json::from_str::<serde_json::Value>(text).unwrap();
    assert_eq!(
        values(&place, "t"),
        [
            (
                "checkout".into(),
                json(r#"{"on":true,"percent":50,"code":"008","share":0.5}"#)
            ),
            (
                "exit".into(),
                json(r#"{"on":false,"percent":null,"code":"007","share":1}"#)
            ),
            ("more".into(), json(r#"{"on":true,"percent":5,"code":"x"}"#)),
        ]
    );
    let types = |types: &str, value: &str| {
        let args = ["import", "t", &one, "--key", "key", "--types", types];
        let ran = place.run(&args);
        assert_eq!(ran.code, 0, "{ran:?}");
        assert_eq!(values(&place, "t")[0].1, json(value), "{types}");
    };
    types(
        "text",
        r#"{"on":"true","percent":"50","code":"008","share":"0.5"}"#,
    );
    types(
        "text,percent=json",
        r#"{"on":"true","percent":50,"code":"008","share":"0.5"}"#,
    );
    types(
        "share=text",
        r#"{"on":true,"percent":50,"code":"008","share":"0.5"}"#,
    );
    let import = |types: &str| place.run(&["import", "t", &one, "--key", "key", "--types", types]);
    import("code=integer").failed(1, "read the column as text with --types COLUMN=text");
    import("cod=text").failed(2, "no column is named \"cod\"");
    import("code=int").failed(2, "the types are text, integer");
    import("code").failed(2, "COLUMN=TYPE");
}

/// A wrong guess stops the import with advice.
#[test]
fn a_pipe_is_judged_by_its_beginning_and_stops_where_that_was_wrong() {
    let place = Place::new();
    let mut file = "key,v\n".to_owned();
    let mut rows = 0;
    while file.len() <= hotread_store::import::SAMPLE_BYTES {
        file.push_str(&format!("k{},{}\n", rows % 10, "1".repeat(12)));
        rows += 1;
    }
    file.push_str("x,late\n");
    let args = ["import", "t", "-", "--format", "csv", "--key", "key"];
    let ran = place.run_with(&file, &args);
    assert_eq!(ran.code, 1, "{ran:?}");
    for words in [
        "\"v\" is not of the type integer",
        "--types COLUMN=text",
        "continues after them",
    ] {
        assert!(ran.err.contains(words), "{}", ran.err);
    }
    let ran = place.run_with(&file, &[&args[..], &["--types", "v=text"]].concat());
    assert_eq!(ran.code, 0, "{ran:?}");
    // A file is read to its end first.
    let path = place.file("x.csv", &file);
    let ran = place.run(&["import", "u", &path, "--key", "key"]);
    assert_eq!(ran.code, 0, "{ran:?}");
    assert_eq!(values(&place, "u"), values(&place, "t"));
}

#[test]
fn duplicates_are_counted_listed_and_refused_as_asked_for() {
    let place = Place::new();
    let one = place.file("one.csv", CSV);
    let two = place.file("two.csv", "code,name,note\nSE,Sverige,\n");
    let ran = place.run(&["import", "t", &one, &two, "--key", "code", "-v"]);
    assert_eq!(ran.code, 0, "{ran:?}");
    for words in [
        "one.csv, line 4: the key \"FI\" appeared before",
        "two.csv, line 2: the key \"SE\" appeared before",
    ] {
        assert!(ran.err.contains(words), "{}", ran.err);
    }
    let import = ["import", "t", &one, &two, "--key", "code"];
    let answer = place
        .run(&[&import[..], &["--json"]].concat())
        .json()
        .remove(0);
    assert_eq!(answer["duplicates"], 2);
    for more in [&["--unique"][..], &["--unique", "--replace"]] {
        place.run(&[&import[..], more].concat()).failed(
            4,
            "one.csv, line 4: the key \"FI\" appeared before, which --unique refuses",
        );
    }
}

#[test]
fn exports_come_back_identical_from_every_format() {
    let place = Place::with_table();
    for (key, value) in [
        ("null", "null"),
        ("text", r#""\u0000\n\t\"ä\u2028'\\""#),
        ("empty", r#""""#),
        ("missing", r#"{"a":null,"c":{}}"#),
        (
            "numbers",
            "[0,-0,1.0,1.50,1e5,1E-5,9007199254740993,123456789012345678901234567890]",
        ),
        ("a,b\"c;#=", "true"),
    ] {
        place.run(&["set", "t", key, value]).ok();
    }
    let more = [
        "--category",
        "a,\"b",
        "--expires-at",
        "2099-01-01T00:00:00.250Z",
    ];
    place
        .run(&[&["set", "t", "full", "7"][..], &more].concat())
        .ok();
    let content = place.content(&place.db(), "t");
    for format in ["csv", "tsv", "ndjson", "json"] {
        let file = format!("out.{format}");
        let ran = place.run(&["export", "t", "-o", &file]);
        assert_eq!(ran.code, 0, "{ran:?}");
        let other = Place::new();
        let path = place.path(&file);
        let ran = other.run(&["import", "u", path.to_str().unwrap()]);
        assert_eq!(ran.code, 0, "{ran:?}");
        assert_eq!(other.content(&other.db(), "u"), content, "{format}");
        let text = place.run(&["export", "t", "--format", format]).ok();
        assert_eq!(text, std::fs::read_to_string(&path).unwrap());
        let ran = other.run_with(&text, &["import", "v", "-", "--format", format]);
        assert_eq!(ran.code, 0, "{ran:?}");
        assert_eq!(other.content(&other.db(), "v"), content, "{format}");
    }
    place
        .run(&["export", "t", "-o", "out.csv.gz"])
        .failed(2, "pipe it through gzip");
}
