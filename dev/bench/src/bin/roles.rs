//! A process of a measurement in one of its roles: for tests, whose own program has a harness.

use std::process::ExitCode;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    #[cfg(target_os = "linux")]
    let done = hotread_bench::end_to_end::in_role(&arguments);
    #[cfg(not(target_os = "linux"))]
    let done = None::<Result<(), String>>;
    match done {
        Some(Ok(())) => ExitCode::SUCCESS,
        Some(Err(message)) => {
            eprintln!("error: {message}");
            ExitCode::FAILURE
        }
        None => {
            eprintln!("error: measurements start this program; it does nothing by itself");
            ExitCode::FAILURE
        }
    }
}
