//! `kill -9` of the server under load: the workers go on reading, say that they are stale, and resume
//! when it is back.

use super::{Stage, millis};
use crate::demo::display::{span, whole};
use crate::demo::protocol::{Ask, Now, State};
use crate::demo::verdict::{Outage, WorkerFacts};
use crate::demo::{WAIT, clock};
use crate::output::count;
use anyhow::{Result, bail};
use std::time::Duration;

/// Writes a second that are begun. The history keeps 10,000 transactions, of which the workers may
/// miss some seconds' worth, and still resume.
const PACE: u32 = 1_000;
/// Most writes under load, so that this holds however long it takes.
const MOST: usize = 8_000;
/// The server is away at least this long: several of the moments at which workers say how they are.
const SHORTEST: Duration = Duration::from_millis(1_000);

pub(in crate::demo) async fn outage(stage: &mut Stage<'_>) -> Result<()> {
    let display = &mut stage.display;
    display.heading("5  kill -9, under load")?;
    display.prose(&format!(
        "Up to {PACE} writes a second, and the server's process is killed in the middle: no goodbye, \
         no flush. The workers read on (with pauses, here), and say how old their data may be. Then \
         the server is started again on the same file and port, and writers repeat what was not \
         acknowledged, with the same transaction ids.",
    ))?;
    display.doing("writing");
    stage.fleet.ask(&Ask::Paced { on: true }, WAIT).await?;
    let (before, began) = (stage.writers.acknowledged(), clock::now());
    let load = stage.writers.start(PACE, MOST);
    stage.fleet.listen(stage.time / 2).await?;
    stage
        .fleet
        .until("read for a while", |worker| {
            worker.ticks.iter().filter(|now| now.at > began).count() > 1
        })
        .await?;
    let mut writes_before = stage.writers.acks(before);
    if writes_before.is_empty() {
        let time = span(clock::since(began));
        bail!("no write was acknowledged within {time}, before the server was killed");
    }

    let pid = stage.server.id();
    stage.server.kill()?;
    let killed = clock::now();
    stage.display.command(&format!("kill -9 {pid}"))?;
    stage.display.doing("the server is away");
    writes_before.retain(|ack| ack.acked < killed);
    let told = |now: &Now| now.at > killed && now.state == State::Stale;
    stage
        .fleet
        .until("say that it is stale", |worker| {
            worker.ticks.iter().filter(|now| told(now)).count() > 1
        })
        .await?;
    let away = (stage.time / 2).max(SHORTEST);
    let rest = away.saturating_sub(clock::since(killed));
    stage.fleet.listen(rest).await?;
    for (worker, facts) in stage.fleet.workers.iter().zip(&mut stage.facts.workers) {
        facts.note(&worker.ticks, began, killed);
    }

    stage.server.start_again().await?;
    let back = clock::now();
    stage.display.command(&format!(
        "hotread serve --db demo.db --listen {}",
        stage.server.url.trim_start_matches("http://")
    ))?;
    stage.display.doing("the server is back");
    // Live at a state that only the new server can have sent: its first write is yet to come.
    stage
        .fleet
        .until("be live again after the server came back", |worker| {
            worker
                .now()
                .is_some_and(|now| now.at > back && now.state == State::Live)
        })
        .await?;
    stage.fleet.listen(stage.time / 2).await?;
    load.stop().await?;
    let acks = stage.writers.acks(before);
    let last = acks.iter().map(|ack| ack.seq).max().unwrap_or(0);
    stage
        .fleet
        .until("see the last write", |worker| {
            let now = worker.now();
            now.is_some_and(|now| now.seq >= last && now.state == State::Live)
        })
        .await?;
    stage.fleet.ask(&Ask::Paced { on: false }, WAIT).await?;

    let status = stage.client.status().await?;
    let mode = |name: &str| {
        let mut sessions = status.sessions.iter();
        let session = sessions.find(|session| session.name == name)?;
        Some(session.mode.as_str())
    };
    for (worker, facts) in stage.fleet.workers.iter().zip(&mut stage.facts.workers) {
        facts.resumed = mode(&worker.name) == Some("resume");
        let live = worker
            .ticks
            .iter()
            .find(|now| now.at > back && now.state == State::Live);
        facts.back_ms = live.map_or(0.0, |now| millis(clock::between(back, now.at)));
        facts.misses += worker.now().map_or(0, |now| now.misses);
    }
    let across = acks
        .iter()
        .filter(|ack| ack.sent < back && ack.acked > killed);
    stage.facts.outage = Outage {
        writes_before: writes_before.len() as u64,
        writes_across: across.filter(|ack| ack.acked > back).count() as u64,
        snapshots: stage.server.snapshots()?,
    };
    show(stage, clock::between(killed, back))
}

fn show(stage: &mut Stage<'_>, away: Duration) -> Result<()> {
    let Stage { display, facts, .. } = stage;
    display.done();
    let outage = &facts.outage;
    display.row(
        "before",
        &format!(
            "{} acknowledged under load",
            count(outage.writes_before, "write", "writes")
        ),
    )?;
    display.row(
        "away",
        &format!(
            "{}; {} waited until it was back",
            span(away),
            count(outage.writes_across, "write", "writes")
        ),
    )?;
    let row = |worker: &WorkerFacts| {
        let state = match worker.said_stale {
            true => "stale",
            false => "not stale",
        };
        [
            worker.name.clone(),
            whole(worker.paced_reads_per_s_before),
            whole(worker.paced_reads_per_s_during),
            format!("{state}, {}", ms(worker.age_ms)),
            match worker.resumed {
                true => ms(worker.back_ms),
                false => "never".to_owned(),
            },
        ]
    };
    let rows: Vec<_> = facts.workers.iter().map(row).collect();
    display.table(
        [
            "",
            "reads/s",
            "server away",
            "said its age",
            "resumed after",
        ],
        &rows,
    )?;
    display.row(
        "snapshots after that",
        &format!("{}, by the server's own count", outage.snapshots),
    )
}

fn ms(millis: f64) -> String {
    span(Duration::from_secs_f64(millis / 1e3))
}

impl WorkerFacts {
    /// What a worker said before the server was killed, and after that.
    fn note(&mut self, ticks: &[Now], began: u64, killed: u64) {
        let before: Vec<_> = ticks
            .iter()
            .filter(|now| now.at > began && now.at < killed)
            .collect();
        let during: Vec<_> = ticks.iter().filter(|now| now.at > killed).collect();
        self.paced_reads_per_s_before = reads_per_second(&before);
        self.paced_reads_per_s_during = reads_per_second(&during);
        let fresher = during.iter().filter(|now| {
            let really = clock::between(killed, now.at);
            // Ages are told in whole microseconds.
            now.age_us
                .is_none_or(|micros| Duration::from_micros(micros + 1) < really)
        });
        self.claimed_fresher = fresher.count() as u64;
        let Some(last) = during.last() else { return };
        self.said_stale = last.state == State::Stale;
        self.age_ms = last.age_us.map_or(0.0, |micros| micros as f64 / 1e3);
        self.outage_ms = millis(clock::between(killed, last.at));
    }
}

/// Reads a second between the first and the last moment.
fn reads_per_second(ticks: &[&Now]) -> f64 {
    let (Some(first), Some(last)) = (ticks.first(), ticks.last()) else {
        return 0.0;
    };
    let nanos = last.at.saturating_sub(first.at).max(1);
    last.reads.saturating_sub(first.reads) as f64 * 1e9 / nanos as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_workers_say_is_counted_on_its_side_of_the_kill() {
        let at = |millis: u64, state, reads, age_us| Now {
            at: millis * 1_000_000,
            state,
            age_us,
            seq: 1,
            reads,
            misses: 0,
        };
        let ticks = [
            at(500, State::Live, 0, Some(1)),
            at(1_100, State::Live, 100, Some(1)),
            at(1_600, State::Live, 600, Some(1)),
            at(2_100, State::Stale, 1_100, Some(200_000)),
            at(2_600, State::Stale, 1_350, Some(700_000)),
        ];
        let mut facts = WorkerFacts::default();
        facts.note(&ticks, 1_000_000_000, 2_000_000_000);
        assert_eq!(facts.paced_reads_per_s_before, 1_000.0);
        assert_eq!(facts.paced_reads_per_s_during, 500.0);
        assert!(facts.said_stale);
        assert_eq!((facts.age_ms, facts.outage_ms), (700.0, 600.0));
        assert_eq!(facts.claimed_fresher, 0);

        let mut ticks = ticks.to_vec();
        ticks.push(at(2_800, State::Stale, 1_400, Some(799_998)));
        ticks.push(at(2_900, State::Stale, 1_400, None));
        facts.note(&ticks, 1_000_000_000, 2_000_000_000);
        assert_eq!(facts.claimed_fresher, 2);

        let mut silent = WorkerFacts::default();
        silent.note(&ticks[..3], 1_000_000_000, 2_000_000_000);
        assert!(!silent.said_stale && silent.paced_reads_per_s_during == 0.0);
    }
}
