//! The parts of the demo, and the state that they share.

mod outage;
mod poison;
mod updates;

pub(super) use outage::outage;
pub(super) use poison::poison;
pub(super) use updates::updates;

use super::dataset::all;
use super::display::{Display, span, whole};
use super::fleet::Fleet;
use super::process::Server;
use super::protocol::{Ask, Entries, Entry, Rate};
use super::verdict::{Facts, Writes};
use super::writer::{Ack, Writer, number};
use anyhow::Result;
use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;
use std::time::Duration;
use tempfile::TempDir;

/// Introduction to the reads.
const ABOUT: &str = "\
    What a service looks up on every request (a flag, a route, a limit) must cost next to nothing. Each \
    worker looks up real keys in a loop: in its replica, where that is one load, one compare and a \
    look-up in a map; then, for contrast, with the client's `get`: over HTTP, one by one, on a \
    connection that is kept open.";
const DEBUG: &str = "\
    This is a build for debugging: a release build reads many times as fast (cargo run --release -- \
    demo).";
/// Keys in one question to a worker.
const KEYS: usize = 500;

/// State of the demo. The processes end before the folder is removed.
pub(super) struct Stage<'a> {
    pub(super) display: Display<'a>,
    /// Time for which each part is measured.
    pub(super) time: Duration,
    pub(super) writer: Arc<Writer>,
    pub(super) facts: Facts,
    pub(super) fleet: Fleet,
    pub(super) server: Server,
    pub(super) dir: TempDir,
}

impl<'a> Stage<'a> {
    /// Ends the processes, and removes the folder.
    pub(super) fn end(self) -> (Display<'a>, Facts) {
        (self.display, self.facts)
    }
}

/// Measures reads without pauses: of the replicas, and over HTTP.
pub(super) async fn reads(stage: &mut Stage<'_>) -> Result<()> {
    let (display, fleet) = (&mut stage.display, &mut stage.fleet);
    display.part("2  Reading, flat out", ABOUT)?;
    let seconds = stage.time.as_secs_f64();
    display.doing("reading replicas");
    let local: Vec<Rate> = fleet.ask(&Ask::Read { seconds }).await?;
    display.doing("reading over HTTP");
    let http: Vec<Rate> = fleet.ask(&Ask::Http { seconds }).await?;
    display.done();
    let heading = ["", "reads/s", "a read", "over HTTP/s", "a read", "factor"];
    let mut rows = vec![heading.map(str::to_owned)];
    for ((facts, local), http) in fleet.facts().zip(local).zip(http) {
        (facts.reads_per_s, facts.http_reads_per_s) = (local.0, http.0);
        facts.ns_per_read = 1e9 / facts.reads_per_s;
        facts.ns_per_http_read = 1e9 / facts.http_reads_per_s;
        facts.factor = facts.reads_per_s / facts.http_reads_per_s;
        facts.misses += local.1 + http.1;
        rows.push([
            facts.name.clone(),
            whole(facts.reads_per_s),
            span(facts.ns_per_read / 1e9),
            whole(facts.http_reads_per_s),
            span(facts.ns_per_http_read / 1e9),
            format!("{} x", whole(facts.factor)),
        ]);
    }
    display.table(&rows)?;
    match cfg!(debug_assertions) {
        true => display.prose(DEBUG),
        false => Ok(()),
    }
}

/// Reads everything back: each acknowledged write must be in the server and in every worker.
pub(super) async fn proof(stage: &mut Stage<'_>) -> Result<()> {
    let (display, fleet) = (&mut stage.display, &mut stage.fleet);
    display.heading("6  Verdict")?;
    display.doing("reading everything back");
    let (writer, acks) = (&stage.writer, stage.writer.acks(0.0));
    let key = |ack: &Ack| writer.records.keys[ack.key].to_string();
    let count =
        |found: &HashMap<String, Entry>| number(&acks, |ack| ack.is_in(found.get(&key(ack))));
    let mut stored = HashMap::new();
    for record in all(&writer.client, writer.table).await? {
        stored.insert(record.key().to_owned(), (record.seq(), record.value_as()?));
    }
    let info = writer.client.table_info(writer.table).await?;
    let keys: Vec<_> = BTreeSet::from_iter(acks.iter().map(key))
        .into_iter()
        .collect();
    let mut held = vec![HashMap::new(); fleet.workers.len()];
    for keys in keys.chunks(KEYS).map(<[_]>::to_vec) {
        let answers: Vec<Entries> = fleet.ask(&Ask::Values { keys: keys.clone() }).await?;
        for (held, entries) in held.iter_mut().zip(answers) {
            let found = keys.iter().cloned().zip(entries);
            held.extend(found.filter_map(|(key, entry)| Some((key, entry?))));
        }
    }
    for (facts, held) in fleet.facts().zip(&held) {
        facts.present = count(held);
    }
    stage.facts.writes = Writes {
        acknowledged: acks.len() as u64,
        present: count(&stored),
        transactions: info.position.seq - writer.first,
    };
    stage.facts.workers = fleet.facts().map(std::mem::take).collect();
    Ok(())
}
