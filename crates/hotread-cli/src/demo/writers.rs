//! Writes records, and keeps a list of what the server has acknowledged, by which the verdict is
//! reached.

use super::dataset::Records;
use super::{WAIT, clock};
use anyhow::{Context, Result, bail};
use hotread_client::{Client, Error};
use hotread_proto::{Put, TableName, Txn, TxnId, Value};
use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::watch;
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::{Instant, MissedTickBehavior};

/// Most writes that wait for their answers at a time.
const MAX_IN_FLIGHT: usize = 64;
/// How long to wait before a write is tried again that the client has given up.
const AGAIN: Duration = Duration::from_millis(50);
/// Values that are looked at to find one that differs from what a record has.
const TRIES: usize = 16;

/// A write that the server has acknowledged.
#[derive(Debug, Clone)]
pub(super) struct Ack {
    /// Its record, as a place in [`Records::keys`].
    pub(super) key: usize,
    pub(super) value: Value,
    pub(super) seq: u64,
    /// When it was first sent, and when it was acknowledged.
    pub(super) sent: u64,
    pub(super) acked: u64,
}

/// Writes to the demo's table.
#[derive(Clone)]
pub(super) struct Writers(Arc<Shared>);

struct Shared {
    client: Client,
    table: TableName,
    records: Records,
    ledger: Mutex<Ledger>,
}

#[derive(Default)]
struct Ledger {
    /// What each record is to have next to differ from what it has.
    turn: usize,
    /// Numbers of transactions, for their ids.
    next: u64,
    acks: Vec<Ack>,
    /// By record: the value that was acknowledged last.
    latest: HashMap<usize, Value>,
}

/// Writes that go on until they are stopped.
pub(super) struct Load {
    stop: watch::Sender<bool>,
    task: JoinHandle<Result<()>>,
}

impl Writers {
    pub(super) fn new(client: Client, table: TableName, records: Records) -> Self {
        Self(Arc::new(Shared {
            client,
            table,
            records,
            ledger: Mutex::default(),
        }))
    }

    pub(super) fn records(&self) -> &Records {
        &self.0.records
    }

    fn ledger(&self) -> MutexGuard<'_, Ledger> {
        // Each change is one step.
        let ledger = self.0.ledger.lock();
        ledger.unwrap_or_else(PoisonError::into_inner)
    }

    /// All that was acknowledged so far, after the first `from`.
    pub(super) fn acks(&self, from: usize) -> Vec<Ack> {
        self.ledger().acks.get(from..).unwrap_or_default().to_vec()
    }

    pub(super) fn acknowledged(&self) -> usize {
        self.ledger().acks.len()
    }

    /// Says that a write was acknowledged which never was.
    pub(super) fn claim_too_much(&self) {
        let mut ledger = self.ledger();
        let claim = ledger.acks.last().map(|last| Ack {
            seq: last.seq + 1,
            ..last.clone()
        });
        ledger.acks.extend(claim);
    }

    /// What a record has, as far as was acknowledged.
    pub(super) fn current(&self, key: usize) -> Value {
        let latest = self.ledger().latest.get(&key).cloned();
        latest.unwrap_or_else(|| self.0.records.values[key].clone())
    }

    /// A value of the table's which another record has, if there is one that differs from `old`.
    fn another(&self, old: &Value) -> Value {
        let values = &self.0.records.values;
        let mut ledger = self.ledger();
        for _ in 0..TRIES {
            ledger.turn = (ledger.turn + 1) % values.len();
            if values[ledger.turn] != *old {
                break;
            }
        }
        values[ledger.turn].clone()
    }

    /// Writes a record, and tries again with the transaction's id until it is acknowledged.
    pub(super) async fn write(&self, key: usize, value: Value) -> Result<Ack> {
        let number = {
            let mut ledger = self.ledger();
            ledger.next += 1;
            ledger.next
        };
        let Shared {
            client,
            table,
            records,
            ..
        } = &*self.0;
        let id = TxnId::new(&format!("demo-{number}"))?;
        let put = Put::new(records.keys[key].clone(), value.clone());
        let txn = Txn::new().put(put).id(id);
        let (sent, began) = (clock::now(), Instant::now());
        let committed = loop {
            match client.txn(table.as_str(), txn.clone()).await {
                Ok(committed) => break committed,
                // Whether it was done is not known, and the id makes another attempt harmless.
                Err(error) if passes(&error) && began.elapsed() < WAIT => {
                    tokio::time::sleep(AGAIN).await;
                }
                Err(error) => return Err(error).context("a write was not acknowledged"),
            }
        };
        let ack = Ack {
            key,
            value,
            seq: committed.position.seq,
            sent,
            acked: clock::now(),
        };
        let mut ledger = self.ledger();
        ledger.latest.insert(key, ack.value.clone());
        ledger.acks.push(ack.clone());
        drop(ledger);
        Ok(ack)
    }

    /// Writes a value that another record has.
    pub(super) async fn rewrite(&self, key: usize) -> Result<Ack> {
        let value = self.another(&self.current(key));
        self.write(key, value).await
    }

    /// Writes so often a second, if the server keeps up. A record has one write at a time, so that
    /// its last acknowledged value is the one that it must have.
    /// At most `most` writes are begun.
    pub(super) fn start(&self, per_second: u32, most: usize) -> Load {
        let (stop, stopped) = watch::channel(false);
        let writers = self.clone();
        let task = tokio::spawn(async move { writers.run(per_second, most, stopped).await });
        Load { stop, task }
    }

    async fn run(
        &self,
        per_second: u32,
        mut most: usize,
        mut stopped: watch::Receiver<bool>,
    ) -> Result<()> {
        let mut tick = tokio::time::interval(Duration::from_secs(1) / per_second);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut free: VecDeque<usize> = (0..self.records().keys.len()).collect();
        let mut writes = JoinSet::new();
        loop {
            tokio::select! {
                biased;
                _ = stopped.wait_for(|stopped| *stopped) => break,
                Some(written) = writes.join_next() => {
                    free.push_back(written.context("a write panicked")??);
                }
                _ = tick.tick(), if most > 0 && writes.len() < MAX_IN_FLIGHT && !free.is_empty() => {
                    let Some(key) = free.pop_front() else { continue };
                    most -= 1;
                    let writers = self.clone();
                    writes.spawn(async move { writers.rewrite(key).await.map(|ack| ack.key) });
                }
            }
        }
        while let Some(written) = writes.join_next().await {
            written.context("a write panicked")??;
        }
        Ok(())
    }
}

/// May another attempt succeed?
fn passes(error: &Error) -> bool {
    matches!(
        error,
        Error::Unreachable(_) | Error::Timeout | Error::CommitUnknown { .. }
    )
}

impl Load {
    /// Begins no more writes, and waits until all that were begun are acknowledged.
    pub(super) async fn stop(mut self) -> Result<()> {
        // If nobody hears it, the task has ended with an error, which is told now.
        let _ = self.stop.send(true);
        match tokio::time::timeout(WAIT, &mut self.task).await {
            Ok(ended) => ended.context("the writers panicked")?,
            Err(_) => bail!(
                "waited {} s for writes to be acknowledged, and some were not",
                WAIT.as_secs()
            ),
        }
    }
}

impl Drop for Load {
    fn drop(&mut self) {
        self.task.abort();
    }
}
