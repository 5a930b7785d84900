//! A server that says anything to a replica. What is checked is what the
//! test that replays the corpus checks.

#![no_main]

use libfuzzer_sys::fuzz_target;

// Each target uses a part of these.
#[allow(dead_code)]
#[path = "../../../crates/hotread-proto/tests/fuzzing/mod.rs"]
mod fuzzing;
#[allow(dead_code)]
#[path = "../../../crates/hotread-proto/tests/session/rng.rs"]
mod rng;
#[allow(dead_code)]
#[path = "../../../crates/hotread-proto/tests/session/table.rs"]
mod table;

fuzz_target!(|data: &[u8]| fuzzing::follow::follow(data));
