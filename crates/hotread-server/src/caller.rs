//! The caller of a request: its address and its token, and what both count as for limits.

use hotread_proto::{Actor, Role, TableName, TokenInfo};
use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::sync::Arc;

/// Who is counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Who {
    /// The server itself.
    Server,
    /// A token, by its id.
    Token(u64),
    /// An address, or the network that it stands for.
    Peer(IpAddr),
}

impl Who {
    pub(crate) fn peer(address: SocketAddr) -> Self {
        Self::Peer(peer_key(address.ip()))
    }
}

/// Peers that are one and the same as far as limits go: a host of IPv6 has a /64 to itself.
fn peer_key(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(address) if !address.is_loopback() => {
            let net = u128::from(address) & !u128::from(u64::MAX);
            IpAddr::V6(Ipv6Addr::from(net))
        }
        address => address,
    }
}

/// Who asks.
#[derive(Debug, Clone)]
pub(crate) struct Caller {
    peer: SocketAddr,
    /// `None`: the store has no tokens, and all programs on this machine may do everything.
    token: Option<Arc<TokenInfo>>,
}

impl Caller {
    /// Somebody on this machine, while there are no tokens; or a place-holder for somebody who is
    /// not known yet.
    pub(crate) fn anonymous(peer: SocketAddr) -> Self {
        Self { peer, token: None }
    }

    /// A caller with a token that is valid.
    pub(crate) fn with_token(peer: SocketAddr, token: Arc<TokenInfo>) -> Self {
        let token = Some(token);
        Self { peer, token }
    }

    pub(crate) fn peer(&self) -> SocketAddr {
        self.peer
    }

    /// The token's name, for logs and lists.
    pub(crate) fn name(&self) -> &str {
        self.token.as_ref().map_or("anonymous", |token| &token.name)
    }

    /// The actor of what the caller writes: the token's name, whatever the request says. Without tokens
    /// there is no actor, since any program of this machine may be asking.
    pub(crate) fn actor(&self) -> Option<Actor> {
        let token = self.token.as_ref()?;
        // The names of tokens are actors.
        Actor::new(&token.name).ok()
    }

    /// With this role, on whatever tables.
    pub(crate) fn has(&self, role: Role) -> bool {
        self.token.as_ref().is_none_or(|token| token.role >= role)
    }

    /// With this role, on this table.
    pub(crate) fn has_on(&self, table: &TableName, role: Role) -> bool {
        self.token
            .as_ref()
            .is_none_or(|token| token.allows(Some(table), role))
    }

    /// With this role, on all tables and what belongs to none.
    pub(crate) fn has_on_all(&self, role: Role) -> bool {
        self.token
            .as_ref()
            .is_none_or(|token| token.role >= role && token.tables.is_none())
    }

    /// Is it known by no token?
    pub(crate) fn is_anonymous(&self) -> bool {
        self.token.is_none()
    }

    /// For what goes on after its request: is its token one of these? They do not change; they come
    /// and go.
    pub(crate) fn is_among(&self, tokens: &HashMap<String, TokenInfo>) -> bool {
        let token = self.token.as_ref();
        token.is_some_and(|token| tokens.get(&token.id) == Some(&**token))
    }

    /// Who that is, as far as limits go.
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
        let key = |text: &str| peer_key(text.parse().unwrap());
        assert_eq!(key("2001:db8::1"), key("2001:db8::ffff:1"));
        assert_ne!(key("2001:db8::1"), key("2001:db8:0:1::1"));
        assert_eq!(key("::ffff:10.0.0.1"), key("10.0.0.1"));
        assert_ne!(key("10.0.0.1"), key("10.0.0.2"));
    }
}
