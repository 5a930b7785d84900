//! Parts that the watchers of peers share.

use std::collections::HashMap;
use std::sync::Arc;

use parking_lot::RwLock;

use super::super::row::Row;
use super::super::samples::Seen;
use crate::process::Failure;

/// State of a peer's watcher: a map that other threads may read.
pub(in super::super) struct Watched {
    rows: RwLock<HashMap<String, Row>>,
    seen: Arc<Seen>,
}

impl Watched {
    /// An empty map.
    pub(in super::super) fn new(seen: Arc<Seen>) -> Self {
        Self {
            rows: RwLock::new(HashMap::new()),
            seen,
        }
    }

    /// Decodes a value that arrived, puts it into the map, and stamps it.
    pub(in super::super) fn put(&self, key: &str, value: &[u8]) -> Result<(), Failure> {
        let row = Row::parse(value)?;
        let update = row.update();
        self.rows.write().insert(key.to_owned(), row);
        if let Some(update) = update {
            self.seen.stamp(update);
        }
        Ok(())
    }
}

/// The error for a watch that ends unexpectedly.
pub(in super::super) fn ended() -> Failure {
    "the watch ended".into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_watched_value_is_in_the_map_when_it_is_stamped() {
        let seen = Arc::new(Seen::new(4));
        let watched = Watched::new(Arc::clone(&seen));
        let value = super::super::super::row::value(2, &mut fastrand::Rng::with_seed(1));
        watched.put("k", value.as_bytes()).expect("it is a row");
        assert_eq!(watched.rows.read()["k"].update(), Some(2));
        assert!(!seen.has_all(3));
        assert!(watched.put("k", b"{}").is_err());
    }
}
