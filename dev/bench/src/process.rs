//! Processes that a measurement starts: servers, and this program itself in other roles. The processes end
//! with their parent.

use std::io::{self, BufRead, BufReader, Read, Write};
#[cfg(target_os = "linux")]
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::thread::JoinHandle;
use std::time::Duration;

use serde::Serialize;
use serde::de::DeserializeOwned;

/// Failure of a role, or of a measured system.
pub(crate) type Failure = Box<dyn std::error::Error + Send + Sync>;

/// Longest wait for a server to listen, and for a child to answer: long enough for every measurement.
pub(crate) const PATIENCE: Duration = Duration::from_secs(600);

/// A process that is killed when dropped.
pub(crate) struct Process(Child);

impl Process {
    /// Starts a command that dies with the calling thread, even if that thread is killed. Must be
    /// called by a thread that lasts as long as the process is needed.
    pub(crate) fn start(command: &mut Command) -> io::Result<Self> {
        #[cfg(target_os = "linux")]
        // SAFETY: between fork and exec the closure makes one system call, which allocates nothing and
        // takes no lock.
        unsafe {
            command.pre_exec(|| {
                let signal = Some(rustix::process::Signal::KILL);
                Ok(rustix::process::set_parent_process_death_signal(signal)?)
            });
        }
        Ok(Self(command.spawn()?))
    }

    /// Ends the process immediately, as `kill -9` does.
    pub(crate) fn kill(&mut self) {
        // Fails only if the process is already gone.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }

    /// Its memory and threads now.
    pub(crate) fn status(&self) -> Status {
        Status::of(&self.id().to_string())
    }

    /// The maximum of both from now on, sampled with this pause.
    pub(crate) fn most(&self, pause: Duration) -> Repeat<Status> {
        let id = self.id().to_string();
        Repeat::start(pause, Status::default(), move |most| {
            // Once the process has ended, the status is `NaN`, which `max` ignores.
            let now = Status::of(&id);
            most.anonymous = most.anonymous.max(now.anonymous);
            most.peak = most.peak.max(now.peak);
            most.threads = most.threads.max(now.threads);
        })
    }

    /// Its number.
    pub(crate) fn id(&self) -> u32 {
        self.0.id()
    }

    /// Its standard output, once, if the command pipes it.
    pub(crate) fn take_output(&mut self) -> Option<ChildStdout> {
        self.0.stdout.take()
    }

    /// Waits for the end of the process.
    ///
    /// # Errors
    /// The exit status, unless it is success.
    pub(crate) fn wait(&mut self) -> io::Result<()> {
        let status = self.0.wait()?;
        match status.success() {
            true => Ok(()),
            false => Err(io::Error::other(status.to_string())),
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill();
    }
}

/// Memory in bytes and threads of a process; `NaN` where the system reports none.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Status {
    /// Anonymous resident memory.
    pub(crate) anonymous: f64,
    /// Maximum of the resident memory so far, mapped files included.
    pub(crate) peak: f64,
    pub(crate) threads: f64,
}

impl Status {
    /// Reads the status of a process, by its number or `self`, from `/proc`.
    pub(crate) fn of(process: &str) -> Self {
        let status = std::fs::read_to_string(format!("/proc/{process}/status"));
        let status = status.unwrap_or_default();
        let number = |name: &str| -> f64 {
            let line = status.lines().find_map(|line| line.strip_prefix(name));
            let number = line.and_then(|line| line.split_whitespace().next()?.parse().ok());
            number.unwrap_or(f64::NAN)
        };
        Self {
            anonymous: number("RssAnon:") * 1024.0,
            peak: number("VmHWM:") * 1024.0,
            threads: number("Threads:"),
        }
    }
}

/// A thread that repeats a step until it is told to end.
pub(crate) struct Repeat<T> {
    done: Arc<AtomicBool>,
    thread: JoinHandle<T>,
}

impl<T: Send + 'static> Repeat<T> {
    /// Starts it with the result so far, which each step changes; pauses follow the steps.
    pub(crate) fn start(
        pause: Duration,
        mut result: T,
        mut step: impl FnMut(&mut T) + Send + 'static,
    ) -> Self {
        let done = Arc::new(AtomicBool::new(false));
        let told = Arc::clone(&done);
        let thread = std::thread::spawn(move || {
            while !told.load(Ordering::Relaxed) {
                step(&mut result);
                std::thread::sleep(pause);
            }
            result
        });
        Self { done, thread }
    }

    /// Ends it, and returns the result.
    pub(crate) fn finish(self) -> T {
        self.done.store(true, Ordering::Relaxed);
        self.thread.join().expect("the steps do not panic")
    }
}

/// This program in another role, which exchanges lines with its parent.
pub(crate) struct Role {
    process: Process,
    input: ChildStdin,
    output: BufReader<ChildStdout>,
}

/// First argument of a program that a measurement starts in a role; the role and its arguments, as
/// JSON, follow.
pub(crate) const ROLE: &str = "--role";

/// The role and its arguments, if a measurement has started this program in one.
pub fn role() -> Option<(String, String)> {
    let mut arguments = std::env::args().skip(1);
    (arguments.next()? == ROLE).then_some(())?;
    arguments.next().zip(arguments.next())
}

/// Plays a role with its arguments.
pub(crate) fn play<T: DeserializeOwned>(
    arguments: &str,
    part: impl FnOnce(T) -> Result<(), Failure>,
) -> Result<(), Failure> {
    part(serde_json::from_str(arguments)?)
}

static PROGRAM: OnceLock<PathBuf> = OnceLock::new();

/// Starts roles by another program than the running one: for tests. That program knows [`ROLE`] as well.
pub(crate) fn set_program(program: PathBuf) {
    // The first role decides; there is one program in a process.
    let _ = PROGRAM.set(program);
}

impl Role {
    /// Starts the role. Its error output goes to the terminal.
    pub(crate) fn start(role: &str, arguments: impl Serialize) -> Self {
        let arguments = serde_json::to_string(&arguments).expect("arguments are plain data");
        let running = || std::env::current_exe().expect("a running program has a path");
        let mut command = Command::new(PROGRAM.get_or_init(running));
        command.args([ROLE, role, &arguments]);
        command.stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut process = Process::start(&mut command).expect("the program that runs can be run");
        let input = process.0.stdin.take().expect("it was asked for");
        let output = process.0.stdout.take().expect("it was asked for");
        Self {
            process,
            input,
            output: BufReader::new(output),
        }
    }

    /// Sends a line to the process.
    pub(crate) fn say(&mut self, line: &str) {
        writeln!(self.input, "{line}").expect("the child listens");
    }

    /// Waits for the next line of the process.
    pub(crate) fn hear(&mut self) -> String {
        let mut line = String::new();
        let length = self.output.read_line(&mut line);
        let length = length.expect("the child writes lines");
        assert!(length > 0, "a child ended without an answer");
        line.trim_end().to_owned()
    }

    /// Waits for the next line of the process, numbers between spaces.
    pub(crate) fn hear_numbers<const N: usize>(&mut self) -> [f64; N] {
        let line = self.hear();
        let numbers: Vec<f64> = line.split(' ').flat_map(str::parse).collect();
        let numbers = numbers.try_into();
        numbers.unwrap_or_else(|_| panic!("a child says {line:?}"))
    }

    /// Reads raw bytes that the process has announced.
    pub(crate) fn read(&mut self, bytes: &mut [u8]) {
        let read = self.output.read_exact(bytes);
        read.expect("the child sends what it announced");
    }

    /// Its process.
    pub(crate) fn process(&mut self) -> &mut Process {
        &mut self.process
    }

    /// The process alone, without an exchange of lines.
    pub(crate) fn into_process(self) -> Process {
        self.process
    }
}

/// Path of a program, if it is installed.
pub(crate) fn installed(program: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    // Debian installs servers in folders of root's path.
    let more = ["/usr/sbin", "/usr/local/sbin"].map(PathBuf::from);
    let folders = std::env::split_paths(&path).chain(more);
    folders
        .map(|folder| folder.join(program))
        .find(|file| file.is_file())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_ends_when_it_is_dropped() {
        let process = Process::start(Command::new("sleep").arg("600")).expect("sleep is there");
        let status = PathBuf::from(format!("/proc/{}", process.0.id()));
        assert!(status.exists());
        assert!(process.status().peak > 0.0);
        drop(process);
        assert!(!status.exists());
    }

    #[test]
    fn a_process_is_looked_at_until_it_ends() {
        let process = Process::start(Command::new("sleep").arg("600")).expect("sleep is there");
        let looks = process.most(Duration::from_millis(20));
        std::thread::sleep(Duration::from_millis(60));
        let most = looks.finish();
        assert!(most.anonymous > 0.0 && most.threads == 1.0, "{most:?}");
    }

    #[test]
    fn programs_are_found_or_not() {
        assert!(installed("sh").is_some_and(|path| path.is_absolute()));
        assert_eq!(installed("no-such-program-anywhere"), None);
    }
}
