//! A value that the workers' type refuses: they keep what they have, the server shows who refused
//! what, and the next good value mends it.

use super::Stage;
use crate::demo::WAIT;
use crate::demo::fleet::odd;
use crate::demo::protocol::{Ask, Said, State};
use crate::demo::verdict::{Poison, WorkerFacts};
use crate::demo::writers::Ack;
use anyhow::{Context, Result, bail};
use serde_json::Value;
use std::time::Duration;
use tokio::time::Instant;

/// The record that is poisoned, as a place in the list of them, …
const VICTIM: usize = 0;
/// … and another one that is changed after it, if there is one.
const NEXT: usize = 1;
/// How often the server is asked.
const EVERY: Duration = Duration::from_millis(20);

pub(in crate::demo) async fn poison(stage: &mut Stage<'_>) -> Result<()> {
    let records = stage.writers.records();
    let (key, poison) = (records.keys[VICTIM].to_string(), records.poison.clone());
    let good = stage.writers.current(VICTIM);
    stage.display.heading("4  A bad value")?;
    stage.display.prose(
        "Somebody writes a value that is JSON, but not what the workers' type can hold. One bad write \
         must not take a whole fleet down: the workers refuse it, keep their last good state, and \
         say so. (A table with a JSON Schema would not have let it in; this one has none.)",
    )?;
    stage.display.command(&format!(
        "hotread set {} {key} '{}'",
        stage.source.table,
        poison.as_str()
    ))?;
    stage.display.doing("writing a bad value");
    let bad = stage.writers.write(VICTIM, poison.clone()).await?;
    stage
        .fleet
        .until("refuse the bad value", |worker| {
            let state = worker.now().map(|now| &now.state);
            matches!(state, Some(State::Rejected { seq, .. }) if *seq == bad.seq)
        })
        .await?;
    let shown = shown(stage, &key, bad.seq).await?;
    // What is changed behind it waits for it: readers see no state that the table never had.
    let behind = behind(stage).await?;
    let kept = have(stage, &key, &good.to()?).await?;
    let early = sees(stage, behind.as_ref()).await?;

    stage.display.doing("writing a good value");
    let fix = stage.writers.write(VICTIM, good.clone()).await?;
    stage
        .fleet
        .until("be live again after the fix", |worker| {
            let now = worker.now();
            now.is_some_and(|now| now.state == State::Live && now.seq >= fix.seq)
        })
        .await?;
    let mended = have(stage, &key, &good.to()?).await?;
    let late = sees(stage, behind.as_ref()).await?;

    for (at, worker) in stage.facts.workers.iter_mut().enumerate() {
        worker.nack_shown = shown[at].is_some();
        // At the bad value's number it would be the bad value.
        worker.kept_good = kept[at].is_some_and(|seq| seq < bad.seq) && early[at] != Some(true);
        worker.mended = mended[at] == Some(fix.seq) && late[at] != Some(false);
    }
    let who: Vec<_> = stage.fleet.workers.iter().zip(&shown).collect();
    let who = who.iter().filter(|(_, reason)| reason.is_some());
    let who: Vec<_> = who.map(|(worker, _)| worker.name.as_str()).collect();
    let reason = shown.iter().flatten().next().cloned().unwrap_or_default();
    let count = |so: fn(&WorkerFacts) -> bool| {
        let workers = &stage.facts.workers;
        let those = workers.iter().filter(|worker| so(worker)).count();
        format!("{those} of {} workers", workers.len())
    };
    let rows = [
        (
            "the server shows",
            format!("{key} refused by {}: {reason}", who.join(", ")),
        ),
        ("kept the last good state", count(|w| w.kept_good)),
        ("live again after the fix", count(|w| w.mended)),
    ];
    stage.display.done();
    for (label, value) in rows {
        stage.display.row(label, &value)?;
    }
    stage.facts.poison = Poison {
        key,
        value: poison.as_str().to_owned(),
        reason,
    };
    Ok(())
}

/// Waits until the server shows for each worker that it refused the value, and why.
async fn shown(stage: &Stage<'_>, key: &str, seq: u64) -> Result<Vec<Option<String>>> {
    let until = Instant::now() + WAIT;
    loop {
        let status = stage.client.status().await?;
        let reasons = stage.fleet.workers.iter().map(|worker| {
            let mut sessions = status.sessions.iter();
            let session = sessions.find(|session| session.name == worker.name)?;
            let nack = session.last_nack.as_ref()?;
            let about = nack.key.as_str() == key && nack.seq == seq;
            about.then(|| nack.reason.clone())
        });
        let reasons: Vec<_> = reasons.collect();
        if reasons.iter().all(Option::is_some) {
            return Ok(reasons);
        }
        if Instant::now() >= until {
            bail!(
                "waited {} s for the server to show that all workers refused the bad value: {:?}",
                WAIT.as_secs(),
                status.sessions
            );
        }
        tokio::time::sleep(EVERY).await;
    }
}

/// For each worker: the transaction by which readers see this value under the key, if they do.
async fn have(stage: &mut Stage<'_>, key: &str, value: &Value) -> Result<Vec<Option<u64>>> {
    let keys = vec![key.to_owned()];
    let said = stage.fleet.ask(&Ask::Values { keys }, WAIT).await?;
    let seqs = said.into_iter().map(|said| match said {
        Said::Values { entries } => {
            let entry = entries.into_iter().next().context("an answer is missing")?;
            Ok(entry
                .filter(|entry| entry.value == *value)
                .map(|entry| entry.seq))
        }
        said => Err(odd(&said)),
    });
    seqs.collect()
}

/// Changes another record, if there is one.
async fn behind(stage: &Stage<'_>) -> Result<Option<Ack>> {
    if stage.writers.records().keys.len() <= NEXT {
        return Ok(None);
    }
    stage.writers.rewrite(NEXT).await.map(Some)
}

/// For each worker: do its readers see this write?
async fn sees(stage: &mut Stage<'_>, ack: Option<&Ack>) -> Result<Vec<Option<bool>>> {
    let Some(ack) = ack else {
        return Ok(vec![None; stage.fleet.workers.len()]);
    };
    let key = stage.writers.records().keys[ack.key].to_string();
    let seqs = have(stage, &key, &ack.value.to()?).await?;
    let sees = |seq: Option<u64>| Some(seq == Some(ack.seq));
    Ok(seqs.into_iter().map(sees).collect())
}
