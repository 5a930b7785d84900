//! The settings of `hotread serve`, from the defaults, a file, the environment and the command line.

pub(crate) mod file;
mod setting;

pub(crate) use setting::{Given, Setting, Source};

use crate::args::LogFormat;
use crate::exit::Failure;
use crate::output::escape;
use anyhow::Result;
use file::Problem;
use hotread_proto::Code;
use hotread_server::{Options, Tls};
use hotread_store::Synchronous;
use serde::Deserialize;
use setting::{SERVER, SETTINGS, Set};
use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use toml::{Table, Value};

/// The effective settings, with the types that the server takes.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Config {
    pub(crate) db: Option<PathBuf>,
    pub(crate) create: bool,
    pub(crate) passphrase_file: Option<PathBuf>,
    pub(crate) listen: SocketAddr,
    pub(crate) tls_cert: Option<PathBuf>,
    pub(crate) tls_key: Option<PathBuf>,
    pub(crate) tls_client_ca: Option<PathBuf>,
    pub(crate) synchronous: Synchronous,
    pub(crate) log: String,
    pub(crate) log_format: LogFormat,
    pub(crate) server: Options,
}

impl Config {
    /// Returns the files of TLS, if there are some.
    ///
    /// # Errors
    /// If one is missing without which the others have no effect.
    pub(crate) fn tls(&self) -> Result<Option<Tls>, Failure> {
        if let Some((_, missing)) = incomplete_tls(|key| match key {
            TLS_CERT => self.tls_cert.is_some(),
            TLS_KEY => self.tls_key.is_some(),
            _ => self.tls_client_ca.is_some(),
        }) {
            return Err(Failure::new(Code::BadConfig, missing));
        }
        let (Some(certificate), Some(key)) = (&self.tls_cert, &self.tls_key) else {
            return Ok(None);
        };
        let tls = Tls::from_files(certificate, key);
        Ok(Some(match &self.tls_client_ca {
            Some(path) => tls.client_ca(path),
            None => tls,
        }))
    }
}

const TLS_CERT: &str = "tls_cert";
const TLS_KEY: &str = "tls_key";
const TLS_CLIENT_CA: &str = "tls_client_ca";

/// Returns the setting of TLS that has no effect for want of another one, and what is missing.
fn incomplete_tls(is_given: impl Fn(&str) -> bool) -> Option<(&'static str, &'static str)> {
    match (is_given(TLS_CERT), is_given(TLS_KEY)) {
        (true, true) => None,
        (true, false) => Some((
            TLS_CERT,
            "tls_cert is given without tls_key; give the file of its private key",
        )),
        (false, true) => Some((
            TLS_KEY,
            "tls_key is given without tls_cert; give the file of its certificate",
        )),
        (false, false) => is_given(TLS_CLIENT_CA).then_some((
            TLS_CLIENT_CA,
            "tls_client_ca is given without tls_cert and tls_key; give the server's certificate and its key",
        )),
    }
}

/// The effective settings, each with its source.
#[derive(Debug)]
pub(crate) struct Layers {
    /// The file that was read.
    pub(crate) file: Option<PathBuf>,
    /// A value for each setting, except those that are unset and have no default.
    set: Vec<(String, Value, Source)>,
}

impl Layers {
    /// Reads the file, and applies the given settings on top.
    ///
    /// # Errors
    /// If the file cannot be read, or has a problem.
    pub(crate) fn read(file: Option<&Path>, given: &Given) -> Result<Self> {
        let mut sets: Vec<Set> = SETTINGS
            .iter()
            .filter_map(|setting| Some((setting, setting.default.clone()?, Source::Default)))
            .collect();
        if let Some(path) = file {
            let settings = read(path, false)?.map_err(|problems| wrong(path, &problems))?;
            // Paths in the file are relative to it, not to the working directory.
            let folder = path.parent().unwrap_or(Path::new(""));
            for (setting, value, line) in settings {
                let value = match (&value, setting.is_path()) {
                    (Value::String(path), true) => {
                        folder.join(path).to_string_lossy().as_ref().into()
                    }
                    _ => value,
                };
                sets.push((setting, value, Source::File(line)));
            }
        }
        sets.extend(given.0.iter().cloned());
        let last = |setting: &Setting| {
            let (_, value, source) = sets.iter().rev().find(|(set, ..)| set.key == setting.key)?;
            Some((setting.key.clone(), value.clone(), *source))
        };
        Ok(Self {
            file: file.map(Path::to_owned),
            set: SETTINGS.iter().filter_map(last).collect(),
        })
    }

    /// Returns the settings as the server takes them.
    ///
    /// # Errors
    /// If options of the server conflict, which may come from different sources.
    pub(crate) fn config(&self) -> Result<Config> {
        let (mut table, mut server) = (Table::new(), Table::new());
        for (key, value, _) in &self.set {
            match key.split_once('.') {
                Some((SERVER, name)) => server.insert(name.to_owned(), value.clone()),
                _ => table.insert(key.clone(), value.clone()),
            };
        }
        table.insert(SERVER.to_owned(), server.into());
        let config = table.try_into::<Config>();
        let config = config.map_err(|error| Failure::new(Code::BadConfig, error.message()))?;
        config.server.check()?;
        config.tls()?;
        Ok(config)
    }

    /// Adopts the new values of settings that a running server can change, so that the next reload
    /// compares with the values in use.
    pub(crate) fn take_over(&mut self, new: Self) {
        let stays = |key: &str| Setting::named(key).is_some_and(|setting| !setting.reloads);
        self.set.retain(|(key, ..)| stays(key));
        self.set
            .extend(new.set.into_iter().filter(|(key, ..)| !stays(key)));
        self.file = new.file;
    }

    fn value(&self, setting: &Setting) -> Option<(&Value, Source)> {
        let found = self.set.iter().find(|(key, ..)| *key == setting.key);
        found.map(|(_, value, source)| (value, *source))
    }

    /// Returns the settings whose values differ from those in `before`.
    pub(crate) fn changed(&self, before: &Self) -> Vec<&'static Setting> {
        let value = |layers: &Self, setting: &Setting| {
            let found = layers.value(setting);
            found.map(|(value, _)| value.clone())
        };
        let changed = |setting: &&Setting| value(self, setting) != value(before, setting);
        SETTINGS.iter().filter(changed).collect()
    }

    /// Describes the source of a value; human-readable.
    fn origin(&self, setting: &Setting, source: Source) -> String {
        match source {
            Source::Default => "default".to_owned(),
            Source::Environment => setting.env.clone(),
            Source::Flag => format!("--{}", setting.flag),
            Source::Verbose => "-v".to_owned(),
            Source::File(line) => {
                let path = self.file.as_deref().map(absolute).unwrap_or_default();
                format!("{}:{line}", escape(&path))
            }
        }
    }

    /// Returns each setting with its value, paths made absolute, and its source.
    pub(crate) fn list(&self) -> impl Iterator<Item = (&'static Setting, Option<Value>, String)> {
        SETTINGS.iter().map(|setting| match self.value(setting) {
            None => (setting, None, "not set".to_owned()),
            Some((value, source)) => {
                let origin = self.origin(setting, source);
                let value = match value {
                    Value::String(path) if setting.is_path() => absolute(Path::new(path)).into(),
                    value => value.clone(),
                };
                (setting, Some(value), origin)
            }
        })
    }

    /// Returns these settings as a configuration file, each with a comment that names its source.
    pub(crate) fn to_toml(&self) -> String {
        let mut text =
            String::from("# The effective settings of `hotread serve`, each with its source.\n");
        let mut in_server = false;
        for (setting, value, origin) in self.list() {
            let name = setting
                .key
                .split_once('.')
                .map_or(&*setting.key, |(_, name)| name);
            if name != setting.key && !in_server {
                in_server = true;
                text.push_str(&format!("\n[{SERVER}]\n"));
            }
            match value {
                Some(value) => text.push_str(&format!("{name} = {value}  # {origin}\n")),
                None => text.push_str(&format!("# {name} is {origin}\n")),
            }
        }
        text
    }
}

fn absolute(path: &Path) -> String {
    let absolute = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
    absolute.to_string_lossy().into_owned()
}

type FileSettings = Vec<(&'static Setting, Value, usize)>;

/// Reads the settings of a file, or the problems in it. `alone`: no variable and no flag completes it.
///
/// # Errors
/// If the file cannot be read.
pub(crate) fn read(path: &Path, alone: bool) -> Result<Result<FileSettings, Vec<Problem>>> {
    let text = std::fs::read_to_string(path).map_err(|error| {
        let code = match error.kind() {
            io::ErrorKind::NotFound => Code::NoSuchFile,
            _ => Code::BadConfig,
        };
        let path = path.display();
        let message = format!("cannot read the configuration file {path}: {error}; check the path");
        Failure::new(code, message)
    })?;
    Ok(file::parse(&text, alone))
}

/// Returns an error that names the first problem, and the command that lists the others.
fn wrong(path: &Path, problems: &[Problem]) -> Failure {
    let path = path.display();
    let first = &problems[0];
    let more = match problems.len() - 1 {
        0 => String::new(),
        more => format!("; `hotread config check {path}` lists {more} more"),
    };
    Failure::new(Code::BadConfig, format!("{path}:{first}{more}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn given(key: &str, value: impl Into<Value>) -> Given {
        let setting = Setting::named(key).unwrap();
        Given(vec![(setting, value.into(), Source::Flag)])
    }

    #[test]
    fn what_comes_later_counts() {
        let folder = hotread_testkit::folder();
        let path = folder.path().join("a.toml");
        let text =
            "db = 'a.db'\nsynchronous = 'normal'\n[server]\nheartbeat_ms = 500\ndrain_ms = 7\n";
        std::fs::write(&path, text).unwrap();
        let layers = Layers::read(Some(&path), &given("server.drain_ms", 8)).unwrap();
        let config = layers.config().unwrap();
        assert_eq!(config.db, Some(folder.path().join("a.db")));
        assert_eq!(config.synchronous, Synchronous::Normal);
        assert_eq!(
            (config.server.heartbeat_ms, config.server.drain_ms),
            (500, 8)
        );
        assert_eq!(config.server.rate_burst, Options::default().rate_burst);
        assert_eq!(config.log_format, LogFormat::Text);
        // The printed settings are a file with the same settings.
        let printed = layers.to_toml();
        assert!(
            printed.contains("drain_ms = 8  # --drain-ms\n"),
            "{printed}"
        );
        assert!(printed.contains("a.toml:4\n"), "{printed}");
        assert!(
            printed.contains("# passphrase_file is not set\n"),
            "{printed}"
        );
        let other = folder.path().join("b.toml");
        std::fs::write(&other, &printed).unwrap();
        let again = Layers::read(Some(&other), &Given(Vec::new())).unwrap();
        assert_eq!(again.changed(&layers).len(), 0, "{printed}");
    }

    #[test]
    fn options_of_several_places_are_checked_together() {
        let layers =
            Layers::read(None, &given("server.max_replace_body_bytes", 600 << 20)).unwrap();
        let error = layers.config().unwrap_err().to_string();
        assert!(error.starts_with("max_replace_body_bytes is"), "{error}");
    }
}
