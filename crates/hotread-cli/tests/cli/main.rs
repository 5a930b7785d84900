//! The command as its users see it: its output, where it is printed, and its exit codes.

mod advice;
mod config;
mod cookbook;
mod demo;
mod dry_run;
mod errors;
mod files;
mod guide;
mod habits;
mod help;
mod import;
mod import_advice;
mod import_stops;
mod lists;
mod records;
mod serve;
mod serve_tls;
mod serving;
mod status;
mod tables;
mod terminal;
mod through_server;
mod through_tls;
mod watch;

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

/// A directory that contains a database, or will.
struct Place(tempfile::TempDir);

/// Output and exit code of a command.
#[derive(Debug)]
struct Ran {
    code: i32,
    out: String,
    err: String,
}

impl From<Output> for Ran {
    fn from(output: Output) -> Self {
        let text = |bytes| String::from_utf8(bytes).expect("output is UTF-8");
        let code = output.status.code().expect("it ends by itself");
        Self {
            code,
            out: text(output.stdout),
            err: text(output.stderr),
        }
    }
}

impl Ran {
    /// Checks that the command succeeded; returns its output.
    #[track_caller]
    fn ok(self) -> String {
        assert_eq!((self.code, self.err.as_str()), (0, ""), "{}", self.out);
        self.out
    }

    /// Returns the output like [`ok`](Self::ok), as a JSON document per line.
    #[track_caller]
    fn json(self) -> Vec<serde_json::Value> {
        let out = self.ok();
        out.lines()
            .map(|line| serde_json::from_str(line).expect("JSON on each line"))
            .collect()
    }

    /// Checks that the command failed, with one line on stderr that contains these words.
    #[track_caller]
    fn failed(self, code: i32, words: &str) {
        assert_eq!(self.code, code, "{self:?}");
        assert_eq!(self.err.lines().count(), 1, "{self:?}");
        assert!(
            self.err.starts_with("hotread: ") && self.err.contains(words),
            "{self:?}"
        );
    }

    /// Checks that the command failed, with one line of JSON on stderr; returns it.
    #[track_caller]
    fn failed_json(self, code: i32, name: &str) -> serde_json::Value {
        assert_eq!(self.code, code, "{self:?}");
        let error: serde_json::Value = serde_json::from_str(&self.err).expect("one line of JSON");
        assert_eq!(error["code"], name, "{error}");
        assert!(error["message"].is_string(), "{error}");
        error
    }
}

/// Returns the command, without the settings of the environment.
fn hotread() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_hotread"));
    for name in [
        "HOTREAD_DB",
        "HOTREAD_URL",
        "HOTREAD_TOKEN",
        "HOTREAD_TLS_CA",
        "HOTREAD_TLS_CLIENT_CERT",
        "HOTREAD_TLS_CLIENT_KEY",
        "HOTREAD_PASSPHRASE_FILE",
        "HOTREAD_CONFIG",
        "HOTREAD_LISTEN",
        "RUST_LOG",
        "COLUMNS",
        "COMPLETE",
    ] {
        command.env_remove(name);
    }
    // No colour, even if a test has a terminal.
    command.env("TERM", "dumb");
    command.stdin(Stdio::null());
    command
}

/// Runs a command with this input on stdin.
fn run_with(command: &mut Command, input: impl AsRef<[u8]>) -> Ran {
    command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    // The command may end before it has read all of its input.
    let _ = child.stdin.take().unwrap().write_all(input.as_ref());
    child.wait_with_output().unwrap().into()
}

impl Place {
    fn new() -> Self {
        Self(hotread_testkit::folder())
    }

    /// Creates a place with an empty table `t`.
    fn with_table() -> Self {
        let place = Self::new();
        place.run(&["table", "create", "t"]).ok();
        place
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn file(&self, name: &str, text: impl AsRef<[u8]>) -> String {
        std::fs::write(self.path(name), text).unwrap();
        self.path(name).to_str().unwrap().to_owned()
    }

    fn db(&self) -> PathBuf {
        self.path("test.db")
    }

    fn command(&self, args: &[&str]) -> Command {
        let mut command = hotread();
        command
            .current_dir(self.0.path())
            .env("HOTREAD_DB", self.db())
            .args(args);
        command
    }

    fn run(&self, args: &[&str]) -> Ran {
        self.command(args).output().unwrap().into()
    }

    fn run_with(&self, input: impl AsRef<[u8]>, args: &[&str]) -> Ran {
        run_with(&mut self.command(args), input)
    }

    /// Returns the digest of the table's keys and values.
    fn content(&self, db: &Path, table: &str) -> String {
        let ran: Ran = hotread()
            .args(["verify", "--json", "--db"])
            .arg(db)
            .output()
            .unwrap()
            .into();
        let report = ran.json().remove(0);
        let tables = report["tables"].as_array().unwrap();
        let found = tables
            .iter()
            .find(|info| info["name"] == table)
            .expect("the table");
        found["content"].as_str().expect("a digest").to_owned()
    }
}
