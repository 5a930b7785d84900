//! `hotread serve` with TLS: its settings, its first line, its log, and certificates that are renewed.

use super::config::{log, until};
use super::{Place, serving::Serving};
use hotread_testkit::certificates::{Authority, Certificate};
use std::process::Command;
use std::time::{Duration, SystemTime};

/// Host of the certificates.
const HOST: &[&str] = &["127.0.0.1"];
const DAY: Duration = Duration::from_secs(24 * 60 * 60);

/// Writes the files of a server, and returns their flags.
fn flags(place: &Place, certificate: &Certificate) -> [String; 4] {
    let files = certificate.write(&place.path(""), "server");
    let path = |path: std::path::PathBuf| path.to_str().unwrap().to_owned();
    [
        "--tls-cert".into(),
        path(files.chain),
        "--tls-key".into(),
        path(files.key),
    ]
}

fn start(place: &Place, authority: &Authority, certificate: &Certificate) -> Serving {
    let flags = flags(place, certificate);
    let flags: Vec<_> = flags.iter().map(String::as_str).collect();
    Serving::start(place, &flags).trusting(authority)
}

fn hang_up(serving: &Serving) {
    let pid = serving.pid().to_string();
    let told = Command::new("kill").args(["-HUP", &pid]).status().unwrap();
    assert!(told.success());
}

#[test]
fn a_server_with_a_certificate_is_at_https_and_nowhere_else() {
    let place = Place::with_table();
    let authority = Authority::new();
    let flags = flags(&place, &authority.issue(HOST));
    let flags: Vec<_> = flags.iter().map(String::as_str).collect();
    let serving = Serving::start(&place, &[&["--json"], &flags[..]].concat());
    // Without TLS: one readable answer.
    let (status, body) = serving.ask("GET", "/healthz", "", "");
    assert_eq!(status, 400);
    assert!(
        body.contains("this port speaks TLS; use https://"),
        "{body}"
    );
    let serving = serving.trusting(&authority);
    assert_eq!(serving.ask("GET", "/healthz", "", "").0, 200);
    let put = serving.ask("PUT", "/v1/tables/t/records/k", "", r#"{"value":1}"#);
    assert_eq!(put.0, 201, "{put:?}");
    let busy = place.run(&["set", "t", "k", "2", "--wait", "0s"]);
    busy.failed(5, &format!("https://{}", serving.address));
    let stranger = serving.trusting(&Authority::new());
    let refused = stranger.try_ask("GET", "/healthz", "", "").unwrap_err();
    assert!(refused.to_string().contains("UnknownIssuer"), "{refused}");
    let log = stranger.stop();
    assert!(log.contains("a TLS handshake failed"), "{log}");
}

#[test]
fn files_of_the_settings_are_relative_to_their_file_and_belong_together() {
    let place = Place::with_table();
    let authority = Authority::new();
    std::fs::create_dir(place.path("etc")).unwrap();
    authority.issue(HOST).write(&place.path("etc"), "server");
    let file = place.file(
        "etc/hotread.toml",
        "tls_cert = 'server.pem'\ntls_key = 'server.key'\n",
    );
    let serving = Serving::start(&place, &["--config", &file]).trusting(&authority);
    assert_eq!(serving.ask("GET", "/healthz", "", "").0, 200);
    drop(serving);
    let printed = place
        .run(&["serve", "--config", &file, "--print-config"])
        .ok();
    let key = place.path("etc/server.key").display().to_string();
    assert!(
        printed.contains(&format!("tls_key = \"{key}\"  # {file}:2\n")),
        "{printed}"
    );

    for (settings, said) in [
        (
            "tls_cert = 'server.pem'",
            "tls_cert is given without tls_key",
        ),
        (
            "tls_key = 'server.key'",
            "tls_key is given without tls_cert",
        ),
        (
            "tls_client_ca = 'ca.pem'",
            "tls_client_ca is given without tls_cert",
        ),
        (
            "tls_cert = 'server.pem'\ntls_key = 'server.pem'",
            "has no private key",
        ),
        (
            "tls_cert = 'none.pem'\ntls_key = 'server.key'",
            "none.pem cannot be read",
        ),
    ] {
        let file = place.file("etc/wrong.toml", settings);
        let ran = place.run(&["serve", "--config", &file, "--listen", "127.0.0.1:0"]);
        assert_eq!(ran.out, "", "{settings}");
        ran.failed(5, said);
    }
}

#[test]
fn a_certificate_that_cannot_be_used_leaves_no_new_database_behind() {
    let place = Place::new();
    let files = ["--tls-cert", "none.pem", "--tls-key", "none.key"];
    let ran = place.run(&[&["serve", "--listen", "127.0.0.1:0"], &files[..]].concat());
    ran.failed(5, "none.pem cannot be read");
    assert!(!place.db().exists());
}

#[test]
fn other_machines_are_served_with_a_token_and_a_certificate() {
    let place = Place::with_table();
    let ran = place.run(&["serve", "--listen", "0.0.0.0:0"]);
    ran.failed(
        5,
        "add `--tls-cert FILE --tls-key FILE` or `--allow-plaintext`",
    );
    place
        .run(&["token", "create", "ops", "--role", "admin", "--json"])
        .ok();
    let flags = flags(&place, &Authority::new().issue(HOST));
    let flags: Vec<_> = flags.iter().map(String::as_str).collect();
    let serving = Serving::start_at(&place, "0.0.0.0:0", &flags);
    assert!(
        serving.address.starts_with("0.0.0.0:"),
        "{}",
        serving.address
    );
}

#[test]
fn renewed_files_are_used_on_a_hangup_or_by_themselves() {
    let place = Place::with_table();
    let (first, second, third) = (Authority::new(), Authority::new(), Authority::new());
    let mut serving = start(&place, &first, &first.issue(HOST));
    let log = log(&mut serving);
    second.issue(HOST).write(&place.path(""), "server");
    hang_up(&serving);
    until(&log, "certificate read");
    let serving = serving.trusting(&second);
    assert_eq!(serving.ask("GET", "/healthz", "", "").0, 200);

    // A pair that does not fit is reported, once, and changes nothing.
    let pem = third.issue(HOST).chain;
    place.file("server.pem", pem);
    hang_up(&serving);
    let said = until(&log, "the certificate stays as it was");
    assert!(
        said.contains("is not that of the first certificate of"),
        "{said}"
    );
    assert!(said.contains("settings read again"), "{said}");
    assert_eq!(serving.ask("GET", "/healthz", "", "").0, 200);

    third.issue(HOST).write(&place.path(""), "server");
    let said = until(&log, "certificate read");
    assert!(!said.contains("stays as it was"), "{said}");
    assert_eq!(
        serving.trusting(&third).ask("GET", "/healthz", "", "").0,
        200
    );
}

#[test]
fn the_log_warns_of_a_certificate_that_expires_soon_or_has_expired() {
    let place = Place::with_table();
    let authority = Authority::new();
    let log_of = |certificate: &Certificate| start(&place, &authority, certificate).stop();
    let until = |days: u32| authority.issue_until(HOST, SystemTime::now() + days * DAY);
    let log = log_of(&until(13));
    assert!(
        log.contains("the certificate expires soon; renew it"),
        "{log}"
    );
    let log = log_of(&until(15));
    assert!(!log.contains("renew it"), "{log}");
    let log = log_of(&authority.issue_expired(HOST));
    assert!(log.contains("the certificate has expired"), "{log}");
    let log = log_of(&authority.issue_for_tomorrow(HOST));
    assert!(log.contains("the certificate is not valid yet"), "{log}");
}
