//! The report for people.

use std::fmt::Write;

use super::{Figure, Run};
use crate::rounds::{Table, Unit, digits};

/// The peer that others are compared with: the first one of these that takes part.
const OURS: [&str; 4] = [
    "HotRead",
    "HotRead, quiet handles",
    "HotRead, 2 copies",
    "HotRead, no thread waits",
];

/// The whole report.
pub fn document(run: &Run) -> String {
    let about = run.about;
    let mut text = format!("# {}\n\n", about.title);
    if run.quick {
        text += "> This is a quick run: it shows that everything works and measures nothing.\n\n";
    }
    let machine = &run.machine;
    let _ = writeln!(
        text,
        "Measured on {} on {} ({} cores, {}), {}, {}, in {:.0} s, by `{}`. Raw numbers: [{name}.json]({name}.json).\n",
        machine.date,
        machine.cpu,
        machine.cores,
        machine.kernel,
        machine.rustc,
        about.profile,
        run.seconds,
        about.command,
        name = about.name,
    );
    text += &(about.rules)(machine);
    text.push('\n');

    let (met, all) = run.goals_met();
    let _ = writeln!(text, "**{met} of {all} goals met.**");
    let missed: Vec<_> = run
        .figures
        .iter()
        .flat_map(|f| f.goals.iter().map(move |goal| (f, goal)))
        .filter(|(_, goal)| !goal.met())
        .collect();
    if !missed.is_empty() {
        text += " Missed:\n\n";
        for (figure, goal) in missed {
            let _ = writeln!(
                text,
                "- [{}](#{}): {}: {} (goal: {})",
                figure.title,
                anchor(figure.title),
                goal.what,
                goal.measured_text(),
                goal.target_text()
            );
        }
    }
    text.push('\n');
    for figure in &run.figures {
        text += &self::figure(figure);
    }
    text
}

/// One figure.
pub fn figure(figure: &Figure) -> String {
    let mut text = format!("## {}\n\n{}\n\n", figure.title, figure.method);
    for table in &figure.tables {
        text += &self::table(table);
    }
    if !figure.goals.is_empty() {
        text += "| goal | target | measured | |\n|---|---|---|---|\n";
        for goal in &figure.goals {
            let verdict = if goal.met() { "met" } else { "**missed**" };
            let _ = writeln!(
                text,
                "| {} | {} | {} | {verdict} |",
                escape(&goal.what),
                goal.target_text(),
                goal.measured_text()
            );
        }
        text.push('\n');
    }
    for note in &figure.notes {
        let _ = writeln!(text, "- {note}");
    }
    if !figure.notes.is_empty() {
        text.push('\n');
    }
    text
}

fn table(table: &Table) -> String {
    let mut text = format!("**{}**\n\n| |", table.title);
    for (label, _) in &table.columns {
        let _ = write!(text, " {} |", escape(label));
    }
    text += "\n|---|";
    text += &"---:|".repeat(table.columns.len());
    text.push('\n');
    let ours = OURS
        .iter()
        .find(|ours| table.rows.iter().any(|row| row.peer == **ours));
    for row in &table.rows {
        let is_ours = ours == Some(&&*row.peer);
        let name = escape(&row.peer);
        let _ = match is_ours {
            true => write!(text, "| **{name}** |"),
            false => write!(text, "| {name} |"),
        };
        for (index, (_, unit)) in table.columns.iter().enumerate() {
            let value = table.median(&row.peer, index);
            let base = ours.map_or(f64::NAN, |ours| table.median(ours, index));
            let ratio = value / base;
            let relative = matches!(unit, Unit::Ns | Unit::PerSecond);
            if is_ours || !relative || !ratio.is_finite() {
                let _ = write!(text, " {} |", unit.format(value));
            } else {
                let value = unit.format(value);
                let _ = write!(text, " {value} ({} ×) |", digits(ratio));
            }
        }
        text.push('\n');
    }
    text.push('\n');
    text
}

fn escape(text: &str) -> String {
    text.replace('|', "\\|")
}

/// The anchor that Markdown viewers give a heading.
fn anchor(title: &str) -> String {
    title
        .to_lowercase()
        .chars()
        .filter(|c| c.is_alphanumeric() || matches!(c, ' ' | '-'))
        .map(|c| if c == ' ' { '-' } else { c })
        .collect()
}
