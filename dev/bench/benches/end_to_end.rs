//! Measures HotRead's server and client from end to end, compared with other systems, and writes the report. See
//! the module `end_to_end`, and `--list` for the figures.

use std::process::ExitCode;

use hotread_bench::target;

fn main() -> ExitCode {
    #[cfg(target_os = "linux")]
    let done = hotread_bench::end_to_end::run(&hotread_bench::known());
    #[cfg(not(target_os = "linux"))]
    let done: Result<(), String> = Err("these figures need Linux".into());
    target::end(done)
}
