//! A running server, and commands that go through it.

use super::{Place, Ran, hotread};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::process::{Child, Command, Stdio};

/// A running server; killed on drop.
pub(super) struct Serving {
    child: Child,
    /// Its address, as `address:port`.
    pub(super) address: String,
}

impl Drop for Serving {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Serving {
    pub(super) fn start(place: &Place, more: &[&str]) -> Self {
        Self::start_at(place, "127.0.0.1:0", more)
    }

    pub(super) fn start_at(place: &Place, address: &str, more: &[&str]) -> Self {
        let args = [&["serve", "--listen", address], more].concat();
        Self::spawn(&mut place.command(&args))
    }

    /// Returns the stderr with its log, which [`stop`](Self::stop) then no longer returns.
    pub(super) fn stderr(&mut self) -> std::process::ChildStderr {
        self.child.stderr.take().unwrap()
    }

    pub(super) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Starts a command that serves.
    pub(super) fn spawn(command: &mut Command) -> Self {
        let mut child = command
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        let mut out = BufReader::new(child.stdout.as_mut().unwrap());
        out.read_line(&mut line).unwrap();
        let address = line
            .trim()
            .rsplit_once("http://")
            .map(|(_, address)| address);
        let Some(address) = address.map(|address| address.trim_end_matches("\"}").to_owned())
        else {
            let _ = child.kill();
            let mut err = String::new();
            child
                .stderr
                .take()
                .unwrap()
                .read_to_string(&mut err)
                .unwrap();
            panic!("{line:?} {err}");
        };
        Self { child, address }
    }

    pub(super) fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Returns a command that goes through the server.
    pub(super) fn command(&self, args: &[&str]) -> Command {
        let mut command = hotread();
        command.env("HOTREAD_URL", self.url()).args(args);
        command
    }

    pub(super) fn run(&self, args: &[&str]) -> Ran {
        self.command(args).output().unwrap().into()
    }

    pub(super) fn run_with(&self, input: &str, args: &[&str]) -> Ran {
        super::run_with(&mut self.command(args), input)
    }

    /// Returns the status and the body of an answer.
    pub(super) fn ask(&self, method: &str, path: &str, headers: &str, body: &str) -> (u16, String) {
        let mut socket = TcpStream::connect(&self.address).unwrap();
        let (address, length) = (&self.address, body.len());
        let content = match body {
            "" => String::new(),
            _ => format!("content-type: application/json\r\ncontent-length: {length}\r\n"),
        };
        write!(
            socket,
            "{method} {path} HTTP/1.1\r\nhost: {address}\r\nconnection: close\r\n{headers}{content}\r\n{body}"
        )
        .unwrap();
        let mut answer = String::new();
        socket.read_to_string(&mut answer).unwrap();
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        (head[9..12].parse().unwrap(), body.to_owned())
    }

    /// Stops the server, and waits for its end.
    pub(super) fn end(&mut self) {
        let pid = self.child.id().to_string();
        let told = Command::new("kill").args(["-TERM", &pid]).status().unwrap();
        assert!(told.success());
        assert!(self.child.wait().unwrap().success());
    }

    /// Stops the server, and returns its log.
    pub(super) fn stop(mut self) -> String {
        self.end();
        let mut log = String::new();
        let mut err = self.child.stderr.take().unwrap();
        err.read_to_string(&mut log).unwrap();
        log
    }
}
