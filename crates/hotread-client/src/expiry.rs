//! Records that have expired by this machine's clock, and that the server has not deleted yet.

use hotread_proto::{ChangeOp, Record, Timestamp};
use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

/// Longest time between two looks at the clock, which may be set at any time.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// Expiries of the state's records.
#[derive(Debug, Default)]
pub(crate) struct Expiry {
    keys: HashMap<Arc<str>, Timestamp>,
    /// The same expiries, by time.
    due: BTreeSet<(Timestamp, Arc<str>)>,
}

impl Expiry {
    /// Records the changes of a batch.
    pub(crate) fn note(&mut self, ops: &[ChangeOp]) {
        for op in ops {
            match op {
                ChangeOp::Put(record) => self.put(record),
                ChangeOp::Delete { key, .. } => self.forget(key.as_str()),
            }
        }
    }

    /// Records the expiry of one record.
    pub(crate) fn put(&mut self, record: &Record) {
        self.forget(record.key());
        if let Some(at) = record.expires_at() {
            let key: Arc<str> = record.key().into();
            self.keys.insert(key.clone(), at);
            self.due.insert((at, key));
        }
    }

    fn forget(&mut self, key: &str) {
        if let Some((key, at)) = self.keys.remove_entry(key) {
            self.due.remove(&(at, key));
        }
    }

    /// Returns the time until the next look at the clock; `None`: no record expires.
    pub(crate) fn wait(&self) -> Option<Duration> {
        let (at, _) = self.due.first()?;
        let millis = at.millis().saturating_sub(now().millis());
        let wait = Duration::from_millis(u64::try_from(millis).unwrap_or(0));
        Some(wait.min(LOOK_EVERY))
    }

    /// Removes the records that have expired, and returns their keys.
    pub(crate) fn take_due(&mut self) -> Vec<Arc<str>> {
        let now = now();
        let mut keys = Vec::new();
        while let Some((at, key)) = self.due.pop_first() {
            if at > now {
                self.due.insert((at, key));
                break;
            }
            self.keys.remove(&key);
            keys.push(key);
        }
        keys
    }
}

fn now() -> Timestamp {
    SystemTime::now().into()
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use hotread_proto::{Category, Hasher, Key, Value};

    /// Returns a record written by transaction `seq`.
    pub(crate) fn put_at(key: &str, seq: u64, expires_at: Option<Timestamp>) -> ChangeOp {
        let (key, value) = (Key::new(key).unwrap(), Value::parse(b"1").unwrap());
        let (category, at) = (&Category::GENERAL, Timestamp::EPOCH);
        let hasher = &Hasher::PLAIN;
        let record = Record::new(&key, &value, category, seq, at, expires_at, hasher);
        ChangeOp::Put(record)
    }

    fn put(key: &str, expires_at: Option<Timestamp>) -> ChangeOp {
        put_at(key, 1, expires_at)
    }

    #[test]
    fn the_last_expiry_of_a_key_counts() {
        let (past, future) = (Some(Timestamp::EPOCH), Some(Timestamp::MAX));
        let mut expiry = Expiry::default();
        assert_eq!(expiry.wait(), None);
        expiry.note(&[put("never", None), put("a", future), put("b", past)]);
        expiry.note(&[put("c", past), put("d", past), put("e", future)]);
        assert_eq!(expiry.wait(), Some(Duration::ZERO));
        expiry.note(&[put("a", past), put("c", None), put("d", future)]);
        expiry.note(&[ChangeOp::delete(Key::new("e").unwrap())]);
        assert_eq!(expiry.take_due(), ["a".into(), "b".into()]);
        assert_eq!(expiry.wait(), Some(LOOK_EVERY), "d is left");
        assert!(expiry.take_due().is_empty());
        expiry.note(&[ChangeOp::delete(Key::new("d").unwrap())]);
        assert_eq!(expiry.wait(), None);
        assert!(expiry.keys.is_empty());
    }
}
