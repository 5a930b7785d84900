//! Output of the demo: text that fits the terminal, figures in columns, and on a terminal a progress
//! line while something is measured.

use crate::output::colour::Style;
use crate::output::{Out, escape, grouped};
use anyhow::{Context, Result};
use comfy_table::{Cell, CellAlignment, ContentArrangement, Table, presets};
use indicatif::{ProgressBar, ProgressStyle};
use std::io::{self, IsTerminal, Write};
use std::time::Duration;

/// Greatest width of text, in columns: longer lines are hard to read.
const WIDEST: u16 = 92;
/// Narrowest terminal that text is fitted to.
const NARROWEST: u16 = 30;
/// Column at which text begins.
const INDENT: u16 = 3;
/// Width of the label before a value, where the terminal is wide enough.
const LABEL: usize = 24;
/// Interval between two frames of the progress line.
const FRAME: Duration = Duration::from_millis(100);
/// Template of the progress line.
const TEMPLATE: &str = "   {spinner} {prefix}  {wide_msg}";

/// Destination of the demo's output.
pub(super) struct Display<'a> {
    pub(super) out: &'a mut Out,
    /// `true` for programs: only the results are printed.
    json: bool,
    colour: bool,
    width: u16,
    /// The progress line.
    pub(super) bar: ProgressBar,
}

impl<'a> Display<'a> {
    pub(super) fn new(out: &'a mut Out, json: bool) -> Self {
        let terminal = out.is_terminal() && !json;
        let bar = match terminal && io::stderr().is_terminal() {
            true => ProgressBar::new_spinner(),
            false => ProgressBar::hidden(),
        };
        let style = ProgressStyle::with_template(TEMPLATE);
        bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_spinner()));
        bar.finish_and_clear();
        let columns = out.columns().filter(|columns| *columns >= NARROWEST);
        Self {
            colour: out.has_colour(),
            out,
            json,
            width: columns.unwrap_or(WIDEST).min(WIDEST),
            bar,
        }
    }

    /// Shows the current step on the progress line, until [`done`](Self::done).
    pub(super) fn doing(&self, what: &str) {
        self.bar.reset();
        self.bar.set_message("");
        self.bar.set_prefix(what.to_owned());
        self.bar.enable_steady_tick(FRAME);
    }

    /// Removes the progress line.
    pub(super) fn done(&self) {
        self.bar.disable_steady_tick();
        self.bar.finish_and_clear();
    }

    /// Prints the heading of a part and its introduction.
    pub(super) fn part(&mut self, heading: &str, text: &str) -> Result<()> {
        self.heading(heading)?;
        self.prose(text)
    }

    pub(super) fn heading(&mut self, text: &str) -> Result<()> {
        self.done();
        self.text("\n")?;
        let text = self.laid_out([0, 0], &[text]);
        let text = self.painted(&text, Style::Bold);
        self.line(&text)
    }

    /// Prints a paragraph.
    pub(super) fn prose(&mut self, text: &str) -> Result<()> {
        let text = self.laid_out([INDENT, 0], &[text]);
        self.line(&text)
    }

    /// Prints a figure or a fact with its label.
    pub(super) fn value(&mut self, name: &str, value: &str) -> Result<()> {
        let label = LABEL.min(usize::from(self.width) / 3);
        let text = self.laid_out([INDENT, 2], &[&format!("{name:label$}"), value]);
        self.line(&text)
    }

    /// Prints figures in columns, the first of which names the rows. No figure is split, however narrow
    /// the terminal is.
    pub(super) fn table<const N: usize>(&mut self, rows: &[[String; N]]) -> Result<()> {
        let rows = rows.iter().map(|row| row.iter().map(|text| cell(text)));
        let mut table = self.layout([INDENT, 3], rows.map(Iterator::collect));
        table.set_content_arrangement(ContentArrangement::Disabled);
        for column in table.column_iter_mut().skip(1) {
            column.set_cell_alignment(CellAlignment::Right);
        }
        self.line(&table.trim_fmt())
    }

    /// Prints a command to type.
    pub(super) fn command(&mut self, command: &str) -> Result<()> {
        let command = self.painted(&format!("$ {}", escape(command)), Style::Dim);
        self.line(&format!("   {command}"))
    }

    /// Prints a claim, and whether it is true.
    pub(super) fn check(&mut self, ok: bool, text: &str) -> Result<()> {
        let (mark, style) = match ok {
            true => ("ok    ", Style::Good),
            false => ("FAILED", Style::Bad),
        };
        let line = self.laid_out([INDENT, 1], &[mark, text]);
        let line = line.replacen(mark, &self.painted(mark, style), 1);
        self.line(&line)
    }

    /// Prints the verdict.
    pub(super) fn verdict(&mut self, ok: bool, text: &str) -> Result<()> {
        self.text("\n")?;
        let style = if ok { Style::Good } else { Style::Bad };
        let text = self.laid_out([INDENT, 0], &[text]);
        let text = self.painted(&self.painted(&text, style), Style::Bold);
        self.line(&text)
    }

    /// Returns cells next to each other as lines of text, wrapped where they do not fit.
    fn laid_out(&self, gaps: [u16; 2], cells: &[&str]) -> String {
        let cells = cells.iter().map(|text| cell(text)).collect();
        self.layout(gaps, [cells]).trim_fmt()
    }

    /// Returns text in a style, if the output is coloured.
    fn painted(&self, text: &str, style: Style) -> String {
        match self.colour {
            true => style.paint(text),
            false => text.to_owned(),
        }
    }

    /// Lays out cells with one gap before the first of a row, and another between them.
    fn layout(&self, gaps: [u16; 2], rows: impl IntoIterator<Item = Vec<Cell>>) -> Table {
        let mut table = Table::new();
        table.load_style(presets::NOTHING).add_rows(rows);
        table.set_width(self.width);
        table.set_content_arrangement(ContentArrangement::Dynamic);
        for (at, column) in table.column_iter_mut().enumerate() {
            column.set_padding((gaps[at.min(1)], 0));
        }
        table
    }

    fn line(&mut self, text: &str) -> Result<()> {
        self.text(&format!("{text}\n"))
    }

    fn text(&mut self, text: &str) -> Result<()> {
        if self.json {
            return Ok(());
        }
        self.bar.suspend(|| {
            self.out.text(text)?;
            self.out.flush().context("cannot write to stdout")
        })
    }
}

impl Drop for Display<'_> {
    fn drop(&mut self) {
        self.done();
    }
}

fn cell(text: &str) -> Cell {
    Cell::new(escape(text))
}

/// Formats a time with a unit that fits it.
pub(super) fn span(seconds: f64) -> String {
    let (number, unit) = match seconds {
        ..1e-6 => (seconds * 1e9, "ns"),
        ..1e-3 => (seconds * 1e6, "µs"),
        ..1.0 => (seconds * 1e3, "ms"),
        _ => (seconds, "s"),
    };
    match number {
        0.0 => "0".to_owned(),
        ..100.0 => format!("{number:.1} {unit}"),
        _ => format!("{number:.0} {unit}"),
    }
}

/// Formats a large number without its fraction.
pub(super) fn whole(number: f64) -> String {
    grouped(number.round() as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_have_units_that_fit() {
        let times = [0.0, 24e-9, 121.4e-6, 1.44e-3, 2.5].map(span);
        assert_eq!(times, ["0", "24.0 ns", "121 µs", "1.4 ms", "2.5 s"]);
    }

    #[test]
    fn the_template_of_the_moving_line_is_well_formed() {
        assert!(ProgressStyle::with_template(TEMPLATE).is_ok());
    }
}
