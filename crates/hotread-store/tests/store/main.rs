//! A store as its programs see it. All tests are in one program, which is linked once and runs slow
//! tests in parallel with others: they share one process, and change nothing global.

mod common;
mod crash;

mod alter;
mod authors;
mod backup;
mod budgets;
mod damage;
mod drops;
mod expiry;
mod failed_calls;
mod files;
mod full_disk;
mod fuzz_corpora;
mod history;
mod io_errors;
mod kill;
mod limits;
mod migrations;
mod model;
mod model_table;
mod model_world;
mod no_room;
mod one_file;
mod pins;
mod power_loss;
mod replace;
mod sealed;
mod tables;
mod tasks;
mod token_faults;
mod tokens;
mod typed;
mod typed_changes;
mod typed_states;
mod wal;
