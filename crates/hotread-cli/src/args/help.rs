//! The texts of `--help`, at any width. A text after the options is written once, for lines of 100
//! columns: its paragraphs are refilled, and its indented lines, which are examples or lists, stay as
//! they are, so that they can be pasted.

use clap::Command;

/// Last part of each help text. No line is longer than a narrow terminal.
pub(crate) const EXIT_CODES: &str = "\
Exit codes:
  0  done
  1  an error, such as a value that is not JSON
  2  wrong usage
  3  no such table, key or token
  4  refused: precondition, schema, reused id, permission,
     a position that is gone, or it exists already
  5  the database cannot be used: missing, in use, foreign,
     read-only, newer or sealed; or the server cannot be
     reached, is not HotRead, cannot use its address, or
     has a wrong configuration
  6  storage: damaged, full or unreadable; or the outcome
     of a commit is unknown
  7  import --skip-bad left rows out";

/// A blank at which no line is broken.
const FIXED: char = '\u{a0}';

/// Returns the command with its help texts as they are shown, each with the exit codes.
pub(super) fn explain(command: Command) -> Command {
    let text = match command.get_after_help() {
        Some(text) => format!("{text}\n\n{EXIT_CODES}"),
        None => EXIT_CODES.to_owned(),
    };
    command.after_help(fill(&text)).mut_subcommands(explain)
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
