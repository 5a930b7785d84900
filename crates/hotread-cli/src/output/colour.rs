//! Colour on terminals, where it is wanted.

use clap::ValueEnum;
use std::env;
use std::io::IsTerminal;
use std::sync::OnceLock;

/// Use of colour, as `--color` chooses it. The option's own text explains the values: texts of their own would
/// spread the help of every command over several screens.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum When {
    #[default]
    Auto,
    Always,
    Never,
}

/// The choice of the command line.
static CHOSEN: OnceLock<When> = OnceLock::new();

/// Sets the use of colour for the process, before anything is printed.
pub(crate) fn choose(when: When) {
    // A process has one command line.
    let _ = CHOSEN.set(when);
}

/// Returns `true` if output to `stream` is to be coloured, as `--color` says; without it, if the stream is a
/// terminal that supports colours, and the user has set neither `NO_COLOR` (<https://no-color.org>) nor
/// `CLICOLOR=0`.
pub(crate) fn is_wanted(stream: &impl IsTerminal) -> bool {
    match CHOSEN.get() {
        Some(When::Always) => return true,
        Some(When::Never) => return false,
        Some(When::Auto) | None => {}
    }
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
