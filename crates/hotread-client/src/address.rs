//! The server's address.

use crate::connect::Target;
use crate::error::Error;
use tokio_tungstenite::tungstenite::http::Uri;

/// Port of an address that names none.
const DEFAULT_PORT: u16 = 80;

/// A server's address. Request paths are appended to it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Address {
    /// Host name or IP addresses to connect to.
    pub(crate) target: Target,
    /// Host and port, as the caller wrote them.
    pub(crate) authority: String,
}

impl Address {
    /// Parses `http://host:port` or `ws://host:port`, which mean the same.
    pub(crate) fn parse(url: &str) -> Result<Self, Error> {
        let bad = |why: &str| Error::BadUrl(format!("{why}; give it as http://host:port"));
        let uri: Uri = url
            .parse()
            .map_err(|_| bad("the server's address is not a URL"))?;
        match uri.scheme_str() {
            Some("http" | "ws") => {}
            Some("https" | "wss") => return Err(Error::TlsNotSupported),
            _ => return Err(bad("the server's address has a scheme other than http")),
        }
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
        Ok(Self {
            target: Target::new(host, authority.port_u16().unwrap_or(DEFAULT_PORT)),
            authority: authority.as_str().to_owned(),
        })
    }

    /// Returns a URL with scheme `http` for requests or `ws` for WebSockets. The path begins with a slash.
    pub(crate) fn url(&self, scheme: &str, path: &str) -> String {
        format!("{scheme}://{}{path}", self.authority)
    }
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
        ] {
            let parsed = Address::parse(url);
            assert!(matches!(parsed, Err(Error::BadUrl(_))), "{url}: {parsed:?}");
        }
        for url in ["https://db", "wss://db"] {
            let parsed = Address::parse(url);
            assert!(matches!(parsed, Err(Error::TlsNotSupported)), "{url}");
        }
    }
}
