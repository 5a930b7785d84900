//! `hotread serve`, and the tokens that it requires.

use super::{Place, hotread, serving::Serving};
use std::net::TcpStream;
use std::process::Command;

#[test]
fn what_is_written_through_a_server_is_there_after_it_has_stopped() {
    let place = Place::with_table();
    let serving = Serving::start(&place, &[]);
    let written = serving.ask("PUT", "/v1/tables/t/records/k", "", r#"{"value":[1.0]}"#);
    assert_eq!(written.0, 201, "{written:?}");
    assert_eq!(
        place.run(&["get", "t", "k"]).ok(),
        "[1.0]\n",
        "readers are welcome"
    );
    let busy = place.run(&["set", "t", "k", "2"]);
    busy.failed(5, &format!("http://{}", serving.address));
    serving.stop();
    place.run(&["set", "t", "k", "2"]).ok();
}

#[test]
fn the_log_can_be_json_and_the_first_line_too() {
    let place = Place::with_table();
    let serving = Serving::start(&place, &["--json", "--log-format", "json"]);
    let log = serving.stop();
    assert!(!log.is_empty());
    for line in log.lines() {
        let line: serde_json::Value = serde_json::from_str(line).unwrap();
        assert!(line["level"].is_string(), "{line}");
    }
}

#[test]
fn settings_come_from_the_file_the_environment_and_the_command_line() {
    let place = Place::with_table();
    let file = place.file(
        "hotread.toml",
        "listen = '127.0.0.1:1'\n[server]\nallowed_hosts = ['a.b']\n",
    );
    // The port of the file is not available; that of the command line wins.
    let serving = Serving::start(&place, &["--config", &file]);
    let asked = |host: &str| {
        serving
            .ask(
                "GET",
                "/healthz",
                &format!("x-forwarded-host: {host}\r\n"),
                "",
            )
            .0
    };
    assert_eq!(asked("a.b"), 200);
    drop(serving);
    let wrong = place.file("wrong.toml", "[server]\nhartbeat_ms = 5\n");
    let ran = place.run(&["serve", "--config", &wrong]);
    ran.failed(
        5,
        "no key server.hartbeat_ms; did you mean server.heartbeat_ms?",
    );
    for command in [&["serve", "--config"][..], &["config", "check"]] {
        let args = [command, &["nowhere.toml"]].concat();
        place
            .run(&args)
            .failed(5, "nowhere.toml: No such file or directory");
        let args = [command, &[".", "--json"]].concat();
        place.run(&args).failed_json(5, "BAD_CONFIG");
    }
}

#[test]
fn a_server_that_does_not_start_creates_no_database() {
    let other = Place::with_table();
    let serving = Serving::start(&other, &[]);
    let place = Place::new();
    let empty = || std::fs::read_dir(place.0.path()).unwrap().next().is_none();
    let taken = ["--listen", &serving.address];
    let elsewhere = ["--listen", "192.0.2.1:0"];
    let everywhere = ["--listen", "0.0.0.0:0", "--allow-plaintext"];
    let wrong = ["--listen", "127.0.0.1:0", "--heartbeat-ms", "0"];
    for (more, code, words) in [
        (&taken[..], 5, "stop what listens there"),
        (&elsewhere, 5, "choose another address"),
        (&everywhere, 5, "an admin token is missing"),
        (&everywhere[..2], 5, "two things are missing"),
        (&wrong, 2, "heartbeat-ms"),
        (&["--passphrase-file", "none"], 1, "none"),
    ] {
        place.run(&[&["serve"], more].concat()).failed(code, words);
        assert!(empty(), "{more:?}");
    }
}

#[test]
fn what_keeps_a_server_from_starting_is_said_in_one_line() {
    let place = Place::with_table();
    let serving = Serving::start(&place, &[]);
    let other = Place::with_table();
    let ran = other.run(&["serve", "--listen", &serving.address]);
    assert_eq!(ran.code, 5);
    assert!(
        ran.err.contains("is in use") || ran.err.contains("in use"),
        "{ran:?}"
    );
    let ran = place.run(&["serve", "--listen", "127.0.0.1:0"]);
    ran.failed(5, "in use by process");
    let ran = other.run(&["serve", "--listen", "0.0.0.0:0"]);
    assert_eq!(ran.code, 5, "{ran:?}");
    // All requirements are named at once, with commands to type, and no address is printed.
    for said in [
        "two things are missing, an admin token and encryption",
        "hotread token create ops --role admin --db ",
        "--allow-plaintext",
    ] {
        assert!(ran.err.contains(said), "{said}: {ran:?}");
    }
    assert_eq!(ran.out, "");
    let ran = other.run(&["serve", "--listen", "0.0.0.0:0", "--allow-plaintext"]);
    assert!(
        ran.err.contains("an admin token is missing") && !ran.err.contains("encryption"),
        "{ran:?}"
    );
    assert_eq!((ran.code, ran.out.as_str()), (5, ""));
}

#[test]
fn a_server_without_tokens_says_so_when_it_starts() {
    let place = Place::with_table();
    let log = Serving::start(&place, &[]).stop();
    assert!(log.contains("no tokens"), "{log}");
    place
        .run(&["token", "create", "ops", "--role", "admin", "--json"])
        .ok();
    let log = Serving::start(&place, &[]).stop();
    assert!(!log.contains("no tokens"), "{log}");
}

#[test]
fn a_stopped_server_leaves_everything_in_one_file() {
    let place = Place::with_table();
    let serving = Serving::start(&place, &[]);
    let written = serving.ask("PUT", "/v1/tables/t/records/k", "", r#"{"value":1}"#);
    assert_eq!(written.0, 201, "{written:?}");
    // A session that follows the table until the server stops.
    let mut watch = serving.command(&["watch", "t"]);
    let mut watch = watch
        .stdout(std::process::Stdio::null())
        .stderr(std::process::Stdio::null())
        .spawn()
        .unwrap();
    let begun = std::time::Instant::now();
    while !serving
        .run(&["status", "--json"])
        .ok()
        .contains("\"sessions\":[{")
    {
        assert!(
            begun.elapsed().as_secs() < 60,
            "{}",
            serving.run(&["status", "--json"]).out
        );
    }
    serving.stop();
    let _ = watch.kill();
    let _ = watch.wait();
    let other = Place::new();
    std::fs::copy(place.db(), other.db()).unwrap();
    assert_eq!(other.run(&["get", "t", "k"]).ok(), "1\n");
}

#[test]
fn a_database_that_is_not_there_is_created_loudly_or_not_at_all() {
    let place = Place::new();
    place
        .run(&["serve", "--no-create", "--listen", "127.0.0.1:0"])
        .failed(5, "does not exist");
    let file = place.file("no.toml", "create = false\n");
    place
        .run(&["serve", "--config", &file, "--listen", "127.0.0.1:0"])
        .failed(5, "does not exist");
    assert!(!place.db().exists());
    let log = Serving::start(&place, &[]).stop();
    let path = place.db().display().to_string();
    assert!(
        log.contains("a new database was created") && log.contains(&path),
        "{log}"
    );
    let log = Serving::start(&place, &[]).stop();
    assert!(!log.contains("was created"), "{log}");
}

#[test]
fn paths_in_a_configuration_file_are_relative_to_it() {
    let place = Place::with_table();
    let file = place.file("hotread.toml", "db = 'test.db'\nlisten = '127.0.0.1:0'\n");
    let mut command = hotread();
    let mut child = command
        .current_dir("/")
        .args(["serve", "--no-create", "--config", &file])
        .stdout(std::process::Stdio::piped())
        .stderr(std::process::Stdio::null())
        .spawn()
        .unwrap();
    let mut line = String::new();
    let mut out = std::io::BufReader::new(child.stdout.as_mut().unwrap());
    std::io::BufRead::read_line(&mut out, &mut line).unwrap();
    let _ = child.kill();
    let _ = child.wait();
    let db = place.db();
    assert!(
        line.starts_with(&format!("serving {} at ", db.display())),
        "{line}"
    );
}

#[test]
fn a_served_database_is_not_opened_under_another_name() {
    let place = Place::with_table();
    let serving = Serving::start(&place, &[]);
    std::fs::hard_link(place.db(), place.path("other.db")).unwrap();
    place
        .run(&["--db", "other.db", "set", "t", "k", "1"])
        .failed(5, "one of 2 names of the same file");
    std::fs::remove_file(place.path("other.db")).unwrap();
    // Nor after the lock file was deleted.
    std::fs::remove_file(place.path("test.db.lock")).unwrap();
    place
        .run(&["set", "t", "k", "1", "--wait", "0s"])
        .failed(5, "is in use by another process");
    let written = serving.ask("PUT", "/v1/tables/t/records/k", "", r#"{"value":1}"#);
    assert_eq!(written.0, 201, "{written:?}");
    serving.stop();
    place.run(&["verify"]).ok();
}

#[test]
fn a_server_whose_database_is_moved_is_not_ready() {
    let place = Place::with_table();
    let serving = Serving::start(&place, &[]);
    let put = |value: u8| {
        let body = format!("{{\"value\":{value}}}");
        serving.ask("PUT", "/v1/tables/t/records/k", "", &body)
    };
    assert_eq!(put(1).0, 201);
    assert_eq!(serving.ask("GET", "/readyz", "", "").0, 200);
    std::fs::rename(place.db(), place.path("moved.db")).unwrap();
    let refused = put(2);
    assert!(
        refused.0 >= 500 && refused.1.contains("moved or deleted"),
        "{refused:?}"
    );
    assert_eq!(serving.ask("GET", "/readyz", "", "").0, 503);
    let read = serving.ask("GET", "/v1/tables/t/records/k", "", "");
    assert!(read.0 == 200 && read.1.contains("\"value\":1"), "{read:?}");
    std::fs::rename(place.path("moved.db"), place.db()).unwrap();
    assert_eq!(put(3).0, 200);
    assert_eq!(serving.ask("GET", "/readyz", "", "").0, 200);
}

#[cfg(target_os = "linux")]
#[test]
fn a_server_on_a_full_disk_starts_reads_and_is_ready_with_room() {
    let place = Place::with_table();
    place.run(&["set", "t", "k", "1"]).ok();
    let disk = place.path("disk");
    std::fs::create_dir(&disk).unwrap();
    let mount = Command::new("mount")
        .args(["-t", "tmpfs", "-o", "size=1024k", "tmpfs"])
        .arg(&disk)
        .output();
    if !mount.is_ok_and(|done| done.status.success()) {
        println!("skipped: this process may not mount file systems");
        return;
    }
    struct Mounted(std::path::PathBuf);
    impl Drop for Mounted {
        fn drop(&mut self) {
            let unmounted = Command::new("umount").arg(&self.0).status();
            assert!(unmounted.is_ok_and(|done| done.success()) || std::thread::panicking());
        }
    }
    let mounted = Mounted(disk);
    let db = mounted.0.join("test.db");
    std::fs::copy(place.db(), &db).unwrap();
    let filler = mounted.0.join("filler");
    let mut file = std::fs::File::create(&filler).unwrap();
    while std::io::Write::write(&mut file, &[7; 4096]).is_ok_and(|bytes| bytes > 0) {}
    let serving = Serving::start(&place, &["--db", db.to_str().unwrap()]);
    assert_eq!(serving.ask("GET", "/readyz", "", "").0, 503);
    let read = serving.ask("GET", "/v1/tables/t/records/k", "", "");
    assert!(read.0 == 200 && read.1.contains("\"value\":1"), "{read:?}");
    let put = || serving.ask("PUT", "/v1/tables/t/records/k", "", r#"{"value":2}"#);
    let refused = put();
    assert!(refused.1.contains("STORAGE_FULL"), "{refused:?}");
    drop(file);
    std::fs::remove_file(&filler).unwrap();
    let begun = std::time::Instant::now();
    while serving.ask("GET", "/readyz", "", "").0 != 200 {
        assert!(begun.elapsed().as_secs() < 60);
        std::thread::sleep(std::time::Duration::from_millis(50));
    }
    assert_eq!(put().0, 200);
    let log = serving.stop();
    assert!(log.contains("no room for the index"), "{log}");
}

#[test]
fn tokens_are_made_listed_and_revoked_and_a_server_asks_for_them() {
    let place = Place::with_table();
    place
        .run(&["token", "create", "api", "--role", "read"])
        .failed(1, "admin");
    let created = place
        .run(&["token", "create", "ops", "--role", "admin", "--json"])
        .json();
    let secret = created[0]["secret"].as_str().unwrap().to_owned();
    let reader = place
        .run(&[
            "token", "create", "api", "--role", "read", "--table", "t", "--json",
        ])
        .json();
    let early = place.run(&[
        "token", "create", "later", "--role", "read", "--table", "t", "--table", "nosuch",
    ]);
    assert_eq!(early.code, 0, "{early:?}");
    let warning = "there is no table nosuch yet; the token is for it once it is created\n";
    assert!(early.err.starts_with(warning), "{early:?}");
    assert!(!early.err.contains("no table t "), "{early:?}");
    let listed = place.run(&["token", "list"]).ok();
    assert!(
        listed.contains("ops") && listed.contains("api") && !listed.contains(&secret),
        "{listed}"
    );
    {
        let serving = Serving::start(&place, &[]);
        let with = |secret: &str| format!("authorization: Bearer {secret}\r\n");
        let ask = |headers: &str| serving.ask("GET", "/v1/tables/t", headers, "").0;
        assert_eq!(ask(""), 401);
        assert_eq!(ask(&with("hr_0000")), 401);
        assert_eq!(ask(&with(&secret)), 200);
        let reader = with(reader[0]["secret"].as_str().unwrap());
        assert_eq!(ask(&reader), 200);
        let write = serving.ask("PUT", "/v1/tables/t/records/k", &reader, r#"{"value":1}"#);
        assert_eq!(write.0, 403, "{write:?}");
    }
    let id = reader[0]["id"].as_str().unwrap();
    place.run(&["token", "revoke", id]).ok();
    place.run(&["token", "revoke", id]).failed(3, id);
    assert_eq!(
        hotread().args(["token"]).output().unwrap().status.code(),
        Some(2)
    );
}

#[cfg(target_os = "linux")]
#[test]
fn a_low_limit_of_open_files_is_raised() {
    const SOFT: usize = 160;
    let place = Place::with_table();
    let mut command = Command::new("sh");
    let script = format!("ulimit -Sn {SOFT} && exec \"$0\" \"$@\"");
    let server = env!("CARGO_BIN_EXE_hotread");
    command.args(["-c", &script, server, "serve", "--listen", "127.0.0.1:0"]);
    command
        .current_dir(place.path("."))
        .env("HOTREAD_DB", place.db());
    let serving = Serving::spawn(&mut command);
    let limits = std::fs::read_to_string(format!("/proc/{}/limits", serving.pid())).unwrap();
    let files = limits
        .lines()
        .find(|line| line.starts_with("Max open files"));
    let files: Vec<_> = files.unwrap().split_whitespace().collect();
    assert_eq!(files[3], files[4], "the soft limit is the hard one");
    // More than the limit with which the server was started.
    let idle = |_| TcpStream::connect(&serving.address).unwrap();
    let idle: Vec<_> = (0..SOFT + 40).map(idle).collect();
    assert_eq!(serving.ask("GET", "/healthz", "", "").0, 200);
    drop(idle);
}
