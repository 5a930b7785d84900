//! A table in memory: loaded when it is first asked for, moved on by the committer after that, and let
//! go of a while after its last handle.

use crate::error::{CommitError, ReadError};
use hotread::{HotRead, HotReadState, Maintainer};
use hotread_proto::{Change, Records, TableName};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// Copies of a live table: with readers stuck in two old ones, the others still see changes.
const COPIES: usize = 4;
/// Time for which a table that is not in use stays in memory: a moment's pause is no reason to load it
/// again, and a minute later its memory is free.
const IDLE: Duration = Duration::from_secs(30);
/// Most changes that may wait to become visible; more are refused.
const MAX_INVISIBLE: u64 = 65_536;

pub(crate) struct Live {
    name: TableName,
    state: Mutex<State>,
    /// Held while the table is loaded, so that it is loaded once.
    loading: Mutex<()>,
}

enum State {
    /// It was not asked for.
    Cold,
    /// It is read from disk; what is committed meanwhile.
    Loading(Vec<Arc<Change>>),
    /// The committer moves it on.
    Warm(Warm),
}

struct Warm {
    hot: HotRead<Records>,
    /// The last change that it was given. It may be ahead of the committer: what is read from disk
    /// can be committed without having been handed over yet.
    seq: u64,
    /// When it was last asked for.
    used: Instant,
    /// Completes publications that readers held up, for as long as it is here.
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
        // A panic while the state was held leaves it whole: each step is one assignment.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn warm(&self) -> Option<HotRead<Records>> {
        match &*self.lock() {
            State::Warm(warm) => Some(warm.hot.clone()),
            _ => None,
        }
    }

    /// As [`warm`](Self::warm), for a caller of the store.
    fn used(&self) -> Option<HotRead<Records>> {
        let State::Warm(warm) = &mut *self.lock() else {
            return None;
        };
        warm.used = Instant::now();
        Some(warm.hot.clone())
    }

    /// Lets go of a table that is not held and was not asked for in a while, if it is one. To drop what
    /// this returns takes as long as some commits, if the table is large.
    #[must_use]
    pub(crate) fn cool(&self, now: Instant) -> Option<Cooled> {
        let mut state = self.lock();
        // No caller gets hold of it meanwhile, which would be under this lock.
        let idle = matches!(&*state, State::Warm(warm)
            if now.saturating_duration_since(warm.used) >= IDLE && warm.hot.is_unshared());
        idle.then(|| Cooled(std::mem::replace(&mut *state, State::Cold)))
    }

    /// The table in memory, loaded if it is not there yet. `load` reads it in several transactions, and gives the
    /// last change of which it has a part; `snapshot` reads it in one.
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
        // From here on every commit is either in what is read below, or in the list, or in both.
        *self.lock() = State::Loading(Vec::new());
        let unless_finished = Unwarmed(self);
        let (mut records, last_read) = load()?;
        let handed_over = match &*self.lock() {
            State::Loading(meanwhile) => meanwhile.last().map_or(0, |last| last.position.seq),
            _ => 0,
        };
        if last_read > handed_over.max(records.position().seq) {
            // Its last parts have a part of a change that is not in the list yet.
            drop(records);
            records = snapshot()?;
        }
        let mut state = self.lock();
        let State::Loading(meanwhile) = &*state else {
            // The next incarnation has taken over.
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

    /// Changes were committed. They become visible together.
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

    /// Brings the copy up to date that nobody reads, if there is one.
    pub(crate) fn maintain(&self) {
        if let Some(hot) = self.warm() {
            hot.maintain();
        }
    }

    /// Those who hold handles of `old` follow this incarnation from now on.
    pub(crate) fn adopt(&self, old: &Live, records: impl FnOnce() -> Records) {
        let state = std::mem::replace(&mut *old.lock(), State::Cold);
        if let State::Warm(mut warm) = state {
            let records = records();
            warm.seq = records.position().seq;
            warm.hot.replace(records);
            *self.lock() = State::Warm(warm);
        }
    }

    /// Is there room for more changes?
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

/// A table that is in memory no more but for this.
pub(crate) struct Cooled(#[expect(dead_code, reason = "it is held to be dropped")] State);

/// Gives the memory of tables back, on a thread of its own.
pub(crate) fn free(cooled: Vec<Cooled>) {
    let thread = std::thread::Builder::new().name("hotread-free".to_owned());
    // Without a thread they are dropped here.
    let _ = thread.spawn(move || {
        drop(cooled);
        hotread::memory::give_back();
    });
}

/// Makes a table cold again whose loading failed.
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
