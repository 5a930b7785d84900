//! The client over TLS: certificates that are accepted and others that are not, and what it says about them.

use crate::common::proxy::Cable;
use crate::common::server::Api;
use crate::common::tls::{Pki, Terminator, Tls};
use crate::common::{HANG, until};
use hotread_client::{
    Client, ClientBuilder, Code, ConnectionEvent, Error, Replica, Status, TlsError, blocking,
};
use hotread_testkit::certificates::{Authority, Certificate};
use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

type Numbers = HashMap<Arc<str>, u64>;

fn builder(url: &str, pki: &Pki) -> ClientBuilder {
    let often = Duration::from_millis(50);
    Client::builder(url).ping_every(often).tls_ca(&pki.ca)
}

/// Returns the reason that a call fails for.
async fn why(builder: ClientBuilder) -> TlsError {
    let error = builder.build().unwrap().tables().await.unwrap_err();
    assert_eq!(error.code(), Code::TlsFailed, "{error}");
    match error {
        Error::Tls(error) => error,
        other => panic!("{other}"),
    }
}

#[tokio::test]
async fn calls_replicas_and_events_go_over_tls() {
    let (api, pki) = (Api::start().await, Pki::new());
    let secure = Terminator::start(api.address, pki.tls()).await;
    // Each scheme, by the IP address and by the name.
    let port = secure.address.port();
    for url in [secure.url(), format!("wss://localhost:{port}")] {
        let client = builder(&url, &pki).build().unwrap();
        let replica: Replica<Numbers> = client.replica("t").await.unwrap();
        let mut events = client.events("t", None).await.unwrap();
        let at = client.put("t", "a", &7).await.unwrap();
        replica.wait_for(at, HANG).await.unwrap();
        assert_eq!(replica.reader().current()["a"], 7);
        while events.next().await.unwrap().unwrap().head.position != at {}
        let scanned = client.get("t", "a").await.unwrap().unwrap();
        assert_eq!(scanned.seq(), at.seq);
    }
}

#[tokio::test]
async fn large_bodies_go_over_tls_in_both_directions() {
    let (api, pki) = (Api::start().await, Pki::new());
    let secure = Terminator::start(api.address, pki.tls().old()).await;
    let client = builder(&secure.url(), &pki).build().unwrap();
    let replica: Replica<HashMap<Arc<str>, String>> = client.replica("t").await.unwrap();
    let long = "x".repeat(900 << 10);
    let at = client.put("t", "long", &long).await.unwrap();
    replica.wait_for(at, HANG).await.unwrap();
    assert_eq!(replica.reader().current()["long"], long);
    let record = client.get("t", "long").await.unwrap().unwrap();
    assert_eq!(record.value().len(), long.len() + 2);
}

#[test]
fn a_program_without_a_runtime_speaks_tls() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let pki = Pki::new();
    let api = runtime.block_on(Api::start());
    let secure = runtime.block_on(Terminator::start(api.address, pki.tls()));
    let client: blocking::Client = builder(&secure.url(), &pki).build_blocking().unwrap();
    let at = client.put("t", "a", &1).unwrap();
    let replica = client.replica::<Numbers>("t").unwrap();
    assert_eq!(replica.position(), at);
}

#[tokio::test]
async fn a_certificate_that_is_not_accepted_is_explained() {
    let (api, pki, other) = (Api::start().await, Pki::new(), Authority::new());
    let here = ["127.0.0.1"];
    let ca = pki.ca.display();
    let untrusted = format!("was not issued by an authority in {ca}; give the file of");
    let cases: [(Certificate, &str, &str); 6] = [
        (
            pki.authority.issue_expired(&here),
            "Expired",
            "the server's certificate expired at 20",
        ),
        (
            pki.authority.issue_for_tomorrow(&here),
            "NotYetValid",
            "is not valid before 20",
        ),
        (
            pki.authority
                .issue(&["a.example", "*.b.example", "10.0.0.1"]),
            "WrongName",
            "is for a.example, *.b.example, 10.0.0.1, not for 127.0.0.1; connect by",
        ),
        (other.issue(&here), "UnknownIssuer", &untrusted),
        (Certificate::self_signed(&here), "UnknownIssuer", &untrusted),
        (
            pki.authority.issue_client("127.0.0.1"),
            "Handshake",
            "is not made for servers",
        ),
    ];
    let secure = Terminator::start(api.address, pki.tls()).await;
    for (certificate, kind, message) in cases {
        secure.change(Tls::of(&certificate));
        let error = why(builder(&secure.url(), &pki)).await;
        let (debug, said) = (format!("{error:?}"), error.to_string());
        assert!(debug.starts_with(kind), "{debug}");
        assert!(said.contains(message), "{said} / {message}");
    }
    // The system's authorities do not include that of a test.
    secure.change(pki.tls());
    let error = why(Client::builder(&secure.url())).await;
    assert_eq!(error, TlsError::UnknownIssuer { ca: None });
    assert!(error.to_string().contains("`tls_ca`"), "{error}");
}

#[tokio::test]
async fn a_certificate_that_its_owner_signed_is_trusted_if_it_is_given() {
    let (api, pki) = (Api::start().await, Pki::new());
    let own = Certificate::self_signed(&["127.0.0.1"]);
    let files = own.write(pki.path(), "own");
    let secure = Terminator::start(api.address, Tls::of(&own)).await;
    let trusting = Client::builder(&secure.url()).tls_ca(files.chain);
    trusting.build().unwrap().tables().await.unwrap();
}

#[tokio::test]
async fn an_authoritys_certificate_names_no_server() {
    let (api, pki) = (Api::start().await, Pki::new());
    let made = std::process::Command::new("openssl")
        .args([
            "req",
            "-x509",
            "-newkey",
            "ec",
            "-pkeyopt",
            "ec_paramgen_curve:P-256",
            "-nodes",
        ])
        .args([
            "-subj",
            "/CN=127.0.0.1",
            "-addext",
            "subjectAltName=IP:127.0.0.1",
        ])
        .args(["-keyout", "x509.key", "-out", "x509.pem"])
        .current_dir(pki.path())
        .output();
    // Without openssl there is no certificate of its kind.
    let Ok(made) = made else { return };
    assert!(made.status.success(), "{made:?}");
    let read = |name| std::fs::read_to_string(pki.path().join(name)).unwrap();
    let certificate = Certificate {
        chain: read("x509.pem"),
        key: read("x509.key"),
    };
    let secure = Terminator::start(api.address, Tls::of(&certificate)).await;
    let trusting = Client::builder(&secure.url()).tls_ca(pki.path().join("x509.pem"));
    assert_eq!(why(trusting).await, TlsError::Authority);
}

#[tokio::test]
async fn plain_http_where_tls_is_expected_is_explained() {
    let (api, pki) = (Api::start().await, Pki::new());
    let url = api.url().replace("http:", "https:");
    let error = why(builder(&url, &pki)).await;
    assert_eq!(error, TlsError::PlainServer);
    assert!(error.to_string().contains("http://"), "{error}");
}

#[tokio::test]
async fn tls_where_plain_http_is_expected_is_explained() {
    let (api, pki) = (Api::start().await, Pki::new());
    let secure = Terminator::start(api.address, pki.tls()).await;
    let url = secure.url().replace("https:", "http:");
    let error = why(Client::builder(&url)).await;
    assert_eq!(error, TlsError::TlsServer);
    assert!(error.to_string().contains("https://"), "{error}");
    let within = Duration::from_millis(300);
    let waiting = Client::builder(&url).start_within(within).build().unwrap();
    let error = waiting.replica::<Numbers>("t").await.unwrap_err();
    assert!(error.to_string().contains("https://"), "{error}");
}

#[tokio::test]
async fn a_server_that_ends_in_the_handshake_is_tried_again() {
    let (api, pki) = (Api::start().await, Pki::new());
    let secure = Terminator::start(api.address, pki.tls()).await;
    let cable = Cable::to(secure.address).await;
    cable.plug(false);
    let url = format!("https://{}", cable.address);
    let client = builder(&url, &pki).build().unwrap();
    let cut = client.tables().await.unwrap_err();
    assert!(matches!(cut, Error::Unreachable(_)), "{cut:?}");
    let (called, ()) = tokio::join!(client.tables(), async {
        tokio::time::sleep(Duration::from_millis(20)).await;
        cable.plug(true);
    });
    called.unwrap();
}

#[tokio::test]
async fn a_client_certificate_that_is_missing_or_refused_is_explained() {
    let (api, pki, other) = (Api::start().await, Pki::new(), Authority::new());
    let now = std::time::SystemTime::now();
    let hour = Duration::from_secs(3600);
    let write = |certificate: Certificate, name| certificate.write(pki.path(), name);
    let good = write(pki.authority.issue_client("api-7"), "good");
    let strange = write(other.issue_client("api-7"), "strange");
    let old = pki.authority.issue_client_until("api-7", now - hour);
    let old = write(old, "old");
    for is_old in [false, true] {
        let tls = pki.tls().for_clients_of(&pki.authority);
        let tls = if is_old { tls.old() } else { tls };
        let secure = Terminator::start(api.address, tls).await;
        let client = || builder(&secure.url(), &pki);
        assert_eq!(why(client()).await, TlsError::CertificateRequired);
        // The reason arrives although the server closes the connection while a body is being sent.
        let sending = client().build().unwrap();
        for _ in 0..20 {
            let error = sending.put("t", "long", &"x".repeat(900 << 10)).await;
            assert_eq!(error.unwrap_err(), TlsError::CertificateRequired.into());
        }
        for (files, reason) in [(&strange, "issuer is unknown"), (&old, "has expired")] {
            let error = why(client().tls_identity(&files.chain, &files.key)).await;
            assert!(
                matches!(error, TlsError::CertificateRefused { .. }),
                "{error:?}"
            );
            assert!(error.to_string().contains(reason), "{error}");
        }
        let client = client()
            .tls_identity(&good.chain, &good.key)
            .build()
            .unwrap();
        let at = client.put("t", "a", &1).await.unwrap();
        let replica: Replica<Numbers> = client.replica("t").await.unwrap();
        replica.wait_for(at, HANG).await.unwrap();
    }
}

#[tokio::test]
async fn a_replica_follows_on_while_the_servers_certificate_is_replaced() {
    let (api, pki) = (Api::start().await, Pki::new());
    let secure = Terminator::start(api.address, pki.tls()).await;
    let said = Arc::new(Mutex::new(Vec::new()));
    let theirs = said.clone();
    let client = builder(&secure.url(), &pki)
        .on_connection(move |_, event| theirs.lock().unwrap().push(event.clone()))
        .build()
        .unwrap();
    let replica: Replica<Numbers> = client.replica("t").await.unwrap();
    for n in 0..5 {
        secure.change(pki.tls());
        let at = client.put("t", "a", &n).await.unwrap();
        replica.wait_for(at, HANG).await.unwrap();
    }
    // One that is not accepted is told, and readers keep what they have.
    secure.change(Tls::of(&pki.authority.issue(&["a.example"])));
    let heard = |text: &str| {
        let said = said.lock().unwrap();
        let mut down = said.iter().rev().map_while(|event| match event {
            ConnectionEvent::Down { why } => Some(why.contains(text)),
            _ => None,
        });
        down.any(|is_it| is_it)
    };
    until("the reason is told", || {
        heard("is for a.example, not for 127.0.0.1")
    })
    .await;
    until("it is in the status", || {
        let trouble = replica.trouble();
        trouble.is_some_and(|why| why.contains("is for a.example, not for 127.0.0.1"))
    })
    .await;
    assert_eq!(replica.reader().current()["a"], 4);
    secure.change(pki.tls());
    until("it follows again", || replica.status() == Status::Live).await;
    let at = client.put("t", "a", &5).await.unwrap();
    replica.wait_for(at, HANG).await.unwrap();
}

#[tokio::test]
async fn files_that_cannot_be_used_are_named_when_the_client_is_built() {
    let pki = Pki::new();
    let one = pki.authority.issue_client("one").write(pki.path(), "one");
    let two = pki.authority.issue_client("two").write(pki.path(), "two");
    let broken = pki.path().join("broken.pem");
    std::fs::write(&broken, "-----BEGIN CERTIFICATE-----\nAAAA\n").unwrap();
    // Its content must not be part of the message.
    let one_line = pki.path().join("one_line.key");
    let key = std::fs::read_to_string(&one.key).unwrap();
    std::fs::write(&one_line, key.replace('\n', " ")).unwrap();
    // As older versions of OpenSSL write a key with a passphrase.
    let locked = pki.path().join("locked.key");
    let lines = "-----BEGIN EC PRIVATE KEY-----\nProc-Type: 4,ENCRYPTED\nDEK-Info: AES-128-CBC,00\n\nAAAA\n\
                 -----END EC PRIVATE KEY-----\n";
    std::fs::write(&locked, lines).unwrap();
    let missing = pki.path().join("missing.pem");
    let https = || Client::builder("https://127.0.0.1:1").tls_ca(&pki.ca);
    let cases = [
        (
            https().tls_ca(&missing),
            "missing.pem cannot be used for TLS: No such file",
        ),
        (
            https().tls_ca(&broken),
            "broken.pem cannot be used for TLS: it ends within a PEM section",
        ),
        (
            https().tls_identity(&one.chain, &one_line),
            "one_line.key cannot be used for TLS: it ends within a PEM section, or has no line breaks",
        ),
        (
            https().tls_identity(&one.chain, &locked),
            "locked.key cannot be used for TLS: it has no private key without a passphrase",
        ),
        (
            https().tls_ca(&one.key),
            "one.key cannot be used for TLS: it has no certificate",
        ),
        (
            https().tls_identity(&one.chain, &missing),
            "missing.pem cannot be used",
        ),
        (
            https().tls_identity(&one.chain, &one.chain),
            "one.pem cannot be used for TLS: it has no private key",
        ),
        (
            https().tls_identity(&one.key, &one.key),
            "one.key cannot be used for TLS: it has no certificate",
        ),
        (
            https().tls_identity(&one.chain, &two.key),
            "it does not go with the key in",
        ),
        (
            Client::builder("http://127.0.0.1:1").tls_ca(&pki.ca),
            "give it as https://",
        ),
        (
            Client::builder("http://127.0.0.1:1").tls_identity(&one.chain, &one.key),
            "give it as https://",
        ),
    ];
    for (builder, message) in cases {
        let error = builder.build().unwrap_err();
        assert!(matches!(error, Error::BadTls(_)), "{error:?}");
        assert_eq!(error.code(), Code::BadConfig);
        assert!(error.to_string().contains(message), "{error} / {message}");
    }
    let named = Client::builder("https://a..b").tls_ca(&pki.ca).build();
    assert!(matches!(named, Err(Error::BadUrl(_))), "{named:?}");
}

#[tokio::test]
async fn files_that_have_changed_are_read_for_the_next_connection() {
    let (api, pki, next) = (Api::start().await, Pki::new(), Authority::new());
    let here = ["127.0.0.1"];
    let files = pki.authority.issue_client("api-7").write(pki.path(), "own");
    let tls = pki.tls().for_clients_of(&pki.authority);
    let secure = Terminator::start(api.address, tls).await;
    let client = builder(&secure.url(), &pki).tls_identity(&files.chain, &files.key);
    let client = client.build().unwrap();
    let replica: Replica<Numbers> = client.replica("t").await.unwrap();
    // Half a change cannot be used, and does no harm.
    let new = next.issue_client("api-7");
    std::fs::write(&files.key, &new.key).unwrap();
    secure.change(pki.tls().for_clients_of(&pki.authority));
    let at = client.put("t", "a", &1).await.unwrap();
    replica.wait_for(at, HANG).await.unwrap();
    // The rest: another authority, on both ends.
    new.write(pki.path(), "own");
    next.write(pki.path());
    secure.change(Tls::of(&next.issue(&here)).for_clients_of(&next));
    let at = client.put("t", "a", &2).await.unwrap();
    replica.wait_for(at, HANG).await.unwrap();
}
