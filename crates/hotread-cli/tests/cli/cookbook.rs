//! The commands of docs/guide/cookbook.md do what the page says.

use super::serving::Serving;
use super::{Place, Ran, hotread};
use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// Time after which a command counts as hung.
const HANG: Duration = Duration::from_secs(600);

/// Minimum number of commands in a section.
const FEWEST: usize = 13;

/// Address of the server in the page.
const ADDRESS: &str = "127.0.0.1:7400";

/// Returns the commands of a section, each with the output that follows it, if any.
fn commands(section: &str) -> Vec<(String, Option<String>)> {
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/guide/cookbook.md");
    let page = std::fs::read_to_string(page).unwrap();
    let mut sections = page.split("\n## ").filter_map(|it| it.split_once('\n'));
    let found = sections.find(|(heading, _)| *heading == section);
    let (_, text) = found.expect("the section");
    let mut found: Vec<(String, Option<String>)> = Vec::new();
    let mut in_code = false;
    for line in text.lines() {
        if line.starts_with("```") {
            in_code = line == "```sh";
        } else if let Some(output) = line.strip_prefix("#> ") {
            let (_, expected) = found.last_mut().expect("a command before its output");
            *expected.get_or_insert_default() += &format!("{output}\n");
        } else if in_code && !line.is_empty() && !line.starts_with('#') {
            found.push((line.to_owned(), None));
        }
    }
    found
}

/// Returns a shell that runs a line in the place, with the command in its path.
fn shell(place: &Place, line: &str) -> Command {
    let binary = Path::new(env!("CARGO_BIN_EXE_hotread"));
    let path = std::env::var("PATH").unwrap_or_default();
    let path = format!("{}:{path}", binary.parent().unwrap().display());
    let clean = hotread();
    let mut command = Command::new("sh");
    command.args(["-euc", line]).current_dir(place.0.path());
    for (name, _) in clean.get_envs() {
        command.env_remove(name);
    }
    command.env("PATH", path).stdin(Stdio::null());
    command
}

#[test]
fn the_one_liners_do_what_the_page_says() {
    let lines = commands("The command in one-liners");
    assert!(lines.len() >= FEWEST, "{}", lines.len());
    let place = Place::new();
    let (setting, lines) = lines.split_first().unwrap();
    let (name, db) = setting
        .0
        .strip_prefix("export ")
        .unwrap()
        .split_once('=')
        .unwrap();
    let mut serving = None;
    for (line, expected) in lines {
        let mut line = line.clone();
        let follows = line.contains(ADDRESS);
        if follows {
            let serving = serving.get_or_insert_with(|| {
                let mut serve = place.command(&["serve", "--listen", "127.0.0.1:0"]);
                Serving::spawn(serve.env(name, db))
            });
            line = line.replace(ADDRESS, &serving.address);
        }
        let is_endless = line.contains("--exec");
        if is_endless {
            // With `exec`, stopping the process stops the command, not the shell.
            line.insert_str(0, "exec ");
        }
        let mut command = shell(&place, &line);
        if !follows {
            command.env(name, db);
        }
        if is_endless {
            follow(&place, command);
            continue;
        }
        let ran: Ran = command.output().unwrap().into();
        assert_eq!(ran.code, 0, "{line}: {ran:?}");
        if let Some(expected) = expected {
            assert_eq!(ran.out, *expected, "{line}");
        }
    }
    assert!(serving.is_some(), "the page has examples with a server");
}

/// Runs the last command, which continues until it is stopped; its output is in a file.
fn follow(place: &Place, mut command: Command) {
    let mut child = command.stderr(Stdio::null()).spawn().unwrap();
    let log = place.path("changes.log");
    let begun = Instant::now();
    while !std::fs::read_to_string(&log).is_ok_and(|log| log.contains("\"light-mode\"")) {
        assert!(begun.elapsed() < HANG, "nothing was told");
        std::thread::sleep(Duration::from_millis(20));
    }
    let _ = child.kill();
    let _ = child.wait();
}

const OUI: &str = "Registry,Assignment,Organization Name,Organization Address\r\n\
    MA-L,002272,American Micro-Fuel Device Corp.,2181 Buchanan Loop Ferndale WA US 98248 \r\n\
    MA-L,080030,NETWORK RESEARCH CORPORATION,2380 N. ROSE AVENUE OXNARD CA US 93010 \r\n\
    MA-L,080030,CERN,CH-1211 GENEVE SUISSE/SWITZ CH  023 \r\n\
    MA-L,00D0EF,IGT,\"9295 PROTOTYPE DRIVE RENO NV US 89511 \"\r\n";
const GEOIP: &str =
    "# Last updated based on 2023\n# Data\n16777216,16777471,AU\n16777472,16778239,CN\n";
const GEOIP6: &str = "# IPv6\n2001:200::,2001:200:ffff:ffff:ffff:ffff:ffff:ffff,JP\n";
const COUNTRIES: &str = r#"{
  "3166-1": [
    {
      "alpha_2": "AW",
      "flag": "🇦🇼",
      "name": "Aruba",
      "numeric": "533"
    },
    {
      "alpha_2": "AF",
      "numeric": "004"
    }
  ]
}
"#;
const SUBDIVISIONS: &str =
    r#"{"3166-2": [{"code": "AD-02", "name": "Canillo", "type": "Parish"}]}"#;
const ZONES: &str = "# tzdb timezone descriptions\n#\n#codes\tcoordinates\tTZ\tcomments\n\
    AD\t+4230+00131\tEurope/Andorra\nAE,OM,RE,SC,TF\t+2518+05518\tAsia/Dubai\tCrozet\n";
const SUFFIXES: &str = "// This Source Code Form\n\n// ===BEGIN ICANN DOMAINS===\n\n// ac : x\nac\ncom.ac\n\
    \n*.ck\n!www.ck\n";
const SERVICES: &str = "# Network services, Internet style\n\ntcpmux\t\t1/tcp\t\t\t\t# TCP port service\n\
    http\t\t80/tcp\t\twww\t\t# WorldWideWeb HTTP\n\
    kerberos\t88/tcp\t\tkerberos5 krb5 kerberos-sec\t# Kerberos v5\ntime\t\t37/udp\t\ttimserver\n";
const PRICES: &[u8] = b"sku;name;price;stock\r\nA1;B\xe4r;19.90;5\r\nA2;;7;\r\n";
const LOG: &str = "{\"host\":\"a\",\"time\":1,\"text\":\"x\"}\n{\"time\":2}\n";
const FLAGS: &str = "{\"key\":\"a\",\"value\":{\"on\":true}}\n{\"key\":\"b\",\"value\":null}\n";
const PEOPLE: &str = r#"[{"id": "ann", "age": 50}, {"id": "bob", "age": null}]"#;

fn compressed(with: &str, text: &str) -> Vec<u8> {
    if with == "zstd" {
        // Some machines lack the zstd command. A frame can consist of one block that is stored
        // uncompressed.
        let mut frame = vec![
            0x28,
            0xb5,
            0x2f,
            0xfd,
            0x20,
            u8::try_from(text.len()).unwrap(),
        ];
        let header = u32::try_from(text.len()).unwrap() << 3 | 1;
        frame.extend_from_slice(&header.to_le_bytes()[..3]);
        frame.extend_from_slice(text.as_bytes());
        return frame;
    }
    let mut child = Command::new(with)
        .arg("-c")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    child
        .stdin
        .take()
        .unwrap()
        .write_all(text.as_bytes())
        .unwrap();
    child.wait_with_output().unwrap().stdout
}

#[test]
fn the_commands_for_files_do_what_the_page_says() {
    let place = Place::new();
    for (name, text) in [
        ("oui.csv", OUI.as_bytes()),
        ("geoip", GEOIP.as_bytes()),
        ("geoip6", GEOIP6.as_bytes()),
        ("iso_3166-1.json", COUNTRIES.as_bytes()),
        ("iso_3166-2.json", SUBDIVISIONS.as_bytes()),
        ("zone1970.tab", ZONES.as_bytes()),
        ("public_suffix_list.dat", SUFFIXES.as_bytes()),
        ("services", SERVICES.as_bytes()),
        ("prices.csv", PRICES),
        ("flags.ndjson", FLAGS.as_bytes()),
        ("people.json", PEOPLE.as_bytes()),
        ("monday.ndjson.gz", &compressed("gzip", LOG)),
        (
            "tuesday.ndjson.zst",
            &compressed("zstd", &LOG.replace('a', "b")),
        ),
    ] {
        place.file(name, text);
    }
    let commands = commands("Files in and out");
    assert!(commands.len() >= FEWEST, "{commands:?}");
    let has_jq = Command::new("jq").arg("--version").output().is_ok();
    for (command, _) in &commands {
        if command.starts_with("jq ") && !has_jq {
            continue;
        }
        // The samples lie in one folder.
        let words = command.split(' ').map(|word| match word.rsplit_once('/') {
            Some((folder, name)) if folder.starts_with("/usr/") || folder == "/etc" => name,
            _ => word,
        });
        let command = words.collect::<Vec<_>>().join(" ");
        let mut shell = shell(&place, &command);
        let ran: Ran = shell.env("HOTREAD_DB", place.db()).output().unwrap().into();
        // Exit code of imports that skip bad rows.
        let expected = if command.contains("--skip-bad") { 7 } else { 0 };
        assert_eq!(ran.code, expected, "{command}: {ran:?}");
    }
    let record = |table: &str, key: &str, value: &str| {
        let got = place.run(&["get", table, key]).ok();
        let (got, value): (serde_json::Value, serde_json::Value) = (
            serde_json::from_str(&got).unwrap(),
            serde_json::from_str(value).unwrap(),
        );
        assert_eq!(got, value, "{table} {key}");
    };
    let organization = r#"{"Registry":"MA-L","Organization Name":"CERN",
        "Organization Address":"CH-1211 GENEVE SUISSE/SWITZ CH  023 "}"#;
    record("oui", "080030", organization);
    record("geoip", "16777216", r#"{"end":16777471,"country":"AU"}"#);
    let end = "2001:200:ffff:ffff:ffff:ffff:ffff:ffff";
    record(
        "geoip6",
        "2001:200::",
        &format!(r#"{{"end":"{end}","country":"JP"}}"#),
    );
    record("countries", "AF", r#"{"numeric":"004"}"#);
    record(
        "subdivisions",
        "AD-02",
        r#"{"code":"AD-02","name":"Canillo","type":"Parish"}"#,
    );
    record(
        "zones",
        "Europe/Andorra",
        r#"{"countries":"AD","coordinates":"+4230+00131"}"#,
    );
    record("suffixes", "!www.ck", "{}");
    record("services", "1/tcp", r#"{"name":"tcpmux"}"#);
    record(
        "services",
        "88/tcp",
        r#"{"name":"kerberos","aliases":"kerberos5 krb5 kerberos-sec"}"#,
    );
    record("log", "b:1", r#"{"text":"x"}"#);
    record("prices", "A1", r#"{"name":"Bär","price":19.90,"stock":5}"#);
    record("prices", "A2", r#"{"name":null,"price":7,"stock":null}"#);
    record("people", "ann", r#"{"id":"ann","age":50}"#);
    assert_eq!(
        place.content(&place.db(), "flags"),
        place.content(&place.db(), "copy")
    );
}
