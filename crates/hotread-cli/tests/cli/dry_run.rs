//! `hotread import --dry-run`.

use super::import::{created, values};
use super::serving::Serving;
use super::{Place, Ran};
use serde_json::json;

/// Runs a command on the file, or through the server.
fn run(place: &Place, serving: Option<&Serving>, args: &[&str]) -> Ran {
    match serving {
        Some(serving) => serving.run(args),
        None => place.run(args),
    }
}

#[test]
fn a_dry_run_says_what_would_change_and_changes_nothing() {
    let place = Place::new();
    let file = place.file("new.csv", "key,n\nadd,1\nsame,1\nchange,2\nadd,3\n");
    let import = ["import", "t", &file, "--key", "key", "--dry-run"];
    let said = place.run(&import).ok();
    assert!(
        said.contains("would create table t\nwould add 3 records: \"add\", \"change\", \"same\""),
        "{said}"
    );
    assert!(!said.contains("again with"), "{said}");
    assert!(!place.db().exists());
    let old: String = (0..30).map(|n| format!("old{n:02},1\n")).collect();
    let before = place.file("old.csv", format!("key,n\nsame,1\nchange,1\n{old}"));
    created(place.run(&["import", "t", &before, "--key", "key"]));
    let serving = Serving::start(&place, &[]);
    for serving in [None, Some(&serving)] {
        let run = |args: &[&str]| run(&place, serving, &[&import[..], args].concat());
        let expected = "4 rows read, 1 row had a key that appeared before; nothing was changed\n\
                        would add 1 record: \"add\"\n\
                        would change 1 record: \"change\"\n\
                        would write 1 again with the values that they have\n";
        assert_eq!(run(&[]).ok(), expected);
        let ran = run(&["--replace"]);
        assert!(
            ran.out.contains("\nwould leave 1 as they are\n"),
            "{}",
            ran.out
        );
        assert!(
            ran.out.ends_with(
                "would delete 30 records: \"old00\", \"old01\", \"old02\", \"old03\", \"old04\", …\n"
            ),
            "{}",
            ran.out
        );
        ran.failed(
            4,
            "delete 30 of 32 records, and be refused; --max-delete allows it",
        );
        let options = ["--replace", "--max-delete", "100", "--json"];
        let plan = run(&options).json().remove(0);
        assert_eq!(plan["added"], json!({"count": 1, "first": ["add"]}));
        assert_eq!(plan["changed"], json!({"count": 1, "first": ["change"]}));
        assert_eq!(plan["unchanged"], json!({"count": 1, "first": ["same"]}));
        assert_eq!(plan["deleted"]["count"], 30);
        assert_eq!(values(&place, "t").len(), 32);
    }
}

/// From a server, records are read one by one if the rows are fewer than the pages of the table, otherwise by
/// pages.
#[test]
fn rows_are_compared_with_a_table_of_many_pages() {
    let place = Place::new();
    let rows = |numbers: &[u32]| -> String {
        let lines = numbers.iter().map(|n| format!("k{n:04},{}\n", n % 2));
        format!("key,n\n{}", lines.collect::<String>())
    };
    let all: Vec<u32> = (0..3_500).collect();
    let old = place.file("old.csv", rows(&all));
    created(place.run(&["import", "t", &old, "--key", "key"]));
    let serving = Serving::start(&place, &[]);
    for (numbers, added, unchanged) in [
        (&[3_499, 3_500][..], 1, 1),
        (&[3_600, 3_499, 1_500, 9, 0, 5_000][..], 2, 4),
        (&all[1_200..3_300], 0, 2_099),
    ] {
        let file = place.file("new.csv", rows(numbers) + "k1400,7\n");
        let import = ["import", "t", &file, "--key", "key", "--dry-run", "--json"];
        for serving in [None, Some(&serving)] {
            let plan = run(&place, serving, &import).json().remove(0);
            let count = |group: &str| plan[group]["count"].as_u64().unwrap();
            assert_eq!(
                ["added", "changed", "unchanged"].map(count),
                [added, 1, unchanged]
            );
            assert_eq!(plan["changed"]["first"], json!(["k1400"]));
        }
    }
    assert_eq!(values(&place, "t").len(), 3_500);
}

#[test]
fn a_dry_run_reports_the_rows_that_the_schema_refuses() {
    let place = Place::new();
    let schema = place.file("s.json", r#"{"type": "number"}"#);
    place
        .run(&["table", "create", "t", "--schema", &schema])
        .ok();
    place.run(&["set", "t", "old", "1"]).ok();
    let file = place.file(
        "x.ndjson",
        "{\"key\":\"a\",\"value\":1}\n{\"key\":\"b\",\"value\":\"x\"}\n{\"key\":\"c\",\"value\":3}\n{\"key\":\"d\",\"value\":[]}\n",
    );
    let import = |more: &[&'static str]| [&["import", "t", file.as_str()][..], more].concat();
    let serving = Serving::start(&place, &[]);
    let dry: Vec<Ran> = [None, Some(&serving)]
        .into_iter()
        .flat_map(|serving| {
            let run = |more: &[&'static str]| run(&place, serving, &import(more));
            let skip_bad = run(&["--dry-run", "--skip-bad", "--json"]);
            assert_eq!(skip_bad.code, 7, "{skip_bad:?}");
            let plan: serde_json::Value = serde_json::from_str(&skip_bad.out).unwrap();
            assert_eq!(
                (&plan["rows"], &plan["bad_rows"], &plan["added"]["count"]),
                (&json!(4), &json!(2), &json!(2))
            );
            assert_eq!(
                (&plan["bad"][0]["line"], &plan["bad"][1]["line"]),
                (&json!(2), &json!(4))
            );
            [run(&["--dry-run"]), run(&["--dry-run", "--replace"])]
        })
        .collect();
    assert_eq!(values(&place, "t").len(), 1);
    // The same message as that of a real import, except for what became of the rows.
    let real = serving.run(&import(&[]));
    let reason = |ran: &Ran| ran.err.split(" (").next().unwrap().to_owned();
    assert!(
        reason(&real).contains("line 2: the value of \"b\" does not fit the schema of table t: "),
        "{real:?}"
    );
    for ran in dry {
        assert_eq!((ran.code, reason(&ran)), (real.code, reason(&real)));
        assert!(ran.err.contains("(nothing was changed; "), "{ran:?}");
    }
}
