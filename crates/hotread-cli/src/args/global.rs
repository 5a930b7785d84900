//! The options for all commands, and their combination with the environment.

use super::values::duration;
use crate::exit::Failure;
use crate::output::colour::When;
use clap::parser::ValueSource;
use clap::{ArgAction, ArgMatches, Args, ValueHint};
use std::fmt;
use std::path::{Path, PathBuf};
use std::time::Duration;

#[derive(Debug, Args)]
#[command(next_help_heading = "Options for all commands")]
pub(crate) struct Global {
    /// Database file
    #[arg(long, global = true, env = "HOTREAD_DB", value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub(crate) db: Option<PathBuf>,
    /// Server that has the database, instead of --db: 127.0.0.1:7400, http://host:7400, https://host:7400; several
    /// addresses of it are separated by commas
    #[arg(long, global = true, env = "HOTREAD_URL", value_name = "URL", value_hint = ValueHint::Url)]
    pub(crate) url: Option<String>,
    /// Secret of a token, for --url. Other users can see it in the list of processes: prefer the
    /// variable
    #[arg(long, global = true, env = "HOTREAD_TOKEN", value_name = "SECRET")]
    pub(crate) token: Option<Secret>,
    /// File of the authorities, in PEM, that may have issued the certificate of an https server [default: those
    /// of the system]
    #[arg(long, global = true, env = "HOTREAD_TLS_CA", value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub(crate) tls_ca: Option<PathBuf>,
    /// File of the certificate, in PEM, that this command shows to an https server which requires one
    #[arg(long, global = true, env = "HOTREAD_TLS_CLIENT_CERT", value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub(crate) tls_client_cert: Option<PathBuf>,
    /// File of the private key of that certificate, in PEM
    #[arg(long, global = true, env = "HOTREAD_TLS_CLIENT_KEY", value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub(crate) tls_client_key: Option<PathBuf>,
    /// Answer in JSON, errors included
    #[arg(long, global = true)]
    pub(crate) json: bool,
    /// File with the passphrase of sealed tables [default: ask on the terminal]
    #[arg(long, global = true, env = "HOTREAD_PASSPHRASE_FILE", value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub(crate) passphrase_file: Option<PathBuf>,
    /// Use of colour [default: auto, on terminals unless NO_COLOR or CLICOLOR=0 is set]
    #[arg(
        long,
        global = true,
        alias = "colour",
        value_name = "WHEN",
        default_value = "auto",
        hide_default_value = true
    )]
    pub(crate) color: When,
    /// Longest wait for another process that has the database open for writing
    #[arg(long, global = true, value_name = "TIME", default_value = "5s", value_parser = duration)]
    pub(crate) wait: Duration,
    /// Report more on stderr; repeat for more detail. RUST_LOG sets a filter
    #[arg(short, long, global = true, action = ArgAction::Count)]
    pub(crate) verbose: u8,
    /// Options of these that are on the command line.
    #[arg(skip)]
    pub(crate) given: Given,
}

/// Options that are on the command line, as opposed to the environment.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Given {
    db: bool,
    url: bool,
    token: bool,
    /// The first option of TLS that is given.
    tls: Option<&'static str>,
    passphrase_file: bool,
}

impl Given {
    pub(super) fn of(matches: &ArgMatches) -> Self {
        let given = |id: &str| matches.value_source(id) == Some(ValueSource::CommandLine);
        let mut tls = [
            ("tls_ca", "--tls-ca"),
            ("tls_client_cert", "--tls-client-cert"),
            ("tls_client_key", "--tls-client-key"),
        ]
        .into_iter()
        .filter_map(|(id, flag)| given(id).then_some(flag));
        Self {
            db: given("db"),
            url: given("url"),
            token: given("token"),
            tls: tls.next(),
            passphrase_file: given("passphrase_file"),
        }
    }
}

impl Global {
    /// Returns the paths among a server's settings that were given, with their keys; `true` marks those
    /// of the command line.
    pub(crate) fn paths(&self) -> impl Iterator<Item = (&'static str, &Path, bool)> {
        let given = self.given;
        let paths = [
            ("db", self.db.as_deref(), given.db),
            (
                "passphrase_file",
                self.passphrase_file.as_deref(),
                given.passphrase_file,
            ),
        ];
        let said = |(key, path, given)| Some((key, Option::<&Path>::filter(path, is_said)?, given));
        paths.into_iter().filter_map(said)
    }
}

/// Returns the name of a database that programs with SQLite would not open as a file of this name.
fn of_sqlite(path: &Path) -> Option<&str> {
    path.to_str()
        .filter(|name| *name == ":memory:" || name.starts_with("file:"))
}

/// Returns `true` if a path is given: an empty one, as by `--db "$UNSET"`, is not.
fn is_said(path: &&Path) -> bool {
    !path.as_os_str().is_empty()
}

/// Returns `true` if the scheme of an address is one of TLS.
fn asks_for_tls(url: &str) -> bool {
    let scheme = url.split_once("://").map(|(scheme, _)| scheme);
    scheme.is_some_and(|scheme| {
        ["https", "wss"]
            .iter()
            .any(|tls| scheme.eq_ignore_ascii_case(tls))
    })
}

/// Files of TLS with a server.
#[derive(Debug, Clone, Default)]
pub(crate) struct TlsFiles {
    /// Authorities of servers; `None`: those of the system.
    pub(crate) ca: Option<PathBuf>,
    /// This command's own certificate, and its key.
    pub(crate) identity: Option<(PathBuf, PathBuf)>,
}

/// Text that is never shown.
#[derive(Clone)]
pub(crate) struct Secret(String);

impl Secret {
    pub(crate) fn reveal(&self) -> &str {
        &self.0
    }
}

impl From<String> for Secret {
    fn from(text: String) -> Self {
        Self(text)
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(…)")
    }
}

/// Resource that a command works on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Needs {
    /// A database that it opens itself.
    File,
    /// A server.
    Server,
    /// Either of the two.
    Tables,
    Nothing,
}

/// Location of a command's tables.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Place {
    File(PathBuf),
    Server(String),
    /// The location was not given.
    Unsaid,
}

impl Global {
    /// Returns the location of a command's tables. The command line takes precedence over the
    /// environment.
    ///
    /// # Errors
    /// If the options conflict with each other or with the command.
    pub(crate) fn place(&self, needs: Needs) -> Result<Place, Failure> {
        let Given { db, url, .. } = self.given;
        let said = |what: &str| Err(Failure::usage(what));
        let file = self.db.clone().filter(|path| !path.as_os_str().is_empty());
        let server = self.url.clone().filter(|url| !url.is_empty());
        // After `--db "$UNSET"`, falling back to the environment would be wrong.
        if db && file.is_none() {
            return said("--db is empty; name the database");
        }
        if url && server.is_none() {
            return said("--url is empty; give the server's address");
        }
        if let Some(name) = file.as_deref().and_then(of_sqlite) {
            let message = format!(
                "{name} is how SQLite names a database that is not at this path; a database is a file here: \
                 give its path, such as app.db"
            );
            return said(&message);
        }
        let place = match (needs, file, server) {
            (Needs::Nothing, ..) => return Ok(Place::Unsaid),
            (Needs::File, ..) if url => {
                return said(
                    "this works on the database itself, and not through a server; leave --url out, \
                     and give --db FILE",
                );
            }
            (Needs::Server, ..) if db => {
                return said(
                    "this asks a server; `hotread serve --db FILE` starts one, and says which URL \
                     to give with --url",
                );
            }
            (Needs::Tables, ..) if db && url => {
                return said("--db and --url are both given; omit one of them");
            }
            (Needs::Tables, Some(_), Some(_)) if db == url => {
                return said(
                    "HOTREAD_DB and HOTREAD_URL are both set; give --db or --url to say which is \
                     meant",
                );
            }
            (Needs::File, Some(file), _) => Place::File(file),
            (Needs::Server, _, Some(server)) => Place::Server(server),
            (Needs::Tables, Some(file), server) if db || server.is_none() => Place::File(file),
            (Needs::Tables, _, Some(server)) => Place::Server(server),
            _ => Place::Unsaid,
        };
        match place {
            Place::Server(_) if self.given.passphrase_file => said(
                "a server has its own passphrase; leave --passphrase-file out, or give --db FILE",
            ),
            Place::Server(url) => match self.given.tls {
                Some(flag) if !asks_for_tls(&url) => Err(Failure::usage(format!(
                    "{flag} is for a server that speaks TLS; give its address as https://HOST:PORT, or leave \
                     {flag} out"
                ))),
                _ => Ok(Place::Server(url)),
            },
            _ if self.given.token => {
                said("a token is for a server; leave --token out, or give --url URL")
            }
            place => match self.given.tls {
                Some(flag) => Err(Failure::usage(format!(
                    "{flag} is for a server's address; leave it out, or give --url https://HOST:PORT"
                ))),
                None => Ok(place),
            },
        }
    }

    /// Returns the files of TLS with the server of this address; variables are for servers that speak TLS, and
    /// others do not use them.
    ///
    /// # Errors
    /// If a certificate is given without its key, or the reverse.
    pub(crate) fn tls(&self, url: &str) -> Result<TlsFiles, Failure> {
        if !asks_for_tls(url) {
            return Ok(TlsFiles::default());
        }
        let path = |path: &Option<PathBuf>| path.clone().filter(|path| is_said(&path.as_path()));
        let identity = match (path(&self.tls_client_cert), path(&self.tls_client_key)) {
            (Some(certificate), Some(key)) => Some((certificate, key)),
            (None, None) => None,
            (Some(_), None) => {
                return Err(Failure::usage(
                    "the certificate's private key is missing; give --tls-client-key FILE, or set \
                     HOTREAD_TLS_CLIENT_KEY",
                ));
            }
            (None, Some(_)) => {
                return Err(Failure::usage(
                    "the key's certificate is missing; give --tls-client-cert FILE, or set \
                     HOTREAD_TLS_CLIENT_CERT",
                ));
            }
        };
        let ca = path(&self.tls_ca);
        Ok(TlsFiles { ca, identity })
    }

    /// Returns the token, if one is given.
    pub(crate) fn token(&self) -> Option<Secret> {
        self.token
            .clone()
            .filter(|token| !token.reveal().is_empty())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DB: u8 = 1;
    const URL: u8 = 2;

    fn global(set: u8, given: u8) -> Global {
        Global {
            db: (set & DB > 0).then(|| "a.db".into()),
            url: (set & URL > 0).then(|| "http://a".to_owned()),
            token: None,
            tls_ca: None,
            tls_client_cert: None,
            tls_client_key: None,
            json: false,
            color: When::Auto,
            wait: Duration::ZERO,
            passphrase_file: None,
            verbose: 0,
            given: Given {
                db: given & DB > 0,
                url: given & URL > 0,
                ..Given::default()
            },
        }
    }

    #[test]
    fn the_command_line_counts_more_than_the_environment() {
        use Needs::{File, Nothing, Server, Tables};
        let place = |needs, set, given| match global(set, given).place(needs) {
            Ok(Place::File(_)) => "file",
            Ok(Place::Server(_)) => "server",
            Ok(Place::Unsaid) => "unsaid",
            Err(_) => "wrong",
        };
        for (needs, set, given, expected) in [
            (Tables, 0, 0, "unsaid"),
            (Tables, DB, 0, "file"),
            (Tables, URL, 0, "server"),
            (Tables, DB | URL, 0, "wrong"),
            (Tables, DB | URL, DB, "file"),
            (Tables, DB | URL, URL, "server"),
            (Tables, DB | URL, DB | URL, "wrong"),
            (File, DB | URL, 0, "file"),
            (File, URL, 0, "unsaid"),
            (File, DB | URL, URL, "wrong"),
            (Server, DB | URL, 0, "server"),
            (Server, DB, 0, "unsaid"),
            (Server, DB | URL, DB, "wrong"),
            (Nothing, DB | URL, DB | URL, "unsaid"),
        ] {
            let case = format!("{needs:?} set {set} given {given}");
            assert_eq!(place(needs, set, given), expected, "{case}");
        }
    }

    #[test]
    fn an_option_that_is_empty_is_not_the_environment() {
        let mut global = global(DB | URL, DB);
        global.db = Some(PathBuf::new());
        assert!(global.place(Needs::Tables).is_err());
    }

    #[test]
    fn files_of_tls_are_for_addresses_with_tls() {
        let mut global = global(URL, 0);
        global.tls_ca = Some("ca.pem".into());
        let ca = |global: &Global, url| global.tls(url).ok().map(|files| files.ca.is_some());
        for (url, uses) in [
            ("https://a", true),
            ("WSS://a", true),
            ("http://a", false),
            ("a:7400", false),
            ("https.example:80", false),
        ] {
            assert_eq!(ca(&global, url), Some(uses), "{url}");
        }
        global.tls_client_cert = Some("a.pem".into());
        assert_eq!(ca(&global, "https://a"), None, "the key is missing");
        global.tls_client_key = Some("a.key".into());
        assert_eq!(ca(&global, "https://a"), Some(true));
        global.tls_client_cert = Some(PathBuf::new());
        assert_eq!(ca(&global, "https://a"), None, "the certificate is missing");
    }

    #[test]
    fn a_secret_is_not_shown() {
        let secret = Secret::from("hr_1".to_owned());
        assert!(!format!("{secret:?}").contains("hr_1"));
    }
}
