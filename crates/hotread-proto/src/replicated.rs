//! States that can follow a table.

use crate::digest::Hasher;
use crate::record::Record;
use crate::record_set::{RecordSet, RecordUpdate};
use crate::session::{SEALED_REASON, Target};
use crate::time::Timestamp;
use crate::txn::Put;
use crate::value::Value;
use hotread::{HotReadState, MapUpdate};
use serde::de::DeserializeOwned;
use std::any::Any;
use std::borrow::Borrow;
use std::collections::{BTreeMap, HashMap};
use std::hash::{BuildHasher, Hash};
use std::marker::PhantomData;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::UNIX_EPOCH;

/// A state that can follow a table: its initial value, and the updates that records turn into.
///
/// `HashMap<K, V>` and `BTreeMap<K, V>` implement it for keys of type `Arc<str>` or `String` and values
/// that can be read from JSON. A state of your own can keep whatever it looks up fastest: an index, a
/// routing tree, a compiled rule.
///
/// [`put`](Self::put) parses each record once, regardless of the number of copies. Put what is
/// costly there, not into [`apply_update`](HotReadState::apply_update).
///
/// ```
/// use hotread::HotReadState;
/// use hotread_proto::{Record, Replicated, Value};
/// use std::sync::Arc;
///
/// /// The keys of a table, in order.
/// #[derive(Clone, Default)]
/// struct Keys(std::collections::BTreeSet<Arc<str>>);
///
/// #[derive(Clone)]
/// enum KeysUpdate {
///     Add(Arc<str>),
///     Remove(Arc<str>),
/// }
///
/// impl HotReadState for Keys {
///     type Action = KeysUpdate;
///
///     fn apply_update(&mut self, update: &KeysUpdate) {
///         match update {
///             KeysUpdate::Add(key) => drop(self.0.insert(key.clone())),
///             KeysUpdate::Remove(key) => drop(self.0.remove(key)),
///         }
///     }
/// }
///
/// impl Replicated for Keys {
///     type Value = Value; // any JSON
///
///     fn empty() -> Self {
///         Self::default()
///     }
///
///     fn put(key: &Arc<str>, _record: &Record) -> Result<KeysUpdate, String> {
///         Ok(KeysUpdate::Add(key.clone()))
///     }
///
///     fn delete(key: &Arc<str>) -> KeysUpdate {
///         KeysUpdate::Remove(key.clone())
///     }
/// }
/// ```
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot follow a table",
    label = "this type is no state of a table",
    note = "a `HashMap<K, V>` or `BTreeMap<K, V>` follows a table if `K` is `Arc<str>` or `String`, and `V` \
            is `DeserializeOwned + Clone + Send + Sync + 'static`",
    note = "`RecordSet` keeps records whole; for a state of your own, implement `Replicated`"
)]
pub trait Replicated: HotReadState {
    /// The type of the values that programs write to the table. [`Value`] takes any JSON.
    type Value;

    /// Returns the state of an empty table.
    fn empty() -> Self;

    /// Returns the state of an empty table that is about to get `records` records. The default
    /// calls [`empty`](Self::empty).
    #[must_use]
    fn with_capacity(records: usize) -> Self {
        let _ = records;
        Self::empty()
    }

    /// Returns the update that writes a record. `key` is the record's, to be shared.
    ///
    /// # Errors
    /// The reason the state refuses the value, in one line, which the server shows to those who
    /// write. The state then keeps its content until the record is changed or deleted. The decision
    /// must depend on key, value and category of the record alone. A panic counts as an error.
    fn put(key: &Arc<str>, record: &Record) -> Result<Self::Action, String>;

    /// Returns the update that removes a record, which the state need not have.
    fn delete(key: &Arc<str>) -> Self::Action;
}

/// A key type of the maps that follow tables: `Arc<str>`, which shares the key with the record, or
/// `String`, which copies it.
pub trait ReplicatedKey: Borrow<str> + Clone + Eq + Ord + Hash + Send + Sync + 'static {
    /// Creates the key of a record.
    fn from_shared(key: &Arc<str>) -> Self;
}

impl ReplicatedKey for Arc<str> {
    fn from_shared(key: &Arc<str>) -> Self {
        key.clone()
    }
}

impl ReplicatedKey for String {
    fn from_shared(key: &Arc<str>) -> Self {
        Self::from(&**key)
    }
}

macro_rules! replicated_map {
    ($map:ty, [$($bound:tt)*], |$records:ident| $with_capacity:expr) => {
        impl<$($bound)*> Replicated for $map {
            type Value = V;

            fn empty() -> Self {
                Self::default()
            }

            fn with_capacity($records: usize) -> Self {
                $with_capacity
            }

            fn put(key: &Arc<str>, record: &Record) -> Result<Self::Action, String> {
                match record.value_as() {
                    Ok(value) => Ok(MapUpdate::Insert(K::from_shared(key), value)),
                    Err(error) => Err(error.to_string()),
                }
            }

            fn delete(key: &Arc<str>) -> Self::Action {
                MapUpdate::Remove(K::from_shared(key))
            }
        }
    };
}

replicated_map!(
    HashMap<K, V, S>,
    [K: ReplicatedKey, V: DeserializeOwned + Clone + Send + Sync + 'static,
     S: BuildHasher + Default + Clone + Send + Sync + 'static],
    |records| Self::with_capacity_and_hasher(records, S::default())
);
replicated_map!(
    BTreeMap<K, V>,
    [K: ReplicatedKey, V: DeserializeOwned + Clone + Send + Sync + 'static],
    |_records| Self::default()
);

impl Replicated for RecordSet {
    type Value = Value;

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

/// A [`Replicated`] state as the target of a session or of a store's table. Its updates come with the keys
/// of their records. Panics of the state's code are refusals.
#[derive(Debug)]
pub struct Decoder<S>(PhantomData<fn() -> S>);

impl<S> Decoder<S> {
    /// Creates a decoder for this state.
    #[must_use]
    pub fn new() -> Self {
        Self(PhantomData)
    }
}

impl<S> Default for Decoder<S> {
    fn default() -> Self {
        Self::new()
    }
}

impl<S: Replicated> Target for Decoder<S> {
    type Action = (Arc<str>, S::Action);

    fn put(&mut self, key: &Arc<str>, record: &Record) -> Result<Self::Action, String> {
        // No state that the panic left incomplete is reachable afterwards; only the result is used.
        let put = catch_unwind(AssertUnwindSafe(|| S::put(key, record)));
        let put = put.unwrap_or_else(|panic| {
            let message = panic_message(&*panic);
            Err(format!("the code that reads the value panicked: {message}"))
        });
        put.map(|action| (key.clone(), action))
    }

    fn delete(&mut self, key: &Arc<str>) -> Self::Action {
        (key.clone(), S::delete(key))
    }
}

/// Checks that a state would accept a record that is about to be written. For a sealed table, the
/// error says nothing about the value.
///
/// # Errors
/// The reason the state refuses the record, in one line.
pub fn check_value<S: Replicated>(put: &Put, sealed: bool) -> Result<(), String> {
    let (key, value, category) = (&put.key, &put.value, &put.category);
    // Sequence number and time are not known yet, and no state may depend on them.
    let at = Timestamp::from(UNIX_EPOCH);
    let hasher = Hasher::default();
    let record = Record::new(key, value, category, 0, at, put.expires_at, &hasher);
    let key = Arc::from(key.as_str());
    let checked = Decoder::<S>::new().put(&key, &record).map(drop);
    checked.map_err(|reason| match sealed {
        true => SEALED_REASON.to_owned(),
        false => reason,
    })
}

/// Returns the message of a panic.
#[must_use]
pub fn panic_message(panic: &(dyn Any + Send)) -> &str {
    let text = panic.downcast_ref::<String>().map(String::as_str);
    text.or_else(|| panic.downcast_ref::<&str>().copied())
        .unwrap_or("no message")
}
