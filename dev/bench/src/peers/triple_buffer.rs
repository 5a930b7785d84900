//! triple_buffer: one producer, one consumer, whole values. It takes part only where an update
//! replaces the state and there is one reader.

use std::sync::Mutex;

use triple_buffer::{Input, Output};

use super::{Locked, Read, Share, Write};
use crate::states::Config;

/// A triple buffer; its one reader can be taken once.
pub struct TripleBuffer(Mutex<Option<Output<Config>>>);

/// The consumer.
pub struct TripleBufferReader(Output<Config>);

/// The producer.
pub struct TripleBufferWriter(Input<Config>);

impl Share<Config> for TripleBuffer {
    const NAME: &'static str = "triple_buffer (1 reader)";
    type Reader = TripleBufferReader;
    locked_writer!(TripleBufferWriter);

    fn build(initial: Config) -> (Self, Self::Writer) {
        let (input, output) = triple_buffer::triple_buffer(&initial);
        (Self(Mutex::new(Some(output))), TripleBufferWriter(input))
    }

    fn reader(&self) -> Self::Reader {
        let output = self.0.lock().expect("nothing panics here").take();
        TripleBufferReader(output.expect("a triple buffer has one reader"))
    }
}

impl Read<Config> for TripleBufferReader {
    #[inline]
    fn read<R>(&mut self, f: impl FnOnce(&Config) -> R) -> R {
        f(self.0.read())
    }
}

impl Write<Config> for TripleBufferWriter {
    #[inline]
    fn update(&mut self, update: Config) -> bool {
        self.0.write(update);
        true
    }

    #[inline]
    fn update_all(&mut self, updates: impl Iterator<Item = Config>) -> bool {
        if let Some(last) = updates.last() {
            self.0.write(last);
        }
        true
    }
}
