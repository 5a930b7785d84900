//! Measures the store compared with bare SQLite, and writes the report. See the crate's documentation for
//! the rules, and `--list` for the figures.

use std::process::ExitCode;

use hotread_bench::options::Options;
use hotread_bench::{known, process, store, target};

fn main() -> ExitCode {
    let run = |options| target::run(&store::ABOUT, &store::ALL, &known(), &options);
    target::end(match process::role() {
        Some((_, arguments)) => store::child::main(&arguments),
        None => Options::of_program().and_then(run),
    })
}
