//! Model of the evaluation, in the plainest form: operations are applied one by one to a copy of
//! the content, without hashing, coalescing or merging.

use hotread_proto::{Body, Condition, Op, Put, Replace, Txn, TxnId};
use std::collections::{BTreeMap, HashMap};

#[derive(Debug, Clone, PartialEq)]
pub struct Row {
    pub value: String,
    pub category: String,
    pub expires_at: Option<i64>,
    pub seq: u64,
    pub updated_at: i64,
}

#[derive(Debug, Clone, PartialEq)]
pub enum Answer {
    Committed,
    Repeated { seq: u64, at: i64 },
    Nothing,
    Limit,
    Precondition { key: String, actual: Option<u64> },
    IdReused { seq: u64 },
}

#[derive(Debug, Clone, Default)]
pub struct Model {
    pub rows: BTreeMap<String, Row>,
    pub seq: u64,
    pub at: i64,
    /// Body as text, and answer, by transaction id.
    pub answers: HashMap<String, (String, u64, i64)>,
}

impl Model {
    pub fn ask(&mut self, at: i64, body: &Body) -> Answer {
        if let Body::Txn(Txn { ops, .. }) = body
            && ops.is_empty()
        {
            return Answer::Limit;
        }
        let named = named(body);
        if let Some((id, text)) = &named
            && let Some((known, seq, at)) = self.answers.get(id)
        {
            return if known == text {
                Answer::Repeated { seq: *seq, at: *at }
            } else {
                Answer::IdReused { seq: *seq }
            };
        }

        let (seq, at) = (self.seq + 1, self.at.max(at));
        let mut rows = self.rows.clone();
        match body {
            Body::Txn(txn) => {
                for asked in &txn.preconditions {
                    let row = self.rows.get(asked.key.as_str());
                    let row = row.filter(|row| row.expires_at.is_none_or(|expires| expires > at));
                    let actual = row.map(|row| row.seq);
                    let holds = match asked.condition {
                        Condition::Seq(seq) => actual == Some(seq),
                        Condition::Absent => actual.is_none(),
                        Condition::Present => actual.is_some(),
                    };
                    if !holds {
                        let key = asked.key.to_string();
                        return Answer::Precondition { key, actual };
                    }
                }
                for op in &txn.ops {
                    match op {
                        Op::Put(put) => drop(rows.insert(put.key.to_string(), row(put, seq, at))),
                        Op::Delete { key } => drop(rows.remove(key.as_str())),
                    }
                }
            }
            Body::Compared(_) => unreachable!("the model is asked for what is compared with it"),
            Body::Replace(new) => {
                rows.clear();
                for put in &new.records {
                    rows.insert(put.key.to_string(), row(put, seq, at));
                }
                for (key, row) in &mut rows {
                    if let Some(old) = self.rows.get(key)
                        && old.value == row.value
                        && old.category == row.category
                        && old.expires_at == row.expires_at
                    {
                        *row = old.clone();
                    }
                }
            }
            Body::Expire(keys) => {
                for (key, seq) in keys {
                    if self.rows.get(key.as_str()).map(|row| row.seq) == Some(*seq) {
                        rows.remove(key.as_str());
                    }
                }
                if rows == self.rows {
                    return Answer::Nothing;
                }
            }
        }
        self.rows = rows;
        self.seq = seq;
        self.at = at;
        if let Some((id, text)) = named {
            self.answers.insert(id, (text, seq, at));
        }
        Answer::Committed
    }
}

fn row(put: &Put, seq: u64, at: i64) -> Row {
    Row {
        value: put.value.as_str().to_owned(),
        category: put.category.to_string(),
        expires_at: put.expires_at.map(hotread_proto::Timestamp::millis),
        seq,
        updated_at: at,
    }
}

/// Returns the id, and the rest of the request.
fn named(body: &Body) -> Option<(String, String)> {
    let (id, text): (&TxnId, String) = match body {
        Body::Txn(txn) => {
            let bare = Txn {
                id: None,
                note: None,
                ..txn.clone()
            };
            (txn.id.as_ref()?, serde_json::to_string(&bare).unwrap())
        }
        Body::Replace(new) => {
            let bare = Replace {
                id: None,
                note: None,
                ..new.clone()
            };
            (new.id.as_ref()?, serde_json::to_string(&bare).unwrap())
        }
        Body::Compared(_) | Body::Expire(_) => return None,
    };
    Some((id.to_string(), text))
}
