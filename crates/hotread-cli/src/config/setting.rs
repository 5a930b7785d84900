//! The settings of `hotread serve`. One definition of each yields its key in the file, its environment
//! variable, its flag with its help, and its line in `docs/guide/configuration.md`.

use clap::builder::{PossibleValuesParser, TypedValueParser, ValueParser};
use clap::parser::ValueSource;
use clap::{Arg, ArgAction, ArgMatches, Args, Command, FromArgMatches, ValueHint};
use hotread_server::{OptionInfo, Options};
use std::net::SocketAddr;
use std::sync::LazyLock;
use toml::{Table, Value};
use tracing_subscriber::EnvFilter;

/// The table of the file that holds the options of [`hotread_server`].
pub(crate) const SERVER: &str = "server";

/// Settings whose flags are options for all commands.
const GLOBAL: [&str; 2] = ["db", "passphrase_file"];

/// A setting.
#[derive(Debug)]
pub(crate) struct Setting {
    /// Its place in the file: `listen`, `server.heartbeat_ms`.
    pub(crate) key: String,
    /// The environment variable that sets it.
    pub(crate) env: String,
    /// The flag that sets it, without `--`.
    pub(crate) flag: String,
    pub(crate) kind: Kind,
    pub(crate) default: Option<Value>,
    /// Its description in Markdown, of which the first sentence is the flag's help.
    pub(crate) doc: String,
    /// `true` if SIGHUP applies it to a running server.
    pub(crate) reloads: bool,
}

/// Type of a setting's value.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Kind {
    /// A path; in a file, relative to the folder of the file.
    Path,
    /// An address with a port.
    Address,
    /// Directives in the form of `RUST_LOG`.
    Filter,
    One(&'static [&'static str]),
    /// True or false; the flag takes no value, and sets the opposite of the default.
    Switch,
    /// A whole number, checked against the option's range.
    Number(&'static OptionInfo),
    /// Texts; the flag may be repeated.
    List,
}

/// All settings, in the order of the configuration page.
pub(crate) static SETTINGS: LazyLock<Vec<Setting>> = LazyLock::new(|| {
    let own = |key: &str, flag: &str, kind, default: Option<Value>, doc: &str| Setting {
        key: key.to_owned(),
        env: format!("HOTREAD_{}", key.to_uppercase()),
        flag: flag.to_owned(),
        kind,
        default,
        doc: doc.to_owned(),
        reloads: matches!(kind, Kind::Filter),
    };
    let mut settings = vec![
        own("db", "db", Kind::Path, None, "The database."),
        own(
            "create",
            "no-create",
            Kind::Switch,
            Some(true.into()),
            "Creates the database if it does not exist. With the flag, a missing database is an error.",
        ),
        own(
            "passphrase_file",
            "passphrase-file",
            Kind::Path,
            None,
            "File with the passphrase of sealed tables.",
        ),
        own(
            "listen",
            "listen",
            Kind::Address,
            Some("127.0.0.1:7400".into()),
            "Address and port to listen at; port 0 is any free one. Addresses that other machines can \
             reach require tokens, and a certificate or `server.allow_plaintext`.",
        ),
        own(
            "tls_cert",
            "tls-cert",
            Kind::Path,
            None,
            "Certificate of the server, in PEM, followed by those of its issuers. With it, the server speaks \
             TLS, and nothing else. A new file is read again by itself, and on SIGHUP, and used for new \
             connections.",
        ),
        own(
            "tls_key",
            "tls-key",
            Kind::Path,
            None,
            "Private key of the certificate, in PEM, without a passphrase. Read again together with it.",
        ),
        own(
            "tls_client_ca",
            "tls-client-ca",
            Kind::Path,
            None,
            "Authorities, in PEM, of which clients need a certificate. Its common name is the actor of writes \
             without a token; it gives no rights.",
        ),
        own(
            "synchronous",
            "synchronous",
            Kind::One(&["full", "normal"]),
            Some("full".into()),
            "Moment at which a write is acknowledged: `full`, when it survives a power failure; \
             `normal`, when it survives a crash of the process.",
        ),
        own(
            "log",
            "log",
            Kind::Filter,
            Some("info".into()),
            "Events that are logged: `error`, `warn`, `info`, `debug` or `trace`, or directives such as \
             `info,hotread_server=debug`. `-v` means `debug`, `-vv` means `trace`.",
        ),
        own(
            "log_format",
            "log-format",
            Kind::One(&["text", "json"]),
            Some("text".into()),
            "Format of the log on standard error: `text`, human-readable lines; `json`, an object on each line.",
        ),
    ];
    // The variable that programs with this logging library have in common.
    let log = settings.iter_mut().find(|setting| setting.key == "log");
    log.expect("it is one of those above").env = EnvFilter::DEFAULT_ENV.to_owned();
    settings.extend(of_the_server());
    settings
});

fn of_the_server() -> impl Iterator<Item = Setting> {
    let mut defaults = Table::try_from(Options::default()).expect("options can be written as TOML");
    Options::ALL.iter().map(move |option| {
        let default = defaults
            .remove(option.name)
            .expect("each option has a default");
        let (kind, flag) = match &default {
            Value::Boolean(_) => (Kind::Switch, option.name),
            // The flag takes one item at a time.
            Value::Array(_) => (Kind::List, option.name.trim_end_matches('s')),
            _ => (Kind::Number(option), option.name),
        };
        Setting {
            key: format!("{SERVER}.{}", option.name),
            env: format!("HOTREAD_{}", option.name.to_uppercase()),
            flag: flag.replace('_', "-"),
            kind,
            default: Some(default),
            doc: option
                .doc
                .lines()
                .map(str::trim)
                .collect::<Vec<_>>()
                .join(" "),
            reloads: option.reloads,
        }
    })
}

impl Kind {
    /// Parses the value of an environment variable or a flag.
    fn parse(self, text: &str) -> Result<Value, String> {
        let value = match self {
            Self::Switch => text.parse().map(Value::Boolean).map_err(|_| wanted(self)),
            Self::Number(_) => text.parse().map(Value::Integer).map_err(|_| wanted(self)),
            Self::List => {
                let items = text.split(',').map(|item| item.trim().into());
                Ok(Value::Array(items.collect()))
            }
            _ => Ok(text.into()),
        }?;
        self.check(&value)?;
        Ok(value)
    }

    /// Checks a value, which may be of another type.
    ///
    /// # Errors
    /// A description of what to give instead.
    pub(crate) fn check(self, value: &Value) -> Result<(), String> {
        let fits = match (self, value) {
            (Self::Path, Value::String(path)) => !path.is_empty(),
            (Self::Address, Value::String(text)) => text.parse::<SocketAddr>().is_ok(),
            (Self::Filter, Value::String(text)) => EnvFilter::try_new(text).is_ok(),
            (Self::One(of), Value::String(text)) => of.contains(&text.as_str()),
            (Self::Switch, Value::Boolean(_)) => true,
            (Self::Number(option), Value::Integer(given)) => match u64::try_from(*given) {
                // The caller has named the setting and the number.
                Ok(given) => {
                    return option.check(given).map_err(|error| {
                        let text = error.to_string();
                        let advice = text.split_once("; ").map(|(_, advice)| advice.to_owned());
                        advice.unwrap_or(text)
                    });
                }
                Err(_) => false,
            },
            (Self::List, Value::Array(items)) => items.iter().all(Value::is_str),
            _ => false,
        };
        fits.then_some(()).ok_or_else(|| wanted(self))
    }

    /// Returns the type and the unit, for the configuration page.
    #[cfg(test)]
    fn describe(self) -> String {
        match self {
            Self::Path => "path".to_owned(),
            Self::Address => "address:port".to_owned(),
            Self::Filter => "filter".to_owned(),
            Self::One(of) => of
                .iter()
                .map(|one| format!("`{one}`"))
                .collect::<Vec<_>>()
                .join(" or "),
            Self::Switch => "true or false".to_owned(),
            Self::List => "list of texts".to_owned(),
            Self::Number(option) => match option.name {
                name if name.ends_with("_ms") => "milliseconds".to_owned(),
                name if name.ends_with("_bytes") => "bytes".to_owned(),
                _ => "number".to_owned(),
            },
        }
    }
}

fn wanted(kind: Kind) -> String {
    match kind {
        Kind::Path => "give a path in quotes, such as \"app.db\"".to_owned(),
        Kind::Address => {
            "give an IP address and a port from 0 to 65535, such as \"127.0.0.1:7400\"; names are \
             not looked up"
                .to_owned()
        }
        Kind::Filter => {
            "give a level, such as \"info\", or directives, such as \"info,hotread_server=debug\""
                .to_owned()
        }
        Kind::One(of) => {
            let of: Vec<_> = of.iter().map(|one| format!("\"{one}\"")).collect();
            format!("give {}", of.join(" or "))
        }
        Kind::Switch => "give true or false".to_owned(),
        Kind::Number(_) => "give a whole number that is not negative".to_owned(),
        Kind::List => "give a list of texts, such as [\"a.example\", \"b.example\"]".to_owned(),
    }
}

impl Setting {
    /// Returns the setting with this key.
    pub(crate) fn named(key: &str) -> Option<&'static Self> {
        SETTINGS.iter().find(|setting| setting.key == key)
    }

    /// Returns `true` if its flag is one of the options for all commands, in
    /// [`Global`](crate::args::Global).
    fn is_global(&self) -> bool {
        GLOBAL.contains(&&*self.key)
    }

    /// Returns `true` if its value is a path.
    pub(crate) fn is_path(&self) -> bool {
        matches!(self.kind, Kind::Path)
    }

    fn arg(&'static self) -> Arg {
        let doc = self.doc.as_str();
        let (first, last) = doc.split_once(". ").unwrap_or((doc, doc));
        let is_on = self.default == Some(Value::Boolean(true));
        let help = if is_on { last } else { first };
        let mut help = help.trim_end_matches('.').replace('`', "");
        let value_name = match self.kind {
            Kind::Address => "ADDRESS:PORT",
            Kind::Filter => "FILTER",
            Kind::Number(option) if option.name.ends_with("_ms") => "MS",
            Kind::Number(option) if option.name.ends_with("_bytes") => "BYTES",
            Kind::Number(_) => "N",
            Kind::List => "NAME",
            Kind::Path => "FILE",
            Kind::One(_) => "WHICH",
            Kind::Switch => "",
        };
        match (&self.default, self.kind) {
            (_, Kind::List) => help.push_str("; may be repeated"),
            (Some(default), Kind::Number(_) | Kind::Address | Kind::Filter | Kind::One(_)) => {
                let default = default.as_str().map_or(default.to_string(), str::to_owned);
                help.push_str(&format!(" [default: {default}]"));
            }
            _ => {}
        }
        let kind = self.kind;
        let parser: ValueParser = match kind {
            Kind::One(of) => PossibleValuesParser::new(of.iter().copied())
                .map(Value::from)
                .into(),
            _ => ValueParser::new(move |text: &str| kind.parse(text)),
        };
        let mut arg = Arg::new(&*self.key)
            .long(&*self.flag)
            .env(&*self.env)
            .value_parser(parser)
            .help(help);
        if !value_name.is_empty() {
            arg = arg.value_name(value_name);
        }
        match kind {
            Kind::List => arg
                .action(ArgAction::Append)
                .value_hint(ValueHint::Hostname),
            Kind::Path => arg.value_hint(ValueHint::FilePath),
            Kind::Switch if is_on => arg.action(ArgAction::SetFalse),
            Kind::Switch => arg.action(ArgAction::SetTrue),
            Kind::Number(_) => arg.help_heading(LIMITS),
            _ => arg,
        }
    }
}

const LIMITS: &str = "Limits and times";

/// Source of a value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Source {
    Default,
    /// The line of the file.
    File(usize),
    Environment,
    Flag,
    /// `-v`, which sets the log's filter.
    Verbose,
}

/// A setting with the value that was given for it.
pub(crate) type Set = (&'static Setting, Value, Source);

/// Settings from the environment and the command line.
#[derive(Debug, Clone)]
pub(crate) struct Given(pub(crate) Vec<Set>);

impl Given {
    /// Sets a path or the log's filter, unless its own flag was given.
    pub(crate) fn push(&mut self, key: &str, value: impl AsRef<str>, source: Source) {
        let set = |(set, _, by): &Set| set.key == key && *by == Source::Flag;
        if let Some(setting) = Setting::named(key).filter(|_| !self.0.iter().any(set)) {
            self.0.push((setting, value.as_ref().into(), source));
        }
    }
}

impl Args for Given {
    fn augment_args(command: Command) -> Command {
        let settings = SETTINGS.iter().filter(|setting| !setting.is_global());
        command.args(settings.map(Setting::arg))
    }

    fn augment_args_for_update(command: Command) -> Command {
        Self::augment_args(command)
    }
}

impl FromArgMatches for Given {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, clap::Error> {
        let given = |setting: &'static Setting| {
            let source = match matches.value_source(&setting.key)? {
                ValueSource::CommandLine => Source::Flag,
                ValueSource::EnvVariable => Source::Environment,
                _ => return None,
            };
            let mut values = matches.get_many::<Value>(&setting.key)?.cloned();
            let value = match setting.kind {
                Kind::List => {
                    let lists = values.filter_map(|list| match list {
                        Value::Array(items) => Some(items),
                        _ => None,
                    });
                    Value::Array(lists.flatten().collect())
                }
                _ => values.next_back()?,
            };
            Some((setting, value, source))
        };
        let settings = SETTINGS.iter().filter(|setting| !setting.is_global());
        Ok(Self(settings.filter_map(given).collect()))
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), clap::Error> {
        *self = Self::from_arg_matches(matches)?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Marks around the table in the page.
    const BEGIN: &str = "<!-- settings: made by a test, which also compares -->\n";
    const END: &str = "<!-- end of settings -->\n";

    fn table() -> String {
        let mut table = String::from(
            "\n| key | environment | flag | type, unit | default | SIGHUP | what it does |\n\
             |---|---|---|---|---|---|---|\n",
        );
        for setting in SETTINGS.iter() {
            let default = setting.default.as_ref();
            let default = default.map_or("—".to_owned(), |default| format!("`{default}`"));
            let reloads = if setting.reloads { "yes" } else { "restart" };
            table.push_str(&format!(
                "| `{}` | `{}` | `--{}` | {} | {default} | {reloads} | {} |\n",
                setting.key,
                setting.env,
                setting.flag,
                setting.kind.describe(),
                setting.doc.trim(),
            ));
        }
        table.push('\n');
        table
    }

    #[test]
    fn the_page_has_the_settings_of_the_code() {
        let path = concat!(
            env!("CARGO_MANIFEST_DIR"),
            "/../../docs/guide/configuration.md"
        );
        let page = std::fs::read_to_string(path).unwrap();
        let (before, rest) = page.split_once(BEGIN).unwrap();
        let (old, after) = rest.split_once(END).unwrap();
        let new = table();
        if old != new && std::env::var_os("HOTREAD_WRITE_PAGES").is_some() {
            std::fs::write(path, format!("{before}{BEGIN}{new}{END}{after}")).unwrap();
            return;
        }
        assert_eq!(
            old, new,
            "HOTREAD_WRITE_PAGES=1 writes the table into the page"
        );
    }

    #[test]
    fn each_setting_has_its_flag_and_its_variable() {
        let mut command = crate::args::command();
        command.build();
        let serve = command.find_subcommand("serve").unwrap();
        for setting in SETTINGS.iter() {
            let arg = serve
                .get_arguments()
                .find(|arg| arg.get_long() == Some(&setting.flag))
                .unwrap_or_else(|| panic!("--{}", setting.flag));
            assert_eq!(
                arg.get_env().and_then(|env| env.to_str()),
                Some(&*setting.env)
            );
        }
    }

    #[test]
    fn defaults_fit_their_settings() {
        for setting in SETTINGS.iter() {
            if let Some(default) = &setting.default {
                assert_eq!(setting.kind.check(default), Ok(()), "{}", setting.key);
            }
        }
    }
}
