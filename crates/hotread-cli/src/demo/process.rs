//! Processes that the demo starts, all of this executable. They end with the demo: when it ends, is
//! interrupted, panics or is killed.

use super::WAIT;
use anyhow::{Context, Result, bail};
use hotread_proto::{Code, ErrorBody};
use rustix::process::Signal;
use serde::{Deserialize, Serialize};
use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::{self, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};
use tokio::io::{AsyncBufReadExt, BufReader, Lines};
use tokio::net::unix::pipe::Receiver;
use tokio::time::{sleep, timeout};

/// Name of the database in the demo's folder.
pub(super) const DB: &str = "demo.db";
/// Limits of the server: the demo sends requests as fast as it can, which a server would otherwise
/// refuse.
const LIMITS: &str = "[server]\nrate_per_second = 1000000000\nrate_burst = 1000000000\n";
/// Pause before another attempt at a port that is in use for a moment.
const AGAIN: Duration = Duration::from_millis(100);

/// A process, which is killed on drop.
pub(super) struct Process {
    name: String,
    child: Child,
    /// Lines of its stdout.
    lines: Lines<BufReader<Receiver>>,
    /// File with its stderr.
    log: PathBuf,
}

impl Process {
    /// Starts `hotread` with these arguments.
    ///
    /// The caller must be the demo's main thread: the system takes the end of the thread that starts a
    /// process for the end of its parent.
    pub(super) fn start<A: AsRef<OsStr>>(name: &str, dir: &Path, args: &[A]) -> Result<Self> {
        let start = || -> Result<Self> {
            let log = dir.join(format!("{name}.log"));
            let parent = std::process::id().to_string();
            let mut command = Command::new(std::env::current_exe()?);
            command.args(["demo", "attached", "--parent", &parent, "--"]);
            command.args(args);
            // Variables for the user's own databases and servers must not apply to these.
            for (name, _) in std::env::vars_os() {
                if name.as_encoded_bytes().starts_with(b"HOTREAD_") || name == "RUST_LOG" {
                    command.env_remove(name);
                }
            }
            // A ctrl-C on the terminal must reach only the demo, which ends these in order.
            command.process_group(0);
            command.stdin(Stdio::piped()).stdout(Stdio::piped());
            command.stderr(File::options().create(true).append(true).open(&log)?);
            let mut child = command.spawn()?;
            let stdout = child.stdout.take().context("the process has no stdout")?;
            let stdout = Receiver::from_owned_fd(stdout.into())?;
            Ok(Self {
                name: name.to_owned(),
                child,
                lines: BufReader::new(stdout).lines(),
                log,
            })
        };
        start().with_context(|| format!("{name} could not be started"))
    }

    /// Returns the id of the process.
    pub(super) fn id(&self) -> u32 {
        self.child.id()
    }

    /// Writes a line of JSON to its stdin.
    pub(super) fn tell(&mut self, message: &impl Serialize) -> Result<()> {
        let line = serde_json::to_string(message)? + "\n";
        let stdin = self.child.stdin.as_mut();
        let told = stdin
            .context("the process has no stdin")?
            .write_all(line.as_bytes());
        told.with_context(|| format!("cannot write to {}: {}", self.name, self.last_words()))
    }

    /// Reads the next line of its stdout; `None`: it has ended.
    pub(super) async fn line(&mut self, within: Duration) -> Result<Option<String>> {
        let late = || format!("waited {within:?} for {}, which said nothing", self.name);
        let line = timeout(within, self.lines.next_line()).await;
        Ok(line.with_context(late)??)
    }

    /// Waits for its end. Returns its error, unless it succeeded.
    pub(super) async fn end(&mut self) -> Result<Option<ErrorBody>> {
        while self.lines.next_line().await?.is_some() {}
        if self.child.wait()?.success() {
            return Ok(None);
        }
        let words = self.last_words();
        let body = serde_json::from_str(&words);
        Ok(Some(
            body.unwrap_or_else(|_| ErrorBody::new(Code::Internal, words)),
        ))
    }

    /// Kills the process with SIGKILL.
    ///
    /// # Errors
    /// If the process ended in another way.
    pub(super) fn kill(&mut self) -> Result<()> {
        self.child.kill()?;
        let (name, status) = (&self.name, self.child.wait()?);
        if status.signal() != Some(Signal::KILL.as_raw()) {
            bail!("{name} was to be killed, and ended with {status} instead");
        }
        Ok(())
    }

    /// Returns the last line that it wrote to stderr.
    pub(super) fn last_words(&self) -> String {
        let log = std::fs::read_to_string(&self.log).unwrap_or_default();
        let last = log.lines().rfind(|line| !line.trim().is_empty());
        last.map_or_else(|| format!("{} did not say why", self.name), str::to_owned)
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Becomes `hotread` with these arguments, in a process that is killed when its parent ends in any way.
/// Only Linux has such a signal: elsewhere, a demo that is killed with `kill -9` leaves its server
/// running.
pub(super) fn become_attached(parent: i32, args: &[OsString]) -> Result<()> {
    #[cfg(target_os = "linux")]
    {
        use rustix::process::{Pid, getppid, set_parent_process_death_signal};
        set_parent_process_death_signal(Some(Signal::KILL))
            .context("the process cannot be made to end with its parent")?;
        // The parent may have ended before the signal was set.
        if getppid().map(Pid::as_raw_nonzero).map(i32::from) != Some(parent) {
            bail!("the demo that started this process has ended");
        }
    }
    let _ = parent;
    let exe = std::env::current_exe().context("this executable cannot be found")?;
    // Returns only on failure. The process keeps its id, and the signal that was set above.
    let error = Command::new(exe).args(args).exec();
    Err(error).context("this executable cannot be started again")
}

/// The server, a `hotread serve` process.
pub(super) struct Server {
    pub(super) process: Process,
    pub(super) address: SocketAddr,
}

impl Server {
    /// Starts the server at an address; port 0 is any free one.
    pub(super) async fn start(dir: &Path, listen: SocketAddr) -> Result<Self> {
        #[derive(Deserialize)]
        struct Serving {
            url: String,
        }
        let config = dir.join("hotread.toml");
        let places = format!("db = '{DB}'\nlisten = '{listen}'\nlog_format = 'json'\n");
        std::fs::write(&config, places + LIMITS)?;
        let args = ["serve", "--json", "--config"].map(OsStr::new);
        let args = [&args[..], &[config.as_os_str()]].concat();
        let began = Instant::now();
        loop {
            let mut process = Process::start("server", dir, &args)?;
            if let Some(line) = process.line(WAIT).await? {
                let Serving { url } = serde_json::from_str(&line)?;
                let address = url.trim_start_matches("http://").parse()?;
                return Ok(Self { process, address });
            }
            // A connection of another program may have the port for a moment.
            let error = process
                .end()
                .await?
                .context("the server exited immediately")?;
            if error.code != Code::AddressInUse || began.elapsed() > WAIT {
                bail!("the server did not start: {error}");
            }
            sleep(AGAIN).await;
        }
    }

    /// Returns the number of snapshots that the server has sent since it was started, from its metrics.
    pub(super) fn snapshots(&self) -> Result<u64> {
        let mut stream = TcpStream::connect(self.address)?;
        stream.set_read_timeout(Some(WAIT))?;
        let host = self.address;
        let ask = format!("GET /metrics HTTP/1.1\r\nhost: {host}\r\nconnection: close\r\n\r\n");
        stream.write_all(ask.as_bytes())?;
        let answer = io::read_to_string(stream)?;
        let mut lines = answer.lines();
        let number = lines.find_map(|line| line.strip_prefix("hotread_snapshots_total "));
        let number = number.context("the server does not count its snapshots")?;
        Ok(number.parse()?)
    }
}
