//! Finding and parsing the configuration file, and the problems in it, by line.

use super::incomplete_tls;
use super::setting::{SERVER, SETTINGS, Setting};
use hotread_server::Options;
use serde::{Deserialize, Serialize};
use std::fmt;
use std::path::{Path, PathBuf};
use toml::de::{DeTable, DeValue, ValueDeserializer};
use toml::{Spanned, Table, Value};

/// Name of the file that is read from the working directory when no file is named.
pub(crate) const DISCOVERED: &str = "hotread.toml";

/// Minimum similarity, of at most 1, at which a known name is suggested.
const ALIKE: f64 = 0.8;

/// Returns the configuration file in the working directory, if there is one.
pub(crate) fn discover() -> Option<PathBuf> {
    let path = Path::new(DISCOVERED);
    path.is_file().then(|| path.to_owned())
}

/// A problem in a configuration file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct Problem {
    pub(crate) line: usize,
    pub(crate) message: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.line, self.message)
    }
}

/// Parses the settings of a file, each with its line. `alone`: settings without which others have no effect are
/// not given elsewhere.
///
/// # Errors
/// All problems of the file, in the order of their lines.
pub(crate) fn parse(
    text: &str,
    alone: bool,
) -> Result<Vec<(&'static Setting, Value, usize)>, Vec<Problem>> {
    let (table, errors) = DeTable::parse_recoverable(text);
    let mut reader = Reader {
        text,
        named: Vec::new(),
        settings: Vec::new(),
        problems: Vec::new(),
    };
    let broken = errors.into_iter().map(|error| Problem {
        line: reader.line(error.span().map_or(0, |span| span.start)),
        message: error.message().to_owned(),
    });
    let mut broken: Vec<_> = broken.collect();
    broken.dedup_by_key(|problem| problem.line);
    reader.read("", table.into_inner());
    reader.check_options();
    if alone {
        reader.check_tls();
    }
    let Reader {
        settings,
        mut problems,
        ..
    } = reader;
    // A line that is not TOML can cause further problems; only the first is reported.
    problems.retain(|problem| broken.iter().all(|broken| broken.line != problem.line));
    problems.extend(broken);
    problems.sort_by_key(|problem| problem.line);
    match problems.is_empty() {
        true => Ok(settings),
        false => Err(problems),
    }
}

struct Reader<'a> {
    text: &'a str,
    /// The settings of the file, with their lines, even if their values are wrong.
    named: Vec<(&'static str, usize)>,
    settings: Vec<(&'static Setting, Value, usize)>,
    problems: Vec<Problem>,
}

impl Reader<'_> {
    fn line(&self, at: usize) -> usize {
        let before = self.text.as_bytes().iter().take(at);
        before.filter(|byte| **byte == b'\n').count() + 1
    }

    fn problem(&mut self, at: usize, message: String) {
        let line = self.line(at);
        self.problems.push(Problem { line, message });
    }

    fn read(&mut self, within: &str, table: DeTable<'_>) {
        for (name, value) in table {
            let at = name.span().start;
            let key = format!("{within}{}", name.into_inner());
            if key == SERVER {
                match value.into_inner() {
                    DeValue::Table(table) => self.read(&format!("{SERVER}."), table),
                    _ => self.problem(at, format!("{key} is a table; begin it with [{SERVER}]")),
                }
            } else {
                self.read_setting(at, &key, value);
            }
        }
    }

    fn read_setting(&mut self, at: usize, key: &str, value: Spanned<DeValue<'_>>) {
        let Some(setting) = Setting::named(key) else {
            return self.problem(at, unknown(key));
        };
        self.named.push((&setting.key, self.line(at)));
        match Value::deserialize(ValueDeserializer::from(value)) {
            Ok(value) => match setting.kind.check(&value) {
                Ok(()) => self.settings.push((setting, value, self.line(at))),
                Err(wanted) => self.problem(at, format!("{key} is {value}; {wanted}")),
            },
            Err(error) => self.problem(at, format!("{key}: {}", error.message())),
        }
    }

    /// Checks that none of the files of TLS is missing.
    fn check_tls(&mut self) {
        let line = |wanted: &str| {
            let found = self.named.iter().find(|(key, _)| *key == wanted);
            found.map(|(_, line)| *line)
        };
        if let Some((key, missing)) = incomplete_tls(|key| line(key).is_some()) {
            let (line, message) = (line(key).unwrap_or(1), missing.to_owned());
            self.problems.push(Problem { line, message });
        }
    }

    /// Checks the options of the server against each other.
    fn check_options(&mut self) {
        let mut table = Table::new();
        for (setting, value, _) in &self.settings {
            if let Some((SERVER, name)) = setting.key.split_once('.') {
                table.insert(name.to_owned(), value.clone());
            }
        }
        let options = match table.try_into::<Options>() {
            Ok(options) => options,
            Err(error) => {
                let message = error.message().to_owned();
                return self.problems.push(Problem { line: 1, message });
            }
        };
        for error in options.problems() {
            let key = error.name().map(|name| format!("{SERVER}.{name}"));
            // The default of one limit may be too large for the value given for another.
            let line = |key| {
                self.settings
                    .iter()
                    .find(|(setting, ..)| Some(&setting.key) == key)
            };
            let line = line(key.as_ref()).map_or(1, |(_, _, line)| *line);
            let message = error.to_string();
            self.problems.push(Problem { line, message });
        }
    }
}

/// Describes an unknown key, and names the known key that was probably meant.
fn unknown(key: &str) -> String {
    let last = |key: &str| key.rsplit('.').next().unwrap_or_default().to_owned();
    let wrong = last(key);
    // Keys of the other table are suggested as well, so the table is not compared.
    let likeness = |known: &Setting| strsim::jaro_winkler(&wrong, &last(&known.key));
    let nearest = SETTINGS
        .iter()
        .max_by(|a, b| likeness(a).total_cmp(&likeness(b)))
        .filter(|known| likeness(known) >= ALIKE);
    match nearest {
        Some(nearest) => format!("there is no key {key}; did you mean {}?", nearest.key),
        None => {
            let known: Vec<_> = SETTINGS.iter().map(|known| known.key.as_str()).collect();
            format!("there is no key {key}; there are {}", known.join(", "))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn problems(text: &str) -> Vec<String> {
        let problems = parse(text, true).unwrap_err();
        problems.iter().map(Problem::to_string).collect()
    }

    #[test]
    fn each_problem_is_told_with_its_line_and_the_key_that_was_meant() {
        let text = "lissten = '127.0.0.1:1'\ncreate = 'no'\nlisten = 'here'\ndb = \n\
                    heartbeat_ms = 5\n[server]\nhartbeat_ms = 5\ndrain_ms = -1\n\
                    heartbeat_ms = 1\nallowed_hosts = ['a b']\nrate_burst = 5000000000\n";
        let problems = problems(text);
        let expected = [
            "1: there is no key lissten; did you mean listen?",
            "2: create is \"no\"; give true or false",
            "3: listen is \"here\"; give an IP address and a port",
            "4: ",
            "5: there is no key heartbeat_ms; did you mean server.heartbeat_ms?",
            "7: there is no key server.hartbeat_ms; did you mean server.heartbeat_ms?",
            "8: server.drain_ms is -1; give a whole number",
            "9: server.heartbeat_ms is 1; give at least 10",
            "10: allowed_hosts: \"a b\" is not a host",
            "11: server.rate_burst is 5000000000; ",
        ];
        assert_eq!(problems.len(), expected.len(), "{problems:#?}");
        for (problem, expected) in problems.iter().zip(expected) {
            assert!(problem.starts_with(expected), "{problem} / {expected}");
        }
    }

    #[test]
    fn a_key_like_no_other_has_all_of_them_listed() {
        let none = problems("zzz = 1");
        assert!(
            none[0].starts_with("1: there is no key zzz; there are db, "),
            "{none:?}"
        );
        let none = problems("[server]\nbogus = 1");
        assert!(
            none[0].starts_with("2: there is no key server.bogus; there are db, "),
            "{none:?}"
        );
        let table = problems("server = 5");
        assert_eq!(table, ["1: server is a table; begin it with [server]"]);
    }

    #[test]
    fn options_are_checked_together() {
        let text =
            "[server]\nmax_buffered_bytes = 100_000_000\nmax_replace_body_bytes = 90_000_000";
        let problems = problems(text);
        assert!(
            problems[0].starts_with("3: max_replace_body_bytes is 90000000"),
            "{problems:?}"
        );
    }

    #[test]
    fn a_part_of_tls_is_a_problem_of_a_file_that_nothing_completes() {
        for (text, expected) in [
            (
                "\ntls_cert = 'a.pem'",
                "2: tls_cert is given without tls_key; ",
            ),
            (
                "tls_key = 'a.key'",
                "1: tls_key is given without tls_cert; ",
            ),
            (
                "db = 'a.db'\ntls_client_ca = 'ca.pem'",
                "2: tls_client_ca is given without tls_cert and tls_key; ",
            ),
            // The other one is there, but wrong.
            ("tls_cert = 'a.pem'\ntls_key = 5", "2: tls_key is 5; "),
        ] {
            let problems = problems(text);
            assert_eq!(problems.len(), 1, "{problems:?}");
            assert!(problems[0].starts_with(expected), "{problems:?}");
        }
        assert!(parse("tls_cert = 'a.pem'", false).is_ok());
        assert!(parse("tls_cert = 'a.pem'\ntls_key = 'a.key'", true).is_ok());
    }

    #[test]
    fn what_is_right_is_read_with_its_line() {
        let read = parse("db = 'a.db'\n\n[server]\nheartbeat_ms = 500\n", true).unwrap();
        let read: Vec<_> = read
            .iter()
            .map(|(s, value, line)| (&*s.key, value, *line))
            .collect();
        assert_eq!(
            read,
            [
                ("db", &Value::from("a.db"), 1),
                ("server.heartbeat_ms", &Value::from(500), 4)
            ]
        );
    }
}
