//! The workers, as seen by the demo: questions to them, and waits for their states.

use super::WAIT;
use super::process::Process;
use super::protocol::{Ask, Now, State, Task};
use super::verdict::WorkerFacts;
use crate::output::escape;
use anyhow::{Context, Result, bail};
use indicatif::ProgressBar;
use serde::de::DeserializeOwned;
use std::path::Path;
use std::time::Duration;
use tokio::time::{Instant, sleep};

/// Interval between two reports of a worker.
const EVERY: Duration = Duration::from_millis(50);

/// A worker.
pub(super) struct Worker {
    pub(super) process: Process,
    /// Facts about this worker.
    pub(super) facts: WorkerFacts,
    /// Its reports, from the first one on.
    pub(super) reports: Vec<Now>,
}

/// All workers.
pub(super) struct Fleet {
    pub(super) workers: Vec<Worker>,
    /// Line that shows their states.
    bar: ProgressBar,
}

impl Fleet {
    /// Starts the workers, and waits until their replicas are complete.
    pub(super) async fn start(
        number: u16,
        dir: &Path,
        mut task: Task,
        bar: ProgressBar,
    ) -> Result<Self> {
        let mut workers = Vec::new();
        for number in 1..=number {
            task.name = format!("worker-{number}");
            let mut process = Process::start(&task.name, dir, &["demo", "worker"])?;
            process.tell(&task)?;
            let (mut facts, reports) = (WorkerFacts::default(), Vec::new());
            facts.name.clone_from(&task.name);
            workers.push(Worker {
                process,
                facts,
                reports,
            });
        }
        let mut fleet = Self { workers, bar };
        let loaded: Vec<(u64, f64)> = fleet.answers(WAIT).await?;
        for (facts, (records, seconds)) in fleet.facts().zip(loaded) {
            facts.loaded_records = records;
            facts.load_ms = seconds * 1e3;
        }
        Ok(fleet)
    }

    /// Asks each worker the same question, and returns their answers in order.
    pub(super) async fn ask<T: DeserializeOwned>(&mut self, ask: &Ask) -> Result<Vec<T>> {
        for worker in &mut self.workers {
            worker.process.tell(ask)?;
        }
        let takes = match ask {
            Ask::Read { seconds } | Ask::Http { seconds } => *seconds,
            _ => 0.0,
        };
        self.answers(WAIT + Duration::from_secs_f64(takes)).await
    }

    async fn answers<T: DeserializeOwned>(&mut self, within: Duration) -> Result<Vec<T>> {
        let mut answers = Vec::new();
        for Worker { process, facts, .. } in &mut self.workers {
            let Some(answer) = process.line(within).await? else {
                bail!("{} has ended: {}", facts.name, process.last_words());
            };
            let understood = serde_json::from_str(&answer);
            answers.push(understood.with_context(|| format!("{} said: {answer}", facts.name))?);
        }
        Ok(answers)
    }

    /// Returns the facts about the workers, in order.
    pub(super) fn facts(&mut self) -> impl Iterator<Item = &mut WorkerFacts> {
        self.workers.iter_mut().map(|worker| &mut worker.facts)
    }

    /// Waits until `so` holds for the last report of each worker; `what` describes the condition.
    pub(super) async fn until(&mut self, what: &str, so: impl Fn(&Now) -> bool) -> Result<()> {
        self.until_all(what, |reports| reports.last().is_some_and(&so))
            .await
    }

    /// Waits until all workers are live, and their readers see this transaction.
    pub(super) async fn until_live(&mut self, what: &str, seq: u64) -> Result<()> {
        self.until(what, |now| now.state == State::Live && now.seq >= seq)
            .await
    }

    /// Waits until `so` holds for all reports of each worker.
    pub(super) async fn until_all(
        &mut self,
        what: &str,
        so: impl Fn(&[Now]) -> bool,
    ) -> Result<()> {
        let until = Instant::now() + WAIT;
        while let Some(other) = self.workers.iter().find(|worker| !so(&worker.reports)) {
            if Instant::now() > until {
                bail!("waited {WAIT:?} for one to {what}: {}", other.doing());
            }
            self.look().await?;
        }
        Ok(())
    }

    /// Collects reports for some time.
    pub(super) async fn watch(&mut self, time: Duration) -> Result<()> {
        let until = Instant::now() + time;
        self.until_all("be watched", |_| Instant::now() >= until)
            .await
    }

    /// Collects a report of each worker, after a pause.
    async fn look(&mut self) -> Result<()> {
        sleep(EVERY).await;
        let reports = self.ask(&Ask::Now).await?;
        for (worker, report) in self.workers.iter_mut().zip(reports) {
            worker.reports.push(report);
        }
        let doing: Vec<_> = self.workers.iter().map(Worker::doing).collect();
        self.bar.set_message(escape(&doing.join("; ")).into_owned());
        Ok(())
    }
}

impl Worker {
    /// Describes the last report.
    fn doing(&self) -> String {
        let state = |now: &Now| format!("{:?} at {}", now.state, now.seq).to_lowercase();
        let state = self.reports.last().map(state).unwrap_or_default();
        format!("{} {state}", self.facts.name)
    }
}

/// Returns the reports after a moment.
pub(super) fn since(reports: &[Now], moment: f64) -> &[Now] {
    &reports[reports.partition_point(|now| now.at <= moment)..]
}
