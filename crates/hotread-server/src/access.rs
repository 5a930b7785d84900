//! Rules that hold on every route, before anything else of a request is examined.
//!
//! Every web page that runs on the same machine can reach a server on loopback. A page cannot choose the
//! `Host` that its browser sends (except by DNS rebinding, which the `Host` reveals), nor omit the
//! `Origin`, nor send JSON to another origin without a preflight: hence these rules. A proxy on the same
//! machine makes the network look like loopback: while there are no tokens, requests with a sign of having
//! been forwarded are refused. Once there are tokens, the protection is a secret that no page has, and any
//! `Host` is answered.

use crate::error::Failure;
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderName, HeaderValue, Version, header};
use hotread_proto::Code;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};

/// A `Host`, of a request or in the list of allowed ones.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Host {
    /// Name in lower case, or an address in its canonical form.
    name: String,
    /// Port; `None`: not given, or any.
    port: Option<u16>,
}

impl Host {
    /// Parses `name`, `name:port`, `address` or `[address]:port`.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let (name, port) = match text.strip_prefix('[') {
            Some(rest) => {
                let (address, port) = rest.split_once(']')?;
                (address.parse::<Ipv6Addr>().ok()?.to_string(), port)
            }
            None => {
                let (name, port) = text.split_at(text.find(':').unwrap_or(text.len()));
                let allowed = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'-' | b'_');
                if name.is_empty() || !name.bytes().all(allowed) {
                    return None;
                }
                (name.to_ascii_lowercase(), port)
            }
        };
        let port = match port.strip_prefix(':') {
            Some(digits) if digits.bytes().all(|b| b.is_ascii_digit()) => {
                Some(digits.parse().ok()?)
            }
            None if port.is_empty() => None,
            _ => return None,
        };
        Some(Self { name, port })
    }

    fn is_loopback(&self) -> bool {
        let address = || self.name.parse::<IpAddr>();
        self.name == "localhost" || address().is_ok_and(|it| it.to_canonical().is_loopback())
    }

    /// Returns `true` if `asked` is allowed, whose port without a number is that of its scheme. An entry
    /// without a port allows any port.
    fn allows(&self, asked: &Self, port_of_scheme: u16) -> bool {
        let asked_port = asked.port.unwrap_or(port_of_scheme);
        self.name == asked.name && self.port.is_none_or(|port| port == asked_port)
    }
}

/// Returns `true` for an origin: `scheme://host` or `scheme://host:port`, as browsers write it.
pub(crate) fn is_origin(text: &str) -> bool {
    let Some((scheme, host)) = text.split_once("://") else {
        return false;
    };
    let lower = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || matches!(b, b'+' | b'-');
    !scheme.is_empty()
        && scheme.bytes().all(lower)
        && !host.bytes().any(|b| b.is_ascii_uppercase())
        && Host::parse(host).is_some()
}

/// Ports that a `Host` leaves out.
const HTTP_PORT: u16 = 80;
const HTTPS_PORT: u16 = 443;

/// Check of a request's `Host`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Hosts {
    /// No check: the route reveals nothing, and probes use any name.
    Unread,
    /// A `Host` is required, unless the request is older than the header; tokens are the protection.
    Any,
    /// A `Host` is required, and must be loopback or listed.
    Listed,
}

/// Hosts and origins whose requests are answered.
#[derive(Debug)]
pub(crate) struct Allowed {
    hosts: Vec<Host>,
    origins: Vec<String>,
    /// Port of a `Host` without one.
    port: u16,
}

impl Allowed {
    /// Creates the lists from options that were checked, for a server with or without TLS.
    pub(crate) fn new(hosts: &[String], origins: &[String], has_tls: bool) -> Self {
        Self {
            port: if has_tls { HTTPS_PORT } else { HTTP_PORT },
            hosts: hosts.iter().filter_map(|host| Host::parse(host)).collect(),
            origins: origins.to_vec(),
        }
    }

    /// Checks host and origin.
    pub(crate) fn check(&self, request: &Parts, hosts: Hosts) -> Result<(), Failure> {
        if hosts != Hosts::Unread {
            self.check_host(request, hosts)?;
        }
        self.check_origin(&request.headers)
    }

    fn check_host(&self, request: &Parts, hosts: Hosts) -> Result<(), Failure> {
        let refused = |message| Failure::new(Code::HostNotAllowed, message);
        let unclear = || refused("the request must have exactly one Host");
        let asked = one(&request.headers, &header::HOST).map_err(|()| unclear())?;
        if hosts == Hosts::Any && (asked.is_some() || request.version == Version::HTTP_10) {
            return Ok(());
        }
        let asked = asked.ok_or_else(unclear)?;
        // A target with a host of its own, as proxies get it, is checked as well.
        let target = request.uri.authority().map(|target| target.as_str());
        let is_allowed = |text: &str| {
            Host::parse(text).is_some_and(|host| {
                host.is_loopback()
                    || self
                        .hosts
                        .iter()
                        .any(|allowed| allowed.allows(&host, self.port))
            })
        };
        if is_allowed(asked) && target.is_none_or(is_allowed) {
            return Ok(());
        }
        Err(refused(
            "the server does not answer to this Host; address it by a loopback address or as \
             localhost, or allow the host when starting it",
        ))
    }

    /// Returns `true` if there are origins whose pages may read answers, so that answers depend on the
    /// `Origin`.
    pub(crate) fn has_pages(&self) -> bool {
        !self.origins.is_empty()
    }

    /// Returns the origin of the calling page, if the page may read the answer.
    pub(crate) fn page(&self, headers: &HeaderMap) -> Option<HeaderValue> {
        let origin = one(headers, &header::ORIGIN).ok().flatten()?;
        let allowed = self.origins.iter().any(|allowed| allowed == origin);
        allowed.then(|| headers[header::ORIGIN].clone())
    }

    fn check_origin(&self, headers: &HeaderMap) -> Result<(), Failure> {
        let refused = || {
            let message = "pages of this origin may not use the server; allow the origin when \
                           starting it, if they should";
            Failure::new(Code::OriginNotAllowed, message)
        };
        let text = |name| one(headers, name).map_err(|()| refused());
        let allowed = match text(&header::ORIGIN)? {
            Some(origin) => self.origins.iter().any(|allowed| allowed == origin),
            // Browsers omit the origin where a page only displays what it may not read, such as an image;
            // whether that loads would reveal something.
            None => !matches!(text(&SEC_FETCH_SITE)?, Some("cross-site" | "same-site")),
        };
        allowed.then_some(()).ok_or_else(refused)
    }
}

const SEC_FETCH_SITE: HeaderName = HeaderName::from_static("sec-fetch-site");

/// Headers by which proxies mark a request, in addition to all that begin with `x-forwarded`.
const FORWARDED: [&str; 10] = [
    "forwarded",
    "via",
    "x-real-ip",
    "x-client-ip",
    "x-cluster-client-ip",
    "x-original-forwarded-for",
    "x-envoy-external-address",
    "true-client-ip",
    "cf-connecting-ip",
    "fastly-client-ip",
];

/// Returns the header, or the version, which shows that a request was forwarded.
pub(crate) fn forwarded(request: &Parts) -> Option<&str> {
    let is_sign = |name: &&str| name.starts_with("x-forwarded") || FORWARDED.contains(name);
    let header = request.headers.keys().map(HeaderName::as_str).find(is_sign);
    // Programs no longer use HTTP/1.0, but proxies do by default.
    let old = (request.version <= Version::HTTP_10).then_some("HTTP/1.0");
    header.or(old)
}

/// Returns a header that may occur once.
pub(crate) fn one<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Result<Option<&'a str>, ()> {
    let mut values = headers.get_all(name).iter();
    match (values.next(), values.next()) {
        (None, _) => Ok(None),
        (Some(value), None) => value.to_str().map(Some).map_err(|_| ()),
        _ => Err(()),
    }
}

/// Returns `true` if a server without tokens may listen at this address.
pub(crate) fn is_loopback(address: SocketAddr) -> bool {
    address.ip().to_canonical().is_loopback()
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::http::Request;

    fn allowed(hosts: &[&str], origins: &[&str]) -> Allowed {
        let strings =
            |texts: &[&str]| -> Vec<_> { texts.iter().map(|&it| it.to_owned()).collect() };
        Allowed::new(&strings(hosts), &strings(origins), false)
    }

    fn parts(version: Version, target: &str, headers: &[(&str, &str)]) -> Parts {
        let mut request = Request::builder().version(version).uri(target);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        request.body(()).unwrap().into_parts().0
    }

    fn check(allowed: &Allowed, target: &str, headers: &[(&str, &str)]) -> Result<(), Code> {
        let checked = allowed.check(&parts(Version::HTTP_11, target, headers), Hosts::Listed);
        checked.map_err(|failure| failure.body().code)
    }

    #[test]
    fn a_host_is_loopback_or_named_to_the_letter() {
        let allowed = allowed(&["flags.internal", "ten.internal:7400", "[fd00::1]"], &[]);
        for host in [
            "localhost",
            "LocalHost:7400",
            "127.0.0.1",
            "127.8.9.10:1",
            "[::1]",
            "[::1]:7400",
            "[::ffff:127.0.0.1]",
            "flags.internal",
            "FLAGS.internal:99",
            "ten.internal:7400",
            "[fd00:0::1]:5",
        ] {
            assert_eq!(check(&allowed, "/", &[("host", host)]), Ok(()), "{host}");
        }
        for host in [
            "",
            "evil.example",
            "localhost.evil.example",
            "localhost.",
            "127.0.0.1.evil.example",
            "127.1",
            "2130706433",
            "0x7f.0.0.1",
            "0.0.0.0",
            "[::]",
            "::1",
            "[::1",
            "[::1]evil",
            "[::1]:x",
            "localhost:",
            "localhost:+1",
            "localhost:65536",
            "localhost:1:2",
            "localhost evil",
            "user@localhost",
            "ten.internal",
            "ten.internal:80",
            "10.0.0.1",
            "flags.internal.",
            "x.flags.internal",
        ] {
            let checked = check(&allowed, "/", &[("host", host)]);
            assert_eq!(checked, Err(Code::HostNotAllowed), "{host}");
        }
    }

    #[test]
    fn there_is_one_host_and_the_target_has_no_other() {
        let allowed = allowed(&[], &[]);
        let two = [("host", "localhost"), ("host", "localhost")];
        assert_eq!(check(&allowed, "/", &[]), Err(Code::HostNotAllowed));
        assert_eq!(check(&allowed, "/", &two), Err(Code::HostNotAllowed));
        let host = [("host", "localhost")];
        assert_eq!(check(&allowed, "http://127.0.0.1/x", &host), Ok(()));
        let evil = check(&allowed, "http://evil.example/x", &host);
        assert_eq!(evil, Err(Code::HostNotAllowed));
    }

    #[test]
    fn how_much_a_host_counts_depends_on_the_route_and_on_tokens() {
        let allowed = allowed(&[], &[]);
        let check = |hosts, version, given: &[&str]| {
            let given: Vec<_> = given.iter().map(|host| ("host", *host)).collect();
            allowed.check(&parts(version, "/", &given), hosts).is_ok()
        };
        let (old, new) = (Version::HTTP_10, Version::HTTP_11);
        for given in [&[][..], &["10.1.2.3:7400"], &["a", "b"]] {
            assert!(check(Hosts::Unread, old, given) && check(Hosts::Unread, new, given));
        }
        assert!(check(Hosts::Any, new, &["10.1.2.3:7400"]));
        assert!(check(Hosts::Any, old, &[]) && !check(Hosts::Any, new, &[]));
        assert!(!check(Hosts::Any, new, &["a", "b"]));
        assert!(!check(Hosts::Listed, old, &[]) && !check(Hosts::Listed, new, &["10.1.2.3"]));
    }

    #[test]
    fn what_proxies_add_shows_that_a_request_is_not_their_own() {
        let sign = |name: &str, version| {
            forwarded(&parts(version, "/", &[(name, "x")])).map(str::to_owned)
        };
        for name in [
            "Forwarded",
            "Via",
            "X-Real-IP",
            "X-Forwarded-For",
            "X-Forwarded-Proto",
            "X-Forwarded",
            "CF-Connecting-IP",
        ] {
            let expected = Some(name.to_lowercase());
            assert_eq!(sign(name, Version::HTTP_11), expected, "{name}");
        }
        assert_eq!(sign("Host", Version::HTTP_10).as_deref(), Some("HTTP/1.0"));
        for name in ["Host", "User-Agent", "X-Request-Id", "Forward"] {
            assert_eq!(sign(name, Version::HTTP_11), None, "{name}");
        }
    }

    #[test]
    fn pages_are_refused_unless_their_origin_is_listed() {
        let allowed = allowed(&[], &["https://console.example"]);
        let with = |name, value| check(&allowed, "/", &[("host", "localhost"), (name, value)]);
        assert_eq!(with("origin", "https://console.example"), Ok(()));
        assert_eq!(with("sec-fetch-site", "none"), Ok(()));
        assert_eq!(with("sec-fetch-site", "same-origin"), Ok(()));
        for (name, value) in [
            ("origin", "null"),
            ("origin", ""),
            ("origin", "http://localhost"),
            ("origin", "http://console.example"),
            ("origin", "https://console.example:444"),
            ("origin", "https://console.example.evil"),
            ("sec-fetch-site", "cross-site"),
            ("sec-fetch-site", "same-site"),
        ] {
            let checked = with(name, value);
            assert_eq!(checked, Err(Code::OriginNotAllowed), "{name}: {value}");
        }
    }

    #[test]
    fn origins_have_the_form_that_browsers_send() {
        for origin in ["https://a.example", "http://127.0.0.1:8080", "http://[::1]"] {
            assert!(is_origin(origin), "{origin}");
        }
        let wrong = ["null", "*", "a.example", "https://"].iter();
        for origin in wrong.chain(&["https://A.example", "https://a/"]) {
            assert!(!is_origin(origin), "{origin}");
        }
    }
}
