//! A bare `Arc<T>`, the least cost of a read, and arc-swap with and without its cache.

use std::sync::Arc;

use arc_swap::{ArcSwap, Cache};
use hotread::HotReadState;

use super::{NoWriter, Read, Share, Write};

/// An `Arc` that never changes: the cost of a read without any check.
pub struct BareArc<S>(Arc<S>);

/// Its reader: an `Arc` of its own.
pub struct BareArcReader<S>(Arc<S>);

impl<S: HotReadState> Share<S> for BareArc<S> {
    const NAME: &'static str = "bare Arc (no updates)";
    type Reader = BareArcReader<S>;
    cloned_writer!(NoWriter);

    fn build(initial: S) -> (Self, NoWriter) {
        (Self(Arc::new(initial)), NoWriter)
    }

    fn reader(&self) -> Self::Reader {
        BareArcReader(Arc::clone(&self.0))
    }
}

impl<S: HotReadState> Read<S> for BareArcReader<S> {
    #[inline]
    fn read<R>(&mut self, f: impl FnOnce(&S) -> R) -> R {
        f(&self.0)
    }
}

/// Clone, update, swap.
#[derive(Clone)]
pub struct CloneAndSwap<S>(Arc<ArcSwap<S>>);

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

/// A way of reading an `ArcSwap`, with updates that clone the state (`ArcSwap::rcu`).
macro_rules! arc_swap {
    ($name:ident, $label:literal, $reader:ident($kind:ty), $make:path) => {
        #[doc = concat!("A state behind ", $label, ".")]
        pub struct $name<S>(Arc<ArcSwap<S>>);

        #[doc = concat!("Its reader, by ", $label, ".")]
        pub struct $reader<S>($kind);

        impl<S: HotReadState> Share<S> for $name<S> {
            const NAME: &'static str = $label;
            type Reader = $reader<S>;
            cloned_writer!(CloneAndSwap<S>);

            fn build(initial: S) -> (Self, Self::Writer) {
                let shared = Arc::new(ArcSwap::from_pointee(initial));
                (Self(Arc::clone(&shared)), CloneAndSwap(shared))
            }

            fn reader(&self) -> Self::Reader {
                $reader($make(Arc::clone(&self.0)))
            }
        }

        impl<S: HotReadState> Read<S> for $reader<S> {
            #[inline]
            fn read<R>(&mut self, f: impl FnOnce(&S) -> R) -> R {
                f(&self.0.load())
            }
        }
    };
}

type Cached<S> = Cache<Arc<ArcSwap<S>>, Arc<S>>;

arc_swap!(
    ArcSwapCache,
    "arc-swap Cache",
    CacheReader(Cached<S>),
    Cache::new
);
arc_swap!(
    ArcSwapLoad,
    "ArcSwap::load",
    LoadReader(Arc<ArcSwap<S>>),
    std::convert::identity
);
