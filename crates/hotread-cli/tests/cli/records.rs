//! `hotread set`, `get`, `rm`, `ls`, `search` and `history`.

use super::{Place, Ran};
use std::process::Stdio;

#[test]
fn what_is_set_is_got() {
    let place = Place::with_table();
    assert_eq!(
        place.run(&["set", "t", "a", r#" {"x": 1.0} "#]).ok(),
        "a was set, seq 1\n"
    );
    assert_eq!(place.run(&["get", "t", "a"]).ok(), "{\"x\":1.0}\n");
    let record = place.run(&["get", "t", "a", "--json"]).json().remove(0);
    assert_eq!((&record["key"], &record["seq"]), (&"a".into(), &1.into()));
    assert_eq!(record["category"], "general");
    let committed = place
        .run(&["--json", "set", "t", "a", "-5"])
        .json()
        .remove(0);
    assert_eq!(committed["position"]["seq"], 2);
    assert_eq!(place.run(&["get", "t", "a"]).ok(), "-5\n");
}

#[test]
fn text_is_stored_as_a_json_string_and_given_back_to_the_byte() {
    let place = Place::with_table();
    let set = |text| place.run(&["set", "t", "a", text]);
    set("hello world").failed(1, "--string");
    place
        .run(&["set", "t", "a", "hello world", "--string"])
        .ok();
    assert_eq!(place.run(&["get", "t", "a"]).ok(), "\"hello world\"\n");
    let text = "two lines\n\twith \u{1b}[31m \"quotes\" and no end";
    place
        .run_with(text, &["set", "t", "a", "-", "--string"])
        .ok();
    assert_eq!(place.run(&["get", "t", "a", "--string"]).ok(), text);
    place.run_with("[1,\n 2]\n", &["set", "t", "a", "-"]).ok();
    assert_eq!(place.run(&["get", "t", "a"]).ok(), "[1,2]\n");
    place
        .run(&["get", "t", "a", "--string"])
        .failed(1, "not a string");
    place
        .run_with(b"\xff", &["set", "t", "a", "-", "--string"])
        .failed(1, "not UTF-8");
    place
        .run_with("", &["set", "t", "a", "-"])
        .failed(1, "not JSON");
    place
        .run_with(vec![b' '; 5 << 20], &["set", "t", "a", "-"])
        .failed(1, "at most 1048576");
}

#[test]
fn preconditions_hold_or_nothing_happens() {
    let place = Place::with_table();
    place.run(&["set", "t", "a", "1", "--if-absent"]).ok();
    place
        .run(&["set", "t", "a", "2", "--if-absent"])
        .failed(4, "should be absent");
    let error = place.run(&["set", "t", "a", "2", "--if-seq", "7", "--json"]);
    let error = error.failed_json(4, "PRECONDITION_FAILED");
    assert_eq!((&error["key"], &error["seq"]), (&"a".into(), &1.into()));
    place.run(&["set", "t", "a", "2", "--if-seq", "1"]).ok();
    place
        .run(&["rm", "t", "a", "--if-seq", "1"])
        .failed(4, "precondition failed");
    place
        .run(&["rm", "t", "a", "b", "--if-seq", "1"])
        .failed(2, "just one key");
    place.run(&["rm", "t", "a", "--if-seq", "2"]).ok();
    place
        .run(&["rm", "t", "a", "--if-seq", "2"])
        .failed(4, "is absent");
}

#[test]
fn a_transaction_id_makes_trying_again_harmless() {
    let place = Place::with_table();
    let set = |value| place.run(&["set", "t", "a", value, "--txn-id", "once"]);
    assert_eq!(set("1").ok(), "a was set, seq 1\n");
    assert_eq!(set("1").ok(), "a was set, seq 1\n");
    set("2").failed(4, "was used at seq 1");
    let rm = || place.run(&["rm", "t", "a", "--txn-id", "twice"]).ok();
    assert_eq!(rm(), rm());
}

#[test]
fn rm_deletes_what_is_there_and_says_what_is_not() {
    let place = Place::with_table();
    for key in ["a", "b", "c"] {
        place.run(&["set", "t", key, "1"]).ok();
    }
    let done = place.run(&["rm", "t", "a", "b", "a"]).ok();
    assert_eq!(done, "2 records were deleted, seq 4\n");
    place
        .run(&["rm", "t", "a"])
        .failed(3, "\"a\" in table t; 0 records were deleted");
    place
        .run(&["rm", "t", "c", "x"])
        .failed(3, "\"x\" in table t; 1 record was deleted");
    assert_eq!(place.run(&["ls", "t", "--json"]).ok(), "");
    place
        .run(&["rm", "t", "x", "y", "z"])
        .failed(3, "\"x\" in table t, nor 2 others; 0 records");
    place.run(&["get", "t", "c"]).failed(3, "no record \"c\"");
}

#[test]
fn what_has_expired_is_not_there() {
    let place = Place::with_table();
    let set = place.run(&[
        "set",
        "t",
        "old",
        "1",
        "--expires-at",
        "2020-01-01T00:00:00Z",
    ]);
    assert_eq!(
        (set.code, set.err.as_str()),
        (
            0,
            "the record has expired already, and reads treat it as absent\n"
        )
    );
    place
        .run(&["set", "t", "new", "1", "--ttl", "1h", "--category", "c"])
        .ok();
    let got = place.run(&["get", "t", "old"]);
    assert_eq!(got.code, 3, "{got:?}");
    let list = place.run(&["ls", "t"]).ok();
    assert!(!list.contains("old") && list.contains("new"), "{list}");
    assert!(list.starts_with("KEY  SEQ  CATEGORY  EXPIRES"), "{list}");
    place
        .run(&["set", "t", "x", "1", "--ttl", "1h", "--expires-at", "5"])
        .failed(2, "cannot be");
    place
        .run(&["set", "t", "x", "1", "--ttl", "soon"])
        .failed(2, "--ttl");
    place
        .run(&["set", "t", "x", "1", "--expires-at", "soon"])
        .failed(2, "RFC 3339");
}

#[test]
fn what_has_expired_does_not_count_in_lists() {
    let place = Place::with_table();
    place.run(&["set", "t", "b", "1"]).ok();
    // Written last, so that no later command that writes deletes it.
    let old = ["--expires-at", "2020-01-01T00:00:00Z"];
    let set = place.run(&[&["set", "t", "a", "1"], &old[..]].concat());
    assert_eq!(set.code, 0, "{set:?}");
    let list = place.run(&["ls", "t", "--limit", "1"]).out;
    assert_eq!(list, "KEY  SEQ  VALUE\nb    1    1\n");
    place.run(&["rm", "t", "a"]).failed(3, "no record \"a\"");
}

/// Returns a table with the keys k0000 to k1499, in one import.
fn many() -> Place {
    let place = Place::new();
    let lines = (0..1_500).map(|n| format!("{{\"key\":\"k{n:04}\",\"value\":{n}}}\n"));
    let file = place.file("many.ndjson", lines.collect::<String>());
    assert_eq!(place.run(&["import", "t", &file]).code, 0);
    place
}

#[test]
fn lists_are_cut_and_go_on() {
    let place = many();
    let list = place.run(&["ls", "t"]);
    assert_eq!((list.code, list.out.lines().count()), (0, 101));
    assert!(list.err.contains("--after 'k0099'"), "{}", list.err);
    assert_eq!(list.out.lines().next(), Some("KEY    SEQ  VALUE"));
    assert_eq!(list.out.lines().nth(1), Some("k0000  1    0"));
    let keys = |args: &[&str]| -> Vec<String> {
        let all = [&["ls", "t", "--json"], args].concat();
        let lines = place.run(&all).out;
        let record = |line| serde_json::from_str::<serde_json::Value>(line).unwrap();
        let key = |line| record(line)["key"].as_str().unwrap().to_owned();
        lines.lines().map(key).collect()
    };
    assert_eq!(
        keys(&["--limit", "2", "--after", "k0099"]),
        ["k0100", "k0101"]
    );
    assert_eq!(keys(&["--all"]).len(), 1_500);
    assert_eq!(keys(&["--limit", "1200"]).len(), 1_200);
    assert_eq!(keys(&["--prefix", "k14", "--all"]).len(), 100);
    assert_eq!(keys(&["--prefix", "x"]).len(), 0);
    assert_eq!(keys(&["--category", "x"]).len(), 0);
    assert_eq!(place.run(&["ls", "t", "--prefix", "x"]).err, "no records\n");
}

#[test]
fn a_pipe_that_is_closed_ends_it_quietly() {
    let place = many();
    for args in [
        &["ls", "t", "--all", "--json"][..],
        &["ls", "t", "--all"],
        &["export", "t"],
    ] {
        let mut command = place.command(args);
        let mut child = command
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        drop(child.stdout.take());
        let ran: Ran = child.wait_with_output().unwrap().into();
        assert_eq!((ran.code, ran.err.as_str()), (0, ""), "{args:?}");
    }
}

#[test]
#[cfg(target_os = "linux")]
fn output_that_cannot_be_written_is_an_error() {
    let place = Place::with_table();
    place.run(&["set", "t", "a", "1"]).ok();
    for args in [&["get", "t", "a"][..], &["export", "t"], &["--help"]] {
        let full = std::fs::OpenOptions::new()
            .write(true)
            .open("/dev/full")
            .unwrap();
        let ran: Ran = place.command(args).stdout(full).output().unwrap().into();
        ran.failed(1, "cannot write to stdout: No space left");
    }
}

#[test]
fn searches_find_words() {
    let place = Place::new();
    place.run(&["table", "create", "t", "--search"]).ok();
    place
        .run(&["set", "t", "a", r#"{"name": "Grand Hôtel"}"#])
        .ok();
    place
        .run(&["set", "t", "b", r#"{"name": "Inn"}"#, "--category", "small"])
        .ok();
    let found = place.run(&["search", "t", "hotel gra*"]).ok();
    assert!(found.contains("Grand") && !found.contains("Inn"), "{found}");
    assert_eq!(
        place
            .run(&["search", "t", "inn", "--category", "large", "--json"])
            .ok(),
        ""
    );
    assert_eq!(
        place
            .run(&["search", "t", "inn", "--category", "small", "--json"])
            .json()
            .len(),
        1
    );
    let cut = place.run(&["search", "t", "name", "--limit", "1"]);
    assert_eq!((cut.code, cut.out.lines().count()), (0, 2));
    let rest = "there are more than these 1; give a higher --limit, or more words\n";
    assert_eq!(cut.err, rest);
    // A list of all matches is not cut, even if the limit equals their number.
    let whole = place.run(&["search", "t", "name", "--limit", "2"]).ok();
    assert_eq!(whole.lines().count(), 3);
    place.run(&["table", "create", "plain"]).ok();
    place.run(&["search", "plain", "x"]).failed(1, "--search");
    place
        .run(&["search", "t", "x", "--limit", "1001"])
        .failed(2, "1 to 1000");
    for query in ["", " ", "*", "** *"] {
        place
            .run(&["search", "t", query])
            .failed(2, "give a word to search for");
    }
}

#[test]
fn the_history_tells_what_happened_the_newest_last() {
    let place = Place::with_table();
    place.run(&["set", "t", "a", "1"]).ok();
    place.run(&["set", "t", "b", "[2]"]).ok();
    place.run(&["rm", "t", "a"]).ok();
    let shown = place.run(&["history", "t"]).ok();
    let words: Vec<Vec<&str>> = shown
        .lines()
        .map(|line| line.split_whitespace().collect())
        .collect();
    assert_eq!(words[0], ["SEQ", "TIME", "KEY", "ACTOR"]);
    assert!(words[1..].iter().all(|words| words[4] == "hotread"));
    let ops: Vec<_> = words[1..].iter().map(|w| (w[0], w[2], w[3])).collect();
    assert_eq!(
        ops,
        [("1", "put", "a"), ("2", "put", "b"), ("3", "delete", "a")]
    );
    let two = place.run(&["history", "t", "--values", "--limit", "2"]);
    assert!(
        two.out.contains("[2]") && two.err.contains("1 earlier"),
        "{two:?}"
    );
    let changes = place.run(&["history", "t", "--json"]).json();
    assert_eq!(changes.len(), 3);
    assert_eq!(
        changes[1]["ops"],
        serde_json::json!([{ "put": { "key": "b" } }])
    );
    assert_eq!(
        changes[2]["ops"],
        serde_json::json!([{ "delete": { "key": "a" } }])
    );
    let valued = place.run(&["history", "t", "--json", "--values"]).json();
    assert_eq!(valued[1]["ops"][0]["put"]["value"], serde_json::json!([2]));
    let epoch = changes[0]["epoch"].as_str().unwrap();
    let from = |seq| {
        place.run(&[
            "history",
            "t",
            "--json",
            "--from",
            &format!("{epoch}:{seq}"),
        ])
    };
    assert_eq!(from(2).json().len(), 1);
    assert_eq!(from(3).json().len(), 0);
    from(4).failed_json(4, "EPOCH_CHANGED");
    place
        .run(&["history", "t", "--from", "x"])
        .failed(2, "not a position");
}

#[test]
fn a_note_is_shown_in_the_history() {
    let place = Place::with_table();
    let note = "new prices, \"spring\"";
    place.run(&["set", "t", "a", "1", "--note", note]).ok();
    place.run(&["set", "t", "b", "1"]).ok();
    place.run(&["rm", "t", "a", "b", "--note", "cleared"]).ok();
    place.file("rows.ndjson", "{\"key\":\"c\",\"value\":1}\n");
    let import = ["import", "t", "rows.ndjson", "--note", "loaded"];
    place.run(&import).ok();
    let replace = [&import[..], &["--replace"]].concat();
    place.run(&replace).ok();
    let changes = place.run(&["history", "t", "--json"]).json();
    let said: Vec<_> = changes.iter().map(|it| it["note"].as_str()).collect();
    let loaded = Some("loaded");
    assert_eq!(said, [Some(note), None, Some("cleared"), loaded, loaded]);
    assert!(changes.iter().all(|change| change["actor"] == "hotread"));
    let shown = place.run(&["history", "t"]).ok();
    let lines: Vec<&str> = shown.lines().collect();
    assert!(lines[0].ends_with("NOTE"), "{shown}");
    assert!(lines[1].ends_with(note), "{shown}");
    assert!(lines[2].ends_with("hotread"), "{shown}");
    // Printed once for a transaction.
    assert!(
        lines[3].ends_with("cleared") && !lines[4].contains("hotread"),
        "{shown}"
    );
    for wrong in ["", "a\nb", &"n".repeat(513)] {
        let ran = place.run(&["set", "t", "a", "1", "--note", wrong]);
        assert_eq!(ran.code, 2, "{ran:?}");
        assert!(ran.err.contains("note"), "{ran:?}");
    }
    // An export has records, without their notes.
    assert_eq!(
        place.run(&["export", "t"]).ok(),
        "{\"key\":\"c\",\"value\":1}\n"
    );
}

#[test]
fn long_transactions_are_cut_in_the_history() {
    let place = many();
    let shown = place.run(&["history", "t", "--limit", "1"]).out;
    assert_eq!(shown.lines().count(), 12, "{shown}");
    assert!(shown.contains("490 others"), "{shown}");
    let shown = place.run(&["history", "t", "--limit", "1", "--full"]).out;
    assert_eq!(shown.lines().count(), 501);
}

#[test]
fn a_history_that_was_cut_begins_later() {
    let place = Place::new();
    place
        .run(&["table", "create", "t", "--history-changes", "2"])
        .ok();
    for n in 0..40 {
        place.run(&["set", "t", "a", &n.to_string()]).ok();
    }
    let shown = place
        .run(&["history", "t", "--limit", "40", "--json"])
        .json();
    assert!(
        shown.len() < 40 && shown.last().unwrap()["seq"] == 40,
        "{}",
        shown.len()
    );
    let info = place
        .run(&["table", "show", "t", "--json"])
        .json()
        .remove(0);
    let first = format!("{}:0", info["epoch"].as_str().unwrap());
    place
        .run(&["history", "t", "--from", &first])
        .failed(4, "begins at seq");
}
