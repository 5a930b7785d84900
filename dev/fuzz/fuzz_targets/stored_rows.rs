//! Any bytes as what stands in the rows of a database: changes, records, tables, seals. The first byte
//! of the input chooses; what is checked is in `hotread_store::fuzzing`.

#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| hotread_store::fuzzing::stored_row(data));
