//! Habits from other commands that work here as well.

use super::serving::Serving;
use super::terminal::on_terminal;
use super::{Place, Ran};
use serde_json::{Value, json};

/// Returns a table `t` with some keys.
fn keys() -> Place {
    let place = Place::with_table();
    for key in ["a/1", "a/2", "b"] {
        place.run(&["set", "t", key, &format!("\"{key}\"")]).ok();
    }
    place
}

#[test]
fn commands_have_the_names_of_other_programs() {
    let place = Place::with_table();
    assert_eq!(
        place.run(&["put", "t", "a", "1"]).ok(),
        "a was set, seq 1\n"
    );
    assert_eq!(place.run(&["list", "t"]).ok(), place.run(&["ls", "t"]).ok());
    assert_eq!(place.run(&["keys", "t"]).ok(), "a\n");
    let deleted = "1 record was deleted, seq 2\n";
    assert_eq!(place.run(&["del", "t", "a"]).ok(), deleted);
    for (help, command) in [("get", "get"), ("table", "table"), ("put", "set")] {
        let shown = place.run(&["help", help]).ok();
        assert!(
            shown.contains(&format!("Usage: hotread {command}")),
            "{shown}"
        );
        assert!(shown.contains("Options for all commands:"), "{shown}");
    }
    let nested = place.run(&["help", "table", "create"]).ok();
    assert!(
        nested.contains("hotread table create oui --search"),
        "{nested}"
    );
}

#[test]
fn several_records_are_got_by_keys_or_a_prefix() {
    let place = keys();
    let get = |args: &[&str]| place.run(&[&["get", "t"], args].concat());
    assert_eq!(get(&["b", "a/1"]).ok(), "b\t\"b\"\na/1\t\"a/1\"\n");
    assert_eq!(get(&["b", "a/1", "--raw"]).ok(), "b\na/1\n");
    assert_eq!(
        get(&["--prefix", "a/"]).ok(),
        "a/1\t\"a/1\"\na/2\t\"a/2\"\n"
    );
    assert_eq!(get(&["--prefix", "a/", "--json"]).json().len(), 2);
    assert_eq!(get(&["--prefix", "", "--raw"]).ok(), "a/1\na/2\nb\n");
    let none = get(&["--prefix", "x"]);
    assert_eq!((none.code, none.err.as_str()), (0, "no records\n"));
    let some = get(&["x", "b", "y"]);
    assert_eq!(some.out, "b\t\"b\"\n");
    some.failed(3, "\"x\" in table t, nor 1 other");
    get(&["b", "--prefix", "a"]).failed(2, "--prefix");
    get(&["a/1", "b", "--string"]).failed(2, "just one key");
    get(&[]).failed(2, "<KEY>");
    // More than one page.
    let line = |n| format!("{{\"key\":\"n/{n:04}\",\"value\":{n}}}\n");
    let file = place.file("many.ndjson", (0..1_200).map(line).collect::<String>());
    assert_eq!(place.run(&["import", "t", &file]).code, 0);
    assert_eq!(get(&["--prefix", "n/"]).ok().lines().count(), 1_200);
    assert_eq!(place.run(&["keys", "t"]).ok().lines().count(), 1_203);
}

#[test]
fn keys_alone_can_be_listed() {
    let place = keys();
    let ls = |args: &[&str]| place.run(&[&["ls", "t", "--keys-only"], args].concat());
    assert_eq!(ls(&[]).ok(), "a/1\na/2\nb\n");
    assert_eq!(ls(&["--prefix", "a"]).ok(), "a/1\na/2\n");
    assert_eq!(
        ls(&["--json"]).ok(),
        "{\"key\":\"a/1\"}\n{\"key\":\"a/2\"}\n{\"key\":\"b\"}\n"
    );
    assert_eq!(ls(&["--format", "csv"]).ok(), "key\na/1\na/2\nb\n");
    let cut = ls(&["--limit", "1"]);
    assert_eq!(cut.out, "a/1\n");
    assert!(cut.err.contains("--after 'a/1'"), "{cut:?}");
}

#[test]
fn a_prefix_is_deleted_after_asking() {
    let place = keys();
    let rm = |args: &[&str]| place.run(&[&["rm", "t", "--prefix", "a/"], args].concat());
    rm(&[]).failed(
        2,
        "2 records of table t with keys from \"a/\" will be deleted; give --yes",
    );
    let dry = rm(&["--dry-run"]);
    assert_eq!(dry.out, "a/1\na/2\n");
    assert_eq!(dry.err, "2 records would be deleted; nothing was done\n");
    assert_eq!(
        rm(&["--dry-run", "--json"]).json()[1],
        json!({ "key": "a/2" })
    );
    let named = place.run(&["rm", "t", "b", "x", "--dry-run"]);
    assert_eq!((named.code, named.out.as_str()), (3, "b\n"));
    let asked = || place.command(&["rm", "t", "--prefix", "a/"]);
    let (shown, code) = on_terminal(asked(), 200, "n\n");
    assert!(shown.contains("continue? [y/N]") && code == 1, "{shown}");
    assert_eq!(place.run(&["keys", "t"]).ok().lines().count(), 3);
    let (shown, code) = on_terminal(asked(), 200, "y\n");
    assert!(
        shown.contains("2 records were deleted, seq 4") && code == 0,
        "{shown}"
    );
    assert_eq!(place.run(&["keys", "t"]).ok(), "b\n");
    assert_eq!(rm(&["--yes"]).err, "no records\n");
    // Deletions are committed in transactions of at most 1,000.
    let line = |n| format!("{{\"key\":\"a/{n:04}\",\"value\":{n}}}\n");
    let file = place.file("many.ndjson", (0..2_300).map(line).collect::<String>());
    assert_eq!(place.run(&["import", "t", &file]).code, 0);
    let done = rm(&["--yes", "--json", "--note", "cleared"]).json();
    assert_eq!(done.len(), 3, "{done:?}");
    let last = place.run(&["history", "t", "--json", "--limit", "1"]).out;
    assert!(last.contains("\"note\":\"cleared\""), "{last}");
}

/// The command that the message names does empty a table.
#[test]
fn an_empty_prefix_deletes_nothing() {
    let place = keys();
    let ran = place.run(&["rm", "t", "--prefix", "", "--yes"]);
    assert!(
        ran.err.contains("`hotread import --replace --allow-empty`"),
        "{ran:?}"
    );
    ran.failed(2, "`hotread table drop`");
    assert_eq!(place.run(&["keys", "t"]).ok().lines().count(), 3);
    place.file("empty.ndjson", "");
    let empty = ["import", "t", "empty.ndjson", "--replace", "--allow-empty"];
    assert_eq!(place.run(&empty).code, 0);
    assert_eq!(place.run(&["keys", "t"]).out, "");
}

#[test]
fn a_value_is_read_from_a_file() {
    let place = Place::with_table();
    let json = place.file("value.json", "{\n  \"a\": 1.0\n}\n");
    let text = place.file("text.txt", "two\nlines\n");
    place.run(&["set", "t", "a", "--file", &json]).ok();
    assert_eq!(place.run(&["get", "t", "a"]).ok(), "{\"a\":1.0}\n");
    place
        .run(&["set", "t", "b", "--file", &text, "--string"])
        .ok();
    assert_eq!(
        place.run(&["get", "t", "b", "--string"]).ok(),
        "two\nlines\n"
    );
    place
        .run_with("[1]", &["set", "t", "c", "--file", "-"])
        .ok();
    assert_eq!(place.run(&["get", "t", "c"]).ok(), "[1]\n");
    place
        .run(&["set", "t", "a", "1", "--file", &json])
        .failed(2, "--file");
    place.run(&["set", "t", "a"]).failed(2, "VALUE");
    place
        .run(&["set", "t", "a", "--file", "none"])
        .failed(1, "cannot read none");
    let large = place.file("large", vec![b' '; 5 << 20]);
    place
        .run(&["set", "t", "a", "--file", &large])
        .failed(1, "at most 1048576");
}

#[test]
fn a_transaction_is_read_as_json_or_lines() {
    let place = Place::with_table();
    let body = r#" {"ops": [{"put": {"key": "a", "value": {"x": 1.0}, "category": "c"}},
                            {"put": {"key": "b c", "value": 2}}],
                    "if": [{"key": "a", "if_absent": true}], "note": "first"}"#;
    let done = place.run_with(body, &["txn", "t"]).ok();
    assert_eq!(done, "2 operations were committed, seq 1\n");
    // The condition no longer holds.
    place
        .run_with(body, &["txn", "t"])
        .failed(4, "should be absent");
    let lines = "# moves it\n\nif \"b c\" seq 1\nput d [1, 2]\r\ndelete \"b c\"\nnote moved\n";
    let file = place.file("move.txt", lines);
    let committed = place.run(&["txn", "t", &file, "--json"]).json().remove(0);
    assert_eq!(committed["position"]["seq"], 2);
    place.run(&["txn", "t", &file]).failed(4, "\"b c\"");
    assert_eq!(place.run(&["keys", "t"]).ok(), "a\nd\n");
    assert_eq!(place.run(&["get", "t", "d"]).ok(), "[1,2]\n");
    let history = place.run(&["history", "t", "--json"]).json();
    let notes: Vec<_> = history.iter().map(|change| &change["note"]).collect();
    assert_eq!(notes, ["first", "moved"]);
    let once = || {
        place
            .run_with("put a 1", &["txn", "t", "--txn-id", "one"])
            .ok()
    };
    assert_eq!(once(), once());
    for (input, words) in [
        ("put a oops", "line 1: "),
        ("put a 1\nget b", "line 2: \"get\" is not one of"),
        ("{\"ops\": []}", "no operation"),
        ("", "no operation"),
        ("{\"ops\": [], \"oops\": 1}", "oops"),
        ("{\"ops\": [{\"put\": {\"key\": \"a\"}}]}", "value"),
    ] {
        place.run_with(input, &["txn", "t"]).failed(1, words);
    }
    let many: String = (0..1_001).map(|n| format!("put k{n} 1\n")).collect();
    place.run_with(many, &["txn", "t"]).failed(1, "1000");
    place
        .run(&["txn", "t", "none"])
        .failed(1, "cannot read none");
    place
        .run_with("put a 1", &["txn", "nope"])
        .failed(3, "no table nope");
}

#[test]
fn records_are_shown_as_they_were() {
    let place = Place::with_table();
    let set = |key: &str, value: &str| place.run(&["set", "t", key, value]).ok();
    set("a", "1");
    set("b", "1");
    set("a", "2");
    place.run(&["rm", "t", "b"]).ok();
    set("c", "1");
    let serving = Serving::start(&place, &[]);
    for through in [false, true] {
        let run = |args: &[&str]| match through {
            true => serving.run(args),
            false => place.run(args),
        };
        let at = |key: &str, seq: &str| run(&["get", "t", key, "--at", seq]);
        assert_eq!(at("a", "1").ok(), "1\n");
        assert_eq!(at("a", "2").ok(), "1\n");
        assert_eq!(at("a", "3").ok(), "2\n");
        assert_eq!(at("b", "3").ok(), "1\n");
        at("b", "4").failed(3, "no record \"b\"");
        at("b", "1").failed(3, "at that position");
        at("c", "4").failed(3, "no record \"c\"");
        at("a", "0").failed(3, "no record \"a\"");
        at("a", "6").failed(4, "table t has no transaction 6 yet, the last one is 5");
        at("a", "0000000000000001:1").failed(4, "was never at");
        at("a", "x").failed(2, "a sequence number such as 42");
        let all = |prefix: &str, seq: &str| run(&["get", "t", "--prefix", prefix, "--at", seq]);
        assert_eq!(all("", "2").ok(), "a\t1\nb\t1\n");
        assert_eq!(all("", "3").ok(), "a\t2\nb\t1\n");
        assert_eq!(all("", "4").ok(), "a\t2\n");
        assert_eq!(all("", "5").ok(), "a\t2\nc\t1\n");
        assert_eq!(all("b", "3").ok(), "b\t1\n");
        for (prefix, seq) in [("", "0"), ("c", "4"), ("b", "5")] {
            let none = all(prefix, seq);
            assert_eq!((none.code, none.err.as_str()), (0, "no records\n"));
        }
        all("", "6").failed(4, "has no transaction 6 yet");
        let both = run(&["get", "t", "a", "b", "--at", "3", "--json"]).json();
        assert_eq!((&both[0]["seq"], &both[1]["seq"]), (&json!(3), &json!(2)));
    }
}

#[test]
fn a_state_before_the_history_is_an_error() {
    let place = Place::new();
    place
        .run(&["table", "create", "t", "--history-changes", "2"])
        .ok();
    place.run(&["set", "t", "old", "1"]).ok();
    for n in 0..40 {
        place.run(&["set", "t", "a", &n.to_string()]).ok();
    }
    let at = |key: &str, seq: &str| place.run(&["get", "t", key, "--at", seq]);
    // This record has not changed since.
    assert_eq!(at("old", "1").ok(), "1\n");
    assert_eq!(at("a", "41").ok(), "39\n");
    at("a", "3").failed(4, "the history of table t begins at seq");
    let all = |prefix: &str, seq: &str| place.run(&["get", "t", "--prefix", prefix, "--at", seq]);
    assert_eq!(
        all("old", "1").code,
        4,
        "the changes since then are unknown"
    );
    assert_eq!(all("", "41").ok(), "a\t39\nold\t1\n");
    // The key is absent now, and no operation of the history touched it.
    at("never", "40").failed(3, "no record \"never\"");
}

#[test]
fn a_history_is_of_a_key_or_a_prefix() {
    let place = keys();
    place
        .run_with("put a/1 2\nput b 2\ndelete a/2", &["txn", "t"])
        .ok();
    let seqs = |args: &[&str]| -> Vec<u64> {
        let ran = place.run(&[&["history", "t", "--json"], args].concat());
        let lines = ran
            .out
            .lines()
            .map(|line| serde_json::from_str::<Value>(line).unwrap());
        lines
            .map(|change| change["seq"].as_u64().unwrap())
            .collect()
    };
    assert_eq!(seqs(&["--key", "a/1"]), [1, 4]);
    assert_eq!(seqs(&["--prefix", "a/"]), [1, 2, 4]);
    assert_eq!(seqs(&["--key", "x"]), [0; 0]);
    assert_eq!(seqs(&["--prefix", "a/", "--limit", "2"]), [2, 4]);
    assert_eq!(
        seqs(&["--prefix", "a/", "--from", "1", "--limit", "1"]),
        [2]
    );
    assert_eq!(seqs(&["--from", "3"]), [4]);
    let one = place.run(&["history", "t", "--key", "b", "--json", "--from", "3"]);
    let ops = &one.json()[0]["ops"];
    assert_eq!(
        *ops,
        json!([{ "put": { "key": "b" } }]),
        "of others nothing"
    );
    let cut = place.run(&["history", "t", "--prefix", "a/", "--limit", "1"]);
    assert!(cut.err.contains("2 earlier transactions"), "{cut:?}");
    let people = place
        .run(&["history", "t", "--key", "a/1", "--values"])
        .ok();
    assert_eq!(people.lines().count(), 3, "{people}");
    place
        .run(&["history", "t", "--key", "a", "--prefix", "a"])
        .failed(2, "--prefix");
    place
        .run(&["history", "t", "--from", "9"])
        .failed(4, "has no transaction 9 yet, the last one is 4");
}

#[test]
fn addresses_and_dates_are_understood_as_typed() {
    let place = keys();
    let serving = Serving::start(&place, &[]);
    let typed = serving.address.clone();
    let got = super::hotread()
        .args(["--url", &typed, "get", "t", "b"])
        .output();
    assert_eq!(Ran::from(got.unwrap()).ok(), "\"b\"\n");
    let local = typed.replace("127.0.0.1", "localhost");
    let got = super::hotread()
        .args(["--url", &local, "get", "t", "b"])
        .output();
    assert_eq!(Ran::from(got.unwrap()).ok(), "\"b\"\n");
    let none = super::hotread()
        .args(["--url", "127.0.0.1:1", "get", "t", "b"])
        .output();
    Ran::from(none.unwrap()).failed(5, "http://127.0.0.1:1");
    serving
        .run(&["set", "t", "x", "1", "--expires-at", "2099-12-24"])
        .ok();
    let record = serving.run(&["get", "t", "x", "--json"]).json().remove(0);
    assert_eq!(record["expires_at"], "2099-12-24T00:00:00.000Z");
    let soon = serving.run(&["set", "t", "x", "1", "--expires-at", "2099-24-12"]);
    soon.failed(2, "2026-11-21T09:30:00Z");
}
