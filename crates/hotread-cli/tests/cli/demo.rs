//! `hotread demo`: its output, and its failure. It runs as briefly as possible here.

use super::{Place, Ran, hotread};
use std::process::Command;
#[cfg(target_os = "linux")]
use std::{
    process::{Child, Stdio},
    time::{Duration, Instant},
};

/// Time after which a demo counts as hung.
#[cfg(target_os = "linux")]
const HANGS: Duration = Duration::from_secs(600);

/// Returns the demo, with its temporary folder in the place.
fn demo(place: &Place, seconds: &str, args: &[&str]) -> Command {
    let mut command = hotread();
    command.args(["demo", "--seconds", seconds]).args(args);
    command.current_dir(place.path("."));
    command.env("TMPDIR", place.path("."));
    // The user's settings must not apply to the demo's server.
    command.env("HOTREAD_DB", "nowhere/at-all.db");
    command.env("HOTREAD_LISTEN", "127.0.0.1:1");
    command
}

fn run(place: &Place, args: &[&str]) -> Ran {
    demo(place, "0.2", args).output().unwrap().into()
}

/// Returns the folders that demos have left in the place.
fn leftovers(place: &Place) -> Vec<String> {
    let entries = std::fs::read_dir(place.path(".")).unwrap();
    let names = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap());
    names
        .filter(|name| name.starts_with("hotread-demo-"))
        .collect()
}

#[test]
fn the_demo_finds_what_it_claims_and_leaves_nothing_behind() {
    let place = Place::new();
    let results = run(&place, &["--json", "--workers", "3"]).json();
    let [results] = &results[..] else {
        panic!("one object: {results:?}");
    };
    assert_eq!(results["ok"], true, "{results}");
    let checks = results["checks"].as_array().unwrap();
    assert!(checks.len() >= 10, "{results}");
    assert!(checks.iter().all(|check| check["ok"] == true), "{results}");
    let number = |value: &serde_json::Value| value.as_u64().unwrap();
    let writes = &results["writes"];
    assert!(number(&writes["acknowledged"]) > 0, "{results}");
    assert_eq!(writes["acknowledged"], writes["present"]);
    assert_eq!(results["outage"]["snapshots"], 0);
    let workers = results["workers"].as_array().unwrap();
    assert_eq!(workers.len(), 3);
    for worker in workers {
        assert_eq!(worker["present"], writes["acknowledged"]);
        assert_eq!(number(&worker["loaded_records"]), 5_000);
        assert!(worker["ns_per_read"].as_f64().unwrap() > 0.0);
        assert!(worker["factor"].as_f64().unwrap() > 1.0, "{worker}");
    }
    assert!(leftovers(&place).is_empty());
}

#[test]
fn without_a_terminal_the_demo_prints_plain_lines() {
    let place = Place::new();
    let data = place.file("prices.csv", "id,eur\napple,0.4\npear,0.5\nplum,0.1\n");
    let shown = run(&place, &["--data", &data, "--key", "id"]).ok();
    assert!(!shown.contains(['\x1b', '\r']), "{shown:?}");
    for words in [
        "$ hotread import demo prices.csv --key id",
        "3 records in each of 2 workers",
        "$ kill -9 ",
        "present after kill -9; resumed, 0 snapshots",
        "What next",
    ] {
        assert!(shown.contains(words), "{words}: {shown}");
    }
    assert!(!shown.contains("FAILED"), "{shown}");
    assert!(leftovers(&place).is_empty());
}

/// Only builds for tests have the option.
#[cfg(debug_assertions)]
#[test]
fn a_write_that_was_claimed_and_is_not_there_fails_the_demo() {
    let place = Place::new();
    let data = place.file("one.ndjson", "{\"key\":\"only\",\"value\":1}\n");
    let ran = run(
        &place,
        &["--data", &data, "--claim-too-much", "--workers", "1"],
    );
    assert_eq!(ran.code, 1, "{ran:?}");
    assert!(ran.out.contains("FAILED"), "{ran:?}");
    assert!(ran.out.contains("false"), "{ran:?}");
    assert!(!ran.out.contains("nothing lost"), "{ran:?}");
}

#[test]
fn data_that_cannot_be_shown_is_refused_in_one_line() {
    let place = Place::new();
    let refused = |name: &str, text: &str, words: &str| {
        let data = place.file(name, text);
        run(&place, &["--data", &data]).failed(1, words);
    };
    refused("a.csv", "id,eur\n1,2\n", "--key COLUMN");
    refused("b.ndjson", "", "no records");
    let mixed = "{\"key\":\"a\",\"value\":1}\n{\"key\":\"b\",\"value\":\"x\"}\n";
    refused("c.ndjson", mixed, "different kinds");
    refused("d.ndjson", "{\"key\":\"a\",\"value\":null}\n", "null");
    run(&place, &["--data", "nowhere.csv", "--key", "id"]).failed(1, "nowhere.csv");
    run(&place, &["--workers", "0"]).failed(2, "--workers");
    run(&place, &["--workers", "99"]).failed(2, "--workers");
    assert!(leftovers(&place).is_empty());
}

/// A running demo, with all of its processes.
#[cfg(target_os = "linux")]
struct Running {
    demo: Child,
    place: Place,
}

#[cfg(target_os = "linux")]
impl Running {
    /// Waits until the demo is in progress.
    fn start() -> Self {
        let place = Place::new();
        let demo = demo(&place, "30", &[])
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let running = Self { demo, place };
        running.wait("a server and two workers", |running| {
            running.processes().len() == 4
        });
        running
    }

    /// Returns the command lines of the demo and its processes, which share its temporary folder.
    fn processes(&self) -> Vec<String> {
        let mark = format!("TMPDIR={}", self.place.path(".").display());
        let processes = std::fs::read_dir("/proc").unwrap();
        let paths = processes.map(|process| process.unwrap().path());
        let ours = paths.filter(|path| {
            // Processes that have just ended, and those of other users, cannot be read.
            let environment = std::fs::read(path.join("environ")).unwrap_or_default();
            environment
                .split(|&byte| byte == 0)
                .any(|set| set == mark.as_bytes())
        });
        ours.filter_map(|path| std::fs::read_to_string(path.join("cmdline")).ok())
            .filter(|command| command.contains("serve") || command.contains("demo"))
            .collect()
    }

    fn wait(&self, what: &str, mut so: impl FnMut(&Self) -> bool) {
        let start = Instant::now();
        while !so(self) {
            let processes = self.processes();
            assert!(start.elapsed() < HANGS, "no {what}: {processes:?}");
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    fn signal(&self, name: &str) {
        let pid = self.demo.id().to_string();
        let told = Command::new("kill").args([name, &pid]).status().unwrap();
        assert!(told.success());
    }
}

#[cfg(target_os = "linux")]
impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.demo.kill();
        let _ = self.demo.wait();
    }
}

#[cfg(target_os = "linux")]
#[test]
fn a_demo_that_is_interrupted_ends_its_processes_and_removes_its_folder() {
    let mut running = Running::start();
    running.signal("-INT");
    assert_eq!(running.demo.wait().unwrap().code(), Some(130));
    assert!(running.processes().is_empty(), "{:?}", running.processes());
    assert!(leftovers(&running.place).is_empty());
}

#[cfg(target_os = "linux")]
#[test]
fn a_demo_that_is_killed_leaves_no_processes_behind() {
    let mut running = Running::start();
    running.signal("-KILL");
    assert_eq!(running.demo.wait().unwrap().code(), None);
    running.wait("end of its processes", |running| {
        running.processes().is_empty()
    });
}
