//! What the server takes before it says no: bytes in memory and connections. Each limit of theirs that
//! is not an option is a constant here.

use crate::caller::{Who, peer_key};
use crate::error::Failure;
use dashmap::DashMap;
use hotread_proto::Code;
use hotread_proto::limits::{MAX_TXN_BYTES, MAX_VALUE_BYTES};
use hotread_store::MAX_PAGE_BYTES;
use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore};

/// Largest head of a request, in bytes: room for a key of 512 bytes, percent-encoded, and for what
/// browsers send along.
pub(crate) const MAX_HEAD_BYTES: usize = 16 << 10;
/// Buffer of a connection in each direction, in bytes. A head that does not fit is refused without
/// being looked at; one that does can be answered with the reason.
pub(crate) const MAX_BUFFER_BYTES: usize = 64 << 10;

/// Largest body with one record, in bytes: a value that is not compact yet, and what is around it.
pub(crate) const MAX_RECORD_BODY: usize = 2 * MAX_VALUE_BYTES + (64 << 10);
/// Largest body with a transaction, in bytes: JSON may take twice what it says.
pub(crate) const MAX_TXN_BODY: usize = 2 * MAX_TXN_BYTES;
/// Largest body with a table's options, in bytes: a schema is a value.
pub(crate) const MAX_TABLE_BODY: usize = MAX_RECORD_BODY;
/// Largest body with a token, in bytes: room for some hundred tables.
pub(crate) const MAX_TOKEN_BODY: usize = 64 << 10;

/// How long a body may take before the rate counts.
pub(crate) const BODY_GRACE: Duration = Duration::from_secs(10);
/// The slowest that a body may come after that, in bytes per second: slower than any link that a
/// fleet is run over. Memory is held meanwhile.
pub(crate) const MIN_BODY_RATE: u64 = 16 << 10;

/// What is set aside for a page before it is read, in bytes: its records, of which the last may be too
/// many by one, and their JSON in a buffer that grows by doubling.
pub(crate) const PAGE_MEMORY: usize = 3 * (MAX_PAGE_BYTES + MAX_VALUE_BYTES);
/// Bytes of changes that end an answer; a large one comes alone.
pub(crate) const CHANGES_BYTES: usize = 2 << 20;
/// Most records that a search answers with: the best ones. They are read in one go.
pub(crate) const MAX_FOUND: usize = 100;
/// Longest query of a search, in bytes.
pub(crate) const MAX_QUERY_BYTES: usize = 1 << 10;

/// Bytes that requests and answers may take in memory, all together; half of them for one caller.
/// Nobody waits for them: who waits holds what others wait for.
pub(crate) struct Budgets {
    all: Arc<Semaphore>,
    /// In units.
    each: usize,
    /// Bytes that were given back since memory was last given back to the system.
    released: Arc<AtomicUsize>,
    callers: DashMap<Who, Weak<Semaphore>>,
}

/// What one caller may take.
#[derive(Clone)]
pub(crate) struct Budget {
    own: Arc<Semaphore>,
    all: Arc<Semaphore>,
    /// In units.
    max: usize,
    released: Arc<AtomicUsize>,
}

/// What a permit stands for, in bytes: permits are counted with 32 bits.
const UNIT: usize = 4 << 10;
/// Callers that are known before those are forgotten who hold nothing.
const MANY_CALLERS: usize = 1_024;

fn units(bytes: usize) -> u32 {
    u32::try_from(bytes.div_ceil(UNIT)).unwrap_or(u32::MAX)
}

impl Budgets {
    pub(crate) fn new(bytes: usize) -> Self {
        Self {
            all: Arc::new(Semaphore::new(units(bytes) as usize)),
            each: units(bytes / 2) as usize,
            released: Arc::default(),
            callers: DashMap::new(),
        }
    }

    /// That of a caller.
    pub(crate) fn of(&self, who: Who) -> Budget {
        if self.callers.len() > MANY_CALLERS {
            self.callers.retain(|_, own| own.strong_count() > 0);
        }
        let mut own = self.callers.entry(who).or_default();
        let known = own.upgrade();
        let own = known.unwrap_or_else(|| {
            let new = Arc::new(Semaphore::new(self.each));
            *own = Arc::downgrade(&new);
            new
        });
        Budget {
            own,
            all: self.all.clone(),
            max: self.each,
            released: self.released.clone(),
        }
    }
}

/// How often it is looked at whether much was let go of.
const GIVE_BACK_EVERY: Duration = Duration::from_secs(5);
/// Below so many bytes, the allocator may keep what was let go of.
const WORTH_GIVING_BACK: usize = 32 << 20;

impl Budgets {
    /// Gives memory back to the system after much of it was let go of, for as long as it is polled.
    pub(crate) async fn give_back(&self) {
        loop {
            tokio::time::sleep(GIVE_BACK_EVERY).await;
            // ORDERING: the count stands for itself.
            if self.released.load(Ordering::Relaxed) >= WORTH_GIVING_BACK {
                self.released.store(0, Ordering::Relaxed);
                // It cannot panic; without the runtime there is nothing to be done.
                let given = tokio::task::spawn_blocking(hotread::memory::give_back);
                drop(given.await);
            }
        }
    }
}

impl Budget {
    /// So many bytes, at once or not at all.
    ///
    /// # Errors
    /// `BUSY` if they are not free at the moment, and `TOO_LARGE` if they never are.
    pub(crate) fn take(&self, bytes: usize) -> Result<Held, Failure> {
        self.check(units(bytes) as usize)?;
        let permit = |of: &Arc<Semaphore>| {
            let permit = of.clone().try_acquire_many_owned(units(bytes));
            permit.map_err(|_| {
                let message = "requests and answers take all the memory that is set aside for \
                               them; try again later";
                Failure::new(Code::Busy, message)
            })
        };
        Ok(Held {
            own: permit(&self.own)?,
            all: permit(&self.all)?,
            budget: self.clone(),
        })
    }

    /// So many units were given back.
    fn note(&self, units: usize) {
        // Few are too little for the allocator to do anything about.
        if units > 16 {
            self.released.fetch_add(units * UNIT, Ordering::Relaxed);
        }
    }

    /// Whether so many units can ever be taken.
    fn check(&self, units: usize) -> Result<(), Failure> {
        if units <= self.max {
            return Ok(());
        }
        let (bytes, max) = (units.saturating_mul(UNIT), self.max * UNIT);
        let message = format!(
            "this takes {bytes} bytes in memory, and one caller may take {max}, half of the server's \
             max_buffered_bytes; ask for less or send less at once, or raise that limit"
        );
        Err(Failure::new(Code::TooLarge, message))
    }
}

/// A part of the budget; given back when it is dropped.
pub(crate) struct Held {
    own: OwnedSemaphorePermit,
    all: OwnedSemaphorePermit,
    budget: Budget,
}

impl Held {
    /// As if it had been taken for so many bytes.
    pub(crate) fn resize(&mut self, bytes: usize) -> Result<(), Failure> {
        let (wanted, has) = (units(bytes) as usize, self.all.num_permits());
        if wanted > has {
            self.budget.check(wanted)?;
            let mut more = self.budget.take((wanted - has) * UNIT)?;
            let Held { own, all, .. } = &mut more;
            self.own
                .merge(own.split(own.num_permits()).ok_or_else(Failure::internal)?);
            self.all
                .merge(all.split(all.num_permits()).ok_or_else(Failure::internal)?);
        } else {
            drop(self.own.split(has - wanted));
            drop(self.all.split(has - wanted));
            self.budget.note(has - wanted);
        }
        Ok(())
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.budget.note(self.all.num_permits());
    }
}

/// Places for connections, in all and for each peer. A place is held for as long as the socket
/// lives, whatever is spoken on it.
pub(crate) struct Places {
    taken: Mutex<Taken>,
    empty: Notify,
}

struct Taken {
    max: usize,
    max_per_peer: usize,
    all: usize,
    by_peer: HashMap<IpAddr, usize>,
}

/// A place for a connection; given back when it is dropped.
pub(crate) struct Place {
    places: Arc<Places>,
    peer: IpAddr,
}

impl Places {
    pub(crate) fn new(max: usize, max_per_peer: usize) -> Self {
        Self {
            taken: Mutex::new(Taken {
                max,
                max_per_peer,
                all: 0,
                by_peer: HashMap::new(),
            }),
            empty: Notify::new(),
        }
    }

    /// Allows more from now on, or fewer: those that are taken beyond that stay taken.
    pub(crate) fn resize(&self, max: usize, max_per_peer: usize) {
        let mut taken = self.lock();
        taken.max = max;
        taken.max_per_peer = max_per_peer;
    }

    fn lock(&self) -> MutexGuard<'_, Taken> {
        // Nothing panics while it is held.
        self.taken.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A place, if there is one for this peer.
    pub(crate) fn take(self: &Arc<Self>, peer: IpAddr) -> Option<Place> {
        let peer = peer_key(peer);
        let mut taken = self.lock();
        let has = taken.by_peer.get(&peer).copied().unwrap_or(0);
        if taken.all >= taken.max || has >= taken.max_per_peer {
            return None;
        }
        taken.all += 1;
        taken.by_peer.insert(peer, has + 1);
        Some(Place {
            places: self.clone(),
            peer,
        })
    }

    pub(crate) fn taken(&self) -> usize {
        self.lock().all
    }

    /// Waits until all places are free.
    pub(crate) async fn empty(&self) {
        loop {
            // Before the look, so that no notice is missed.
            let empty = self.empty.notified();
            if self.taken() == 0 {
                return;
            }
            empty.await;
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut taken = self.places.lock();
        taken.all -= 1;
        if let Some(has) = taken.by_peer.get_mut(&self.peer) {
            *has -= 1;
            if *has == 0 {
                taken.by_peer.remove(&self.peer);
            }
        }
        if taken.all == 0 {
            self.places.empty.notify_waiters();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_peer_cannot_take_the_places_of_others_and_gives_its_own_back() {
        let places = Arc::new(Places::new(3, 2));
        let (one, other): (IpAddr, IpAddr) =
            ("10.0.0.1".parse().unwrap(), "10.0.0.2".parse().unwrap());
        let mut held = vec![places.take(one).unwrap(), places.take(one).unwrap()];
        assert!(places.take(one).is_none());
        let theirs = places.take(other).unwrap();
        assert!(places.take(other).is_none(), "all three are taken");
        held.pop();
        assert!(places.take(one).is_some());
        places.resize(4, 2);
        let fourth = places.take(other).unwrap();
        places.resize(3, 2);
        assert!(places.take(other).is_none());
        drop((held, theirs, fourth));
        assert_eq!(places.taken(), 0);
        assert!(places.lock().by_peer.is_empty());
    }

    #[test]
    fn memory_that_is_held_is_not_given_out_twice() {
        let budgets = Budgets::new(20 * UNIT);
        let budget = budgets.of(Who::Token(1));
        let mut held = budget.take(6 * UNIT).unwrap();
        assert!(budget.take(5 * UNIT).is_err());
        let never = budget.take(11 * UNIT).err().unwrap();
        assert_eq!(never.body().code, Code::TooLarge);
        assert_eq!(
            held.resize(11 * UNIT).unwrap_err().body().code,
            Code::TooLarge
        );
        held.resize(UNIT + 1).unwrap();
        let other = budget.take(8 * UNIT).unwrap();
        assert!(held.resize(3 * UNIT).is_err());
        drop(other);
        held.resize(10 * UNIT).unwrap();
        drop(held);
        let half = budget.take(10 * UNIT).unwrap();
        assert!(budgets.of(Who::Token(1)).take(UNIT).is_err());
        let rest = budgets.of(Who::Token(2)).take(10 * UNIT);
        assert!(rest.is_ok(), "one caller leaves half for others");
        assert!(budgets.of(Who::Token(3)).take(UNIT).is_err());
        drop((half, rest));
        assert!(budget.take(10 * UNIT).is_ok());
    }
}
