//! Measures HotRead from end to end beside other systems, and writes the report. See the crate's
//! documentation for the rules, and `--list` for the figures.

use std::process::ExitCode;

#[cfg(target_os = "linux")]
use hotread_bench::end_to_end::main as run;

/// It reads Linux's `/proc`, and starts servers as Debian has them.
#[cfg(not(target_os = "linux"))]
fn run() -> Result<(), String> {
    Err("the figures from end to end are measured on Linux only".into())
}

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(message) => {
            eprintln!("error: {message}");
            ExitCode::FAILURE
        }
    }
}
