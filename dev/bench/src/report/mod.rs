//! What a figure reports, and the files it becomes.

mod json;
mod machine;
pub mod markdown;

use std::fs;
use std::io;
use std::path::Path;

pub use self::machine::Machine;
use crate::rounds::Table;

/// Everything that one figure has to say.
pub struct Figure {
    /// Its name on the command line and in file names.
    pub id: &'static str,
    /// Its title.
    pub title: &'static str,
    /// What it asks, and how it is measured.
    pub method: String,
    /// The numbers.
    pub tables: Vec<Table>,
    /// The goals, met or missed.
    pub goals: Vec<Goal>,
    /// What a reader of the numbers has to know.
    pub notes: Vec<String>,
}

/// Which side of the target is good.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Target {
    /// Measured ≤ target.
    AtMost(Milli),
    /// Measured ≥ target.
    AtLeast(Milli),
}

/// A target in thousandths, so that targets compare and print exactly.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Milli(pub u64);

impl Milli {
    fn value(self) -> f64 {
        self.0 as f64 / 1000.0
    }
}

/// A ratio or number that was aimed at, and what was measured.
#[derive(Clone, Debug)]
pub struct Goal {
    /// What is compared with what.
    pub what: String,
    /// The target.
    pub target: Target,
    /// The measured number.
    pub measured: f64,
    /// What follows the numbers: `×` for ratios, or a unit.
    pub unit: &'static str,
}

impl Goal {
    /// A ratio that should be at most `target`.
    pub fn at_most(what: impl Into<String>, target: f64, measured: f64) -> Self {
        Self {
            what: what.into(),
            target: Target::AtMost(Milli((target * 1000.0).round() as u64)),
            measured,
            unit: "×",
        }
    }

    /// A ratio that should be at least `target`.
    pub fn at_least(what: impl Into<String>, target: f64, measured: f64) -> Self {
        Self {
            target: Target::AtLeast(Milli((target * 1000.0).round() as u64)),
            ..Self::at_most(what, target, measured)
        }
    }

    /// The same goal in another unit than a ratio.
    pub fn in_unit(self, unit: &'static str) -> Self {
        Self { unit, ..self }
    }

    /// Whether it was met; a goal that was not measured was missed.
    pub fn met(&self) -> bool {
        match self.target {
            Target::AtMost(target) => self.measured <= target.value(),
            Target::AtLeast(target) => self.measured >= target.value(),
        }
    }

    /// The target in words.
    pub fn target_text(&self) -> String {
        let (words, target) = match self.target {
            Target::AtMost(target) => ("at most", target.value()),
            Target::AtLeast(target) => ("at least", target.value()),
        };
        format!("{words} {target}{}", self.spaced_unit())
    }

    /// The measured number in words.
    pub fn measured_text(&self) -> String {
        format!(
            "{}{}",
            crate::rounds::digits(self.measured),
            self.spaced_unit()
        )
    }

    fn spaced_unit(&self) -> String {
        match self.unit {
            "×" => " ×".into(),
            unit => format!(" {unit}"),
        }
    }
}

/// How `cargo bench` builds, as Cargo.toml of the workspace says.
pub const BENCH_PROFILE: &str = "bench profile with fat LTO and one codegen unit";

/// What a report is about.
pub struct About {
    /// Its file name, without an ending.
    pub name: &'static str,
    /// Its title.
    pub title: &'static str,
    /// What measures it.
    pub command: &'static str,
    /// How that is built.
    pub profile: &'static str,
    /// The rules that its figures follow, as a Markdown list.
    pub rules: fn(&Machine) -> String,
}

/// The whole run.
pub struct Run {
    /// What it was about.
    pub about: &'static About,
    /// Where it ran.
    pub machine: Machine,
    /// Whether it was a quick one, which is no measurement.
    pub quick: bool,
    /// The figures, in order.
    pub figures: Vec<Figure>,
    /// How long it took, in seconds.
    pub seconds: f64,
}

impl Run {
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
        let mut rounds = Rounds::new("reads", &[("struct", Unit::Ns), ("map", Unit::Ns)]);
        rounds.add("HotRead", 0, || vec![0.5, 10.0]);
        rounds.add("left-right", 0, || vec![5.0]);
        let table = rounds.run(3);
        let goal = Goal::at_least(
            "faster than left-right",
            5.0,
            table.ratio(("left-right", 0), ("HotRead", 0)),
        );
        let missed = Goal::at_most("HotRead on a map", 9.0, 10.0).in_unit("ns");
        Run {
            about: &crate::figures::ABOUT,
            machine: Machine::here(),
            quick: true,
            figures: vec![Figure {
                id: "reads",
                title: "Reads",
                method: "Measured.".into(),
                tables: vec![table],
                goals: vec![goal, missed],
                notes: vec!["A note.".into()],
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
        let folder = std::env::temp_dir().join(format!("hotread-bench-{}", std::process::id()));
        run().write(&folder).expect("a writable temporary folder");
        for name in ["in-process.md", "in-process.json"] {
            assert!(folder.join(name).exists(), "{name}");
        }
        fs::remove_dir_all(folder).expect("the folder was just written");
    }
}
