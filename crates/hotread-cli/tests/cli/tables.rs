//! `hotread table create`, `list`, `show`, `drop` and `rekey`, and `hotread migrate`.

use super::Place;
use hotread_store::migrate::LATEST;

#[test]
fn tables_are_created_listed_shown_and_dropped() {
    let place = Place::new();
    assert_eq!(
        place.run(&["table", "create", "b"]).ok(),
        "table b was created\n"
    );
    let info = place
        .run(&["table", "create", "a", "--search", "--json"])
        .json()
        .remove(0);
    assert_eq!((&info["name"], &info["seq"]), (&"a".into(), &0.into()));
    place.run(&["table", "create", "a"]).failed(4, "already");
    let list = place.run(&["table", "list"]).ok();
    let first: Vec<_> = list
        .lines()
        .map(|line| line.split_whitespace().next().unwrap())
        .collect();
    assert_eq!(first, ["TABLE", "a", "b"]);
    assert_eq!(place.run(&["table", "list", "--json"]).json().len(), 2);
    place.run(&["set", "a", "k", "1"]).ok();
    let shown = place.run(&["table", "show", "a"]).ok();
    for words in ["records         1\n", "search          yes\n", "256.00 MiB"] {
        assert!(shown.contains(words), "{shown}");
    }
    place.run(&["table", "show", "c"]).failed(3, "no table c");
    place
        .run(&["table", "drop", "a"])
        .failed(2, "loses its 1 record and its history; give --yes");
    place
        .run(&["table", "drop", "c", "--yes"])
        .failed(3, "no table c");
    assert_eq!(
        place.run(&["table", "drop", "a", "--yes"]).ok(),
        "table a with 1 record was dropped\n"
    );
    assert_eq!(place.run(&["table", "list", "--json"]).json().len(), 1);
}

#[test]
fn a_table_gets_another_schema_and_history() {
    let place = Place::with_table();
    let schema = place.file("numbers.json", r#"{"type":"number"}"#);
    place.run(&["set", "t", "k", r#""text""#]).ok();
    let alter = ["table", "alter", "t", "--schema", &schema];
    place.run(&alter).failed(4, "k");
    place.run(&["set", "t", "k", "1"]).ok();
    assert_eq!(place.run(&alter).ok(), "table t was altered\n");
    place
        .run(&["set", "t", "k", r#""text""#])
        .failed(4, "schema");
    let history = [
        "table",
        "alter",
        "t",
        "--history-changes",
        "7",
        "--no-schema",
        "--json",
    ];
    let info = place.run(&history).json().remove(0);
    assert_eq!(info["options"]["history"]["max_changes"], 7);
    assert_eq!(info["options"]["history"]["max_age_s"], 604_800);
    place.run(&["set", "t", "k", r#""text""#]).ok();

    place.run(&["table", "alter", "t", "--search"]).ok();
    let found = place.run(&["search", "t", "text"]).ok();
    assert!(found.contains('k'), "{found}");
    place.run(&["table", "alter", "t", "--no-search"]).ok();
    place
        .run(&["search", "t", "text"])
        .failed(1, "`hotread table alter TABLE --search`");
    let renamed = place.run(&["table", "alter", "t", "--rename", "v"]).ok();
    assert_eq!(renamed, "table t was altered, and is v now\n");
    place.run(&["get", "t", "k"]).failed(3, "no table t");
    place.run(&["table", "alter", "v", "--rename", "t"]).ok();

    let nothing = ["table", "alter", "t"];
    place.run(&nothing).failed(2, "--no-schema");
    let both = ["table", "alter", "t", "--schema", &schema, "--no-schema"];
    place.run(&both).failed(2, "cannot be used with");
    place
        .run(&["table", "alter", "u", "--no-schema"])
        .failed(3, "no table u");
}

#[test]
fn a_database_without_tables_says_so() {
    let place = Place::with_table();
    place.run(&["table", "drop", "t", "-y"]).ok();
    let list = place.run(&["table", "list"]);
    assert_eq!((list.code, list.out.as_str()), (0, ""));
    assert!(list.err.contains("there are no tables"), "{}", list.err);
    assert_eq!(place.run(&["table", "list", "--json"]).ok(), "");
}

#[test]
fn the_history_has_limits() {
    let place = Place::new();
    let limits = [
        "--history-changes",
        "5",
        "--history-age",
        "12h",
        "--history-bytes",
        "1MiB",
    ];
    place
        .run(&[&["table", "create", "t"], &limits[..]].concat())
        .ok();
    let info = place
        .run(&["table", "show", "t", "--json"])
        .json()
        .remove(0);
    assert_eq!(
        info["options"]["history"],
        serde_json::json!({ "max_changes": 5, "max_age_s": 43_200, "max_bytes": 1 << 20 })
    );
    place
        .run(&["table", "create", "u", "--history-bytes", "1XB"])
        .failed(2, "256MiB");
    place
        .run(&["table", "create", "u", "--history-age", "x"])
        .failed(2, "--history-age");
}

#[test]
fn a_schema_refuses_values() {
    let place = Place::new();
    let schema = place.file("schema.json", r#"{"type": "object", "required": ["rate"]}"#);
    place
        .run(&["table", "create", "t", "--schema", &schema])
        .ok();
    place.run(&["set", "t", "a", r#"{"rate": 1}"#]).ok();
    place
        .run(&["set", "t", "a", "1"])
        .failed(4, "does not fit the schema");
    let error = place
        .run(&["set", "t", "a", "1", "--json"])
        .failed_json(4, "SCHEMA_VIOLATION");
    assert_eq!(error["key"], "a");
    let bad = place.file("bad.json", r#"{"type": "nothing"}"#);
    place
        .run(&["table", "create", "u", "--schema", &bad])
        .failed(1, "JSON Schema");
    let bad = place.file("bad.json", "{");
    place
        .run(&["table", "create", "u", "--schema", &bad])
        .failed(1, "bad.json: not JSON");
    place
        .run(&["table", "create", "u", "--schema", "none.json"])
        .failed(1, "none.json");
}

#[test]
fn sealed_tables_need_their_passphrase() {
    let place = Place::new();
    let (one, two) = (
        place.file("one", "correct horse\n"),
        place.file("two", "battery staple"),
    );
    let empty = place.file("empty", "");
    place
        .run(&["table", "create", "s", "--sealed"])
        .failed(2, "--passphrase-file");
    place
        .run(&[
            "table",
            "create",
            "s",
            "--sealed",
            "--passphrase-file",
            "no",
        ])
        .failed(1, "no: No such");
    place
        .run(&[
            "table",
            "create",
            "s",
            "--sealed",
            "--passphrase-file",
            &empty,
        ])
        .failed(1, "empty");
    let short = place.file("short", "pw");
    let args = [
        "table",
        "create",
        "guessed",
        "--sealed",
        "--passphrase-file",
        &short,
    ];
    let ran = Place::new().run(&args);
    assert!(
        ran.code == 0 && ran.err.contains("fewer than 12 bytes"),
        "{ran:?}"
    );
    let with = |file: &str, args: &[&str]| {
        place
            .command(args)
            .env("HOTREAD_PASSPHRASE_FILE", file)
            .output()
            .unwrap()
            .into()
    };
    let with = |file, args: &[&str]| -> super::Ran { with(file, args) };
    with(&one, &["table", "create", "s", "--sealed"]).ok();
    with(&one, &["table", "create", "s2", "--sealed", "--search"]).failed(1, "cannot be searched");
    with(&one, &["set", "s", "a", "\"secret-value\""]).ok();
    assert_eq!(with(&one, &["get", "s", "a"]).ok(), "\"secret-value\"\n");
    with(&two, &["get", "s", "a"]).failed(5, "the passphrase is not the table's");
    place.run(&["get", "s", "a"]).failed(5, "--passphrase-file");
    place
        .run(&["set", "s", "a", "1"])
        .failed(5, "--passphrase-file");
    place
        .run(&["get", "s", "a", "--json"])
        .failed_json(5, "SEALED");
    for file in ["test.db", "test.db-wal"] {
        let bytes = std::fs::read(place.path(file)).unwrap_or_default();
        assert!(!bytes.windows(6).any(|part| part == b"secret"), "{file}");
    }
    // Without the passphrase, the table can still be listed, and partly checked.
    assert!(place.run(&["table", "list"]).ok().contains("sealed"));
    assert!(place.run(&["verify"]).ok().contains("sealed, not opened"));
    assert!(!with(&one, &["verify"]).ok().contains("not opened"));

    with(
        &two,
        &["table", "rekey", "s", "--new-passphrase-file", &two],
    )
    .failed(5, "passphrase");
    let rekeyed = with(
        &one,
        &["table", "rekey", "s", "--new-passphrase-file", &two],
    );
    assert_eq!(rekeyed.code, 0, "{rekeyed:?}");
    assert!(rekeyed.out.contains("was rekeyed"), "{rekeyed:?}");
    // No other process writes in the meantime, and the file is too small for a note.
    assert_eq!(rekeyed.err, "");
    with(&one, &["get", "s", "a"]).failed(5, "the passphrase is not the table's");
    assert_eq!(with(&two, &["get", "s", "a"]).ok(), "\"secret-value\"\n");
    with(&two, &["table", "rekey", "s"]).failed(2, "--new-passphrase-file");
    let same = with(
        &two,
        &["table", "rekey", "s", "--new-passphrase-file", &two],
    );
    assert!(same.out.contains("was rekeyed"), "{same:?}");
    assert_eq!(
        (same.code, same.err.as_str()),
        (
            0,
            "the new passphrase is the old one: the table has new keys, and its passphrase stays\n"
        )
    );
    place.run(&["table", "create", "plain"]).ok();
    with(&one, &["table", "rekey", "plain"]).failed(1, "is not sealed");
}

#[test]
fn a_refused_table_or_token_begins_no_database() {
    let place = Place::new();
    let schema = place.file("schema.json", r#"{"type": "objekt"}"#);
    let passphrase = place.file("passphrase", "six random words are a passphrase\n");
    let create = ["table", "create", "t"];
    let token = ["token", "create"];
    let sealed = ["--sealed", "--search", "--passphrase-file", &passphrase];
    for (args, words) in [
        (
            [&create[..], &["--schema", &schema]].concat(),
            "JSON Schema",
        ),
        ([&create[..], &sealed].concat(), "omit one of the two"),
        (
            [&token[..], &["x", "--role", "read"]].concat(),
            "the first token",
        ),
        (
            [&token[..], &["x", "--role", "admin", "--ttl", "1h"]].concat(),
            "the first token",
        ),
        (
            [&token[..], &["x", "--role", "admin", "--table", "t"]].concat(),
            "the first token",
        ),
        (
            [&token[..], &["x y", "--role", "admin"]].concat(),
            "a token's name",
        ),
    ] {
        place.run(&args).failed(1, words);
        assert!(!place.db().exists(), "{args:?}");
    }
    place.run(&create).ok();
}

#[test]
fn migrations_go_down_and_up() {
    let place = Place::with_table();
    place.run(&["set", "t", "a", "1", "--category", "c"]).ok();
    let status = place.run(&["migrate", "status"]).ok();
    assert!(
        status.starts_with(&format!("schema version {LATEST}, the newest\n")),
        "{status}"
    );
    let status = place.run(&["migrate", "status", "--json"]).json().remove(0);
    assert_eq!(
        (&status["version"], &status["latest"]),
        (&LATEST.into(), &LATEST.into())
    );
    place
        .run(&["migrate", "down", "1"])
        .failed(2, "loses the category and the expiry");
    place
        .run(&["migrate", "down", "99", "--yes"])
        .failed(1, "no schema version 99");
    place
        .run(&["migrate", "down", "0", "--yes"])
        .failed(1, "no schema version 0");
    let down = place.run(&["migrate", "down", "1", "--yes"]);
    assert_eq!(
        (down.code, down.out.as_str()),
        (0, &*format!("schema version 1, was {LATEST}\n"))
    );
    assert!(down.err.starts_with("lost: "), "{}", down.err);
    place.run(&["get", "t", "a"]).failed(5, "migrate up");
    assert!(place.run(&["migrate", "status"]).ok().contains("missing"));
    assert_eq!(
        place.run(&["migrate", "up"]).ok(),
        format!("schema version {LATEST}, was 1\n")
    );
    assert_eq!(
        place.run(&["migrate", "up"]).ok(),
        format!("schema version {LATEST}, as before\n")
    );
    let record = place.run(&["get", "t", "a", "--json"]).json().remove(0);
    assert_eq!(record["category"], "general");
}
