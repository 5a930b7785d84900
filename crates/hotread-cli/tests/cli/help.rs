//! Help texts and completions.

use super::{Place, Ran, hotread};

const COMMANDS: &[&[&str]] = &[
    &["migrate", "up"],
    &["migrate", "down"],
    &["migrate", "status"],
    &["table", "create"],
    &["table", "list"],
    &["table", "show"],
    &["table", "drop"],
    &["table", "reseal"],
    &["set"],
    &["get"],
    &["rm"],
    &["txn"],
    &["ls"],
    &["keys"],
    &["search"],
    &["import"],
    &["export"],
    &["history"],
    &["backup"],
    &["restore"],
    &["verify"],
    &["serve"],
    &["watch"],
    &["status"],
    &["token", "create"],
    &["token", "list"],
    &["token", "revoke"],
    &["completions"],
];

fn run(args: &[&str]) -> Ran {
    hotread().args(args).output().unwrap().into()
}

#[test]
fn each_command_explains_itself_with_examples_and_exit_codes() {
    for command in COMMANDS {
        for flag in ["-h", "--help"] {
            let help = run(&[command, &[flag][..]].concat()).ok();
            for words in [
                "Usage: hotread ",
                "Examples:\n  ",
                "Exit codes:",
                "6  storage",
            ] {
                assert!(help.contains(words), "{command:?}: {help}");
            }
            let widest = help.lines().map(|line| line.chars().count()).max();
            assert!(widest <= Some(120), "{command:?}: {widest:?}");
        }
    }
    assert!(run(&["--help"]).ok().contains("Exit codes:"));
    assert!(run(&["--version"]).ok().starts_with("hotread 0."));
}

#[test]
fn an_incomplete_command_shows_help_on_stderr() {
    let place = Place::new();
    for (args, words) in [
        (&[][..], "Usage: hotread "),
        (&["table"], "Usage: hotread table "),
    ] {
        for ran in [run(args), place.run(args)] {
            assert_eq!((ran.code, ran.out.as_str()), (2, ""));
            assert!(ran.err.contains(words), "{}", ran.err);
        }
        run(&[args, &["--json"]].concat()).failed_json(2, "BAD_REQUEST");
    }
}

#[test]
fn completions_name_the_commands() {
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let script = run(&["completions", shell]).ok();
        assert!(
            script.contains("reseal") && script.contains("skip-bad"),
            "{shell}"
        );
    }
    run(&["completions", "tcsh"]).failed(2, "bash");
}
