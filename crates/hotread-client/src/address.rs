//! Addresses of servers.

use crate::connect::Target;
use crate::error::Error;
use tokio_tungstenite::tungstenite::http::Uri;

/// Port of an address that names none, without TLS and with it.
const DEFAULT_PORT: u16 = 80;
const DEFAULT_TLS_PORT: u16 = 443;
/// Largest number of servers of one client.
pub(crate) const MAX_SERVERS: usize = 16;

/// A server's address. Request paths are appended to it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Address {
    /// `true` if connections are encrypted.
    pub(crate) is_tls: bool,
    /// Host name or IP address, without the brackets of IPv6.
    pub(crate) host: String,
    /// Host name or IP addresses to connect to.
    pub(crate) target: Target,
    /// Host and port, as the caller wrote them.
    pub(crate) authority: String,
}

impl Address {
    /// Parses `http://host:port` or `ws://host:port`, which mean the same, and `https://host:port` or
    /// `wss://host:port`, which mean TLS.
    pub(crate) fn parse(url: &str) -> Result<Self, Error> {
        let bad = |why: &str| {
            Error::BadUrl(format!(
                "{why}; give it as http://host:port or https://host:port"
            ))
        };
        let uri: Uri = url
            .parse()
            .map_err(|_| bad("the server's address is not a URL"))?;
        let is_tls = match uri.scheme_str() {
            Some("http" | "ws") => false,
            Some("https" | "wss") => true,
            _ => {
                return Err(bad(
                    "the server's address has a scheme other than http and https",
                ));
            }
        };
        if !matches!(uri.path(), "" | "/") || uri.query().is_some() {
            return Err(bad("the server's address has a path"));
        }
        let authority = uri
            .authority()
            .ok_or_else(|| bad("the server's address has no host"))?;
        if authority.as_str().contains('@') {
            return Err(bad("the server's address has a user; give a token instead"));
        }
        let host = authority.host().trim_matches(['[', ']']);
        if host.is_empty() {
            return Err(bad("the server's address has no host"));
        }
        let port = match (&authority.as_str()[authority.host().len()..], is_tls) {
            ("", true) => DEFAULT_TLS_PORT,
            ("", false) => DEFAULT_PORT,
            // A default in place of a mistake would lead the token to another program.
            (port, _) => match port.strip_prefix(":").map(port_number) {
                Some(Some(port)) => port,
                _ => return Err(bad("the server's port is not a number from 1 to 65535")),
            },
        };
        Ok(Self {
            is_tls,
            host: host.to_owned(),
            target: Target::new(host, port),
            authority: authority.as_str().to_owned(),
        })
    }

    /// Parses one or more addresses, separated by commas: at most [`MAX_SERVERS`], with TLS or without, and
    /// none of them twice.
    pub(crate) fn parse_list(urls: &str) -> Result<Vec<Self>, Error> {
        let parts: Vec<&str> = urls.split(',').map(str::trim).collect();
        if parts.len() == 1 {
            return Ok(vec![Self::parse(urls.trim())?]);
        }
        if parts.iter().any(|part| part.is_empty()) {
            return Err(Error::BadUrl(format!(
                "one of the addresses in {urls:?} is empty; leave out the comma, or give the address"
            )));
        }
        if parts.len() > MAX_SERVERS {
            return Err(Error::BadUrl(format!(
                "there are {} addresses, but at most {MAX_SERVERS} are allowed; leave some out",
                parts.len()
            )));
        }
        let mut list: Vec<Self> = Vec::with_capacity(parts.len());
        for part in parts {
            let next = Self::parse(part).map_err(|error| {
                let why = format!("{error}, and several of them separated by commas ({part:?})");
                Error::BadUrl(why)
            })?;
            if list.iter().any(|other| other.is_tls != next.is_tls) {
                return Err(Error::BadUrl(
                    "some of the addresses ask for TLS and some do not; give all of them as https:// or all \
                     of them as http://"
                        .to_owned(),
                ));
            }
            if list.iter().any(|other| other.target == next.target) {
                return Err(Error::BadUrl(format!(
                    "the address {part} is given twice; leave one of them out"
                )));
            }
            list.push(next);
        }
        Ok(list)
    }

    /// Returns a URL with scheme `http` for requests or `ws` for WebSockets, each followed by `s` with TLS. The
    /// path begins with a slash.
    pub(crate) fn url(&self, scheme: &str, path: &str) -> String {
        let s = if self.is_tls { "s" } else { "" };
        format!("{scheme}{s}://{}{path}", self.authority)
    }
}

fn port_number(text: &str) -> Option<u16> {
    let is_number = text.bytes().all(|byte| byte.is_ascii_digit());
    let port = text.parse().ok().filter(|_| is_number)?;
    (port > 0).then_some(port)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_schemes_mean_the_same() {
        let address = Address::parse("http://[::1]:7400").unwrap();
        assert_eq!(Address::parse("ws://[::1]:7400/").unwrap(), address);
        let loopback = (std::net::Ipv6Addr::LOCALHOST, 7400).into();
        assert_eq!(address.target, Target::Addresses(vec![loopback]));
        assert_eq!(address.url("http", "/v1"), "http://[::1]:7400/v1");
        assert_eq!(address.url("ws", "/v1"), "ws://[::1]:7400/v1");
        let short = Address::parse("http://db").unwrap();
        assert_eq!(short.target, Target::Name("db".to_owned(), 80));
        assert!(!short.is_tls);
    }

    #[test]
    fn both_schemes_with_tls_mean_the_same() {
        let address = Address::parse("https://[::1]").unwrap();
        assert_eq!(Address::parse("wss://[::1]/").unwrap(), address);
        assert!(address.is_tls);
        let loopback = (std::net::Ipv6Addr::LOCALHOST, 443).into();
        assert_eq!(address.target, Target::Addresses(vec![loopback]));
        assert_eq!(address.host, "::1");
        assert_eq!(address.url("http", "/v1"), "https://[::1]/v1");
        assert_eq!(address.url("ws", "/v1"), "wss://[::1]/v1");
        let named = Address::parse("https://db:7400").unwrap();
        assert_eq!(named.target, Target::Name("db".to_owned(), 7400));
    }

    #[test]
    fn several_addresses_are_separated_by_commas() {
        let list = Address::parse_list(" http://a:1 ,ws://B:1,http://[::1]:1 ").unwrap();
        let urls: Vec<_> = list.iter().map(|address| address.url("http", "")).collect();
        assert_eq!(urls, ["http://a:1", "http://B:1", "http://[::1]:1"]);
        let numbered = |count| {
            (0..count)
                .map(|n| format!("https://a{n}"))
                .collect::<Vec<_>>()
        };
        let most = Address::parse_list(&numbered(MAX_SERVERS).join(","));
        assert_eq!(most.unwrap().len(), MAX_SERVERS);
        let more = numbered(MAX_SERVERS + 1).join(",");
        for (urls, what) in [
            ("http://a,https://b", "all of them as https://"),
            ("ws://a,http://b,wss://c", "all of them as https://"),
            ("http://a,http://b,ws://A:80", "ws://A:80 is given twice"),
            ("http://[::1],http://[0:0::1]/", "is given twice"),
            (
                "http://a,",
                "one of the addresses in \"http://a,\" is empty",
            ),
            ("http://a,,http://b", "is empty"),
            (", ", "is empty"),
            ("http://a,b:1", "\"b:1\""),
            (&more, "at most 16"),
        ] {
            let refused = Address::parse_list(urls).unwrap_err();
            assert!(matches!(refused, Error::BadUrl(_)), "{refused:?}");
            assert!(refused.to_string().contains(what), "{urls}: {refused}");
        }
    }

    #[test]
    fn what_cannot_be_meant_is_refused() {
        for url in [
            "",
            "db:7400",
            "ftp://db",
            "http://",
            "http://db/x",
            "http://u@db",
            "http://db:",
            "http://db:0",
            "http://db:65536",
            "http://db:x",
            "http://db:+80",
            "https://[::1]:99999",
        ] {
            let parsed = Address::parse(url);
            assert!(matches!(parsed, Err(Error::BadUrl(_))), "{url}: {parsed:?}");
        }
    }
}
