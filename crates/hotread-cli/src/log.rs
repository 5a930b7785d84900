//! Logs go to stderr. Commands are silent unless more is asked for: what fails is said without them.
//! A server says what an operator should know.

use crate::args::LogFormat;
use crate::output::colour;
use std::io;
use tracing_subscriber::EnvFilter;

/// For a command.
pub(crate) fn begin(verbose: u8) {
    tracing_subscriber::fmt()
        .with_env_filter(filter(verbose, "off"))
        .with_writer(io::stderr)
        .with_ansi(colour::is_wanted(&io::stderr()))
        .without_time()
        .init();
}

/// For a server.
pub(crate) fn begin_serving(verbose: u8, format: LogFormat) {
    let log = tracing_subscriber::fmt()
        .with_env_filter(filter(
            verbose.saturating_add(u8::from(verbose > 0)),
            "info",
        ))
        .with_writer(io::stderr)
        .with_ansi(colour::is_wanted(&io::stderr()));
    match format {
        LogFormat::Text => log.init(),
        LogFormat::Json => log.json().init(),
    }
}

/// `RUST_LOG` chooses in detail, unless more is asked for by `-v`.
fn filter(verbose: u8, usually: &str) -> EnvFilter {
    let level = match verbose {
        0 => usually,
        1 => "info",
        2 => "debug",
        _ => "trace",
    };
    match std::env::var(EnvFilter::DEFAULT_ENV) {
        Ok(directives) if verbose == 0 && !directives.is_empty() => EnvFilter::new(directives),
        _ => EnvFilter::new(level),
    }
}
