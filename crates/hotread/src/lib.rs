//! State that changes in small steps, read on the hot path at the price of a pointer.

mod apply;
mod core;
mod handle;
mod hot;
mod log;
mod maintainer;
#[cfg(all(test, any(loom, shuttle)))]
mod models;
mod node;
mod panics;
mod pool;
mod progress;
mod read;
mod registry;
mod results;
mod sleep;
mod states;
mod sync;
pub mod testing;
mod wait;

pub use handle::HotReadHandle;
pub use hot::{HotRead, HotReadBuilder, HotReadState, WeakHotRead};
pub use maintainer::Maintainer;
pub use pool::MAX_COPIES;
pub use results::{BacklogFull, MaintenanceResult, QueueResult, WaitError, WorkerStatus};
pub use states::MapUpdate;
pub use wait::Published;

use hot::Settings;
