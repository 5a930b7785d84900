//! `hotread watch`.

use super::Place;
use super::serving::Serving;
use serde_json::Value;
use std::io::{BufRead, BufReader, Read};
use std::os::unix::process::ExitStatusExt;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

/// Time after which a command counts as hung.
const HANG: Duration = Duration::from_secs(600);

/// A running `watch`; killed on drop.
struct Watching {
    child: Child,
    lines: Receiver<String>,
}

impl Drop for Watching {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Watching {
    fn start(serving: &Serving, args: &[&str]) -> Self {
        let mut command = serving.command(&[&["watch"], args].concat());
        let command = command.stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let (send, lines) = channel();
        let out = BufReader::new(child.stdout.take().unwrap());
        std::thread::spawn(move || {
            for line in out.lines() {
                let _ = send.send(line.unwrap());
            }
        });
        Self { child, lines }
    }

    fn line(&self) -> String {
        self.lines.recv_timeout(HANG).expect("a line")
    }

    /// Reads a line of `--json`: seq, op, key.
    fn change(&self) -> (u64, String, String) {
        let line: Value = serde_json::from_str(&self.line()).unwrap();
        let text = |name: &str| line[name].as_str().unwrap().to_owned();
        (line["seq"].as_u64().unwrap(), text("op"), text("key"))
    }

    /// Waits for it to end by itself; returns its exit code, its remaining output, and its stderr.
    fn end(mut self) -> (Option<i32>, Vec<String>, String) {
        let mut err = String::new();
        let mut pipe = self.child.stderr.take().unwrap();
        pipe.read_to_string(&mut err).unwrap();
        let status = self.child.wait().unwrap();
        (status.code(), self.lines.iter().collect(), err)
    }
}

/// Returns the position of the table.
fn position(serving: &Serving) -> String {
    let info = serving.run(&["table", "show", "t", "--json"]).json();
    format!("{}:{}", info[0]["epoch"].as_str().unwrap(), info[0]["seq"])
}

fn change(seq: u64, op: &str, key: &str) -> (u64, String, String) {
    (seq, op.to_owned(), key.to_owned())
}

#[test]
fn each_change_is_a_line_that_one_can_go_on_from() {
    let place = Place::with_table();
    let serving = Serving::start(&place, &[]);
    let begin = position(&serving);
    serving
        .run(&[
            "set",
            "t",
            "a",
            "{\"x\": 1.0}",
            "--category",
            "c",
            "--ttl",
            "1h",
        ])
        .ok();
    serving.run(&["set", "t", "b/1", "\"two  words\""]).ok();
    let people = Watching::start(&serving, &["t", "--from", &begin]);
    let line = people.line();
    let words: Vec<_> = line.split_whitespace().collect();
    assert_eq!(
        (words[0], &words[2..]),
        ("1", &["put", "a", "{\"x\":1.0}"][..])
    );
    assert!(people.line().ends_with("  put     b/1  \"two  words\""));

    let watching = Watching::start(&serving, &["t", "--from", &begin, "--json"]);
    let first: Value = serde_json::from_str(&watching.line()).unwrap();
    assert_eq!(format!("{}:0", first["epoch"].as_str().unwrap()), begin);
    assert_eq!(first["value"].to_string(), "{\"x\":1.0}");
    assert_eq!(first["category"], "c");
    let time = |name: &str| first[name].as_str().unwrap().ends_with('Z');
    assert!(time("time") && time("expires_at"), "{first}");
    assert_eq!(watching.change(), change(2, "put", "b/1"));
    // The operations of one transaction, marked as such.
    serving.run(&["rm", "t", "a", "b/1"]).ok();
    let more = |more: bool, key: &str| {
        let line: Value = serde_json::from_str(&watching.line()).unwrap();
        assert_eq!((&line["more"], &line["key"]), (&more.into(), &key.into()));
        assert_eq!((&line["op"], &line["seq"]), (&"delete".into(), &3.into()));
        assert!(line.get("value").is_none(), "{line}");
    };
    more(true, "a");
    more(false, "b/1");
    let later = begin.replace(":0", ":2");
    let rest = Watching::start(
        &serving,
        &["t", "--from", &later, "--json", "--prefix", "b/"],
    );
    assert_eq!(rest.change(), change(3, "delete", "b/1"));
    assert!(people.line().ends_with("  delete  a"));
}

#[test]
fn what_expired_is_told_from_what_was_deleted() {
    let place = Place::with_table();
    let serving = Serving::start(&place, &[]);
    let begin = position(&serving);
    let people = Watching::start(&serving, &["t", "--from", &begin]);
    let watching = Watching::start(&serving, &["t", "--from", &begin, "--json"]);
    let old = [
        "set",
        "t",
        "old",
        "1",
        "--expires-at",
        "2020-01-01T00:00:00Z",
    ];
    assert_eq!(serving.run(&old).code, 0);
    assert_eq!(watching.change(), change(1, "put", "old"));
    let line: Value = serde_json::from_str(&watching.line()).unwrap();
    let shown = ["seq", "op", "key", "cause"].map(|name| line[name].clone());
    let expired = serde_json::json!([2, "delete", "old", "expired"]);
    assert_eq!(Value::from(shown.to_vec()), expired);
    people.line();
    assert!(people.line().ends_with("  expire  old"));
    serving.run(&["set", "t", "a", "1"]).ok();
    serving.run(&["rm", "t", "a"]).ok();
    watching.change();
    let line: Value = serde_json::from_str(&watching.line()).unwrap();
    assert_eq!(line.get("cause"), None, "{line}");

    let history = serving.run(&["history", "t", "--json"]).json();
    let ops: Vec<_> = history.iter().map(|change| &change["ops"][0]).collect();
    let expected = serde_json::json!([
        { "put": { "key": "old" } },
        { "delete": { "key": "old", "cause": "expired" } },
        { "put": { "key": "a" } },
        { "delete": { "key": "a" } },
    ]);
    assert_eq!(serde_json::json!(ops), expected);
    let text = serving.run(&["history", "t"]).ok();
    let lines = text.lines().skip(1);
    let verbs: Vec<_> = lines.map(|line| line.split_whitespace().nth(2)).collect();
    assert_eq!(verbs, ["put", "expire", "put", "delete"].map(Some));
}

#[test]
fn nothing_is_lost_when_the_server_is_killed_again_and_again() {
    const ROUNDS: u64 = 3;
    const WRITES: u64 = 10;
    let place = Place::with_table();
    let mut serving = Serving::start(&place, &[]);
    let address = serving.address.clone();
    let watching = Watching::start(&serving, &["t", "--from", &position(&serving), "--json"]);
    for round in 0..ROUNDS {
        for n in 0..WRITES {
            let key = format!("k{}", round * WRITES + n);
            serving.run(&["set", "t", &key, "1"]).ok();
        }
        // Dropping the server kills it.
        drop(serving);
        serving = Serving::start_at(&place, &address, &[]);
    }
    serving.run(&["set", "t", "last", "1"]).ok();
    for n in 0..ROUNDS * WRITES {
        assert_eq!(watching.change(), change(n + 1, "put", &format!("k{n}")));
    }
    assert_eq!(
        watching.change(),
        change(ROUNDS * WRITES + 1, "put", "last")
    );
}

#[test]
fn an_outage_of_the_server_is_reported_if_asked_for() {
    let place = Place::with_table();
    let serving = Serving::start(&place, &[]);
    let address = serving.address.clone();
    let from = position(&serving);
    let mut watching = Watching::start(&serving, &["t", "--json", "-v", "--from", &from]);
    serving.run(&["set", "t", "a", "1"]).ok();
    assert_eq!(watching.change().2, "a");
    drop(serving);
    let serving = Serving::start_at(&place, &address, &[]);
    serving.run(&["set", "t", "b", "1"]).ok();
    assert_eq!(watching.change().2, "b");
    let _ = watching.child.kill();
    let (_, _, err) = watching.end();
    let went = err.find("waiting for the server").expect(&err);
    assert!(err[went..].contains("the server is back"), "{err}");
}

#[test]
fn a_gap_in_the_changes_is_an_error() {
    let place = Place::new();
    let create = ["table", "create", "t", "--history-changes", "2"];
    place.run(&create).ok();
    let serving = Serving::start(&place, &[]);
    let begin = position(&serving);
    for n in 0..40 {
        serving.run(&["set", "t", "a", &n.to_string()]).ok();
    }
    let at = position(&serving);
    serving
        .run(&["watch", "t", "--from", &begin])
        .failed(4, "history");
    let watch = |from: &str| serving.run(&["watch", "t", "--json", "--from", from]);
    watch(&begin).failed_json(4, "GONE");
    watch("0000000000000001:1").failed_json(4, "EPOCH_CHANGED");
    serving.run(&["watch", "nope"]).failed(3, "no table nope");
    serving
        .run(&["watch", "t", "--from", "x"])
        .failed(2, "--from");
    serving
        .run(&["watch", "t", "--from", "99"])
        .failed(4, "has no transaction 99 yet, the last one is 40");

    let watching = Watching::start(&serving, &["t", "--from", &at, "--json"]);
    serving.run(&["set", "t", "b", "1"]).ok();
    assert_eq!(watching.change().1, "put");
    serving.run(&["table", "drop", "t", "--yes"]).ok();
    serving.run(&create).ok();
    let (code, _, err) = watching.end();
    assert_eq!(
        code,
        Some(if err.contains("UNKNOWN_TABLE") { 3 } else { 4 }),
        "{err}"
    );
    assert_eq!(err.lines().count(), 1, "{err}");
}

#[test]
fn it_ends_quietly_when_its_output_is_closed() {
    let place = Place::with_table();
    let serving = Serving::start(&place, &[]);
    let from = position(&serving);
    serving.run(&["set", "t", "a", "1"]).ok();
    let mut command = serving.command(&["watch", "t", "--json", "--from", &from]);
    let command = command.stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    let mut out = BufReader::new(child.stdout.take().unwrap());
    let mut line = String::new();
    out.read_line(&mut line).unwrap();
    // No line is written after this.
    drop(out);
    let ended = child.wait_with_output().unwrap();
    assert_eq!((ended.status.code(), ended.stderr), (Some(0), Vec::new()));
}

#[test]
fn ctrl_c_ends_it_and_what_came_before_is_there() {
    let place = Place::with_table();
    let serving = Serving::start(&place, &[]);
    let mut watching = Watching::start(&serving, &["t", "--from", &position(&serving)]);
    serving.run(&["set", "t", "a", "1"]).ok();
    assert!(watching.line().ends_with("  put     a  1"));
    let pid = watching.child.id().to_string();
    assert!(
        Command::new("kill")
            .args(["-INT", &pid])
            .status()
            .unwrap()
            .success()
    );
    let status = watching.child.wait().unwrap();
    assert!(
        status.signal() == Some(2) || status.code() == Some(0),
        "{status}"
    );
}

#[test]
fn it_ends_when_its_token_is_revoked() {
    let place = Place::with_table();
    let serving = Serving::start(&place, &[]);
    let create = ["token", "create", "ops", "--role", "admin", "--json"];
    let admin = serving.run(&create).json().remove(0);
    let admin = admin["secret"].as_str().unwrap();
    let create = ["token", "create", "api", "--role", "read", "--json"];
    let reader = serving
        .run(&[&create[..], &["--token", admin]].concat())
        .json()
        .remove(0);
    let text = |name: &str| reader[name].as_str().unwrap();
    let info = serving
        .run(&["table", "show", "t", "--json", "--token", admin])
        .json();
    let from = format!("{}:0", info[0]["epoch"].as_str().unwrap());
    let args = ["t", "--json", "--from", &from, "--token", text("secret")];
    let watching = Watching::start(&serving, &args);
    serving.run(&["set", "t", "a", "1", "--token", admin]).ok();
    assert_eq!(watching.change(), change(1, "put", "a"));
    serving
        .run(&["token", "revoke", text("id"), "--token", admin])
        .ok();
    let (code, lines, err) = watching.end();
    assert_eq!((code, lines.len()), (Some(4), 0), "{err}");
    assert!(
        err.contains("UNAUTHENTICATED") && !err.contains(text("secret")),
        "{err}"
    );
}

#[test]
fn actor_and_note_are_printed_with_a_transaction() {
    let place = Place::with_table();
    let create = ["token", "create", "deploy", "--role", "admin", "--json"];
    let token = place.run(&create).json().remove(0);
    let secret = token["secret"].as_str().unwrap();
    let serving = Serving::start(&place, &[]);
    let with_token = |args: &[&str]| -> Vec<String> {
        let token = ["--token", secret];
        let all = args.iter().chain(&token);
        all.map(|&arg| arg.to_owned()).collect()
    };
    let run = |args: &[&str]| {
        let args = with_token(args);
        let args: Vec<_> = args.iter().map(String::as_str).collect();
        serving.run(&args)
    };
    let info = run(&["table", "show", "t", "--json"]).json().remove(0);
    let begin = format!("{}:0", info["epoch"].as_str().unwrap());
    run(&["set", "t", "a", "1", "--note", "first things"]).ok();
    run(&["set", "t", "b", "1"]).ok();
    run(&["rm", "t", "a", "b", "--note", "all gone"]).ok();

    let args = with_token(&["t", "--from", &begin]);
    let args: Vec<_> = args.iter().map(String::as_str).collect();
    let people = Watching::start(&serving, &args);
    for end in [
        "  put     a  1  by deploy  note: first things",
        "  put     b  1  by deploy",
        "  delete  a  by deploy  note: all gone",
        "  delete  b",
    ] {
        let line = people.line();
        assert!(line.ends_with(end), "{line:?} {end:?}");
    }
    let watching = Watching::start(&serving, &[&args[..], &["--json"]].concat());
    for note in [
        Some("first things"),
        None,
        Some("all gone"),
        Some("all gone"),
    ] {
        let line: Value = serde_json::from_str(&watching.line()).unwrap();
        assert_eq!(line["actor"], "deploy", "{line}");
        assert_eq!(line.get("note").and_then(Value::as_str), note, "{line}");
    }
    let history = run(&["history", "t", "--json"]).json();
    assert!(history.iter().all(|change| change["actor"] == "deploy"));
}

#[test]
fn a_watch_goes_on_after_a_sequence_number() {
    let place = Place::with_table();
    let serving = Serving::start(&place, &[]);
    for key in ["a", "b", "c"] {
        serving.run(&["set", "t", key, "1"]).ok();
    }
    let watching = Watching::start(&serving, &["t", "--json", "--from", "1"]);
    assert_eq!(watching.change(), change(2, "put", "b"));
    assert_eq!(watching.change(), change(3, "put", "c"));
}

#[test]
fn the_state_comes_before_the_changes() {
    let place = Place::with_table();
    let serving = Serving::start(&place, &[]);
    let line = |n| format!("{{\"key\":\"k{n:04}\",\"value\":{n}}}\n");
    let rows: String = (0..1_500).map(line).collect();
    serving.run(&["import", "t", &place.file("rows.ndjson", rows)]);
    let watching = Watching::start(&serving, &["t", "--json", "--state"]);
    for n in 0..1_500 {
        let line: Value = serde_json::from_str(&watching.line()).unwrap();
        assert_eq!((&line["op"], &line["state"]), (&"put".into(), &true.into()));
        assert_eq!(line["key"], format!("k{n:04}"));
        assert_eq!((&line["value"], &line["more"]), (&n.into(), &true.into()));
    }
    let live: Value = serde_json::from_str(&watching.line()).unwrap();
    assert_eq!(
        (&live["op"], &live["more"]),
        (&"live".into(), &false.into())
    );
    assert_eq!(
        format!("{}:{}", live["epoch"].as_str().unwrap(), live["seq"]),
        position(&serving)
    );
    serving.run(&["rm", "t", "k0007"]).ok();
    let seq = live["seq"].as_u64().unwrap();
    assert_eq!(watching.change(), change(seq + 1, "delete", "k0007"));
    let people = Watching::start(&serving, &["t", "--state", "--prefix", "k14"]);
    assert!(people.line().contains("  state   k1400  1400"));
    let both = serving.run(&["watch", "t", "--state", "--from", "1"]);
    both.failed(2, "--state");
}

/// Each key's last line is its state, whatever is written during the reads, and no older change follows
/// a newer one.
#[test]
fn a_state_that_changes_while_it_is_read_goes_forward() {
    const KEYS: u64 = 2_500;
    let place = Place::with_table();
    let serving = Serving::start(&place, &[]);
    let line = |n| format!("{{\"key\":\"k{n:04}\",\"value\":0}}\n");
    let rows: String = (0..KEYS).map(line).collect();
    serving.run(&["import", "t", &place.file("rows.ndjson", rows)]);
    let watching = Watching::start(&serving, &["t", "--json", "--state"]);
    for n in 0..40 {
        let key = format!("k{:04}", (n * 613) % KEYS);
        serving.run(&["set", "t", &key, "1"]).ok();
    }
    serving.run(&["set", "t", "zz", "1"]).ok();
    let mut seen = std::collections::HashMap::new();
    loop {
        let line: Value = serde_json::from_str(&watching.line()).unwrap();
        let Some(key) = line["key"].as_str().map(str::to_owned) else {
            continue;
        };
        let seq = line["seq"].as_u64().unwrap();
        if let Some(before) = seen.insert(key.clone(), seq) {
            assert!(before < seq, "{key}: {before}, then {seq}");
        }
        if key == "zz" {
            break;
        }
    }
    for record in serving.run(&["ls", "t", "--json"]).json() {
        let key = record["key"].as_str().unwrap();
        assert_eq!(seen.get(key), record["seq"].as_u64().as_ref(), "{key}");
    }
}

#[test]
fn a_command_gets_each_change() {
    let place = Place::with_table();
    let serving = Serving::start(&place, &[]);
    serving.run(&["set", "t", "a", "1"]).ok();
    let command = "jq() { cat; }; jq; echo end";
    let watching = Watching::start(&serving, &["t", "--state", "--exec", command]);
    let told = |op: &str, key: &str| {
        let line: Value = serde_json::from_str(&watching.line()).unwrap();
        assert_eq!((&line["op"], &line["key"]), (&op.into(), &key.into()));
        // The next line comes after the command has ended.
        assert_eq!(watching.line(), "end");
    };
    told("put", "a");
    serving.run_with("put b 1\ndelete a\n", &["txn", "t"]).ok();
    told("put", "b");
    told("delete", "a");

    let failing = Watching::start(&serving, &["t", "--from", "1", "--exec", "exit 3"]);
    let (code, _, err) = failing.end();
    assert_eq!(code, Some(1), "{err}");
    assert!(
        err.contains("exit status: 3") && err.contains("--from "),
        "{err}"
    );
    let again = err.split("--from ").nth(1).unwrap().trim();
    let again = Watching::start(&serving, &["t", "--json", "--from", again]);
    assert_eq!(again.change(), change(2, "put", "b"));
}
