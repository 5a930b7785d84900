//! The arguments of `hotread demo`.

use super::import::FileFormat;
use clap::{Args, Subcommand, ValueHint};
use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

/// Maximum number of workers: each is a process that reads as fast as a core can.
const MAX_WORKERS: u16 = 16;
/// Shortest and longest time for which each part may be measured, in seconds.
const SECONDS: std::ops::RangeInclusive<f64> = 0.1..=30.0;

pub(crate) const DEMO_HELP: &str = "\
Needs no setup, and takes about 15 seconds. The server listens on this machine only, the database is
in a temporary folder, and both are gone afterwards. Set TMPDIR to put the folder on another disk.

The exit code is 1 if any claim of the demo turns out to be false.

Examples:
  hotread demo
  hotread demo --workers 4 --seconds 5
  # your own records; --json for the results as one object
  hotread demo --data prices.csv --key id";

#[derive(Debug, Args)]
#[command(args_conflicts_with_subcommands = true)]
pub(crate) struct DemoArgs {
    #[command(subcommand)]
    pub(crate) child: Option<Child>,
    #[command(flatten)]
    pub(crate) show: ShowArgs,
}

#[derive(Debug, Args)]
pub(crate) struct ShowArgs {
    /// Processes that read
    #[arg(long, value_name = "N", default_value_t = 2, value_parser = clap::value_parser!(u16).range(1..=i64::from(MAX_WORKERS)))]
    pub(crate) workers: u16,
    /// Time for which each part is measured
    #[arg(long, value_name = "SECONDS", default_value = "3", value_parser = seconds)]
    pub(crate) seconds: Duration,
    /// Records to start with, a CSV or NDJSON file, instead of those that come with the command
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub(crate) data: Option<PathBuf>,
    /// With --data, for CSV: the column that holds the keys
    #[arg(long, value_name = "COLUMN", requires = "data")]
    pub(crate) key: Option<String>,
    /// With --data: format of the file, if its name does not say
    #[arg(long, requires = "data")]
    pub(crate) format: Option<FileFormat>,
    /// Claim a write that never happened, so that the verdict must fail
    #[cfg(debug_assertions)]
    #[arg(long, hide = true)]
    pub(crate) claim_too_much: bool,
}

impl ShowArgs {
    /// Returns `true` if the demo is to claim a write that never happened; only in builds for tests.
    pub(crate) fn claims_too_much(&self) -> bool {
        #[cfg(debug_assertions)]
        return self.claim_too_much;
        #[cfg(not(debug_assertions))]
        false
    }
}

/// Role of a child process of the demo.
#[derive(Debug, Subcommand)]
pub(crate) enum Child {
    /// Any command of this executable, which ends when the demo does
    #[command(hide = true)]
    Attached {
        /// The demo's process
        #[arg(long)]
        parent: i32,
        /// The command line
        #[arg(last = true, required = true)]
        args: Vec<OsString>,
    },
    /// A process that reads; the first line of its stdin is its task
    #[command(hide = true)]
    Worker,
}

fn seconds(text: &str) -> Result<Duration, String> {
    match text.parse() {
        Ok(seconds) if SECONDS.contains(&seconds) => Ok(Duration::from_secs_f64(seconds)),
        _ => Err(format!(
            "give seconds from {} to {}",
            SECONDS.start(),
            SECONDS.end()
        )),
    }
}
