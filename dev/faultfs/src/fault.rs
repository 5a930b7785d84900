//! Operations that are to fail, in which way, and counts of all operations. The effect of a failing
//! operation is decided in `disk`, where the operation is.

/// An operation of the disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Op {
    /// Any of the other operations; only for use in a [`Fault`]. Locks and lengths never fail.
    Any,
    /// A file is opened or created. SQLite sees `SQLITE_CANTOPEN`.
    Open,
    /// Bytes are read. SQLite sees `SQLITE_IOERR_READ`.
    Read,
    /// Bytes are written. SQLite sees `SQLITE_IOERR_WRITE`, or `SQLITE_FULL`.
    ///
    /// A prefix of any length may have been written nevertheless, up to all bytes.
    Write,
    /// A file is cut, or lengthened with zeros. SQLite sees `SQLITE_IOERR_TRUNCATE`, and the file
    /// keeps its length.
    Truncate,
    /// A file is made durable. SQLite sees `SQLITE_IOERR_FSYNC`.
    ///
    /// As on Linux, the failure marks the data clean: a later sync that succeeds makes it durable
    /// only if it was written again in between.
    Sync,
    /// A file is deleted. SQLite sees `SQLITE_IOERR_DELETE`.
    ///
    /// If the directory was to be synced as well, that step may be the one that failed: then the
    /// file is gone, but not durably.
    Delete,
    /// A region of shared memory is mapped. SQLite sees `SQLITE_IOERR_SHMMAP`.
    Map,
}

/// Way in which an operation fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Error {
    /// The device reports an error.
    Io,
    /// The device is full. Differs from [`Io`](Error::Io) only for [`Op::Write`], since SQLite's
    /// own VFS reports no other failure as `SQLITE_FULL`.
    Full,
}

/// Kind of a file to SQLite, derived from its name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum FileKind {
    /// A database, or any file not covered below.
    Database,
    /// A write-ahead log: `…-wal`.
    Wal,
    /// A rollback journal: `…-journal`, or the super-journal of a transaction over several
    /// databases, `…-mj` and hexadecimal digits.
    Journal,
    /// A file without a name, as SQLite uses for sorting and for temporary tables.
    Temporary,
}

impl FileKind {
    pub(crate) fn of(name: Option<&str>) -> FileKind {
        let Some(name) = name else {
            return FileKind::Temporary;
        };
        let is_super_journal = name
            .rsplit_once("-mj")
            .is_some_and(|(_, id)| !id.is_empty() && id.bytes().all(|b| b.is_ascii_hexdigit()));
        if name.ends_with("-wal") {
            FileKind::Wal
        } else if name.ends_with("-journal") || is_super_journal {
            FileKind::Journal
        } else {
            FileKind::Database
        }
    }
}

/// Operations that are to fail; passed to [`Disk::fail`](crate::Disk::fail).
///
/// ```
/// use hotread_faultfs::{Error, Fault, FileKind, Op};
///
/// // The third sync of the log, and all later ones.
/// let fault = Fault { file: Some(FileKind::Wal), times: u64::MAX, ..Fault::nth(Op::Sync, 3) };
/// assert_eq!((fault.after, fault.error), (2, Error::Io));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Fault {
    /// The operations that fail.
    pub op: Op,
    /// Kind of files concerned; `None` for all files.
    pub file: Option<FileKind>,
    /// Number of these operations that succeed before, counted from the call of `fail`.
    pub after: u64,
    /// Way in which they fail.
    pub error: Error,
    /// Number of operations that fail after that; `u64::MAX` for all.
    pub times: u64,
}

impl Fault {
    /// Makes only the `n`-th operation from now on fail, with [`Error::Io`]. `n` is counted from 1;
    /// 0 means the first as well.
    pub const fn nth(op: Op, n: u64) -> Fault {
        Fault {
            op,
            file: None,
            after: n.saturating_sub(1),
            error: Error::Io,
            times: 1,
        }
    }
}

/// Number of operations requested of a [`Disk`](crate::Disk), including those that failed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Counts {
    /// Files opened.
    pub opens: u64,
    /// Reads.
    pub reads: u64,
    /// Writes.
    pub writes: u64,
    /// Changes of a file's length.
    pub truncates: u64,
    /// Syncs.
    pub syncs: u64,
    /// Deletions.
    pub deletes: u64,
    /// Requests for a region of shared memory.
    pub maps: u64,
    /// Operations that a [`Fault`] made fail.
    pub faults: u64,
}

impl Counts {
    fn count(&mut self, op: Op) {
        match op {
            Op::Any => {}
            Op::Open => self.opens += 1,
            Op::Read => self.reads += 1,
            Op::Write => self.writes += 1,
            Op::Truncate => self.truncates += 1,
            Op::Sync => self.syncs += 1,
            Op::Delete => self.deletes += 1,
            Op::Map => self.maps += 1,
        }
    }
}

/// The requested faults, and the counts.
#[derive(Debug, Default)]
pub(crate) struct Faults {
    active: Vec<Fault>,
    counts: Counts,
}

impl Faults {
    pub(crate) fn add(&mut self, fault: Fault) {
        self.active.push(fault);
    }

    pub(crate) fn heal(&mut self) {
        self.active.clear();
    }

    pub(crate) fn counts(&self) -> Counts {
        self.counts
    }

    /// Counts an operation, and returns the error if it is to fail. Each fault counts for itself,
    /// so that two faults on the same operation do not shift each other.
    pub(crate) fn meet(&mut self, op: Op, kind: FileKind) -> Option<Error> {
        self.counts.count(op);
        let mut error = None;
        for fault in &mut self.active {
            let concerned = (fault.op == Op::Any || fault.op == op)
                && fault.file.is_none_or(|file| file == kind);
            if !concerned {
                continue;
            }
            if fault.after > 0 {
                fault.after -= 1;
            } else if fault.times > 0 {
                if fault.times != u64::MAX {
                    fault.times -= 1;
                }
                error = error.or(Some(fault.error));
            }
        }
        self.counts.faults += u64::from(error.is_some());
        error
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fault_lets_pass_what_comes_before_and_after() {
        let mut faults = Faults::default();
        faults.add(Fault {
            times: 2,
            ..Fault::nth(Op::Write, 3)
        });
        let met: Vec<bool> = (0..6)
            .map(|_| faults.meet(Op::Write, FileKind::Wal).is_some())
            .collect();
        assert_eq!(met, [false, false, true, true, false, false]);
        assert_eq!((faults.counts().writes, faults.counts().faults), (6, 2));
    }

    #[test]
    fn a_fault_concerns_only_its_operation_and_its_files() {
        let mut faults = Faults::default();
        faults.add(Fault {
            file: Some(FileKind::Wal),
            ..Fault::nth(Op::Sync, 1)
        });
        assert_eq!(faults.meet(Op::Write, FileKind::Wal), None);
        assert_eq!(faults.meet(Op::Sync, FileKind::Database), None);
        assert_eq!(faults.meet(Op::Sync, FileKind::Wal), Some(Error::Io));
        faults.add(Fault {
            error: Error::Full,
            times: u64::MAX,
            ..Fault::nth(Op::Any, 1)
        });
        assert_eq!(faults.meet(Op::Open, FileKind::Journal), Some(Error::Full));
        assert_eq!(faults.meet(Op::Map, FileKind::Temporary), Some(Error::Full));
        faults.heal();
        assert_eq!(faults.meet(Op::Open, FileKind::Journal), None);
    }

    #[test]
    fn the_name_tells_what_a_file_is() {
        assert_eq!(FileKind::of(Some("a.db")), FileKind::Database);
        assert_eq!(FileKind::of(Some("a.db-wal")), FileKind::Wal);
        assert_eq!(FileKind::of(Some("a.db-journal")), FileKind::Journal);
        assert_eq!(FileKind::of(Some("a.db-mj0A3F90C21")), FileKind::Journal);
        assert_eq!(FileKind::of(Some("a-mjolnir.db")), FileKind::Database);
        assert_eq!(FileKind::of(None), FileKind::Temporary);
    }
}
