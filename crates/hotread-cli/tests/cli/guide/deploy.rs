//! The files of docs/guide/deploy: what they start works, and what they name exists.

use super::super::serving::Serving;
use super::super::{Place, Ran, hotread};
use super::page::{guide, root};
use std::process::Command;

/// Folders that the files name, and those of a test that take their place.
const PATHS: [(&str, &str); 3] = [
    ("/var/lib/hotread", "lib"),
    ("/var/backups/hotread", "backups"),
    ("/etc/hotread", "etc"),
];

/// A machine to deploy to: a folder with the paths of the files in it.
struct Machine(Place);

impl Machine {
    fn new() -> Self {
        let machine = Self(Place::new());
        for (_, folder) in PATHS {
            std::fs::create_dir(machine.0.path(folder)).unwrap();
        }
        let settings = machine.here(&guide("deploy/hotread.toml"));
        machine.0.file("etc/hotread.toml", settings);
        machine
    }

    /// A text with the paths of this machine, where the port is any free one.
    fn here(&self, text: &str) -> String {
        let mut text = text.replace("127.0.0.1:7400", "127.0.0.1:0");
        for (path, folder) in PATHS {
            text = text.replace(path, self.0.path(folder).to_str().unwrap());
        }
        let binary = env!("CARGO_BIN_EXE_hotread");
        text.replace("/usr/local/bin/hotread ", &format!("{binary} "))
    }

    /// The command of a line without quotes.
    fn command(&self, line: &str) -> Command {
        let line = self.here(line);
        let mut words = line.split_whitespace();
        let mut command = Command::new(words.next().unwrap());
        for (name, _) in hotread().get_envs() {
            command.env_remove(name);
        }
        command.args(words).current_dir(self.0.path(""));
        command
    }

    /// The database, with a token whose secret is returned.
    fn with_token(&self) -> String {
        let db = self.here("/var/lib/hotread/app.db");
        let args = ["--db", &db, "token", "create", "ops", "--role", "admin"];
        let ran = Ran::from(hotread().args(args).output().unwrap());
        assert_eq!(ran.code, 0, "{ran:?}");
        ran.out.trim().to_owned()
    }
}

/// The value of a key of a unit, or of each line with the key.
fn unit<'a>(text: &'a str, key: &str) -> Vec<&'a str> {
    let lines = text.lines().filter_map(|line| line.split_once('='));
    lines
        .filter(|(name, _)| *name == key)
        .map(|(_, value)| value)
        .collect()
}

/// The settings of a server, as its defaults or the file of this text have them.
fn settings(file: Option<&str>) -> toml::Table {
    let place = Place::new();
    let path = match file {
        Some(text) => place.file("hotread.toml", text),
        None => "/dev/null".to_owned(),
    };
    let mut print = hotread();
    print.args(["serve", "--print-config", "--config", &path]);
    toml::from_str(&Ran::from(print.output().unwrap()).ok()).unwrap()
}

fn number(settings: &toml::Table, key: &str) -> i64 {
    settings["server"][key].as_integer().expect(key)
}

#[test]
fn the_unit_serves_reloads_and_stops() {
    let machine = Machine::new();
    let secret = machine.with_token();
    let text = guide("deploy/hotread.service");
    let [start] = unit(&text, "ExecStart")[..] else {
        panic!("{text}");
    };
    let mut serving = Serving::spawn(&mut machine.command(start));
    let log = super::super::config::log(&mut serving);

    // Behind the proxy, with a token.
    let forwarded = format!("x-forwarded-for: 192.0.2.1\r\nauthorization: Bearer {secret}\r\n");
    assert_eq!(serving.ask("GET", "/v1/tables", &forwarded, "").0, 200);
    assert_eq!(serving.ask("GET", "/v1/tables", "", "").0, 401);
    assert_eq!(serving.ask("GET", "/readyz", "", "").0, 200);

    let settings = machine.here(&guide("deploy/hotread.toml"));
    machine
        .0
        .file("etc/hotread.toml", settings + "heartbeat_ms = 3000\n");
    let [reload] = unit(&text, "ExecReload")[..] else {
        panic!("{text}");
    };
    let reload = reload.replace("$MAINPID", &serving.pid().to_string());
    assert!(machine.command(&reload).status().unwrap().success());
    super::super::config::until(&log, "heartbeat_ms");
    serving.end();
    // What was made with `create = false` has to be there.
    std::fs::remove_file(machine.here("/var/lib/hotread/app.db")).unwrap();
    let ran = Ran::from(machine.command(start).output().unwrap());
    assert_eq!(ran.code, 5, "{ran:?}");
}

#[test]
fn the_units_bounds_fit_the_settings() {
    let text = guide("deploy/hotread.service");
    let settings = settings(Some(&guide("deploy/hotread.toml")));
    let one = |key: &str| -> i64 {
        let [value] = unit(&text, key)[..] else {
            panic!("{key}");
        };
        value.parse().unwrap_or_else(|_| panic!("{key}={value}"))
    };
    // As in hotread_server: the limit of open files, less those that are reserved.
    assert!(one("LimitNOFILE") >= number(&settings, "max_connections") + 128);
    assert!(one("TimeoutStopSec") * 1_000 > number(&settings, "drain_ms") + 5_000);
    let connections = ["max_connections", "max_connections_per_peer"];
    let [all, of_peer] = connections.map(|key| number(&settings, key));
    assert_eq!(all, of_peer, "all connections come from the proxy");
    let [state] = unit(&text, "StateDirectory")[..] else {
        panic!("{text}");
    };
    let db = settings["db"].as_str().unwrap();
    assert!(db.starts_with(&format!("/var/lib/{state}/")), "{db}");
    let page = guide("deployment.md");
    for shown in [
        "/etc/systemd/system/",
        "/etc/hotread/hotread.toml",
        "/usr/local/bin/",
    ] {
        assert!(page.contains(shown), "{shown}");
    }
}

#[test]
fn systemd_has_nothing_to_say_about_the_unit() {
    let machine = Machine::new();
    let file = machine.0.file(
        "hotread.service",
        machine.here(&guide("deploy/hotread.service")),
    );
    let verify = |args: &[&str]| {
        Command::new("systemd-analyze")
            .args(args)
            .arg(&file)
            .output()
    };
    let Ok(output) = verify(&["verify"]) else {
        eprintln!("SKIPPED: there is no systemd-analyze");
        return;
    };
    // What it says of other units is none of ours.
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(!said.contains("hotread.service"), "{said}");
    let output = verify(&["security", "--offline=true", "--threshold=20"]).unwrap();
    assert!(output.status.success(), "{output:?}");
}

#[test]
fn the_passphrase_of_the_unit_reaches_the_server() {
    let machine = Machine::new();
    let secret = machine.with_token();
    let text = guide("deploy/passphrase.conf");
    let environment = unit(&text, "Environment")[0];
    let credential = unit(&text, "LoadCredentialEncrypted")[0];
    let (name, path) = environment.split_once('=').unwrap();
    let id = credential.split(':').next().unwrap();
    assert_eq!(path, format!("%d/{id}"), "the credential's folder");
    let file = machine
        .0
        .file("passphrase", "correct horse battery staple\n");
    let unit_file = guide("deploy/hotread.service");
    let mut command = machine.command(unit(&unit_file, "ExecStart")[0]);
    let serving = Serving::spawn(command.env(name, file));
    let mut create = serving.command(&["table", "create", "keys", "--sealed"]);
    let ran = Ran::from(create.env("HOTREAD_TOKEN", secret).output().unwrap());
    ran.ok();
}

/// The lines of a container file, each with what continues it.
fn instructions(text: &str) -> Vec<(String, String)> {
    let lines: Vec<_> = text.lines().filter(|line| !line.starts_with('#')).collect();
    let whole = lines.join("\n").replace("\\\n", " ");
    let lines = whole.lines().filter_map(|line| line.split_once(' '));
    lines
        .map(|(name, rest)| (name.to_owned(), rest.trim().to_owned()))
        .collect()
}

#[test]
fn the_container_serves_once_it_has_a_token() {
    let machine = Machine::new();
    let instructions = instructions(&guide("deploy/Containerfile"));
    let of = |wanted: &str| -> Vec<&str> {
        let found = instructions.iter().filter(|(name, _)| name == wanted);
        found.map(|(_, rest)| rest.as_str()).collect()
    };
    let list = |wanted: &str| -> Vec<String> { serde_json::from_str(of(wanted)[0]).unwrap() };
    let words = [list("ENTRYPOINT"), list("CMD")].concat();
    assert_eq!(words[0], "hotread");
    let environment: Vec<(&str, &str)> = of("ENV")[0]
        .split_whitespace()
        .map(|pair| pair.split_once('=').unwrap())
        .collect();
    let page = guide("configuration.md");
    for (name, _) in &environment {
        assert!(
            page.contains(&format!("| `{name}` |")),
            "no setting has {name}"
        );
    }
    let serve = || {
        let mut command = hotread();
        command.args(&words[1..]).current_dir(machine.0.path(""));
        for (name, value) in &environment {
            command.env(name, machine.here(&value.replace(":7400", ":0")));
        }
        command
    };
    let ran = Ran::from(serve().output().unwrap());
    assert_eq!(ran.code, 5, "without a database: {ran:?}");
    let secret = machine.with_token();
    let mut serving = Serving::spawn(&mut serve());
    // It listens at all addresses.
    assert!(
        serving.address.starts_with("0.0.0.0:"),
        "{}",
        serving.address
    );
    serving.address = serving.address.replace("0.0.0.0", "127.0.0.1");
    let token = format!("authorization: Bearer {secret}\r\n");
    assert_eq!(serving.ask("GET", "/v1/tables", &token, "").0, 200);
    serving.end();

    // It is built as the repository says.
    let manifest = std::fs::read_to_string(root().join("Cargo.toml")).unwrap();
    let manifest: toml::Table = toml::from_str(&manifest).unwrap();
    let build = of("RUN").concat();
    for words in ["--profile dist", "-p hotread-cli", "--locked"] {
        assert!(build.contains(words), "{words}: {build}");
    }
    assert!(manifest["profile"]["dist"].is_table());
    let oldest = manifest["workspace"]["package"]["rust-version"]
        .as_str()
        .unwrap();
    assert!(
        of("FROM")[0].contains(&format!("rust:{oldest}-")),
        "{oldest}"
    );
    assert!(
        of("COPY")
            .iter()
            .any(|copy| copy.contains("/target/dist/hotread"))
    );
    let port = |text: &str| text.rsplit(':').next().unwrap().to_owned();
    let listen = environment
        .iter()
        .find(|(name, _)| *name == "HOTREAD_LISTEN");
    assert_eq!(of("EXPOSE"), [port(listen.unwrap().1)]);
    assert_eq!(of("STOPSIGNAL"), ["SIGTERM"]);
}

/// The arguments of a directive of nginx or HAProxy, on one line.
fn directive<'a>(text: &'a str, name: &str) -> Vec<Vec<&'a str>> {
    let lines = text
        .lines()
        .map(|line| line.split('#').next().unwrap_or_default());
    let lines = lines.filter_map(|line| line.trim().trim_end_matches(';').strip_prefix(name));
    lines
        .filter(|rest| rest.starts_with(' '))
        .map(|rest| rest.split_whitespace().collect())
        .collect()
}

#[test]
fn the_proxies_pass_on_what_a_server_needs() {
    let settings = settings(Some(&guide("deploy/hotread.toml")));
    let listen = settings["listen"].as_str().unwrap();
    // A session, or a stream, says nothing for a heartbeat.
    let silence_s = 3 * number(&settings, "heartbeat_ms") / 1_000;
    let seconds = |text: &str| -> i64 { text.strip_suffix('s').unwrap().parse().unwrap() };

    let nginx = guide("deploy/nginx.conf");
    assert_eq!(nginx.matches('{').count(), nginx.matches('}').count());
    assert_eq!(directive(&nginx, "server")[0], [listen]);
    let body = number(&settings, "max_replace_body_bytes") >> 20;
    assert_eq!(
        directive(&nginx, "client_max_body_size"),
        [[format!("{body}m")]]
    );
    for (name, value) in [
        ("proxy_http_version", "1.1"),
        ("proxy_buffering", "off"),
        ("proxy_request_buffering", "off"),
        ("proxy_next_upstream", "off"),
        // With a path, nginx would decode what it passes on.
        ("proxy_pass", "http://hotread"),
    ] {
        assert_eq!(directive(&nginx, name), [[value]], "{name}");
    }
    let headers = directive(&nginx, "proxy_set_header");
    for header in ["Upgrade", "Connection", "Host"] {
        assert!(headers.iter().any(|words| words[0] == header), "{header}");
    }
    for name in ["proxy_read_timeout", "proxy_send_timeout"] {
        assert!(seconds(directive(&nginx, name)[0][0]) > silence_s, "{name}");
    }

    let haproxy = guide("deploy/haproxy.cfg");
    assert!(directive(&haproxy, "server")[0].contains(&listen));
    assert_eq!(directive(&haproxy, "retries"), [["0"]]);
    let timeouts = directive(&haproxy, "timeout");
    for which in ["client", "server", "tunnel"] {
        let found = timeouts
            .iter()
            .find(|words| words[0] == which)
            .expect(which);
        assert!(seconds(found[1]) > silence_s, "{which}");
    }
}

#[test]
fn the_authority_of_the_page_serves_its_clients_and_renews() {
    let machine = Machine::new();
    let secret = machine.with_token();
    let tls = machine.0.path("etc/tls");
    std::fs::create_dir(&tls).unwrap();
    let script = root().join("docs/guide/deploy/hotread-certificates");
    let run = || {
        let mut command = Command::new(&script);
        let command = command.arg(&tls).args(["flags.example", "billing"]);
        command.output().unwrap()
    };
    let make = || {
        let output = run();
        assert!(output.status.success(), "{output:?}");
    };
    let version = Command::new("openssl").arg("version").output();
    if !version.is_ok_and(|version| version.stdout.starts_with(b"OpenSSL 3")) {
        eprintln!("SKIPPED: there is no OpenSSL 3");
        return;
    }
    make();
    let read = |name: &str| std::fs::read_to_string(tls.join(name)).unwrap();
    let settings = guide("deploy/hotread-tls.toml").replace("0.0.0.0:7400", "127.0.0.1:0");
    let file = machine.0.file("etc/hotread.toml", machine.here(&settings));
    let mut serving = Serving::spawn(hotread().args(["serve", "--config", &file]));
    let log = super::super::config::log(&mut serving);
    let token = format!("authorization: Bearer {secret}\r\n");
    let ask = |serving: &Serving| Some(serving.try_ask("GET", "/v1/tables", &token, "").ok()?.0);
    let (ca, client, key) = (read("ca.pem"), read("client.pem"), read("client.key"));
    let serving = serving.with_tls(&ca, None);
    assert_eq!(ask(&serving), None, "without a certificate");
    let serving = serving.with_tls(&ca, Some((&read("server.pem"), &read("server.key"))));
    assert_eq!(ask(&serving), None, "with that of the server");
    let serving = serving.with_tls(&ca, Some((&client, &key)));
    assert_eq!(ask(&serving), Some(200));
    let old = read("server.pem");
    make();
    assert!(read("ca.pem") == ca && read("server.pem") != old);
    super::super::config::until(&log, "certificate read");
    let serving = serving.with_tls(&ca, Some((&read("client.pem"), &read("client.key"))));
    assert_eq!(ask(&serving), Some(200));

    // Without the authority's key, nothing is issued, and no file changes.
    std::fs::rename(tls.join("ca.key"), machine.0.path("ca.key")).unwrap();
    let names = [
        "ca.pem",
        "server.pem",
        "server.key",
        "client.pem",
        "client.key",
    ];
    let before = names.map(read);
    let output = run();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(
        !output.status.success() && said.contains("ca.key is missing"),
        "{said}"
    );
    assert_eq!(names.map(read), before);
}

#[test]
fn a_night_leaves_a_new_backup_and_the_newest_old_ones() {
    let machine = Machine::new();
    machine.with_token();
    let cron = guide("deploy/hotread-backup.cron");
    let line = cron.lines().last().unwrap();
    let words: Vec<_> = line.split_whitespace().collect();
    let [_, _, _, _, _, user, script, db, folder, keep] = words[..] else {
        panic!("{line}");
    };
    assert_eq!((user, script), ("hotread", "hotread-backup"));
    let keep: usize = keep.parse().unwrap();
    for day in 1..=keep + 2 {
        machine
            .0
            .file(&format!("backups/app-2020-01-{day:02}T031500.db"), "");
    }
    machine.0.file("backups/other-2020-01-01T031500.db", "");
    let script = root().join("docs/guide/deploy").join(script);
    let binary = env!("CARGO_BIN_EXE_hotread");
    let folder_of_binary = binary.strip_suffix("/hotread").unwrap();
    let line = format!("{} {db} {folder} {keep}", script.display());
    let path = std::env::var("PATH").unwrap_or_default();
    let mut command = machine.command(&line);
    let output = command
        .env("PATH", format!("{folder_of_binary}:{path}"))
        .output()
        .unwrap();
    assert!(output.status.success(), "{output:?}");
    let files = std::fs::read_dir(machine.0.path("backups")).unwrap();
    let mut names: Vec<_> = files
        .map(|file| file.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    assert_eq!(names.len(), keep + 1, "{names:?}");
    assert_eq!(names.pop().unwrap(), "other-2020-01-01T031500.db");
    assert_eq!(names[0], "app-2020-01-04T031500.db");
    let newest = machine.0.path("backups").join(names.last().unwrap());
    let verify = Ran::from(
        hotread()
            .args(["verify", "--db"])
            .arg(&newest)
            .output()
            .unwrap(),
    );
    assert_eq!(verify.code, 0, "{verify:?}");
}
