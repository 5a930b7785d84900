//! Arbitrary bytes as CSV files. The first byte of the input chooses the options; the checks are
//! those of the import's tests.

#![no_main]

use hotread_store::import::{
    At, Columns, Delimiter, Detector, Empty, Format, ImportError, Input, Options, RowError, Rows,
    check_arrays,
};
use libfuzzer_sys::fuzz_target;

// This module uses the imports above, through `super`.
#[allow(dead_code)]
#[path = "../../../crates/hotread-store/src/import/exercise.rs"]
mod exercise;

fuzz_target!(|data: &[u8]| exercise::csv(data));
