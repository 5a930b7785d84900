//! A process of a measurement in one of its roles: for tests, whose own program has a harness.

use std::process::ExitCode;

use hotread_bench::target;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    #[cfg(target_os = "linux")]
    let done = hotread_bench::end_to_end::in_role(&arguments);
    #[cfg(not(target_os = "linux"))]
    let done = None::<Result<(), String>>;
    let alone = || Err("measurements start this program; it does nothing by itself".into());
    target::end(done.unwrap_or_else(alone))
}
