//! The `hotread` command: reads its arguments, calls the store or a server, prints what it answers. No
//! logic of tables lives here.

mod args;
mod backend;
mod commands;
mod config;
mod demo;
mod exit;
mod log;
mod output;

use clap_complete::CompleteEnv;
use output::Out;
use std::process::ExitCode;

fn main() -> ExitCode {
    // A shell that asks what could come next; nothing is printed before it.
    CompleteEnv::with_factory(commands::complete::definition).complete();
    let cli = match args::parse() {
        Ok(cli) => cli,
        Err(error) => {
            let before_data = std::env::args_os().skip(1).take_while(|arg| arg != "--");
            let json = before_data.into_iter().any(|arg| arg == "--json");
            return exit::usage(&error, args::command(), json);
        }
    };
    // A server's log depends on its settings, which it reads first.
    if !matches!(cli.command, args::Cmd::Serve(_)) {
        log::begin(cli.global.verbose);
    }
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
