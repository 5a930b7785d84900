//! Runs the figures and writes the report. See the crate's documentation for the rules, and
//! `--list` for the figures.

use std::process::ExitCode;
use std::time::Instant;

use hotread_bench::alloc::Counting;
use hotread_bench::figures::ALL;
use hotread_bench::options::{Options, USAGE};
use hotread_bench::report::{self, Machine, Run};
use hotread_bench::rounds::Plan;

#[global_allocator]
static ALLOCATOR: Counting = Counting;

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(message) => {
            eprintln!("error: {message}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> Result<(), String> {
    let options = Options::parse(std::env::args().skip(1))?;
    if options.list {
        for figure in &ALL {
            println!("{:<20}{}", figure.id, figure.asks);
        }
        return Ok(());
    }
    if !options.bench {
        // `cargo test --all-targets` also starts bench targets; they measure only when asked to.
        println!("{USAGE}");
        return Ok(());
    }
    for id in &options.only {
        if !ALL.iter().any(|figure| figure.id == id) {
            return Err(format!("no figure is called {id}; --list names them"));
        }
    }
    let plan = Plan {
        quick: options.quick,
    };
    let (machine, start) = (Machine::here(), Instant::now());
    let mut figures = Vec::new();
    for entry in &ALL {
        if !options.only.is_empty() && !options.only.iter().any(|id| id == entry.id) {
            continue;
        }
        eprintln!("measuring {}: {} …", entry.id, entry.asks);
        let started = Instant::now();
        let figure = (entry.run)(&plan);
        println!("{}", report::on_terminal(&figure));
        eprintln!("{} took {:.1} s", entry.id, started.elapsed().as_secs_f64());
        figures.push(figure);
    }
    let run = Run {
        machine,
        quick: options.quick,
        figures,
        seconds: start.elapsed().as_secs_f64(),
    };
    let goals: Vec<_> = run
        .figures
        .iter()
        .flat_map(|figure| &figure.goals)
        .collect();
    println!(
        "{} of {} goals met, in {:.0} s",
        goals.iter().filter(|goal| goal.met()).count(),
        goals.len(),
        run.seconds
    );
    if let Some(folder) = options.folder() {
        run.write(&folder)
            .map_err(|error| format!("cannot write to {}: {error}", folder.display()))?;
        println!("written to {}", folder.display());
    }
    Ok(())
}
