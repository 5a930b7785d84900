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
    let options = command.clone().mut_args(|arg| match arg.is_positional() {
        true => arg.hide(true),
        false => arg,
    });
    let man = Man::new(options);
    let mut page = Vec::new();
    let name = command.get_display_name().unwrap_or(command.get_name());
    // There is no date: the same version has the same pages.
    let source = concat!("hotread ", env!("CARGO_PKG_VERSION"));
    writeln!(
        page,
        ".TH \"{name}\" \"1\" \"\" \"{source}\" \"HotRead Manual\""
    )?;
    man.render_name_section(&mut page)?;
    synopsis(command, &mut page)?;
    man.render_description_section(&mut page)?;
    let text = command.get_after_help().map(ToString::to_string);
    let (notes, examples) = args::notes_and_examples(text.as_deref().unwrap_or_default());
    if !notes.is_empty() {
        writeln!(page, ".PP")?;
        lines(notes, &mut page)?;
    }
    arguments(command, &mut page)?;
    man.render_options_section(&mut page)?;
    let below = || command.get_subcommands().filter(|it| !it.is_hide_set());
    if below().next().is_some() {
        man.render_subcommands_section(&mut page)?;
    }
    section("EXIT STATUS", args::exit_codes(), &mut page)?;
    if !examples.is_empty() {
        section("EXAMPLES", examples, &mut page)?;
    }
    see_also(name, &mut page)?;
    fs::write(dir.join(man.get_filename()), page)?;
    let mut pages = 1;
    for command in below() {
        pages += write(command, dir)?;
    }
    Ok(pages)
}

/// Writes the usage of a command, in the words of its help.
fn synopsis(command: &Command, page: &mut Vec<u8>) -> io::Result<()> {
    let usage = command.clone().render_usage().to_string();
    let usage = usage.trim_start_matches("Usage: ").trim();
    let name = command.get_bin_name().unwrap_or(command.get_name());
    let rest = usage.strip_prefix(name).unwrap_or(usage).trim_start();
    writeln!(page, ".SH SYNOPSIS")?;
    writeln!(page, "\\fB{}\\fR {}", escape(name), escape(rest))
}

/// Writes the arguments that are not options.
fn arguments(command: &Command, page: &mut Vec<u8>) -> io::Result<()> {
    for (at, argument) in command.get_positionals().enumerate() {
        if at == 0 {
            writeln!(page, ".SH ARGUMENTS")?;
        }
        let help = argument.get_help().map(ToString::to_string);
        writeln!(page, ".TP\n\\fI{}\\fR", escape(&argument.to_string()))?;
        writeln!(page, "{}", escape(&help.unwrap_or_default()))?;
    }
    Ok(())
}

/// Refers to the pages of the commands above this one.
fn see_also(name: &str, page: &mut Vec<u8>) -> io::Result<()> {
    let above: Vec<_> = name.match_indices('-').map(|(at, _)| &name[..at]).collect();
    if above.is_empty() {
        return Ok(());
    }
    writeln!(page, ".SH \"SEE ALSO\"")?;
    for (at, name) in above.iter().enumerate() {
        let comma = if at + 1 < above.len() { "," } else { "" };
        writeln!(page, ".BR {} (1){comma}", escape(name))?;
    }
    Ok(())
}

/// Writes a text as a section: paragraphs are filled, and indented lines stay as they are.
fn section(title: &str, text: &str, page: &mut Vec<u8>) -> io::Result<()> {
    writeln!(page, ".SH \"{title}\"")?;
    lines(text, page)
}

/// Writes paragraphs and indented lines.
fn lines(text: &str, page: &mut Vec<u8>) -> io::Result<()> {
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
