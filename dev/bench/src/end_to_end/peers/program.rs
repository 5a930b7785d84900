//! Installed programs: their versions, and waiting until they listen.

use std::net::{TcpListener, TcpStream};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use crate::process::{PATIENCE, Process, installed};

/// The first line of an installed program's version message.
pub(super) fn version(program: &str, argument: &str) -> Option<String> {
    let output = Command::new(installed(program)?)
        .arg(argument)
        .output()
        .ok()?;
    let text = String::from_utf8(output.stdout).ok()?;
    // Hashes of the build follow the version.
    let line = text.lines().next()?.split(" sha=").next()?;
    Some(line.trim().to_owned())
}

/// An installed program, with its output discarded.
pub(super) fn command(program: &str) -> Command {
    let program = installed(program).expect("only installed peers are started");
    let mut command = Command::new(program);
    command.stdout(Stdio::null()).stderr(Stdio::null());
    command
}

/// Starts a server, and waits until it listens on this port of the loopback interface.
pub(super) fn start(name: &str, command: &mut Command, port: u16) -> Process {
    let process = Process::start(command).expect("an installed program can be run");
    let start = Instant::now();
    while TcpStream::connect(("127.0.0.1", port)).is_err() {
        assert!(
            start.elapsed() < PATIENCE,
            "{name} does not listen on port {port}"
        );
        std::thread::sleep(Duration::from_millis(2));
    }
    process
}

/// A port of the loopback interface without a listener a moment ago.
pub(super) fn free_port() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").expect("the loopback has free ports");
    let address = listener
        .local_addr()
        .expect("a bound socket has an address");
    address.port()
}
