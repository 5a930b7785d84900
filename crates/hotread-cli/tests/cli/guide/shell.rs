//! The commands of the pages, each page in one shell, in their order.

use super::super::{Place, hotread};
use super::page::{blocks, guide, pages, root};
use std::net::TcpListener;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// A page that takes longer hangs.
const HANG: Duration = Duration::from_secs(600);

/// The address that pages have for a server.
const ADDRESS: &str = "127.0.0.1:7400";

/// Text of expected output that differs from run to run.
const ANYTHING: char = '…';

/// Pages that these tests run; the others have no commands, or a test of their own.
const RUN: [&str; 4] = ["deployment.md", "http.md", "testing.md", "tutorial.md"];

/// Commands, and the last lines of what they print, if the page shows them.
struct Step {
    commands: String,
    expected: Option<String>,
}

fn steps(page: &str) -> Vec<Step> {
    let mut steps = Vec::new();
    for block in blocks(page) {
        if block.info != "sh" {
            continue;
        }
        let mut step = Step {
            commands: String::new(),
            expected: None,
        };
        let mut lines = block.text.lines().peekable();
        while let Some(line) = lines.next() {
            if let Some(output) = line.strip_prefix("#>") {
                let expected = step.expected.get_or_insert_default();
                expected.push_str(output.strip_prefix(' ').unwrap_or(output));
                expected.push('\n');
            } else {
                step.commands.push_str(line);
                step.commands.push('\n');
            }
            let ends =
                step.expected.is_some() && lines.peek().is_none_or(|it| !it.starts_with("#>"));
            if ends || lines.peek().is_none() {
                let next = Step {
                    commands: String::new(),
                    expected: None,
                };
                steps.push(std::mem::replace(&mut step, next));
            }
        }
    }
    steps
}

/// Returns `true` if a line is as expected, where [`ANYTHING`] is any text.
fn fits(expected: &str, line: &str) -> bool {
    let mut parts = expected.split(ANYTHING);
    let Some(rest) = line.strip_prefix(parts.next().unwrap_or_default()) else {
        return false;
    };
    let mut parts: Vec<_> = parts.collect();
    let Some(last) = parts.pop() else {
        return rest.is_empty();
    };
    let mut rest = rest;
    for part in parts {
        match rest.find(part) {
            Some(at) => rest = &rest[at + part.len()..],
            None => return false,
        }
    }
    rest.ends_with(last)
}

/// A shell and all that it started, killed when it goes out of scope.
struct Group(Child);

impl Drop for Group {
    fn drop(&mut self) {
        let group = format!("-{}", self.0.id());
        let _ = Command::new("kill").args(["-KILL", "--", &group]).status();
        let _ = self.0.wait();
    }
}

/// Returns `true`, and says so, if this machine has no curl to run a page with.
fn has_no_curl() -> bool {
    let missing = Command::new("curl").arg("--version").output().is_err();
    if missing {
        eprintln!("SKIPPED: there is no curl");
    }
    missing
}

/// Runs a page's commands after those of `first`. Each of `paths` is replaced by a folder of this name, with
/// its files.
fn run(name: &str, first: &str, paths: &[(&str, &str)]) {
    assert!(RUN.contains(&name));
    if has_no_curl() {
        return;
    }
    // Others may get it before the server does; there are thousands.
    let free = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = free.local_addr().unwrap().to_string();
    drop(free);
    let (place, outputs) = (Place::new(), Place::new());
    let here = |text: &str| {
        let mut text = text
            .replace(ADDRESS, &address)
            .replace("sudo -u hotread ", "");
        for (path, folder) in paths {
            text = text.replace(path, place.path(folder).to_str().unwrap());
        }
        text
    };
    for (_, folder) in paths {
        std::fs::create_dir_all(place.path(folder)).unwrap();
    }
    if paths.iter().any(|(path, _)| *path == "/etc/hotread") {
        place.file("etc/hotread.toml", here(&guide("deploy/hotread.toml")));
    }

    let steps = steps(&guide(name));
    let mut script = format!("set -euo pipefail\n{first}\n");
    let at = outputs.path("at");
    for (number, step) in steps.iter().enumerate() {
        let output = outputs.path(&number.to_string());
        script += &format!(
            "echo {number} > {}\n{{\n{}}} > {}\n",
            at.display(),
            here(&step.commands),
            output.display()
        );
    }
    let binary = Path::new(env!("CARGO_BIN_EXE_hotread"))
        .parent()
        .unwrap()
        .display();
    let deploy = root().join("docs/guide/deploy");
    let path = std::env::var("PATH").unwrap_or_default();
    let mut command = Command::new("bash");
    for (name, _) in hotread().get_envs() {
        command.env_remove(name);
    }
    let log = std::fs::File::create(outputs.path("log")).unwrap();
    command
        .args(["-c", &script])
        .current_dir(place.path(""))
        .env("PATH", format!("{binary}:{}:{path}", deploy.display()))
        .env("HOTREAD_LISTEN", &address)
        .env("RUST_LOG", "warn")
        .env("TERM", "dumb")
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(log)
        .process_group(0);
    let mut shell = Group(command.spawn().unwrap());
    let begun = Instant::now();
    let status = loop {
        if let Some(status) = shell.0.try_wait().unwrap() {
            break status;
        }
        assert!(begun.elapsed() < HANG, "{name} hangs");
        std::thread::sleep(Duration::from_millis(20));
    };
    let read = |file: &str| std::fs::read_to_string(outputs.path(file)).unwrap_or_default();
    let last: usize = read("at").trim().parse().unwrap();
    for (number, step) in steps.iter().enumerate().take(last + 1) {
        let output = read(&number.to_string());
        let Some(expected) = &step.expected else {
            continue;
        };
        let expected: Vec<_> = expected.lines().collect();
        let lines: Vec<_> = output.trim_end().lines().collect();
        let ends = &lines[lines.len().saturating_sub(expected.len())..];
        let fit = ends.len() == expected.len()
            && expected
                .iter()
                .zip(ends)
                .all(|(expected, line)| fits(expected, line));
        assert!(
            fit,
            "{name}: {}{output}\ninstead of\n{}\n{}",
            step.commands,
            expected.join("\n"),
            read("log")
        );
    }
    let commands = &steps[last].commands;
    assert!(
        status.success(),
        "{name}: {status} after {commands}{}{}",
        read(&last.to_string()),
        read("log")
    );
    assert_eq!(last, steps.len() - 1);
}

#[test]
fn the_http_cookbook_does_what_it_says() {
    run("http.md", "", &[]);
}

#[test]
fn the_tutorials_commands_do_what_it_says() {
    // What its first program has written.
    let first = "hotread --db flags.db table create flags > made\n\
                 hotread --db flags.db set flags checkout '{\"percent\": 5}' > made";
    run("tutorial.md", first, &[]);
}

#[test]
fn the_page_on_testing_does_what_it_says() {
    run("testing.md", "", &[]);
}

#[test]
fn the_page_on_deployment_does_what_it_says() {
    let paths = [
        ("/var/lib/hotread", "lib"),
        ("/var/backups/hotread", "backups"),
        ("/etc/hotread", "etc"),
    ];
    run("deployment.md", "", &paths);
}

#[test]
fn each_page_with_commands_is_run() {
    for name in pages() {
        let has_commands = blocks(&guide(&name)).iter().any(|block| block.info == "sh");
        let is_run = RUN.contains(&&*name) || name == "cookbook.md";
        assert_eq!(has_commands, is_run, "{name}");
    }
}

#[test]
fn expected_lines_fit_what_is_printed() {
    for (expected, line, result) in [
        ("a", "a", true),
        ("a", "ab", false),
        ("a…", "ab", true),
        ("…b", "ab", true),
        ("a…c…e", "abcde", true),
        ("a…c…e", "abde", false),
        ("{…}", "{}", true),
    ] {
        assert_eq!(fits(expected, line), result, "{expected} {line}");
    }
}
