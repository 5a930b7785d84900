//! Output to stdout: tables for people, JSON and CSV for programs (`list.rs`). On a terminal, control
//! and invisible characters are escaped, so that data cannot control the terminal.

pub(crate) mod colour;
mod list;

pub(crate) use list::{List, Machine, pretty};

use anyhow::{Context, Result};
use colour::Style;
use comfy_table::{ColumnConstraint, ContentArrangement, Row, Table, Width, presets};
use rustix::event::{self, PollFd, PollFlags};
use rustix::io::Errno;
use rustix::termios;
use serde::Serialize;
use std::borrow::Cow;
use std::fmt::Write as _;
use std::io::{self, BufWriter, IsTerminal, StdoutLock, Write};
use tokio::sync::oneshot;

/// Narrowest terminal that a table is fitted to, in columns.
const MIN_WIDTH: u16 = 40;

/// Widest column that is shown whole while there is room, in characters: half a digest or half a time is
/// of little use.
const WHOLE: u16 = 36;

/// Minimum width of a wider column, in characters; on a narrower terminal, all columns are cut alike.
const LEAST: u16 = 10;

/// Blanks between columns.
const GAP: u16 = 2;

/// Destination of answers.
pub(crate) struct Out {
    out: BufWriter<StdoutLock<'static>>,
    terminal: bool,
    colour: bool,
}

impl Out {
    pub(crate) fn stdout() -> Self {
        let out = io::stdout().lock();
        Self {
            terminal: out.is_terminal(),
            colour: colour::is_wanted(&out),
            out: BufWriter::with_capacity(64 << 10, out),
        }
    }

    /// Returns `true` if stdout is a terminal.
    pub(crate) fn is_terminal(&self) -> bool {
        self.terminal
    }

    /// Returns the width of the terminal in columns, if stdout is a terminal of known width.
    pub(crate) fn columns(&self) -> Option<u16> {
        let size = termios::tcgetwinsize(io::stdout()).ok()?;
        // A terminal of unknown width reports 0.
        Some(size.ws_col).filter(|columns| self.terminal && *columns > 0)
    }

    /// Returns `true` if headings and help are to be coloured.
    pub(crate) fn has_colour(&self) -> bool {
        self.colour
    }

    /// Prints a line of text. On a terminal, its control characters are escaped.
    pub(crate) fn line(&mut self, text: &str) -> Result<()> {
        match self.terminal {
            true => written(writeln!(self.out, "{}", escape(text))),
            false => written(writeln!(self.out, "{text}")),
        }
    }

    /// Prints a word with a tab after it.
    pub(crate) fn word(&mut self, text: &str) -> Result<()> {
        self.part(text)?;
        self.text("\t")
    }

    /// Prints JSON on a line.
    pub(crate) fn json(&mut self, value: &impl Serialize) -> Result<()> {
        self.line(&list::to_json(value)?)
    }

    /// Prints JSON on several lines.
    pub(crate) fn pretty(&mut self, value: &impl Serialize) -> Result<()> {
        self.part(&pretty(&list::to_json(value)?))?;
        self.text("\n")
    }

    /// Returns a value for one line: on a terminal, the beginning of a long value.
    pub(crate) fn shortened<'a>(&self, value: &'a str) -> Cow<'a, str> {
        match self.terminal {
            true => shortened(value),
            false => value.into(),
        }
    }

    /// Prints text as it is. Not for data, which is not escaped.
    pub(crate) fn text(&mut self, text: &str) -> Result<()> {
        written(self.out.write_all(text.as_bytes()))
    }

    /// Prints data of several lines.
    pub(crate) fn lines(&mut self, text: &str) -> Result<()> {
        if !self.terminal {
            return self.text(text);
        }
        let mut lines = text.split_terminator('\n');
        lines.try_for_each(|line| self.line(line))
    }

    /// Prints text whose line ends are not data, without a newline after the last line.
    fn part(&mut self, text: &str) -> Result<()> {
        if !self.terminal {
            return self.text(text);
        }
        let lines: Vec<_> = text.split('\n').map(escape).collect();
        self.text(&lines.join("\n"))
    }

    /// Prints rows under a heading. On a terminal a row takes one line, and cells that do not fit are
    /// cut.
    pub(crate) fn table(
        &mut self,
        heading: &[&str],
        rows: impl IntoIterator<Item = Vec<String>>,
    ) -> Result<()> {
        let mut table = Table::new();
        table.load_style(presets::NOTHING);
        let columns = self.columns().filter(|columns| *columns >= MIN_WIDTH);
        let fits = columns.is_some();
        if let Some(columns) = columns {
            table.set_width(columns);
        }
        table.set_content_arrangement(match fits {
            true => ContentArrangement::Dynamic,
            false => ContentArrangement::Disabled,
        });
        if !heading.is_empty() {
            let mut heading = Row::from(heading);
            heading.max_height(1);
            table.set_header(heading);
        }
        for row in rows {
            if self.terminal {
                let mut row = Row::from(row.iter().map(|cell| escape(cut(cell)).into_owned()));
                row.max_height(1);
                table.add_row(row);
            } else {
                table.add_row(row);
            }
        }
        let widths = table.column_max_content_widths();
        let gaps = u16::try_from(widths.len())
            .unwrap_or(u16::MAX)
            .saturating_mul(GAP);
        let room = columns.unwrap_or(0).saturating_sub(gaps);
        let needed = |width: &u16| u32::from(if *width > WHOLE { LEAST } else { *width });
        let too_wide = fits && widths.iter().map(needed).sum::<u32>() > u32::from(room);
        let level = too_wide.then(|| level(&widths, room));
        for (column, width) in table.column_iter_mut().zip(widths) {
            column.set_padding((0, GAP));
            if let Some(level) = level {
                let width = Width::Fixed(width.min(level) + GAP);
                column.set_constraint(ColumnConstraint::Absolute(width));
            } else if width <= WHOLE {
                column.set_constraint(ColumnConstraint::ContentWidth);
            }
        }
        for (at, line) in table.lines().enumerate() {
            let line = line.trim_end();
            let heads = self.colour && at == 0 && !heading.is_empty();
            let line = match heads {
                true => Style::Bold.paint(line).into(),
                false => Cow::from(line),
            };
            written(writeln!(self.out, "{line}"))?;
        }
        Ok(())
    }

    /// Flushes the buffer, so that errors are reported.
    pub(crate) fn finish(mut self) -> Result<()> {
        written(self.out.flush())
    }
}

/// Waits until stdout is closed by its reader, which a command that rarely writes would not notice.
/// Where that cannot be detected, the wait never ends.
pub(crate) async fn hang_up() {
    let (tell, told) = oneshot::channel();
    let poll = move || {
        let out = io::stdout();
        // `poll` reports errors even if no event is requested.
        let mut polled = [PollFd::new(&out, PollFlags::empty())];
        let done = loop {
            match event::poll(&mut polled, None) {
                Err(Errno::INTR) => {}
                done => break done,
            }
        };
        if done.is_ok() {
            // The receiver is gone if the command has ended.
            let _ = tell.send(());
        }
    };
    let polling = std::thread::Builder::new().spawn(poll);
    if polling.is_err() || told.await.is_err() {
        std::future::pending().await
    }
}

/// For code that writes through [`Write`].
impl Write for Out {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.out.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}

fn written(result: io::Result<()>) -> Result<()> {
    result.context("cannot write to stdout")
}

/// Characters that make a terminal do something, or text look like other text: control characters, line
/// and paragraph separators, and Unicode's *default ignorable code points*, which do not show. Those that
/// turn the direction of writing are among the last.
fn is_active(c: char) -> bool {
    c.is_control()
        || matches!(
            c,
            '\u{ad}'
                | '\u{34f}'
                | '\u{61c}'
                | '\u{115f}'..='\u{1160}'
                | '\u{17b4}'..='\u{17b5}'
                | '\u{180b}'..='\u{180f}'
                | '\u{200b}'..='\u{200f}'
                | '\u{2028}'..='\u{202e}'
                | '\u{2060}'..='\u{206f}'
                | '\u{3164}'
                | '\u{fe00}'..='\u{fe0f}'
                | '\u{feff}'
                | '\u{ffa0}'
                | '\u{fff0}'..='\u{fff8}'
                | '\u{1bca0}'..='\u{1bca3}'
                | '\u{1d173}'..='\u{1d17a}'
                | '\u{e0000}'..='\u{e0fff}'
        )
}

/// Returns the largest width to which columns can be cut so that together they have room.
fn level(widths: &[u16], room: u16) -> u16 {
    let fits = |level: &u16| {
        let cut = widths.iter().map(|width| u32::from(*width.min(level)));
        cut.sum::<u32>() <= u32::from(room)
    };
    (1..=room).rev().find(fits).unwrap_or(1)
}

/// Returns the beginning of a long value, with a mark that there is more.
fn shortened(value: &str) -> Cow<'_, str> {
    /// Characters of a value in a line: some lines of a terminal.
    const SHOWN: usize = 200;
    match value.char_indices().nth(SHOWN) {
        Some((at, _)) => format!("{}…", &value[..at]).into(),
        None => value.into(),
    }
}

/// Returns as much of a cell as a terminal may show: wrapping a value of a megabyte takes long.
fn cut(cell: &str) -> &str {
    const SHOWN: usize = 1_000;
    match cell.char_indices().nth(SHOWN) {
        Some((at, _)) => &cell[..at],
        None => cell,
    }
}

/// Escapes characters that a terminal would interpret, in the way of JSON, so that JSON stays valid.
pub(crate) fn escape(text: &str) -> Cow<'_, str> {
    if !text.contains(is_active) {
        return text.into();
    }
    let mut escaped = String::with_capacity(text.len() + 8);
    for c in text.chars() {
        // Writing to a String cannot fail.
        let _ = match c {
            '\n' => escaped.write_str("\\n"),
            '\t' => escaped.write_str("\\t"),
            c if is_active(c) => {
                let mut units = [0; 2];
                let mut units = c.encode_utf16(&mut units).iter();
                units.try_for_each(|unit| write!(escaped, "\\u{unit:04x}"))
            }
            c => escaped.write_char(c),
        };
    }
    escaped.into()
}

/// Returns the cells of the columns that are shown.
pub(crate) fn pick<T, const N: usize>(row: [T; N], shown: [bool; N]) -> Vec<T> {
    let cells = row.into_iter().zip(shown);
    cells
        .filter_map(|(cell, shown)| shown.then_some(cell))
        .collect()
}

/// Formats a number with commas between thousands.
pub(crate) fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::with_capacity(digits.len() * 4 / 3);
    for (at, digit) in digits.char_indices() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// Formats a count with its noun.
pub(crate) fn count(number: u64, one: &str, many: &str) -> String {
    match number {
        1 => format!("1 {one}"),
        _ => format!("{} {many}", grouped(number)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_terminal_obeys_is_escaped_and_json_stays_json() {
        let json = "\"\u{7f}\u{9b}31m\u{202e}\"";
        let escaped = escape(json);
        assert_eq!(escaped, r#""\u007f\u009b31m\u202e""#);
        let (before, after): (String, String) = (
            serde_json::from_str(json).unwrap(),
            serde_json::from_str(&escaped).unwrap(),
        );
        assert_eq!(before, after);
        assert!(matches!(escape("plain ä"), Cow::Borrowed(_)));
        assert_eq!(escape("a\nb"), "a\\nb");
    }

    #[test]
    fn what_does_not_show_is_shown_as_what_it_is() {
        for (text, shown) in [
            ("a\u{200b}b", r"a\u200bb"),
            ("\u{feff}a", r"\ufeffa"),
            ("a\u{2028}b", r"a\u2028b"),
            ("a\u{e0041}", r"a\udb40\udc41"),
            ("pass\u{ad}word", r"pass\u00adword"),
        ] {
            assert_eq!(escape(text), shown);
            let json: String = serde_json::from_str(&format!("\"{shown}\"")).unwrap();
            assert_eq!(json, text, "as JSON it is the same");
        }
    }

    #[test]
    fn columns_are_cut_alike_where_there_is_no_room() {
        assert_eq!(level(&[31, 3, 8, 24, 1_000], 50), 13);
        assert_eq!(level(&[3, 3], 60), 60);
        assert_eq!(level(&[9; 40], 20), 1);
    }

    #[test]
    fn long_values_are_shortened_with_a_mark() {
        let long = "ä".repeat(201);
        assert_eq!(shortened(&long), "ä".repeat(200) + "…");
        assert_eq!(shortened(&long[2..]), &long[2..]);
    }

    #[test]
    fn thousands_are_marked_off() {
        let texts = [0, 999, 1_000, 1_234_567].map(grouped);
        assert_eq!(texts, ["0", "999", "1,000", "1,234,567"]);
    }
}
