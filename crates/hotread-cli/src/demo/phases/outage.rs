//! `kill -9` of the server under load: the workers continue to read, report that they are stale, and resume
//! when the server is back.

use super::Stage;
use crate::demo::display::{span, whole};
use crate::demo::fleet::{Worker, since};
use crate::demo::process::Server;
use crate::demo::protocol::{Ask, Now, State, now};
use crate::demo::verdict::{Outage, WorkerFacts};
use crate::demo::writer::number;
use crate::output::count;
use anyhow::Result;
use std::time::Duration;

/// Writes begun per second. The history keeps 10,000 transactions, so that workers which miss some
/// seconds' worth can still resume.
const PACE: u32 = 1_000;
/// Maximum number of writes under load, so that the history suffices however long the outage takes.
const MOST: usize = 8_000;
/// Minimum duration of the outage after all workers have noticed it: several reports of each.
const SHORTEST: Duration = Duration::from_millis(1_000);

pub(in crate::demo) async fn outage(stage: &mut Stage<'_>) -> Result<()> {
    let (display, fleet, writer) = (&mut stage.display, &mut stage.fleet, &stage.writer);
    let half = stage.time / 2;
    let about = format!(
        "Up to {PACE} writes a second, and the server's process is killed in the middle: no goodbye, \
         no flush. The workers read on (with pauses, here), and say how old their data may be. Then \
         the server is started again on the same file and port, and writers repeat what was not \
         acknowledged, with the same transaction ids."
    );
    display.part("5  kill -9, under load", &about)?;
    display.doing("writing");
    fleet.ask::<()>(&Ask::Paced).await?;
    let began = now();
    let load = writer.start(PACE, MOST);
    fleet.watch(half).await?;
    let begun = |reports: &[Now]| since(reports, began).len() > 1 && !writer.acks(began).is_empty();
    fleet
        .until_all("read for a while, under load", begun)
        .await?;

    stage.server.process.kill()?;
    let killed = now();
    let writes_before = number(&writer.acks(began), |ack| ack.acked < killed);
    display.command(&format!("kill -9 {}", stage.server.process.id()))?;
    display.doing("the server is away");
    let stale = |now: &&Now| now.state == State::Stale;
    let told = |reports: &[Now]| since(reports, killed).iter().filter(stale).count() > 1;
    fleet.until_all("say that it is stale", told).await?;
    fleet.watch(half.max(SHORTEST)).await?;
    for worker in &mut fleet.workers {
        worker.facts.note(since(&worker.reports, began), killed);
    }

    stage.server = Server::start(stage.dir.path(), stage.server.address).await?;
    let back = now();
    let address = stage.server.address;
    display.command(&format!("hotread serve --db demo.db --listen {address}"))?;
    display.doing("the server is back");
    // A live state after this moment can only come from the new server, whose first write has yet to
    // come.
    let again = |now: &Now| now.at > back && now.state == State::Live;
    fleet
        .until("be live again after the server came back", again)
        .await?;
    fleet.watch(half).await?;
    writer.stop(load).await?;
    let acks = writer.acks(began);
    let last = acks.iter().map(|ack| ack.seq).max().unwrap_or(0);
    fleet.until_live("see the last write", last).await?;

    let sessions = writer.client.status().await?.sessions;
    for Worker { facts, reports, .. } in &mut fleet.workers {
        let session = sessions.iter().find(|it| it.name == facts.name);
        let first = reports.iter().find(|now| again(now));
        facts.resumed = session.is_some_and(|session| session.mode == "resume");
        facts.back_ms = first.map_or(0.0, |now| now.at - back) * 1e3;
        facts.misses += reports.last().map_or(0, |now| now.misses);
    }
    let writes_across = number(&acks, |ack| ack.sent < back && ack.acked > back);
    let snapshots = stage.server.snapshots()?;
    stage.facts.outage = Outage {
        writes_before,
        writes_across,
        snapshots,
    };

    display.done();
    let writes = |number| count(number, "write", "writes");
    let before = writes(writes_before) + " acknowledged under load";
    let (away, across) = (span(back - killed), writes(writes_across));
    display.value("before", &before)?;
    display.value(
        "away",
        &format!("{away}; {across} waited until it was back"),
    )?;
    let heading = [
        "",
        "reads/s",
        "server away",
        "said its age",
        "resumed after",
    ];
    let mut rows = vec![heading.map(str::to_owned)];
    for facts in fleet.facts() {
        let not = if facts.said_stale { "" } else { "not " };
        let resumed = facts.resumed.then(|| span(facts.back_ms / 1e3));
        rows.push([
            facts.name.clone(),
            whole(facts.paced_reads_per_s_before),
            whole(facts.paced_reads_per_s_during),
            format!("{not}stale, {}", span(facts.age_ms / 1e3)),
            resumed.unwrap_or_else(|| "never".to_owned()),
        ]);
    }
    display.table(&rows)?;
    let snapshots = format!("{snapshots}, by the server's own count");
    display.value("snapshots after that", &snapshots)
}

impl WorkerFacts {
    /// Adds what a worker reported before and after the server was killed.
    fn note(&mut self, reports: &[Now], killed: f64) {
        let during = since(reports, killed);
        self.paced_reads_per_s_before = reads_per_second(&reports[..reports.len() - during.len()]);
        self.paced_reads_per_s_during = reads_per_second(during);
        let fresher = |now: &&Now| now.age.is_none_or(|age| age < now.at - killed);
        self.claimed_fresher = during.iter().filter(fresher).count() as u64;
        let Some(last) = during.last() else { return };
        self.said_stale = last.state == State::Stale;
        self.age_ms = last.age.unwrap_or(0.0) * 1e3;
        self.outage_ms = (last.at - killed) * 1e3;
    }
}

/// Returns the paced reads per second between the first and the last report.
fn reads_per_second(reports: &[Now]) -> f64 {
    match reports {
        [first, .., last] => (last.reads - first.reads) as f64 / (last.at - first.at),
        _ => 0.0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_workers_say_is_counted_on_its_side_of_the_kill() {
        let report = |at, state, reads, age| Now {
            at,
            state,
            age,
            seq: 1,
            reads,
            misses: 0,
        };
        let mut reports = vec![
            report(1.25, State::Live, 100, Some(0.0)),
            report(1.75, State::Live, 600, Some(0.0)),
            report(2.25, State::Stale, 1_100, Some(0.5)),
            report(2.75, State::Stale, 1_350, Some(1.0)),
        ];
        let mut facts = WorkerFacts::default();
        facts.note(&reports, 2.0);
        assert_eq!(facts.paced_reads_per_s_before, 1_000.0);
        assert_eq!(facts.paced_reads_per_s_during, 500.0);
        assert!(facts.said_stale);
        assert_eq!((facts.age_ms, facts.outage_ms), (1_000.0, 750.0));
        assert_eq!(facts.claimed_fresher, 0);

        reports.push(report(2.875, State::Stale, 1_400, Some(0.8749)));
        reports.push(report(3.0, State::Stale, 1_400, None));
        facts.note(&reports, 2.0);
        assert_eq!(facts.claimed_fresher, 2);

        let mut silent = WorkerFacts::default();
        silent.note(&reports[..2], 2.0);
        assert!(!silent.said_stale && silent.paced_reads_per_s_during == 0.0);
    }
}
