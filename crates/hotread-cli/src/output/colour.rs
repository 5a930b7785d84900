//! Colour on terminals, where it is wanted.

use std::env;
use std::io::IsTerminal;

/// Returns whether to colour what is written there: it is a terminal that knows colours, and the user has
/// not set `NO_COLOR` (<https://no-color.org>) or `CLICOLOR=0`.
pub(crate) fn is_wanted(stream: &impl IsTerminal) -> bool {
    let set = |name| env::var_os(name).filter(|value| !value.is_empty());
    stream.is_terminal()
        && set("NO_COLOR").is_none()
        && set("CLICOLOR").is_none_or(|value| value != "0")
        && set("TERM").is_some_and(|term| term != "dumb")
}

/// Text in bold.
pub(crate) fn bold(text: &str) -> String {
    format!("\u{1b}[1m{text}\u{1b}[0m")
}

/// Text as errors are marked.
pub(crate) fn alarm(text: &str) -> String {
    format!("\u{1b}[1;31m{text}\u{1b}[0m")
}
