//! Options of a server, with their defaults and their checks.

use crate::access::{Host, is_origin};
use crate::tls::TlsError;
use hotread_proto::Code;
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// An option of a server, for programs that read options from files or command lines.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct OptionInfo {
    /// The field of [`Options`].
    pub name: &'static str,
    /// Description of the field, in lines of Markdown.
    pub doc: &'static str,
    /// `true` if [`ServerHandle::reload`](crate::ServerHandle::reload) applies it to a running server.
    pub reloads: bool,
    /// Minimum and maximum of a number.
    pub range: Option<(u64, u64)>,
}

impl OptionInfo {
    /// Checks a number against the range.
    ///
    /// # Errors
    /// [`OptionsError::TooSmall`] or [`OptionsError::TooLarge`].
    pub fn check(&self, given: u64) -> Result<(), OptionsError> {
        let name = self.name;
        match self.range {
            Some((min, _)) if given < min => Err(OptionsError::TooSmall { name, given, min }),
            Some((_, max)) if given > max => Err(OptionsError::TooLarge { name, given, max }),
            _ => Ok(()),
        }
    }
}

/// Result of giving options to a running server.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Reloaded {
    /// Names of those that changed, and apply from now on.
    pub changed: Vec<&'static str>,
    /// Names of those that differ, and need a new server.
    pub kept: Vec<&'static str>,
}

/// Defines each option once: its description, type, default, whether a running server applies it, and the
/// range of a number.
macro_rules! options {
    ($(
        $(#[doc = $doc:literal])+
        $name:ident: $kind:ty = $default:expr, reloads: $reloads:literal $(, range: $min:expr => $max:expr)?;
    )+) => {
        /// Options of a server. Times end in `_ms` and are in milliseconds.
        ///
        /// Deserialization rejects unknown names.
        #[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
        #[serde(default, deny_unknown_fields)]
        #[non_exhaustive]
        pub struct Options {
            $(
                $(#[doc = $doc])+
                #[doc = concat!("\n\nDefault: `", stringify!($default), "`.")]
                pub $name: $kind,
            )+
        }

        impl Default for Options {
            fn default() -> Self {
                Self { $($name: $default,)+ }
            }
        }

        impl Options {
            /// All options, in the order of the fields.
            pub const ALL: &'static [OptionInfo] = &[$(OptionInfo {
                name: stringify!($name),
                doc: concat!($($doc, "\n"),+),
                reloads: $reloads,
                range: options!(@range $($min => $max)?),
            }),+];

            /// Returns an error for each number that is out of its range.
            fn out_of_range(&self) -> Vec<OptionsError> {
                let mut wrong = Vec::new();
                let mut options = Self::ALL.iter();
                $(
                    let option = options.next();
                    options!(@check wrong, option, self.$name $(, $min)?);
                )+
                wrong
            }

            /// Applies those options of `new` that a running server can change.
            fn take_over(&mut self, new: &Self) -> Reloaded {
                let mut reloaded = Reloaded { changed: Vec::new(), kept: Vec::new() };
                $(
                    if self.$name != new.$name {
                        if $reloads {
                            self.$name.clone_from(&new.$name);
                            reloaded.changed.push(stringify!($name));
                        } else {
                            reloaded.kept.push(stringify!($name));
                        }
                    }
                )+
                reloaded
            }
        }
    };
    (@range) => { None };
    (@range $min:expr => $max:expr) => { Some(($min, $max)) };
    (@check $wrong:ident, $option:ident, $given:expr) => { _ = $option; };
    (@check $wrong:ident, $option:ident, $given:expr, $min:expr) => {
        $wrong.extend($option.and_then(|option| option.check($given as u64).err()));
    };
}

/// Longest time that can be set, in milliseconds: a day.
const MAX_MS: u64 = 24 * 60 * 60 * 1_000;
/// Shortest heartbeat, in milliseconds; a shorter one would itself be the load.
const MIN_HEARTBEAT_MS: u64 = 10;
/// Minimum memory for bodies, in bytes: the largest transaction and a page.
const MIN_BUFFERED: u64 = 64 << 20;
/// Maximum memory for bodies, in bytes: the limit of the counter.
const MAX_BUFFERED: u64 = 1 << 40;
/// Highest rate: an interval is counted in nanoseconds.
const MAX_RATE: u64 = 1_000_000_000;
/// Maximum number that fits the type of an option with 32 bits.
const MAX_U32: u64 = u32::MAX as u64;

options! {
    /// Names or addresses that requests may have as `Host` while the store has no tokens, in addition to
    /// `localhost` and loopback addresses, which are always allowed; an entry with a port allows only that
    /// port. Once there are tokens, any `Host` is answered.
    allowed_hosts: Vec<String> = Vec::new(), reloads: true;
    /// Origins whose web pages may use the server and read its answers, as `https://host` or
    /// `https://host:port`. Only these get CORS headers.
    allowed_origins: Vec<String> = Vec::new(), reloads: true;
    /// Allows unencrypted connections from other machines. Tokens are required as well then, and can be
    /// read in transit. A server with TLS needs no permission, and accepts no unencrypted connection.
    allow_plaintext: bool = false, reloads: false;
    /// Interval at which a silent session or stream of events shows that it is alive. Clients treat three
    /// missed ones as a lost connection. Sessions keep the interval that they began with.
    heartbeat_ms: u64 = 2_000, reloads: true, range: MIN_HEARTBEAT_MS => MAX_MS;
    /// Maximum number of connections at a time; further ones are refused with the reason. At most as many as
    /// the limit of open files allows. Each takes about 20 KiB while it is idle, and a file descriptor.
    max_connections: usize = 4_096, reloads: false, range: 1 => u64::MAX;
    /// Maximum number of connections of one address, or of one /64 of IPv6: half of all, so that one host
    /// cannot lock out the others.
    max_connections_per_peer: usize = 2_048, reloads: false, range: 1 => u64::MAX;
    /// Maximum number of streams of server-sent events at a time, each of which encodes for itself; half of
    /// them for one caller.
    max_event_streams: usize = 256, reloads: false, range: 0 => MAX_U32;
    /// Requests per second that one token, or without a token one address, may make on average: more than
    /// one connection manages, so that it affects mistakes only.
    rate_per_second: u32 = 20_000, reloads: true, range: 1 => MAX_RATE;
    /// Requests that one token, or without a token one address, may make at once.
    rate_burst: u32 = 20_000, reloads: true, range: 1 => MAX_U32;
    /// Longest time that a connection may take to send the headers of a request, or be idle before it.
    head_timeout_ms: u64 = 30_000, reloads: true, range: 1 => MAX_MS;
    /// Longest time for which a peer may receive nothing of what is sent to it, or less than 4 KiB a
    /// second; a link of 20 kB/s is fast enough.
    write_timeout_ms: u64 = 30_000, reloads: true, range: 1 => MAX_MS;
    /// Largest body of a replacement, in bytes: some 400,000 records. It is the whole new content of a
    /// table, and takes three times that in memory, and 400 bytes for each record. At most half of
    /// `max_buffered_bytes`.
    max_replace_body_bytes: usize = 64 << 20, reloads: true, range: 1 => u64::MAX;
    /// Maximum number of records that a replacement may change: those that are new, different or deleted.
    /// They are written in one commit, for which all other writers wait, at 5 to 10 µs each: less than a
    /// second. Unchanged records do not count.
    max_replace_changes: usize = 100_000, reloads: true, range: 1 => u64::MAX;
    /// Memory for all requests, answers, streams and sessions together, in bytes; one caller may take half
    /// of it. It is counted before it is used: bodies and their parsed content until they are committed;
    /// pages and changes, as read and as sent; data that a connection still has to send. Requests beyond it
    /// are refused, with the advice to retry if they can succeed later.
    max_buffered_bytes: usize = 1 << 30, reloads: false, range: MIN_BUFFERED => MAX_BUFFERED;
    /// Longest time that the reads of a request may take in the database: a page, a search, a part of the
    /// history. A longer one is cancelled, because it keeps a core from others.
    max_read_ms: u64 = 2_000, reloads: true, range: 1 => MAX_MS;
    /// Time that requests and sessions have to end once the server was told to stop.
    drain_ms: u64 = 10_000, reloads: true, range: 0 => MAX_MS;
    /// Time within which clients of sessions that end with the server are asked to reconnect; without it,
    /// they would all reconnect at once.
    goodbye_spread_ms: u64 = 2_000, reloads: true, range: 0 => MAX_MS;
}

/// Reason no server can be created: an option, the store, or the files of TLS.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum OptionsError {
    /// The host is neither a name nor an address, with or without a port.
    #[error(
        "allowed_hosts: {host:?} is not a host; give a name or an address, with or without a port"
    )]
    Host {
        /// The given host.
        host: String,
    },
    /// The origin is not valid.
    #[error(
        "allowed_origins: {origin:?} is not an origin; give it as browsers send it, such as \
         https://console.example:8443"
    )]
    Origin {
        /// The given origin.
        origin: String,
    },
    /// The store is read-only, and knows neither its tokens nor its changes.
    #[error("the store was opened read-only, and cannot be served; open it for writing")]
    ReadOnlyStore,
    /// A file of TLS cannot be used.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// The number is below the minimum.
    #[error("{name} is {given}; give at least {min}")]
    TooSmall {
        /// Name of the option.
        name: &'static str,
        /// The given number.
        given: u64,
        /// The minimum.
        min: u64,
    },
    /// The number is above the maximum.
    #[error("{name} is {given}; give at most {max}")]
    TooLarge {
        /// Name of the option.
        name: &'static str,
        /// The given number.
        given: u64,
        /// The maximum.
        max: u64,
    },
}

impl OptionsError {
    /// Returns the name of the wrong option; `None`: the store or a file of TLS is wrong.
    #[must_use]
    pub fn name(&self) -> Option<&'static str> {
        match self {
            Self::Host { .. } => Some("allowed_hosts"),
            Self::Origin { .. } => Some("allowed_origins"),
            Self::TooSmall { name, .. } | Self::TooLarge { name, .. } => Some(name),
            Self::ReadOnlyStore | Self::Tls(_) => None,
        }
    }

    /// Returns the error's stable code.
    #[must_use]
    pub fn code(&self) -> Code {
        match self {
            Self::ReadOnlyStore => Code::ReadOnly,
            Self::Tls(error) => error.code(),
            _ => Code::BadConfig,
        }
    }
}

impl Options {
    /// Checks that a server can run with these options.
    ///
    /// # Errors
    /// The first wrong option.
    pub fn check(&self) -> Result<(), OptionsError> {
        self.problems().into_iter().next().map_or(Ok(()), Err)
    }

    /// Returns an error for each wrong option.
    #[must_use]
    pub fn problems(&self) -> Vec<OptionsError> {
        let hosts = self.allowed_hosts.iter();
        let hosts = hosts.filter(|host| Host::parse(host).is_none());
        let hosts = hosts.map(|host| OptionsError::Host { host: host.clone() });
        let origins = self.allowed_origins.iter();
        let origins = origins.filter(|origin| !is_origin(origin)).cloned();
        let mut wrong: Vec<_> = hosts
            .chain(origins.map(|origin| OptionsError::Origin { origin }))
            .collect();
        wrong.extend(self.out_of_range());
        let max = self.max_buffered_bytes as u64 / 2;
        let given = self.max_replace_body_bytes as u64;
        if given > max {
            let name = "max_replace_body_bytes";
            wrong.push(OptionsError::TooLarge { name, given, max });
        }
        wrong
    }

    /// Applies those options of `new` that a running server can change.
    ///
    /// # Errors
    /// The first option that is wrong in combination with those that are kept; then all are kept.
    pub(crate) fn reload(&mut self, new: &Self) -> Result<Reloaded, OptionsError> {
        let mut merged = self.clone();
        let reloaded = merged.take_over(new);
        merged.check()?;
        *self = merged;
        Ok(reloaded)
    }

    /// Returns the interval of heartbeats.
    #[must_use]
    pub fn heartbeat(&self) -> Duration {
        Duration::from_millis(self.heartbeat_ms)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_that_is_wrong_is_listed() {
        let wrong = Options {
            allowed_hosts: vec!["a b".into(), "ok".into(), "c d".into()],
            drain_ms: u64::MAX,
            heartbeat_ms: 1,
            ..Options::default()
        };
        let names: Vec<_> = wrong
            .problems()
            .iter()
            .filter_map(OptionsError::name)
            .collect();
        let expected = ["allowed_hosts", "allowed_hosts", "heartbeat_ms", "drain_ms"];
        assert_eq!(names, expected);
    }

    #[test]
    fn a_reload_keeps_what_needs_a_new_server_and_takes_nothing_wrong() {
        let mut options = Options::default();
        let mut new = Options {
            rate_burst: 7,
            max_buffered_bytes: 2 << 30,
            ..Options::default()
        };
        let reloaded = options.reload(&new).unwrap();
        assert_eq!(reloaded.changed, ["rate_burst"]);
        assert_eq!(reloaded.kept, ["max_buffered_bytes"]);
        assert_eq!(
            (options.rate_burst, options.max_buffered_bytes),
            (7, 1 << 30)
        );
        // More than half of the memory, which is kept.
        new.max_replace_body_bytes = 700 << 20;
        new.rate_burst = 8;
        assert!(options.reload(&new).is_err());
        assert_eq!(options.rate_burst, 7);
    }
}
