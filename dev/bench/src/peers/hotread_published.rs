//! HotRead 0.1.2 as published: the same idea with a fence in every read and a mutex on every update.

use hotread::HotReadState;
use hotread_published::{HotRead, HotReadHandle};

use super::{Read, Share, Write};

/// The state in 0.1.2's own trait.
#[derive(Clone)]
pub struct State<S>(S);

impl<S: HotReadState> hotread_published::HotReadState for State<S> {
    type Action = S::Action;

    #[inline]
    fn apply_update(&mut self, update: &S::Action) {
        self.0.apply_update(update);
    }
}

/// The published crate.
pub struct Published<S: HotReadState>(HotRead<State<S>>);

/// A handle.
pub struct PublishedReader<S: HotReadState>(HotReadHandle<State<S>>);

/// The writer's end.
#[derive(Clone)]
pub struct PublishedWriter<S: HotReadState>(HotRead<State<S>>);

impl<S: HotReadState> Share<S> for Published<S> {
    const NAME: &'static str = "hotread 0.1.2";
    type Reader = PublishedReader<S>;
    cloned_writer!(PublishedWriter<S>);

    fn build(initial: S) -> (Self, Self::Writer) {
        let hotread = HotRead::new(State(initial));
        (Self(hotread.clone()), PublishedWriter(hotread))
    }

    fn reader(&self) -> Self::Reader {
        PublishedReader(self.0.create_handle())
    }
}

impl<S: HotReadState> Read<S> for PublishedReader<S> {
    #[inline]
    fn read<R>(&mut self, f: impl FnOnce(&S) -> R) -> R {
        f(&self.0.current().0)
    }

    fn rest(&mut self) {
        self.0.quiescent();
    }
}

impl<S: HotReadState> Write<S> for PublishedWriter<S> {
    #[inline]
    fn update(&mut self, update: S::Action) -> bool {
        self.0.queue_update(update).ready_to_publish
    }

    #[inline]
    fn update_all(&mut self, updates: impl Iterator<Item = S::Action>) -> bool {
        self.0.queue_updates(updates).ready_to_publish
    }

    fn settle(&mut self) {
        while self.0.copy_applied_seq(self.0.active_index()) < self.0.latest_seq() {
            if self.0.maintain().blocked_by_workers {
                std::thread::yield_now();
            }
        }
    }

    fn backlog(&self) -> usize {
        self.0.queued_update_count()
    }
}
