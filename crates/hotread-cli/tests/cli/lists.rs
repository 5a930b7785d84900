//! Lists: complete for programs, fitted to the terminal for people.

use super::serving::Serving;
use super::terminal::on_terminal;
use super::{Place, Ran};
use serde_json::{Value, json};

/// Records of the large table: more than one page of a scan.
const MANY: usize = 1_500;

/// Returns a table `t` with the keys k0000 to k1499, whose values contain the word `hotel`.
fn many() -> Place {
    let place = Place::new();
    place.run(&["table", "create", "t", "--search"]).ok();
    let line = |n| format!("{{\"key\":\"k{n:04}\",\"value\":\"hotel {n}\"}}\n");
    let file = place.file("many.ndjson", (0..MANY).map(line).collect::<String>());
    assert_eq!(place.run(&["import", "t", &file]).code, 0);
    place
}

/// Returns the notice that a list is cut, in JSON.
#[track_caller]
fn cut(ran: &Ran) -> Value {
    assert_eq!(ran.code, 0, "{ran:?}");
    let notice: Value = serde_json::from_str(&ran.err).expect("one line of JSON on stderr");
    assert_eq!(notice["truncated"], true, "{notice}");
    notice
}

#[test]
fn programs_get_all_of_a_list() {
    let place = many();
    let ls = |more: &[&str]| place.run(&[&["ls", "t"], more].concat()).ok();
    assert_eq!(ls(&["--json"]).lines().count(), MANY);
    assert_eq!(ls(&["--format", "ndjson"]), ls(&["--json"]));
    assert_eq!(ls(&["--format", "ndjson"]), ls(&["--json", "--all"]));
    let array: Vec<Value> = serde_json::from_str(&ls(&["--format", "json"])).unwrap();
    assert_eq!(array.len(), MANY);
    assert_eq!(array[7]["value"], "hotel 7");
    let csv = ls(&["--format", "csv"]);
    assert_eq!(csv.lines().count(), MANY + 1);
    let exported = place.run(&["export", "t", "--format", "csv"]).ok();
    assert_eq!(csv, exported, "as an export");
    assert_eq!(
        ls(&["--format", "table", "--all"]).lines().count(),
        MANY + 1
    );

    let history = ["history", "t", "--json", "--values"];
    for n in 0..30 {
        place.run(&["set", "t", "x", &n.to_string()]).ok();
    }
    let seqs: Vec<Value> = place.run(&history).json();
    let seqs: Vec<u64> = seqs.iter().map(|it| it["seq"].as_u64().unwrap()).collect();
    let last = *seqs.last().unwrap();
    assert_eq!(seqs, (1..=last).collect::<Vec<_>>());
    assert!(last > 30, "more than one screen: {last}");
}

#[test]
fn a_list_that_is_cut_says_so_on_stderr() {
    let place = many();
    let ran = place.run(&["ls", "t", "--json", "--limit", "3"]);
    assert_eq!(ran.out.lines().count(), 3);
    let after = cut(&ran)["after"].as_str().unwrap().to_owned();
    assert_eq!(after, "k0002");
    let rest = place.run(&["ls", "t", "--json", "--after", &after]).ok();
    assert_eq!(rest.lines().count(), MANY - 3);
    let people = place.run(&["ls", "t"]);
    assert_eq!((people.code, people.out.lines().count()), (0, 101));
    assert!(people.err.contains("--after 'k0099'"), "{people:?}");

    let found = place.run(&["search", "t", "hotel", "--json"]);
    assert_eq!(found.out.lines().count(), 1_000, "all that a search gives");
    cut(&found);
    place.run(&["search", "t", "1234", "--json"]).ok();

    place.run(&["set", "t", "x", "1"]).ok();
    let ran = place.run(&["history", "t", "--json", "--limit", "1"]);
    assert_eq!(ran.out.lines().count(), 1);
    assert!(
        cut(&ran)["message"].as_str().unwrap().contains("earlier"),
        "{ran:?}"
    );
    let first: Value = serde_json::from_str(&ran.out).unwrap();
    let zero = format!("{}:0", first["epoch"].as_str().unwrap());
    let ran = place.run(&["history", "t", "--limit", "1", "--from", &zero]);
    let next = format!("--from {}", zero.replace(":0", ":1"));
    assert!(ran.err.contains(&next), "{ran:?}");

    let serving = Serving::start(&place, &[]);
    let found = serving.run(&["search", "t", "hotel", "--json"]);
    assert_eq!(found.out.lines().count(), 100, "all that a server gives");
    cut(&found);
    assert_eq!(serving.run(&["ls", "t", "--json"]).json().len(), MANY + 1);
}

#[test]
fn a_list_without_rows_has_its_format_still() {
    let place = Place::with_table();
    let ls = |format: &str| place.run(&["ls", "t", "--format", format]).out;
    assert_eq!(ls("json"), "[]\n");
    assert_eq!(ls("ndjson"), "");
    assert_eq!(ls("csv"), "key,value,category,seq,updated_at,expires_at\n");
    assert_eq!(ls("table"), "");
}

#[test]
fn each_list_has_the_four_formats() {
    let place = Place::new();
    place.run(&["table", "create", "t", "--search"]).ok();
    place
        .run(&["set", "t", "a,b", r#"{"x":1.0,"y":"z w"}"#])
        .ok();
    place.run(&["token", "create", "ops", "--role", "admin"]);
    for (args, columns, first) in [
        (
            &["ls", "t"][..],
            "key,value,category,",
            "\"a,b\",\"{\"\"x\"\":1.0,",
        ),
        (
            &["search", "t", "w"],
            "key,value,category,",
            "\"a,b\",\"{\"\"x\"\":1.0,",
        ),
        (&["table", "list"], "name,records,epoch,seq,", "t,1,"),
        (&["token", "list"], "id,name,role,tables,", ""),
        (&["history", "t"], "epoch,seq,at,op,key,value,", ""),
    ] {
        let run = |format: &str| place.run(&[args, &["--format", format]].concat()).ok();
        let csv = run("csv");
        assert!(csv.starts_with(columns), "{csv}");
        assert!(csv.lines().nth(1).unwrap().starts_with(first), "{csv}");
        assert_eq!(csv.lines().count(), 2, "{csv}");
        let array: Vec<Value> = serde_json::from_str(&run("json")).unwrap();
        let line: Value = serde_json::from_str(&run("ndjson")).unwrap();
        assert_eq!(array, [line]);
        assert!(run("table").lines().count() == 2, "{args:?}");
        let pretty = place.run(&[args, &["--json", "--pretty"]].concat()).ok();
        assert_eq!(serde_json::from_str::<Value>(&pretty).unwrap(), array[0]);
        assert!(pretty.starts_with("{\n  \""), "{pretty}");
        let wrong = place.run(&[args, &["--pretty"]].concat());
        wrong.failed(2, "--format json");
    }
}

#[test]
fn values_are_printed_raw_or_indented() {
    let place = Place::with_table();
    place
        .run(&["set", "t", "text", "two\tlines\n \"here\"", "--string"])
        .ok();
    place.run(&["set", "t", "number", "1.50"]).ok();
    place
        .run(&["set", "t", "object", r#"{"a": [1.0, "b"]}"#])
        .ok();
    let get = |args: &[&str]| place.run(&[&["get", "t"], args].concat()).ok();
    assert_eq!(get(&["text", "--raw"]), "two\tlines\n \"here\"\n");
    assert_eq!(get(&["number", "--raw"]), "1.50\n");
    assert_eq!(get(&["object", "--raw"]), "{\"a\":[1.0,\"b\"]}\n");
    let pretty = "{\n  \"a\": [\n    1.0,\n    \"b\"\n  ]\n}\n";
    assert_eq!(get(&["object", "--pretty"]), pretty);
    let record = get(&["object", "--pretty", "--json"]);
    assert!(
        record.starts_with("{\n  \"key\": \"object\",\n"),
        "{record}"
    );
    let record: Value = serde_json::from_str(&record).unwrap();
    assert_eq!(record["value"], json!({ "a": [1.0, "b"] }));
    place
        .run(&["get", "t", "text", "--raw", "--json"])
        .failed_json(2, "BAD_REQUEST");
}

#[test]
fn a_terminal_shows_rows_that_fit() {
    let place = Place::with_table();
    let long = format!("\"{}\"", "word ".repeat(300));
    place.run(&["set", "t", "a", &long]).ok();
    place.run(&["set", "t", "b", "1", "--ttl", "1h"]).ok();
    for width in [60, 100] {
        let (shown, code) = on_terminal(place.command(&["ls", "t"]), width, "");
        assert_eq!(code, 0, "{shown}");
        assert_eq!(shown.lines().count(), 3, "a row is a line: {shown}");
        let widest = shown
            .lines()
            .map(|line| line.chars().count())
            .max()
            .unwrap();
        assert!(widest <= usize::from(width), "{widest}: {shown}");
        assert!(shown.contains("word word"), "{shown}");
    }
    // Even if the short columns do not fit together.
    let key = "a/rather/long/key/of/thirty/five/ch";
    let more = [
        "--category",
        "beta",
        "--ttl",
        "1h",
        "--note",
        "because it is so",
    ];
    place
        .run(&[&["set", "t", key, &long], &more[..]].concat())
        .ok();
    for (args, width) in [(&["ls", "t"][..], 60), (&["history", "t", "--values"], 70)] {
        let (shown, _) = on_terminal(place.command(args), width, "");
        let widest = shown
            .lines()
            .map(|line| line.chars().count())
            .max()
            .unwrap();
        assert!(widest <= usize::from(width), "{widest}: {shown}");
        assert_eq!(shown.lines().count(), 4, "{shown}");
        assert!(shown.contains("a/rather/"), "{shown}");
    }
    // The list is complete for programs, and in a pipe.
    assert!(place.run(&["ls", "t"]).ok().contains(&long));
    let (json, _) = on_terminal(place.command(&["ls", "t", "--json"]), 60, "");
    assert!(json.contains(&long), "{json}");
}

#[test]
fn a_terminal_shows_what_is_invisible() {
    let place = Place::with_table();
    let key = "pay\u{200b}pal\u{202e}gpj";
    place.run(&["set", "t", key, "\"a\u{e0041}\u{ad}b\""]).ok();
    for args in [
        &["ls", "t"][..],
        &["ls", "t", "--json"],
        &["ls", "t", "--format", "csv"],
        &["history", "t", "--values"],
    ] {
        let (shown, _) = on_terminal(place.command(args), 200, "");
        assert!(
            shown.contains(r"pay\u200bpal\u202egpj"),
            "{args:?}: {shown}"
        );
        assert!(
            shown.contains(r"a\udb40\udc41\u00adb") || args[0] == "history",
            "{shown}"
        );
        assert!(place.run(args).ok().contains(key), "as it is for programs");
    }
    let error = place.run(&["get", "t", "pay\u{200b}pal"]).err;
    assert!(
        error.contains(r"pay\u200bpal") || error.contains(r"pay\u{200b}pal"),
        "{error}"
    );
}

#[test]
fn times_have_three_decimals() {
    let place = Place::new();
    place.run(&["table", "create", "t"]).ok();
    let at = "2099-12-24T18:00:00Z";
    place.run(&["set", "t", "a", "1", "--expires-at", at]).ok();
    for args in [
        &["ls", "t"][..],
        &["ls", "t", "--json"],
        &["table", "list"],
        &["table", "show", "t"],
        &["history", "t"],
        &["export", "t"],
    ] {
        let out = place.run(args).ok();
        let times: Vec<_> = out
            .split(|c: char| c.is_whitespace() || matches!(c, '"' | ','))
            .filter(|word| word.ends_with('Z') && word.contains('T'))
            .collect();
        assert!(!times.is_empty(), "{args:?}: {out}");
        for time in times {
            assert_eq!(
                time.len(),
                "2099-12-24T18:00:00.000Z".len(),
                "{args:?}: {time}"
            );
        }
    }
}
