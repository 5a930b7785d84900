//! A process of a measurement in one of its roles, for tests, whose own program has a harness.

use std::process::ExitCode;

use hotread_bench::{process, target};

fn main() -> ExitCode {
    target::end(match process::role() {
        #[cfg(target_os = "linux")]
        Some((role, arguments)) => hotread_bench::end_to_end::take_role(&role, &arguments),
        _ => Err("measurements start this program; it does nothing by itself".into()),
    })
}
