//! The results of a figure, and the files that they are written to.

mod json;
mod machine;
pub mod markdown;

use std::fs;
use std::io;
use std::path::Path;

pub use self::machine::Machine;
use crate::rounds::Table;

/// Results of one figure.
#[derive(Default)]
pub struct Figure {
    /// Its name on the command line and in the raw results.
    pub id: &'static str,
    /// Its title.
    pub title: &'static str,
    /// Its question and method.
    pub method: String,
    /// The numbers.
    pub tables: Vec<Table>,
    /// The goals, met or missed.
    pub goals: Vec<Goal>,
    /// Remarks for readers of the numbers.
    pub notes: Vec<String>,
}

impl Figure {
    /// A figure without numbers yet.
    pub fn new(title: &'static str, method: impl Into<String>) -> Self {
        Self {
            title,
            method: method.into(),
            ..Self::default()
        }
    }

    /// The same with these numbers.
    pub fn tables(self, tables: impl Into<Vec<Table>>) -> Self {
        let tables = tables.into();
        Self { tables, ..self }
    }

    /// The same with these goals.
    pub fn goals(self, goals: impl IntoIterator<Item = Goal>) -> Self {
        let goals = goals.into_iter().collect();
        Self { goals, ..self }
    }

    /// The same with these notes.
    pub fn notes(self, notes: impl IntoIterator<Item = impl Into<String>>) -> Self {
        let notes = notes.into_iter().map(Into::into).collect();
        Self { notes, ..self }
    }
}

/// A ratio or number to reach, and its measured value.
#[derive(Clone, Debug)]
pub struct Goal {
    /// The compared measurements.
    pub what: String,
    /// Relation to the target: `at most` or `at least`.
    pub relation: &'static str,
    /// The target.
    pub target: f64,
    /// The measured number.
    pub measured: f64,
    /// Unit of the numbers: `×` for ratios.
    pub unit: &'static str,
}

const AT_MOST: &str = "at most";
const AT_LEAST: &str = "at least";

impl Goal {
    /// A ratio that should be at most `target`, which is rounded to thousandths.
    pub fn at_most(what: impl Into<String>, target: f64, measured: f64) -> Self {
        Self {
            what: what.into(),
            relation: AT_MOST,
            target: (target * 1000.0).round() / 1000.0,
            measured,
            unit: "×",
        }
    }

    /// A ratio that should be at least `target`.
    pub fn at_least(what: impl Into<String>, target: f64, measured: f64) -> Self {
        Self {
            relation: AT_LEAST,
            ..Self::at_most(what, target, measured)
        }
    }

    /// Seconds that should be at most `target`; measured in nanoseconds.
    pub fn seconds(what: impl Into<String>, target: f64, measured_ns: f64) -> Self {
        Self::at_most(what, target, measured_ns / 1e9).in_unit("s")
    }

    /// The same goal in another unit than a ratio.
    pub fn in_unit(self, unit: &'static str) -> Self {
        Self { unit, ..self }
    }

    /// Returns `true` if the goal was met; a goal that was not measured counts as missed.
    pub fn met(&self) -> bool {
        match self.relation {
            AT_MOST => self.measured <= self.target,
            _ => self.measured >= self.target,
        }
    }

    /// The target in words.
    pub fn target_text(&self) -> String {
        format!("{} {} {}", self.relation, self.target, self.unit)
    }

    /// The measured number in words.
    pub fn measured_text(&self) -> String {
        format!("{} {}", crate::rounds::digits(self.measured), self.unit)
    }
}

/// The profile of `cargo bench`, from Cargo.toml of the workspace.
pub const BENCH_PROFILE: &str = "bench profile with fat LTO and one codegen unit";

/// Subject of a report.
pub struct About {
    /// Its file name, without an ending.
    pub name: &'static str,
    /// Its title.
    pub title: &'static str,
    /// Command that measures it.
    pub command: &'static str,
    /// Profile with which that is built.
    pub profile: &'static str,
    /// The rules that its figures follow, as a Markdown list.
    pub rules: fn(&Machine) -> String,
}

/// The whole run.
pub struct Run {
    /// Subject.
    pub about: &'static About,
    /// The machine.
    pub machine: Machine,
    /// `true` for a quick run, which is no measurement.
    pub quick: bool,
    /// The figures, in order.
    pub figures: Vec<Figure>,
    /// Duration in seconds.
    pub seconds: f64,
}

impl Run {
    /// The number of goals that were met, and the number of all goals.
    pub fn goals_met(&self) -> (usize, usize) {
        let goals = || self.figures.iter().flat_map(|figure| &figure.goals);
        (goals().filter(|goal| goal.met()).count(), goals().count())
    }

    /// Writes the report and the raw results into a folder.
    pub fn write(&self, folder: &Path) -> io::Result<()> {
        fs::create_dir_all(folder)?;
        let file = |ending| folder.join(format!("{}.{ending}", self.about.name));
        fs::write(file("md"), markdown::document(self))?;
        fs::write(file("json"), json::document(self))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rounds::{Rounds, Unit};

    fn run() -> Run {
        let mut rounds = Rounds::new("reads", Unit::Ns.of(["struct", "map"]));
        rounds.add("HotRead", 0, || vec![0.5, 10.0]);
        rounds.add("left-right", 0, || vec![5.0]);
        let table = rounds.run(3);
        let ratio = table.ratio(("left-right", 0), ("HotRead", 0));
        let goal = Goal::at_least("faster than left-right", 5.0, ratio);
        let missed = Goal::at_most("HotRead on a map", 9.0, 10.0).in_unit("ns");
        let figure = Figure::new("Reads", "Measured.").goals([goal, missed]);
        let figure = figure.notes(["A note."]).tables([table]);
        Run {
            about: &crate::figures::ABOUT,
            machine: Machine::here(),
            quick: true,
            figures: vec![Figure {
                id: "reads",
                ..figure
            }],
            seconds: 1.0,
        }
    }

    #[test]
    fn goals_are_met_or_missed_at_their_target() {
        assert!(Goal::at_most("x", 1.1, 1.1).met());
        assert!(!Goal::at_most("x", 1.1, 1.11).met());
        assert!(Goal::at_least("x", 5.0, 5.0).met());
        assert!(!Goal::at_least("x", 5.0, 4.9).met());
        assert!(!Goal::at_most("not measured", 1.0, f64::NAN).met());
        assert!(!Goal::at_least("not measured", 1.0, f64::NAN).met());
    }

    #[test]
    fn the_report_states_losses_as_plainly_as_wins() {
        let text = markdown::document(&run());
        assert!(text.contains("| faster than left-right | at least 5 × | 10.0 × | met |"));
        assert!(text.contains("| HotRead on a map | at most 9 ns | 10.0 ns | **missed** |"));
        assert!(text.contains("1 of 2 goals"));
        assert!(text.contains("5.00 ns (10.0 ×)"), "cells carry their ratio");
        assert!(text.contains("quick run"));
        assert!(text.contains("A note."));
    }

    #[test]
    fn raw_results_hold_medians_and_goals() {
        let json: serde_json::Value =
            serde_json::from_str(&json::document(&run())).expect("valid JSON");
        let figure = &json["figures"][0];
        assert_eq!(figure["id"], "reads");
        assert_eq!(figure["tables"][0]["rows"][1]["peer"], "left-right");
        assert_eq!(figure["tables"][0]["rows"][1]["median"][0], 5.0);
        assert!(figure["tables"][0]["rows"][1]["median"][1].is_null());
        assert_eq!(figure["goals"][1]["met"], false);
    }

    #[test]
    fn files_land_in_the_folder() {
        let folder = tempfile::tempdir().expect("a writable temporary folder");
        run().write(folder.path()).expect("it is writable");
        for name in ["in-process.md", "in-process.json"] {
            assert!(folder.path().join(name).exists(), "{name}");
        }
    }
}
