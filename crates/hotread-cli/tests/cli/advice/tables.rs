//! Messages about tables, records and imports.

use super::{bare, quoted, said};
use crate::{Place, serving::Serving};

#[test]
fn a_sealed_table_is_opened_with_its_passphrase() {
    let place = Place::new();
    let right = place.file("right", "six random words are a passphrase\n");
    let wrong = place.file("wrong", "another six random words of them\n");
    let create = ["table", "create", "keys", "--sealed"];
    said(place.run(&create), 2, "give --passphrase-file FILE");
    let searched = [&create[..], &["--search", "--passphrase-file", &right]].concat();
    said(place.run(&searched), 1, "omit one of the two");
    place
        .run(&[&create[..], &["--passphrase-file", &right]].concat())
        .ok();
    place.run(&["table", "create", "searched", "--search"]).ok();
    let set = ["set", "keys", "k", "1"];
    let message = said(place.run(&set), 5, "give its passphrase");
    assert!(message.contains("`--passphrase-file FILE`"), "{message}");
    let with = |file: &str| place.run(&[&set[..], &["--passphrase-file", file]].concat());
    said(with(&wrong), 5, "give the one that it was sealed with");
    with(&right).ok();
    let empty = place.file("empty", "");
    said(with(&empty), 1, "passphrase");
    // Through a server, only the server can be given a passphrase.
    let serving = Serving::start(&place, &[]);
    for args in [&["table", "create", "more", "--sealed"][..], &set] {
        let url = serving.url();
        let args = [args, &["--url", &url]].concat();
        let message = said(bare(&args, &[]), 5, "when starting the server");
        let serve = ["serve", "--passphrase-file", "FILE"];
        assert_eq!(quoted(&message), [serve], "{message}");
    }
    serving.stop();
    let serving = Serving::start(&place, &["--passphrase-file", &right]);
    bare(&["set", "keys", "k", "1", "--url", &serving.url()], &[]).ok();
}

#[test]
fn tables_that_are_missing_or_there_already() {
    let place = Place::with_table();
    let message = said(place.run(&["set", "u", "k", "1"]), 3, "there is no table u");
    let commands = quoted(&message);
    let [list, create] = &commands[..] else {
        panic!("{message}");
    };
    place.typed(list, &[]).ok();
    place.typed(create, &["u"]).ok();
    place.run(&["set", "u", "k", "1"]).ok();
    let again = ["table", "create", "u"];
    said(
        place.run(&again),
        4,
        "choose another name, or drop it first",
    );
    said(
        place.run(&["table", "drop", "u"]),
        2,
        "give --yes if that is meant",
    );
    place.run(&["table", "drop", "u", "--yes"]).ok();
    place.run(&again).ok();
    place.run(&["table", "create", "v"]).ok();

    let message = said(place.run(&["search", "v", "x"]), 1, "has no search index");
    let alter = quoted(&message).remove(0).into_iter();
    let alter: Vec<_> = alter.map(|word| word.replace("TABLE", "v")).collect();
    place.typed(&alter, &[]).ok();
    assert_eq!(place.run(&["search", "v", "x"]).code, 0);

    let schema = place.file("schema.json", r#"{"type": "objekt"}"#);
    said(
        place.run(&["table", "create", "s", "--schema", &schema]),
        1,
        "schema",
    );
    let schema = place.file("schema.json", r#"{"type": "object"}"#);
    place
        .run(&["table", "create", "s", "--schema", &schema])
        .ok();
    said(
        place.run(&["set", "s", "k", "1"]),
        4,
        "does not fit the schema",
    );
    place.run(&["set", "s", "k", "{}"]).ok();
    place.run(&["table", "alter", "s", "--no-schema"]).ok();
    place.run(&["set", "s", "k", "1"]).ok();
}

#[test]
fn values_and_conditions_are_given_as_the_message_says() {
    let place = Place::with_table();
    said(
        place.run(&["set", "t", "k", "text"]),
        1,
        "give --string if it is meant as text",
    );
    place.run(&["set", "t", "k", "text", "--string"]).ok();
    place.run(&["set", "t", "k", "\"text\""]).ok();
    place.run(&["set", "t", "n", "5"]).ok();
    said(
        place.run(&["get", "t", "n", "--string"]),
        1,
        "omit --string",
    );
    place.run(&["get", "t", "n"]).ok();
    said(
        place.run(&["set", "t", "m", r#"{"a":1,"a":2}"#]),
        1,
        "give each member once",
    );
    place.run(&["set", "t", "m", r#"{"a":2}"#]).ok();
    said(
        place.run(&["rm", "t", "n", "m", "--if-seq", "1"]),
        2,
        "name just one key",
    );

    said(
        place.run(&["set", "t", "n", "6", "--if-seq", "1"]),
        4,
        "read the record again",
    );
    let seq = place.run(&["get", "t", "n", "--json"]).json()[0]["seq"].to_string();
    place.run(&["set", "t", "n", "6", "--if-seq", &seq]).ok();
    place.run(&["set", "t", "n", "7", "--txn-id", "a"]).ok();
    said(
        place.run(&["set", "t", "n", "8", "--txn-id", "a"]),
        4,
        "an id of its own",
    );
    place.run(&["set", "t", "n", "8", "--txn-id", "b"]).ok();
    said(
        place.run(&["set", "t", "n", "9", "--expires-at", "soon"]),
        2,
        "such as 20",
    );
    let time = ["--expires-at", "2096-11-21T09:30:00Z"];
    place
        .run(&[&["set", "t", "n", "9"][..], &time].concat())
        .ok();
}

#[test]
fn a_history_that_is_gone_is_taken_up_from_the_whole_table() {
    let place = Place::with_table();
    for value in ["1", "2", "3", "4"] {
        place.run(&["set", "t", "k", value]).ok();
    }
    let changes = place.run(&["history", "t", "--json"]).json();
    let epoch = changes[0]["epoch"].as_str().unwrap().to_owned();
    place
        .run(&["table", "alter", "t", "--history-changes", "1"])
        .ok();
    place.run(&["set", "t", "k", "5"]).ok();
    let first = format!("{epoch}:1");
    let begun = std::time::Instant::now();
    let gone = loop {
        let ran = place.run(&["history", "t", "--from", &first]);
        // The history is trimmed after the commits.
        if ran.code != 0 || begun.elapsed().as_secs() > 60 {
            break ran;
        }
        place.run(&["set", "t", "k", "6"]).ok();
    };
    let message = said(
        gone,
        4,
        "read the whole table and continue from its position",
    );
    let commands = quoted(&message);
    let export: Vec<_> = commands[0].iter().map(String::as_str).collect();
    let export = place.run(&[&export[..1], &["t"], &export[1..]].concat());
    let position = export.err.trim().rsplit(' ').next().unwrap();
    assert_eq!(place.run(&["history", "t", "--from", position]).code, 0);
}

#[test]
fn a_replacement_that_takes_too_much_is_allowed_or_corrected() {
    let place = Place::with_table();
    let rows = |keys: std::ops::Range<u32>| -> String {
        keys.map(|key| format!("{{\"key\":\"{key}\",\"value\":1}}\n"))
            .collect()
    };
    let all = place.file("all.ndjson", rows(0..100));
    let few = place.file("few.ndjson", rows(0..5));
    let none = place.file("none.ndjson", "");
    assert_eq!(place.run(&["import", "t", &all]).code, 0);
    let replace = |file: &str, more: &[&str]| {
        place.run(&[&["import", "t", file, "--replace"][..], more].concat())
    };
    said(replace(&few, &[]), 4, "--max-delete");
    assert_eq!(replace(&few, &["--max-delete", "100"]).code, 0);
    said(
        replace(&none, &[]),
        1,
        "give --allow-empty if that is meant",
    );
    assert_eq!(
        replace(&none, &["--allow-empty", "--max-delete", "100"]).code,
        0
    );
    let bad = place.file("bad.ndjson", format!("{}not json\n", rows(0..3)));
    said(
        place.run(&["import", "t", &bad]),
        1,
        "--skip-bad leaves such rows out",
    );
    assert_eq!(place.run(&["import", "t", &bad, "--skip-bad"]).code, 7);
}
