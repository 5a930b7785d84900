//! The workers, seen from the demo: asks them, hears what they say, and waits for what they become.

use super::child::Process;
use super::display::Live;
use super::protocol::{Ask, Now, Said, State};
use super::{WAIT, clock};
use crate::args::Kind;
use crate::output::grouped;
use anyhow::{Context, Result, anyhow, bail};
use hotread_proto::TableName;
use std::io::Write;
use std::path::Path;
use std::process::ChildStdin;
use std::time::Duration;
use tokio::sync::mpsc;
use tokio::time::Instant;

/// What workers have said that was not looked at yet.
const HEARD: usize = 1_024;

/// Moments over which a rate is shown while it changes: half a second.
const RECENT: usize = 6;

/// A worker.
pub(super) struct Worker {
    pub(super) name: String,
    process: Process,
    stdin: ChildStdin,
    /// How it was doing, from the first moment on.
    pub(super) ticks: Vec<Now>,
}

/// A line of a worker; `None`: there are no more.
type Heard = (usize, Option<String>);

/// All workers.
pub(super) struct Fleet {
    pub(super) workers: Vec<Worker>,
    heard: mpsc::Receiver<Heard>,
    live: Live,
}

/// When a worker's replica was complete.
pub(super) struct Ready {
    pub(super) records: usize,
    pub(super) load: Duration,
}

impl Fleet {
    /// Starts workers, and waits until their replicas are complete.
    pub(super) async fn start(
        number: u16,
        dir: &Path,
        server: &str,
        table: &TableName,
        kind: Kind,
        live: Live,
    ) -> Result<(Self, Vec<Ready>)> {
        let (say, heard) = mpsc::channel::<Heard>(HEARD);
        let kind = clap::ValueEnum::to_possible_value(&kind);
        let kind = kind.as_ref().map_or("", |kind| kind.get_name());
        let mut workers = Vec::new();
        for at in 0..usize::from(number) {
            let name = format!("worker-{}", at + 1);
            let args = [
                "demo",
                "worker",
                "--server",
                server,
                "--table",
                table.as_str(),
            ];
            let args = args.into_iter().chain(["--name", &name, "--kind", kind]);
            let say = say.clone();
            let each = move |line| {
                // If nobody hears it, the demo is about to end.
                let _ = say.blocking_send((at, line));
            };
            let args = args.map(Into::into).collect();
            let (process, stdin) = Process::start(&name, dir, args, each)?;
            workers.push(Worker {
                name,
                process,
                stdin,
                ticks: Vec::new(),
            });
        }
        let mut fleet = Self {
            workers,
            heard,
            live,
        };
        let said = fleet.answers("its replica to be complete", WAIT).await?;
        let ready = said.into_iter().map(|said| match said {
            Said::Ready { records, load_us } => Ok(Ready {
                records,
                load: Duration::from_micros(load_us),
            }),
            said => Err(odd(&said)),
        });
        let ready = ready.collect::<Result<_>>()?;
        Ok((fleet, ready))
    }

    /// Asks each worker the same; their answers, in their order.
    pub(super) async fn ask(&mut self, ask: &Ask, within: Duration) -> Result<Vec<Said>> {
        let mut line = serde_json::to_vec(ask).context("a question cannot be written as JSON")?;
        line.push(b'\n');
        for worker in &mut self.workers {
            let asked = worker.stdin.write_all(&line);
            asked.and_then(|()| worker.stdin.flush()).with_context(|| {
                let words = worker.process.last_words();
                format!("{} does not hear any more: {words}", worker.name)
            })?;
        }
        self.answers("an answer", within).await
    }

    /// One answer of each worker.
    async fn answers(&mut self, what: &str, within: Duration) -> Result<Vec<Said>> {
        let until = Instant::now() + within;
        let mut answers: Vec<Option<Said>> = self.workers.iter().map(|_| None).collect();
        while let Some(missing) = answers.iter().position(Option::is_none) {
            let Some((at, said)) = self.hear(until).await? else {
                bail!(
                    "waited {} s for {what} of {}, and none came",
                    within.as_secs(),
                    self.workers[missing].name
                );
            };
            if let Some(said) = said {
                answers[at] = Some(said);
            }
        }
        Ok(answers.into_iter().flatten().collect())
    }

    /// Waits until all workers have said that they are as they should be, and `what` says how that
    /// is.
    pub(super) async fn until(
        &mut self,
        what: &str,
        mut so: impl FnMut(&Worker) -> bool,
    ) -> Result<()> {
        let until = Instant::now() + WAIT;
        loop {
            let Some(other) = self.workers.iter().find(|worker| !so(worker)) else {
                return Ok(());
            };
            let (name, doing) = (other.name.clone(), other.doing());
            if self.hear(until).await?.is_none() {
                bail!(
                    "waited {} s for {name} to {what}; it says: {doing}",
                    WAIT.as_secs()
                );
            }
        }
    }

    /// Listens for some time.
    pub(super) async fn listen(&mut self, time: Duration) -> Result<()> {
        let until = Instant::now() + time;
        while self.hear(until).await?.is_some() {}
        Ok(())
    }

    /// The next thing that a worker says, an answer perhaps; `None`: nothing until then.
    async fn hear(&mut self, until: Instant) -> Result<Option<(usize, Option<Said>)>> {
        let Ok(heard) = tokio::time::timeout_at(until, self.heard.recv()).await else {
            return Ok(None);
        };
        let (at, line) = heard.context("all workers have ended")?;
        let worker = &mut self.workers[at];
        let Some(line) = line else {
            let words = worker.process.last_words();
            bail!("{} has ended: {words}", worker.name);
        };
        let said = serde_json::from_str(&line)
            .with_context(|| format!("{} said what nobody understands: {line}", worker.name))?;
        let answer = match said {
            Said::Now(now) => {
                worker.ticks.push(now);
                self.live.message(|| self.summary());
                None
            }
            Said::Failed { message } => bail!("{}: {message}", worker.name),
            said => Some(said),
        };
        Ok(Some((at, answer)))
    }

    /// How they are doing, on a line.
    fn summary(&self) -> String {
        let each = |worker: &Worker| format!("{} {}", worker.name, worker.doing());
        self.workers.iter().map(each).collect::<Vec<_>>().join("; ")
    }
}

impl Worker {
    /// The process's number.
    pub(super) fn id(&self) -> u32 {
        self.process.id()
    }

    pub(super) fn now(&self) -> Option<&Now> {
        self.ticks.last()
    }

    /// How it is doing, in words.
    pub(super) fn doing(&self) -> String {
        let Some(now) = self.now() else {
            return "nothing yet".to_owned();
        };
        let state = match &now.state {
            State::Live => "live",
            State::Stale => "stale",
            State::Rejected { .. } => "rejected",
            State::Failed { .. } => "failed",
        };
        let age = now.age_us.map(Duration::from_micros);
        let age = age.unwrap_or_default() + clock::since(now.at);
        let since = match &now.state {
            State::Live => String::new(),
            _ => format!(" for {:.1} s", age.as_secs_f64()),
        };
        let reads = match self.reads_per_second() {
            0 => String::new(),
            reads => format!(", {} reads/s", grouped(reads)),
        };
        format!("{state}{since} at {}{reads}", grouped(now.seq))
    }

    /// How fast its paced reader was just now.
    fn reads_per_second(&self) -> u64 {
        let last: Vec<_> = self.ticks.iter().rev().take(RECENT).collect();
        let (Some(now), Some(then)) = (last.first(), last.last()) else {
            return 0;
        };
        let nanos = clock::between(then.at, now.at).as_nanos().max(1);
        let reads = u128::from(now.reads.saturating_sub(then.reads));
        u64::try_from(reads * 1_000_000_000 / nanos).unwrap_or(u64::MAX)
    }
}

/// An answer to another question.
pub(super) fn odd(said: &Said) -> anyhow::Error {
    anyhow!("a worker answered something else than it was asked: {said:?}")
}
