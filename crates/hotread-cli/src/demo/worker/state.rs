//! The state that a worker reads: a map of typed values which knows how far it has come.

use hotread_client::{HotReadState, Record, Replicated};
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::collections::HashMap;
use std::sync::Arc;

/// What a value is in a worker.
pub(super) trait Typed:
    DeserializeOwned + Serialize + Clone + Send + Sync + 'static
{
}

impl<V: DeserializeOwned + Serialize + Clone + Send + Sync + 'static> Typed for V {}

/// A table in a worker. `HashMap<Arc<str>, V>` alone would do; this one also keeps the numbers of the
/// transactions, so that a reader can tell which changes are in the very state that it sees.
#[derive(Clone)]
pub(super) struct Table<V> {
    records: HashMap<Arc<str>, (u64, V)>,
    seq: u64,
}

impl<V> Table<V> {
    /// A record's value, and the transaction that wrote it.
    pub(super) fn get(&self, key: &str) -> Option<(u64, &V)> {
        self.records.get(key).map(|(seq, value)| (*seq, value))
    }

    /// The newest transaction that wrote a record here.
    pub(super) fn seq(&self) -> u64 {
        self.seq
    }

    pub(super) fn keys(&self) -> impl Iterator<Item = &Arc<str>> {
        self.records.keys()
    }
}

/// What becomes of a record.
#[derive(Clone)]
pub(super) enum Update<V> {
    Put(Arc<str>, u64, V),
    Delete(Arc<str>),
}

impl<V: Typed> HotReadState for Table<V> {
    type Action = Update<V>;

    fn apply_update(&mut self, update: &Update<V>) {
        match update {
            Update::Put(key, seq, value) => {
                self.records.insert(key.clone(), (*seq, value.clone()));
                self.seq = self.seq.max(*seq);
            }
            Update::Delete(key) => {
                self.records.remove(key);
            }
        }
    }
}

impl<V: Typed> Replicated for Table<V> {
    type Value = V;

    fn empty() -> Self {
        Self {
            records: HashMap::new(),
            seq: 0,
        }
    }

    fn put(key: &Arc<str>, record: &Record) -> Result<Update<V>, String> {
        match record.value_as() {
            Ok(value) => Ok(Update::Put(key.clone(), record.seq(), value)),
            Err(error) => Err(error.to_string()),
        }
    }

    fn delete(key: &Arc<str>) -> Update<V> {
        Update::Delete(key.clone())
    }
}
