//! The servers of a client, and the choice among them, which its calls and replicas share.

use crate::address::{Address, MAX_SERVERS};
use crate::connect::{Connector, Requests, requests};
use crate::error::Error;
use crate::tls::Tls;
use std::fmt::{self, Display};
use std::hash::{BuildHasher, RandomState};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// One server, with its connections.
pub(crate) struct Server {
    pub(crate) address: Address,
    /// The address, as reports show it.
    pub(crate) name: Arc<str>,
    pub(crate) connector: Connector,
    pub(crate) http: Requests,
}

impl Server {
    fn new(address: Address, tls: Option<Tls>) -> Self {
        let connector = Connector::new(address.target.clone(), tls);
        Self {
            name: address.url("http", "").into(),
            http: requests(connector.clone()),
            connector,
            address,
        }
    }
}

/// The servers of a client. Each is named by its place in the order in which they are tried.
pub(crate) struct Servers {
    all: Vec<Server>,
    choice: Mutex<Choice>,
}

/// The server in use.
#[derive(Debug, Default)]
struct Choice {
    at: usize,
    /// Server that was in use before, and the reason it was left; `None` once the present one has answered.
    left: Option<(usize, String)>,
}

impl Servers {
    /// Returns the servers at these addresses, of which there is at least one, in random order: otherwise all
    /// clients would use the first one. `tls`: TLS with any of them.
    ///
    /// # Errors
    /// If no certificate can have the name of one of them.
    pub(crate) fn new(mut addresses: Vec<Address>, tls: Option<&Tls>) -> Result<Self, Error> {
        shuffle(&mut addresses);
        Self::in_order(addresses, tls)
    }

    fn in_order(addresses: Vec<Address>, tls: Option<&Tls>) -> Result<Self, Error> {
        let server = |address: Address| {
            let tls = tls.map(|tls| tls.with_host(&address.host)).transpose()?;
            Ok(Server::new(address, tls))
        };
        let all: Result<_, Error> = addresses.into_iter().map(server).collect();
        Ok(Self {
            all: all?,
            choice: Mutex::default(),
        })
    }

    pub(crate) fn count(&self) -> usize {
        self.all.len()
    }

    pub(crate) fn get(&self, at: usize) -> &Server {
        &self.all[at]
    }

    /// Returns the server in use.
    pub(crate) fn current(&self) -> &Server {
        self.get(self.choice().at)
    }

    /// Returns a text that names the servers, whatever their order.
    pub(crate) fn identity(&self) -> String {
        let mut names: Vec<&str> = self.all.iter().map(|it| &*it.address.authority).collect();
        names.sort_unstable();
        names.join(",")
    }

    /// Records that a server has answered, and reports it if the client has moved there.
    pub(crate) fn works(&self, at: usize) {
        let left = {
            let mut choice = self.choice();
            // A late answer of a server that was left does not bring the client back.
            (choice.at == at).then(|| choice.left.take()).flatten()
        };
        if let Some((from, why)) = left.filter(|(from, _)| *from != at) {
            let (from, to) = (&*self.get(from).name, &*self.get(at).name);
            tracing::warn!(from, to, why, "a client has moved to another server");
        }
    }

    /// Moves to the next server, if the one that has failed is in use.
    fn leave(&self, at: usize, why: &dyn Display) {
        let mut choice = self.choice();
        if choice.at == at {
            choice.at = (at + 1) % self.count();
            choice.left.get_or_insert_with(|| (at, why.to_string()));
        }
    }

    fn choice(&self) -> MutexGuard<'_, Choice> {
        // No foreign code runs while it is locked, so the value is intact even after a panic.
        self.choice.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Servers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list()
            .entries(self.all.iter().map(|server| &server.name))
            .finish()
    }
}

fn shuffle<T>(list: &mut [T]) {
    let random = RandomState::new();
    for last in (1..list.len()).rev() {
        list.swap(last, random.hash_one(last) as usize % (last + 1));
    }
}

/// The servers that have failed one call, or one session, since it has last waited: a bit for each.
#[derive(Debug, Default)]
pub(crate) struct Round(u16);

const _: () = assert!(MAX_SERVERS <= u16::BITS as usize);

impl Round {
    /// Returns the server to try: the one in use, or the next one that has not failed. If all have failed,
    /// another round begins.
    pub(crate) fn next(&mut self, servers: &Servers) -> usize {
        let (at, count) = (servers.choice().at, servers.count());
        let mut order = (0..count).map(|n| (at + n) % count);
        order.find(|at| !self.has(*at)).unwrap_or_else(|| {
            self.0 = 0;
            at
        })
    }

    /// Records that a server has failed.
    pub(crate) fn fail(&mut self, servers: &Servers, at: usize, why: &dyn Display) {
        if !self.has(at) {
            self.0 |= 1 << at;
            servers.leave(at, why);
        }
    }

    /// Returns `true` if all servers have failed.
    pub(crate) fn is_over(&self, servers: &Servers) -> bool {
        self.0.count_ones() as usize == servers.count()
    }

    fn has(&self, at: usize) -> bool {
        self.0 & 1 << at != 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    fn servers(urls: &str) -> Servers {
        Servers::in_order(Address::parse_list(urls).unwrap(), None).unwrap()
    }

    fn three() -> Servers {
        servers("http://a,http://b,http://c")
    }

    #[test]
    fn each_server_is_tried_once_in_a_round_and_a_failed_one_is_left() {
        let servers = three();
        let mut round = Round::default();
        for at in [0, 1, 2, 0, 1, 2] {
            assert_eq!(round.next(&servers), at);
            assert_eq!(round.next(&servers), at, "asking changes nothing");
            round.fail(&servers, at, &"no");
            round.fail(&servers, at, &"still no");
            assert_eq!(round.is_over(&servers), at == 2);
        }
        assert_eq!(&*servers.current().name, "http://a");
    }

    #[test]
    fn the_choice_is_shared_and_stays_with_a_server_that_works() {
        let servers = three();
        let (mut one, mut other) = (Round::default(), Round::default());
        assert_eq!((one.next(&servers), other.next(&servers)), (0, 0));
        one.fail(&servers, 0, &"no");
        other.fail(&servers, 0, &"no");
        assert_eq!((one.next(&servers), other.next(&servers)), (1, 1));
        servers.works(1);
        // The first server answers an earlier call late.
        servers.works(0);
        assert_eq!(Round::default().next(&servers), 1);
        // Another call has gone around meanwhile: each server is tried all the same.
        other.fail(&servers, 1, &"no");
        other.fail(&servers, 2, &"no");
        assert_eq!(Round::default().next(&servers), 0);
        assert_eq!(one.next(&servers), 1);
    }

    /// Keeps the fields of events, each event as one text.
    struct Lines(Arc<Mutex<Vec<String>>>);

    impl tracing::Subscriber for Lines {
        fn enabled(&self, _: &tracing::Metadata<'_>) -> bool {
            true
        }

        fn new_span(&self, _: &tracing::span::Attributes<'_>) -> tracing::Id {
            tracing::Id::from_u64(1)
        }

        fn record(&self, _: &tracing::Id, _: &tracing::span::Record<'_>) {}

        fn record_follows_from(&self, _: &tracing::Id, _: &tracing::Id) {}

        fn event(&self, event: &tracing::Event<'_>) {
            let mut line = String::new();
            event.record(
                &mut |field: &tracing::field::Field, value: &dyn fmt::Debug| {
                    line += &format!("{field}={value:?} ");
                },
            );
            self.0.lock().unwrap().push(line);
        }

        fn enter(&self, _: &tracing::Id) {}

        fn exit(&self, _: &tracing::Id) {}
    }

    #[test]
    fn each_move_is_logged_once_with_its_reason() {
        let lines = Arc::new(Mutex::new(Vec::new()));
        tracing::subscriber::with_default(Lines(lines.clone()), || {
            let servers = three();
            let mut round = Round::default();
            servers.works(0);
            for (at, why) in [(0, "it is silent"), (1, "it refuses"), (2, "it is gone")] {
                round.fail(&servers, at, &why);
            }
            // All have failed, and the first is back: the client has not moved.
            servers.works(0);
            assert!(lines.lock().unwrap().is_empty());
            let mut round = Round::default();
            round.fail(&servers, 0, &"it is silent again");
            round.fail(&servers, 1, &"it refuses");
            servers.works(2);
            servers.works(2);
        });
        let lines = lines.lock().unwrap();
        assert_eq!(lines.len(), 1, "{lines:?}");
        for part in ["from=\"http://a\"", "to=\"http://c\"", "it is silent again"] {
            assert!(lines[0].contains(part), "{lines:?}");
        }
    }

    #[test]
    fn clients_begin_with_different_servers() {
        let list = Address::parse_list("http://a,http://b,http://c").unwrap();
        let mut seen = HashSet::new();
        for _ in 0..1_000 {
            let servers = Servers::new(list.clone(), None).unwrap();
            assert_eq!(servers.identity(), "a,b,c");
            seen.insert(format!("{servers:?}"));
        }
        assert_eq!(seen.len(), 6, "all orders");
    }
}
