//! Following the advice of messages, to the letter, helps.

mod files;
mod servers;
mod tables;

use super::{Place, Ran, hotread};
use std::path::Path;

/// Returns the command lines that a message has in backticks, without the name of the command.
fn quoted(message: &str) -> Vec<Vec<String>> {
    let parts = message.split('`').skip(1).step_by(2);
    let commands = parts.filter_map(|part| part.strip_prefix("hotread "));
    let words = |line: &str| line.split_whitespace().map(str::to_owned).collect();
    commands.map(words).collect()
}

/// Returns the message of a command that must fail.
#[track_caller]
fn said(ran: Ran, code: i32, words: &str) -> String {
    let message = ran.err.clone();
    ran.failed(code, words);
    message
}

impl Place {
    /// Runs a command of a message, with more arguments.
    fn typed(&self, words: &[String], more: &[&str]) -> Ran {
        let words = words.iter().map(String::as_str);
        let args: Vec<_> = words.chain(more.iter().copied()).collect();
        self.run(&args)
    }
}

fn bare(args: &[&str], env: &[(&str, &Path)]) -> Ran {
    let mut command = hotread();
    command.args(args).envs(env.iter().copied());
    command.output().unwrap().into()
}

/// Returns the texts of the source, without comments, with continued string lines joined.
fn texts(folder: &Path) -> String {
    let mut all = String::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            all.push_str(&texts(&path));
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            let source = std::fs::read_to_string(&path).unwrap();
            let is_code = |line: &&str| !line.trim_start().starts_with("//");
            for line in source.lines().filter(is_code) {
                match line.strip_suffix('\\') {
                    Some(begun) => all.push_str(begun),
                    None => all.push_str(&format!("{line}\n")),
                }
            }
        }
    }
    all
}

#[test]
fn commands_that_messages_name_are_there_with_their_options() {
    let crates = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    let commands: Vec<_> = texts(&crates.join("hotread-cli/src"))
        .lines()
        .flat_map(quoted)
        .collect();
    assert!(commands.len() > 10, "{commands:?}");
    for words in commands {
        let is_name = |word: &&String| word.bytes().all(|byte| byte.is_ascii_lowercase());
        let mut names: Vec<_> = words
            .iter()
            .take_while(is_name)
            .map(String::as_str)
            .collect();
        // Names of tables or tokens may follow the name of a command.
        let help = loop {
            let help = bare(&[&names[..], &["--help"]].concat(), &[]);
            if help.code == 0 {
                break help.out;
            }
            assert!(names.pop().is_some(), "{words:?}");
        };
        assert!(!names.is_empty() || words[0].starts_with('-'), "{words:?}");
        for option in words.iter().filter(|word| word.starts_with('-')) {
            assert!(help.contains(option.as_str()), "{words:?}");
        }
    }
    // Libraries advise with their own calls, not with commands.
    for library in [
        "hotread",
        "hotread-proto",
        "hotread-store",
        "hotread-server",
        "hotread-client",
    ] {
        let texts = texts(&crates.join(library).join("src"));
        let named: Vec<_> = texts.lines().flat_map(quoted).collect();
        assert!(named.is_empty(), "{library}: {named:?}");
    }
}
