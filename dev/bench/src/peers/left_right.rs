//! left-right: `enter` to read, `append` and `publish` to write; its one writer behind a mutex when
//! several threads write, as its documentation says.

use hotread::HotReadState;
use left_right::{Absorb, ReadHandle, ReadHandleFactory, WriteHandle};

use super::{Locked, Read, Share, Write};

/// The state, absorbing its updates as an operational log.
#[derive(Clone)]
pub struct State<S>(S);

impl<S: HotReadState> Absorb<S::Action> for State<S> {
    #[inline]
    fn absorb_first(&mut self, operation: &mut S::Action, _: &Self) {
        self.0.apply_update(operation);
    }

    #[inline]
    fn absorb_second(&mut self, operation: S::Action, _: &Self) {
        self.0.apply_owned(operation);
    }

    fn sync_with(&mut self, first: &Self) {
        self.0.clone_from(&first.0);
    }
}

/// The crate left-right.
pub struct LeftRight<S>(ReadHandleFactory<State<S>>);

/// A `ReadHandle`; each read enters and leaves.
pub struct LeftRightReader<S>(ReadHandle<State<S>>);

/// The `WriteHandle`; each update, or batch, publishes.
pub struct LeftRightWriter<S: HotReadState>(WriteHandle<State<S>, S::Action>);

impl<S: HotReadState> Share<S> for LeftRight<S> {
    const NAME: &'static str = "left-right";
    type Reader = LeftRightReader<S>;
    locked_writer!(LeftRightWriter<S>);

    fn build(initial: S) -> (Self, Self::Writer) {
        let (mut writer, reader) = left_right::new_from_empty(State(initial));
        // The first publication copies the whole state; later ones replay the log.
        writer.publish();
        (Self(reader.factory()), LeftRightWriter(writer))
    }

    fn reader(&self) -> Self::Reader {
        LeftRightReader(self.0.handle())
    }
}

impl<S: HotReadState> Read<S> for LeftRightReader<S> {
    #[inline]
    fn read<R>(&mut self, f: impl FnOnce(&S) -> R) -> R {
        let guard = self.0.enter().expect("the writer outlives its readers");
        f(&guard.0)
    }
}

impl<S: HotReadState> Write<S> for LeftRightWriter<S> {
    #[inline]
    fn update(&mut self, update: S::Action) -> bool {
        self.0.append(update);
        self.0.publish();
        true
    }

    #[inline]
    fn update_all(&mut self, updates: impl Iterator<Item = S::Action>) -> bool {
        self.0.extend(updates);
        self.0.publish();
        true
    }
}
