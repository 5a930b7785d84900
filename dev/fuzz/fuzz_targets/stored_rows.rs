//! Arbitrary bytes as rows of a database: changes, records, tables, seals. The first byte
//! of the input chooses the kind; the checks are in `hotread_store::fuzzing`.

#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| hotread_store::fuzzing::stored_row(data));
