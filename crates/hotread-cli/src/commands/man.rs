//! `hotread man`: manual pages, generated from the same definition as `--help`.

use crate::args;
use crate::output::{Out, count};
use anyhow::{Context, Result};
use clap::Command;
use clap_mangen::Man;
use std::fs;
use std::io::{self, Write};
use std::path::Path;

pub(super) fn run(dir: &Path, out: &mut Out) -> Result<()> {
    let at = || format!("cannot write manual pages to {}", dir.display());
    fs::create_dir_all(dir).with_context(at)?;
    let mut command = args::definition().disable_help_subcommand(true);
    command.build();
    let pages = write(&command, dir).with_context(at)?;
    let pages = count(pages, "page", "pages");
    out.line(&format!("{pages} in {}", dir.display()))
}

/// Writes the pages of a command and its subcommands, and returns their number.
fn write(command: &Command, dir: &Path) -> io::Result<u64> {
    let man = Man::new(command.clone());
    let mut page = Vec::new();
    man.render_title(&mut page)?;
    man.render_name_section(&mut page)?;
    man.render_synopsis_section(&mut page)?;
    man.render_description_section(&mut page)?;
    man.render_options_section(&mut page)?;
    let below = || command.get_subcommands().filter(|it| !it.is_hide_set());
    if below().next().is_some() {
        man.render_subcommands_section(&mut page)?;
    }
    if let Some(text) = command.get_after_help() {
        section("NOTES", &text.to_string(), &mut page)?;
    }
    section("EXIT STATUS", args::EXIT_CODES, &mut page)?;
    if command.get_version().is_some() {
        man.render_version_section(&mut page)?;
    }
    fs::write(dir.join(man.get_filename()), page)?;
    let mut pages = 1;
    for command in below() {
        pages += write(command, dir)?;
    }
    Ok(pages)
}

/// Writes a text as a section: paragraphs are filled, and indented lines stay as they are.
fn section(title: &str, text: &str, page: &mut Vec<u8>) -> io::Result<()> {
    writeln!(page, ".SH \"{title}\"")?;
    let mut fixed = false;
    for line in text.lines() {
        let is_fixed = line.starts_with(' ');
        if is_fixed != fixed && !line.is_empty() {
            writeln!(page, "{}", if is_fixed { ".nf" } else { ".fi" })?;
            fixed = is_fixed;
        }
        match line {
            "" => writeln!(page, ".PP")?,
            line => writeln!(page, "{}", escape(line))?,
        }
    }
    match fixed {
        true => writeln!(page, ".fi"),
        false => Ok(()),
    }
}

/// Escapes a line of text for roff, so that it contains no requests.
fn escape(line: &str) -> String {
    let text = line
        .replace('\\', "\\e")
        .replace('-', "\\-")
        .replace('\'', "\\(aq");
    match text.starts_with('.') {
        true => format!("\\&{text}"),
        false => text,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn examples_are_not_filled_and_nothing_is_a_command_of_roff() {
        let mut page = Vec::new();
        section("NOTES", ".x a\nb\n\nExamples:\n  set 'a\\b' --c", &mut page).unwrap();
        let expected =
            ".SH \"NOTES\"\n\\&.x a\nb\n.PP\nExamples:\n.nf\n  set \\(aqa\\eb\\(aq \\-\\-c\n.fi\n";
        assert_eq!(String::from_utf8(page).unwrap(), expected);
    }
}
