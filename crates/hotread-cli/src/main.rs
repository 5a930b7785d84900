//! The `hotread` command: parses its arguments, calls the store or a server, and prints the answer. The
//! logic of tables lives in those crates.

mod args;
mod backend;
mod commands;
mod config;
mod demo;
mod exit;
mod log;
mod output;

use clap_complete::CompleteEnv;
use output::{Out, colour};
use std::process::ExitCode;

fn main() -> ExitCode {
    // Answers a shell that asks for completions; nothing may be printed before.
    CompleteEnv::with_factory(commands::complete::definition).complete();
    let parsed = args::parse();
    colour::choose(match &parsed {
        Ok(cli) => cli.global.color,
        Err(_) => args::colour_so_far(),
    });
    let cli = match parsed {
        Ok(cli) => cli,
        Err(error) => {
            let before_data = std::env::args_os().skip(1).take_while(|arg| arg != "--");
            let json = before_data.into_iter().any(|arg| arg == "--json");
            return exit::usage(&error, args::command(), json);
        }
    };
    // `hotread serve` sets its log up itself, after reading its settings.
    if !matches!(cli.command, args::Cmd::Serve(_)) {
        log::begin(cli.global.verbose);
    }
    let json = cli.global.json;
    let mut out = Out::stdout();
    let done = commands::run(cli, &mut out);
    // Output that was printed before an error stays, and precedes the error.
    let printed = out.finish();
    match done.and_then(|code| printed.map(|()| code)) {
        Ok(code) => code,
        Err(error) if exit::is_broken_pipe(&error) => ExitCode::SUCCESS,
        Err(error) => exit::report(&error, json),
    }
}
