//! How much is logged of what peers can bring about: a failing disk or a misbehaving client makes a
//! failure of each request, and would fill another disk with lines about it.

use hotread_proto::Code;
use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Lines of one kind that are logged in each span: enough to see what happens and to whom.
const LINES: u32 = 20;
/// The span.
const SPAN: Duration = Duration::from_secs(60);

/// What a line is about.
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
}

/// The lines of each kind that were logged lately. There are as many kinds as codes.
#[derive(Debug, Default)]
pub(crate) struct Lines(Mutex<HashMap<Line, Lately>>);

#[derive(Debug, Default)]
struct Lately {
    since: Option<Instant>,
    lines: u32,
    left_out: u64,
}

impl Lines {
    /// If there is to be a line about this, how many were left out before it; otherwise it is left out.
    pub(crate) fn take(&self, line: Line) -> Option<u64> {
        self.take_at(line, Instant::now())
    }

    fn take_at(&self, line: Line, now: Instant) -> Option<u64> {
        // Each change leaves it sound.
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
