//! Commands on a terminal: a pseudo-terminal of a given width.

use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use rustix::termios::{Winsize, tcsetwinsize};
use std::fs::File;
use std::io::{Read, Write};
use std::process::Command;

/// Runs a command on a terminal of this width in columns, and types this text. Returns the output, which
/// includes the typed text, and the exit code.
pub(super) fn on_terminal(mut command: Command, columns: u16, typed: &str) -> (String, i32) {
    let main = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).unwrap();
    grantpt(&main).unwrap();
    unlockpt(&main).unwrap();
    let name = ptsname(&main, Vec::new()).unwrap();
    let side = File::options()
        .read(true)
        .write(true)
        .open(name.to_str().unwrap())
        .unwrap();
    let size = Winsize {
        ws_row: 24,
        ws_col: columns,
        ws_xpixel: 0,
        ws_ypixel: 0,
    };
    tcsetwinsize(&side, size).unwrap();
    let end = || side.try_clone().unwrap();
    command.stdin(end()).stdout(end()).stderr(end());
    let mut child = command.spawn().unwrap();
    // Reading ends when no process has the other end open.
    drop((command, side));
    let mut main = File::from(main);
    main.write_all(typed.as_bytes()).unwrap();
    let (mut shown, mut some) = (Vec::new(), [0; 4096]);
    // At its end, a pseudo-terminal returns an error where a pipe would be empty.
    while let Ok(n @ 1..) = main.read(&mut some) {
        shown.extend_from_slice(&some[..n]);
    }
    let code = child.wait().unwrap().code().expect("it ends by itself");
    let shown = String::from_utf8(shown).expect("output is UTF-8");
    (shown.replace("\r\n", "\n"), code)
}
