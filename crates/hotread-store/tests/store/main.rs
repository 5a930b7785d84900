//! A store as its programs see it. One program, so that it is linked once and slow tests run beside others:
//! tests share one process here, and change nothing that belongs to all of it.

mod common;
mod crash;

mod authors;
mod backup;
mod budgets;
mod drops;
mod expiry;
mod files;
mod fuzz_corpora;
mod history;
mod io_errors;
mod kill;
mod limits;
mod migrations;
mod model;
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
