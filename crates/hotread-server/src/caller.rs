//! The caller of a request: its address and its token, and the identity under which its use of resources is
//! counted.

use hotread_proto::{Actor, Role, TableName, TokenInfo};
use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::sync::Arc;

/// Identity under which resources are counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Who {
    /// The server itself.
    Server,
    /// A token, by its id.
    Token(u64),
    /// An address, or the network that it represents.
    Peer(IpAddr),
}

impl Who {
    /// Returns the identity of a peer. Addresses of one IPv6 /64 count as one, because a host has a /64 to
    /// itself.
    pub(crate) fn peer(address: SocketAddr) -> Self {
        Self::Peer(match address.ip().to_canonical() {
            IpAddr::V6(address) if !address.is_loopback() => {
                let net = u128::from(address) & !u128::from(u64::MAX);
                Ipv6Addr::from(net).into()
            }
            address => address,
        })
    }
}

/// The other end of a connection.
#[derive(Debug, Clone)]
pub(crate) struct Peer {
    pub(crate) address: SocketAddr,
    /// Actor that its certificate names.
    pub(crate) certified: Option<Actor>,
}

/// The caller of a request.
#[derive(Debug, Clone)]
pub(crate) struct Caller {
    pub(crate) peer: SocketAddr,
    /// Actor that the certificate of its connection names, which gives no rights.
    certified: Option<Actor>,
    /// Token of the caller. `None`: a program of this machine, which may do everything while the store has
    /// no tokens; or an unknown caller of an open route.
    pub(crate) token: Option<Arc<TokenInfo>>,
}

impl Caller {
    pub(crate) fn new(peer: Peer, token: Option<Arc<TokenInfo>>) -> Self {
        Self {
            peer: peer.address,
            certified: peer.certified,
            token,
        }
    }

    /// Returns the name of the token, or else that of the certificate, for logs and lists.
    pub(crate) fn name(&self) -> &str {
        let certified = self.certified.as_ref().map(Actor::as_str);
        let token = self.token.as_ref().map(|token| &*token.name);
        token.or(certified).unwrap_or("anonymous")
    }

    /// Returns the actor of the caller's writes: the token's name, regardless of the request. Without
    /// a token it is that of the certificate; with neither there is none, because any program of this
    /// machine may be the caller.
    pub(crate) fn actor(&self) -> Option<Actor> {
        match &self.token {
            // The names of tokens are valid actors.
            Some(token) => Actor::new(&token.name).ok(),
            None => self.certified.clone(),
        }
    }

    /// Returns `true` if the caller has this role on any table.
    pub(crate) fn has(&self, role: Role) -> bool {
        self.is_allowed(|token| token.role >= role)
    }

    /// Returns `true` if the caller has this role on this table.
    pub(crate) fn has_on(&self, table: &TableName, role: Role) -> bool {
        self.is_allowed(|token| token.allows(Some(table), role))
    }

    /// Returns `true` if the caller has this role on all tables, and thus on the server itself.
    pub(crate) fn has_on_all(&self, role: Role) -> bool {
        self.is_allowed(|token| token.role >= role && token.tables.is_none())
    }

    fn is_allowed(&self, by: impl Fn(&TokenInfo) -> bool) -> bool {
        self.token.as_deref().is_none_or(by)
    }

    /// Returns the identity under which the caller's use of resources is counted.
    pub(crate) fn who(&self) -> Who {
        // Ids are hexadecimal digits, and random.
        let key = |id: &str| u64::from_str_radix(id, 16).unwrap_or(u64::MAX);
        let token = self.token.as_ref();
        token.map_or(Who::peer(self.peer), |token| Who::Token(key(&token.id)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_of_ipv6_are_told_apart_by_their_network() {
        let key = |text: &str| Who::peer(SocketAddr::new(text.parse().unwrap(), 1));
        assert_eq!(key("2001:db8::1"), key("2001:db8::ffff:1"));
        assert_ne!(key("2001:db8::1"), key("2001:db8:0:1::1"));
        assert_eq!(key("::ffff:10.0.0.1"), key("10.0.0.1"));
        assert_ne!(key("10.0.0.1"), key("10.0.0.2"));
    }
}
