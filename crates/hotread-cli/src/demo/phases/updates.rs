//! Updates at a steady pace: the time until they are on disk, and until workers see them.

use super::Stage;
use crate::demo::display::{span, whole};
use crate::demo::protocol::{Ask, Sighting, now};
use crate::demo::verdict::Updates;
use crate::demo::writer::{Ack, number};
use crate::output::grouped;
use anyhow::{Context, Result};

/// Updates begun per second: far below the server's limit, so that the latency of one update is
/// measured, not a queue.
const PACE: u32 = 500;

pub(in crate::demo) async fn updates(stage: &mut Stage<'_>) -> Result<()> {
    let (display, fleet) = (&mut stage.display, &mut stage.fleet);
    let about = format!(
        "No worker polls: records are rewritten over HTTP, {PACE} a second; each is on disk (fsync) \
         before it is acknowledged, and pushed to the workers. All processes read the same clock."
    );
    display.part("3  Changing records while they are read", &about)?;
    display.doing("changing records");
    let began = now();
    let load = stage.writer.start(PACE, usize::MAX);
    fleet.watch(stage.time).await?;
    stage.writer.stop(load).await?;
    let acks = stage.writer.acks(began);
    let last = acks.iter().map(|ack| ack.seq).max();
    let last = last.context("no update was begun in this time; give more --seconds")?;
    fleet
        .until("see the last update", |now| now.seq >= last)
        .await?;
    let seen: Vec<Vec<_>> = fleet.ask(&Ask::Seen).await?;
    for (facts, seen) in fleet.facts().zip(&seen) {
        facts.updates_seen = number(&acks, |ack| sighting(ack, seen).is_some());
    }
    stage.facts.updates = figures(&acks, &seen);
    let figures = &stage.facts.updates;
    display.done();
    let pair = |p50: f64, p99: f64| {
        let (p50, p99) = (span(p50 / 1e6), span(p99 / 1e6));
        format!("p50 {p50:>8}   p99 {p99:>8}")
    };
    let (committed, per_s) = (grouped(figures.committed), whole(figures.per_s));
    let commit = pair(figures.commit_p50_us, figures.commit_p99_us);
    let propagation = pair(figures.propagation_p50_us, figures.propagation_p99_us);
    let whole = pair(figures.whole_p50_us, figures.whole_p99_us);
    display.value(
        "updates, on disk",
        &format!("{committed} at {per_s} a second"),
    )?;
    display.value("sent to acknowledged", &commit)?;
    display.value("acknowledged to visible", &propagation)?;
    display.value("sent to visible", &whole)?;
    display.prose(&format!(
        "Visible: a reader in a worker process saw it. {:.0} % were seen there before the writer had \
         its answer, which counts as 0.",
        figures.before_ack_percent
    ))
}

/// Returns the time when a worker saw the first state that contains a write.
fn sighting(ack: &Ack, seen: &[Sighting]) -> Option<f64> {
    let at = seen.partition_point(|(seq, _)| *seq < ack.seq);
    seen.get(at).map(|(_, at)| *at)
}

/// Computes the figures of these writes from the sightings of each worker.
fn figures(acks: &[Ack], seen: &[Vec<Sighting>]) -> Updates {
    let mut sightings = Vec::new();
    for seen in seen {
        sightings.extend(
            acks.iter()
                .filter_map(|ack| Some((ack, sighting(ack, seen)?))),
        );
    }
    let early = sightings.iter().filter(|(ack, at)| *at < ack.acked).count();
    let first = acks.iter().map(|ack| ack.sent).reduce(f64::min);
    let last = acks.iter().map(|ack| ack.acked).reduce(f64::max);
    let took = last.zip(first).map_or(0.0, |(last, first)| last - first);
    let commit = sorted_us(acks.iter().map(|ack| ack.acked - ack.sent));
    let propagation = sorted_us(sightings.iter().map(|(ack, at)| at - ack.acked));
    let whole = sorted_us(sightings.iter().map(|(ack, at)| at - ack.sent));
    Updates {
        committed: acks.len() as u64,
        per_s: acks.len() as f64 / took,
        commit_p50_us: quantile(&commit, 0.5),
        commit_p99_us: quantile(&commit, 0.99),
        propagation_p50_us: quantile(&propagation, 0.5),
        propagation_p99_us: quantile(&propagation, 0.99),
        before_ack_percent: early as f64 * 100.0 / sightings.len().max(1) as f64,
        whole_p50_us: quantile(&whole, 0.5),
        whole_p99_us: quantile(&whole, 0.99),
    }
}

/// Returns seconds as sorted microseconds. A negative time counts as 0.
fn sorted_us(seconds: impl Iterator<Item = f64>) -> Vec<f64> {
    let mut micros: Vec<_> = seconds.map(|seconds| seconds.max(0.0) * 1e6).collect();
    micros.sort_unstable_by(f64::total_cmp);
    micros
}

/// Returns the quantile `share`, by the nearest rank.
fn quantile(sorted: &[f64], share: f64) -> f64 {
    let rank = (sorted.len() as f64 * share).ceil() as usize;
    sorted.get(rank.saturating_sub(1)).copied().unwrap_or(0.0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use hotread_proto::Value;

    #[test]
    fn an_update_is_visible_with_the_first_state_that_contains_it() {
        let ack = |seq, sent, acked| {
            let (key, value) = (0, Value::parse(b"1").unwrap());
            Ack {
                key,
                value,
                seq,
                sent,
                acked,
            }
        };
        // Answers need not arrive in the order of the transactions.
        let acks = [ack(2, 0.0, 4.0), ack(1, 0.0, 2.0), ack(3, 1.0, 5.0)];
        let seen = [vec![(1, 3.0), (3, 9.0)], vec![(2, 1.5)]];
        let when = |seen: &[Sighting]| {
            acks.iter()
                .filter_map(|ack| sighting(ack, seen))
                .collect::<Vec<_>>()
        };
        assert_eq!(when(&seen[0]), [9.0, 3.0, 9.0]);
        assert_eq!(when(&seen[1]), [1.5, 1.5], "all but the last");
        let updates = figures(&acks, &seen);
        assert_eq!((updates.committed, updates.per_s), (3, 0.6));
        // Quantiles of 5, 1, 4, 0, 0; then of 9, 3, 8, 1.5, 1.5; and of 4, 2, 4 seconds.
        assert_eq!(
            (updates.propagation_p50_us, updates.propagation_p99_us),
            (1e6, 5e6)
        );
        assert_eq!((updates.whole_p50_us, updates.whole_p99_us), (3e6, 9e6));
        assert_eq!(updates.commit_p99_us, 4e6);
        assert_eq!(updates.before_ack_percent, 40.0);
    }

    #[test]
    fn quantiles_are_of_the_nearest_rank() {
        let values: Vec<f64> = (1..=100).map(f64::from).collect();
        assert_eq!(quantile(&values, 0.5), 50.0);
        assert_eq!(quantile(&values, 0.99), 99.0);
        assert_eq!(quantile(&values, 1.0), 100.0);
        assert_eq!(quantile(&[7.0], 0.5), 7.0);
        assert_eq!(quantile(&[], 0.5), 0.0);
    }
}
