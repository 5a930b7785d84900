//! The texts of `--help`, at any width. A text after the options is written once, for lines of 100
//! columns: its paragraphs are refilled, and its indented lines, which are examples or lists, stay as
//! they are, so that they can be pasted.

use clap::Command;

/// Part of the help of `hotread`, and of each manual page. No line is longer than a narrow terminal.
const EXIT_CODES: &str = "\
Exit codes:
  0  done
  1  an error, such as a value that is not JSON, or a file
     to read that is missing
  2  wrong usage
  3  no such table, key or token
  4  refused: precondition, schema, reused id, permission,
     a position that is gone or not reached, or it exists
     already
  5  the database cannot be used: missing, in use, foreign,
     read-only, newer or sealed; or the server cannot be
     reached, is not HotRead, cannot use its address, or
     has a missing or wrong configuration
  6  storage: damaged, full or unreadable; or the outcome
     of a commit is unknown
  7  import --skip-bad left rows out";

/// Title of the examples.
const EXAMPLES: &str = "Examples:\n";

/// A blank at which no line is broken.
const FIXED: char = '\u{a0}';

/// Returns the list of exit codes, without its title.
pub(crate) fn exit_codes() -> &'static str {
    EXIT_CODES
        .split_once('\n')
        .map_or(EXIT_CODES, |(_, codes)| codes)
}

/// Divides the text after the options: the examples are its last part.
pub(crate) fn notes_and_examples(text: &str) -> (&str, &str) {
    match text.split_once(EXAMPLES) {
        Some((notes, examples)) => (notes.trim_end(), examples),
        None => (text, ""),
    }
}

/// Returns the command with its help texts as they are shown. The exit codes are a part of the first one,
/// before its examples, which are closest to the prompt.
pub(super) fn explain(command: Command) -> Command {
    let text = command.get_after_help().map(ToString::to_string);
    let (notes, examples) = notes_and_examples(text.as_deref().unwrap_or_default());
    let text = format!("{notes}\n\n{EXIT_CODES}\n\n{EXAMPLES}{examples}");
    explain_subcommands(command.after_help(fill(&text)))
}

fn explain_subcommands(command: Command) -> Command {
    command.mut_subcommands(|command| {
        let text = command.get_after_help().map(|text| fill(&text.to_string()));
        explain_subcommands(match text {
            Some(text) => command.after_help(text),
            None => command,
        })
    })
}

/// Joins each paragraph into one line, which the parser's help breaks at the width of the terminal, and
/// makes indented lines unbreakable.
fn fill(text: &str) -> String {
    let mut filled = String::with_capacity(text.len());
    let mut in_paragraph = false;
    for line in text.lines() {
        let is_prose = !line.is_empty() && !line.starts_with(' ');
        if !filled.is_empty() {
            filled.push(if in_paragraph && is_prose { ' ' } else { '\n' });
        }
        match is_prose {
            true => filled.push_str(line),
            false => filled.extend(line.chars().map(|c| if c == ' ' { FIXED } else { c })),
        }
        in_paragraph = is_prose;
    }
    filled
}

/// Returns a help text as it is printed.
pub(crate) fn plain(rendered: &str) -> String {
    rendered.replace(FIXED, " ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paragraphs_are_filled_and_examples_stay() {
        let text = "One\nparagraph.\n\nAnother.\n\nExamples:\n  hotread ls a b\n    # c";
        let filled = fill(text);
        let expected = "One paragraph.\n\nAnother.\n\nExamples:\n  hotread ls a b\n    # c";
        assert_eq!(plain(&filled), expected);
        let example = filled.lines().find(|line| line.contains("hotread"));
        assert!(!example.unwrap().contains(' '), "{filled}");
    }
}
