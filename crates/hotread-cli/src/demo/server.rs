//! The server: `hotread serve` in a process of its own.

use super::WAIT;
use super::child::Process;
use super::http::Connection;
use anyhow::{Context, Result, anyhow, bail};
use hotread_proto::{Code, ErrorBody};
use serde::Deserialize;
use std::ffi::OsString;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};
use tokio::sync::mpsc;

/// The demo asks as fast as it can, which a server takes for a mistake unless it is told otherwise.
const CONFIG: &str = "[server]\nrate_per_second = 1000000000\nrate_burst = 1000000000\n";
/// How long to wait before a port is tried again that something else has taken for a moment.
const AGAIN: Duration = Duration::from_millis(100);
/// Lines of its output that wait to be read: there is one.
const LINES: usize = 16;

/// A server that runs, or has been killed.
pub(super) struct Server {
    process: Process,
    pub(super) url: String,
    address: SocketAddr,
    dir: PathBuf,
}

/// The database, in the demo's folder.
pub(super) fn database(dir: &Path) -> PathBuf {
    dir.join("demo.db")
}

impl Server {
    /// On a free port.
    pub(super) async fn start(dir: &Path) -> Result<Self> {
        let config = dir.join("hotread.toml");
        std::fs::write(&config, CONFIG)
            .with_context(|| format!("{} cannot be written", config.display()))?;
        match start(dir, (Ipv4Addr::LOCALHOST, 0).into()).await? {
            Ok((process, address)) => Ok(Self {
                process,
                url: format!("http://{address}"),
                address,
                dir: dir.to_owned(),
            }),
            Err(error) => bail!("the server did not start: {error}"),
        }
    }

    /// On the same port, with the same database, after it was killed.
    pub(super) async fn start_again(&mut self) -> Result<()> {
        let began = Instant::now();
        loop {
            match start(&self.dir, self.address).await? {
                Ok((process, _)) => {
                    self.process = process;
                    return Ok(());
                }
                // A connection that somebody else begins may have the port for a moment.
                Err(error) if error.code == Code::AddressInUse && began.elapsed() < WAIT => {
                    tokio::time::sleep(AGAIN).await;
                }
                Err(error) => bail!("the server did not start again: {error}"),
            }
        }
    }

    pub(super) fn id(&self) -> u32 {
        self.process.id()
    }

    /// `kill -9`.
    pub(super) fn kill(&mut self) -> Result<()> {
        self.process.kill().context("the server")
    }

    /// Snapshots that it has sent since it was started, by its own count.
    pub(super) fn snapshots(&self) -> Result<u64> {
        let mut connection = Connection::open(&self.url)?;
        let request = connection.request("/metrics");
        let (status, body) = connection.ask(&request)?;
        if status != 200 {
            bail!("the server's metrics cannot be had: status {status}");
        }
        let text = std::str::from_utf8(body).context("the server's metrics are no text")?;
        counter(text, "hotread_snapshots_total").context("the server does not count its snapshots")
    }
}

/// The process and its address, or what it said before it ended.
async fn start(
    dir: &Path,
    listen: SocketAddr,
) -> Result<std::result::Result<(Process, SocketAddr), ErrorBody>> {
    #[derive(Deserialize)]
    struct Serving {
        url: String,
    }
    let mut args: Vec<OsString> = ["serve", "--json", "--log-format", "json", "--listen"]
        .map(Into::into)
        .into();
    args.push(listen.to_string().into());
    args.extend(["--db".into(), database(dir).into()]);
    args.extend(["--config".into(), dir.join("hotread.toml").into()]);
    let (line, mut lines) = mpsc::channel(LINES);
    let (mut process, _) = Process::start("server", dir, args, move |said| {
        if let Some(said) = said {
            // Nobody waits for more than the first line.
            let _ = line.try_send(said);
        }
    })?;
    let first = tokio::time::timeout(WAIT, lines.recv()).await;
    let first = first.map_err(|_| {
        anyhow!(
            "the server did not say where it listens within {} s",
            WAIT.as_secs()
        )
    })?;
    let Some(first) = first else {
        process.wait()?;
        let words = process.last_words();
        return Ok(Err(
            serde_json::from_str(&words).unwrap_or_else(|_| ErrorBody::new(Code::Internal, words))
        ));
    };
    let serving: Serving = serde_json::from_str(&first).with_context(|| {
        format!("the server said something else than where it listens: {first}")
    })?;
    let address = serving.url.strip_prefix("http://").unwrap_or(&serving.url);
    let address = address
        .parse()
        .with_context(|| format!("the server listens at {address}, which is no address"))?;
    Ok(Ok((process, address)))
}

/// A number in the text of `/metrics`.
fn counter(text: &str, name: &str) -> Option<u64> {
    let mut lines = text.lines();
    let number = lines.find_map(|line| line.strip_prefix(name)?.strip_prefix(' '))?;
    number.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_counter_is_found_by_its_whole_name() {
        let text = "# TYPE a counter\na_total_more 3\na_total 17\n# EOF\n";
        assert_eq!(counter(text, "a_total"), Some(17));
        assert_eq!(counter(text, "b_total"), None);
    }
}
