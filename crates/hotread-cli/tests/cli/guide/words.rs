//! Commands that pages name, but that no test runs, are ones that the command has.

use super::super::{Ran, hotread};
use super::page::{blocks, guide, pages};

/// Checks the subcommand and the flags of a line that begins behind `hotread`.
fn check(words: &[&str], line: &str) {
    let is_name = |word: &&&str| {
        word.chars().all(|c| c.is_ascii_lowercase() || c == '-') && !word.starts_with('-')
    };
    let names: Vec<_> = words.iter().take_while(is_name).take(2).copied().collect();
    assert!(!names.is_empty(), "no subcommand: {line}");
    // The second word may be an argument.
    let help = (1..=names.len()).rev().find_map(|many| {
        let mut command = hotread();
        let ran = Ran::from(command.arg("help").args(&names[..many]).output().unwrap());
        (ran.code == 0).then_some(ran.out)
    });
    let help = help.unwrap_or_else(|| panic!("no such command: {line}"));
    let known: Vec<_> = help
        .split(|c: char| !(c.is_ascii_alphanumeric() || c == '-'))
        .collect();
    for word in words {
        let flag = word.split('=').next().unwrap_or_default();
        if flag.starts_with('-') && flag.len() > 1 {
            assert!(known.contains(&flag), "no flag {flag}: {line}");
        }
    }
}

/// The arguments of the command in a line of a shell, wherever in it the command is.
fn arguments(line: &str) -> Vec<Vec<&str>> {
    let words: Vec<&str> = line.split_whitespace().collect();
    let is_command = |at: usize| {
        let word = words[at].trim_start_matches(['\'', '"', '(']);
        // Not the image, the user, the file or the unit of that name.
        let before = at.checked_sub(1).map(|at| words[at]);
        word == "hotread"
            && !matches!(
                before,
                Some(
                    "-u" | "-t" | "-g" | "-o" | "--name" | "useradd" | "enable" | "start" | "stop"
                )
            )
    };
    let mut found = Vec::new();
    for at in (0..words.len()).filter(|&at| is_command(at)) {
        let rest = words[at + 1..].iter().copied();
        let rest: Vec<_> = rest
            .take_while(|word| !matches!(*word, "|" | "&" | "&&" | ">" | ";" | "||" | "#"))
            .map(|word| word.trim_end_matches(['\'', '"', ')']))
            .collect();
        if rest.first().is_some_and(|word| !word.starts_with('-')) {
            found.push(rest);
        }
    }
    found
}

#[test]
fn commands_that_are_not_run_exist_with_their_flags() {
    let mut seen = 0;
    for name in pages() {
        let page = guide(&name);
        for block in blocks(&page).iter().filter(|block| block.info == "console") {
            for line in block
                .text
                .lines()
                .filter(|line| !line.starts_with("podman build"))
            {
                for words in arguments(line) {
                    check(&words, line);
                    seen += 1;
                }
            }
        }
        // In prose.
        for code in page.split('`').skip(1).step_by(2) {
            let Some(rest) = code
                .strip_prefix("hotread ")
                .filter(|_| !code.contains('\n'))
            else {
                continue;
            };
            let words: Vec<_> = rest.split_whitespace().collect();
            if words[0].starts_with(|c: char| c.is_ascii_lowercase()) {
                check(&words, code);
                seen += 1;
            }
        }
    }
    assert!(seen > 10, "{seen}");
}
