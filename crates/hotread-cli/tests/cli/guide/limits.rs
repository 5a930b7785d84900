//! Each figure of limits.md is that of the constant or setting that its row names.

use super::super::{Place, Ran, hotread};
use super::page::{guide, root, rows};
use std::path::{Path, PathBuf};

/// Fewest limits that the page has.
const FEWEST: usize = 100;

/// Milliseconds, bytes or a number, as a page shows it: `10 s`, `64 KiB`, `1,000`.
fn figure(text: &str) -> u128 {
    let (number, unit) = text.split_once(' ').unwrap_or((text, ""));
    let number: u128 = number
        .replace(',', "")
        .parse()
        .unwrap_or_else(|_| panic!("{text}"));
    number
        * match unit {
            "" | "bytes" | "ms" | "%" => 1,
            "KiB" => 1 << 10,
            "MiB" => 1 << 20,
            "GiB" => 1 << 30,
            "s" => 1_000,
            "h" => 3_600_000,
            "days" => 86_400_000,
            unit => panic!("{text}: the unit {unit}"),
        }
}

/// The source of a module: `hotread_store::committer::queue`.
fn source(module: &[&str]) -> String {
    let (krate, path) = module.split_first().unwrap();
    let base = root()
        .join("crates")
        .join(krate.replace('_', "-"))
        .join("src");
    let base = path.iter().fold(base, |base, name| base.join(name));
    let [flat, nested] = [base.with_extension("rs"), base.join("mod.rs")];
    let found = std::fs::read_to_string(&flat).or_else(|_| std::fs::read_to_string(nested));
    found.unwrap_or_else(|error| panic!("{}: {error}", flat.display()))
}

/// The expression that a constant has in a source, up to `end`.
fn constant<'a>(source: &'a str, name: &str, end: &str) -> Option<&'a str> {
    let (_, rest) = source.split_once(&format!("const {name}: "))?;
    let (_, rest) = rest.split_once(" = ")?;
    Some(rest.split_once(end)?.0)
}

/// The value of the constant or the field of a constant with this path.
fn value_of(path: &str) -> u128 {
    let (path, field) = match path.split_once('.') {
        Some((path, field)) => (path, Some(field)),
        None => (path, None),
    };
    let names: Vec<_> = path.split("::").collect();
    let (name, module) = names.split_last().unwrap();
    let source = source(module);
    let expression = match field {
        None => constant(&source, name, ";"),
        Some(field) => constant(&source, name, "};").and_then(|fields| {
            let (_, rest) = fields.split_once(&format!("{field}: "))?;
            Some(rest.split_once(",\n")?.0)
        }),
    };
    let expression = expression.unwrap_or_else(|| panic!("no constant {path}"));
    Evaluation::of(expression, &source)
}

/// Constants of other files, by name.
fn exported(name: &str) -> u128 {
    fn files(folder: &Path, found: &mut Vec<PathBuf>) {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                files(&path, found);
            } else if path.extension().is_some_and(|it| it == "rs") {
                found.push(path);
            }
        }
    }
    let mut found = Vec::new();
    files(&root().join("crates"), &mut found);
    for path in found {
        let source = std::fs::read_to_string(path).unwrap();
        if let Some((_, rest)) = source.split_once(&format!("\npub const {name}: ")) {
            let (expression, _) = rest.split_once(" = ").unwrap().1.split_once(';').unwrap();
            return Evaluation::of(expression, &source);
        }
    }
    panic!("no constant {name}");
}

/// An expression of a constant: numbers, durations in milliseconds, other constants, `+`, `*` and `<<`.
struct Evaluation<'a> {
    words: std::iter::Peekable<std::vec::IntoIter<String>>,
    source: &'a str,
}

impl<'a> Evaluation<'a> {
    fn of(expression: &str, source: &'a str) -> u128 {
        let mut words: Vec<String> = Vec::new();
        let mut last = ' ';
        for c in expression.chars() {
            let is_word = |c: char| c.is_alphanumeric() || matches!(c, '_' | ':' | '.');
            let joins = is_word(c) && is_word(last) || c == '<' && last == '<';
            if !c.is_whitespace() {
                match words.last_mut() {
                    Some(word) if joins => word.push(c),
                    _ => words.push(c.to_string()),
                }
            }
            last = c;
        }
        let mut evaluation = Self {
            words: words.into_iter().peekable(),
            source,
        };
        let value = evaluation.shift();
        assert_eq!(evaluation.words.next(), None, "{expression}");
        value
    }

    fn next_is(&mut self, word: &str) -> bool {
        self.words.next_if(|next| next == word).is_some()
    }

    fn shift(&mut self) -> u128 {
        let mut value = self.sum();
        while self.next_is("<<") {
            value <<= self.sum();
        }
        value
    }

    fn sum(&mut self) -> u128 {
        let mut value = self.product();
        while self.next_is("+") {
            value += self.product();
        }
        value
    }

    fn product(&mut self) -> u128 {
        let mut value = self.one();
        while self.next_is("*") {
            value *= self.one();
        }
        value
    }

    /// The value of an expression whose opening parenthesis was read.
    fn inner(&mut self) -> u128 {
        let value = self.shift();
        assert!(self.next_is(")"));
        value
    }

    fn one(&mut self) -> u128 {
        let word = self.words.next().expect("an operand");
        let value = match &*word {
            "(" => self.inner(),
            "Duration::from_secs" | "Duration::from_millis" => {
                assert!(self.next_is("("));
                self.inner() * if word.ends_with("secs") { 1_000 } else { 1 }
            }
            number if number.starts_with(|c: char| c.is_ascii_digit()) => {
                let number = number.replace('_', "");
                let number = number.strip_suffix(".0").unwrap_or(&number);
                number.parse().unwrap_or_else(|_| panic!("{number}"))
            }
            name => {
                let name = name.rsplit("::").next().unwrap_or(name);
                match constant(self.source, name, ";") {
                    Some(expression) => Evaluation::of(expression, self.source),
                    None => exported(name),
                }
            }
        };
        if self.next_is("as") {
            self.words.next();
        }
        value
    }
}

/// A number of TOML or JSON in milliseconds, if the key has a unit of time.
fn in_unit(key: &str, number: u128) -> u128 {
    number * if key.ends_with("_s") { 1_000 } else { 1 }
}

#[test]
fn each_figure_is_that_of_its_constant_or_setting() {
    let place = Place::with_table();
    let mut print = hotread();
    print.args(["serve", "--print-config", "--config", "/dev/null"]);
    let settings: toml::Table = toml::from_str(&Ran::from(print.output().unwrap()).ok()).unwrap();
    let table = place
        .run(&["table", "show", "t", "--json"])
        .json()
        .remove(0);
    let history = &table["options"]["history"];

    let page = guide("limits.md");
    let mut seen = 0;
    for row in rows(&page) {
        let [limit, shown, place, _] = row[..] else {
            continue;
        };
        let Some(place) = place.strip_prefix('`').and_then(|it| it.strip_suffix('`')) else {
            continue;
        };
        let value = match place.split_once('.') {
            Some(("server", key)) => {
                let value = settings["server"][key].as_integer().expect(key);
                in_unit(key, u128::try_from(value).unwrap())
            }
            Some(("history", key)) => in_unit(key, history[key].as_u64().expect(key).into()),
            _ => value_of(place),
        };
        assert_eq!(figure(shown), value, "{limit}: {place}");
        seen += 1;
    }
    assert!(seen >= FEWEST, "{seen}");
}

#[test]
fn expressions_are_evaluated_as_by_the_compiler() {
    let source = "const A: usize = 2 * B + (64 << 10);\nconst B: usize = 1 << 20;\n\
                  const C: Duration = Duration::from_secs(60 * 60);\nconst D: f64 = 50.0;\n\
                  const E: u64 = 4 * B as u64;\nconst F: usize = 1_000;\nconst G: usize = 2 + 3 * 4 << 1;\n";
    for (name, value) in [
        ("A", (2 << 20) + (64 << 10)),
        ("C", 3_600_000),
        ("D", 50),
        ("E", 4 << 20),
        ("F", 1_000),
        ("G", 28),
    ] {
        let expression = constant(source, name, ";").unwrap();
        assert_eq!(Evaluation::of(expression, source), value, "{name}");
    }
}
