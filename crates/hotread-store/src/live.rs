//! A table in memory: loaded when it is first requested, then updated by the committer, and unloaded a
//! while after its last handle is dropped.

use crate::error::{CommitError, ReadError};
use hotread::{HotRead, HotReadState, Maintainer};
use hotread_proto::{Change, Records, TableName};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// Copies of a live table: readers may be stuck in two old ones while others still see changes.
const COPIES: usize = 4;
/// Time for which an unused table stays in memory: long enough that a short pause causes no reload,
/// short enough that its memory is soon free.
const IDLE: Duration = Duration::from_secs(30);
/// Maximum number of changes that may wait to become visible; more are refused.
const MAX_INVISIBLE: u64 = 65_536;

pub(crate) struct Live {
    name: TableName,
    state: Mutex<State>,
    /// Held while the table is loaded, so that it is loaded only once.
    loading: Mutex<()>,
}

enum State {
    /// Not loaded.
    Cold,
    /// Being read from disk, with the changes that are committed in the meantime.
    Loading(Vec<Arc<Change>>),
    /// Loaded, and updated by the committer.
    Warm(Warm),
}

struct Warm {
    hot: HotRead<Records>,
    /// The last change that it contains. It may be ahead of the committer, because a load can read a
    /// commit that the committer has not pushed yet.
    seq: u64,
    /// The time of the last request.
    used: Instant,
    /// Completes publications that readers have blocked.
    _maintainer: Maintainer,
}

impl Live {
    pub(crate) fn new(name: &TableName) -> Self {
        Self {
            name: name.clone(),
            state: Mutex::new(State::Cold),
            loading: Mutex::new(()),
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // A panic under this lock leaves the state consistent, because each step is one assignment.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn warm(&self) -> Option<HotRead<Records>> {
        match &*self.lock() {
            State::Warm(warm) => Some(warm.hot.clone()),
            _ => None,
        }
    }

    /// Like [`warm`](Self::warm), for a request of a caller, which counts as a use.
    fn used(&self) -> Option<HotRead<Records>> {
        let State::Warm(warm) = &mut *self.lock() else {
            return None;
        };
        warm.used = Instant::now();
        Some(warm.hot.clone())
    }

    /// Unloads the table if it has no handles and was not requested for a while. Dropping the result
    /// takes as long as several commits if the table is large.
    #[must_use]
    pub(crate) fn cool(&self, now: Instant) -> Option<Cooled> {
        let mut state = self.lock();
        // No caller can obtain a handle in the meantime, because that needs this lock.
        let idle = matches!(&*state, State::Warm(warm)
            if now.saturating_duration_since(warm.used) >= IDLE && warm.hot.is_unshared());
        idle.then(|| Cooled(std::mem::replace(&mut *state, State::Cold)))
    }

    /// Returns the table in memory, and loads it first if necessary. `load` reads it in several
    /// transactions, and returns the last change of which it has seen any part; `snapshot` reads it in
    /// one transaction.
    pub(crate) fn get(
        &self,
        load: impl FnOnce() -> Result<(Records, u64), ReadError>,
        snapshot: impl FnOnce() -> Result<Records, ReadError>,
    ) -> Result<HotRead<Records>, ReadError> {
        if let Some(hot) = self.used() {
            return Ok(hot);
        }
        let _one_loader = self.loading.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(hot) = self.used() {
            return Ok(hot);
        }
        // From here on, every commit is in what is read below, in the list, or in both.
        *self.lock() = State::Loading(Vec::new());
        let unless_finished = Unwarmed(self);
        let (mut records, last_read) = load()?;
        let handed_over = match &*self.lock() {
            State::Loading(meanwhile) => meanwhile.last().map_or(0, |last| last.position.seq),
            _ => 0,
        };
        if last_read > handed_over.max(records.position().seq) {
            // The last parts contain a part of a change that is not in the list yet.
            drop(records);
            records = snapshot()?;
        }
        let mut state = self.lock();
        let State::Loading(meanwhile) = &*state else {
            // The next incarnation of the table has taken over.
            return Err(ReadError::unknown(&self.name));
        };
        for change in meanwhile {
            if change.position.seq > records.position().seq {
                records.apply_update(change);
            }
        }
        let seq = records.position().seq;
        let hot = HotRead::builder(records)
            .max_copies(COPIES)
            .name(self.name.as_str())
            .build();
        let maintainer = hot.spawn_maintainer().map_err(|error| {
            let reason = error.to_string();
            ReadError::NoThread { reason }
        })?;
        *state = State::Warm(Warm {
            hot: hot.clone(),
            seq,
            used: Instant::now(),
            _maintainer: maintainer,
        });
        drop(state);
        std::mem::forget(unless_finished);
        Ok(hot)
    }

    /// Adds committed changes, which become visible together.
    pub(crate) fn push(&self, changes: &[Arc<Change>]) {
        match &mut *self.lock() {
            State::Cold => {}
            State::Loading(meanwhile) => meanwhile.extend_from_slice(changes),
            State::Warm(Warm { hot, seq, .. }) => {
                let new = changes.iter().filter(|change| change.position.seq > *seq);
                hot.queue_updates(new.cloned());
                if let Some(last) = changes.last() {
                    *seq = last.position.seq.max(*seq);
                }
            }
        }
    }

    /// Updates the copy that no reader uses, if the table is loaded.
    pub(crate) fn maintain(&self) {
        if let Some(hot) = self.warm() {
            hot.maintain();
        }
    }

    /// Moves the handles of `old` to this incarnation.
    pub(crate) fn adopt(&self, old: &Live, records: impl FnOnce() -> Records) {
        let state = std::mem::replace(&mut *old.lock(), State::Cold);
        if let State::Warm(mut warm) = state {
            let records = records();
            warm.seq = records.position().seq;
            warm.hot.replace(records);
            *self.lock() = State::Warm(warm);
        }
    }

    /// Fails if too many changes wait to become visible.
    pub(crate) fn check(&self) -> Result<(), CommitError> {
        let (waiting, hot) = match &*self.lock() {
            State::Cold => return Ok(()),
            State::Loading(meanwhile) => (meanwhile.len() as u64, None),
            State::Warm(Warm { hot, .. }) => {
                let waiting = hot.latest_seq().saturating_sub(hot.published_seq());
                (waiting, (waiting >= MAX_INVISIBLE).then(|| hot.clone()))
            }
        };
        if waiting < MAX_INVISIBLE {
            return Ok(());
        }
        let workers = hot.map(|hot| hot.workers()).into_iter().flatten();
        let worker = workers.filter(|it| it.blocking).find_map(|it| it.name);
        Err(CommitError::ReadersStalled {
            table: self.name.clone(),
            waiting,
            worker: worker.map(|name| name.to_string()),
        })
    }
}

/// An unloaded table, which this value is the last to hold.
pub(crate) struct Cooled(#[expect(dead_code, reason = "it is held to be dropped")] State);

/// Frees the memory of unloaded tables, on a thread of its own.
pub(crate) fn free(cooled: Vec<Cooled>) {
    let thread = std::thread::Builder::new().name("hotread-free".to_owned());
    // If no thread can be started, they are dropped here.
    let _ = thread.spawn(move || {
        drop(cooled);
        hotread::memory::give_back();
    });
}

/// Returns a table to `Cold` if its loading failed.
struct Unwarmed<'a>(&'a Live);

impl Drop for Unwarmed<'_> {
    fn drop(&mut self) {
        *self.0.lock() = State::Cold;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Store, TableOptions};
    use hotread_proto::{Key, Put, Txn, Value};

    #[test]
    fn a_table_is_let_go_of_when_it_is_not_held() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(dir.path().join("test.db")).unwrap();
        let name = TableName::new("t").unwrap();
        store.create_table(&name, TableOptions::default()).unwrap();
        let table = store.0.registry.get(&name).unwrap();
        let later = || Instant::now() + IDLE;

        assert!(table.live.cool(later()).is_none(), "it is not in memory");
        let mut handle = store.handle(&name).unwrap();
        assert!(table.live.cool(later()).is_none(), "there is a handle");
        let live = store.live(&name).unwrap();
        let readers = live.readers();
        drop((handle, live));
        let cooled = table.live.cool(later());
        assert!(cooled.is_none(), "there is a factory of handles");
        drop(readers);
        let cooled = table.live.cool(Instant::now());
        assert!(cooled.is_none(), "it was just used");
        assert!(table.live.cool(later()).is_some());
        assert!(table.live.warm().is_none());

        let put = Put::new(Key::new("k").unwrap(), Value::parse(b"1").unwrap());
        store.commit(&name, Txn::new().put(put)).unwrap();
        handle = store.handle(&name).unwrap();
        assert!(handle.current().get("k").is_some(), "it is loaded again");
    }
}
