//! The bench targets' command line.

use std::path::PathBuf;

/// Options of the command line.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Options {
    /// A short run, which only shows that everything works.
    pub quick: bool,
    /// Print the figures' names and stop.
    pub list: bool,
    /// Only these figures; empty for all.
    pub only: Vec<String>,
    /// Folder for the report; by default a full run writes to `docs/benchmarks`, other runs write no report.
    pub out: Option<PathBuf>,
    /// The server's program, for the target `abuse`.
    pub server: Option<PathBuf>,
    /// The program of an earlier state, which is measured as well.
    pub before: Option<PathBuf>,
    /// `true` for `cargo bench`, `false` for `cargo test` of all targets.
    pub bench: bool,
}

/// Usage, for errors.
pub const USAGE: &str = "\
usage: cargo bench -p hotread-bench [--bench inprocess|store|end_to_end|abuse] [-- OPTIONS FIGURE…]
  FIGURE               only this figure, as --only
  --quick              about a minute, no measurement; writes only with --out
  --only FIGURE[,…]    some figures; writes only with --out
  --out DIR            where to write the report (default for a full run: docs/benchmarks)
  --server PATH        abuse: the built command `hotread` (default: of the profile dist)
  --before PATH        abuse: the same of an earlier state, measured as well
  --list               the figures' names";

impl Options {
    /// Reads the arguments after the program's name.
    pub fn parse(arguments: impl IntoIterator<Item = String>) -> Result<Self, String> {
        let mut options = Self::default();
        let mut arguments = arguments.into_iter();
        while let Some(argument) = arguments.next() {
            let (name, mut value) = match argument.split_once('=') {
                Some((name, value)) => (name.to_owned(), Some(value.to_owned())),
                None => (argument, None),
            };
            let mut value = || {
                let value = value.take().or_else(|| arguments.next());
                value.ok_or_else(|| format!("{name} needs a value\n{USAGE}"))
            };
            match name.as_str() {
                "--quick" => options.quick = true,
                "--list" => options.list = true,
                "--bench" => options.bench = true,
                "--only" => {
                    let value = value()?;
                    options.only.extend(value.split(',').map(str::to_owned));
                }
                "--server" => options.server = Some(value()?.into()),
                "--before" => options.before = Some(value()?.into()),
                "--out" => options.out = Some(value()?.into()),
                _ if name.starts_with('-') => {
                    return Err(format!("unknown option {name}\n{USAGE}"));
                }
                _ => options.only.push(name),
            }
        }
        Ok(options)
    }

    /// Reads the arguments of this program.
    pub fn of_program() -> Result<Self, String> {
        Self::parse(std::env::args().skip(1))
    }

    /// Returns `true` if a figure is to be measured.
    pub fn wants(&self, id: &str) -> bool {
        self.only.is_empty() || self.only.iter().any(|only| only == id)
    }

    /// The folder for the report, if there is to be one.
    pub fn folder(&self) -> Option<PathBuf> {
        let full = !self.quick && self.only.is_empty();
        let docs = || PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../docs/benchmarks");
        self.out.clone().or_else(|| full.then(docs))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(arguments: &str) -> Result<Options, String> {
        Options::parse(arguments.split_whitespace().map(str::to_owned))
    }

    #[test]
    fn options_are_read_in_both_spellings() {
        let options = parse(
            "--quick --only reads,flow --only=handles --out /x --server=/s --before /b --bench updates",
        );
        let options = options.expect("valid");
        assert!(options.quick && options.bench && !options.list);
        assert_eq!(options.only, ["reads", "flow", "handles", "updates"]);
        assert_eq!(options.out, Some("/x".into()));
        assert_eq!(options.server, Some("/s".into()));
        assert_eq!(options.before, Some("/b".into()));
    }

    #[test]
    fn mistakes_are_named() {
        assert!(parse("--fast").is_err_and(|e| e.contains("--fast")));
        assert!(parse("--out").is_err_and(|e| e.contains("needs a value")));
    }

    #[test]
    fn only_a_full_run_writes_without_being_asked() {
        let folder = |arguments| parse(arguments).expect("valid").folder();
        assert!(folder("--bench").is_some_and(|f| f.ends_with("docs/benchmarks")));
        assert_eq!(folder("--quick"), None);
        assert_eq!(folder("--only reads"), None);
        assert_eq!(folder("reads"), None);
        assert_eq!(folder("--quick --out here"), Some("here".into()));
    }
}
