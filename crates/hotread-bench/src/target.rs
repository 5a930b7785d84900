//! What both bench targets do: read the command line, measure the figures asked for, report.

use std::path::PathBuf;
use std::time::Instant;

use crate::figures::{self, Entry};
use crate::options::{Options, USAGE};
use crate::report::{self, About, Machine, Run};
use crate::rounds::Plan;

/// Runs a bench target.
///
/// # Errors
/// What is wrong with the command line, or why the report cannot be written.
pub fn run(about: &'static About, entries: &[Entry]) -> Result<(), String> {
    let options = Options::parse(std::env::args().skip(1))?;
    if options.list {
        for figure in entries {
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
        if !known().any(|figure| figure.id == id) {
            return Err(format!("no figure is called {id}; --list names them"));
        }
    }
    let wanted = |entry: &&Entry| {
        options.only.is_empty() || options.only.iter().any(|only| only == entry.id)
    };
    let entries: Vec<&Entry> = entries.iter().filter(wanted).collect();
    if entries.is_empty() {
        // Those asked for are the other target's.
        return Ok(());
    }
    let plan = Plan {
        quick: options.quick,
        #[cfg(feature = "store")]
        scratch: std::rc::Rc::default(),
    };
    let (machine, start) = (Machine::here(), Instant::now());
    let mut measured = Vec::new();
    for entry in entries {
        eprintln!("measuring {}: {} …", entry.id, entry.asks);
        let started = Instant::now();
        let figure = (entry.run)(&plan);
        println!("{}", report::on_terminal(&figure));
        eprintln!("{} took {:.1} s", entry.id, started.elapsed().as_secs_f64());
        measured.push(figure);
    }
    let run = Run {
        about,
        machine,
        quick: options.quick,
        figures: measured,
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

/// Where the files of a measurement lie: beside the benchmark's own program, in the target folder.
pub fn folder() -> PathBuf {
    let program = std::env::current_exe().ok();
    let beside = program.and_then(|program| Some(program.parent()?.to_owned()));
    beside.unwrap_or_else(std::env::temp_dir)
}

/// The figures of all bench targets.
fn known() -> impl Iterator<Item = &'static Entry> {
    #[cfg(feature = "store")]
    let figures = figures::ALL.iter().chain(&crate::store::ALL);
    #[cfg(not(feature = "store"))]
    let figures = figures::ALL.iter();
    #[cfg(all(feature = "end-to-end", target_os = "linux"))]
    let figures = figures.chain(&crate::end_to_end::ALL);
    figures
}
