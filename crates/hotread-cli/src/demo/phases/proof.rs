//! Reads everything back: what was acknowledged must be in the server, and in every worker.

use super::Stage;
use crate::demo::WAIT;
use crate::demo::dataset::all;
use crate::demo::fleet::odd;
use crate::demo::protocol::{Ask, Entry, Said};
use crate::demo::verdict::Writes;
use crate::demo::writers::Ack;
use anyhow::Result;
use std::collections::HashMap;

/// Keys that a worker is asked for at a time.
const KEYS: usize = 500;

pub(in crate::demo) async fn proof(stage: &mut Stage<'_>) -> Result<()> {
    stage.display.doing("reading everything back");
    let acks = stage.writers.acks(0);
    let table = stage.source.table.clone();
    let mut stored = HashMap::new();
    for record in all(&stage.client, &table).await? {
        let (seq, value) = (record.seq(), record.value_as()?);
        stored.insert(record.key().to_owned(), Entry { seq, value });
    }
    let names = stage.writers.records();
    let name = |ack: &Ack| names.keys[ack.key].as_str();
    let present = acks
        .iter()
        .filter(|ack| present(ack, stored.get(name(ack))));
    let present = present.count() as u64;

    let mut keys: Vec<_> = acks.iter().map(|ack| name(ack).to_owned()).collect();
    keys.sort_unstable();
    keys.dedup();
    let mut held: Vec<HashMap<String, Entry>> = vec![HashMap::new(); stage.fleet.workers.len()];
    for keys in keys.chunks(KEYS) {
        let ask = Ask::Values {
            keys: keys.to_vec(),
        };
        let said = stage.fleet.ask(&ask, WAIT).await?;
        for (said, held) in said.into_iter().zip(&mut held) {
            let Said::Values { entries } = said else {
                return Err(odd(&said));
            };
            let found = keys.iter().cloned().zip(entries);
            held.extend(found.filter_map(|(key, entry)| Some((key, entry?))));
        }
    }
    for (held, worker) in held.iter().zip(&mut stage.facts.workers) {
        let there = acks
            .iter()
            .filter(|ack| self::present(ack, held.get(name(ack))));
        worker.present = there.count() as u64;
    }
    let head = stage.client.table_info(table.as_str()).await?.position.seq;
    stage.facts.writes = Writes {
        acknowledged: acks.len() as u64,
        present,
        transactions: head.saturating_sub(stage.first),
    };
    stage.display.done();
    Ok(())
}

/// Is an acknowledged write there: its value, or that of a later transaction?
fn present(ack: &Ack, found: Option<&Entry>) -> bool {
    let Some(found) = found else { return false };
    let same = || {
        ack.value
            .to::<serde_json::Value>()
            .is_ok_and(|value| value == found.value)
    };
    found.seq > ack.seq || (found.seq == ack.seq && same())
}

#[cfg(test)]
mod tests {
    use super::*;
    use hotread_proto::Value;
    use serde_json::json;

    #[test]
    fn a_write_is_there_by_its_number_and_its_value() {
        let ack = Ack {
            key: 0,
            value: Value::parse(br#"{"a":1,"b":2}"#).unwrap(),
            seq: 7,
            sent: 0,
            acked: 0,
        };
        let found = |seq, value| present(&ack, Some(&Entry { seq, value }));
        assert!(found(7, json!({"b": 2, "a": 1})), "members have no order");
        assert!(found(8, json!(null)), "written again since");
        assert!(!found(7, json!({"a": 1, "b": 3})), "another value");
        assert!(!found(6, json!({"a": 1, "b": 2})), "an older state");
        assert!(!present(&ack, None), "gone");
    }
}
