//! The one-liners of docs/guide/cookbook.md do what the page says.

use super::serving::Serving;
use super::{Place, Ran, hotread};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// What takes longer hangs.
const HANG: Duration = Duration::from_secs(600);

/// Fewest one-liners that the section has.
const FEWEST: usize = 20;

/// The address that the page has for a server.
const ADDRESS: &str = "127.0.0.1:7400";

/// The section's commands, each with the output that follows it, if any does.
fn one_liners() -> Vec<(String, Option<String>)> {
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/guide/cookbook.md");
    let page = std::fs::read_to_string(page).unwrap();
    let section = page
        .split("\n## ")
        .find_map(|section| section.strip_prefix("The command in one-liners\n"));
    let mut found: Vec<(String, Option<String>)> = Vec::new();
    let mut in_code = false;
    for line in section.expect("the section").lines() {
        if line.starts_with("```") {
            in_code = line == "```sh";
        } else if let Some(output) = line.strip_prefix("#> ") {
            let (_, expected) = found.last_mut().expect("a command before its output");
            *expected.get_or_insert_default() += &format!("{output}\n");
        } else if in_code && !line.is_empty() && !line.starts_with('#') {
            found.push((line.to_owned(), None));
        }
    }
    found
}

/// A shell that runs a line where the database is, and finds the command.
fn shell(place: &Place, line: &str) -> Command {
    let binary = Path::new(env!("CARGO_BIN_EXE_hotread"));
    let path = std::env::var("PATH").unwrap_or_default();
    let path = format!("{}:{path}", binary.parent().unwrap().display());
    let clean = hotread();
    let mut command = Command::new("sh");
    command.args(["-euc", line]).current_dir(place.0.path());
    for (name, _) in clean.get_envs() {
        command.env_remove(name);
    }
    command.env("PATH", path).stdin(Stdio::null());
    command
}

#[test]
fn the_one_liners_do_what_the_page_says() {
    let lines = one_liners();
    assert!(lines.len() >= FEWEST, "{}", lines.len());
    let place = Place::new();
    let (setting, lines) = lines.split_first().unwrap();
    let (name, db) = setting
        .0
        .strip_prefix("export ")
        .unwrap()
        .split_once('=')
        .unwrap();
    let mut serving = None;
    for (line, expected) in lines {
        let mut line = line.clone();
        let follows = line.contains(ADDRESS);
        if follows {
            let serving = serving.get_or_insert_with(|| {
                let mut serve = place.command(&["serve", "--listen", "127.0.0.1:0"]);
                Serving::spawn(serve.env(name, db))
            });
            line = line.replace(ADDRESS, &serving.address);
        }
        let is_endless = line.contains("--exec");
        if is_endless {
            // So that it is the command, and not the shell, that is stopped.
            line.insert_str(0, "exec ");
        }
        let mut command = shell(&place, &line);
        if !follows {
            command.env(name, db);
        }
        if is_endless {
            follow(&place, command);
            continue;
        }
        let ran: Ran = command.output().unwrap().into();
        assert_eq!(ran.code, 0, "{line}: {ran:?}");
        if let Some(expected) = expected {
            assert_eq!(ran.out, *expected, "{line}");
        }
    }
    assert!(serving.is_some(), "the page has examples with a server");
}

/// The last one goes on until it is stopped; what it is told is in a file.
fn follow(place: &Place, mut command: Command) {
    let mut child = command.stderr(Stdio::null()).spawn().unwrap();
    let log = place.path("changes.log");
    let begun = Instant::now();
    while !std::fs::read_to_string(&log).is_ok_and(|log| log.contains("\"light-mode\"")) {
        assert!(begun.elapsed() < HANG, "nothing was told");
        std::thread::sleep(Duration::from_millis(20));
    }
    let _ = child.kill();
    let _ = child.wait();
}
