//! A state behind a reader-writer lock: `std`'s and parking_lot's.

use std::sync::{Arc, RwLock};

use hotread::HotReadState;

use super::{Read, Share, Write};

/// `std::sync::RwLock`.
pub struct StdRwLock<S>(Arc<RwLock<S>>);

/// `parking_lot::RwLock`.
pub struct ParkingLotRwLock<S>(Arc<parking_lot::RwLock<S>>);

impl<S> Clone for StdRwLock<S> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<S> Clone for ParkingLotRwLock<S> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<S: HotReadState> Share<S> for StdRwLock<S> {
    const NAME: &'static str = "std RwLock";
    type Reader = Self;
    type Writer = Self;
    type SharedWriter = Self;

    fn build(initial: S) -> (Self, Self) {
        let lock = Self(Arc::new(RwLock::new(initial)));
        (lock.clone(), lock)
    }

    fn reader(&self) -> Self {
        self.clone()
    }

    fn share(writer: Self) -> Self {
        writer
    }
}

impl<S: HotReadState> Read<S> for StdRwLock<S> {
    #[inline]
    fn read<R>(&mut self, f: impl FnOnce(&S) -> R) -> R {
        f(&self.0.read().expect("no writer panics"))
    }
}

impl<S: HotReadState> Write<S> for StdRwLock<S> {
    #[inline]
    fn update(&mut self, update: S::Action) -> bool {
        self.0
            .write()
            .expect("no writer panics")
            .apply_owned(update);
        true
    }

    #[inline]
    fn update_all(&mut self, updates: impl Iterator<Item = S::Action>) -> bool {
        let mut state = self.0.write().expect("no writer panics");
        updates.for_each(|update| state.apply_owned(update));
        true
    }
}

impl<S: HotReadState> Share<S> for ParkingLotRwLock<S> {
    const NAME: &'static str = "parking_lot RwLock";
    type Reader = Self;
    type Writer = Self;
    type SharedWriter = Self;

    fn build(initial: S) -> (Self, Self) {
        let lock = Self(Arc::new(parking_lot::RwLock::new(initial)));
        (lock.clone(), lock)
    }

    fn reader(&self) -> Self {
        self.clone()
    }

    fn share(writer: Self) -> Self {
        writer
    }
}

impl<S: HotReadState> Read<S> for ParkingLotRwLock<S> {
    #[inline]
    fn read<R>(&mut self, f: impl FnOnce(&S) -> R) -> R {
        f(&self.0.read())
    }
}

impl<S: HotReadState> Write<S> for ParkingLotRwLock<S> {
    #[inline]
    fn update(&mut self, update: S::Action) -> bool {
        self.0.write().apply_owned(update);
        true
    }

    #[inline]
    fn update_all(&mut self, updates: impl Iterator<Item = S::Action>) -> bool {
        let mut state = self.0.write();
        updates.for_each(|update| state.apply_owned(update));
        true
    }
}
