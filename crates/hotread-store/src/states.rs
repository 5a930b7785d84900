//! The states of typed tables that are in use, which a store keeps and callers share.

use hotread_proto::TableName;
use std::any::{Any, TypeId};
use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError, Weak};

/// The shared states, by name of the table and type of the state. A state is created under the lock of
/// its own entry, so that one that takes long to read does not delay the others.
#[derive(Default)]
pub(crate) struct States(Mutex<HashMap<(TableName, TypeId), Entry>>);

/// The state that the handles of one table and type share, if there are such handles.
pub(crate) type Entry = Arc<Mutex<Option<Weak<dyn Any + Send + Sync>>>>;

impl States {
    /// Returns the entry of a table and type. Entries of others that are not in use are removed.
    pub(crate) fn entry(&self, name: &TableName, state: TypeId) -> Entry {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        all.retain(|_, entry| {
            let in_use = entry.try_lock();
            in_use.map_or(true, |table| {
                table.as_ref().is_some_and(|table| table.strong_count() > 0)
            })
        });
        all.entry((name.clone(), state)).or_default().clone()
    }
}
