//! The programs of docs/guide/tutorial.md do what the page says.

use crate::common::HANG;
use hotread_client::blocking::Client;
use hotread_server::{Server, Store};
use std::io::{BufRead, BufReader};
use std::process::{Child, Stdio};
use std::sync::mpsc::channel;
use tokio::net::TcpListener;

/// Includes a program of the page, whose `main` is `run`.
macro_rules! program {
    ($name:ident, $file:literal) => {
        mod $name {
            include!(concat!("../../../../docs/guide/tutorial/", $file));

            pub(super) fn run() {
                main().unwrap();
            }
        }
    };
}

program!(embedded, "embedded.rs");
program!(served, "served.rs");
program!(follow, "follow.rs");

struct Killed(Child);

impl Drop for Killed {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn the_programs_do_what_the_page_says() {
    match hotread_testkit::part().as_deref() {
        Some("embedded") => return embedded::run(),
        Some("served") => return served::run(),
        Some("follow") => return follow::run(),
        _ => {}
    }
    let test = hotread_testkit::this_test();
    let folder = hotread_testkit::folder();
    let program = |part: &str, url: &str| {
        let mut command = hotread_testkit::process(&test, part);
        command.current_dir(folder.path()).env("HOTREAD_URL", url);
        command
    };
    let run = |part: &str, url: &str, seq: u64| {
        let output = program(part, url).output().unwrap();
        assert!(output.status.success(), "{part}: {output:?}");
        let said = String::from_utf8(output.stdout).unwrap();
        let written = format!("written at seq {seq}\n");
        for line in ["worker: checkout is on for 5 %\n", &written] {
            assert!(said.contains(line), "{part}: {said}");
        }
    };
    run("embedded", "", 1);
    run("embedded", "", 2);

    let runtime = tokio::runtime::Runtime::new().unwrap();
    let store = Store::open(folder.path().join("flags.db")).unwrap();
    let url = runtime.block_on(async {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let server = Server::builder(store).build().unwrap();
        tokio::spawn(server.serve(listener, std::future::pending()));
        url
    });
    run("served", &url, 3);

    let mut command = program("follow", &url);
    let mut follower = Killed(command.stdout(Stdio::piped()).spawn().unwrap());
    let said = BufReader::new(follower.0.stdout.take().unwrap());
    let (line, lines) = channel();
    std::thread::spawn(move || {
        for said in said.lines().map_while(Result::ok) {
            let _ = line.send(said);
        }
    });
    let until = |wanted: &str| {
        while !lines.recv_timeout(HANG).expect(wanted).contains(wanted) {}
    };
    until("checkout is on for 5 %");
    until("Live, ");
    let any = Client::new(&url).unwrap();
    let any = any.table::<hotread_client::Value>("flags").unwrap();
    let half = hotread_client::Value::parse(br#"{"percent": 50}"#).unwrap();
    any.put("checkout", &half).unwrap();
    until("checkout is on for 50 %");
}
