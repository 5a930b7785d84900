//! Any bytes as files of newline-delimited JSON. The first byte of the input chooses how it is read; what is checked is
//! what the tests of the import check.

#![no_main]

use hotread_store::import::{
    At, Columns, Delimiter, Detector, Empty, Format, ImportError, Input, Options, RowError, Rows,
};
use libfuzzer_sys::fuzz_target;

// It takes from `super` what is imported above.
#[allow(dead_code)]
#[path = "../../../crates/hotread-store/src/import/exercise.rs"]
mod exercise;

fuzz_target!(|data: &[u8]| exercise::ndjson(data));
