//! Measures reads and updates in one process, and writes the report. See the crate's documentation
//! for the rules, and `--list` for the figures.

use std::process::ExitCode;

use hotread_bench::alloc::Counting;
use hotread_bench::{figures, target};

#[global_allocator]
static ALLOCATOR: Counting = Counting;

fn main() -> ExitCode {
    target::end(target::run(&figures::ABOUT, &figures::ALL))
}
