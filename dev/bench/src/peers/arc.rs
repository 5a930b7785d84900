//! A bare `Arc<T>`, the limit of what reading can cost, and arc-swap with and without its cache.

use std::sync::Arc;

use arc_swap::{ArcSwap, Cache};
use hotread::HotReadState;

use super::{NoWriter, Read, Share, Write};

/// An `Arc` that never changes: what a read costs when there is nothing to check.
pub struct BareArc<S>(Arc<S>);

/// Its reader: an `Arc` of its own.
pub struct BareArcReader<S>(Arc<S>);

impl<S: HotReadState> Share<S> for BareArc<S> {
    const NAME: &'static str = "bare Arc (no updates)";
    type Reader = BareArcReader<S>;
    type Writer = NoWriter;
    type SharedWriter = NoWriter;

    fn build(initial: S) -> (Self, NoWriter) {
        (Self(Arc::new(initial)), NoWriter)
    }

    fn reader(&self) -> Self::Reader {
        BareArcReader(Arc::clone(&self.0))
    }

    fn share(writer: NoWriter) -> NoWriter {
        writer
    }
}

impl<S: HotReadState> Read<S> for BareArcReader<S> {
    #[inline]
    fn read<R>(&mut self, f: impl FnOnce(&S) -> R) -> R {
        f(&self.0)
    }
}

/// `arc_swap::Cache::load`, with updates that clone the state (`ArcSwap::rcu`).
pub struct ArcSwapCache<S>(Arc<ArcSwap<S>>);

/// `ArcSwap::load`, with the same updates.
pub struct ArcSwapLoad<S>(Arc<ArcSwap<S>>);

/// Clone, update, swap.
pub struct CloneAndSwap<S>(Arc<ArcSwap<S>>);

impl<S> Clone for CloneAndSwap<S> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<S: HotReadState> Write<S> for CloneAndSwap<S> {
    #[inline]
    fn update(&mut self, update: S::Action) -> bool {
        self.0.rcu(|old| {
            let mut new = S::clone(old);
            new.apply_update(&update);
            new
        });
        true
    }

    #[inline]
    fn update_all(&mut self, updates: impl Iterator<Item = S::Action>) -> bool {
        let updates: Vec<_> = updates.collect();
        self.0.rcu(|old| {
            let mut new = S::clone(old);
            updates.iter().for_each(|update| new.apply_update(update));
            new
        });
        true
    }
}

/// The reader of [`ArcSwapCache`].
pub struct CacheReader<S>(Cache<Arc<ArcSwap<S>>, Arc<S>>);

impl<S: HotReadState> Share<S> for ArcSwapCache<S> {
    const NAME: &'static str = "arc-swap Cache";
    type Reader = CacheReader<S>;
    type Writer = CloneAndSwap<S>;
    type SharedWriter = CloneAndSwap<S>;

    fn build(initial: S) -> (Self, Self::Writer) {
        let shared = Arc::new(ArcSwap::from_pointee(initial));
        (Self(Arc::clone(&shared)), CloneAndSwap(shared))
    }

    fn reader(&self) -> Self::Reader {
        CacheReader(Cache::new(Arc::clone(&self.0)))
    }

    fn share(writer: Self::Writer) -> Self::SharedWriter {
        writer
    }
}

impl<S: HotReadState> Read<S> for CacheReader<S> {
    #[inline]
    fn read<R>(&mut self, f: impl FnOnce(&S) -> R) -> R {
        f(self.0.load())
    }
}

/// The reader of [`ArcSwapLoad`].
pub struct LoadReader<S>(Arc<ArcSwap<S>>);

impl<S: HotReadState> Share<S> for ArcSwapLoad<S> {
    const NAME: &'static str = "ArcSwap::load";
    type Reader = LoadReader<S>;
    type Writer = CloneAndSwap<S>;
    type SharedWriter = CloneAndSwap<S>;

    fn build(initial: S) -> (Self, Self::Writer) {
        let shared = Arc::new(ArcSwap::from_pointee(initial));
        (Self(Arc::clone(&shared)), CloneAndSwap(shared))
    }

    fn reader(&self) -> Self::Reader {
        LoadReader(Arc::clone(&self.0))
    }

    fn share(writer: Self::Writer) -> Self::SharedWriter {
        writer
    }
}

impl<S: HotReadState> Read<S> for LoadReader<S> {
    #[inline]
    fn read<R>(&mut self, f: impl FnOnce(&S) -> R) -> R {
        f(&self.0.load())
    }
}
