//! A table in a map, as a view for evaluation.

use super::{Secret, hasher};
use hotread_proto::{
    Change, ChangeOp, Digest, Epoch, Existing, Hasher, Head, Key, Position, Record, Remembered,
    TableView, Timestamp, TxnId,
};
use std::collections::{BTreeMap, HashMap};
use std::convert::Infallible;

#[derive(Clone)]
pub struct MapView {
    pub head: Head,
    pub hasher: Hasher,
    pub records: BTreeMap<String, Record>,
    pub remembered: HashMap<TxnId, Remembered>,
}

impl MapView {
    pub fn new(secret: &Secret) -> Self {
        let position = Position {
            epoch: Epoch(0xc0ffee),
            seq: 0,
        };
        Self {
            head: Head {
                position,
                digest: Digest::EMPTY,
                records: 0,
                at: Timestamp::EPOCH,
            },
            hasher: hasher(secret),
            records: BTreeMap::new(),
            remembered: HashMap::new(),
        }
    }

    pub fn apply(&mut self, change: &Change) {
        for op in &change.ops {
            match op {
                ChangeOp::Put(record) => {
                    self.records.insert(record.key().to_owned(), record.clone());
                }
                ChangeOp::Delete { key, .. } => {
                    self.records.remove(key.as_str());
                }
            }
        }
        self.head = change.head();
        if let Some((id, body)) = &change.id {
            let committed = change.committed();
            let body = *body;
            let remembered = Remembered { committed, body };
            self.remembered.insert(id.clone(), remembered);
        }
    }
}

impl TableView for MapView {
    type Error = Infallible;

    fn head(&self) -> Head {
        self.head
    }

    fn hasher(&self) -> &Hasher {
        &self.hasher
    }

    /// The category is omitted, as it may be: no decision may depend on it here.
    fn get(&mut self, key: &Key) -> Result<Option<Existing>, Infallible> {
        Ok(self.records.get(key.as_str()).map(|record| Existing {
            seq: record.seq(),
            hash: record.hash(),
            category: String::new(),
            expires_at: record.expires_at(),
        }))
    }

    fn get_filed(&mut self, key: &Key) -> Result<Option<Existing>, Infallible> {
        Ok(self.records.get(key.as_str()).map(filed))
    }

    fn scan(&mut self, visit: &mut dyn FnMut(&str, Existing)) -> Result<(), Infallible> {
        for (key, record) in &self.records {
            visit(key, filed(record));
        }
        Ok(())
    }

    fn remembered(&mut self, id: &TxnId) -> Result<Option<Remembered>, Infallible> {
        Ok(self.remembered.get(id).copied())
    }
}

fn filed(record: &Record) -> Existing {
    Existing {
        seq: record.seq(),
        hash: record.hash(),
        category: record.category().to_owned(),
        expires_at: record.expires_at(),
    }
}
