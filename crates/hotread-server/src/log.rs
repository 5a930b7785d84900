//! Limits on log lines that peers can cause: with a failing disk or a misbehaving client each request
//! fails, and a line for each would fill another disk.

use hotread_proto::Code;
use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Lines of one kind that are logged in each span: enough to see the problem and its victims.
const LINES: u32 = 20;
/// Length of the span.
const SPAN: Duration = Duration::from_secs(60);

/// Kind of a line.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Line {
    /// A request that failed with this code.
    Request(Code),
    /// A session that ended with this code.
    Session(Code),
    /// A stream of events that ended with this code.
    Stream(Code),
    /// A value that a client refuses.
    Nack,
    /// A TLS handshake that failed.
    Handshake,
}

/// Recent lines of each kind. There are as many kinds as codes.
#[derive(Debug, Default)]
pub(crate) struct Lines(Mutex<HashMap<Line, Lately>>);

#[derive(Debug, Default)]
struct Lately {
    since: Option<Instant>,
    lines: u32,
    left_out: u64,
}

impl Lines {
    /// Returns the number of lines omitted before this one; `None`: this one is to be omitted, too.
    pub(crate) fn take(&self, line: Line) -> Option<u64> {
        self.take_at(line, Instant::now())
    }

    fn take_at(&self, line: Line, now: Instant) -> Option<u64> {
        // Each change leaves the map intact.
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let lately = all.entry(line).or_default();
        if lately.since.is_none_or(|since| now - since >= SPAN) {
            (lately.since, lately.lines) = (Some(now), 0);
        }
        if lately.lines == LINES {
            lately.left_out += 1;
            return None;
        }
        lately.lines += 1;
        Some(std::mem::take(&mut lately.left_out))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_of_one_kind_are_counted_once_there_are_enough() {
        let lines = Lines::default();
        let now = Instant::now();
        let full = Line::Request(Code::StorageFull);
        for _ in 0..LINES {
            assert_eq!(lines.take_at(full, now), Some(0));
        }
        for _ in 0..1_000 {
            assert_eq!(lines.take_at(full, now), None);
        }
        assert_eq!(lines.take_at(Line::Nack, now), Some(0), "of another kind");
        assert_eq!(lines.take_at(full, now + SPAN), Some(1_000));
        assert_eq!(lines.take_at(full, now + SPAN), Some(0));
    }
}
