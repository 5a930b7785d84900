//! Commands through a server that speaks TLS: the options for it, and the advice where certificates do not fit.

use super::{Place, Ran, hotread, serving::Serving};
use hotread_testkit::certificates::{Authority, Certificate};
use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};

const HERE: &[&str] = &["127.0.0.1"];

/// A server with a certificate, and the files of its clients.
struct Secure {
    place: Place,
    url: String,
    ca: String,
    _serving: Serving,
}

impl Secure {
    fn start(authority: &Authority, certificate: &Certificate, more: &[&str]) -> Self {
        let place = Place::with_table();
        let path = |path: std::path::PathBuf| path.to_str().unwrap().to_owned();
        let ca = path(authority.write(&place.path("")));
        let files = certificate.write(&place.path(""), "server");
        let (chain, key) = (path(files.chain), path(files.key));
        let more = more.iter().map(|arg| match *arg {
            "CA" => &*ca,
            arg => arg,
        });
        let more: Vec<_> = more.collect();
        let own = ["--tls-cert", &chain, "--tls-key", &key];
        let serving = Serving::start(&place, &[&own[..], &more].concat());
        let url = serving.url().replace("http:", "https:");
        Self {
            place,
            url,
            ca,
            _serving: serving,
        }
    }

    /// Returns a command for the server, without its authority.
    fn command(&self, args: &[&str]) -> Command {
        let mut command = hotread();
        command.env("HOTREAD_URL", &self.url).args(args);
        command
    }

    fn run(&self, args: &[&str]) -> Ran {
        self.command(args).output().unwrap().into()
    }

    fn file(&self, name: &str) -> String {
        self.place.path(name).to_str().unwrap().to_owned()
    }
}

#[test]
fn commands_go_through_a_server_that_speaks_tls() {
    let authority = Authority::new();
    let server = Secure::start(&authority, &authority.issue(HERE), &[]);
    let ca = ["--tls-ca", &server.ca];
    server
        .run(&[&["set", "t", "a", "1"][..], &ca].concat())
        .ok();
    let by_variable = |args: &[&str]| {
        let mut command = server.command(args);
        command.env("HOTREAD_TLS_CA", &server.ca);
        command
    };
    let got: Ran = by_variable(&["get", "t", "a"]).output().unwrap().into();
    assert_eq!(got.ok().trim(), "1");
    let exported: Ran = by_variable(&["export", "t"]).output().unwrap().into();
    assert!(exported.ok().contains("\"a\""));
    let mut watching = by_variable(&["watch", "t", "--state", "--json"])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut line = String::new();
    let mut out = BufReader::new(watching.stdout.take().unwrap());
    out.read_line(&mut line).unwrap();
    assert!(line.contains("\"a\""), "{line}");
    watching.kill().unwrap();
    watching.wait().unwrap();
}

#[test]
fn a_certificate_that_does_not_fit_is_explained_with_its_option() {
    let (authority, other) = (Authority::new(), Authority::new());
    let server = Secure::start(&authority, &authority.issue(HERE), &[]);
    let strange = server.file("other.pem");
    std::fs::write(&strange, other.pem()).unwrap();
    let list = |args: &[&str]| server.run(&[&["table", "list"][..], args].concat());
    list(&["--tls-ca", &strange]).failed(5, "(`--tls-ca FILE`)");
    let error = list(&["--json", "--tls-ca", &strange]).failed_json(5, "TLS_FAILED");
    let message = error["message"].as_str().unwrap();
    assert!(
        message.contains("was not issued by an authority in"),
        "{message}"
    );
    assert!(message.starts_with(&server.url), "{message}");
    let plain = server.url.replace("https:", "http:");
    let error = list(&["--json", "--url", &plain]).failed_json(5, "TLS_FAILED");
    let message = error["message"].as_str().unwrap();
    assert!(
        message.starts_with(&plain) && message.contains("give an address with https://"),
        "{message}"
    );

    let expired = Secure::start(&authority, &authority.issue_expired(HERE), &[]);
    let ran = expired.run(&["table", "list", "--tls-ca", &expired.ca]);
    ran.failed(5, "certificate expired at");
    let named = Secure::start(&authority, &authority.issue(&["a.example"]), &[]);
    let ran = named.run(&["table", "list", "--tls-ca", &named.ca]);
    ran.failed(5, "is for a.example, not for 127.0.0.1");
}

#[test]
fn a_client_certificate_is_given_by_two_options() {
    let authority = Authority::new();
    let certificate = authority.issue(HERE);
    let server = Secure::start(&authority, &certificate, &["--tls-client-ca", "CA"]);
    let own = authority
        .issue_client("ann")
        .write(&server.place.path(""), "own");
    let (chain, key) = (own.chain.to_str().unwrap(), own.key.to_str().unwrap());
    let set = ["set", "t", "a", "1", "--tls-ca", &server.ca];
    let advice = "(`--tls-client-cert FILE --tls-client-key FILE`)";
    server.run(&set).failed(5, advice);
    let identity = ["--tls-client-cert", chain, "--tls-client-key", key];
    server.run(&[&set[..], &identity].concat()).ok();
    let mut history = server.command(&["history", "t"]);
    history
        .env("HOTREAD_TLS_CA", &server.ca)
        .env("HOTREAD_TLS_CLIENT_CERT", chain)
        .env("HOTREAD_TLS_CLIENT_KEY", key);
    let history: Ran = history.output().unwrap().into();
    let history = history.ok();
    assert!(history.contains("ann"), "{history}");
}
