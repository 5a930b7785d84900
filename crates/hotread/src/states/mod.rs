//! Ready-made states for the standard collections and for a value that is replaced whole.

mod map;
mod set;
mod vec;

pub use map::MapUpdate;
pub use set::SetUpdate;
pub use vec::VecUpdate;

use std::sync::Arc;

use crate::HotReadState;

/// A value that each update replaces as a whole. The copies share it, so two cost no more than one.
impl<V: Send + Sync + 'static> HotReadState for Arc<V> {
    type Action = Arc<V>;

    fn apply_update(&mut self, update: &Self::Action) {
        *self = Arc::clone(update);
    }

    fn apply_owned(&mut self, update: Self::Action) {
        *self = update;
    }
}
