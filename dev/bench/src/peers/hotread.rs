//! HotRead of this workspace: by handle (`current()`), and by closure (`read(|state| …)`).

use hotread::{HotRead, HotReadHandle, HotReadState};

use super::{Read, Share, Write};

/// Readers own a handle and call `current()`, with `COPIES` copies at most.
pub struct HotReadCurrent<S: HotReadState, const COPIES: usize = 2>(HotRead<S>);

/// Readers call `HotRead::read` and hold no copy between two reads.
pub struct HotReadClosure<S: HotReadState>(HotRead<S>);

/// The reader of [`HotReadCurrent`].
pub struct CurrentReader<S: HotReadState>(pub(crate) HotReadHandle<S>);

/// The reader of [`HotReadClosure`].
pub struct ClosureReader<S: HotReadState>(HotRead<S>);

/// The writer of both: a clone of the `HotRead`.
#[derive(Clone)]
pub struct HotReadWriter<S: HotReadState>(pub(crate) HotRead<S>);

impl<S: HotReadState, const COPIES: usize> Share<S> for HotReadCurrent<S, COPIES> {
    const NAME: &'static str = match COPIES {
        2 => "HotRead",
        3 => "HotRead, 3 copies",
        4 => "HotRead, 4 copies",
        _ => panic!("name this number of copies"),
    };
    type Reader = CurrentReader<S>;
    cloned_writer!(HotReadWriter<S>);

    fn build(initial: S) -> (Self, Self::Writer) {
        let hotread = HotRead::builder(initial).max_copies(COPIES).build();
        (Self(hotread.clone()), HotReadWriter(hotread))
    }

    fn reader(&self) -> Self::Reader {
        CurrentReader(self.0.create_handle())
    }
}

impl<S: HotReadState> Share<S> for HotReadClosure<S> {
    const NAME: &'static str = "HotRead, read(|s| …)";
    type Reader = ClosureReader<S>;
    cloned_writer!(HotReadWriter<S>);

    fn build(initial: S) -> (Self, Self::Writer) {
        let hotread = HotRead::new(initial);
        (Self(hotread.clone()), HotReadWriter(hotread))
    }

    fn reader(&self) -> Self::Reader {
        ClosureReader(self.0.clone())
    }
}

impl<S: HotReadState> Read<S> for CurrentReader<S> {
    #[inline]
    fn read<R>(&mut self, f: impl FnOnce(&S) -> R) -> R {
        f(self.0.current())
    }

    fn rest(&mut self) {
        self.0.quiescent();
    }
}

impl<S: HotReadState> Read<S> for ClosureReader<S> {
    #[inline]
    fn read<R>(&mut self, f: impl FnOnce(&S) -> R) -> R {
        self.0.read(f)
    }
}

impl<S: HotReadState> Write<S> for HotReadWriter<S> {
    #[inline]
    fn update(&mut self, update: S::Action) -> bool {
        self.0.queue_update(update).published
    }

    #[inline]
    fn update_all(&mut self, updates: impl Iterator<Item = S::Action>) -> bool {
        self.0.queue_updates(updates).published
    }

    fn settle(&mut self) {
        while self.0.published_seq() < self.0.latest_seq() {
            if self.0.maintain().blocked_by_workers {
                std::thread::yield_now();
            }
        }
    }

    fn backlog(&self) -> usize {
        self.0.queued_update_count()
    }
}
