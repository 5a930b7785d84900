//! A table's records as they are, as a state.

use crate::replicated::Replicated;
use hotread_proto::{Record, RecordSet, RecordUpdate};
use std::sync::Arc;

impl Replicated for RecordSet {
    fn empty() -> Self {
        Self::default()
    }

    fn put(_: &Arc<str>, record: &Record) -> Result<RecordUpdate, String> {
        Ok(RecordUpdate::Put(record.clone()))
    }

    fn delete(key: &Arc<str>) -> RecordUpdate {
        RecordUpdate::Delete(key.clone())
    }
}
