//! Paced: how fast changes are on disk, and how fast workers see them.

use super::{Stage, quantile};
use crate::demo::WAIT;
use crate::demo::display::{nanos, whole};
use crate::demo::fleet::odd;
use crate::demo::protocol::{Ask, Said};
use crate::demo::verdict::Updates;
use crate::demo::writers::Ack;
use anyhow::{Context, Result};

/// Updates a second that are begun: far from what the server can do, so that what is measured is the
/// way of one, not a queue.
const PACE: u32 = 500;

pub(in crate::demo) async fn updates(stage: &mut Stage<'_>) -> Result<()> {
    stage
        .display
        .heading("3  Changing records while they are read")?;
    stage.display.prose(&format!(
        "Nobody polls: records are rewritten over HTTP, {PACE} a second; each is on disk (fsync) \
         before it is acknowledged, and pushed to the workers. All processes read the same clock.",
    ))?;
    stage.display.doing("changing records");
    stage.fleet.ask(&Ask::Watch, WAIT).await?;
    let (before, load) = (
        stage.writers.acknowledged(),
        stage.writers.start(PACE, usize::MAX),
    );
    stage.fleet.listen(stage.time).await?;
    load.stop().await?;
    let acks = stage.writers.acks(before);
    let last = acks.iter().map(|ack| ack.seq).max();
    let last = last.context("waited for updates to be acknowledged, and none was begun in this time; give more --seconds")?;
    stage
        .fleet
        .until("see the last update", |worker| {
            worker.now().is_some_and(|now| now.seq >= last)
        })
        .await?;
    let mut figures = Figures::new(&acks);
    let said = stage.fleet.ask(&Ask::Seen, WAIT).await?;
    for (said, worker) in said.into_iter().zip(&mut stage.facts.workers) {
        let Said::Seen { stamps } = said else {
            return Err(odd(&said));
        };
        worker.updates_seen = figures.add(&acks, &stamps);
    }
    let updates = figures.finish();
    let display = &mut stage.display;
    display.done();
    let micros = |p50: f64, p99: f64| {
        let (p50, p99) = (nanos(p50 * 1e3), nanos(p99 * 1e3));
        format!("p50 {p50:>8}   p99 {p99:>8}")
    };
    display.row(
        "updates, on disk",
        &format!(
            "{} at {} a second",
            whole(updates.committed as f64),
            whole(updates.per_s)
        ),
    )?;
    display.row(
        "sent to acknowledged",
        &micros(updates.commit_p50_us, updates.commit_p99_us),
    )?;
    display.row(
        "acknowledged to visible",
        &micros(updates.propagation_p50_us, updates.propagation_p99_us),
    )?;
    display.row(
        "sent to visible",
        &micros(updates.whole_p50_us, updates.whole_p99_us),
    )?;
    display.prose(&format!(
        "Visible: a reader in a worker process saw it. {:.0} % were seen there before the writer had \
         its answer, which counts as 0.",
        updates.before_ack_percent
    ))?;
    stage.facts.updates = updates;
    Ok(())
}

/// Times in microseconds.
struct Figures {
    updates: Updates,
    after_ack: Vec<f64>,
    whole: Vec<f64>,
    early: u64,
}

impl Figures {
    fn new(acks: &[Ack]) -> Self {
        let first = acks.iter().map(|ack| ack.sent).min().unwrap_or(0);
        let last = acks.iter().map(|ack| ack.acked).max().unwrap_or(0);
        let nanos = last.saturating_sub(first).max(1);
        let mut commits: Vec<_> = acks.iter().map(|ack| micros(ack.sent, ack.acked)).collect();
        Self {
            updates: Updates {
                committed: acks.len() as u64,
                per_s: acks.len() as f64 * 1e9 / nanos as f64,
                commit_p50_us: quantile(&mut commits, 0.5),
                commit_p99_us: quantile(&mut commits, 0.99),
                ..Updates::default()
            },
            after_ack: Vec::new(),
            whole: Vec::new(),
            early: 0,
        }
    }

    /// Adds what a worker saw: changes, in their order, and when. Gives how many of the updates it
    /// saw.
    fn add(&mut self, acks: &[Ack], stamps: &[(u64, u64)]) -> u64 {
        let mut seen = 0;
        for ack in acks {
            // The first state that contains it.
            let at = stamps.partition_point(|(seq, _)| *seq < ack.seq);
            let Some((_, at)) = stamps.get(at) else {
                continue;
            };
            seen += 1;
            self.early += u64::from(*at < ack.acked);
            self.after_ack.push(micros(ack.acked, *at));
            self.whole.push(micros(ack.sent, *at));
        }
        seen
    }

    fn finish(mut self) -> Updates {
        let sightings = self.after_ack.len().max(1);
        Updates {
            propagation_p50_us: quantile(&mut self.after_ack, 0.5),
            propagation_p99_us: quantile(&mut self.after_ack, 0.99),
            before_ack_percent: self.early as f64 * 100.0 / sightings as f64,
            whole_p50_us: quantile(&mut self.whole, 0.5),
            whole_p99_us: quantile(&mut self.whole, 0.99),
            ..self.updates
        }
    }
}

/// From one moment to another, in microseconds; 0 if the other was first.
fn micros(from: u64, to: u64) -> f64 {
    to.saturating_sub(from) as f64 / 1e3
}

#[cfg(test)]
mod tests {
    use super::*;
    use hotread_proto::Value;

    #[test]
    fn an_update_is_visible_with_the_first_state_that_contains_it() {
        let ack = |seq, sent, acked| Ack {
            key: 0,
            value: Value::parse(b"1").unwrap(),
            seq,
            sent,
            acked,
        };
        // Answers need not come in the order of the transactions.
        let acks = [ack(2, 0, 4_000), ack(1, 0, 2_000), ack(3, 1_000, 5_000)];
        let mut figures = Figures::new(&acks);
        assert_eq!(figures.add(&acks, &[(1, 3_000), (3, 9_000)]), 3);
        assert_eq!(figures.after_ack, [5.0, 1.0, 4.0]);
        assert_eq!(figures.whole, [9.0, 3.0, 8.0]);
        // The other worker saw all but the last, before the answers.
        assert_eq!(figures.add(&acks, &[(2, 1_500)]), 2);
        let updates = figures.finish();
        assert_eq!(updates.committed, 3);
        assert_eq!(updates.before_ack_percent, 40.0);
        assert_eq!(updates.propagation_p50_us, 1.0);
        assert_eq!(updates.commit_p99_us, 4.0);
    }
}
