//! Formats of lists, and the options that choose them.

use clap::{Args, ValueEnum};

/// Format of a list.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum ListFormat {
    /// Aligned columns for a terminal
    Table,
    /// One JSON array
    Json,
    /// A JSON object per line
    Ndjson,
    /// Comma-separated values under a heading
    Csv,
}

/// Options of each command that prints a list.
#[derive(Debug, Clone, Copy, Args)]
pub(crate) struct FormatArgs {
    /// Format of the list [default: table; with --json: ndjson]
    #[arg(long, value_name = "FORMAT")]
    pub(crate) format: Option<ListFormat>,
    /// Indent JSON
    #[arg(long)]
    pub(crate) pretty: bool,
}
