//! Measures the store beside bare SQLite, and writes the report. See the crate's documentation for
//! the rules, and `--list` for the figures.

use std::process::ExitCode;

use hotread_bench::store::{self, child};
use hotread_bench::target;

fn main() -> ExitCode {
    let done = match child::asked() {
        Some(arguments) => child::main(&arguments),
        None => target::run(&store::ABOUT, &store::ALL),
    };
    target::end(done)
}
