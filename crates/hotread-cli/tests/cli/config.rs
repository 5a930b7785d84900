//! The settings of a server: their sources, their checks, and their changes while it runs.

use super::{Place, hotread, serving::Serving};
use std::io::{BufRead, BufReader};
use std::process::Command;
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

/// Longest wait for a line of the log.
const PATIENCE: Duration = Duration::from_secs(60);

/// Returns the lines of a server's log as they arrive.
pub(super) fn log(serving: &mut Serving) -> Receiver<String> {
    let (lines, log) = channel();
    let err = BufReader::new(serving.stderr());
    std::thread::spawn(move || {
        for line in err.lines().map_while(Result::ok) {
            if lines.send(line).is_err() {
                break;
            }
        }
    });
    log
}

/// Returns the lines up to one with these words.
#[track_caller]
pub(super) fn until(log: &Receiver<String>, words: &str) -> String {
    let mut lines = String::new();
    while let Ok(line) = log.recv_timeout(PATIENCE) {
        lines.push_str(&line);
        lines.push('\n');
        if line.contains(words) {
            return lines;
        }
    }
    panic!("no line with {words:?} in {lines}");
}

fn hang_up(serving: &Serving) {
    let pid = serving.pid().to_string();
    assert!(
        Command::new("kill")
            .args(["-HUP", &pid])
            .status()
            .unwrap()
            .success()
    );
}

#[test]
fn every_problem_of_a_file_is_listed_with_its_line() {
    let place = Place::new();
    place
        .run(&["config", "check"])
        .failed(2, "no hotread.toml in this folder");
    place.file(
        "hotread.toml",
        "lissten = '127.0.0.1:1'\nlisten = 5\n\n[server]\nhartbeat_ms = 1\ndrain_ms = 7\n",
    );
    let ran = place.run(&["config", "check"]);
    let lines: Vec<_> = ran.out.lines().collect();
    assert_eq!(
        lines,
        [
            "hotread.toml:1: there is no key lissten; did you mean listen?",
            "hotread.toml:2: listen is 5; give an IP address and a port from 0 to 65535, such as \
             \"127.0.0.1:7400\"; names are not looked up",
            "hotread.toml:5: there is no key server.hartbeat_ms; did you mean server.heartbeat_ms?",
        ]
    );
    ran.failed(5, "hotread.toml has 3 problems");
    let ran = place.run(&["config", "check", "--json"]);
    let second: serde_json::Value = serde_json::from_str(ran.out.lines().nth(1).unwrap()).unwrap();
    assert_eq!(
        (&second["line"], &second["file"]),
        (&2.into(), &"hotread.toml".into())
    );
    ran.failed_json(5, "BAD_CONFIG");
    // A server reports a problem that fits on one line.
    place
        .run(&["serve"])
        .failed(5, "hotread.toml:1: there is no key lissten");
    let part = place.file("part.toml", "create = false\ntls_cert = 'a.pem'\n");
    let ran = place.run(&["config", "check", &part]);
    let said = format!("{part}:2: tls_cert is given without tls_key; ");
    assert!(ran.out.starts_with(&said), "{}", ran.out);
    ran.failed(5, "1 problem");
    let good = place.file("good.toml", "[server]\nheartbeat_ms = 500\n");
    let said = place.run(&["config", "check", &good]).ok();
    assert_eq!(said, format!("{good}: 1 setting, no problems\n"));
}

#[test]
fn a_file_in_the_folder_is_read_and_the_log_says_so() {
    let place = Place::with_table();
    place.file("hotread.toml", "db = 'test.db'\nlisten = '127.0.0.1:0'\n");
    let mut command = hotread();
    command
        .current_dir(place.path(""))
        .args(["serve", "--no-create"]);
    let serving = Serving::spawn(&mut command);
    let log = serving.stop();
    assert!(
        log.lines().next().unwrap().contains("hotread.toml"),
        "{log}"
    );
    place.file("other.toml", "");
    let mut command = place.command(&["serve", "--listen", "127.0.0.1:0"]);
    command.env("HOTREAD_CONFIG", "other.toml");
    let log = Serving::spawn(&mut command).stop();
    assert!(log.lines().next().unwrap().contains("other.toml"), "{log}");
    place.file("hotread.toml", "zzz = 1\n");
    let log = Serving::start(&place, &["--config", "/dev/null"]).stop();
    assert!(!log.contains("hotread.toml"), "{log}");
}

#[test]
fn what_is_printed_can_be_used_as_the_file_and_says_where_it_comes_from() {
    let place = Place::new();
    place.file(
        "hotread.toml",
        "synchronous = 'normal'\n[server]\nheartbeat_ms = 500\n",
    );
    let print = |more: &[&str]| {
        let mut command = place.command(&[&["serve", "--print-config"], more].concat());
        command
            .env("HOTREAD_ALLOWED_HOSTS", "a.b, c.d")
            .env("HOTREAD_DRAIN_MS", "");
        super::Ran::from(command.output().unwrap()).ok()
    };
    let printed = print(&["--rate-burst", "7", "--allow-plaintext", "-v"]);
    let folder = place.path("").canonicalize().unwrap();
    let db = place.db();
    for line in [
        &format!("db = \"{}\"  # HOTREAD_DB", db.display()),
        "create = true  # default",
        "# passphrase_file is not set",
        "listen = \"127.0.0.1:7400\"  # default",
        &format!(
            "synchronous = \"normal\"  # {}/hotread.toml:1",
            folder.display()
        ),
        "log = \"debug\"  # -v",
        "[server]",
        "allowed_hosts = [\"a.b\", \"c.d\"]  # HOTREAD_ALLOWED_HOSTS",
        "allow_plaintext = true  # --allow-plaintext",
        &format!("heartbeat_ms = 500  # {}/hotread.toml:3", folder.display()),
        "rate_burst = 7  # --rate-burst",
        "drain_ms = 10000  # default",
    ] {
        assert!(
            printed.lines().any(|printed| printed == line),
            "{line}\n{printed}"
        );
    }
    assert!(!place.db().exists(), "nothing is opened");
    let values = |printed: &str| -> Vec<String> {
        let value = |line: &str| line.split_once("  # ").map(|(value, _)| value.to_owned());
        printed.lines().filter_map(value).collect()
    };
    let file = place.file("printed.toml", &printed);
    place.run(&["config", "check", &file]).ok();
    let mut command = hotread();
    command.args(["serve", "--print-config", "--config", &file]);
    let again = super::Ran::from(command.output().unwrap()).ok();
    assert_eq!(values(&again), values(&printed));
    let json = place.run(&["serve", "--print-config", "--json"]).json();
    let burst = json
        .iter()
        .find(|set| set["key"] == "server.rate_burst")
        .unwrap();
    assert_eq!(
        (&burst["value"], &burst["from"]),
        (&20_000.into(), &"default".into())
    );
}

#[test]
fn a_variable_that_is_empty_is_not_set() {
    let place = Place::with_table();
    place.run(&["set", "t", "a", "1"]).ok();
    place.file("hotread.toml", "create = false\n");
    let db = place.db().to_str().unwrap().to_owned();
    let with_empty = |args: &[&str]| {
        let mut command = place.command(args);
        for name in [
            "DB",
            "URL",
            "TOKEN",
            "TLS_CA",
            "TLS_CLIENT_CERT",
            "TLS_CLIENT_KEY",
            "PASSPHRASE_FILE",
            "CONFIG",
            "LISTEN",
            "TLS_CERT",
            "CREATE",
            "DRAIN_MS",
            "ALLOWED_HOSTS",
        ] {
            command.env(format!("HOTREAD_{name}"), "");
        }
        super::Ran::from(command.output().unwrap())
    };
    assert_eq!(with_empty(&["get", "t", "a", "--db", &db]).ok().trim(), "1");
    let printed = with_empty(&["serve", "--print-config", "--db", &db]).ok();
    assert!(printed.contains("hotread.toml:1"), "{printed}");
    assert!(printed.contains("drain_ms = 10000  # default"), "{printed}");
    let said = with_empty(&["config", "check"]).ok();
    assert_eq!(said, "hotread.toml: 1 setting, no problems\n");
    // An option says that it is meant.
    for option in ["--db", "--tls-ca", "--passphrase-file"] {
        with_empty(&["get", "t", "a", option, ""]).failed(2, "a value is required");
    }
}

#[test]
fn variables_and_flags_are_checked_like_the_file() {
    let place = Place::new();
    place
        .run(&["serve", "--heartbeat-ms", "1"])
        .failed(2, "give at least 10");
    place
        .run(&["serve", "--drain-ms", "x"])
        .failed(2, "give a whole number");
    place
        .run(&["serve", "--listen", "here"])
        .failed(2, "127.0.0.1:7400");
    let mut command = place.command(&["serve"]);
    let ran = super::Ran::from(command.env("HOTREAD_CREATE", "no").output().unwrap());
    ran.failed(2, "give true or false");
    let mut command = place.command(&["serve"]);
    let ran = super::Ran::from(command.env("HOTREAD_CREATE", "false").output().unwrap());
    ran.failed(5, "does not exist");
    place
        .run(&["serve", "--max-replace-body-bytes", "600000000"])
        .failed(5, "max_replace_body_bytes is 600000000; give at most");
}

#[test]
fn a_hangup_reloads_what_can_change_and_no_session_ends() {
    let place = Place::with_table();
    let origin = "origin: https://a.example\r\n";
    let file = |text: &str| place.file("hotread.toml", text);
    file("log = 'warn'\n");
    let mut serving = Serving::start(&place, &["--log", "info"]);
    let log = log(&mut serving);
    let mut watch = serving.command(&["watch", "t"]);
    let quiet = || std::process::Stdio::null();
    let mut watch = watch.stdout(quiet()).stderr(quiet()).spawn().unwrap();
    let session = || {
        let status = serving.run(&["status", "--json"]).json().remove(0);
        status["sessions"][0]["id"].as_u64()
    };
    let begun = std::time::Instant::now();
    let first = loop {
        if let Some(id) = session() {
            break id;
        }
        assert!(begun.elapsed() < PATIENCE);
    };
    let ask = || serving.ask("GET", "/v1/tables", origin, "").0;
    assert_eq!(ask(), 403);

    file(
        "listen = '127.0.0.1:9'\n[server]\nallowed_origins = ['https://a.example']\nmax_event_streams = 9\n",
    );
    hang_up(&serving);
    let said = until(&log, "need a restart");
    assert!(
        said.contains("changed=\"server.allowed_origins\""),
        "{said}"
    );
    assert!(
        said.contains("keys=\"server.max_event_streams\""),
        "the flag counts: {said}"
    );
    assert_eq!(ask(), 200);

    file("[server]\nallowed_origins = []\nhartbeat_ms = 1\n");
    hang_up(&serving);
    let said = until(&log, "the settings stay as they were");
    assert!(
        said.contains("hotread.toml:3: there is no key server.hartbeat_ms"),
        "{said}"
    );
    assert_eq!(ask(), 200, "nothing has changed");
    std::fs::remove_file(place.path("hotread.toml")).unwrap();
    hang_up(&serving);
    until(&log, "the settings stay as they were");
    assert_eq!(ask(), 200);

    file("");
    hang_up(&serving);
    let said = until(&log, "settings read again");
    assert!(
        said.contains("changed=\"server.allowed_origins\""),
        "{said}"
    );
    assert_eq!(ask(), 403);
    assert_eq!(session(), Some(first), "the session that was there before");
    let _ = watch.kill();
    let _ = watch.wait();
}

#[test]
fn the_log_changes_with_the_file() {
    let place = Place::with_table();
    place.file("hotread.toml", "log = 'info'\n");
    let mut serving = Serving::start(&place, &[]);
    let log = log(&mut serving);
    until(&log, "listening");
    place.file("hotread.toml", "log = 'debug'\n");
    hang_up(&serving);
    until(&log, "changed=\"log\"");
    assert_eq!(serving.ask("GET", "/v1/tables", "", "").0, 200);
    until(&log, "answered");
}

#[test]
fn a_server_ends_with_its_terminal() {
    let place = Place::with_table();
    // `script` gives the server a terminal, and closes it when killed.
    let script = Command::new("script")
        .args(["-qfc"])
        .arg(format!(
            "{} serve --db {} --listen 127.0.0.1:0",
            env!("CARGO_BIN_EXE_hotread"),
            place.db().display()
        ))
        .arg("/dev/null")
        .stdin(std::process::Stdio::piped())
        .stdout(std::process::Stdio::piped())
        .spawn();
    let Ok(mut script) = script else {
        println!("skipped: there is no `script`");
        return;
    };
    let mut out = BufReader::new(script.stdout.take().unwrap());
    let mut line = String::new();
    while !line.contains("serving ") {
        assert!(out.read_line(&mut line).unwrap() > 0, "{line}");
    }
    script.kill().unwrap();
    script.wait().unwrap();
    // The database is free again after that.
    let begun = std::time::Instant::now();
    while place.run(&["set", "t", "k", "1"]).code != 0 {
        assert!(begun.elapsed() < PATIENCE);
    }
}
