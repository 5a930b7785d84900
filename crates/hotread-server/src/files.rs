//! The limit of open files, of which each connection takes one.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Files other than connections: database, readers, listener, the runtime's poller, log.
const RESERVED: u64 = 128;

/// Raises this process's soft limit of open files to the hard one, and returns the result; `None`:
/// unlimited. Meant for servers: the soft limit is low for the sake of programs that use
/// `select`.
pub fn raise_file_limit() -> Option<u64> {
    let limit = getrlimit(Resource::Nofile);
    let raised = Rlimit {
        current: limit.maximum,
        maximum: limit.maximum,
    };
    match setrlimit(Resource::Nofile, raised) {
        Ok(()) => limit.maximum,
        // The system may have another limit below the hard one; the present limit counts.
        Err(_) => limit.current,
    }
}

/// Returns the number of connections that the open files suffice for, and logs a warning if that is less
/// than `connections`.
pub(crate) fn fitting(connections: usize) -> usize {
    let limit = getrlimit(Resource::Nofile).current;
    let fitting = fit(connections, limit);
    if fitting < connections {
        tracing::warn!(
            asked = connections,
            fitting,
            limit,
            "the limit of open files allows fewer connections than max_connections; raise it \
             (ulimit -n, LimitNOFILE)"
        );
    }
    fitting
}

fn fit(connections: usize, limit: Option<u64>) -> usize {
    // A few connections remain, however low the limit is: accepting reports its own failures.
    let files = |limit: u64| limit.saturating_sub(RESERVED).max(limit / 4).max(1);
    let files = limit.map_or(u64::MAX, files);
    connections.min(usize::try_from(files).unwrap_or(usize::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn connections_fit_the_limit_of_open_files() {
        assert_eq!(fit(4_096, None), 4_096);
        assert_eq!(fit(4_096, Some(1 << 20)), 4_096);
        assert_eq!(fit(4_096, Some(1_024)), 896);
        assert_eq!(fit(100, Some(1_024)), 100);
        assert_eq!(fit(4_096, Some(128)), 32);
        assert_eq!(fit(4_096, Some(0)), 1);
    }
}
