//! Measures the effect of abusive callers on a server's other callers and on its memory, and writes the report.
//! See the module `end_to_end::abuse`, and `--list` for the figures.

use std::process::ExitCode;

use hotread_bench::target;

fn main() -> ExitCode {
    #[cfg(target_os = "linux")]
    let done = hotread_bench::end_to_end::abuse::run(&hotread_bench::known());
    #[cfg(not(target_os = "linux"))]
    let done: Result<(), String> = Err("these figures need Linux".into());
    target::end(done)
}
