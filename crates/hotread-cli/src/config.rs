//! The configuration file of `hotread serve`.

use crate::args::LogFormat;
use crate::exit::Failure;
use anyhow::{Context, Result};
use hotread_proto::Code;
use hotread_server::Options;
use hotread_store::Synchronous;
use serde::Deserialize;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use toml::{Table, Value};

/// Names that are less alike than this, of at most 1, are not suggested.
const ALIKE: f64 = 0.8;

/// What can be set.
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Config {
    pub(crate) db: Option<PathBuf>,
    /// Whether a database is created that is not there; true unless it is said.
    pub(crate) create: Option<bool>,
    pub(crate) passphrase_file: Option<PathBuf>,
    pub(crate) listen: Option<SocketAddr>,
    pub(crate) synchronous: Option<Synchronous>,
    pub(crate) log_format: Option<LogFormat>,
    pub(crate) server: Options,
}

const KEYS: [&str; 7] = [
    "db",
    "create",
    "passphrase_file",
    "listen",
    "synchronous",
    "log_format",
    "server",
];

impl Config {
    /// # Errors
    /// If it cannot be read, or has a key that there is not, or a value that does not fit.
    pub(crate) fn read(path: &Path) -> Result<Self> {
        let text = std::fs::read_to_string(path)
            .with_context(|| format!("cannot read {}", path.display()))?;
        let mut config = Self::parse(&text).map_err(|reason| {
            Failure::new(Code::BadConfig, format!("{}: {reason}", path.display()))
        })?;
        // Wherever the server is started from.
        let folder = path.parent().unwrap_or(Path::new(""));
        let named = [&mut config.db, &mut config.passphrase_file];
        for file in named.into_iter().flatten() {
            *file = folder.join(&*file);
        }
        Ok(config)
    }

    fn parse(text: &str) -> Result<Self, String> {
        let line = |error: toml::de::Error| {
            let before = error.span().map_or("", |span| &text[..span.start]);
            let line = before.matches('\n').count() + 1;
            format!("line {line}: {}", error.message())
        };
        let table: Table = text.parse().map_err(line)?;
        check_keys("", table.keys(), &KEYS)?;
        if let Some(Value::Table(server)) = table.get("server") {
            let known = Table::try_from(Options::default()).map_err(|e| e.to_string())?;
            let known: Vec<_> = known.keys().map(String::as_str).collect();
            check_keys("server.", server.keys(), &known)?;
        }
        toml::from_str(text).map_err(line)
    }
}

/// Names the first key that there is not, and the one that was probably meant.
fn check_keys<'a>(
    within: &str,
    mut given: impl Iterator<Item = &'a String>,
    known: &[&str],
) -> Result<(), String> {
    let Some(wrong) = given.find(|key| !known.contains(&key.as_str())) else {
        return Ok(());
    };
    let likeness = |known: &str| strsim::jaro_winkler(wrong, known);
    let nearest = known
        .iter()
        .max_by(|a, b| likeness(a).total_cmp(&likeness(b)));
    let said = format!("there is no key {within}{wrong}");
    Err(match nearest.filter(|known| likeness(known) >= ALIKE) {
        Some(nearest) => format!("{said}; did you mean {within}{nearest}?"),
        None => format!("{said}; there are {}", known.join(", ")),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_can_be_set_is_read() {
        let config = Config::parse(
            "db = 'a.db'\nlisten = '127.0.0.1:1'\nsynchronous = 'normal'\nlog_format = 'json'\n\
             [server]\nheartbeat_ms = 500\nallowed_hosts = ['a.b']\n",
        )
        .unwrap();
        assert_eq!(config.synchronous, Some(Synchronous::Normal));
        assert_eq!(config.log_format, Some(LogFormat::Json));
        assert_eq!(config.server.heartbeat_ms, 500);
        assert_eq!(config.server.allowed_hosts, ["a.b"]);
        let rest = Options::default().max_connections;
        assert_eq!(config.server.max_connections, rest);
        assert!(Config::parse("").unwrap().db.is_none());
    }

    #[test]
    fn what_is_wrong_is_named_with_what_was_meant_or_its_line() {
        for (text, said) in [
            (
                "lissten = ''",
                "there is no key lissten; did you mean listen?",
            ),
            (
                "[server]\nhartbeat_ms = 5",
                "there is no key server.hartbeat_ms; did you mean server.heartbeat_ms?",
            ),
            ("zzz = 1", "there is no key zzz; there are db, "),
            // A wrong value is found by its line.
            ("db = 'a'\nlisten = 'here'", "line 2: "),
            ("db = 'a'\ndb", "line 2: "),
            ("[server]\nheartbeat_ms = 'x'", "line 2: "),
        ] {
            let error = Config::parse(text).unwrap_err();
            assert!(error.starts_with(said), "{error}");
        }
    }

    #[test]
    fn the_list_of_keys_is_that_of_the_settings() {
        for key in KEYS {
            let error = toml::from_str::<Config>(&format!("{key} = 7")).unwrap_err();
            assert!(!error.message().contains("unknown field"), "{key}");
        }
    }
}
