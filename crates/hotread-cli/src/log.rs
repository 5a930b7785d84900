//! Logging to stderr. Commands log nothing unless asked to, since errors are printed separately. A
//! server logs what an operator should know.

use crate::args::LogFormat;
use crate::output::colour;
use anyhow::{Context, Result};
use std::io;
use tracing_subscriber::EnvFilter;

/// Starts the log of a command.
pub(crate) fn begin(verbose: u8) {
    tracing_subscriber::fmt()
        .with_env_filter(filter(verbose))
        .with_writer(io::stderr)
        .with_ansi(colour::is_wanted(&io::stderr()))
        .without_time()
        .init();
}

/// Changes the filter of a server's log.
pub(crate) type SetFilter = Box<dyn Fn(&str) -> Result<()> + Send + Sync>;

/// Starts the log of a server. Its filter must be valid.
pub(crate) fn begin_serving(filter: &str, format: LogFormat) -> SetFilter {
    let log = tracing_subscriber::fmt()
        .with_env_filter(EnvFilter::new(filter))
        .with_writer(io::stderr)
        .with_ansi(colour::is_wanted(&io::stderr()));
    macro_rules! begin {
        ($log:expr) => {{
            let log = $log.with_filter_reloading();
            let handle = log.reload_handle();
            log.init();
            let set: SetFilter = Box::new(move |filter| {
                let filter = EnvFilter::try_new(filter)?;
                let set = handle.reload(filter);
                set.context("cannot change the log's filter")
            });
            set
        }};
    }
    match format {
        LogFormat::Text => begin!(log),
        LogFormat::Json => begin!(log.json()),
    }
}

/// Returns the filter of a command's log: that of `RUST_LOG`, unless `-v` asks for a level.
fn filter(verbose: u8) -> EnvFilter {
    let level = match verbose {
        0 => "off",
        1 => "info",
        2 => "debug",
        _ => "trace",
    };
    match std::env::var(EnvFilter::DEFAULT_ENV) {
        Ok(directives) if verbose == 0 && !directives.is_empty() => EnvFilter::new(directives),
        _ => EnvFilter::new(level),
    }
}
