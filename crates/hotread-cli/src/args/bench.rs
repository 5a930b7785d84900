//! The arguments of `hotread bench`.

use clap::{Args, ValueHint};
use std::path::PathBuf;

pub(crate) const BENCH_HELP: &str = "\
Starts a server of its own and processes that write and follow, all on this machine, beside what the
machine takes for a bare fsync, a bare WebSocket and a bare download. Builds with the feature `peers`
measure etcd, Redis and NATS JetStream as well, as far as they are installed:

  cargo run --profile dist --features peers -- bench

Takes some minutes, with --quick about one. Nothing else should run meanwhile. Goals that are missed
do not change the exit code.

Examples:
  hotread bench --list
  hotread bench --only e2e-propagation,e2e-storm
  hotread bench --dir /var/lib/app --out report   on the disk of that folder, with a report";

#[derive(Debug, Args)]
pub(crate) struct BenchArgs {
    /// A short run, which shows that everything works and measures nothing
    #[arg(long)]
    pub(crate) quick: bool,
    /// The figures' names, and what they ask
    #[arg(long)]
    pub(crate) list: bool,
    /// Only these figures
    #[arg(long, value_name = "FIGURE", value_delimiter = ',')]
    pub(crate) only: Vec<String>,
    /// Where databases are made meanwhile: a folder on the disk to be measured. By default the folder
    /// for temporary files
    #[arg(long, value_name = "DIR", value_hint = ValueHint::DirPath)]
    pub(crate) dir: Option<PathBuf>,
    /// Write the report there: Markdown, plots, and the numbers as JSON
    #[arg(long, value_name = "DIR", value_hint = ValueHint::DirPath)]
    pub(crate) out: Option<PathBuf>,
    /// What this process is for another one that measures
    #[arg(long, hide = true, num_args = 1.., allow_hyphen_values = true)]
    pub(crate) role: Vec<String>,
}
