//! The `hotread` command: reads its arguments, calls the store, prints what it answers. No logic of
//! tables lives here.

mod args;
mod commands;
mod exit;
mod output;

use clap::FromArgMatches;
use output::Out;
use std::io;
use std::process::ExitCode;
use tracing_subscriber::EnvFilter;

fn main() -> ExitCode {
    let parsed = args::command()
        .try_get_matches()
        .and_then(|matches| args::Cli::from_arg_matches(&matches));
    let cli = match parsed {
        Ok(cli) => cli,
        Err(error) => {
            let before_data = std::env::args_os().skip(1).take_while(|arg| arg != "--");
            return exit::usage(&error, before_data.into_iter().any(|arg| arg == "--json"));
        }
    };
    log(cli.global.verbose);
    let json = cli.global.json;
    let mut out = Out::stdout();
    let done = commands::run(cli, &mut out);
    // What was printed before an error stays, and comes before it.
    let printed = out.finish();
    match done.and_then(|code| printed.map(|()| code)) {
        Ok(code) => code,
        Err(error) if exit::is_broken_pipe(&error) => ExitCode::SUCCESS,
        Err(error) => exit::report(&error, json),
    }
}

/// Logs go to stderr, if they are asked for: what fails is said without them.
fn log(verbose: u8) {
    let level = match verbose {
        0 => "off",
        1 => "info",
        2 => "debug",
        _ => "trace",
    };
    let filter = match std::env::var(EnvFilter::DEFAULT_ENV) {
        Ok(directives) if verbose == 0 && !directives.is_empty() => EnvFilter::new(directives),
        _ => EnvFilter::new(level),
    };
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(io::stderr)
        .with_ansi(io::IsTerminal::is_terminal(&io::stderr()))
        .without_time()
        .init();
}
