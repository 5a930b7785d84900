//! The measured servers: the command `hotread` of this workspace and, if it is given, of an earlier
//! state; their databases, which each creates itself; their memory and threads over time.

use std::ffi::OsStr;
use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::OnceLock;
use std::thread::sleep;
use std::time::{Duration, Instant};

use crate::process::{Process, Repeat, Status};

/// Time between two samples of memory and threads.
pub(super) const LOOK_EVERY: Duration = Duration::from_millis(20);

/// A state of the server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum State {
    /// The state of this workspace.
    Now,
    /// An earlier state.
    Before,
}

/// The programs of both states.
static PROGRAMS: OnceLock<[Option<PathBuf>; 2]> = OnceLock::new();

/// Chooses the servers' programs; called before the first measurement.
pub(super) fn choose(now: Option<PathBuf>, before: Option<PathBuf>) -> Result<(), String> {
    // Three levels above, since bench targets are in `release/deps`.
    let by_default = || {
        let own = std::env::current_exe().unwrap_or_default();
        own.ancestors().nth(3).unwrap_or(&own).join("dist/hotread")
    };
    let now = now.unwrap_or_else(by_default);
    let programs = [Some(now), before];
    for program in programs.iter().flatten() {
        if !program.is_file() {
            return Err(format!(
                "there is no server at {}; `cargo build --profile dist -p hotread-cli` builds it, and --server \
                 and --before name others",
                program.display()
            ));
        }
    }
    // The first choice counts; there is one measurement in a process.
    let _ = PROGRAMS.set(programs);
    Ok(())
}

impl State {
    /// The measured states.
    pub(super) fn all() -> impl Iterator<Item = Self> {
        let states = [Self::Now, Self::Before].into_iter();
        states.filter(|state| state.program().is_some())
    }

    fn program(self) -> Option<&'static Path> {
        let programs = PROGRAMS.get().expect("they are chosen first");
        programs[self as usize].as_deref()
    }

    /// The command, without environment variables that affect it.
    fn command(self) -> Command {
        let program = self
            .program()
            .expect("only states that are there are asked");
        let mut command = Command::new(program);
        for name in ["DB", "URL", "TOKEN", "CONFIG"] {
            command.env_remove(format!("HOTREAD_{name}"));
        }
        command.stdin(Stdio::null()).stdout(Stdio::null());
        command
    }

    /// Runs a command, and returns its maximum of anonymous memory, and its duration in
    /// nanoseconds.
    ///
    /// # Errors
    /// The command's error output, if it fails.
    pub(super) fn hotread<A: AsRef<OsStr>>(
        self,
        arguments: impl IntoIterator<Item = A>,
    ) -> Result<(f64, f64), String> {
        let log = tempfile::NamedTempFile::new().expect("a temporary file can be made");
        let mut command = self.command();
        command.args(arguments);
        command.stderr(log.reopen().expect("it is there"));
        let start = Instant::now();
        let mut process = Process::start(&mut command).expect("the program can be started");
        let looks = process.most(LOOK_EVERY);
        let ended = process.wait();
        let took = start.elapsed().as_nanos() as f64;
        let most = looks.finish().anonymous;
        match ended {
            Ok(()) => Ok((most, took)),
            Err(error) => {
                let said = std::fs::read_to_string(log.path()).unwrap_or_default();
                Err(format!("{error}: {}", said.trim()))
            }
        }
    }

    /// Creates a table in a database, which is created if it does not exist, and fills it from a file.
    pub(super) fn fill(self, database: &Path, table: &str, options: &[&str], file: &Path) {
        let (database, file) = (text(database), text(file));
        let create = ["--db", database, "table", "create", table];
        let done = self.hotread(create.iter().chain(options));
        done.unwrap_or_else(|error| panic!("a table cannot be made: {error}"));
        let import = ["--db", database, "import", table, file, "--replace"];
        let done = self.hotread(import);
        done.unwrap_or_else(|error| panic!("a file cannot be imported: {error}"));
    }

    /// Starts a server on a database, at a free port, and waits until it listens.
    pub(super) fn serve(self, database: &Path) -> Server {
        let mut command = self.command();
        command.arg("--db").arg(database);
        command.args(["serve", "--listen", "127.0.0.1:0"]);
        command.stdout(Stdio::piped()).stderr(Stdio::null());
        let mut process = Process::start(&mut command).expect("the program can be started");
        let output = process.take_output().expect("it was asked for");
        let mut line = String::new();
        let heard = BufReader::new(output).read_line(&mut line);
        heard.expect("a server says where it listens");
        let address = line.trim_end().rsplit("http://").next();
        let address = address.and_then(|address| address.parse().ok());
        Server {
            process,
            address: address.unwrap_or_else(|| panic!("a server says {line:?}")),
        }
    }
}

/// A running server, killed when dropped.
pub(super) struct Server {
    process: Process,
    pub(super) address: SocketAddr,
}

impl Server {
    /// Its anonymous resident memory now, in bytes.
    pub(super) fn memory(&self) -> f64 {
        self.process.status().anonymous
    }

    /// Its threads now.
    pub(super) fn threads(&self) -> f64 {
        self.process.status().threads
    }

    /// Samples memory and threads from now on.
    pub(super) fn looks(&self) -> Repeat<Status> {
        self.process.most(LOOK_EVERY)
    }

    /// Returns `true` if it uses more than a tenth of a core for a second.
    pub(super) fn is_busy(&self) -> bool {
        const LOOK: Duration = Duration::from_secs(1);
        let before = cpu_ticks(self.process.id());
        sleep(LOOK);
        // The kernel reports hundredths of a second, independently of its own clock rate.
        cpu_ticks(self.process.id()) - before > 10
    }

    /// Its URL.
    pub(super) fn url(&self) -> String {
        format!("http://{}", self.address)
    }
}

/// A path as an argument.
pub(super) fn text(path: &Path) -> &str {
    path.to_str().expect("the folder's name is text")
}

/// Processor time of a process, in hundredths of a second.
fn cpu_ticks(id: u32) -> u64 {
    let stat = std::fs::read_to_string(format!("/proc/{id}/stat")).unwrap_or_default();
    // Fields are counted after the name, which may contain any character.
    let behind = stat.rsplit(')').next().unwrap_or_default();
    let fields = behind.split_whitespace().skip(11).take(2);
    fields.filter_map(|ticks| ticks.parse::<u64>().ok()).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn time_of_the_processor_is_counted() {
        let process = Process::start(Command::new("sleep").arg("600")).expect("sleep is there");
        assert!(cpu_ticks(process.id()) < 50);
        let start = Instant::now();
        while start.elapsed() < Duration::from_millis(200) {}
        assert!(cpu_ticks(std::process::id()) > 0);
    }

    #[test]
    fn a_program_that_is_not_there_is_named_with_what_builds_it() {
        let error = choose(Some("/no/such/program".into()), None);
        let error = error.expect_err("it is not there");
        assert!(
            error.contains("/no/such/program") && error.contains("cargo build"),
            "{error}"
        );
    }
}
