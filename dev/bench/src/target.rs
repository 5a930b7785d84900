//! What all that measures does: measure the figures asked for, report.

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::OnceLock;
use std::time::Instant;

use crate::options::{Options, USAGE};
use crate::report::{self, About, Figure, Machine, Run};
use crate::rounds::Plan;

/// A figure that can be measured.
pub struct Entry {
    /// Its name on the command line and in file names.
    pub id: &'static str,
    /// What it asks.
    pub asks: &'static str,
    /// Measures it.
    pub run: fn(&Plan) -> Figure,
}

/// Runs a bench target.
///
/// # Errors
/// What is wrong with the command line, or why the report cannot be written.
pub fn run(about: &'static About, entries: &[Entry]) -> Result<(), String> {
    let options = Options::parse(std::env::args().skip(1))?;
    run_as(about, entries, &options)
}

/// The end of a program that measures: the error, if there is one, and the exit code.
#[must_use]
pub fn end(done: Result<(), String>) -> ExitCode {
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(message) => {
            eprintln!("error: {message}");
            ExitCode::FAILURE
        }
    }
}

/// The same with options that are read already.
///
/// # Errors
/// As [`run()`].
pub fn run_as(about: &'static About, entries: &[Entry], options: &Options) -> Result<(), String> {
    if !options.bench && !options.list {
        // `cargo test --all-targets` also starts bench targets; they measure only when asked to.
        println!("{USAGE}");
        return Ok(());
    }
    if let Some(id) = options
        .only
        .iter()
        .find(|id| !known().any(|known| known == *id))
    {
        return Err(unknown(id));
    }
    measure(about, entries, options, options.folder().as_deref())
}

/// Measures, and reports to the terminal and into a folder.
///
/// # Errors
/// If the report cannot be written.
pub fn measure(
    about: &'static About,
    entries: &[Entry],
    options: &Options,
    folder: Option<&Path>,
) -> Result<(), String> {
    if options.list {
        for figure in entries {
            println!("{:<20}{}", figure.id, figure.asks);
        }
        return Ok(());
    }
    let wanted = |entry: &&Entry| {
        options.only.is_empty() || options.only.iter().any(|only| only == entry.id)
    };
    let entries: Vec<&Entry> = entries.iter().filter(wanted).collect();
    if entries.is_empty() {
        // Those asked for are another target's.
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
        println!("{}", report::markdown::figure(&figure));
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
    if let Some(folder) = folder {
        run.write(folder)
            .map_err(|error| format!("cannot write to {}: {error}", folder.display()))?;
        println!("written to {}", folder.display());
    }
    Ok(())
}

/// What is said of a figure that there is none of.
pub(crate) fn unknown(id: &str) -> String {
    format!("no figure is called {id}; --list names them")
}

/// Where the files of a measurement lie: beside the benchmark's own program, in the target folder.
pub fn folder() -> &'static Path {
    static FOLDER: OnceLock<PathBuf> = OnceLock::new();
    FOLDER.get_or_init(|| {
        let program = std::env::current_exe().ok();
        let beside = program.and_then(|program| Some(program.parent()?.to_owned()));
        beside.unwrap_or_else(std::env::temp_dir)
    })
}

/// The figures of all bench targets: `cargo bench` hands its arguments to each of them.
fn known() -> impl Iterator<Item = &'static str> {
    let figures = std::iter::empty::<&Entry>();
    #[cfg(feature = "in-process")]
    let figures = figures.chain(&crate::figures::ALL);
    #[cfg(feature = "store")]
    let figures = figures.chain(&crate::store::ALL);
    #[cfg(all(feature = "end-to-end", target_os = "linux"))]
    let figures = figures
        .chain(&crate::end_to_end::ALL)
        .chain(&crate::end_to_end::abuse::ALL);
    figures.map(|figure| figure.id)
}
