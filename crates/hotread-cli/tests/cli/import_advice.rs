//! What an import says about a file or an option that cannot be meant as it is given.

use super::import::{created, values};
use super::{Place, Ran};
use std::io::Write;
use std::process::Stdio;

#[test]
fn rows_are_skipped_only_where_rows_were_committed() {
    let place = Place::new();
    let file = place.file("x.csv", "k,v\na,1\nb,2\n");
    let import = |more: &[&str]| place.run(&[&["import", "t", &file, "--key", "k"], more].concat());
    import(&["--replace", "--skip-rows", "1"]).failed(2, "cannot be used with");
    assert!(!place.db().exists());
    created(import(&[]));
    let ran = import(&["--skip-rows", "3"]);
    assert_eq!(ran.code, 0, "{ran:?}");
    let words = "nothing was read: --skip-rows is more than the 2 rows of the files\n";
    assert_eq!(ran.err, words);
    let ran = import(&["--skip-rows", "2"]);
    assert_eq!((ran.code, ran.err.as_str()), (0, ""));
}

#[test]
fn a_condition_on_a_table_that_is_not_there_creates_none() {
    let place = Place::with_table();
    let file = place.file("x.csv", "k,v\na,1\n");
    let import = |seq: &str| {
        place.run(&[
            "import",
            "u",
            &file,
            "--key",
            "k",
            "--replace",
            "--if-seq",
            seq,
        ])
    };
    import("5").failed(4, "there is no table u, so its last transaction is not 5");
    let shown = place.run(&["table", "show", "u"]);
    assert_eq!(shown.code, 3, "{shown:?}");
    assert_eq!(import("0").code, 0);
    assert_eq!(values(&place, "u").len(), 1);
}

#[test]
fn a_number_of_a_given_type_is_one_of_json() {
    let place = Place::new();
    let import = |number: &str, kind: &str| {
        let file = place.file("x.csv", format!("k,n\na,{number}\n"));
        let kind = format!("n={kind}");
        place.run(&["import", "t", &file, "--key", "k", "--types", &kind])
    };
    for number in ["007", "+1"] {
        import(number, "number").failed(1, "\"n\" is not of the type number");
    }
    import("1e5", "integer").failed(1, "\"n\" is not of the type integer");
    assert!(!place.db().exists());
    created(import("1.50", "number"));
    for number in ["1.50", "1e5", "9007199254740993"] {
        import(number, "number").ok();
        let value = place.run(&["get", "t", "a"]).ok();
        assert_eq!(value, format!("{{\"n\":{number}}}\n"));
    }
}

/// The types of a pipe's columns are detected in its first 8 MiB, before any row is imported.
#[test]
fn a_signal_before_the_first_row_is_reported() {
    use rustix::process::{Pid, Signal, kill_process};
    let place = Place::new();
    for (signal, code) in [(Signal::INT, 130), (Signal::TERM, 143)] {
        let args = [
            "import", "t", "-", "--format", "csv", "--key", "k", "--json",
        ];
        let mut child = place
            .command(&args)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut stdin = child.stdin.take().unwrap();
        // More than a pipe holds: the command reads, and then waits for more.
        let rows = "k,v\n".to_owned() + &"a,1\n".repeat(256 << 10);
        stdin.write_all(rows.as_bytes()).unwrap();
        kill_process(Pid::from_child(&child), signal).unwrap();
        let ran: Ran = child.wait_with_output().unwrap().into();
        drop(stdin);
        let error = ran.failed_json(code, "CLOSED");
        assert_eq!(
            error["message"],
            "stdin: interrupted (nothing was imported)"
        );
        assert!(!place.db().exists());
    }
}

#[test]
fn compressed_data_is_named_and_what_is_missing_of_it() {
    let place = Place::new();
    for (first, format) in [
        (&b"\xfd7zXZ\0\0\x04"[..], "xz"),
        (b"PK\x03\x04\x14\0", "zip"),
        (b"BZh91AY&SY\0", "bzip2"),
        (b"7z\xbc\xaf\x27\x1c\0", "7z"),
    ] {
        let file = place.file("x.csv", first);
        let words = format!("this is {format} data, which is not read; decompress it");
        place
            .run(&["import", "t", &file, "--key", "k"])
            .failed(1, &words);
    }
    let frames = include_bytes!("../../../hotread-store/src/import/testdata/two_frames.ndjson.zst");
    for cut in [frames.len() - 3, frames.len() - 20, 12, 7, 5] {
        let file = place.file("x.ndjson.zst", &frames[..cut]);
        let ran = place.run(&["import", "t", &file, "--dry-run"]);
        assert_eq!(ran.code, 1, "{cut}: {ran:?}");
        let words = "zstd: the data ends too early; check that the file is complete";
        assert!(ran.err.contains(words), "{cut}: {ran:?}");
    }
    assert!(!place.db().exists());
}

#[test]
fn comments_arrays_and_positions_are_told_apart() {
    let place = Place::new();
    let commented = place.file("c.csv", "# by hand\nk,v\na,1\n");
    let import = |more: &[&str]| place.run(&[&["import", "t", &commented], more].concat());
    let words = "if lines that begin with '#' are comments, give --comment '#'";
    import(&["--key", "k"]).failed(2, words);
    import(&["--key", "k", "--columns", "k,v"]).failed(1, words);
    created(import(&["--key", "k", "--comment", "#"]));

    let line = "{\"rows\":[{\"id\":1}]}";
    let words = "if an array of the object has the rows, give --format json";
    let import = |more: &[&str]| place.run_with(line, &[&["import", "t", "-"], more].concat());
    import(&["--key", "id"]).failed(1, words);
    import(&[]).failed(1, words);
    import(&["--key", "id", "--format", "json"]).ok();
    assert_eq!(values(&place, "t")[0].0, "1");

    let ran = place.run_with(
        "\n{\"key\":\"a\",\"value\":1e400}\n",
        &["import", "t", "-", "--format", "ndjson"],
    );
    let words = "line 2: the value is not JSON: number out of range at its line 1 column 5";
    ran.failed(1, words);
    let narrow = place.file("n.csv", "k,v\n1,2\n");
    let args = ["import", "t", &narrow, "--columns", "k", "--key", "k"];
    place
        .run(&args)
        .failed(1, "2 fields where 1 column is named");
    place
        .run(&["import", "t", &narrow, "--key", "k,k"])
        .failed(2, "--key names \"k\" twice; name it once");
}

#[test]
fn a_wrong_value_is_named_by_where_it_comes_from() {
    let place = Place::new();
    let mut serve = place.command(&["serve"]);
    let ran: Ran = serve.env("HOTREAD_LISTEN", "xx").output().unwrap().into();
    ran.failed(
        2,
        "invalid value 'xx' for the variable HOTREAD_LISTEN: give an IP address",
    );
    for listen in [&["--listen", "yy"][..], &["--listen=yy"]] {
        let mut serve = place.command(&[&["serve"], listen].concat());
        let ran: Ran = serve.env("HOTREAD_LISTEN", "xx").output().unwrap().into();
        ran.failed(2, "invalid value 'yy' for '--listen <");
    }
    place.run(&["serve", "--max-connections", "0"]).failed(
        2,
        "invalid value '0' for '--max-connections <N>': give at least 1",
    );
    place
        .run(&["set", "t", "k", "1", "--expires-at", "tomorrow"])
        .failed(
            2,
            "such as 2026-11-21T09:30:00Z, or a date, such as 2026-11-21",
        );
    let schema = place.file("s.json", "{\"properties\":{\"a\":{\"type\":\"intger\"}}}");
    place
        .run(&["table", "create", "t", "--schema", &schema])
        .failed(1, "\"intger\" at /properties/a/type cannot be used");
}
