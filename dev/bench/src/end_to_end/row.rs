//! The rows of all tables that are written and watched here, and their decoded form.

use fastrand::Rng;
use serde::Deserialize;

use crate::store::data;

/// A decoded value. The fields are those of the values in the store's figures.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq)]
pub(super) struct Row {
    pub(super) plan: String,
    pub(super) seats: u32,
    pub(super) quota: u32,
    pub(super) token: String,
    /// In rows that a measurement has written, the number of the update; see [`Row::update`].
    pub(super) since: u64,
}

/// Least `since` of initial values; updates carry their number.
const FIRST_SINCE: u64 = 1_000_000_000;

impl Row {
    /// The number of the update of the running measurement that wrote this row, if one did.
    pub(super) fn update(&self) -> Option<u64> {
        (self.since < FIRST_SINCE).then_some(self.since)
    }

    /// Reads a value.
    pub(super) fn parse(value: &[u8]) -> Result<Self, serde_json::Error> {
        serde_json::from_slice(value)
    }
}

/// Records of the tables that are watched.
pub(super) const RECORDS: usize = 1_000;

/// The key that update `number` writes. A thousand updates in a row write different keys, so that
/// none hides another.
pub(super) fn key(number: u64) -> String {
    // A prime, so that neighbours in time are not neighbours in the tree.
    let index = number.wrapping_mul(617) % RECORDS as u64;
    format!("account-{index:08}")
}

/// The value that update `number` writes, about 100 bytes.
pub(super) fn value(number: u64, rng: &mut Rng) -> String {
    data::json_since(rng, |_| number)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn a_value_says_which_update_wrote_it() {
        let mut rng = Rng::with_seed(1);
        let row = Row::parse(value(77, &mut rng).as_bytes()).expect("it is a row");
        assert_eq!(row.update(), Some(77));
        let loaded = data::put(3, &mut rng);
        let row = Row::parse(loaded.value.as_bytes()).expect("it is a row");
        assert_eq!(row.update(), None);
        assert_eq!(row.plan, "team");
    }

    #[test]
    fn a_thousand_updates_in_a_row_write_different_keys() {
        let keys: HashSet<String> = (500..1_500).map(key).collect();
        assert_eq!(keys.len(), RECORDS);
        assert!(keys.contains(data::key(0).as_str()));
    }
}
