//! Bench targets: they measure the selected figures, and report.

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::OnceLock;
use std::time::Instant;

use crate::options::{Options, USAGE};
use crate::report::{About, Figure, Machine, Run, markdown};
use crate::rounds::Plan;

/// A figure that can be measured.
pub struct Entry<S = ()> {
    /// Its name on the command line and in the raw results.
    pub id: &'static str,
    asks: &'static str,
    measure: fn(&Plan<S>) -> Figure,
}

impl<S> Entry<S> {
    /// A figure by its name, with its question.
    pub const fn new(
        id: &'static str,
        asks: &'static str,
        measure: fn(&Plan<S>) -> Figure,
    ) -> Self {
        Self { id, asks, measure }
    }

    /// Measures it.
    pub fn measure(&self, plan: &Plan<S>) -> Figure {
        Figure {
            id: self.id,
            ..(self.measure)(plan)
        }
    }
}

/// Figures by their names: the module of each, whose `run` measures it, and its question.
#[cfg(any(feature = "in-process", feature = "store"))]
macro_rules! entries {
    ($($id:literal => $module:ident: $asks:literal),* $(,)?) => {
        [$($crate::target::Entry::new($id, $asks, $module::run)),*]
    };
}
#[cfg(any(feature = "in-process", feature = "store"))]
pub(crate) use entries;

/// Ends a program that measures: prints the error, if there is one, and returns the exit code.
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

/// Runs a bench target: measures the selected figures, and reports to the terminal and into a
/// folder. `known` has the figures of all targets, since `cargo bench` passes its arguments to each.
///
/// # Errors
/// If no target has a selected figure, or the report cannot be written.
pub fn run<S: Default>(
    about: &'static About,
    entries: &[Entry<S>],
    known: &[&str],
    options: &Options,
) -> Result<(), String> {
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
    if let Some(id) = options.only.iter().find(|id| !known.contains(&id.as_str())) {
        return Err(format!("no figure is called {id}; --list names them"));
    }
    let wanted = entries.iter().filter(|entry| options.wants(entry.id));
    let plan = Plan {
        quick: options.quick,
        scratch: S::default(),
    };
    let (machine, start) = (Machine::here(), Instant::now());
    let mut figures = Vec::new();
    for entry in wanted {
        eprintln!("measuring {}: {} …", entry.id, entry.asks);
        let started = Instant::now();
        let figure = entry.measure(&plan);
        println!("{}", markdown::figure(&figure));
        eprintln!("{} took {:.1} s", entry.id, started.elapsed().as_secs_f64());
        figures.push(figure);
    }
    if figures.is_empty() {
        // The selected figures are another target's.
        return Ok(());
    }
    let run = Run {
        about,
        machine,
        quick: options.quick,
        figures,
        seconds: start.elapsed().as_secs_f64(),
    };
    let (met, all) = run.goals_met();
    println!("{met} of {all} goals met, in {:.0} s", run.seconds);
    if let Some(folder) = options.folder() {
        run.write(&folder)
            .map_err(|error| format!("cannot write to {}: {error}", folder.display()))?;
        println!("written to {}", folder.display());
    }
    Ok(())
}

/// Folder for the files of a measurement: next to the benchmark's own program, in the target folder.
pub fn folder() -> &'static Path {
    static FOLDER: OnceLock<PathBuf> = OnceLock::new();
    FOLDER.get_or_init(|| {
        let program = std::env::current_exe().ok();
        let folder = program.and_then(|program| Some(program.parent()?.to_owned()));
        folder.unwrap_or_else(std::env::temp_dir)
    })
}
