//! The same commands on a database and through a server have the same output and exit codes.

use super::serving::Serving;
use super::{Place, Ran, hotread};
use hotread_proto::Timestamp;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::process::Command;

/// Replaces the parts that differ between two runs of the same command: times, epochs and speeds.
/// Columns are as wide as the times in them.
fn neutral(text: &str) -> String {
    let is_word = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | ':' | '.');
    let mut words = Vec::new();
    for line in text.lines() {
        let line = line.split(",\"seconds\":").next().unwrap_or_default();
        let parts = line.split("; ").filter(|part| !part.contains(" rows/s"));
        for word in parts.collect::<Vec<_>>().join("; ").split_whitespace() {
            let mut rest = word;
            while let Some(at) = rest.find(is_word) {
                words.push(rest[..at].to_owned());
                let found = rest[at..].find(|c| !is_word(c)).unwrap_or(rest.len() - at);
                let (token, after) = rest[at..].split_at(found);
                words.push(match token.split_once(':').unwrap_or((token, "")) {
                    _ if token.contains('T') && token.parse::<Timestamp>().is_ok() => "TIME".into(),
                    (epoch, seq) if is_hex(epoch, 16) => format!("EPOCH:{seq}"),
                    _ => token.to_owned(),
                });
                rest = after;
            }
            words.push(format!("{rest} "));
        }
        words.push("\n".to_owned());
    }
    words.concat()
}

fn is_hex(text: &str, digits: usize) -> bool {
    text.len() == digits && text.bytes().all(|byte| byte.is_ascii_hexdigit())
}

#[test]
fn what_differs_between_two_runs_is_told_from_the_rest() {
    let line =
        "  \"epoch\":\"00c0ffee00c0ffee\"  2026-11-21T09:30:00.25Z 00c0ffee00c0ffee:42, 1.5 s";
    assert_eq!(
        neutral(line),
        "\"epoch\":\"EPOCH:\" TIME EPOCH:42, 1.5 s \n"
    );
    assert_eq!(neutral("a; 0.1 s, 2 rows/s; b"), "a; b \n");
}

/// Commands to run one after another, each with its stdin.
const SCRIPT: &[(&str, &[&str])] = &[
    ("", &["table", "list"]),
    (
        "",
        &[
            "table",
            "create",
            "a",
            "--search",
            "--history-changes",
            "1000",
        ],
    ),
    ("", &["table", "create", "a"]),
    ("", &["table", "create", "a", "--json"]),
    ("", &["table", "create", "b", "--json"]),
    ("", &["table", "create", "typed", "--schema", "schema.json"]),
    ("", &["table", "create", "wrong", "--schema", "bad.json"]),
    ("", &["table", "create", "wrong", "--schema", "none.json"]),
    ("", &["table", "list"]),
    ("", &["table", "list", "--json"]),
    ("", &["table", "show", "a"]),
    ("", &["table", "show", "typed", "--json"]),
    ("", &["table", "show", "nope"]),
    ("", &["table", "show", "nope", "--json"]),
    (
        "",
        &["set", "a", "k", r#"{"rate": 1.0, "to": "grand hotel"}"#],
    ),
    ("", &["set", "a", "k", "9007199254740993", "--json"]),
    ("", &["set", "a", "k", "2", "--if-absent"]),
    ("", &["set", "a", "k", "2", "--if-seq", "7", "--json"]),
    ("", &["set", "a", "k", "\"a grand hotel\"", "--if-seq", "2"]),
    (
        "",
        &["set", "a", "новый ключ/ ?%&", "null", "--category", "c"],
    ),
    (
        "",
        &[
            "set",
            "a",
            "later",
            "[]",
            "--expires-at",
            "2099-01-01T00:00:00Z",
        ],
    ),
    (
        "",
        &["set", "a", "whole", "1", "--category", "c", "--ttl", "1h"],
    ),
    ("", &["set", "a", "whole", "2"]),
    ("", &["get", "a", "whole", "--json"]),
    ("two\nlines", &["set", "a", "text", "-", "--string"]),
    ("", &["set", "a", "k", "oops"]),
    ("", &["set", "a", "once", "1", "--txn-id", "one"]),
    ("", &["set", "a", "once", "1", "--txn-id", "one"]),
    ("", &["set", "a", "once", "1", "--note", "because of 1"]),
    ("", &["set", "a", "once", "1", "--note", ""]),
    ("", &["set", "a", "once", "2", "--txn-id", "one"]),
    ("", &["set", "nope", "k", "1"]),
    ("", &["set", "typed", "k", "\"text\""]),
    ("", &["set", "typed", "k", "\"text\"", "--json"]),
    ("", &["get", "a", "k"]),
    ("", &["get", "a", "k", "--json"]),
    ("", &["get", "a", "новый ключ/ ?%&", "--json"]),
    ("", &["get", "a", "text", "--string"]),
    ("", &["get", "a", "later", "--string"]),
    ("", &["get", "a", "missing"]),
    ("", &["get", "a", "missing", "--json"]),
    ("", &["get", "nope", "k", "--json"]),
    ("", &["get", "a", "k", "text", "missing"]),
    ("", &["get", "a", "--prefix", "n"]),
    ("", &["get", "a", "k", "--at", "2"]),
    ("", &["get", "a", "k", "--at", "999"]),
    ("", &["keys", "a"]),
    (
        "put p/1 1\nput p/2 [2]\nif k present\n",
        &["txn", "a", "--note", "two"],
    ),
    ("put p/1 1\nif p/1 absent\n", &["txn", "a", "--json"]),
    ("oops", &["txn", "a"]),
    ("", &["history", "a", "--prefix", "p/", "--values"]),
    ("", &["rm", "a", "--prefix", "p/", "--dry-run"]),
    ("", &["rm", "a", "--prefix", "p/", "--yes", "--json"]),
    ("", &["rm", "a", "--prefix", "p/", "--yes"]),
    ("", &["ls", "a"]),
    ("", &["ls", "a", "--json", "--all"]),
    ("", &["ls", "a", "--limit", "2"]),
    ("", &["ls", "a", "--after", "k", "--category", "c"]),
    ("", &["ls", "a", "--prefix", "н"]),
    ("", &["ls", "a", "--prefix", "zz"]),
    ("", &["ls", "nope"]),
    ("", &["search", "a", "grand hot*"]),
    ("", &["search", "a", "grand", "--limit", "1", "--json"]),
    ("", &["search", "a", "nothing"]),
    ("", &["search", "b", "x"]),
    ("", &["history", "a", "--json", "--values", "--limit", "2"]),
    ("", &["history", "a", "--full", "--values"]),
    ("", &["history", "b"]),
    ("", &["history", "a", "--from", "0000000000000000:1"]),
    ("", &["history", "nope", "--json"]),
    ("", &["rm", "a", "k", "--if-seq", "1"]),
    ("", &["rm", "a", "k", "text", "k"]),
    ("", &["rm", "a", "k", "later", "x", "--json"]),
    (
        "",
        &[
            "rm", "a", "once", "--txn-id", "two", "--json", "--note", "x",
        ],
    ),
    ("", &["rm", "a", "once", "--txn-id", "two"]),
    ("", &["rm", "nope", "k"]),
    (
        "",
        &["import", "b", "rows.csv", "--key", "code", "--note", "x"],
    ),
    ("", &["import", "b", "rows.csv", "--key", "code", "--json"]),
    ("", &["import", "new", "many.ndjson", "--json"]),
    ("", &["import", "new", "bad.ndjson"]),
    ("", &["import", "new", "bad.ndjson", "--skip-bad"]),
    ("", &["import", "new", "bad.ndjson", "--skip-bad", "--json"]),
    ("", &["import", "typed", "typed.ndjson", "--dry-run"]),
    (
        "",
        &["import", "typed", "typed.ndjson", "--dry-run", "--skip-bad"],
    ),
    (
        "",
        &["import", "b", "many.ndjson", "--replace", "--dry-run"],
    ),
    ("", &["import", "typed", "typed.ndjson"]),
    ("", &["import", "typed", "typed.ndjson", "--skip-bad"]),
    (
        "",
        &["import", "typed", "typed.ndjson", "--replace", "--json"],
    ),
    (
        "",
        &["import", "typed", "typed.ndjson", "--replace", "--skip-bad"],
    ),
    ("", &["import", "b", "many.ndjson", "--replace"]),
    ("", &["import", "b", "many.ndjson", "--replace", "--json"]),
    ("", &["import", "b", "empty.ndjson", "--replace"]),
    (
        "",
        &["import", "b", "typed.ndjson", "--replace", "--skip-bad"],
    ),
    (
        "",
        &["import", "b", "many.ndjson", "--replace", "--if-seq", "1"],
    ),
    ("", &["import", "b", "none.ndjson"]),
    ("", &["import", "b", "large.ndjson", "--json"]),
    ("", &["export", "a"]),
    ("", &["export", "a", "--format", "csv"]),
    ("", &["export", "b", "-o", "out.ndjson"]),
    ("", &["export", "new", "-v"]),
    ("", &["export", "nope"]),
    ("", &["ls", "b", "--all", "--json"]),
    ("", &["history", "new", "--limit", "2"]),
    ("", &["table", "list"]),
    ("", &["table", "drop", "b"]),
    ("", &["table", "drop", "b", "--yes"]),
    ("", &["table", "drop", "b", "--yes"]),
    ("", &["table", "drop", "a", "--yes", "--json"]),
    // Written before the expiry: a server sweeps expired records in a transaction.
    ("", &["set", "t", "there", "1"]),
    (
        "",
        &[
            "set",
            "t",
            "gone",
            "1",
            "--expires-at",
            "2020-01-01T00:00:00Z",
        ],
    ),
    ("", &["get", "t", "gone"]),
    ("", &["ls", "t", "--limit", "1"]),
    ("", &["rm", "t", "gone", "x"]),
    ("", &["token", "list"]),
    ("", &["token", "create", "api", "--role", "read"]),
    ("", &["token", "create", "a b", "--role", "admin"]),
    ("", &["token", "revoke", "00000000"]),
];

/// Writes the files that the script reads.
fn files(place: &Place) {
    place.file("schema.json", r#"{"type": "object", "required": ["rate"]}"#);
    place.file("bad.json", r#"{"type": "nothing"}"#);
    place.file("rows.csv", "code,name\nFI,Finland\nSE,Sweden\nFI,Suomi\n");
    let line = |n: u32| format!("{{\"key\":\"k{n:04}\",\"value\":{n}}}\n");
    let many: String = (0..2_500).map(line).collect();
    place.file("many.ndjson", &many);
    place.file("bad.ndjson", line(7) + "oops\n" + &line(8));
    let typed = "{\"key\":\"a\",\"value\":{\"rate\":1}}\n{\"key\":\"b\",\"value\":1}\n";
    place.file("typed.ndjson", typed);
    place.file("empty.ndjson", "");
    let large = "x".repeat(900_000);
    let large = (0..20).map(|n| format!("{{\"key\":\"k{n}\",\"value\":\"{large}\"}}\n"));
    place.file("large.ndjson", large.collect::<String>());
}

/// Removes the actors from a history.
fn anonymous(history: &str) -> String {
    let json = "\"actor\":\"hotread\",";
    history
        .replace(json, "")
        .replace(" ACTOR ", " ")
        .replace(" hotread ", " ")
}

#[test]
fn commands_answer_the_same_on_a_database_and_through_a_server() {
    let (here, there) = (Place::with_table(), Place::with_table());
    files(&here);
    files(&there);
    let serving = Serving::start(&there, &[]);
    for (input, args) in SCRIPT {
        let through = |command: &mut Command, place: &Place| -> Ran {
            command.current_dir(place.0.path());
            super::run_with(command, input)
        };
        let here = through(&mut here.command(args), &here);
        let there = through(&mut serving.command(args), &there);
        assert_eq!(here.code, there.code, "{args:?}: {here:?}, {there:?}");
        // A server without tokens knows no actor; with a file, the actor is this command.
        let here_out = match args[0] {
            "history" => anonymous(&neutral(&here.out)),
            _ => neutral(&here.out),
        };
        assert_eq!(here_out, neutral(&there.out), "{args:?}");
        assert_eq!(neutral(&here.err), neutral(&there.err), "{args:?}");
    }
    for place in [&here, &there] {
        let exported = std::fs::read_to_string(place.path("out.ndjson")).unwrap();
        assert_eq!(exported.lines().count(), 2_520);
    }
    drop(serving);
    for table in ["new", "typed"] {
        let content = |place: &Place| place.content(&place.db(), table);
        assert_eq!(content(&here), content(&there), "{table}");
    }
}

#[test]
fn a_command_line_says_where_the_tables_are() {
    let place = Place::with_table();
    let serving = Serving::start(&place, &[]);
    let url = serving.url();
    let env = |db: bool, served: bool, args: &[&str]| -> Ran {
        let mut command = hotread();
        command.current_dir(place.0.path()).args(args);
        if db {
            command.env("HOTREAD_DB", "nothing.db");
        }
        if served {
            command.env("HOTREAD_URL", "http://127.0.0.1:1");
        }
        command.output().unwrap().into()
    };
    env(true, true, &["--url", &url, "set", "t", "k", "1"]).ok();
    let got = env(true, true, &["get", "t", "k", "--db", "test.db"]).ok();
    assert_eq!(got, "1\n");
    env(true, true, &["get", "t", "k"]).failed(2, "HOTREAD_DB and HOTREAD_URL are both set");
    env(false, false, &["get", "t", "k"]).failed(2, "--url URL");
    let both = ["--db", "test.db", "--url", &url];
    env(false, false, &[&both[..], &["get", "t", "k"]].concat()).failed(2, "both given");
    let ran = env(
        false,
        false,
        &[&both[..], &["get", "t", "k", "--json"]].concat(),
    );
    ran.failed_json(2, "BAD_REQUEST");
    env(false, true, &["get", "t", "k", "--url", ""]).failed(2, "--url is empty");
    for args in [
        &["verify"][..],
        &["backup", "b.db"],
        &["restore", "b.db"],
        &["migrate", "status"],
        &["migrate", "up"],
        &["table", "rekey", "t"],
        &["serve"],
    ] {
        env(false, false, &[args, &["--url", &url]].concat()).failed(2, "leave --url out");
        env(false, true, args).failed(2, "HOTREAD_URL");
    }
    // Variables for other commands do no harm.
    env(false, true, &["verify", "--db", "test.db"]).ok();
    for args in [&["watch", "t"][..], &["status"]] {
        env(false, false, args).failed(2, "HOTREAD_URL");
        env(true, false, args).failed(2, "HOTREAD_URL");
        env(false, true, &[args, &["--db", "test.db"]].concat()).failed(2, "hotread serve");
    }
    env(true, false, &["ls", "t", "--token", "hr_secret"]).failed(2, "leave --token out");
    let sealed = ["table", "create", "s", "--sealed", "--passphrase-file", "p"];
    env(false, true, &sealed).failed(2, "leave --passphrase-file out");
    serving
        .run(&sealed[..4])
        .failed(5, "when starting the server");
    for (url, words) in [
        ("ftp://127.0.0.1:7400", "http://host:port"),
        ("http://127.0.0.1:7400/v1", "has a path"),
    ] {
        env(false, false, &["ls", "t", "--url", url]).failed(2, words);
    }
    // The error for writing a served database says how to do it.
    let busy = place.run(&["set", "t", "k", "2"]);
    busy.failed(5, &format!("give --url {url} instead of --db"));
}

#[test]
fn tokens_are_made_through_a_server_and_never_shown() {
    let place = Place::with_table();
    let serving = Serving::start(&place, &[]);
    let secret = |ran: Ran| ran.json()[0]["secret"].as_str().unwrap().to_owned();
    let made = ["token", "create", "ops", "--role", "admin", "--json"];
    let admin = secret(serving.run(&made));
    let all: &[&[&str]] = &[
        &["table", "list"],
        &["set", "t", "k", "1"],
        &["import", "t", "x.ndjson"],
        &["export", "t"],
        &["token", "list"],
        &["watch", "t"],
        &["status"],
    ];
    place.file("x.ndjson", "{\"key\":\"a\",\"value\":1}\n");
    let run = |token: Option<&str>, args: &[&str]| -> Ran {
        let mut command = serving.command(args);
        command.current_dir(place.0.path());
        if let Some(token) = token {
            command.env("HOTREAD_TOKEN", token);
        }
        command.output().unwrap().into()
    };
    let wrong = "hr_00000000000000000000000000000000000000000000000000000000c0ffee00";
    for args in all {
        run(None, args).failed(4, "HOTREAD_TOKEN");
        run(Some(""), args).failed(4, "HOTREAD_TOKEN");
        let ran = run(Some(wrong), &[args, &["-vvv"][..]].concat());
        assert_eq!(ran.code, 4, "{ran:?}");
        assert!(
            !ran.err.contains("c0ffee") && !ran.out.contains("c0ffee"),
            "{ran:?}"
        );
        run(Some(wrong), &[args, &["--json"][..]].concat()).failed_json(4, "UNAUTHENTICATED");
    }
    run(Some("a\nb"), &["status"]).failed(2, "copy it again");
    let made = ["token", "create", "api", "--role", "read", "--table", "t"];
    let made = [&made[..], &["--json"]].concat();
    let reader = secret(run(Some(&admin), &made));
    let ran = run(Some(&admin), &["get", "t", "none", "-vvv"]);
    assert!(ran.code == 3 && !ran.err.contains(&admin), "{ran:?}");
    let listed = run(Some(&admin), &["token", "list"]).ok();
    assert!(listed.contains("ops") && listed.contains("api"), "{listed}");
    assert!(!listed.contains("hr_"), "{listed}");
    assert!(
        run(Some(&reader), &["table", "show", "t"])
            .ok()
            .contains("records")
    );
    run(Some(&reader), &["set", "t", "k", "1"]).failed(4, "does not allow this");
    for table in ["t", "new"] {
        run(Some(&reader), &["import", table, "x.ndjson"]).failed(4, "needs the role write");
    }
    run(Some(&reader), &["token", "list", "--json"]).failed_json(4, "FORBIDDEN");
    // The option on the command line takes precedence over the environment.
    let ran = run(Some(&reader), &["set", "t", "k", "1", "--token", &admin]);
    ran.ok();
    let tokens = run(Some(&admin), &["token", "list", "--json"]).json();
    let id = tokens.iter().find(|token| token["name"] == "api").unwrap();
    let id = id["id"].as_str().unwrap();
    let revoked = run(Some(&admin), &["token", "revoke", id]).ok();
    assert_eq!(revoked, format!("token {id} of api was revoked\n"));
    run(Some(&admin), &["token", "revoke", id, "--json"]).failed_json(3, "UNKNOWN_TOKEN");
    run(Some(&reader), &["get", "t", "k"]).failed(4, "the token is not valid");
}

#[test]
fn a_first_load_that_is_too_large_for_one_step_is_imported_in_pieces() {
    let place = Place::with_table();
    let config = place.file("c.toml", "[server]\nmax_replace_changes = 100\n");
    let serving = Serving::start(&place, &["--config", &config]);
    let import = |name: &str, changed: u32, more: &[&str]| {
        let row = |n: u32| format!("{{\"key\":\"{n}\",\"value\":{}}}\n", u32::from(n < changed));
        let file = place.file(name, (0..2_500).map(row).collect::<String>());
        serving.run(&[&["import", "t", &file, "--replace"], more].concat())
    };
    let conditional = import("first.ndjson", 0, &["--if-seq", "0"]);
    conditional.failed(
        1,
        "allow more changes (server.max_replace_changes, `hotread serve --max-replace-changes`)",
    );
    let first = import("first.ndjson", 0, &[]);
    assert_eq!(first.code, 0, "{first:?}");
    let said = "table t is empty, and 2,500 records are too many for one step of the server";
    assert!(first.err.starts_with(said), "{first:?}");
    assert!(first.out.contains("2,500 written, 0 deleted"), "{first:?}");
    // After the first load, the number of changes is limited.
    let next = import("next.ndjson", 100, &[]).ok();
    assert!(next.contains("100 written, 0 deleted"), "{next}");
    import("large.ndjson", 300, &[]).failed(1, "write what changes in several transactions");
}

#[test]
fn a_server_that_is_not_there_is_one_line() {
    // A port without a listener: it was bound, and is released.
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    drop(listener);
    // All at once, because each command retries for a few seconds.
    std::thread::scope(|scope| {
        for args in [
            &["ls", "t"][..],
            &["watch", "t"],
            &["status"],
            &["table", "drop", "t", "-y"],
        ] {
            let url = &url;
            let run = move |more: &[&str]| -> Ran {
                let args = [args, more, &["--url", url]].concat();
                hotread().args(args).output().unwrap().into()
            };
            scope.spawn(move || {
                let ran = run(&[]);
                assert!(ran.err.contains(url), "{ran:?}");
                ran.failed(5, "check that it is running");
            });
            scope.spawn(move || run(&["--json"]).failed_json(5, "UNREACHABLE"));
        }
    });
}

#[test]
fn something_else_that_listens_there_is_told_from_a_server() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    std::thread::spawn(move || {
        for socket in listener.incoming() {
            let mut socket = socket.unwrap();
            let _ = socket.read(&mut [0; 4096]);
            let page = "<html>hello</html>";
            let length = page.len();
            let _ = write!(
                socket,
                "HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: {length}\r\n\r\n{page}"
            );
        }
    });
    let run = |args: &[&str]| -> Ran {
        hotread()
            .env("HOTREAD_URL", &url)
            .args(args)
            .output()
            .unwrap()
            .into()
    };
    let words = "not an answer of a HotRead server";
    for args in [
        &["ls", "t"][..],
        &["export", "t"],
        &["watch", "t"],
        &["status"],
        &["token", "list"],
    ] {
        run(args).failed(5, words);
    }
    run(&["ls", "t", "--json"]).failed_json(5, "PROTOCOL_ERROR");
    // The answer may be that of a proxy, with a server behind it that executed the request.
    run(&["set", "t", "k", "1"]).failed(6, words);
}

/// Starts a proxy that passes each request on, but replaces the first `lies` answers by a timeout.
fn proxy(address: &str, lies: usize) -> String {
    let (server, mut lies) = (address.to_owned(), lies);
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    std::thread::spawn(move || {
        for client in listener.incoming() {
            let mut client = client.unwrap();
            let mut request = Vec::new();
            let whole = loop {
                let text = String::from_utf8_lossy(&request).into_owned();
                if let Some((head, body)) = text.split_once("\r\n\r\n") {
                    let length = head.to_lowercase();
                    let length = length.split("content-length: ").nth(1);
                    let length = length.map_or(0, |l| l.lines().next().unwrap().parse().unwrap());
                    if body.len() >= length {
                        break text.replacen("\r\n", "\r\nconnection: close\r\n", 1);
                    }
                }
                let mut some = [0; 4096];
                let read = client.read(&mut some).unwrap();
                request.extend_from_slice(&some[..read]);
            };
            let mut upstream = TcpStream::connect(&server).unwrap();
            upstream.write_all(whole.as_bytes()).unwrap();
            let mut answer = Vec::new();
            upstream.read_to_end(&mut answer).unwrap();
            if lies > 0 {
                lies -= 1;
                answer = b"HTTP/1.1 504 Gateway Timeout\r\nconnection: close\r\n\r\n".to_vec();
            }
            // The command may have given up.
            let _ = client.write_all(&answer);
        }
    });
    url
}

#[test]
fn a_write_that_a_proxy_answers_for_is_done_once_or_its_id_finds_out() {
    let place = Place::with_table();
    let serving = Serving::start(&place, &[]);
    let run = |lies: usize, args: &[&str]| -> Ran {
        let url = proxy(&serving.address, lies);
        hotread()
            .args(args)
            .args(["--url", &url])
            .output()
            .unwrap()
            .into()
    };
    let seq = || serving.run(&["table", "show", "t", "--json"]).json()[0]["seq"].clone();
    run(2, &["set", "t", "k", "1"]).ok();
    assert_eq!(seq(), 1);
    let unknown = run(100, &["set", "t", "k", "2"]);
    let err = unknown.err.clone();
    unknown.failed(6, "--txn-id ");
    let (_, id) = err.trim().rsplit_once(' ').unwrap();
    assert_eq!(seq(), 2);
    // Repeats the command with the id that the message gave.
    run(0, &["set", "t", "k", "2", "--txn-id", id]).ok();
    assert_eq!(seq(), 2);
    run(100, &["rm", "t", "k", "--txn-id", "x", "--json"]).failed_json(6, "COMMIT_UNKNOWN");
    assert_eq!(seq(), 3);
    run(1, &["table", "create", "new"]).failed(6, "check whether it exists");
    serving.run(&["table", "show", "new"]).ok();
}
