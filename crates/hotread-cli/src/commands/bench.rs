//! `hotread bench`: the figures from end to end, on this machine.

use crate::args::BenchArgs;
use crate::exit::Failure;
use anyhow::Result;
#[cfg(target_os = "linux")]
use hotread_bench::{end_to_end, options::Options};
use hotread_proto::Code;

#[cfg(target_os = "linux")]
pub(super) fn run(args: BenchArgs) -> Result<()> {
    if !args.role.is_empty() {
        return end_to_end::role(&args.role).map_err(failed);
    }
    let dir = args.dir.unwrap_or_else(std::env::temp_dir);
    if !dir.is_dir() {
        let message = format!("--dir: {} is no folder", dir.display());
        return Err(Failure::usage(message).into());
    }
    let options = Options {
        quick: args.quick,
        list: args.list,
        only: args.only,
        out: args.out,
        bench: true,
        ..Options::default()
    };
    end_to_end::bench(&options, dir).map_err(failed)
}

/// Clocks that processes share and their memory are read as Linux has them.
#[cfg(not(target_os = "linux"))]
pub(super) fn run(_: BenchArgs) -> Result<()> {
    Err(failed("this is measured on Linux only".to_owned()))
}

fn failed(message: String) -> anyhow::Error {
    Failure::new(Code::BadRequest, message).into()
}
