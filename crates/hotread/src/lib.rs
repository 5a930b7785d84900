//! Frequently read state that changes in small steps, shared by the threads of one process.
//!
//! Routing tables, feature flags, prices, limits, access lists: a service reads them on every
//! request and changes a little of them now and then. [`HotRead`] keeps two copies of such a state.
//! A reader gets the published copy through a [handle](HotReadHandle), at the cost of a pointer
//! dereference, and keeps it until it asks for a newer one. Updates are applied to the other copy
//! once no reader holds it, and that copy is then published. Readers do not wait for writers, and
//! writers do not wait for readers.
//!
//! # Costs
//!
//! - **A read** is one relaxed load and a compare, plus a fence and some cache misses after each
//!   publication. It needs no store, no reference count and no lock.
//! - **An update** is applied once to each copy, and moved rather than cloned into the last one.
//!   Publishing it costs two compare-and-swaps (and a fence, on targets where a compare-and-swap is
//!   not one) and a look at each handle's slot. A batch always pays the fence.
//! - **Memory**: two copies of the state (more only if you allow them), the updates that a copy
//!   still lacks, and a slot of 128 bytes for each handle at the peak. The first 8 slots are
//!   allocated with the state, further ones in groups of 64, about 8 KiB each. Copies share values
//!   behind an `Arc`.
//! - **Staleness**: a reader sees the state as of its last [`current`](HotReadHandle::current). A
//!   reader that keeps an outdated copy delays updates for *every* reader: with two copies, nothing
//!   more is published until the slowest reader asks again or goes
//!   [`quiescent`](HotReadHandle::quiescent). Updates queue up in the meantime.
//! - **A blocked publication needs a call that completes it**: the next
//!   [`queue_update`](HotRead::queue_update) or [`maintain`](HotRead::maintain), a
//!   [maintainer](HotRead::spawn_maintainer), a thread in
//!   [`wait_published`](HotRead::wait_published), or a [`published`](HotRead::published) future.
//!
//! # Usage
//!
//! The standard maps, sets and `Vec` implement [`HotReadState`] and have methods for their updates:
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
//! A `HotRead` is shared by reference or by cloning it. Each reading thread creates one handle and
//! keeps it:
//!
//! ```
//! use hotread::HotRead;
//! use std::{collections::HashMap, thread};
//!
//! let limits = HotRead::new(HashMap::from([("api", 50_u32)]));
//! thread::scope(|scope| {
//!     for _ in 0..2 {
//!         scope.spawn(|| {
//!             let mut reader = limits.create_handle();
//!             for _request in 0..1000 {
//!                 let limit = reader.current()["api"];
//!                 assert!(limit == 50 || limit == 100);
//!             }
//!         });
//!     }
//!     limits.insert("api", 100);
//! });
//! ```
//!
//! A state of your own implements [`HotReadState`], which applies one update to one copy:
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
//! // The reader holds this copy until it asks again. Of two further updates the first is published
//! // in the other copy, and the second waits for the reader.
//! assert!(table.queue_update(TableUpdate::Set(2, 43)).published);
//! assert!(table.queue_update(TableUpdate::Remove(1)).blocked_by_workers);
//! assert_eq!(reader.current().values.len(), 2);
//! assert!(table.maintain().published);
//! assert_eq!(reader.current().values.get(&1), None);
//! ```
//!
//! # Consistency
//!
//! - A reader sees whole batches, and never an older state than before. The state that it refers to
//!   does not change until its next call of [`current`](HotReadHandle::current).
//! - Updates have sequence numbers in one order, in which every copy applies them. Updates queued
//!   by one thread keep their order.
//! - An update is not always visible when its call returns: another thread may be applying it, or
//!   readers may hold every other copy. [`QueueResult::outcome`] distinguishes the cases, and
//!   [`wait_published`](HotRead::wait_published) waits until the update is visible.
//!
//! ```
//! use hotread::{HotRead, MapUpdate};
//! use std::{collections::HashMap, time::Duration};
//!
//! let accounts = HotRead::new(HashMap::from([("alice", 60_i32), ("bob", 40)]));
//! let mut reader = accounts.create_handle();
//!
//! // Readers see both changes of a batch, or neither.
//! let transfer = [MapUpdate::Insert("alice", 50), MapUpdate::Insert("bob", 50)];
//! accounts.queue_updates(transfer);
//! assert_eq!(reader.current().values().sum::<i32>(), 100);
//!
//! // A reference stays valid and unchanged while updates are published.
//! let state = reader.current();
//! let queued = accounts.insert("carol", 0);
//! accounts.wait_published(queued.last_seq, Duration::from_secs(1))?;
//! assert_eq!(state.len(), 2);
//! assert_eq!(reader.current().len(), 3);
//! # Ok::<(), hotread::WaitError>(())
//! ```
//!
//! # Stalled readers
//!
//! A reader that holds an outdated copy keeps it from being written. With two copies, one more
//! publication succeeds, and the following updates wait until the reader asks again or goes
//! quiescent. [`workers`](HotRead::workers) lists the readers that are in the way:
//!
//! ```
//! use hotread::HotRead;
//! use std::collections::BTreeMap;
//!
//! let routes = HotRead::new(BTreeMap::<u8, u8>::new());
//! let mut reader = routes.create_named_handle("exporter");
//! assert!(reader.current().is_empty());
//!
//! assert!(routes.insert(1, 1).published); // in the other copy
//! assert!(routes.insert(2, 2).blocked_by_workers);
//! let workers = routes.workers();
//! assert_eq!(workers[0].name.as_deref(), Some("exporter"));
//! assert!(workers[0].blocking);
//!
//! reader.quiescent(); // before the reader goes idle
//! assert!(routes.maintain().published);
//! assert_eq!(reader.current().len(), 2);
//! ```
//!
//! The call of `maintain` is needed because a blocked publication completes only if a call
//! completes it. A [`Maintainer`] makes that call as soon as the reader lets go:
//!
//! ```
//! use hotread::HotRead;
//! use std::{collections::BTreeMap, time::Duration};
//!
//! let routes = HotRead::new(BTreeMap::<u8, u8>::new());
//! let _maintainer = routes.spawn_maintainer()?;
//! let mut reader = routes.create_handle();
//! assert!(reader.current().is_empty());
//! routes.insert(1, 1);
//! let blocked = routes.insert(2, 2);
//! reader.quiescent();
//! routes.wait_published(blocked.last_seq, Duration::from_secs(10))?;
//! assert_eq!(reader.current().len(), 2);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! With [`max_copies`](HotReadBuilder::max_copies), updates remain visible to other readers while
//! some are stalled, at the cost of a copy for each old one that they hold:
//!
//! ```
//! use hotread::HotRead;
//! use std::collections::BTreeMap;
//!
//! let routes = HotRead::builder(BTreeMap::<u8, u8>::new()).max_copies(3).build();
//! let mut stalled = routes.create_handle();
//! assert!(stalled.current().is_empty());
//! assert!(routes.insert(1, 1).published);
//! assert!(routes.insert(2, 2).published); // in a third copy
//! assert_eq!(routes.read(|routes| routes.len()), 2);
//! assert_eq!(stalled.get().map(|routes| routes.len()), Some(0));
//! ```
//!
//! An [observer](HotReadBuilder::observer) receives an [`Event`] when a publication has been
//! blocked for a second.
//!
//! # Async
//!
//! The futures of this crate need no particular runtime. [`published`](HotRead::published) resolves
//! when an update is visible, [`changed`](HotReadHandle::changed) when there is a newer state to
//! read, and [`maintenance`](HotRead::maintenance) replaces the maintainer's thread by a task.
//!
//! A handle is `Send`, so a task may own one. A reference from [`current`](HotReadHandle::current)
//! that lives across an `.await` keeps its copy from being written for as long as that takes: copy
//! what is needed and go quiescent first, or use [`with`](HotReadHandle::with) or
//! [`read`](HotRead::read), which let go after each read.
//!
//! ```
//! use hotread::HotRead;
//! use std::collections::HashMap;
//!
//! #[tokio::main]
//! async fn main() -> Result<(), Box<dyn std::error::Error>> {
//!     let prices = HotRead::new(HashMap::<String, u32>::new());
//!     tokio::spawn(prices.maintenance());
//!
//!     let mut reader = prices.create_handle();
//!     let watcher = tokio::spawn(async move {
//!         // The handle is quiescent while it waits.
//!         while reader.changed().await.is_ok() {
//!             if let Some(price) = reader.current().get("apple").copied() {
//!                 return Some(price);
//!             }
//!         }
//!         None
//!     });
//!
//!     let queued = prices.insert("apple".to_owned(), 30);
//!     prices.published(queued.last_seq).await?;
//!     assert_eq!(watcher.await?, Some(30));
//!     Ok(())
//! }
//! ```
//!
//! # Patterns
//!
//! **A global state.** [`read`](HotRead::read) needs no handle, so it suits code without a place to
//! keep one:
//!
//! ```
//! use hotread::HotRead;
//! use std::{collections::HashMap, sync::LazyLock};
//!
//! static LIMITS: LazyLock<HotRead<HashMap<String, u32>>> = LazyLock::new(HotRead::default);
//!
//! fn limit(user: &str) -> u32 {
//!     LIMITS.read(|limits| limits.get(user).copied().unwrap_or(100))
//! }
//!
//! LIMITS.insert("ada".to_owned(), 500);
//! assert_eq!(limit("ada"), 500);
//! assert_eq!(limit("bob"), 100);
//! ```
//!
//! **A value that is replaced as a whole.** `Arc<V>` is a state whose updates are new values; its
//! copies share them:
//!
//! ```
//! use hotread::HotRead;
//! use std::sync::Arc;
//!
//! struct Config {
//!     timeout_ms: u64,
//! }
//!
//! let config = HotRead::new(Arc::new(Config { timeout_ms: 100 }));
//! let mut reader = config.create_handle();
//! config.queue_update(Arc::new(Config { timeout_ms: 250 }));
//! assert_eq!(reader.current().timeout_ms, 250);
//! ```
//!
//! **Indexes that change together.** Data that must be consistent belongs to one state:
//!
//! ```
//! use hotread::{HotRead, HotReadState};
//! use std::collections::HashMap;
//!
//! #[derive(Clone, Default)]
//! struct Users {
//!     names: HashMap<u32, String>,
//!     ids: HashMap<String, u32>,
//! }
//!
//! impl HotReadState for Users {
//!     type Action = (u32, String);
//!
//!     fn apply_update(&mut self, (id, name): &Self::Action) {
//!         if let Some(old) = self.names.insert(*id, name.clone()) {
//!             self.ids.remove(&old);
//!         }
//!         self.ids.insert(name.clone(), *id);
//!     }
//! }
//!
//! let users = HotRead::new(Users::default());
//! users.queue_update((7, "ada".to_owned()));
//! users.queue_update((7, "grace".to_owned()));
//! assert_eq!(users.read(|users| users.ids.get("grace").copied()), Some(7));
//! assert_eq!(users.read(|users| users.ids.len()), 1);
//! ```
//!
//! **Backpressure.** [`try_queue_updates`](HotRead::try_queue_updates) refuses a batch while too
//! many updates are not visible yet, and returns it:
//!
//! ```
//! use hotread::{HotRead, VecUpdate};
//!
//! let values = HotRead::builder(vec![0_u32]).max_pending(2).build();
//! let mut stalled = values.create_handle();
//! assert_eq!(stalled.current().len(), 1);
//! values.push(1); // published in the other copy
//! values.push(2);
//! values.push(3);
//! let refused = values.try_queue_updates(vec![VecUpdate::Push(4)]).unwrap_err();
//! assert_eq!(refused.pending, 2);
//! assert_eq!(refused.updates, [VecUpdate::Push(4)]);
//! ```
//!
//! Also see [`update`](HotRead::update) for updates that return a result,
//! [`project`](HotReadHandle::project) for handles of a part of the state,
//! [`readers`](HotRead::readers) for code that must not write, and
//! [`testing::check_contract`] for a test of your own state.
//!
//! # Limitations
//!
//! - Updates must be deterministic, because each copy applies them separately; see the contract of
//!   [`HotReadState`]. A clock, for example, is read by the caller, and its value is part of the
//!   update.
//! - One thread at a time applies updates, those of all writers.
//! - Two `HotRead`s are independent: no batch changes both.
//! - A leaked handle or guard that holds a copy holds it until the state is freed.
//! - The state is in memory only, and in one process.
//!
//! ```
//! use hotread::HotRead;
//! use std::{collections::HashMap, time::Instant};
//!
//! let seen = HotRead::new(HashMap::<&str, Instant>::new());
//! // Both copies get this time. If updates called `Instant::now`, they would differ.
//! seen.insert("ada", Instant::now());
//! assert!(seen.read(|seen| seen.contains_key("ada")));
//! ```
//!
//! Other structures are better suited for some cases:
//!
//! - The state is small or rarely changed: an `Arc` behind `arc-swap` is simpler, keeps one copy,
//!   and lets readers hold old versions for as long as they like.
//! - Readers must see a write the moment it returns: use a lock or a concurrent map.
//! - Many threads write unrelated keys: a concurrent map (`papaya`, `dashmap`) lets them work in
//!   parallel.
//! - Readers hold the state across long waits and cannot let go: allow more
//!   [copies](HotReadBuilder::max_copies), or take [snapshots](HotRead::snapshot).
//!
//! # Performance
//!
//! - Keep a handle in a loop that reads. [`read`](HotRead::read), [`with`](HotReadHandle::with) and
//!   [`guard`](HotRead::guard) take the copy each time, which costs a fence or more.
//! - Queue related updates as one batch: it is published once.
//! - Put large values behind an `Arc`, so that the copies share them.
//! - The cost of a publication grows with the number of handles; quiescent ones count as well.
//!
//! ```
//! use hotread::{HotRead, MapUpdate};
//! use std::collections::HashMap;
//!
//! let squares = HotRead::new(HashMap::<u32, u32>::new());
//! let queued = squares.queue_updates((0..1000).map(|n| MapUpdate::Insert(n, n * n)));
//! assert_eq!(queued.queued_updates, 1000);
//! assert_eq!(squares.generation(), 1); // one publication
//! ```
//!
//! `docs/benchmarks` in the repository compares this crate with locks, `arc-swap`, left-right
//! structures and concurrent maps.
//!
//! # Blocking
//!
//! | call | may wait for | at most |
//! |---|---|---|
//! | reading by [`current`](HotReadHandle::current), [`refresh`](HotReadHandle::refresh), [`read`](HotRead::read), [`quiescent`](HotReadHandle::quiescent) | nothing; another round for each publication in between | |
//! | creating and dropping handles | other threads that do so | a few memory accesses each |
//! | [`queue_update`](HotRead::queue_update), [`queue_updates`](HotRead::queue_updates), [`update`](HotRead::update), [`replace`](HotRead::replace) | the thread that applies, if more than 128 updates of running writers are queued ahead; never from inside an update | its own batch and about 800 updates of others, or one piece of a backlog; then the same for each caller ahead in line |
//! | [`maintain`](HotRead::maintain) | as `queue_update`, if the thread that applies has done its share | the same |
//! | [`try_queue_updates`](HotRead::try_queue_updates) | nothing: it refuses | |
//! | [`wait_published`](HotRead::wait_published) | readers that hold outdated copies | its timeout and one piece of work |
//! | dropping the last [`HotRead`] | the maintainer, if it is at work on this state | one piece of work |
//!
//! No call does unbounded work for others: beyond its own batch, it applies at most about 800
//! updates of other writers (512, after which it hands over, and what is queued by then: twice 128),
//! and one piece of a backlog, which is 16,384 applications to each of two copies. Batches count as
//! a whole: the last one taken in may exceed these figures. [`maintain`](HotRead::maintain) works on
//! all updates that were queued when it began.
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
//! This is quiescent-state-based reclamation (as in liburcu's QSBR flavor; `quiescent()` is its
//! `rcu_thread_offline`), used for two alternating copies (as in Ramalhete and Correia's
//! Left-Right), with a log that replays to each copy the updates that the other has received, and
//! flat combining (Hendler and others, 2010) among writers. `docs/orderings.md` in the repository
//! argues every atomic from both sides, and the loom models in `src/models` check the argument on
//! this code.
//!
//! # Limits
//!
//! | item | limit | reason |
//! |---|---|---|
//! | copies | 2, or up to [`MAX_COPIES`] by [`max_copies`](HotReadBuilder::max_copies) | each is a whole state |
//! | updates queued ahead by running writers | 128, then callers wait for room | memory, and the time until they are visible |
//! | updates of others that one call applies | about 800: see [Blocking](#blocking) | a call ends although other writers continue |
//! | a piece of work on a backlog | 16,384 applications to a copy; a clone counts as 1,024 | about a millisecond for a large map |
//! | visible updates kept for a stalled copy | 65,536 | beyond that, the copy is cloned when it becomes free |
//! | publications that do not need an extra copy | 1,024 | then it is dropped |
//! | updates that readers keep from being visible | no limit, or [`max_pending`](HotReadBuilder::max_pending) for [`try_queue_updates`](HotRead::try_queue_updates); a [`replace`](HotRead::replace) drops those before it | `queue_update` refuses nothing |
//! | updates in a batch | [`MAX_BATCH`] | sequence numbers have 62 bits |
//! | rejected batches remembered for waiters | 1,024 | each was a panic |
//!
//! # Platforms
//!
//! Targets with the standard library and 64-bit atomics. On Linux, letting go of a copy costs one
//! store: a thread that is about to sleep uses membarrier(2) instead, for which the first `HotRead`
//! of a process registers. Elsewhere, and where the kernel refuses it, letting go also pays a
//! fence. Where a sandbox kills a process for an unknown system call, build with `--cfg
//! hotread_no_membarrier`. Where threads cannot be started (`wasm32-unknown-unknown`),
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

/// The README, whose example is a doc test.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct CrateReadme;
