//! How a server is run: what can be set, with defaults, and what is wrong with a setting.

use crate::access::{Host, is_origin};
use hotread_proto::Code;
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// An option of a server, for programs that read options from files or command lines.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct OptionInfo {
    /// The field of [`Options`].
    pub name: &'static str,
    /// The field's description, in lines of Markdown.
    pub doc: &'static str,
    /// Whether [`ServerHandle::reload`](crate::ServerHandle::reload) applies it to a running server.
    pub reloads: bool,
    /// The least and the most that is accepted, of numbers.
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

/// Options that a running server was given.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Reloaded {
    /// Names of those that differ from before, and apply from now on.
    pub changed: Vec<&'static str>,
    /// Names of those that differ from before, and need a new server.
    pub kept: Vec<&'static str>,
}

/// Defines each option once: its description, type, default, whether a running server takes it over, and
/// the range of a number.
macro_rules! options {
    ($(
        $(#[doc = $doc:literal])+
        $name:ident: $kind:ty = $default:expr, reloads: $reloads:literal $(, range: $min:expr => $max:expr)?;
    )+) => {
        /// How a server is run. Times end in `_ms` and are in milliseconds.
        ///
        /// Read from a configuration file, it names what it does not know.
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

            /// Numbers that are out of their range.
            fn out_of_range(&self) -> Vec<OptionsError> {
                let mut wrong = Vec::new();
                let mut options = Self::ALL.iter();
                $(
                    let option = options.next();
                    options!(@check wrong, option, self.$name $(, $min)?);
                )+
                wrong
            }

            /// Applies what differs in `new` as far as a running server can.
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
/// Shortest heartbeat, in milliseconds: below that, it is the load.
const MIN_HEARTBEAT_MS: u64 = 10;
/// Least memory for bodies, in bytes: the largest transaction and a page.
const MIN_BUFFERED: u64 = 64 << 20;
/// Most memory for bodies, in bytes: as far as it can be counted.
const MAX_BUFFERED: u64 = 1 << 40;
/// Highest rate: an interval is counted in nanoseconds.
const MAX_RATE: u64 = 1_000_000_000;
/// Largest number that fits the type of an option with 32 bits.
const MAX_U32: u64 = u32::MAX as u64;

options! {
    /// Names or addresses that requests may name as `Host` as long as the store has no tokens, besides
    /// `localhost` and loopback addresses, which always may; with a port, only with that port. Once there
    /// are tokens, any `Host` is answered.
    allowed_hosts: Vec<String> = Vec::new(), reloads: true;
    /// Origins whose web pages may use the server and read its answers, as `https://host` or
    /// `https://host:port`. Only these get CORS headers.
    allowed_origins: Vec<String> = Vec::new(), reloads: true;
    /// Lets other machines connect although nothing is encrypted. Tokens are needed as well then, and
    /// can be read on the way.
    allow_plaintext: bool = false, reloads: false;
    /// Interval at which a session or a stream of events that has nothing to say shows that it is alive.
    /// Clients take three missed ones for a lost connection. Sessions keep the one that they began with.
    heartbeat_ms: u64 = 2_000, reloads: true, range: MIN_HEARTBEAT_MS => MAX_MS;
    /// Most connections at a time; further ones are told so and closed. At most as many as the limit of
    /// open files allows. Each takes about 20 KiB while it is idle, and a file descriptor.
    max_connections: usize = 4_096, reloads: false, range: 1 => u64::MAX;
    /// Most connections of one address, or of one /64 of IPv6: half of all, so that one host cannot keep
    /// the others out.
    max_connections_per_peer: usize = 2_048, reloads: false, range: 1 => u64::MAX;
    /// Most streams of server-sent events at a time, each of which encodes for itself; half of them for
    /// one caller.
    max_event_streams: usize = 256, reloads: false, range: 0 => MAX_U32;
    /// Requests per second that one token, or without a token one address, may make on average: more than
    /// one connection manages, so that only mistakes meet it.
    rate_per_second: u32 = 20_000, reloads: true, range: 1 => MAX_RATE;
    /// Requests that one token, or without a token one address, may make at once.
    rate_burst: u32 = 20_000, reloads: true, range: 1 => MAX_U32;
    /// Longest time that a connection may take for the head of a request, and be idle before it.
    head_timeout_ms: u64 = 30_000, reloads: true, range: 1 => MAX_MS;
    /// Longest time that a peer may take in nothing of what is sent to it, or less than 4 KiB a second of
    /// it; a link of 20 kB/s is served.
    write_timeout_ms: u64 = 30_000, reloads: true, range: 1 => MAX_MS;
    /// Largest body of a replacement, in bytes: some 400,000 records. It is the whole new content of a
    /// table, and takes three times that in memory, and 400 bytes for each record. At most half of
    /// `max_buffered_bytes`.
    max_replace_body_bytes: usize = 64 << 20, reloads: true, range: 1 => u64::MAX;
    /// Most records that a replacement may change: those that are new, different or gone. They are
    /// written in one commit, for which all other writers wait, at 5 to 10 µs each: less than a second.
    /// Records that stay as they are do not count.
    max_replace_changes: usize = 100_000, reloads: true, range: 1 => u64::MAX;
    /// Memory that requests, answers, streams and sessions may take together, in bytes; one caller may
    /// take half of it. Counted before it is taken: bodies, and what becomes of them until it is
    /// committed; pages and changes, as they are read and as they are sent; what a connection still has to
    /// send. Requests that find no room are told to come again; those that never will, so.
    max_buffered_bytes: usize = 1 << 30, reloads: false, range: MIN_BUFFERED => MAX_BUFFERED;
    /// Longest time that the reads of a request may take in the database: a page, a search, a part of the
    /// history. A longer one is ended, since it keeps a core from others.
    max_read_ms: u64 = 2_000, reloads: true, range: 1 => MAX_MS;
    /// Time that requests and sessions have to end once the server was told to stop.
    drain_ms: u64 = 10_000, reloads: true, range: 0 => MAX_MS;
    /// Time within which clients of sessions that end with the server are asked to come back: without it,
    /// they would all come at once.
    goodbye_spread_ms: u64 = 2_000, reloads: true, range: 0 => MAX_MS;
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
    /// The option that is wrong, unless it is the store.
    #[must_use]
    pub fn name(&self) -> Option<&'static str> {
        match self {
            Self::Host { .. } => Some("allowed_hosts"),
            Self::Origin { .. } => Some("allowed_origins"),
            Self::TooSmall { name, .. } | Self::TooLarge { name, .. } => Some(name),
            Self::ReadOnlyStore => None,
        }
    }

    /// The error's stable code.
    #[must_use]
    pub fn code(&self) -> Code {
        match self {
            Self::ReadOnlyStore => Code::ReadOnly,
            _ => Code::BadConfig,
        }
    }
}

impl Options {
    /// Can a server be run with these?
    ///
    /// # Errors
    /// The first setting that is wrong.
    pub fn check(&self) -> Result<(), OptionsError> {
        self.problems().into_iter().next().map_or(Ok(()), Err)
    }

    /// Returns all settings that are wrong.
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

    /// Applies what differs in `new` as far as a running server can.
    ///
    /// # Errors
    /// The first setting that is wrong together with those that stay; then all stay.
    pub(crate) fn reload(&mut self, new: &Self) -> Result<Reloaded, OptionsError> {
        let mut merged = self.clone();
        let reloaded = merged.take_over(new);
        merged.check()?;
        *self = merged;
        Ok(reloaded)
    }

    /// How often to show life.
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
        // More than half of the memory that stays.
        new.max_replace_body_bytes = 700 << 20;
        new.rate_burst = 8;
        assert!(options.reload(&new).is_err());
        assert_eq!(options.rate_burst, 7);
    }
}
