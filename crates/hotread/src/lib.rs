//! State that changes in small steps, read on the hot path at the price of a pointer.
//!
//! Routing tables, flags, prices, limits, access lists: services read them on every request,
//! while they change a little now and then. [`HotRead`] keeps two copies of such a state. Readers
//! keep the published one through a [handle](HotReadHandle) until they ask again; updates are
//! applied to the other copy, which is published once no reader holds it. Nobody waits: not
//! readers for writers, not writers for readers, and not writers for each other.
//!
//! # What it costs
//!
//! - **A read** is one relaxed load and a compare, plus a fence and some cache misses after each
//!   publication. No store, no reference count, no lock.
//! - **An update** is applied once to each copy, and not cloned for the last. Publishing it costs
//!   a fence and a look at each handle's slot.
//! - **Memory**: two copies of the state (more only if you allow it), the updates that a copy
//!   still lacks, and 128 bytes for each handle. Values behind an `Arc` are shared by the copies.
//! - **Staleness**: a reader sees the state as of its last [`current`](HotReadHandle::current):
//!   whole batches, and never an older state than before. Holding on to an outdated copy keeps
//!   updates from *everybody*: with two copies, nothing more is published until the slowest reader
//!   asks again or goes [`quiescent`](HotReadHandle::quiescent). Updates queue up meanwhile.
//! - **A blocked publication completes only if somebody completes it**: the next
//!   [`queue_update`](HotRead::queue_update) or [`maintain`](HotRead::maintain), a
//!   [maintainer](HotRead::spawn_maintainer), or whoever waits in
//!   [`wait_published`](HotRead::wait_published) or for [`published`](HotRead::published).
//!
//! # When to use something else
//!
//! - The state is small or rarely changed: an `Arc` behind `arc-swap` is simpler, keeps one copy,
//!   and lets readers hold old versions for as long as they like.
//! - Readers must see a write the moment it returns: use a lock, or a concurrent map.
//! - Many threads write unrelated keys: a concurrent map (`papaya`, `dashmap`) lets them work side
//!   by side, where here one of them applies for all.
//! - Readers hold the state across long waits and cannot let go: allow more
//!   [copies](HotReadBuilder::max_copies), or take [snapshots](HotRead::snapshot).
//!
//! # Example
//!
//! ```
//! use hotread::{HotRead, HotReadState};
//! use std::collections::BTreeMap;
//!
//! #[derive(Clone, Default)]
//! struct Table {
//!     values: BTreeMap<u64, u64>,
//! }
//!
//! #[derive(Clone)]
//! enum TableUpdate {
//!     Set(u64, u64),
//!     Remove(u64),
//! }
//!
//! impl HotReadState for Table {
//!     type Action = TableUpdate;
//!
//!     fn apply_update(&mut self, update: &TableUpdate) {
//!         match *update {
//!             TableUpdate::Set(key, value) => {
//!                 self.values.insert(key, value);
//!             }
//!             TableUpdate::Remove(key) => {
//!                 self.values.remove(&key);
//!             }
//!         }
//!     }
//! }
//!
//! let table = HotRead::new(Table::default());
//! let mut reader = table.create_handle();
//!
//! table.queue_update(TableUpdate::Set(1, 42));
//! assert_eq!(reader.current().values.get(&1), Some(&42));
//!
//! // The reader holds this copy until it asks again, so of two further updates the first is
//! // published and the second has to wait for it.
//! assert!(table.queue_update(TableUpdate::Set(2, 43)).published);
//! assert!(table.queue_update(TableUpdate::Remove(1)).blocked_by_workers);
//! assert_eq!(reader.current().values.len(), 2);
//! assert!(table.maintain().published);
//! assert_eq!(reader.current().values.get(&1), None);
//! ```
//!
//! The standard maps are states already, with [`MapUpdate`] as their update, and so is `Arc<V>`.
//!
//! # How it works
//!
//! Each handle has a slot, a padded atomic pointer that names the copy it holds. `current()`
//! compares the published pointer with the one held; if they differ, it stores the new one in the
//! slot, fences, and checks that it is still the published one. A writer publishes, fences, and
//! then scans the slots: a copy that is neither published nor named by a slot is free to be
//! written. Of the two fences one comes first, so either the writer sees the slot, or the reader
//! sees that it must take another copy.
//!
//! This is quiescent-state-based reclamation (as in liburcu's QSBR flavour) put to use for two
//! alternating copies (as in Ramalhete and Correia's Left-Right), with a log that replays to each
//! copy what the other got. `docs/orderings.md` in the repository argues every atomic from both
//! sides, and the loom models in `src/models` check the argument on this code.
//!
//! # Limits
//!
//! | what | how much | why |
//! |---|---|---|
//! | copies | 2, or up to [`MAX_COPIES`] by [`max_copies`](HotReadBuilder::max_copies) | each is a whole state |
//! | visible updates kept for a stalled copy | 65,536 | then it is cloned anew when it comes free |
//! | publications an extra copy sits out | 1,024 | then it is dropped |
//! | updates that are not visible yet | no limit, or [`max_pending`](HotReadBuilder::max_pending) for [`try_queue_updates`](HotRead::try_queue_updates) | `queue_update` refuses nothing |
//! | rejected batches remembered for waiters | 1,024 | each was a panic |
//!
//! # Platforms
//!
//! Everywhere std is. On Linux, letting go of a copy costs one store: whoever is about to sleep
//! uses membarrier(2) instead, which the first `HotRead` of a process registers for. Elsewhere,
//! and where the kernel refuses it, letting go also pays a fence.

#[cfg(not(target_has_atomic = "64"))]
compile_error!("hotread needs 64-bit atomics, which this target does not have");

mod applier;
mod builder;
mod combiner;
mod copies;
mod event;
mod guard;
mod handle;
mod hotread;
mod log;
mod maintainer;
mod maintenance;
#[cfg(all(test, any(hotread_loom, hotread_shuttle)))]
mod models;
mod node;
mod panics;
mod progress;
mod published;
mod read;
mod readers;
mod registry;
mod reply;
mod results;
mod service;
mod shared;
mod state;
mod states;
mod straight;
mod sync;
pub mod testing;
mod wait;
mod watch;

pub use builder::HotReadBuilder;
pub use copies::MAX_COPIES;
pub use event::Event;
pub use guard::{HotReadGuard, Projection};
pub use handle::HotReadHandle;
pub use hotread::{HotRead, MAX_BATCH, WeakHotRead};
pub use maintainer::Maintainer;
pub use maintenance::Maintenance;
pub use published::{Changed, Published};
pub use readers::Readers;
pub use reply::Reply;
pub use results::{BacklogFull, MaintenanceResult, Outcome, QueueResult, WaitError, WorkerStatus};
pub use state::HotReadState;
pub use states::{MapUpdate, SetUpdate, VecUpdate};
