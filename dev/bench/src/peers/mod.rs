//! The peers, each used the way its documentation recommends.
//!
//! [`Share`] is a way of sharing one whole state; [`Kv`] is a way of sharing a map. Every `Share`
//! of a map is a `Kv`; the concurrent maps are `Kv`s only. Figures take them as generic parameters,
//! so that every measured loop is compiled for its peer.

/// The ends of a peer whose one handle reads and writes.
macro_rules! one_handle {
    () => {
        type Reader = Self;
        type Writer = Self;
        type SharedWriter = Self;

        fn reader(&self) -> Self {
            self.clone()
        }

        fn share(writer: Self) -> Self {
            writer
        }
    };
}

/// The writer of a peer whose writers are clones of it.
macro_rules! cloned_writer {
    ($writer:ty) => {
        type Writer = $writer;
        type SharedWriter = $writer;

        fn share(writer: $writer) -> $writer {
            writer
        }
    };
}

/// The writer of a peer that has only one, which several threads share behind a mutex.
macro_rules! locked_writer {
    ($writer:ty) => {
        type Writer = $writer;
        type SharedWriter = Locked<$writer>;

        fn share(writer: $writer) -> Locked<$writer> {
            Locked::new(writer)
        }
    };
}

mod arc;
#[cfg(feature = "in-process")]
mod evmap;
mod hotread;
mod hotread_published;
mod left_right;
mod limit;
#[cfg(feature = "in-process")]
mod locks;
#[cfg(feature = "in-process")]
mod maps;
#[cfg(feature = "in-process")]
mod triple_buffer;
#[cfg(feature = "liburcu")]
mod urcu;
#[cfg(feature = "in-process")]
mod watch;

pub use self::arc::{ArcSwapCache, ArcSwapLoad, BareArc};
#[cfg(feature = "in-process")]
pub use self::evmap::EvMap;
pub use self::hotread::{CurrentReader, HotReadClosure, HotReadCurrent, HotReadWriter};
pub use self::hotread_published::Published;
pub use self::left_right::LeftRight;
pub use self::limit::{BareThreads, TwoCopies, TwoMaps};
#[cfg(feature = "in-process")]
pub use self::locks::{ParkingLotRwLock, StdRwLock};
#[cfg(feature = "in-process")]
pub use self::maps::{Dash, Papaya, SccHashIndex, SccHashMap};
#[cfg(feature = "in-process")]
pub use self::triple_buffer::TripleBuffer;
#[cfg(feature = "liburcu")]
pub use self::urcu::Qsbr;
#[cfg(feature = "in-process")]
pub use self::watch::Watch;

use std::sync::{Arc, Mutex};

use ::hotread::HotReadState;

use crate::states::{Key, Map, Update};

/// A way of sharing one whole state between threads.
pub trait Share<S: HotReadState>: Sized + Send + Sync + 'static {
    /// Name in the tables.
    const NAME: &'static str;
    /// One reader's end.
    type Reader: Read<S>;
    /// The writer's end, as a single writer owns it.
    type Writer: Write<S>;
    /// The writer's end, as several writers share it.
    type SharedWriter: Write<S> + Clone;

    /// Shares `initial`.
    fn build(initial: S) -> (Self, Self::Writer);
    /// One more reader.
    fn reader(&self) -> Self::Reader;
    /// Lets several threads write.
    fn share(writer: Self::Writer) -> Self::SharedWriter;
}

/// One reader's end of a [`Share`].
pub trait Read<S>: Send + 'static {
    /// Called once on the thread that is going to read.
    fn attach(&mut self) {}
    /// Called once on that thread when it is done.
    fn detach(&mut self) {}
    /// Reads the newest state there is.
    fn read<R>(&mut self, f: impl FnOnce(&S) -> R) -> R;
    /// Releases anything held between two reads.
    fn rest(&mut self) {}
}

/// The writer's end of a [`Share`].
pub trait Write<S: HotReadState>: Send + 'static {
    /// Called once on the thread that is going to write.
    fn attach(&mut self) {}
    /// Called once on that thread when it is done.
    fn detach(&mut self) {}
    /// Makes one update and publishes it. Returns `true` if it was visible at return.
    fn update(&mut self, update: S::Action) -> bool;
    /// Makes a batch of updates and publishes it once. Returns `true` if it was visible at return.
    fn update_all(&mut self, updates: impl Iterator<Item = S::Action>) -> bool;
    /// Returns when every update is visible. No reader may hold the same copy all the while.
    fn settle(&mut self) {}
    /// Updates that are kept for later.
    fn backlog(&self) -> usize {
        0
    }
}

/// A way of sharing a map from `K` to `u64`.
pub trait Kv<K: Key>: Sized + Send + Sync + 'static {
    /// Name in the tables.
    const NAME: &'static str;
    /// One reader's end.
    type Reader: KvRead<K>;
    /// The writer's end, as a single writer owns it.
    type Writer: KvWrite<K>;
    /// The writer's end, as several writers share it.
    type SharedWriter: KvWrite<K> + Clone;

    /// Shares the content of `initial`, hashed by its hasher.
    fn build(initial: Map<K>) -> (Self, Self::Writer);
    /// One more reader.
    fn reader(&self) -> Self::Reader;
    /// Lets several threads write.
    fn share(writer: Self::Writer) -> Self::SharedWriter;
}

/// One reader's end of a [`Kv`].
pub trait KvRead<K>: Send + 'static {
    /// Called once on the thread that is going to read.
    fn attach(&mut self) {}
    /// Called once on that thread when it is done.
    fn detach(&mut self) {}
    /// The value of a key.
    fn get(&mut self, key: &K) -> Option<u64>;
    /// Releases anything held between two reads.
    fn rest(&mut self) {}
}

/// The writer's end of a [`Kv`].
pub trait KvWrite<K: Clone>: Send + 'static {
    /// Called once on the thread that is going to write.
    fn attach(&mut self) {}
    /// Called once on that thread when it is done.
    fn detach(&mut self) {}
    /// Sets a key and publishes. Returns `true` if the change was visible at return.
    fn insert(&mut self, key: K, value: u64) -> bool;
    /// Sets many keys to one value and publishes once (once each, for peers without batches).
    /// Returns `true` if all changes were visible at return.
    #[inline]
    fn insert_all(&mut self, keys: &[K], value: u64) -> bool {
        keys.iter()
            .fold(true, |all, key| all & self.insert(key.clone(), value))
    }
    /// Removes a key and publishes. Returns `true` if the change was visible at return.
    fn remove(&mut self, key: &K) -> bool;
    /// Returns when every update is visible. No reader may hold the same copy all the while.
    fn settle(&mut self) {}
    /// Updates that are kept for later.
    fn backlog(&self) -> usize {
        0
    }
}

/// One lookup, the same machine code for every peer that returns a `&HashMap`: inlined into each
/// peer's loop, luck with code layout was worth 15 %, more than the measured differences.
#[inline(never)]
fn look_up<K: Key>(map: &Map<K>, key: &K) -> Option<u64> {
    map.get(key).copied()
}

impl<P: Share<Map<K>>, K: Key> Kv<K> for P {
    const NAME: &'static str = <P as Share<Map<K>>>::NAME;
    type Reader = <P as Share<Map<K>>>::Reader;
    type Writer = <P as Share<Map<K>>>::Writer;
    type SharedWriter = <P as Share<Map<K>>>::SharedWriter;

    fn build(initial: Map<K>) -> (Self, Self::Writer) {
        <P as Share<Map<K>>>::build(initial)
    }

    fn reader(&self) -> Self::Reader {
        Share::reader(self)
    }

    fn share(writer: Self::Writer) -> Self::SharedWriter {
        <P as Share<Map<K>>>::share(writer)
    }
}

impl<R: Read<Map<K>>, K: Key> KvRead<K> for R {
    fn attach(&mut self) {
        Read::attach(self);
    }

    fn detach(&mut self) {
        Read::detach(self);
    }

    #[inline]
    fn get(&mut self, key: &K) -> Option<u64> {
        self.read(|map| look_up(map, key))
    }

    fn rest(&mut self) {
        Read::rest(self);
    }
}

impl<W: Write<Map<K>>, K: Key> KvWrite<K> for W {
    fn attach(&mut self) {
        Write::attach(self);
    }

    fn detach(&mut self) {
        Write::detach(self);
    }

    #[inline]
    fn insert(&mut self, key: K, value: u64) -> bool {
        self.update(Update::Insert(key, value))
    }

    #[inline]
    fn insert_all(&mut self, keys: &[K], value: u64) -> bool {
        self.update_all(keys.iter().map(|key| Update::Insert(key.clone(), value)))
    }

    #[inline]
    fn remove(&mut self, key: &K) -> bool {
        self.update(Update::Remove(key.clone()))
    }

    fn settle(&mut self) {
        Write::settle(self);
    }

    fn backlog(&self) -> usize {
        Write::backlog(self)
    }
}

/// A single writer's end behind a mutex, for peers whose documentation recommends to share it so.
pub struct Locked<W>(Arc<Mutex<W>>);

impl<W> Locked<W> {
    /// Puts the writer behind a mutex.
    pub fn new(writer: W) -> Self {
        Self(Arc::new(Mutex::new(writer)))
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, W> {
        self.0.lock().expect("no writer panics")
    }
}

impl<W> Clone for Locked<W> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<S: HotReadState, W: Write<S>> Write<S> for Locked<W> {
    fn attach(&mut self) {
        self.lock().attach();
    }

    fn detach(&mut self) {
        self.lock().detach();
    }

    #[inline]
    fn update(&mut self, update: S::Action) -> bool {
        self.lock().update(update)
    }

    #[inline]
    fn update_all(&mut self, updates: impl Iterator<Item = S::Action>) -> bool {
        self.lock().update_all(updates)
    }

    fn settle(&mut self) {
        self.lock().settle();
    }
}

/// A peer that only reads: it has no way to update what it shares.
#[derive(Clone)]
pub struct NoWriter;

impl<S: HotReadState> Write<S> for NoWriter {
    fn update(&mut self, _: S::Action) -> bool {
        unreachable!("figures with updates leave this peer out")
    }

    fn update_all(&mut self, _: impl Iterator<Item = S::Action>) -> bool {
        unreachable!("figures with updates leave this peer out")
    }
}

#[cfg(test)]
mod tests;
