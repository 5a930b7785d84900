//! Measures reads and updates in one process, and writes the report. See the crate's documentation
//! for the rules, and `--list` for the figures.

use std::process::ExitCode;

use hotread_bench::alloc::Counting;
use hotread_bench::options::Options;
use hotread_bench::{figures, target};

#[global_allocator]
static ALLOCATOR: Counting = Counting;

fn main() -> ExitCode {
    let run = |options| {
        target::run(
            &figures::ABOUT,
            &figures::ALL,
            &hotread_bench::known(),
            &options,
        )
    };
    target::end(Options::of_program().and_then(run))
}
