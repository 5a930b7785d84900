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

/// Returns text in bold.
pub(crate) fn bold(text: &str) -> String {
    format!("\u{1b}[1m{text}\u{1b}[0m")
}

/// Returns text with the mark of an error.
pub(crate) fn alarm(text: &str) -> String {
    format!("\u{1b}[1;31m{text}\u{1b}[0m")
}
