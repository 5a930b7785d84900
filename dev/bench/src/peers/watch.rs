//! `tokio::sync::watch`: `borrow` to read, `send_modify` to write. It needs no runtime for that.

use std::sync::Arc;

use hotread::HotReadState;
use tokio::sync::watch::{Receiver, Sender};

use super::{Read, Share, Write};

/// A watch channel.
#[derive(Clone)]
pub struct Watch<S>(Arc<Sender<S>>);

/// A receiver.
pub struct WatchReader<S>(Receiver<S>);

impl<S: HotReadState> Share<S> for Watch<S> {
    const NAME: &'static str = "tokio watch";
    type Reader = WatchReader<S>;
    cloned_writer!(Self);

    fn build(initial: S) -> (Self, Self) {
        let sender = Self(Arc::new(Sender::new(initial)));
        (sender.clone(), sender)
    }

    fn reader(&self) -> Self::Reader {
        WatchReader(self.0.subscribe())
    }
}

impl<S: HotReadState> Read<S> for WatchReader<S> {
    #[inline]
    fn read<R>(&mut self, f: impl FnOnce(&S) -> R) -> R {
        f(&self.0.borrow())
    }
}

impl<S: HotReadState> Write<S> for Watch<S> {
    #[inline]
    fn update(&mut self, update: S::Action) -> bool {
        self.0.send_modify(|state| state.apply_owned(update));
        true
    }

    #[inline]
    fn update_all(&mut self, updates: impl Iterator<Item = S::Action>) -> bool {
        self.0
            .send_modify(|state| updates.for_each(|update| state.apply_owned(update)));
        true
    }
}
