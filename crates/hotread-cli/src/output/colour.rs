//! Colour on terminals, where it is wanted.

use std::env;
use std::io::IsTerminal;

/// Returns `true` if output to `stream` is to be coloured: it is a terminal that supports colours, and
/// the user has set neither `NO_COLOR` (<https://no-color.org>) nor `CLICOLOR=0`.
pub(crate) fn is_wanted(stream: &impl IsTerminal) -> bool {
    let set = |name| env::var_os(name).filter(|value| !value.is_empty());
    stream.is_terminal()
        && set("NO_COLOR").is_none()
        && set("CLICOLOR").is_none_or(|value| value != "0")
        && set("TERM").is_some_and(|term| term != "dumb")
}

/// Style of text on a terminal.
#[derive(Clone, Copy)]
pub(crate) enum Style {
    Bold,
    Dim,
    /// A claim that is true.
    Good,
    /// A claim that is false.
    Bad,
    /// The mark of an error.
    Alarm,
}

impl Style {
    /// Returns text in this style.
    pub(crate) fn paint(self, text: &str) -> String {
        let parameters = match self {
            Self::Bold => "1",
            Self::Dim => "2",
            Self::Good => "32",
            Self::Bad => "31",
            Self::Alarm => "1;31",
        };
        format!("\u{1b}[{parameters}m{text}\u{1b}[0m")
    }
}
