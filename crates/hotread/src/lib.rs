//! State that changes in small steps, read on the hot path at the price of a pointer.
//!
//! Routing tables, flags, prices, limits, access lists: services read them on every request,
//! while they change a little now and then. [`HotRead`] keeps two copies of such a state. Readers
//! keep the published one through a [handle](HotReadHandle) until they ask again; updates are
//! applied to the other copy, which is published once no reader holds it. Readers do not wait for
//! writers, nor writers for readers.
//!
//! # What it costs
//!
//! - **A read** is one relaxed load and a compare, plus a fence and some cache misses after each
//!   publication. No store, no reference count, no lock.
//! - **An update** is applied once to each copy, and not cloned for the last. Publishing it costs
//!   two compare-and-swaps (and a fence, where they are none) and a look at each handle's slot.
//! - **Memory**: two copies of the state (more only if you allow it), the updates that a copy
//!   still lacks, and a slot of 128 bytes for each handle at the peak: the first 8 come with the
//!   state, more in groups of 64, about 8 KiB each. Values behind an `Arc` are shared by the
//!   copies.
//! - **Staleness**: a reader sees the state as of its last [`current`](HotReadHandle::current):
//!   whole batches, and never an older state than before. Holding on to an outdated copy keeps
//!   updates from *every* reader: with two copies, nothing more is published until the slowest
//!   reader asks again or goes [`quiescent`](HotReadHandle::quiescent). Updates queue up meanwhile.
//! - **A blocked publication completes only if some call completes it**: the next
//!   [`queue_update`](HotRead::queue_update) or [`maintain`](HotRead::maintain), a
//!   [maintainer](HotRead::spawn_maintainer), a thread that waits in
//!   [`wait_published`](HotRead::wait_published), or a [`published`](HotRead::published) future.
//!
//! # Who waits for whom
//!
//! | call | may wait for | for at most |
//! |---|---|---|
//! | reading by [`current`](HotReadHandle::current), [`refresh`](HotReadHandle::refresh), [`read`](HotRead::read), [`quiescent`](HotReadHandle::quiescent) | nothing; another round for each publication in between | |
//! | making and dropping handles | other threads that do so | a few memory accesses each |
//! | [`queue_update`](HotRead::queue_update), [`queue_updates`](HotRead::queue_updates), [`update`](HotRead::update), [`replace`](HotRead::replace) | the thread that applies, if more than 128 updates of running writers are queued ahead; not from inside an update | its own batch and about 800 updates, or one piece of a backlog; then the same for each caller ahead in line |
//! | [`maintain`](HotRead::maintain) | as `queue_update`, if the thread that applies has done its share | the same |
//! | [`try_queue_updates`](HotRead::try_queue_updates) | nothing: it refuses | |
//! | [`wait_published`](HotRead::wait_published) | readers that hold outdated copies | its timeout and one piece of work |
//! | dropping the last [`HotRead`] | the maintainer, if it is at work on this state | one piece of work |
//!
//! No call does unbounded work for others: beyond its own batch, at most about 6,000 updates of other
//! writers, and one piece of a backlog, which is 16,384 applications to each of two copies. [`maintain`](HotRead::maintain)
//! works on all that was queued when it began.
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
//! The standard collections are states already, with methods for their updates:
//!
//! ```
//! use hotread::HotRead;
//! use std::collections::HashMap;
//!
//! let prices = HotRead::new(HashMap::<&str, u32>::new());
//! let mut reader = prices.create_handle();
//! prices.insert("apple", 30);
//! prices.modify("apple", |price| *price += 5);
//! assert_eq!(reader.current()["apple"], 35);
//! ```
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
//! This is quiescent-state-based reclamation (as in liburcu's QSBR flavour; `quiescent()` is its
//! `rcu_thread_offline`) put to use for two alternating copies (as in Ramalhete and Correia's
//! Left-Right), with a log that replays to each copy what the other got, and flat combining (Hendler
//! and others, 2010) among writers. `docs/orderings.md` in the repository argues every atomic from
//! both sides, and the loom models in `src/models` check the argument on this code.
//!
//! # Limits
//!
//! | what | how much | why |
//! |---|---|---|
//! | copies | 2, or up to [`MAX_COPIES`] by [`max_copies`](HotReadBuilder::max_copies) | each is a whole state |
//! | updates queued ahead by running writers | 128, then callers wait for room | memory, and the time until they are visible |
//! | updates of others that one call applies | 512 and what was queued by then, then it hands over | no call lasts for as long as others go on |
//! | a piece of work on a backlog | 16,384 applications to a copy; a clone counts as 1,024 | about a millisecond for a large map |
//! | visible updates kept for a stalled copy | 65,536 | then it is cloned when it comes free |
//! | publications an extra copy sits out | 1,024 | then it is dropped |
//! | updates that readers keep from being visible | no limit, or [`max_pending`](HotReadBuilder::max_pending) for [`try_queue_updates`](HotRead::try_queue_updates); a [`replace`](HotRead::replace) drops those before it | `queue_update` refuses nothing |
//! | updates in a batch | [`MAX_BATCH`] | sequence numbers have 62 bits |
//! | rejected batches remembered for waiters | 1,024 | each was a panic |
//!
//! # Platforms
//!
//! Targets with the standard library and 64-bit atomics. On Linux, letting go of a copy costs one
//! store: a thread that is about to sleep uses membarrier(2) instead, which the first `HotRead` of a
//! process registers for. Elsewhere, and where the kernel refuses it, letting go also pays a fence.
//! Where a sandbox kills a process for an unknown system call, build with
//! `--cfg hotread_no_membarrier`. Where threads cannot be started (`wasm32-unknown-unknown`),
//! [`spawn_maintainer`](HotRead::spawn_maintainer) is an error and
//! [`maintenance`](HotRead::maintenance) takes its place; waiting with a timeout needs a clock.

#[cfg(not(target_has_atomic = "64"))]
compile_error!("hotread needs 64-bit atomics, which this target does not have");

mod applier;
mod blocked;
mod combiner;
mod copies;
mod event;
mod handle;
mod hotread;
mod log;
mod maintain;
mod maintainer;
mod maintenance;
#[doc(hidden)]
pub mod memory;
#[cfg(all(test, any(hotread_loom, hotread_shuttle)))]
mod models;
mod node;
mod panics;
mod piece;
mod progress;
mod published;
mod queue;
mod read;
mod readers;
mod registry;
mod reply;
mod results;
mod right;
mod settings;
mod shared;
mod state;
mod states;
mod straight;
mod sync;
mod tending;
pub mod testing;
mod turn;
mod wait;
mod watch;

pub use copies::MAX_COPIES;
pub use event::Event;
pub use handle::{Changed, HotReadGuard, HotReadHandle, Projection};
pub use hotread::{HotRead, HotReadBuilder, MAX_BATCH, WeakHotRead};
pub use maintainer::Maintainer;
pub use maintenance::Maintenance;
pub use published::Published;
pub use readers::Readers;
pub use reply::Reply;
pub use results::{BacklogFull, MaintenanceResult, Outcome, QueueResult, WaitError, WorkerStatus};
pub use state::HotReadState;
pub use states::{MapUpdate, SetUpdate, VecUpdate};

/// The example of this crate's README is a test.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct CrateReadme;
