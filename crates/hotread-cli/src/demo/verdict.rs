//! Facts that the demo has gathered, and the claims about them. Nothing is measured here: each claim is
//! a function of figures, so that a test can give it wrong ones.

use crate::output::{count, grouped};
use serde::Serialize;

/// Facts that the demo has gathered. Names end with the unit of a time.
#[derive(Default, Serialize)]
pub(super) struct Facts {
    pub(super) records: u64,
    pub(super) workers: Vec<WorkerFacts>,
    pub(super) updates: Updates,
    pub(super) poison: Poison,
    pub(super) outage: Outage,
    pub(super) writes: Writes,
}

/// Facts about one worker.
#[derive(Default, Serialize)]
pub(super) struct WorkerFacts {
    pub(super) name: String,
    /// Records of the first complete state.
    pub(super) loaded_records: u64,
    /// Time until the first complete state.
    pub(super) load_ms: f64,
    /// Reads of the replica per second, without pauses.
    pub(super) reads_per_s: f64,
    pub(super) ns_per_read: f64,
    pub(super) http_reads_per_s: f64,
    pub(super) ns_per_http_read: f64,
    /// Number of reads of the replica that take as long as one over HTTP.
    pub(super) factor: f64,
    /// Updates of the paced phase that its reader saw.
    pub(super) updates_seen: u64,
    /// `true` if the server showed that the worker refused the poison, and why.
    pub(super) nack_shown: bool,
    /// `true` if the worker kept the last good value in the meantime.
    pub(super) kept_good: bool,
    /// `true` if the worker had the right value afterwards.
    pub(super) fix_seen: bool,
    /// Reads per second before the outage, by a reader that pauses.
    pub(super) paced_reads_per_s_before: f64,
    /// Reads per second during the outage, by the same reader.
    pub(super) paced_reads_per_s_during: f64,
    /// `true` if the worker reported that it was stale.
    pub(super) said_stale: bool,
    /// Greatest age of the content, by that report.
    pub(super) age_ms: f64,
    /// Time of that report since the server was killed.
    pub(super) outage_ms: f64,
    /// Number of reports that claimed a fresher state than was possible.
    pub(super) claimed_fresher: u64,
    /// Time from the server's return until the worker was live again.
    pub(super) back_ms: f64,
    pub(super) resumed: bool,
    /// Look-ups in all phases that found nothing.
    pub(super) misses: u64,
    /// Acknowledged writes that are present in the worker at the end.
    pub(super) present: u64,
}

/// Facts about the paced phase.
#[derive(Default, Serialize)]
pub(super) struct Updates {
    pub(super) committed: u64,
    pub(super) per_s: f64,
    /// Time from sending a write until its acknowledgement.
    pub(super) commit_p50_us: f64,
    pub(super) commit_p99_us: f64,
    /// Time from the acknowledgement until a worker's reader sees the write; 0 if the reader saw it
    /// before.
    pub(super) propagation_p50_us: f64,
    pub(super) propagation_p99_us: f64,
    /// Share of sightings before the acknowledgement, in percent.
    pub(super) before_ack_percent: f64,
    /// Time from sending a write until a worker's reader sees it.
    pub(super) whole_p50_us: f64,
    pub(super) whole_p99_us: f64,
}

/// Facts about the poison.
#[derive(Default, Serialize)]
pub(super) struct Poison {
    pub(super) key: String,
    pub(super) value: String,
    pub(super) reason: String,
}

/// Facts about the outage.
#[derive(Default, Serialize)]
pub(super) struct Outage {
    /// Writes that were acknowledged under load before the server was killed.
    pub(super) writes_before: u64,
    /// Writes that began before the server was back, and were acknowledged after that.
    pub(super) writes_across: u64,
    /// Snapshots that the server sent after its return, from its metrics.
    pub(super) snapshots: u64,
}

/// Facts about the writes of all phases.
#[derive(Default, Serialize)]
pub(super) struct Writes {
    pub(super) acknowledged: u64,
    /// Acknowledged writes that are present in the server at the end.
    pub(super) present: u64,
    /// Transactions of the table, by the table's own count.
    pub(super) transactions: u64,
}

/// A claim, with its verdict.
#[derive(Debug, Serialize)]
pub(super) struct Check {
    pub(super) claim: &'static str,
    pub(super) ok: bool,
    /// The claim with its figures.
    pub(super) text: String,
}

impl Facts {
    /// Judges all claims.
    pub(super) fn judge(&self) -> Vec<Check> {
        let (workers, updates, outage) = (&self.workers, &self.updates, &self.outage);
        let number = workers.len();
        let those = |so: fn(&&WorkerFacts) -> bool| workers.iter().filter(so).count();
        let all = |so| number > 0 && those(so) == number;
        let least = |figure: fn(&WorkerFacts) -> u64| workers.iter().map(figure).min().unwrap_or(0);
        let of = |some, all| format!("{} of {}", grouped(some), grouped(all));

        let (acknowledged, present) = (self.writes.acknowledged, self.writes.present);
        let in_each = count(number as u64, "worker", "workers");
        let records = count(self.records, "record", "records");
        let misses: u64 = workers.iter().map(|w| w.misses).sum();
        let (seen, replicated) = (least(|w| w.updates_seen), least(|w| w.present));
        let (refused, kept) = (those(|w| w.nack_shown), those(|w| w.kept_good));
        let (fixed, resumed) = (those(|w| w.fix_seen), those(|w| w.resumed));
        let writes = count(acknowledged, "write", "writes");
        let done = count(self.writes.transactions, "transaction", "transactions");
        let checks = [
            (
                "loaded",
                self.records > 0 && workers.iter().all(|w| w.loaded_records == self.records),
                format!("{records} in each of {in_each}"),
            ),
            (
                "read",
                misses == 0 && all(|w| w.reads_per_s > 0.0 && w.http_reads_per_s > 0.0),
                format!("{misses} look-ups found nothing, in all phases"),
            ),
            (
                "propagated",
                updates.committed > 0 && seen == updates.committed,
                of(seen, updates.committed) + " paced updates seen by every worker",
            ),
            (
                "poison",
                all(|w| w.nack_shown && w.kept_good && w.fix_seen),
                format!(
                    "poison: refused by {refused} of {number}, last good value kept by {kept}, fix \
                     seen by {fixed}"
                ),
            ),
            (
                "durable",
                acknowledged > 0 && present == acknowledged && outage.writes_before > 0,
                format!(
                    "{writes} acknowledged, {} present in the server after kill -9",
                    grouped(present)
                ),
            ),
            (
                "once",
                self.writes.transactions == acknowledged,
                format!("{done} for them: each was done once, however often it was sent"),
            ),
            (
                "readable",
                all(|w| w.paced_reads_per_s_during > 0.0),
                "reads went on in every worker while the server was away".to_owned(),
            ),
            (
                "honest",
                all(|w| w.said_stale && w.outage_ms > 0.0 && w.claimed_fresher == 0),
                "every worker said that it was stale, and none claimed to be fresher than it was"
                    .to_owned(),
            ),
            (
                "resumed",
                outage.snapshots == 0 && all(|w| w.resumed),
                format!("{resumed} of {in_each} resumed, {} sent", self.snapshots()),
            ),
            (
                "replicated",
                acknowledged > 0 && replicated == acknowledged,
                of(replicated, acknowledged) + " acknowledged writes present in every worker",
            ),
        ];
        let check = |(claim, ok, text)| Check { claim, ok, text };
        checks.into_iter().map(check).collect()
    }

    fn snapshots(&self) -> String {
        count(self.outage.snapshots, "snapshot", "snapshots")
    }

    /// Returns the verdict in one sentence.
    pub(super) fn sentence(&self, checks: &[Check]) -> String {
        let failed = checks.iter().filter(|check| !check.ok).count() as u64;
        if failed > 0 {
            let claims = count(failed, "claim is", "claims are");
            return format!("{claims} false. This is a bug in HotRead, or in this demo.");
        }
        format!(
            "{} acknowledged, {} present after kill -9; resumed, {}; poison refused and fixed; \
             nothing lost, nothing done twice.",
            grouped(self.writes.acknowledged),
            grouped(self.writes.present),
            self.snapshots()
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn good() -> Facts {
        let worker = |name: &str| WorkerFacts {
            name: name.to_owned(),
            loaded_records: 5,
            reads_per_s: 1.0,
            http_reads_per_s: 1.0,
            updates_seen: 10,
            nack_shown: true,
            kept_good: true,
            fix_seen: true,
            paced_reads_per_s_during: 1.0,
            said_stale: true,
            age_ms: 1_000.0,
            outage_ms: 1_000.0,
            resumed: true,
            present: 20,
            ..WorkerFacts::default()
        };
        let mut facts = Facts {
            records: 5,
            workers: vec![worker("worker-1"), worker("worker-2")],
            ..Facts::default()
        };
        facts.updates.committed = 10;
        facts.outage.writes_before = 3;
        let writes = &mut facts.writes;
        (writes.acknowledged, writes.present, writes.transactions) = (20, 20, 20);
        facts
    }

    #[test]
    fn good_figures_pass() {
        let checks = good().judge();
        assert!(checks.iter().all(|check| check.ok), "{checks:?}");
        let sentence = good().sentence(&checks);
        let words = "20 acknowledged, 20 present after kill -9; resumed, 0 snapshots";
        assert!(sentence.starts_with(words), "{sentence}");
    }

    #[test]
    fn every_claim_fails_by_what_makes_it_false_and_by_nothing_else() {
        type Plant = fn(&mut Facts);
        let plants: [(&str, Plant); 21] = [
            ("loaded", |f| f.workers[1].loaded_records = 4),
            ("loaded", |f| {
                f.records = 0;
                f.workers.iter_mut().for_each(|w| w.loaded_records = 0);
            }),
            ("read", |f| f.workers[0].misses = 1),
            ("read", |f| f.workers[1].reads_per_s = 0.0),
            ("read", |f| f.workers[1].http_reads_per_s = 0.0),
            ("propagated", |f| f.workers[1].updates_seen = 9),
            ("propagated", |f| {
                f.updates.committed = 0;
                f.workers.iter_mut().for_each(|w| w.updates_seen = 0);
            }),
            ("poison", |f| f.workers[1].nack_shown = false),
            ("poison", |f| f.workers[0].kept_good = false),
            ("poison", |f| f.workers[1].fix_seen = false),
            ("durable", |f| f.writes.present = 19),
            ("durable", |f| f.outage.writes_before = 0),
            ("once", |f| f.writes.transactions = 21),
            ("once", |f| f.writes.transactions = 19),
            ("readable", |f| f.workers[1].paced_reads_per_s_during = 0.0),
            ("honest", |f| f.workers[0].said_stale = false),
            ("honest", |f| f.workers[1].claimed_fresher = 1),
            ("honest", |f| f.workers[1].outage_ms = 0.0),
            ("resumed", |f| f.outage.snapshots = 1),
            ("resumed", |f| f.workers[1].resumed = false),
            ("replicated", |f| f.workers[1].present = 19),
        ];
        for (at, (claim, plant)) in plants.into_iter().enumerate() {
            let mut facts = good();
            plant(&mut facts);
            let checks = facts.judge();
            let failed = checks.iter().filter(|check| !check.ok);
            let failed: Vec<_> = failed.map(|check| check.claim).collect();
            assert_eq!(failed, [claim], "plant {at}: {checks:?}");
            assert!(facts.sentence(&checks).contains("false"));
        }
        let mut empty = good();
        empty.workers.clear();
        assert!(empty.judge().iter().filter(|check| !check.ok).count() > 4);
        for Check { claim, .. } in good().judge() {
            let planted = plants.iter().any(|(planted, _)| *planted == claim);
            assert!(planted, "{claim}");
        }
    }
}
