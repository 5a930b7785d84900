//! A state behind a reader-writer lock: `std`'s and parking_lot's.

use std::sync::{Arc, RwLock};

use hotread::HotReadState;

use super::{Read, Share, Write};

/// A state behind a lock, whose guard is the result of `read()` and `write()` followed by the last argument.
macro_rules! behind_a_lock {
    ($name:ident, $label:literal, $lock:ty, $($guard:tt)*) => {
        #[doc = concat!("A state behind a lock: ", $label, ".")]
        #[derive(Clone)]
        pub struct $name<S>(Arc<$lock>);

        impl<S: HotReadState> Share<S> for $name<S> {
            const NAME: &'static str = $label;
            one_handle!();

            fn build(initial: S) -> (Self, Self) {
                let lock = Self(Arc::new(<$lock>::new(initial)));
                (lock.clone(), lock)
            }
        }

        impl<S: HotReadState> Read<S> for $name<S> {
            #[inline]
            fn read<R>(&mut self, f: impl FnOnce(&S) -> R) -> R {
                f(&self.0.read()$($guard)*)
            }
        }

        impl<S: HotReadState> Write<S> for $name<S> {
            #[inline]
            fn update(&mut self, update: S::Action) -> bool {
                self.0.write()$($guard)*.apply_owned(update);
                true
            }

            #[inline]
            fn update_all(&mut self, updates: impl Iterator<Item = S::Action>) -> bool {
                let mut state = self.0.write()$($guard)*;
                updates.for_each(|update| state.apply_owned(update));
                true
            }
        }
    };
}

behind_a_lock!(StdRwLock, "std RwLock", RwLock<S>, .expect("no writer panics"));
behind_a_lock!(
    ParkingLotRwLock,
    "parking_lot RwLock",
    parking_lot::RwLock<S>,
);
