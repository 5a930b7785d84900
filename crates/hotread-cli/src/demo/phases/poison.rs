//! A value that the workers' type refuses: they keep their state, the server shows which worker refused
//! which value, and the next good value fixes it.

use super::Stage;
use crate::demo::WAIT;
use crate::demo::protocol::{Ask, Entries, Entry, State};
use crate::demo::verdict::{Poison, WorkerFacts};
use anyhow::{Result, bail};
use serde_json::Value;
use std::time::Duration;
use tokio::time::{Instant, sleep};

const ABOUT: &str = "\
    A program writes a value that is JSON, but does not fit the workers' type. One bad write must \
    not take a whole fleet down: the workers refuse it, keep their last good state, and say so. (A table \
    with a JSON Schema would not have let it in; this one has none.)";
/// Index of the record that is poisoned.
const VICTIM: usize = 0;
/// Index of a record that is changed afterwards, if there is one.
const NEXT: usize = 1;
/// Interval between two questions to the server.
const EVERY: Duration = Duration::from_millis(20);

pub(in crate::demo) async fn poison(stage: &mut Stage<'_>) -> Result<()> {
    let (display, fleet, writer) = (&mut stage.display, &mut stage.fleet, &stage.writer);
    let (keys, poison) = (&writer.records.keys, &writer.records.poison);
    let (key, good) = (keys[VICTIM].as_str(), writer.current(VICTIM));
    display.part("4  A bad value", ABOUT)?;
    display.command(&format!(
        "hotread set {} {key} '{}'",
        writer.table,
        poison.as_str()
    ))?;
    display.doing("writing a bad value");
    let bad = writer.write(VICTIM, poison.clone()).await?;
    fleet
        .until("refuse the bad value", |now| {
            now.state == State::Rejected(bad.seq)
        })
        .await?;
    // Waits until the server shows, for each worker, that it refused the value and why.
    let until = Instant::now() + WAIT;
    let mut reason = String::new();
    loop {
        let sessions = writer.client.status().await?.sessions;
        for facts in fleet.facts() {
            let session = sessions.iter().find(|it| it.name == facts.name);
            let nack = session.and_then(|session| session.last_nack.as_ref());
            let nack = nack.filter(|nack| nack.key.as_str() == key && nack.seq == bad.seq);
            facts.nack_shown = nack.is_some();
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
    // A later change waits behind the bad value: readers see no state that the table never had.
    let behind = match keys.len() > NEXT {
        true => Some(writer.rewrite(NEXT).await?),
        false => None,
    };
    let keys = keys
        .iter()
        .take(NEXT + 1)
        .map(ToString::to_string)
        .collect();
    let values = Ask::Values { keys };
    let kept: Vec<Entries> = fleet.ask(&values).await?;

    display.doing("writing a good value");
    let fix = writer.write(VICTIM, good.clone()).await?;
    fleet
        .until_live("be live again after the fix", fix.seq)
        .await?;
    let fixed: Vec<Entries> = fleet.ask(&values).await?;

    let good: Value = good.to()?;
    // With the number of the bad value, it would be the bad value.
    let is_good = |(seq, value): &Entry| *seq < bad.seq && *value == good;
    let passed = |entries: &Entries| {
        let next = entries.get(NEXT).and_then(Option::as_ref);
        behind.as_ref().map(|ack| ack.left(next))
    };
    for ((facts, kept), fixed) in fleet.facts().zip(&kept).zip(&fixed) {
        let is_good = kept[VICTIM].as_ref().is_some_and(is_good);
        facts.kept_good = is_good && passed(kept) != Some(true);
        facts.fix_seen = fix.left(fixed[VICTIM].as_ref()) && passed(fixed) != Some(false);
    }
    let number = fleet.workers.len();
    let mut those = |so: fn(&&mut WorkerFacts) -> bool| {
        let those = fleet.facts().filter(so);
        those.map(|facts| facts.name.clone()).collect::<Vec<_>>()
    };
    let refused = those(|w| w.nack_shown).join(", ");
    let shown = format!("{key} refused by {refused}: {reason}");
    let of = |workers: Vec<_>| format!("{} of {number} workers", workers.len());
    let (kept, fixed) = (of(those(|w| w.kept_good)), of(those(|w| w.fix_seen)));
    display.done();
    display.value("the server shows", &shown)?;
    display.value("kept the last good state", &kept)?;
    display.value("live again after the fix", &fixed)?;
    let (key, value) = (key.to_owned(), poison.as_str().to_owned());
    stage.facts.poison = Poison { key, value, reason };
    Ok(())
}
