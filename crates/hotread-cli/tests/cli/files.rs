//! export, backup, restore, verify.

use super::{Place, Ran};
use std::process::Stdio;
use std::time::Duration;

/// Returns a place with a table whose records have every optional part.
fn filled() -> Place {
    let place = Place::with_table();
    place
        .run(&["set", "t", "plain", r#"{"b":1.0,"a":9007199254740993}"#])
        .ok();
    place
        .run(&[
            "set",
            "t",
            "ключ, \"x\"",
            "\"a\\u0000\\n\"",
            "--category",
            "c",
        ])
        .ok();
    place
        .run(&[
            "set",
            "t",
            "later",
            "null",
            "--expires-at",
            "2099-01-01T00:00:00Z",
        ])
        .ok();
    place
}

#[test]
fn what_is_exported_is_imported_to_the_byte() {
    let place = filled();
    let lines = place.run(&["export", "t"]).ok();
    assert_eq!(
        lines,
        "{\"key\":\"later\",\"value\":null,\"expires_at\":\"2099-01-01T00:00:00.000Z\"}\n\
         {\"key\":\"plain\",\"value\":{\"b\":1.0,\"a\":9007199254740993}}\n\
         {\"key\":\"ключ, \\\"x\\\"\",\"value\":\"a\\u0000\\n\",\"category\":\"c\"}\n"
    );
    let other = Place::new();
    let ran = other.run_with(&lines, &["import", "u", "-", "--format", "ndjson"]);
    assert_eq!((ran.code, ran.err.as_str()), (0, "table u was created\n"));
    assert_eq!(other.run(&["export", "u"]).ok(), lines);
    assert_eq!(
        place.content(&place.db(), "t"),
        place.content(&other.db(), "u")
    );
}

#[test]
fn exports_go_to_files_as_a_whole() {
    let place = filled();
    let csv = place.path("out.csv");
    let ran = place.run(&["export", "t", "-o", csv.to_str().unwrap()]);
    assert_eq!((ran.code, ran.out.as_str()), (0, ""));
    assert!(ran.err.starts_with("3 records of t at "), "{}", ran.err);
    let text = std::fs::read_to_string(&csv).unwrap();
    assert!(
        text.starts_with("key,value,category,seq,updated_at,expires_at\nlater,null,general,3,")
    );
    assert_eq!(place.run(&["export", "t", "--format", "csv"]).ok(), text);
    place
        .run(&["export", "t", "-o", "no/such/file"])
        .failed(1, "cannot write no/such/file");
    place
        .run(&["export", "t", "-o", "test.db"])
        .failed(2, "the database itself");
    place
        .run(&["export", "nope", "-o", csv.to_str().unwrap()])
        .failed(3, "no table");
    assert_eq!(std::fs::read_to_string(&csv).unwrap(), text);
    let left: Vec<_> = std::fs::read_dir(place.0.path())
        .unwrap()
        .map(|e| e.unwrap().file_name())
        .collect();
    assert!(
        !left
            .iter()
            .any(|name| name.to_string_lossy().ends_with(".part")),
        "{left:?}"
    );
}

#[test]
fn a_file_of_an_unknown_format_is_not_written() {
    let place = filled();
    for name in ["out.xls", "out.json.bz2", "out.csv.GZ"] {
        let ran = place.run(&["export", "t", "-o", name]);
        let words = match name {
            "out.csv.GZ" => "pipe it through gzip",
            _ => "give .csv, .tsv, .tab, .ndjson, .jsonl or .json, or choose with --format",
        };
        ran.failed(2, words);
        assert!(!place.path(name).exists());
    }
    let lines = place.run(&["export", "t"]).ok();
    let text = |name: &str| std::fs::read_to_string(place.path(name)).unwrap();
    for name in ["out.ndjson", "out.JSONL", "out"] {
        assert_eq!(place.run(&["export", "t", "-o", name]).code, 0);
        assert_eq!(text(name), lines, "{name}");
    }
    for (name, format) in [
        ("a.tab", "tsv"),
        ("a.tsv", "tsv"),
        ("a.json", "json"),
        ("a.xls", "csv"),
    ] {
        let args = ["export", "t", "-o", name];
        let more: &[&str] = if name == "a.xls" {
            &["--format", format]
        } else {
            &[]
        };
        assert_eq!(place.run(&[&args[..], more].concat()).code, 0);
        let printed = place.run(&["export", "t", "--format", format]).ok();
        assert_eq!(text(name), printed, "{name}");
    }
}

#[test]
fn backups_are_made_and_restored() {
    let place = filled();
    let backup = place.path("backup.db");
    let backup = backup.to_str().unwrap();
    let said = place.run(&["backup", backup]).ok();
    assert!(said.starts_with("backup written: "), "{said}");
    place.run(&["backup", backup]).failed(4, "exists already");
    place.run(&["restore", backup]).failed(4, "exists already");
    place
        .run(&["backup", "no/such/dir.db"])
        .failed(6, "no/such/dir.db");
    let other = Place::new();
    let answer = other.run(&["restore", backup, "--json"]).json().remove(0);
    assert!(answer["bytes"].as_u64() > Some(0), "{answer}");
    assert_eq!(
        other.content(&other.db(), "t"),
        place.content(&place.db(), "t")
    );
    let at = |place: &Place| {
        place
            .run(&["table", "show", "t", "--json"])
            .json()
            .remove(0)
    };
    let (one, two) = (at(&place), at(&other));
    assert_eq!((&one["seq"], &one["digest"]), (&two["seq"], &two["digest"]));
    assert_ne!(one["epoch"], two["epoch"]);
    let another = Place::new();
    another
        .run(&["restore", "nothing.db"])
        .failed(5, "does not exist");
    let text = another.file(
        "text.db",
        "no database at all, but text of some length".repeat(50),
    );
    another
        .run(&["restore", &text])
        .failed(5, "not a HotRead database");
    assert!(!another.db().exists());
}

/// Runs a command that writes a copy, and kills it during the copy or just afterwards.
fn kill_while_copying(place: &Place, args: &[&str], target: &str, after: Duration) -> bool {
    let folder = place.path(&format!(".{target}.hotread-part"));
    let mut child = place
        .command(args)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    while !folder.exists() && child.try_wait().unwrap().is_none() {
        std::hint::spin_loop();
    }
    std::thread::sleep(after);
    let _ = child.kill();
    let _ = child.wait();
    folder.exists()
}

#[test]
fn a_killed_copy_leaves_nothing_under_its_name() {
    let place = Place::with_table();
    let row = |n: u32| format!("{{\"key\":\"{n}\",\"value\":\"{}\"}}\n", "x".repeat(1_000));
    let rows = place.file("rows.ndjson", (0..20_000).map(row).collect::<String>());
    place.run(&["import", "t", &rows]).ok();
    place.run(&["backup", "good.db"]).ok();
    let (mut killed, mut whole) = (0, 0);
    for round in 0..24 {
        let (args, target) = match round % 3 {
            0 => (&["backup", "new.db"][..], "new.db"),
            1 => (&["--db", "new.db", "restore", "good.db"][..], "new.db"),
            _ => (&["export", "t", "-o", "new.ndjson"][..], "new.ndjson"),
        };
        let after = Duration::from_millis(round * 4);
        killed += u32::from(kill_while_copying(&place, args, target, after));
        let path = place.path(target);
        if path.exists() {
            whole += 1;
            if target == "new.db" {
                place.run(&["--db", "new.db", "verify"]).ok();
            } else {
                assert_eq!(
                    std::fs::read_to_string(&path).unwrap().lines().count(),
                    20_000
                );
            }
            std::fs::remove_file(&path).unwrap();
        }
    }
    println!("{killed} killed in the middle, {whole} had their names");
    assert!(killed > 0);
    // The next copy succeeds, and removes the remains of the killed ones.
    place.run(&["backup", "new.db"]).ok();
    let left = std::fs::read_dir(place.0.path()).unwrap();
    let left = left.map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let left: Vec<_> = left.filter(|name| name.contains("part")).collect();
    assert_eq!(left, [""; 0]);
}

#[test]
fn a_backup_is_not_written_to_stdout() {
    let place = Place::with_table();
    place.run(&["backup", "-"]).failed(2, "name the file");
    assert!(!place.path("-").exists());
}

#[test]
fn commands_wait_for_each_other_and_for_no_server() {
    let place = Place::with_table();
    let set = |n: usize| {
        let mut command = place.command(&["set", "t", &format!("k{n}"), "1", "--wait", "60s"]);
        command
            .stderr(Stdio::piped())
            .stdout(Stdio::null())
            .spawn()
            .unwrap()
    };
    let children: Vec<_> = (0..20).map(set).collect();
    for child in children {
        let ran = child.wait_with_output().unwrap();
        assert!(
            ran.status.success(),
            "{}",
            String::from_utf8_lossy(&ran.stderr)
        );
    }
    assert_eq!(
        place.run(&["table", "show", "t", "--json"]).json()[0]["records"],
        20
    );
}

#[test]
fn verify_finds_damage() {
    let place = filled();
    let sound = place.run(&["verify"]).ok();
    assert!(sound.ends_with("1 table, no problems\n"), "{sound}");
    // Moves everything in the WAL to the file, and changes one letter of a value there.
    let bytes = {
        let backup = place.path("b.db");
        place.run(&["backup", backup.to_str().unwrap()]).ok();
        std::fs::read(backup).unwrap()
    };
    let needle = b"9007199254740993";
    let mut damaged = bytes.clone();
    let mut at = 0;
    while let Some(found) = damaged[at..]
        .windows(needle.len())
        .position(|part| part == needle)
    {
        at += found + needle.len();
        damaged[at - 1] = b'4';
    }
    let file = place.file("damaged.db", &damaged);
    let ran = place.run(&["--db", &file, "verify"]);
    assert!(
        ran.out.contains("problem: ") && ran.out.contains("plain"),
        "{}",
        ran.out
    );
    ran.failed(6, "restore a backup");
    let ran = place.run(&["--db", &file, "verify", "--json"]);
    let report: serde_json::Value = serde_json::from_str(&ran.out).unwrap();
    assert_ne!(report["problems"].as_array().unwrap().len(), 0);
    ran.failed_json(6, "CORRUPT");
    // Truncates the file to half.
    let file = place.file("half.db", &bytes[..bytes.len() / 2]);
    let ran: Ran = place.run(&["--db", &file, "verify"]);
    assert_eq!(ran.code, 6, "{ran:?}");
}
