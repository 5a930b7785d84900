//! A value that the workers' type refuses: they keep what they have, the server shows who refused
//! what, and the next good value puts it right.

use super::Stage;
use crate::demo::WAIT;
use crate::demo::fleet::Worker;
use crate::demo::protocol::{Ask, Entries, State};
use crate::demo::verdict::{Poison, WorkerFacts};
use anyhow::{Result, bail};
use hotread_proto::http::SessionStatus;
use serde_json::Value;
use std::time::Duration;
use tokio::time::{Instant, sleep};

/// The record that is poisoned, as a place in the list of them, …
const VICTIM: usize = 0;
/// … and another one that is changed after it, if there is one.
const NEXT: usize = 1;
/// Time between two questions to the server.
const EVERY: Duration = Duration::from_millis(20);

pub(in crate::demo) async fn poison(stage: &mut Stage<'_>) -> Result<()> {
    let Stage {
        display,
        fleet,
        writer,
        facts,
        ..
    } = stage;
    let (records, poison) = (&writer.records, &writer.records.poison);
    let (key, good) = (records.keys[VICTIM].as_str(), writer.current(VICTIM));
    display.heading("4  A bad value")?;
    display.prose(
        "Somebody writes a value that is JSON, but not what the workers' type can hold. One bad write \
         must not take a whole fleet down: the workers refuse it, keep their last good state, and \
         say so. (A table with a JSON Schema would not have let it in; this one has none.)",
    )?;
    display.command(&format!(
        "hotread set {} {key} '{}'",
        writer.table,
        poison.as_str()
    ))?;
    display.doing("writing a bad value");
    let bad = writer.write(VICTIM, poison.clone()).await?;
    let refused = State::Rejected(bad.seq);
    fleet
        .until("refuse the bad value", |worker| {
            worker.is(|now| now.state == refused)
        })
        .await?;
    // Waits until the server shows for each worker that it refused the value, and why.
    let until = Instant::now() + WAIT;
    let mut reason = String::new();
    loop {
        let sessions = writer.client.status().await?.sessions;
        for WorkerFacts {
            name, nack_shown, ..
        } in fleet.facts()
        {
            let refuses = |session: &&SessionStatus| session.name == *name;
            let nack = sessions
                .iter()
                .find(refuses)
                .and_then(|it| it.last_nack.as_ref());
            let nack = nack.filter(|nack| nack.key.as_str() == key && nack.seq == bad.seq);
            *nack_shown = nack.is_some();
            reason = nack.map_or(reason, |nack| nack.reason.clone());
        }
        if fleet.facts().all(|facts| facts.nack_shown) {
            break;
        }
        if Instant::now() > until {
            bail!(
                "waited {WAIT:?} for the server to show that all refused the value: {sessions:?}"
            );
        }
        sleep(EVERY).await;
    }
    // What is changed behind it waits for it: readers see no state that the table never had.
    let behind = match records.keys.len() > NEXT {
        true => Some(writer.rewrite(NEXT).await?),
        false => None,
    };
    let keys = records.keys.iter().take(NEXT + 1).map(ToString::to_string);
    let values = Ask::Values {
        keys: keys.collect(),
    };
    let kept: Vec<Entries> = fleet.ask(&values).await?;

    display.doing("writing a good value");
    let fix = writer.write(VICTIM, good.clone()).await?;
    let live = |worker: &Worker| worker.is(|now| now.state == State::Live && now.seq >= fix.seq);
    fleet.until("be live again after the fix", live).await?;
    let fixed: Vec<Entries> = fleet.ask(&values).await?;

    let good: Value = good.to()?;
    let passed = |entries: &Entries| {
        behind
            .as_ref()
            .map(|ack| ack.left(entries.get(NEXT).and_then(Option::as_ref)))
    };
    for ((facts, kept), fixed) in fleet.facts().zip(&kept).zip(&fixed) {
        // At the bad value's number it would be the bad value.
        let is_good = kept[VICTIM]
            .as_ref()
            .is_some_and(|(seq, value)| *seq < bad.seq && *value == good);
        facts.kept_good = is_good && passed(kept) != Some(true);
        facts.mended = fix.left(fixed[VICTIM].as_ref()) && passed(fixed) != Some(false);
    }
    let number = fleet.workers.len();
    let mut those = |so: fn(&WorkerFacts) -> bool| {
        let those = fleet
            .facts()
            .filter(|facts| so(facts))
            .map(|facts| facts.name.clone());
        those.collect::<Vec<_>>()
    };
    let (refused, kept) = (
        those(|w| w.nack_shown).join(", "),
        those(|w| w.kept_good).len(),
    );
    let fixed = those(|w| w.mended).len();
    display.done();
    display.values(&[
        (
            "the server shows",
            format!("{key} refused by {refused}: {reason}"),
        ),
        (
            "kept the last good state",
            format!("{kept} of {number} workers"),
        ),
        (
            "live again after the fix",
            format!("{fixed} of {number} workers"),
        ),
    ])?;
    let (key, value) = (key.to_owned(), poison.as_str().to_owned());
    facts.poison = Poison { key, value, reason };
    Ok(())
}
