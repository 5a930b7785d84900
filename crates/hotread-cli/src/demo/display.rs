//! What the demo looks like: paragraphs that fit the terminal, figures in columns, and on a terminal a
//! line that moves while something is measured.

use crate::output::{Out, escape, grouped};
use anyhow::{Context, Result};
use indicatif::{ProgressBar, ProgressStyle};
use std::io::{self, IsTerminal, Write};
use std::time::Duration;

/// Text is not set wider than this, in columns: longer lines are hard to read.
const WIDEST: usize = 92;
/// Narrowest terminal that text is fitted to.
const NARROWEST: usize = 30;
/// Where text begins.
const INDENT: usize = 3;
/// The width of what stands before a value.
const LABEL: usize = 26;
/// Labels and values stand side by side if the values have at least this width.
const VALUE: usize = 24;
/// Between columns.
const GAP: usize = 3;
/// Between two pictures of the line that moves.
const FRAME: Duration = Duration::from_millis(100);

const BOLD: &str = "\x1b[1m";
const DIM: &str = "\x1b[2m";
const RED: &str = "\x1b[31m";
const GREEN: &str = "\x1b[32m";
const RESET: &str = "\x1b[0m";

/// The line that moves. Shared by all who know what happens.
#[derive(Clone)]
pub(super) struct Live(ProgressBar);

impl Live {
    /// Shows how it goes.
    pub(super) fn message(&self, text: impl FnOnce() -> String) {
        if !self.0.is_hidden() && !self.0.is_finished() {
            self.0.set_message(escape(&text()).into_owned());
        }
    }
}

/// Where the demo is shown.
pub(super) struct Display<'a> {
    out: &'a mut Out,
    /// For programs: nothing is shown but the results.
    json: bool,
    colour: bool,
    width: usize,
    live: Live,
}

impl<'a> Display<'a> {
    pub(super) fn new(out: &'a mut Out, json: bool) -> Self {
        let terminal = out.is_terminal() && !json;
        let width = terminal.then(columns).flatten().unwrap_or(WIDEST);
        let moves = terminal && io::stderr().is_terminal();
        let live = match moves {
            true => ProgressBar::new_spinner(),
            false => ProgressBar::hidden(),
        };
        let style = ProgressStyle::with_template(TEMPLATE);
        live.set_style(style.unwrap_or_else(|_| ProgressStyle::default_spinner()));
        live.finish_and_clear();
        Self {
            out,
            json,
            colour: terminal && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty()),
            width: width.clamp(NARROWEST, WIDEST),
            live: Live(live),
        }
    }

    pub(super) fn live(&self) -> Live {
        self.live.clone()
    }

    /// Says what is being done, until it is [`done`](Self::done).
    pub(super) fn doing(&self, what: &str) {
        let live = &self.live.0;
        if live.is_hidden() {
            return;
        }
        if live.is_finished() {
            live.reset();
        }
        live.set_message("");
        live.set_prefix(what.to_owned());
        live.enable_steady_tick(FRAME);
    }

    /// Takes the line that moves away.
    pub(super) fn done(&self) {
        self.live.0.disable_steady_tick();
        self.live.0.finish_and_clear();
    }

    /// The beginning of a part.
    pub(super) fn heading(&mut self, text: &str) -> Result<()> {
        self.done();
        let lines = wrapped(text, self.width);
        let lines = lines.iter().map(|line| self.styled(BOLD, line) + "\n");
        let lines: String = lines.collect();
        self.write(&format!("\n{lines}"))
    }

    /// A paragraph.
    pub(super) fn prose(&mut self, text: &str) -> Result<()> {
        let lines = wrapped(&escape(text), self.width - INDENT);
        let lines = lines.iter().map(|line| format!("{:INDENT$}{line}\n", ""));
        self.write(&lines.collect::<String>())
    }

    /// A figure, or what else there is to say of something.
    pub(super) fn row(&mut self, label: &str, value: &str) -> Result<()> {
        let (label, value) = (escape(label), escape(value));
        let beside = self.width - INDENT >= LABEL + VALUE;
        let (indent, lines) = match beside {
            true => (INDENT + LABEL, wrapped(&value, self.width - INDENT - LABEL)),
            false => (INDENT + 2, wrapped(&value, self.width - INDENT - 2)),
        };
        let mut lines = lines.into_iter();
        let mut text = match beside {
            true => {
                let first = lines.next().unwrap_or_default();
                // With a space at least.
                let label = format!("{label} ");
                format!("{:INDENT$}{label:<LABEL$}{first}\n", "")
            }
            false => format!("{:INDENT$}{label}\n", ""),
        };
        for line in lines {
            text.push_str(&format!("{:indent$}{line}\n", ""));
        }
        self.write(&text)
    }

    /// Figures in columns, the first of which names the rows. Where they do not fit side by side,
    /// they stand below each other.
    pub(super) fn table<const N: usize>(
        &mut self,
        heading: [&str; N],
        rows: &[[String; N]],
    ) -> Result<()> {
        let length = |text: &str| text.chars().count();
        let widths: [usize; N] = std::array::from_fn(|at| {
            let cells = rows.iter().map(|row| length(&row[at]));
            cells.fold(length(heading[at]), usize::max)
        });
        let whole = INDENT + widths.iter().sum::<usize>() + GAP * (N - 1);
        if whole > self.width {
            let label = heading.iter().map(|text| length(text)).fold(0, usize::max);
            for row in rows {
                self.prose(&row[0])?;
                for (name, value) in heading.iter().zip(row).skip(1) {
                    let line = format!("{:INDENT$}  {name:<label$}{:GAP$}{value}", "", "");
                    self.write(&format!("{}\n", escape(&line)))?;
                }
            }
            return Ok(());
        }
        let heading = heading.map(str::to_owned);
        for row in [&heading].into_iter().chain(rows) {
            let mut line = format!("{:INDENT$}{:<width$}", "", row[0], width = widths[0]);
            for (cell, width) in row.iter().zip(widths).skip(1) {
                line.push_str(&format!("{:GAP$}{cell:>width$}", ""));
            }
            self.write(&format!("{}\n", escape(line.trim_end())))?;
        }
        Ok(())
    }

    /// Something to type.
    pub(super) fn command(&mut self, command: &str) -> Result<()> {
        let command = self.styled(DIM, &format!("$ {}", escape(command)));
        self.write(&format!("{:INDENT$}{command}\n", ""))
    }

    /// Something that was claimed, and whether it is so.
    pub(super) fn check(&mut self, ok: bool, text: &str) -> Result<()> {
        const MARK: usize = 7;
        let mark = match ok {
            true => self.styled(GREEN, "ok    "),
            false => self.styled(RED, "FAILED"),
        };
        let lines = wrapped(&escape(text), self.width - INDENT - MARK).join(&format!(
            "\n{:width$}",
            "",
            width = INDENT + MARK
        ));
        self.write(&format!("{:INDENT$}{mark} {lines}\n", ""))
    }

    /// The last word.
    pub(super) fn verdict(&mut self, ok: bool, text: &str) -> Result<()> {
        let colour = if ok { GREEN } else { RED };
        self.write("\n")?;
        for line in wrapped(&escape(text), self.width - INDENT) {
            let line = self.styled(colour, &self.styled(BOLD, &line));
            self.write(&format!("{:INDENT$}{line}\n", ""))?;
        }
        Ok(())
    }

    fn styled(&self, style: &str, text: &str) -> String {
        match self.colour {
            true => format!("{style}{text}{RESET}"),
            false => text.to_owned(),
        }
    }

    fn write(&mut self, text: &str) -> Result<()> {
        if self.json {
            return Ok(());
        }
        let out = &mut *self.out;
        let mut write = || {
            out.text(text)?;
            out.flush().context("cannot write to stdout")
        };
        match self.live.0.is_finished() {
            true => write(),
            false => self.live.0.suspend(write),
        }
    }
}

impl Drop for Display<'_> {
    fn drop(&mut self) {
        self.done();
    }
}

const TEMPLATE: &str = "   {spinner} {prefix}  {wide_msg}";

/// The width of the terminal, if it says.
fn columns() -> Option<usize> {
    let size = rustix::termios::tcgetwinsize(io::stdout()).ok()?;
    Some(usize::from(size.ws_col)).filter(|&columns| columns > 0)
}

/// Text in lines of at most so many characters, unless a word is longer.
fn wrapped(text: &str, width: usize) -> Vec<String> {
    let mut lines = Vec::new();
    let (mut line, mut length) = (String::new(), 0);
    for word in text.split(' ') {
        let word_length = word.chars().count();
        if length > 0 && length + 1 + word_length > width {
            lines.push(std::mem::take(&mut line));
            length = 0;
        }
        if !line.is_empty() {
            line.push(' ');
            length += 1;
        }
        line.push_str(word);
        length += word_length;
    }
    lines.push(line);
    lines
}

/// A time with a unit that fits it.
pub(super) fn span(time: Duration) -> String {
    nanos(time.as_nanos() as f64)
}

/// As [`span`], of nanoseconds.
pub(super) fn nanos(nanos: f64) -> String {
    let (number, unit) = match nanos {
        ..1e3 => (nanos, "ns"),
        ..1e6 => (nanos / 1e3, "µs"),
        ..1e9 => (nanos / 1e6, "ms"),
        _ => (nanos / 1e9, "s"),
    };
    match number {
        0.0 => "0".to_owned(),
        ..100.0 => format!("{number:.1} {unit}"),
        _ => format!("{number:.0} {unit}"),
    }
}

/// A large number, whole.
pub(super) fn whole(number: f64) -> String {
    grouped(number.round() as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_is_wrapped_between_words() {
        assert_eq!(wrapped("one two three", 7), ["one two", "three"]);
        assert_eq!(
            wrapped("incomprehensible a b", 4),
            ["incomprehensible", "a b"]
        );
        assert_eq!(wrapped("µµ µµ", 5), ["µµ µµ"]);
        assert_eq!(wrapped("", 5), [""]);
    }

    #[test]
    fn times_have_units_that_fit() {
        for (nanoseconds, text) in [
            (0, "0"),
            (24, "24.0 ns"),
            (121_400, "121 µs"),
            (1_440_000, "1.4 ms"),
            (2_500_000_000, "2.5 s"),
        ] {
            assert_eq!(span(Duration::from_nanos(nanoseconds)), text);
        }
    }

    #[test]
    fn the_template_of_the_moving_line_is_well_formed() {
        assert!(ProgressStyle::with_template(TEMPLATE).is_ok());
    }
}
