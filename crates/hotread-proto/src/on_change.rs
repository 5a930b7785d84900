//! Callbacks for the changes of a typed table, in step with what its readers see.
//!
//! The thread that changes a table's state notes each change with the number of its update. Each
//! callback has a thread of its own, which waits until readers see that update, applies the change
//! to a copy of the state, and makes the call. No callback therefore runs under a lock, and a slow
//! one delays only its own thread.

use crate::replicated::{Replicated, ReplicatedKey, panic_message};
use hotread::{HotRead, HotReadHandle, HotReadState, WaitError};
use std::any::Any;
use std::borrow::Borrow;
use std::collections::{BTreeMap, HashMap, VecDeque};
use std::fmt;
use std::hash::BuildHasher;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// Maximum number of changes that wait for one callback. Further ones are dropped, and the callback gets the
/// difference between the last reported state and the current one. This bounds the memory that a
/// slow callback takes at the changes of a few seconds of a busy table.
pub const MAX_CHANGES_BEHIND: usize = 65_536;
/// Longest time until a callback's thread notices that its guard was dropped, while readers of old
/// copies keep a change from becoming visible.
const LOOK_EVERY: Duration = Duration::from_millis(100);

/// A state whose values can be looked up by the keys of their records, so that a change can be
/// reported with the value before and after it. The maps that follow tables are such states.
///
/// ```
/// use hotread_proto::Entries;
/// use std::collections::BTreeMap;
///
/// let ports = BTreeMap::from([("/api".to_owned(), 8080_u16)]);
/// assert_eq!(ports.entry_of("/api"), Some(&8080));
/// ```
#[diagnostic::on_unimplemented(
    message = "changes of `{Self}` cannot be told key by key",
    label = "this state has no value for each key",
    note = "a `HashMap<K, V>` or `BTreeMap<K, V>` has; for a state of your own, implement `Entries`"
)]
pub trait Entries: Replicated {
    /// Returns the value of the record with this key, if the state has it.
    fn entry_of(&self, key: &str) -> Option<&Self::Value>;

    /// Iterates over all values with the keys of their records, in any order.
    fn all_entries(&self) -> impl Iterator<Item = (&str, &Self::Value)>;
}

impl<K: ReplicatedKey, V, S: BuildHasher> Entries for HashMap<K, V, S>
where
    Self: Replicated<Value = V>,
{
    fn entry_of(&self, key: &str) -> Option<&V> {
        self.get(key)
    }

    fn all_entries(&self) -> impl Iterator<Item = (&str, &V)> {
        self.iter()
            .map(|(key, value)| (Borrow::<str>::borrow(key), value))
    }
}

impl<K: ReplicatedKey, V> Entries for BTreeMap<K, V>
where
    Self: Replicated<Value = V>,
{
    fn entry_of(&self, key: &str) -> Option<&V> {
        self.get(key)
    }

    fn all_entries(&self) -> impl Iterator<Item = (&str, &V)> {
        self.iter()
            .map(|(key, value)| (Borrow::<str>::borrow(key), value))
    }
}

/// Changes of a state, each with the key of its record.
type Changes<S> = Arc<[(Arc<str>, <S as HotReadState>::Action)]>;

/// The callbacks of one typed table.
pub struct Callbacks<S: Replicated>(Mutex<Vec<Arc<Callback<S>>>>);

/// Shared data of a table and the thread of one callback.
struct Callback<S: Replicated> {
    inbox: Mutex<Inbox<S>>,
    /// Signalled when a change was noted or the callback has ended.
    noted: Condvar,
    ended: AtomicBool,
    /// Set as long as the guard exists.
    guarded: AtomicBool,
    panics: Mutex<Option<CallbackPanics>>,
}

/// Changes that were not reported to a callback yet.
struct Inbox<S: Replicated> {
    steps: VecDeque<Step<S>>,
    /// Number of changes in all of `steps`.
    changes: usize,
}

/// Changes that become visible together.
struct Step<S: Replicated> {
    /// Update with which the changes become visible.
    seq: u64,
    /// The changes; `None` if some are unknown, so that the whole state is compared.
    changes: Option<Changes<S>>,
}

/// Panics of a table's callbacks.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct CallbackPanics {
    /// Number of panics.
    pub count: u64,
    /// Message of the last panic.
    pub last: Arc<str>,
}

/// Guard of an `on_change` callback; dropping it ends the calls.
///
/// Dropping does not wait for a call in progress, so a callback may drop its own guard. The table
/// is followed as long as one of these guards exists.
#[must_use = "dropping it ends the calls"]
pub struct OnChange {
    callback: Arc<dyn End>,
    /// The table, kept alive.
    _kept: Arc<dyn Any + Send + Sync>,
}

trait End: Send + Sync {
    /// Ends the calls, because the guard is dropped.
    fn leave(&self);
    fn panics(&self) -> Option<CallbackPanics>;
}

impl OnChange {
    /// Returns the panics of this callback, if there were any. After a panic, the callback is still
    /// called for the next change.
    #[must_use]
    pub fn panics(&self) -> Option<CallbackPanics> {
        self.callback.panics()
    }
}

impl Drop for OnChange {
    fn drop(&mut self) {
        self.callback.leave();
    }
}

impl fmt::Debug for OnChange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OnChange")
            .field("panics", &self.panics())
            .finish_non_exhaustive()
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl<S: Replicated> Callbacks<S> {
    /// Creates an empty set of callbacks.
    #[must_use]
    pub fn new() -> Self {
        Self(Mutex::default())
    }

    /// Returns the changes that are about to be queued if any callback needs them, to be
    /// [noted](Self::note) once they are queued.
    #[must_use]
    pub fn keep(&self, changes: &[(Arc<str>, S::Action)]) -> Option<Changes<S>> {
        let is_asked_for = !lock(&self.0).is_empty();
        is_asked_for.then(|| changes.into())
    }

    /// Notes queued changes, the last update of which is `seq`. `changes` is `None` if they were queued
    /// without a callback, or replaced the whole state.
    pub fn note(&self, seq: u64, changes: Option<Changes<S>>) {
        // The lock is released first: superseded changes are dropped by the program's own code,
        // which may use the callbacks.
        let callbacks = {
            let mut all = lock(&self.0);
            all.retain(|callback| callback.is_guarded());
            all.clone()
        };
        for callback in callbacks {
            callback.note(seq, changes.clone());
        }
    }

    /// Returns the panics of all callbacks whose guards exist.
    #[must_use]
    pub fn panics(&self) -> Option<CallbackPanics> {
        let callbacks = lock(&self.0);
        let guarded = callbacks.iter().filter(|callback| callback.is_guarded());
        let panics = guarded.filter_map(|callback| lock(&callback.panics).clone());
        panics.reduce(|before, panics| CallbackPanics {
            count: before.count + panics.count,
            ..panics
        })
    }

    /// Ends all callbacks, because the table is not followed any longer.
    pub fn end(&self) {
        let callbacks = std::mem::take(&mut *lock(&self.0));
        for callback in callbacks {
            callback.end();
        }
    }

    /// Adds a callback for the changes that become visible from now on. Its guard keeps `table`
    /// alive.
    ///
    /// # Errors
    /// If the system cannot create a thread.
    pub fn add(
        &self,
        hot: &HotRead<S>,
        table: Arc<dyn Any + Send + Sync>,
        call: impl FnMut(&str, Option<&S::Value>, Option<&S::Value>) + Send + 'static,
    ) -> io::Result<OnChange>
    where
        S: Entries,
        S::Value: Clone + PartialEq,
    {
        let callback = Arc::new(Callback {
            inbox: Mutex::new(Inbox {
                steps: VecDeque::new(),
                changes: 0,
            }),
            noted: Condvar::new(),
            ended: AtomicBool::new(false),
            guarded: AtomicBool::new(true),
            panics: Mutex::default(),
        });
        lock(&self.0).push(callback.clone());
        let mut reader = hot.create_named_handle("on_change");
        // Earlier updates may have been noted before, or without their changes.
        let queued = hot.latest_seq();
        reader.refresh();
        if reader.seq().unwrap_or_default() < queued {
            callback.note(queued, None);
        }
        let (runs, hot) = (callback.clone(), hot.clone());
        let guard = OnChange {
            callback,
            _kept: table,
        };
        std::thread::Builder::new()
            .name("hotread-change".to_owned())
            .spawn(move || {
                // The state's own code runs here, as does the destructor of the callback.
                let run = AssertUnwindSafe(|| runs.run(&hot, reader, call));
                if let Err(panic) = catch_unwind(run) {
                    runs.panicked(panic);
                }
                runs.end();
            })?;
        Ok(guard)
    }
}

impl<S: Replicated> Default for Callbacks<S> {
    fn default() -> Self {
        Self::new()
    }
}

impl<S: Replicated> fmt::Debug for Callbacks<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Callbacks").finish_non_exhaustive()
    }
}

impl<S: Replicated> Callback<S> {
    fn has_ended(&self) -> bool {
        self.ended.load(Ordering::Acquire)
    }

    fn is_guarded(&self) -> bool {
        self.guarded.load(Ordering::Acquire)
    }

    fn note(&self, seq: u64, changes: Option<Changes<S>>) {
        let mut inbox = lock(&self.inbox);
        if self.has_ended() {
            return;
        }
        let changes = changes.as_ref();
        let changes = changes.filter(|new| inbox.changes + new.len() <= MAX_CHANGES_BEHIND);
        let superseded = match changes {
            Some(_) => VecDeque::new(),
            None => inbox.clear(),
        };
        inbox.changes += changes.map_or(0, |new| new.len());
        let changes = changes.cloned();
        inbox.steps.push_back(Step { seq, changes });
        drop(inbox);
        self.noted.notify_one();
        // Values are the program's own and must not be dropped under the lock.
        drop(superseded);
    }

    /// Ends the calls.
    fn end(&self) {
        let mut inbox = lock(&self.inbox);
        self.ended.store(true, Ordering::Release);
        let untold = inbox.clear();
        drop(inbox);
        self.noted.notify_one();
        drop(untold);
    }

    fn panicked(&self, panic: Box<dyn Any + Send>) {
        let mut panics = lock(&self.panics);
        *panics = Some(CallbackPanics {
            count: panics.as_ref().map_or(0, |panics| panics.count) + 1,
            last: panic_message(&*panic).into(),
        });
        drop(panics);
        // Dropping the payload may panic as well.
        std::mem::forget(panic);
    }

    /// Waits for the first step after update `told`; returns `None` once the callback has ended.
    fn next(&self, told: u64) -> Option<Step<S>> {
        let mut inbox = lock(&self.inbox);
        loop {
            if self.has_ended() {
                return None;
            }
            while let Some(step) = inbox.steps.pop_front() {
                inbox.changes -= step.changes.as_ref().map_or(0, |changes| changes.len());
                if step.seq > told {
                    return Some(step);
                }
            }
            let waited = self.noted.wait(inbox);
            inbox = waited.unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// Waits until readers see an update; returns `false` if they never will, or the callback has
    /// ended.
    fn is_shown(&self, hot: &HotRead<S>, seq: u64) -> bool {
        loop {
            match hot.wait_published(seq, LOOK_EVERY) {
                Ok(()) => return !self.has_ended(),
                Err(WaitError::Timeout) if !self.has_ended() => {}
                Err(_) => return false,
            }
        }
    }

    fn run(
        &self,
        hot: &HotRead<S>,
        reader: HotReadHandle<S>,
        mut call: impl FnMut(&str, Option<&S::Value>, Option<&S::Value>),
    ) where
        S: Entries,
        S::Value: Clone + PartialEq,
    {
        let (mut state, mut told) = copy(reader);
        while let Some(Step { seq, changes }) = self.next(told) {
            if !self.is_shown(hot, seq) {
                return;
            }
            if let Some(changes) = changes {
                for (key, action) in &*changes {
                    let old = state.entry_of(key).cloned();
                    state.apply_update(action);
                    self.tell(&mut call, key, old.as_ref(), state.entry_of(key));
                }
                told = seq;
                continue;
            }
            let mut reader = hot.create_named_handle("on_change");
            reader.refresh();
            let (now, at) = copy(reader);
            for (key, old) in state.all_entries() {
                self.tell(&mut call, key, Some(old), now.entry_of(key));
            }
            for (key, new) in now.all_entries() {
                if state.entry_of(key).is_none() {
                    self.tell(&mut call, key, None, Some(new));
                }
            }
            (state, told) = (now, at);
        }
    }

    /// Makes the call if the value has changed.
    fn tell(
        &self,
        call: &mut impl FnMut(&str, Option<&S::Value>, Option<&S::Value>),
        key: &str,
        old: Option<&S::Value>,
        new: Option<&S::Value>,
    ) where
        S::Value: PartialEq,
    {
        if old == new || self.has_ended() {
            return;
        }
        if let Err(panic) = catch_unwind(AssertUnwindSafe(|| call(key, old, new))) {
            self.panicked(panic);
        }
    }
}

/// Clones the copy that a reader refers to, and returns it with its last update. The reader is
/// dropped, so that no callback keeps a copy from being written.
fn copy<S: Replicated>(reader: HotReadHandle<S>) -> (S, u64) {
    let held = reader.get().cloned().zip(reader.seq());
    held.expect("the reader was refreshed")
}

impl<S: Replicated> Inbox<S> {
    fn clear(&mut self) -> VecDeque<Step<S>> {
        self.changes = 0;
        std::mem::take(&mut self.steps)
    }
}

impl<S: Replicated> End for Callback<S> {
    fn leave(&self) {
        self.guarded.store(false, Ordering::Release);
        self.end();
    }

    fn panics(&self) -> Option<CallbackPanics> {
        lock(&self.panics).clone()
    }
}
