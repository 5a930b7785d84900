//! Help texts, manual pages and completions.

use super::serving::Serving;
use super::terminal::on_terminal;
use super::{Place, Ran, hotread};

const COMMANDS: &[&[&str]] = &[
    &["migrate", "up"],
    &["migrate", "down"],
    &["migrate", "status"],
    &["table", "create"],
    &["table", "alter"],
    &["table", "list"],
    &["table", "show"],
    &["table", "drop"],
    &["table", "rekey"],
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
    &["config", "check"],
    &["watch"],
    &["status"],
    &["token", "create"],
    &["token", "list"],
    &["token", "revoke"],
    &["demo"],
    &["man"],
    &["completions"],
];

fn run(args: &[&str]) -> Ran {
    hotread().args(args).output().unwrap().into()
}

#[test]
fn each_command_explains_itself_and_ends_with_examples() {
    for command in COMMANDS {
        for flag in ["-h", "--help"] {
            let help = run(&[command, &[flag][..]].concat()).ok();
            let (before, examples) = help.split_once("\nExamples:\n").expect(&help);
            assert!(
                examples.lines().all(|line| line.starts_with("  ")),
                "{command:?}: {examples}"
            );
            let usage = before
                .lines()
                .find(|line| line.starts_with("Usage: hotread "));
            assert!(usage.expect(before).len() <= 80, "{command:?}: {usage:?}");
            let widest = help.lines().map(|line| line.chars().count()).max();
            assert!(widest <= Some(120), "{command:?}: {widest:?}");
        }
    }
    let [short, long] = ["-h", "--help"].map(|flag| run(&["get", flag]).ok());
    assert_eq!(short, long, "no option spreads the help of all commands");
    for args in [&["--help"][..], &["-h"], &["help"]] {
        let help = run(args).ok();
        let (_, after) = help.split_once("\nExit codes:\n  0  done\n").expect(&help);
        let (codes, examples) = after.split_once("\nExamples:\n").expect(after);
        assert!(codes.contains("\n  7  import --skip-bad"), "{codes}");
        assert!(
            examples.trim_end().ends_with("set flags dark-mode false"),
            "{help}"
        );
    }
    assert!(run(&["--version"]).ok().starts_with("hotread 0."));
    let help = run(&["--help"]).ok();
    for flag in ["--help", "-h"] {
        assert_eq!(run(&["help", flag]).ok(), help);
    }
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
            script.contains("rekey") && script.contains("skip-bad"),
            "{shell}"
        );
    }
    run(&["completions", "tcsh"]).failed(2, "bash");
}

/// Returns `true` if a line may be wider than the terminal, because it is meant to be pasted.
fn is_pasted(line: &str) -> bool {
    line.starts_with("  ") && (line.contains("hotread ") || line.contains("HOTREAD_"))
}

#[test]
fn help_fits_a_narrow_terminal() {
    const WIDTH: usize = 60;
    let groups: [&[&str]; 5] = [&[], &["table"], &["token"], &["migrate"], &["config"]];
    for command in groups.iter().chain(COMMANDS) {
        let help = |width: usize| {
            let mut run = hotread();
            run.args(*command)
                .arg("--help")
                .env("COLUMNS", width.to_string());
            Ran::from(run.output().unwrap()).ok()
        };
        let narrow = help(WIDTH);
        let words = |text: &str| {
            text.split_whitespace()
                .map(str::to_owned)
                .collect::<Vec<_>>()
        };
        assert_eq!(words(&narrow), words(&help(100)), "the same is said");
        let lines: Vec<&str> = narrow.lines().collect();
        for line in &lines {
            let fits =
                line.chars().count() <= WIDTH || is_pasted(line) || line.starts_with("Usage:");
            assert!(fits, "{command:?}: {line:?}");
        }
        // A paragraph is broken only where the next word does not fit.
        let is_prose = |line: &str| !line.is_empty() && !line.starts_with(' ');
        for pair in lines.windows(2) {
            let next = pair[1]
                .split(' ')
                .next()
                .unwrap_or_default()
                .chars()
                .count();
            let full = pair[0].chars().count() + 1 + next > WIDTH;
            let both = is_prose(pair[0]) && is_prose(pair[1]);
            assert!(!both || full, "{command:?}: {pair:?}");
        }
    }
}

#[test]
fn colour_is_where_it_is_wanted() {
    let shown = |name: &str, value: &str, args: &[&str]| {
        let place = Place::with_table();
        place.run(&["set", "t", "a", "1"]).ok();
        let mut command = place.command(args);
        for name in ["NO_COLOR", "CLICOLOR"] {
            command.env_remove(name);
        }
        command.env("TERM", "xterm").env(name, value);
        on_terminal(command, 80, "").0
    };
    for args in [
        &["get", "--help"][..],
        &["help", "get"],
        &["ls", "t"],
        &["get", "t", "x"],
    ] {
        let coloured = shown("TERM", "xterm", args);
        assert!(coloured.contains("\u{1b}["), "{coloured}");
        for (name, value) in [("TERM", "dumb"), ("NO_COLOR", "1"), ("CLICOLOR", "0")] {
            let plain = shown(name, value, args);
            assert!(!plain.contains('\u{1b}'), "{name}: {plain:?}");
            let bare = |text: &str| text.replace("\u{1b}[1m", "").replace("\u{1b}[0m", "");
            if args[0] == "ls" {
                assert_eq!(bare(&coloured), plain);
            }
        }
    }
    let place = Place::with_table();
    place.run(&["set", "t", "a", "1"]).ok();
    for args in [
        &["ls", "t"][..],
        &["get", "--help"],
        &["get", "t", "x"],
        &["get"],
    ] {
        let shown = |colour: &[&str]| {
            let ran = place.run(&[args, colour].concat());
            (ran.out + &ran.err).contains('\u{1b}')
        };
        assert!(!shown(&[]), "no terminal: {args:?}");
        assert!(!shown(&["--color", "auto"]), "{args:?}");
        assert!(!shown(&["--color=never"]), "{args:?}");
        assert!(shown(&["--color", "always"]), "{args:?}");
        assert!(shown(&["--colour=always"]), "{args:?}");
    }
    let never = shown("TERM", "xterm", &["ls", "t", "--color", "never"]);
    assert!(!never.contains('\u{1b}'), "{never:?}");
    let always = shown("NO_COLOR", "1", &["ls", "t", "--color", "always"]);
    assert!(always.contains('\u{1b}'), "{always:?}");
    place
        .run(&["ls", "t", "--color", "red"])
        .failed(2, "auto, always, never");
}

#[test]
fn manual_pages_are_written() {
    let place = Place::new();
    let dir = place.path("man");
    let said = run(&["man", dir.to_str().unwrap()]).ok();
    let mut names: Vec<_> = std::fs::read_dir(&dir)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort_unstable();
    assert!(
        said.starts_with(&format!("{} pages in ", names.len())),
        "{said}"
    );
    for command in COMMANDS {
        let name = format!("hotread-{}.1", command.join("-"));
        assert!(names.contains(&name), "{name}: {names:?}");
        let page = std::fs::read_to_string(dir.join(&name)).unwrap();
        for words in [
            ".TH ",
            ".SH NAME",
            ".SH OPTIONS",
            ".SH \"EXAMPLES\"\n.nf\n  ",
            ".SH \"EXIT STATUS\"\n.nf\n  0  done\n",
            ".SH \"SEE ALSO\"\n.BR hotread (1)",
            "\\-\\-json",
        ] {
            assert!(page.contains(words), "{name}: {words}: {page}");
        }
        assert!(!page.contains('\u{a0}'), "{name}");
        let version = concat!(
            "\"hotread ",
            env!("CARGO_PKG_VERSION"),
            "\" \"HotRead Manual\"\n"
        );
        let title = page.lines().next().unwrap().to_owned() + "\n";
        assert!(title.ends_with(version), "{title}");
        let (_, synopsis) = page.split_once(".SH SYNOPSIS\n").expect(&page);
        let synopsis = synopsis.lines().next().unwrap();
        let begin = format!("\\fBhotread {}\\fR", command.join(" "));
        assert!(synopsis.starts_with(&begin), "{synopsis}");
    }
    let get = std::fs::read_to_string(dir.join("hotread-get.1")).unwrap();
    assert!(get.contains("\n  hotread get flags dark\\-mode\n"), "{get}");
    let synopsis = ".SH SYNOPSIS\n\\fBhotread get\\fR [OPTIONS] <TABLE> [KEY]...\n";
    assert!(get.contains(synopsis), "{get}");
    assert!(get.contains(".TP\n\\fI[KEY]...\\fR\nThe keys\n"), "{get}");
    let create = std::fs::read_to_string(dir.join("hotread-table-create.1")).unwrap();
    assert!(
        create.ends_with(".SH \"SEE ALSO\"\n.BR hotread (1),\n.BR hotread\\-table (1)\n"),
        "{create}"
    );
    assert!(
        get.contains("HOTREAD_URL"),
        "the environment is told: {get}"
    );
    run(&["man", "/dev/null/x"]).failed(1, "cannot write manual pages to /dev/null/x");
}

#[test]
fn tables_and_keys_are_completed() {
    let place = Place::with_table();
    place.run(&["table", "create", "other"]).ok();
    for key in ["apple", "apricot", "pear", "two words"] {
        place.run(&["set", "t", key, "1"]).ok();
    }
    let offered = |mut command: std::process::Command, words: &[&str]| -> Vec<String> {
        command
            .env("COMPLETE", "fish")
            .args(["--", "hotread"])
            .args(words);
        let out = Ran::from(command.output().unwrap()).ok();
        let word = |line: &str| line.split('\t').next().unwrap().to_owned();
        out.lines()
            .map(word)
            .filter(|word| !word.starts_with('-'))
            .collect()
    };
    let here = |words: &[&str]| offered(place.command(&[]), words);
    assert_eq!(here(&["get", ""]), ["other", "t"]);
    assert_eq!(here(&["table", "show", "o"]), ["other"]);
    assert_eq!(here(&["get", "t", "ap"]), ["apple", "apricot"]);
    assert_eq!(
        here(&["rm", "t", "apple", ""]),
        ["apple", "apricot", "pear"]
    );
    assert_eq!(here(&["history", "t", "--key", "p"]), ["pear"]);
    assert_eq!(here(&["get", "none", ""]), [""; 0]);
    assert_eq!(here(&["table", "create", ""]), [""; 0]);
    assert!(here(&["wat"]).contains(&"watch".to_owned()));
    let db = place.db();
    let named = ["--db", db.to_str().unwrap(), "ls", ""];
    assert_eq!(offered(hotread(), &named), ["other", "t"]);
    assert_eq!(
        offered(hotread(), &["ls", ""]),
        [""; 0],
        "no place is known"
    );
    let serving = Serving::start(&place, &[]);
    assert_eq!(offered(serving.command(&[]), &["get", "t", "pe"]), ["pear"]);
    let mut script = hotread();
    let script = Ran::from(script.env("COMPLETE", "bash").output().unwrap()).ok();
    assert!(script.contains("COMPLETE="), "{script}");
}
