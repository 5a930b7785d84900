//! Which states can follow a table.

use hotread::{HotReadState, MapUpdate};
use hotread_proto::Record;
use hotread_proto::session::Target;
use serde::de::DeserializeOwned;
use std::any::Any;
use std::collections::{BTreeMap, HashMap};
use std::hash::BuildHasher;
use std::marker::PhantomData;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

/// A state that can follow a table: how it begins, and what records become in it.
///
/// The standard maps are such states if their values can be read from JSON. A state of your own can
/// keep whatever it looks up fastest: an index, a routing tree, a compiled rule.
///
/// [`put`](Self::put) parses each record once, whatever number of copies the state has; put what is
/// costly there, not into [`apply_update`](HotReadState::apply_update).
///
/// ```
/// use hotread::HotReadState;
/// use hotread_client::{Record, Replicated};
/// use std::sync::Arc;
///
/// /// How many records there are, by length of their key.
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
pub trait Replicated: HotReadState {
    /// The state of an empty table.
    fn empty() -> Self;

    /// The same, that expects so many records; unless it is written for a type, it is [`empty`](Self::empty).
    #[must_use]
    fn with_capacity(records: usize) -> Self {
        let _ = records;
        Self::empty()
    }

    /// The update that writes a record. `key` is the record's, to be shared.
    ///
    /// # Errors
    /// Why the state cannot have this value, in one line: the server shows it to those who write.
    /// The replica then stays where it was until the record is changed or deleted. It must depend on
    /// the record alone. A panic counts as such an error.
    fn put(key: &Arc<str>, record: &Record) -> Result<Self::Action, String>;

    /// The update that takes a record out. There may be none.
    fn delete(key: &Arc<str>) -> Self::Action;
}

macro_rules! replicated_map {
    ($map:ty, [$($bound:tt)*], |$records:ident| $with_capacity:expr) => {
        impl<$($bound)*> Replicated for $map {
            fn empty() -> Self {
                Self::default()
            }

            fn with_capacity($records: usize) -> Self {
                $with_capacity
            }

            fn put(key: &Arc<str>, record: &Record) -> Result<Self::Action, String> {
                match record.value_as() {
                    Ok(value) => Ok(MapUpdate::Insert(key.clone(), value)),
                    Err(error) => Err(error.to_string()),
                }
            }

            fn delete(key: &Arc<str>) -> Self::Action {
                MapUpdate::Remove(key.clone())
            }
        }
    };
}

replicated_map!(
    HashMap<Arc<str>, V, S>,
    [V: DeserializeOwned + Clone + Send + Sync + 'static,
     S: BuildHasher + Default + Clone + Send + Sync + 'static],
    |records| Self::with_capacity_and_hasher(records, S::default())
);
replicated_map!(
    BTreeMap<Arc<str>, V>,
    [V: DeserializeOwned + Clone + Send + Sync + 'static],
    |_records| Self::default()
);

/// The session's view of a state.
#[derive(Debug)]
pub(crate) struct Adapter<S>(PhantomData<fn() -> S>);

impl<S> Adapter<S> {
    pub(crate) fn new() -> Self {
        Self(PhantomData)
    }
}

impl<S: Replicated> Target for Adapter<S> {
    type Action = S::Action;

    fn put(&mut self, key: &Arc<str>, record: &Record) -> Result<S::Action, String> {
        // Nothing that was half done is seen by anybody after a panic: there is only the result.
        catch_unwind(AssertUnwindSafe(|| S::put(key, record))).unwrap_or_else(|panic| {
            let words = words(&*panic);
            Err(format!("the code that reads the value panicked: {words}"))
        })
    }

    fn delete(&mut self, key: &Arc<str>) -> S::Action {
        S::delete(key)
    }
}

/// What a panic said.
pub(crate) fn words(panic: &(dyn Any + Send)) -> &str {
    let text = panic.downcast_ref::<String>().map(String::as_str);
    text.or_else(|| panic.downcast_ref::<&str>().copied())
        .unwrap_or("no message")
}
