//! How a server is run: what can be set, with defaults, and what is wrong with a setting.

use crate::access::{Host, is_origin};
use hotread_proto::Code;
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// How a server is run. Times end in `_ms` and are in milliseconds.
///
/// Read from a configuration file, it names what it does not know.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[non_exhaustive]
pub struct Options {
    /// Names or addresses that requests may name as `Host` as long as the store has no tokens, besides
    /// `localhost` and loopback addresses, which always may; with a port, only with that port. None.
    /// Once there are tokens, any `Host` is answered.
    pub allowed_hosts: Vec<String>,
    /// Origins whose web pages may use the server and read its answers, as `https://host` or
    /// `https://host:port`. None. Only these get CORS headers.
    pub allowed_origins: Vec<String>,
    /// May others than this machine connect, though nothing is encrypted? No. Tokens are needed as
    /// well then, and can be read by whoever is on the way.
    pub allow_plaintext: bool,
    /// How often a session or a stream of events that has nothing to say says that it is alive.
    /// 2 s: clients take three missed ones for a lost connection.
    pub heartbeat_ms: u64,
    /// Most connections at a time; what comes beyond is told so and closed. 4,096, or as many as the
    /// soft limit of open files allows (see [`raise_file_limit`](crate::raise_file_limit)). Each takes
    /// about 20 KiB while it is idle, and a file descriptor.
    pub max_connections: usize,
    /// Most connections of one address, or of one /64 of IPv6. 2,048: one host cannot keep the
    /// others out.
    pub max_connections_per_peer: usize,
    /// Most streams of server-sent events at a time, each of which encodes for itself; half of them for
    /// one caller. 256.
    pub max_event_streams: usize,
    /// Requests per second that one token, or without a token one address, may make on average.
    /// 20,000: more than one connection manages, so that it is met by mistakes.
    pub rate_per_second: u32,
    /// Requests that it may make at once. 20,000.
    pub rate_burst: u32,
    /// How long a connection may take for the head of a request, and be idle before it. 30 s.
    pub head_timeout_ms: u64,
    /// How long a peer may take in nothing of what is sent to it. 30 s. For long it may take in less than
    /// 4 KiB a second only as long as that; a link of 20 kB/s is served.
    pub write_timeout_ms: u64,
    /// Largest body of a replacement, in bytes. 64 MiB: some 400,000 records. It is the whole new content
    /// of a table, and takes three times that in memory, and 400 bytes for each record.
    pub max_replace_body_bytes: usize,
    /// Most records that a replacement may change: those that are new, different or gone. 100,000: they are
    /// written in one commit, for which all other writers wait, at 5 to 10 µs each: less than a second.
    /// What stays as it is does not count.
    pub max_replace_changes: usize,
    /// What requests, answers, streams and sessions may take in memory together, in bytes. 1 GiB; one
    /// caller may take half of it. Counted before it is taken: bodies, and what becomes of them until it
    /// is committed; pages and changes, as they are read and as they are sent; what a connection still
    /// has to send. What finds no room is told to come again, and what never will, so.
    pub max_buffered_bytes: usize,
    /// How long what a request reads may take in the database: a page, a search, a part of the history.
    /// 2 s: what takes longer is ended, since it keeps a core from others.
    pub max_read_ms: u64,
    /// How long requests and sessions may go on once the server was told to stop. 10 s.
    pub drain_ms: u64,
    /// Within which time clients of sessions that end with the server are asked to come back. 2 s:
    /// they would all come at once.
    pub goodbye_spread_ms: u64,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            allowed_hosts: Vec::new(),
            allowed_origins: Vec::new(),
            allow_plaintext: false,
            heartbeat_ms: 2_000,
            max_connections: 4_096,
            max_connections_per_peer: 2_048,
            max_event_streams: 256,
            rate_per_second: 20_000,
            rate_burst: 20_000,
            head_timeout_ms: 30_000,
            write_timeout_ms: 30_000,
            max_replace_body_bytes: 64 << 20,
            max_replace_changes: 100_000,
            max_buffered_bytes: 1 << 30,
            max_read_ms: 2_000,
            drain_ms: 10_000,
            goodbye_spread_ms: 2_000,
        }
    }
}

/// Why no server can be made: a setting, or the store.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum OptionsError {
    /// It is no name, no address, and neither with a port.
    #[error(
        "allowed_hosts: {host:?} is no host; give a name or an address, if need be with a port"
    )]
    Host {
        /// What was given.
        host: String,
    },
    /// It is no origin.
    #[error(
        "allowed_origins: {origin:?} is no origin; give it as browsers send it, such as \
         https://console.example:8443"
    )]
    Origin {
        /// What was given.
        origin: String,
    },
    /// A store that only reads knows neither its tokens nor its changes.
    #[error("the store was opened read-only, and cannot be served; open it for writing")]
    ReadOnlyStore,
    /// It is too small for anything to work.
    #[error("{name} is {given}; give at least {min}")]
    TooSmall {
        /// The setting.
        name: &'static str,
        /// What was given.
        given: u64,
        /// The least that works.
        min: u64,
    },
    /// It is too large for what it is counted with.
    #[error("{name} is {given}; give at most {max}")]
    TooLarge {
        /// The setting.
        name: &'static str,
        /// What was given.
        given: u64,
        /// The most that works.
        max: u64,
    },
}

impl OptionsError {
    /// The error's stable code.
    #[must_use]
    pub fn code(&self) -> Code {
        match self {
            Self::ReadOnlyStore => Code::ReadOnly,
            _ => Code::BadConfig,
        }
    }
}

/// Longest time that can be set, in milliseconds: a day.
const MAX_MS: u64 = 24 * 60 * 60 * 1_000;
/// Shortest heartbeat, in milliseconds: below that, it is the load.
const MIN_HEARTBEAT_MS: u64 = 10;
/// Least memory for bodies, in bytes: the largest transaction and a page.
const MIN_BUFFERED: u64 = 64 << 20;
/// Most memory for bodies, in bytes: as far as it can be counted.
const MAX_BUFFERED: u64 = 1 << 40;
/// Highest rate: an interval is counted in nanoseconds.
const MAX_RATE: u64 = 1_000_000_000;

impl Options {
    /// Can a server be run with these?
    ///
    /// # Errors
    /// The first setting that is wrong.
    pub fn check(&self) -> Result<(), OptionsError> {
        if let Some(host) = self.allowed_hosts.iter().find(|h| Host::parse(h).is_none()) {
            return Err(OptionsError::Host { host: host.clone() });
        }
        if let Some(origin) = self.allowed_origins.iter().find(|o| !is_origin(o)) {
            let origin = origin.clone();
            return Err(OptionsError::Origin { origin });
        }
        let check = |name, given, min, max| match given {
            _ if given < min => Err(OptionsError::TooSmall { name, given, min }),
            _ if given > max => Err(OptionsError::TooLarge { name, given, max }),
            _ => Ok(()),
        };
        macro_rules! within {
            ($($name:ident: $min:expr, $max:expr;)*) => {
                $(check(stringify!($name), self.$name as u64, $min, $max)?;)*
            };
        }
        within! {
            heartbeat_ms: MIN_HEARTBEAT_MS, MAX_MS;
            max_connections: 1, u64::MAX;
            max_connections_per_peer: 1, u64::MAX;
            max_event_streams: 0, u64::from(u32::MAX);
            rate_per_second: 1, MAX_RATE;
            rate_burst: 1, u64::MAX;
            head_timeout_ms: 1, MAX_MS;
            write_timeout_ms: 1, MAX_MS;
            max_buffered_bytes: MIN_BUFFERED, MAX_BUFFERED;
            max_replace_body_bytes: 1, self.max_buffered_bytes as u64 / 2;
            max_read_ms: 1, MAX_MS;
            max_replace_changes: 1, u64::MAX;
            drain_ms: 0, MAX_MS;
            goodbye_spread_ms: 0, MAX_MS;
        }
        Ok(())
    }

    /// How often to show life.
    #[must_use]
    pub fn heartbeat(&self) -> Duration {
        Duration::from_millis(self.heartbeat_ms)
    }
}
