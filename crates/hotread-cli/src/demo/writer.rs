//! Writes records, and lists the writes that the server has acknowledged, which the verdict is based on.

use super::dataset::{Records, Source};
use super::protocol::{Entry, now};
use super::{WAIT, lock};
use anyhow::{Context, Result};
use hotread_client::{Client, Error};
use hotread_proto::{Put, Txn, TxnId, Value};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::task::JoinSet;
use tokio::time::{Instant, MissedTickBehavior, interval, sleep, timeout};

/// Maximum number of writes that wait for their answers at a time.
const MAX_IN_FLIGHT: usize = 64;
/// Pause before another attempt at a write on which the client has given up.
const AGAIN: Duration = Duration::from_millis(50);

/// A write that the server has acknowledged.
#[derive(Debug, Clone)]
pub(super) struct Ack {
    /// Index of its record in [`Records::keys`].
    pub(super) key: usize,
    pub(super) value: Value,
    pub(super) seq: u64,
    /// Time when the write was first sent.
    pub(super) sent: f64,
    /// Time of the acknowledgement.
    pub(super) acked: f64,
}

impl Ack {
    /// Returns `true` if the record, with its transaction, is as the write left it.
    pub(super) fn left(&self, found: Option<&Entry>) -> bool {
        let own = self.value.to::<serde_json::Value>();
        found.is_some_and(|(seq, value)| *seq == self.seq && own.is_ok_and(|own| own == *value))
    }

    /// Returns `true` if the record contains the write: its value, or that of a later transaction.
    pub(super) fn is_in(&self, found: Option<&Entry>) -> bool {
        found.is_some_and(|(seq, _)| *seq > self.seq) || self.left(found)
    }
}

/// Counts the writes for which `so` holds.
pub(super) fn number(acks: &[Ack], so: impl Fn(&Ack) -> bool) -> u64 {
    acks.iter().filter(|ack| so(ack)).count() as u64
}

/// Writes that continue until they are stopped; on drop, they end immediately.
pub(super) type Load = JoinSet<Result<()>>;

/// Writes to the demo's table.
pub(super) struct Writer {
    pub(super) client: Client,
    pub(super) table: &'static str,
    pub(super) records: Records,
    /// The table's last transaction before the first write.
    pub(super) first: u64,
    book: Mutex<Book>,
}

#[derive(Default)]
struct Book {
    /// Number of writes that have begun.
    begun: usize,
    /// `true` if the load must begin no more writes.
    stopped: bool,
    acks: Vec<Ack>,
}

impl Writer {
    pub(super) async fn new(client: Client, source: &Source) -> Result<Self> {
        Ok(Self {
            records: Records::load(&client, source).await?,
            first: client.table_info(source.table).await?.position.seq,
            client,
            table: source.table,
            book: Mutex::default(),
        })
    }

    /// Returns the acknowledged writes that were sent at or after a moment.
    pub(super) fn acks(&self, from: f64) -> Vec<Ack> {
        let mut acks = lock(&self.book).acks.clone();
        acks.retain(|ack| ack.sent >= from);
        acks
    }

    /// Claims an acknowledged write that never happened.
    pub(super) fn claim_too_much(&self) {
        let mut claim = self.acks(0.0).pop();
        claim.iter_mut().for_each(|claim| claim.seq += 1);
        lock(&self.book).acks.extend(claim);
    }

    /// Returns the last acknowledged value of a record.
    pub(super) fn current(&self, key: usize) -> Value {
        let last = self.acks(0.0).into_iter().rfind(|ack| ack.key == key);
        last.map_or_else(|| self.records.values[key].clone(), |ack| ack.value)
    }

    /// Writes a record, and retries with the same transaction id until the write is acknowledged.
    pub(super) async fn write(&self, key: usize, value: Value) -> Result<Ack> {
        let number = {
            let mut book = lock(&self.book);
            book.begun += 1;
            book.begun
        };
        let put = Put::new(self.records.keys[key].clone(), value.clone());
        let txn = Txn::new().put(put);
        let txn = txn.id(TxnId::new(&format!("demo-{number}"))?);
        let (sent, began) = (now(), Instant::now());
        let committed = loop {
            match self.client.txn(self.table, txn.clone()).await {
                Ok(committed) => break committed,
                // The outcome is unknown, and the id makes another attempt harmless.
                Err(Error::Unreachable(_) | Error::Timeout | Error::CommitUnknown { .. })
                    if began.elapsed() < WAIT =>
                {
                    sleep(AGAIN).await;
                }
                Err(error) => return Err(error).context("a write was not acknowledged"),
            }
        };
        let ack = Ack {
            key,
            value,
            seq: committed.position.seq,
            sent,
            acked: now(),
        };
        lock(&self.book).acks.push(ack.clone());
        Ok(ack)
    }

    /// Writes a value that another record had initially; each turn of a record takes that of another
    /// one.
    pub(super) async fn rewrite(&self, key: usize) -> Result<Ack> {
        let values = &self.records.values;
        let begun = lock(&self.book).begun;
        let other = (begun + begun / values.len() + 1) % values.len();
        self.write(key, values[other].clone()).await
    }

    /// Begins `per_second` writes a second, if the server keeps up, until they are stopped or about
    /// `most` have begun. A record has one write at a time, so that its last acknowledged value is the
    /// one that it must have.
    pub(super) fn start(self: &Arc<Self>, per_second: u32, most: usize) -> Load {
        let keys = self.records.keys.len();
        // Each lane writes records of its own, one after another. All lanes share the pace, so that
        // they do not all continue at once after a pause of the machine.
        let lanes = keys.min(MAX_IN_FLIGHT);
        let mut pace = interval(Duration::from_secs(1) / per_second);
        pace.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let pace = Arc::new(tokio::sync::Mutex::new(pace));
        lock(&self.book).stopped = false;
        let lane = |lane: usize| {
            let (writer, pace) = (self.clone(), pace.clone());
            async move {
                for key in (lane..keys).step_by(lanes).cycle().take(most / lanes) {
                    let mut pace = pace.lock().await;
                    if lock(&writer.book).stopped {
                        break;
                    }
                    pace.tick().await;
                    drop(pace);
                    writer.rewrite(key).await?;
                }
                Ok(())
            }
        };
        (0..lanes).map(lane).collect()
    }

    /// Begins no more writes, and waits until all of them are acknowledged.
    pub(super) async fn stop(&self, mut load: Load) -> Result<()> {
        lock(&self.book).stopped = true;
        let ended = async {
            while let Some(lane) = load.join_next().await {
                lane.context("a writer panicked")??;
            }
            Ok(())
        };
        let late = || format!("waited {WAIT:?} for writes, and some were not acknowledged");
        timeout(WAIT, ended).await.with_context(late)?
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_write_is_there_by_its_number_and_its_value() {
        let ack = Ack {
            key: 0,
            value: Value::parse(br#"{"a":1,"b":2}"#).unwrap(),
            seq: 7,
            sent: 0.0,
            acked: 0.0,
        };
        let found = |seq, value| ack.is_in(Some(&(seq, value)));
        assert!(found(7, json!({"b": 2, "a": 1})), "members have no order");
        assert!(found(8, json!(null)), "written again since");
        assert!(!found(7, json!({"a": 1, "b": 3})), "another value");
        assert!(!found(6, json!({"a": 1, "b": 2})), "an older state");
        assert!(!ack.is_in(None), "gone");
    }
}
