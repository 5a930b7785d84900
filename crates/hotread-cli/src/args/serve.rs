//! The arguments of `hotread serve`, `hotread config` and `hotread token`. The flags of the settings are
//! made from `config/setting.rs`.

use super::format::FormatArgs;
use super::values::{duration, time};
use crate::config::Given;
use clap::{Args, Subcommand, ValueHint};
use hotread_proto::{TableName, Timestamp};
use hotread_store::Role;
use serde::Deserialize;
use std::path::PathBuf;
use std::time::Duration;

pub(crate) const SERVE_HELP: &str = "\
Settings come from a file, the environment and the command line; later ones take precedence. The file is
that of --config, or hotread.toml in this folder; paths in it are relative to it:

  db = \"app.db\"
  create = false
  listen = \"127.0.0.1:7400\"
  [server]
  heartbeat_ms = 2000
  allowed_hosts = [\"flags.internal\"]

On SIGHUP the server reads the file again: the log, limits, times, hosts and origins change without an
interruption. Settings that need a restart are named in the log, and a file with a mistake changes nothing.
The files of --tls-cert, --tls-key and --tls-client-ca are read again as well, and whenever they change.

Without tokens every program on this machine may do everything, and requests that a proxy forwards
are refused. Other machines need tokens, and TLS, --allow-plaintext or a proxy that encrypts. SIGINT and
SIGTERM stop the server: work under way is finished, and clients are told when to come back.

Examples:
  hotread serve --db app.db
  hotread serve --config hotread.toml --log-format json
  hotread serve --db app.db --listen 0.0.0.0:7400 --tls-cert server.pem --tls-key server.key
  hotread serve --print-config > hotread.toml
  # any free port; the first line on stdout says which
  hotread serve --db app.db --listen 127.0.0.1:0";

#[derive(Debug, Args)]
pub(crate) struct ServeArgs {
    /// File with settings [default: hotread.toml, if it is in this folder]
    #[arg(long, env = "HOTREAD_CONFIG", value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub(crate) config: Option<PathBuf>,
    /// Print the effective settings and their sources, as a file, instead of serving
    #[arg(long)]
    pub(crate) print_config: bool,
    #[command(flatten)]
    pub(crate) given: Given,
}

/// Format of the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum LogFormat {
    /// Human-readable lines.
    Text,
    /// A JSON object per line.
    Json,
}

#[derive(Debug, Subcommand)]
pub(crate) enum ConfigCmd {
    /// Check a configuration file of `hotread serve`, and list every problem with its line
    #[command(after_help = "\
Keys, types and ranges are checked, without variables and flags; files and addresses in it need not exist.
The exit code is 5 if there are problems.

Examples:
  hotread config check
  hotread config check /etc/hotread.toml --json")]
    Check {
        /// The file [default: that of HOTREAD_CONFIG, or hotread.toml in this folder]
        #[arg(env = "HOTREAD_CONFIG", hide_env = true, value_hint = ValueHint::FilePath)]
        file: Option<PathBuf>,
    },
}

#[derive(Debug, Subcommand)]
pub(crate) enum TokenCmd {
    /// Create a token, and print its secret, which is not kept and cannot be shown again
    #[command(after_help = "\
The first token must have the role admin for all tables, and not expire. From then on a server requires a
token with every request.

A table that is named with --table need not exist yet; stderr names those that do not.

Examples:
  hotread token create ops --role admin
  hotread token create api --role read --table flags --table prices
  hotread token create ci --role write --ttl 90d")]
    Create {
        /// Name of its holder, of A-Z a-z 0-9 . _ -
        name: String,
        /// Permissions; each role includes those before it
        #[arg(long, value_name = "read|write|admin")]
        role: Role,
        /// Only for this table; may be repeated
        #[arg(long = "table", value_name = "TABLE")]
        tables: Vec<TableName>,
        /// Expiry time: 2026-12-24 (in UTC), 2026-12-24T18:00:00Z, or milliseconds since 1970
        #[arg(long, value_name = "TIME", conflicts_with = "ttl", value_parser = time)]
        expires_at: Option<Timestamp>,
        /// Time until the token expires: 12h, 90d
        #[arg(long, value_name = "TIME", value_parser = duration)]
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
        /// Id of the token, as `hotread token list` shows it
        id: String,
    },
}
