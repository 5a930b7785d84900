//! Messages about servers, their tokens and their settings.

use super::{quoted, said};
use crate::{Place, Ran, serving::Serving};
use hotread_testkit::certificates::Authority;
use std::io::{Read, Write};

#[test]
fn tokens_are_made_in_the_order_that_the_messages_give() {
    let place = Place::with_table();
    let create = |name: &str, more: &[&str]| {
        place.run(&[&["token", "create", name][..], more, &["--json"]].concat())
    };
    let reader = || place.run(&["token", "create", "api", "--role", "read"]);
    said(reader(), 1, "make that one first");
    let id = |ran: Ran| ran.json()[0]["id"].as_str().unwrap().to_owned();
    let ops = id(create("ops", &["--role", "admin"]));
    assert_eq!(reader().code, 0);
    said(
        place.run(&["token", "create", "a", "--role", "chief"]),
        2,
        "`read`, `write` or `admin`",
    );
    let over = [
        "token",
        "create",
        "b",
        "--role",
        "read",
        "--expires-at",
        "2001-01-01T00:00:00Z",
    ];
    said(place.run(&over), 1, "give a later time");
    let message = said(
        place.run(&["token", "revoke", "0123"]),
        3,
        "there is no token",
    );
    let list = place.typed(&quoted(&message)[0], &["--json"]).json();
    let api = list.iter().find(|token| token["name"] == "api").unwrap()["id"]
        .as_str()
        .unwrap();
    said(
        place.run(&["token", "revoke", &ops]),
        1,
        "make another one, or revoke the other tokens first",
    );
    place.run(&["token", "revoke", api]).ok();
    place.run(&["token", "revoke", &ops]).ok();
    let ops = id(create("ops", &["--role", "admin"]));
    assert_eq!(reader().code, 0);
    id(create("ops2", &["--role", "admin"]));
    place.run(&["token", "revoke", &ops]).ok();
}

#[test]
fn a_server_that_wants_a_token_gets_it_in_both_ways() {
    let place = Place::with_table();
    let secret = |role: &str| {
        let args = ["token", "create", role, "--role", role, "--json"];
        place.run(&args).json()[0]["secret"]
            .as_str()
            .unwrap()
            .to_owned()
    };
    let (admin, reader) = (secret("admin"), secret("read"));
    let serving = Serving::start(&place, &[]);
    said(
        serving.run(&["table", "list"]),
        4,
        "set HOTREAD_TOKEN, or give --token",
    );
    serving.run(&["table", "list", "--token", &reader]).ok();
    let mut command = serving.command(&["table", "list"]);
    Ran::from(command.env("HOTREAD_TOKEN", &reader).output().unwrap()).ok();
    said(
        serving.run(&["table", "list", "--token", "hr_1"]),
        4,
        "was sent",
    );
    said(
        serving.run(&["set", "t", "k", "1", "--token", &reader]),
        4,
        "write",
    );
    serving.run(&["set", "t", "k", "1", "--token", &admin]).ok();
    let list = serving
        .run(&["token", "list", "--json", "--token", &admin])
        .json();
    let id = list.iter().find(|token| token["name"] == "admin").unwrap()["id"]
        .as_str()
        .unwrap();
    let reader = list.iter().find(|token| token["name"] == "read").unwrap()["id"]
        .as_str()
        .unwrap();
    let revoke = |id: &str| serving.run(&["token", "revoke", id, "--token", &admin]);
    revoke(reader).ok();
    said(revoke(id), 1, "create another one first");
    let other = [
        "token", "create", "b", "--role", "admin", "--json", "--token", &admin,
    ];
    serving.run(&other).json();
    revoke(id).ok();
}

#[test]
fn a_server_is_started_as_its_refusals_say() {
    let place = Place::with_table();
    let serving = Serving::start(&place, &[]);
    let other = Place::with_table();
    let message = said(
        other.run(&["serve", "--listen", &serving.address]),
        5,
        "choose another with --listen; port 0 is any free one",
    );
    assert!(message.contains(&serving.address), "{message}");
    Serving::start_at(&other, "127.0.0.1:0", &[]).stop();

    // A Host and an Origin that are not allowed, and a forwarded request.
    let host = |serving: &Serving| {
        let mut socket = std::net::TcpStream::connect(&serving.address).unwrap();
        let request =
            "GET /v1/tables HTTP/1.1\r\nhost: flags.internal\r\nconnection: close\r\n\r\n";
        socket.write_all(request.as_bytes()).unwrap();
        let mut answer = String::new();
        socket.read_to_string(&mut answer).unwrap();
        answer
    };
    let answer = host(&serving);
    assert!(
        answer.contains(" 403 ") && answer.contains("allow the host when starting it"),
        "{answer}"
    );
    let ask = |serving: &Serving, headers: &str| serving.ask("GET", "/v1/tables", headers, "");
    let origin = "origin: https://a.example\r\n";
    let (status, body) = ask(&serving, origin);
    assert!(
        status == 403 && body.contains("allow the origin when starting it"),
        "{body}"
    );
    let (status, body) = ask(&serving, "x-forwarded-for: 203.0.113.9\r\n");
    assert!(
        status == 401 && body.contains("create one before a proxy"),
        "{body}"
    );
    drop(serving);
    let hosts = ["--allowed-host", "flags.internal"];
    let origins = ["--allowed-origin", "https://a.example"];
    let serving = Serving::start(&place, &[hosts, origins].concat());
    assert!(host(&serving).contains(" 200 "));
    assert_eq!(ask(&serving, origin).0, 200);
    drop(serving);
    let admin = place
        .run(&["token", "create", "ops", "--role", "admin", "--json"])
        .json();
    let serving = Serving::start(&place, &[]);
    let secret = admin[0]["secret"].as_str().unwrap();
    let headers = format!("x-forwarded-for: 203.0.113.9\r\nauthorization: Bearer {secret}\r\n");
    assert_eq!(ask(&serving, &headers).0, 200);
    drop(serving);

    // Types all commands that other machines need, as the message says.
    let everywhere = ["serve", "--listen", "0.0.0.0:0"];
    let message = said(other.run(&everywhere), 5, "Type `hotread token create");
    other.typed(&quoted(&message)[0], &["--json"]).json();
    let parts: Vec<_> = message.split('`').skip(1).step_by(2).collect();
    let [_, encrypt, allow] = parts[..] else {
        panic!("{message}");
    };
    let serving = Serving::start_at(&other, "0.0.0.0:0", &[allow]);
    assert_eq!(serving.ask("GET", "/healthz", "", "").0, 200);
    drop(serving);
    let authority = Authority::new();
    let files = authority
        .issue(&["0.0.0.0"])
        .write(&other.path(""), "server");
    let files = [files.chain, files.key].map(|path| path.to_str().unwrap().to_owned());
    let mut files = files.iter().map(String::as_str);
    let encrypt = encrypt.split(' ').map(|word| match word {
        "FILE" => files.next().unwrap(),
        word => word,
    });
    let encrypt: Vec<_> = encrypt.collect();
    let serving = Serving::start_at(&other, "0.0.0.0:0", &encrypt).trusting(&authority);
    assert_eq!(serving.ask("GET", "/healthz", "", "").0, 200);
    drop(serving);
    let no_create = ["--db", "no.db", "--no-create"];
    let serve = [&["serve"], &no_create[..]].concat();
    let message = said(other.run(&serve), 5, "does not exist");
    other
        .typed(&quoted(&message)[0], &["t", "--db", "no.db"])
        .ok();
    Serving::start(&other, &no_create).stop();
}

#[test]
fn a_configuration_is_corrected_as_its_problems_say() {
    let place = Place::with_table();
    let wrong = place.file(
        "wrong.toml",
        "lissten = '127.0.0.1:0'\n[server]\nheartbeat_ms = 1\n",
    );
    let message = said(
        place.run(&["serve", "--config", &wrong]),
        5,
        "did you mean listen?",
    );
    let check = place.typed(&quoted(&message)[0], &[]);
    let problems: Vec<_> = check.out.lines().collect();
    assert_eq!(problems.len(), 2, "{check:?}");
    assert!(problems[1].ends_with("give at least 10"), "{check:?}");
    let right = place.file(
        "right.toml",
        "listen = '127.0.0.1:0'\n[server]\nheartbeat_ms = 10\n",
    );
    let serving = Serving::spawn(&mut place.command(&["serve", "--config", &right]));
    serving.stop();
    said(place.run(&["config", "check"]), 2, "name one");
    place.run(&["config", "check", &right]).ok();
}

#[test]
fn several_addresses_of_a_server_are_tried_until_one_answers() {
    let place = Place::with_table();
    let serving = Serving::start(&place, &[]);
    let closed = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let refusing = closed.local_addr().unwrap();
    drop(closed);
    // Each run begins with either of the two.
    for n in 0..6 {
        let url = format!("{refusing}, http://{}", serving.address);
        let value = n.to_string();
        serving.run(&["set", "t", "k", &value, "--url", &url]).ok();
        assert_eq!(serving.run(&["get", "t", "k", "--raw"]).ok().trim(), value);
    }
    let mixed = format!("http://{refusing},https://{refusing}");
    serving
        .run(&["get", "t", "k", "--url", &mixed])
        .failed(2, "all of them as https://");
}
