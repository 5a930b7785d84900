//! Watchers: processes with some sessions each, which stamp every update that arrives.
//!
//! Each runs all its sessions on one thread, whatever the system under test, since ten of them
//! share the machine with a server.

use std::io::Write;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::future::try_join_all;
use tokio::sync::mpsc;

use super::samples::{self, Seen};
use super::system::System;
use super::{hotread, runtime, systems, told};
use crate::process::{Failure, Role};

/// The role's name.
pub(super) const ROLE: &str = "watch";
/// Maximum number of processes; more sessions are divided among them.
const PROCESSES: usize = 10;
/// Time after which the last updates count as lost.
const LATEST: Duration = Duration::from_secs(20);

/// Watcher processes, all of their sessions ready.
pub(super) struct Watchers {
    /// With the number of their sessions.
    children: Vec<(Role, usize)>,
}

impl Watchers {
    /// Starts sessions, each with room for a number of updates, and waits until all are ready.
    pub(super) fn start(system: &System, address: &str, sessions: usize, updates: usize) -> Self {
        let processes = sessions.min(PROCESSES);
        let child = |index| {
            // Evenly; the first processes have one more session if necessary.
            let share = sessions / processes + usize::from(index < sessions % processes);
            let arguments = (system.argument(), address, share, updates);
            (Role::start(ROLE, arguments), share)
        };
        let mut children: Vec<_> = (0..processes).map(child).collect();
        for (child, _) in &mut children {
            assert_eq!(child.hear(), READY);
        }
        Self { children }
    }

    /// Waits until the first `updates` have arrived everywhere, or count as lost; returns the times of
    /// arrival for each session. The sessions stay until this is dropped. May be called once.
    pub(super) fn finish(&mut self, updates: usize) -> Vec<Vec<Option<u64>>> {
        for (child, _) in &mut self.children {
            child.say(&updates.to_string());
        }
        let mut seen = Vec::new();
        for (child, sessions) in &mut self.children {
            assert_eq!(child.hear(), REPORT);
            seen.extend((0..*sessions).map(|_| samples::receive(child, updates)));
        }
        seen
    }
}

/// Message of a child when all its sessions are connected.
const READY: &str = "ready";
/// Message of a child before its stamps.
const REPORT: &str = "report";

/// Runs a child.
pub(super) fn main(
    (system, address, sessions, updates): (String, String, usize, usize),
) -> Result<(), Failure> {
    let mut known = systems().chain([&hotread::TLS]);
    let system = known.find(|one| one.argument() == system);
    let system = system.ok_or("no such system")?;
    runtime().block_on(watch(system, &address, sessions, updates))
}

async fn watch(
    system: &System,
    address: &str,
    sessions: usize,
    updates: usize,
) -> Result<(), Failure> {
    let seen: Vec<_> = (0..sessions)
        .map(|_| Arc::new(Seen::new(updates)))
        .collect();
    let watchers = seen
        .iter()
        .map(|seen| (system.watcher)(address, Arc::clone(seen)));
    let (failed, mut failures) = mpsc::unbounded_channel();
    for watching in try_join_all(watchers).await? {
        let failed = failed.clone();
        tokio::spawn(async move {
            let Err(failure) = watching.await;
            // There is no receiver any more once the updates are counted.
            let _ = failed.send(failure);
        });
    }
    println!("{READY}");

    let mut told = told();
    let updates = tokio::select! {
        updates = told.recv() => updates.ok_or("the benchmark is gone")?.parse()?,
        failure = failures.recv() => return Err(failure.unwrap_or_else(|| "no watcher".into())),
    };
    let start = Instant::now();
    while !seen.iter().all(|seen| seen.has_all(updates)) && start.elapsed() < LATEST {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    let mut out = std::io::stdout().lock();
    writeln!(out, "{REPORT}")?;
    for seen in &seen {
        seen.write(updates, &mut out)?;
    }
    out.flush()?;
    // The sessions stay until the parent ends this process.
    Err(failures.recv().await.unwrap_or_else(|| "no watcher".into()))
}
