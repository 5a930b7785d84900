//! The arguments of `hotread serve` and `hotread token`.

use super::format::FormatArgs;
use super::values::time;
use clap::{Args, Subcommand, ValueEnum, ValueHint};
use hotread_proto::{TableName, Timestamp};
use hotread_store::{Role, Synchronous};
use serde::Deserialize;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

pub(crate) const SERVE_HELP: &str = "\
Settings come from --config, the environment and the command line; what comes later counts. The
file is TOML; paths in it are relative to it:

  db = \"app.db\"
  create = false
  listen = \"127.0.0.1:7400\"
  [server]
  heartbeat_ms = 2000
  allowed_hosts = [\"flags.internal\"]

Without tokens every program on this machine may do everything, and requests that a proxy forwards
are refused. Other machines need tokens and --allow-plaintext, or a proxy that encrypts. Stops at
SIGINT or SIGTERM: what was begun is finished, and clients are told when to come back.

Examples:
  hotread serve --db app.db
  hotread serve --config hotread.toml --log-format json
  # any free port; the first line on stdout says which
  hotread serve --db app.db --listen 127.0.0.1:0";

#[derive(Debug, Args)]
pub(crate) struct ServeArgs {
    /// A file with settings
    #[arg(long, env = "HOTREAD_CONFIG", hide_env_values = true, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub(crate) config: Option<PathBuf>,
    /// Fail if there is no database yet, instead of creating one
    #[arg(long)]
    pub(crate) no_create: bool,
    /// Where to listen [default: 127.0.0.1:7400]
    #[arg(
        long,
        env = "HOTREAD_LISTEN",
        hide_env_values = true,
        value_name = "ADDRESS:PORT"
    )]
    pub(crate) listen: Option<SocketAddr>,
    /// When an acknowledged write is safe [default: full]
    #[arg(
        long,
        env = "HOTREAD_SYNCHRONOUS",
        hide_env_values = true,
        value_name = "WHEN"
    )]
    pub(crate) synchronous: Option<Safe>,
    /// A name that requests may give as Host while there are no tokens, besides localhost and loopback
    /// addresses; may be repeated
    #[arg(
        long = "allowed-host",
        env = "HOTREAD_ALLOWED_HOSTS",
        hide_env_values = true,
        value_name = "HOST",
        value_delimiter = ','
    )]
    pub(crate) allowed_hosts: Option<Vec<String>>,
    /// An origin whose web pages may use the server and read its answers; may be repeated
    #[arg(
        long = "allowed-origin",
        env = "HOTREAD_ALLOWED_ORIGINS",
        hide_env_values = true,
        value_name = "ORIGIN",
        value_delimiter = ','
    )]
    pub(crate) allowed_origins: Option<Vec<String>>,
    /// Let other machines connect though nothing is encrypted; tokens are needed then
    #[arg(long)]
    pub(crate) allow_plaintext: bool,
    /// How logs are written on stderr [default: text]
    #[arg(
        long,
        env = "HOTREAD_LOG_FORMAT",
        hide_env_values = true,
        value_name = "FORMAT"
    )]
    pub(crate) log_format: Option<LogFormat>,
}

/// When an acknowledged write is safe.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Safe {
    /// It survives the loss of power
    Full,
    /// It survives the end of the process; the loss of power may take the last ones
    Normal,
}

impl From<Safe> for Synchronous {
    fn from(safe: Safe) -> Self {
        match safe {
            Safe::Full => Self::Full,
            Safe::Normal => Self::Normal,
        }
    }
}

/// How logs are written.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum LogFormat {
    /// Lines for people
    #[default]
    Text,
    /// A JSON object on each line
    Json,
}

#[derive(Debug, Subcommand)]
pub(crate) enum TokenCmd {
    /// Create a token, and print its secret, which is not kept and cannot be shown again
    #[command(after_help = "\
The first token must be for an admin of all tables, and not expire. From then on a server asks for one
with every request.

Examples:
  hotread token create ops --role admin
  hotread token create api --role read --table flags --table prices
  hotread token create ci --role write --ttl 90d")]
    Create {
        /// Whose it is, for people: A-Z a-z 0-9 . _ -
        name: String,
        /// What it allows; each role may do what those before it may
        #[arg(long, value_name = "read|write|admin")]
        role: Role,
        /// Only for this table; may be repeated
        #[arg(long = "table", value_name = "TABLE")]
        tables: Vec<TableName>,
        /// When the token ends: 2026-12-24 (in UTC), 2026-12-24T18:00:00Z, or milliseconds since 1970
        #[arg(long, value_name = "TIME", conflicts_with = "ttl", value_parser = time)]
        expires_at: Option<Timestamp>,
        /// In how much time the token ends: 12h, 90d
        #[arg(long, value_name = "TIME", value_parser = humantime::parse_duration)]
        ttl: Option<Duration>,
    },
    /// List the tokens, without their secrets
    #[command(
        after_help = "Examples:\n  hotread token list\n  hotread token list --json | jq -r .id"
    )]
    List(FormatArgs),
    /// Revoke a token; a server ends the sessions that were opened with it
    #[command(after_help = "Examples:\n  hotread token revoke 5f3a09c1")]
    Revoke {
        /// Its id, as `hotread token list` shows it
        id: String,
    },
}
