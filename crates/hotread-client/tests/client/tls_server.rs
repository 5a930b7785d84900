//! The client over TLS against the real server, which speaks it itself.

use crate::common::server::Api;
use crate::common::tls::Pki;
use crate::common::{HANG, until};
use crate::servers::beginning_with;
use hotread_client::{
    Client, ClientBuilder, Code, ConnectionEvent, Error, Replica, Status, TableOptions, TlsError,
    blocking,
};
use hotread_server::{Server, Tls};
use hotread_store::Store;
use hotread_testkit::certificates::{Authority, Certificate};
use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::net::{TcpListener, TcpStream};

type Numbers = HashMap<Arc<str>, u64>;

/// Interval at which the server looks at its files.
const CHECK_EVERY: Duration = Duration::from_millis(20);
const HERE: [&str; 2] = ["localhost", "127.0.0.1"];

/// Returns the TLS of a server, with its files in the folder of its authority.
fn tls(pki: &Pki, certificate: &Certificate) -> Tls {
    let files = certificate.write(pki.path(), "server");
    Tls::from_files(files.chain, files.key).check_every(CHECK_EVERY)
}

async fn start(pki: &Pki) -> Api {
    let tls = tls(pki, &pki.authority.issue(&HERE));
    Api::secure(&TableOptions::default(), tls).await
}

fn builder(api: &Api, pki: &Pki) -> ClientBuilder {
    let often = Duration::from_millis(50);
    Client::builder(&api.url())
        .ping_every(often)
        .tls_ca(&pki.ca)
}

#[tokio::test]
async fn calls_replicas_and_events_go_over_the_servers_tls() {
    let pki = Pki::new();
    let mut api = start(&pki).await;
    assert!(api.url().starts_with("https://"), "{}", api.url());
    let client = builder(&api, &pki).build().unwrap();
    let replica: Replica<HashMap<Arc<str>, String>> = client.replica("t").await.unwrap();
    let mut events = client.events("t", None).await.unwrap();
    // Before and after the server was away.
    for length in [1, 900 << 10] {
        let text = "x".repeat(length);
        let at = client.put("t", "a", &text).await.unwrap();
        replica.wait_for(at, HANG).await.unwrap();
        assert_eq!(replica.reader().current()["a"], text);
        assert_eq!(events.next().await.unwrap().unwrap().head.position, at);
        let record = client.get("t", "a").await.unwrap().unwrap();
        assert_eq!(record.value().len(), length + 2);
        api.stop().await;
        api.start_again().await;
        until("it follows again", || replica.status() == Status::Live).await;
    }
}

#[test]
fn a_program_without_a_runtime_uses_the_servers_tls() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let pki = Pki::new();
    let api = runtime.block_on(start(&pki));
    let client: blocking::Client = builder(&api, &pki).build_blocking().unwrap();
    let at = client.put("t", "a", &1).unwrap();
    let replica = client.replica::<Numbers>("t").unwrap();
    assert_eq!(replica.position(), at);
}

#[tokio::test]
async fn a_plain_client_learns_that_the_port_speaks_tls() {
    let pki = Pki::new();
    let api = start(&pki).await;
    let url = api.url().replace("https:", "http:");
    let client = Client::builder(&url).build().unwrap();
    let called = client.tables().await.unwrap_err();
    let followed = client.replica::<Numbers>("t").await.unwrap_err();
    for error in [called, followed] {
        assert_eq!(error.code(), Code::TlsFailed, "{error}");
        assert!(error.to_string().contains("https://"), "{error}");
    }
}

#[tokio::test]
async fn a_certificate_that_expires_at_the_server_is_explained() {
    let pki = Pki::new();
    let tls = tls(&pki, &pki.authority.issue_expired(&HERE));
    let api = Api::secure(&TableOptions::default(), tls).await;
    let client = builder(&api, &pki).build().unwrap();
    let error = client.tables().await.unwrap_err();
    assert!(
        matches!(error, Error::Tls(TlsError::Expired { .. })),
        "{error:?}"
    );
}

#[tokio::test]
async fn a_server_that_requires_certificates_says_who_wrote() {
    let pki = Pki::new();
    let tls = tls(&pki, &pki.authority.issue(&HERE)).client_ca(&pki.ca);
    let api = Api::secure(&TableOptions::default(), tls).await;
    let without = builder(&api, &pki).build().unwrap();
    for _ in 0..20 {
        let error = without.put("t", "a", &"x".repeat(900 << 10)).await;
        assert_eq!(error.unwrap_err(), TlsError::CertificateRequired.into());
    }
    let within = Duration::from_millis(300);
    let waiting = builder(&api, &pki).start_within(within).build().unwrap();
    let error = waiting.replica::<Numbers>("t").await.unwrap_err();
    assert!(error.to_string().contains("`tls_identity`"), "{error}");

    let files = pki
        .authority
        .issue_client("api-7")
        .write(pki.path(), "client");
    let client = builder(&api, &pki).tls_identity(files.chain, files.key);
    let client = client.build().unwrap();
    let mut events = client.events("t", None).await.unwrap();
    client.put("t", "a", &1).await.unwrap();
    let event = events.next().await.unwrap().unwrap();
    assert_eq!(event.actor.unwrap().as_str(), "api-7");
}

#[tokio::test]
async fn sessions_go_on_while_the_servers_certificate_is_replaced() {
    let (pki, next) = (Pki::new(), Pki::new());
    let api = start(&pki).await;
    let heard = Arc::new(Mutex::new(Vec::new()));
    let theirs = heard.clone();
    let client = builder(&api, &pki)
        .on_connection(move |_, event| theirs.lock().unwrap().push(event.clone()))
        .build()
        .unwrap();
    let replica: Replica<Numbers> = client.replica("t").await.unwrap();
    // Writes go on over the connection that they have.
    next.authority.issue(&HERE).write(pki.path(), "server");
    let new = builder(&api, &next).build().unwrap();
    let mut n = 0;
    loop {
        n += 1;
        let at = client.put("t", "a", &n).await.unwrap();
        replica.wait_for(at, HANG).await.unwrap();
        match new.tables().await {
            Ok(_) => break,
            Err(error) => assert!(matches!(error, Error::Tls(_)), "{error}"),
        }
    }
    let at = new.put("t", "a", &0).await.unwrap();
    replica.wait_for(at, HANG).await.unwrap();
    assert_eq!(*heard.lock().unwrap(), [ConnectionEvent::Up]);
    let error = builder(&api, &pki).build().unwrap().tables().await;
    let untrusted = TlsError::UnknownIssuer {
        ca: Some(pki.ca.clone()),
    };
    assert_eq!(error.unwrap_err(), untrusted.into());
}

#[tokio::test]
async fn clients_of_another_authority_are_refused_by_the_server() {
    let (pki, other) = (Pki::new(), Authority::new());
    let tls = tls(&pki, &pki.authority.issue(&HERE)).client_ca(&pki.ca);
    let api = Api::secure(&TableOptions::default(), tls).await;
    let files = other.issue_client("api-7").write(pki.path(), "strange");
    let client = builder(&api, &pki).tls_identity(files.chain, files.key);
    let error = client.build().unwrap().tables().await.unwrap_err();
    let refused = matches!(error, Error::Tls(TlsError::CertificateRefused { .. }));
    assert!(refused, "{error:?}");
}

#[tokio::test]
async fn a_server_that_speaks_tls_is_left_for_one_that_does_not() {
    let pki = Pki::new();
    let (secure, plain) = (start(&pki).await, Api::start().await);
    let client = beginning_with(secure.address, &[secure.address, plain.address]);
    // A change without an id: the first server has not read it.
    let options = TableOptions::default();
    client.create_table("new", &options).await.unwrap();
    assert_eq!(client.server(), plain.url());
    let following = beginning_with(secure.address, &[secure.address, plain.address]);
    let replica: Replica<Numbers> = following.replica("new").await.unwrap();
    assert_eq!(replica.server().as_deref(), Some(&*plain.url()));

    // Where all of them do, the error names one.
    let other = start(&pki).await;
    let client = beginning_with(secure.address, &[secure.address, other.address]);
    let error = client.tables().await.unwrap_err();
    let Error::Tls(TlsError::OneOf { server, why }) = &error else {
        panic!("{error:?}");
    };
    assert_eq!(**why, TlsError::TlsServer);
    assert_eq!(*server, format!("http://{}", other.address));
    assert!(error.to_string().contains("give an address with https://"));
}

#[tokio::test]
async fn a_client_beyond_the_limit_of_connections_is_told_so() {
    let pki = Pki::new();
    let store = Store::temporary().unwrap();
    let tls = tls(&pki, &pki.authority.issue(&HERE));
    let server = Server::builder(store).tls(tls).max_connections(1, 1);
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let _held = TcpStream::connect(address).await.unwrap();
    let server = server.build().unwrap();
    tokio::spawn(async move { server.serve(listener, std::future::pending()).await });
    let ask = || {
        let client = Client::builder(&format!("https://{address}")).tls_ca(&pki.ca);
        let client = client.build().unwrap();
        async move { client.tables().await.unwrap_err().code() }
    };
    let codes = futures_util::future::join_all([ask(), ask(), ask(), ask()]).await;
    // A busy machine may stop a client for longer than the server waits for its request.
    let told = codes
        .iter()
        .filter(|code| **code == Code::TooManyConnections);
    assert!(told.count() > 2, "{codes:?}");
}
