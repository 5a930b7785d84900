//! Processes that the demo starts. They end with it: when it ends, is interrupted, panics or is killed.

use anyhow::{Context, Result, bail};
use std::ffi::OsString;
use std::fs::File;
use std::io::{BufRead, BufReader};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, ExitStatus, Stdio};
use std::thread;

/// SIGKILL.
const KILL: i32 = 9;

/// A process of this executable. It is killed when this is dropped.
pub(super) struct Process {
    child: Child,
    log: PathBuf,
}

impl Process {
    /// Starts `hotread` with these arguments. What it says on stderr goes to a file of its name in
    /// `dir`. `each` is called on a thread with each line of its stdout, and with `None` in the end.
    ///
    /// To be called on the demo's main thread: the system takes the end of the thread that starts a
    /// process for the end of its parent.
    pub(super) fn start(
        name: &str,
        dir: &Path,
        args: Vec<OsString>,
        mut each: impl FnMut(Option<String>) + Send + 'static,
    ) -> Result<(Self, ChildStdin)> {
        let failed = || format!("{name} could not be started");
        let log = dir.join(format!("{name}.log"));
        let err = File::options().create(true).append(true).open(&log);
        let exe = std::env::current_exe().with_context(failed)?;
        let mut command = Command::new(exe);
        command.args(["demo", "attached", "--parent"]);
        command.arg(std::process::id().to_string()).arg("--");
        command.args(args);
        // What is set for the user's own databases and servers is not for these.
        for (name, _) in std::env::vars_os() {
            if name.as_encoded_bytes().starts_with(b"HOTREAD_") || name == "RUST_LOG" {
                command.env_remove(name);
            }
        }
        // A ctrl-C on the terminal is for the demo, which ends them in order.
        command.process_group(0);
        command.stdin(Stdio::piped()).stdout(Stdio::piped());
        command.stderr(err.with_context(failed)?);
        let mut child = command.spawn().with_context(failed)?;
        let pipes = child.stdin.take().zip(child.stdout.take());
        let process = Self { child, log };
        let (stdin, stdout) = pipes.with_context(failed)?;
        thread::Builder::new()
            .name(format!("{name}-out"))
            .spawn(move || {
                for line in BufReader::new(stdout).lines().map_while(Result::ok) {
                    each(Some(line));
                }
                each(None);
            })
            .with_context(failed)?;
        Ok((process, stdin))
    }

    pub(super) fn id(&self) -> u32 {
        self.child.id()
    }

    /// `kill -9`.
    ///
    /// # Errors
    /// If it ends in another way than by this.
    pub(super) fn kill(&mut self) -> Result<()> {
        self.child.kill().context("the process cannot be killed")?;
        let status = self.wait()?;
        if status.signal() != Some(KILL) {
            bail!("the process was to be killed, and ended with {status} instead");
        }
        Ok(())
    }

    /// Waits for its end, which was announced.
    pub(super) fn wait(&mut self) -> Result<ExitStatus> {
        self.child
            .wait()
            .context("the process cannot be waited for")
    }

    /// The last line that it said on stderr.
    pub(super) fn last_words(&self) -> String {
        let log = std::fs::read_to_string(&self.log).unwrap_or_default();
        let last = log.lines().rev().find(|line| !line.trim().is_empty());
        last.unwrap_or("it did not say why").to_owned()
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Becomes `hotread` with these arguments, in a process that is killed when its parent ends, whatever
/// ends the parent.
pub(super) fn become_attached(parent: i32, args: &[OsString]) -> Result<()> {
    die_with(parent)?;
    let exe = std::env::current_exe().context("this executable cannot be found")?;
    // Returns only if it does not succeed. The process keeps its number, and what was set above.
    let error = Command::new(exe).args(args).exec();
    Err(error).context("this executable cannot be started again")
}

#[cfg(target_os = "linux")]
fn die_with(parent: i32) -> Result<()> {
    use rustix::process::{Pid, Signal, getppid, set_parent_process_death_signal};
    set_parent_process_death_signal(Some(Signal::KILL))
        .context("the process cannot be made to end with its parent")?;
    // It may have ended before that was set.
    if getppid().map(Pid::as_raw_nonzero).map(i32::from) != Some(parent) {
        bail!("the demo that started this process has ended");
    }
    Ok(())
}

/// Elsewhere there is no such signal: a demo that is killed with `kill -9` leaves its server behind.
#[cfg(not(target_os = "linux"))]
fn die_with(_parent: i32) -> Result<()> {
    Ok(())
}
