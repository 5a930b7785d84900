//! Errors outside of tables, and their exit codes.

use super::{Place, Ran, hotread};

#[test]
fn a_database_has_to_be_named() {
    for args in [
        &["ls", "t"][..],
        &["verify"],
        &["migrate", "status"],
        &["import", "t", "x.ndjson"],
    ] {
        let ran: Ran = hotread().args(args).output().unwrap().into();
        ran.failed(2, "HOTREAD_DB");
    }
}

#[test]
fn a_missing_database_is_not_created_as_a_side_effect() {
    let place = Place::new();
    for args in [
        &["ls", "t"][..],
        &["get", "t", "k"],
        &["set", "t", "k", "1"],
        &["rm", "t", "k"],
        &["verify"],
        &["backup", "b.db"],
        &["export", "t"],
        &["migrate", "up"],
        &["migrate", "status"],
        &["table", "list"],
        &["table", "drop", "t", "--yes"],
    ] {
        place.run(args).failed(5, "does not exist");
        assert_eq!(
            std::fs::read_dir(place.0.path()).unwrap().count(),
            0,
            "{args:?}"
        );
    }
    place
        .run(&["ls", "t", "--json"])
        .failed_json(5, "NO_SUCH_FILE");
    place
        .run(&["--db", "no/such.db", "table", "create", "t"])
        .failed(5, "not a directory");
    place
        .run(&["--db", ".", "table", "create", "t"])
        .failed(5, "not a file");
}

#[test]
fn a_foreign_file_is_left_alone() {
    let place = Place::new();
    let text = place.file(
        "notes.txt",
        "my notes, which are long enough to be looked at\n".repeat(9),
    );
    for args in [
        &["table", "create", "t"][..],
        &["ls", "t"],
        &["verify"],
        &["migrate", "up"],
    ] {
        place
            .run(&[&["--db", &text], args].concat())
            .failed(5, "not a HotRead database");
    }
    assert!(
        std::fs::read_to_string(&text)
            .unwrap()
            .starts_with("my notes")
    );
    place
        .run(&["--json", "--db", &text, "ls", "t"])
        .failed_json(5, "FOREIGN");
}

#[test]
fn tables_that_are_not_there_are_named() {
    let place = Place::with_table();
    for args in [
        &["ls", "nope"][..],
        &["get", "nope", "k"],
        &["set", "nope", "k", "1"],
        &["rm", "nope", "k"],
        &["search", "nope", "x"],
        &["export", "nope"],
        &["history", "nope"],
        &["table", "show", "nope"],
    ] {
        place.run(args).failed(3, "no table nope");
        place
            .run(&[args, &["--json"]].concat())
            .failed_json(3, "UNKNOWN_TABLE");
    }
}

#[test]
fn invalid_names_are_wrong_usage() {
    let place = Place::with_table();
    place.run(&["get", "T", "k"]).failed(2, "[a-z0-9]");
    place.run(&["get", "t", ""]).failed(2, "empty");
    place.run(&["get", "t", "a\u{1b}[31m"]).failed(2, "U+001B");
    place
        .run(&["get", "t", "k", "--json", ".."])
        .failed_json(2, "INVALID_NAME");
    place
        .run(&["search", "t", "k", "--json", "more"])
        .failed_json(2, "BAD_REQUEST");
    place
        .run(&["get", "t", "..", "--json"])
        .failed_json(2, "INVALID_NAME");
    place
        .run(&["set", "t", "k", "1", "--expires-at", "x", "--json"])
        .failed_json(2, "INVALID_TIME");
    place
        .run(&["set", "t", "k", "1", "--category", ""])
        .failed(2, "category");
    place
        .run(&["set", "t", "k", "1", "--txn-id", "a b"])
        .failed(2, "transaction id");
    place.run(&["get", "t"]).failed(2, "<KEY>");
    place.run(&["gett", "t"]).failed(2, "get");
    place.run(&["ls", "t", "--lmit", "5"]).failed(2, "--limit");
}

#[test]
fn while_another_process_writes_one_can_read_but_not_write() {
    let place = Place::with_table();
    place.run(&["set", "t", "a", "1"]).ok();
    let store = hotread_store::Store::open(place.db()).unwrap();
    assert_eq!(place.run(&["get", "t", "a"]).ok(), "1\n");
    for args in [
        &["ls", "t"][..],
        &["export", "t"],
        &["history", "t"],
        &["verify"],
        &["table", "list"],
        &["table", "show", "t"],
        &["migrate", "status"],
        &["backup", "b.db"],
    ] {
        place.run(args).ok();
    }
    let file = place.file("a.ndjson", "{\"key\":\"a\",\"value\":1}\n");
    for args in [
        &["set", "t", "a", "2"][..],
        &["rm", "t", "a"],
        &["import", "t", &file],
        &["table", "create", "u"],
        &["table", "drop", "t", "--yes"],
        &["migrate", "up"],
        &["migrate", "down", "1", "--yes"],
    ] {
        // Shorter than the default of five seconds.
        let args = [args, &["--wait", "100ms"]].concat();
        place.run(&args).failed(5, "is in use by process");
    }
    place
        .run(&["set", "t", "a", "2", "--json"])
        .failed_json(5, "IN_USE");
    drop(store);
    place.run(&["set", "t", "a", "2"]).ok();
}

#[test]
fn verbose_commands_report_more() {
    let place = Place::with_table();
    let export = place.run(&["export", "t", "-v"]);
    assert!(export.err.contains("0 records of t at "), "{}", export.err);
    for flags in ["-vv", "-vvv"] {
        assert_eq!(place.run(&["ls", "t", flags]).code, 0);
    }
    let mut command = place.command(&["ls", "t", "--json"]);
    assert_eq!(
        command.env("RUST_LOG", "off").status().unwrap().code(),
        Some(0)
    );
}
