//! A client that sends arbitrary frames, and a table that changes arbitrarily, against a server's end. The
//! checks are those of the test that replays the corpus.

#![no_main]

use libfuzzer_sys::fuzz_target;

// Each target uses only a part of this module.
#[allow(dead_code)]
#[path = "../../../crates/hotread-proto/tests/fuzzing/mod.rs"]
mod fuzzing;
#[allow(dead_code)]
#[path = "../../../crates/hotread-proto/tests/session/rng.rs"]
mod rng;
#[allow(dead_code)]
#[path = "../../../crates/hotread-proto/tests/session/table.rs"]
mod table;

fuzz_target!(|data: &[u8]| fuzzing::serve::serve(data));
