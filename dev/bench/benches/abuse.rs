//! Measures what abuse of the server does to its other callers and to its memory, and writes the report.
//! See the module `end_to_end::abuse`, and `--list` for the figures.

use std::process::ExitCode;

fn main() -> ExitCode {
    #[cfg(target_os = "linux")]
    let done = hotread_bench::end_to_end::abuse::run();
    #[cfg(not(target_os = "linux"))]
    let done: Result<(), String> = Err("these figures need Linux".into());
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(message) => {
            eprintln!("error: {message}");
            ExitCode::FAILURE
        }
    }
}
