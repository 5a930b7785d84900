//! The five levels of lock on a database file, among the connections of this process, modeled on
//! SQLite's unix VFS. The eight locks on shared memory are in `shm`.

use std::collections::BTreeMap;

/// One opening of one file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct HandleId(pub(crate) u64);

/// Another handle holds a lock that excludes the one requested.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Busy;

/// Lock levels of a database file in SQLite; each level includes the ones before.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Level {
    None,
    /// May read. Any number of handles may hold it.
    Shared,
    /// Intends to write. One handle holds it, while others may read.
    Reserved,
    /// Waits for readers to leave; new ones are refused.
    Pending,
    /// Writes; no other handle holds a lock.
    Exclusive,
}

/// Levels held on one file, by handle.
#[derive(Debug, Default)]
pub(crate) struct FileLocks {
    /// Contains only levels above `None`.
    held: BTreeMap<HandleId, Level>,
}

impl FileLocks {
    pub(crate) fn level(&self, handle: HandleId) -> Level {
        self.held.get(&handle).copied().unwrap_or(Level::None)
    }

    /// Raises the level of `handle`. SQLite never requests `Pending`, and requests more than
    /// `Shared` only if it holds that.
    ///
    /// A holder of `Reserved` that is refused `Exclusive` because of readers is left with
    /// `Pending`, so that they cannot starve it.
    pub(crate) fn lock(&mut self, handle: HandleId, wanted: Level) -> Result<(), Busy> {
        let own = self.level(handle);
        if own >= wanted {
            return Ok(());
        }
        let others = self.highest_of_others(handle);
        let granted = match wanted {
            Level::None | Level::Shared => others < Level::Pending,
            Level::Reserved | Level::Pending => others < Level::Reserved,
            Level::Exclusive => others == Level::None,
        };
        if granted {
            self.held.insert(handle, wanted);
            return Ok(());
        }
        if wanted == Level::Exclusive && own == Level::Reserved {
            self.held.insert(handle, Level::Pending);
        }
        Err(Busy)
    }

    /// Lowers the level of `handle`; does nothing if it is lower already.
    pub(crate) fn unlock(&mut self, handle: HandleId, wanted: Level) {
        if wanted == Level::None {
            self.held.remove(&handle);
        } else if self.level(handle) > wanted {
            self.held.insert(handle, wanted);
        }
    }

    /// Returns `true` if any handle, the caller's included, holds `Reserved` or more.
    pub(crate) fn is_reserved(&self) -> bool {
        self.held.values().any(|&level| level >= Level::Reserved)
    }

    fn highest_of_others(&self, handle: HandleId) -> Level {
        let others = self.held.iter().filter(|&(&other, _)| other != handle);
        others.map(|(_, &level)| level).max().unwrap_or(Level::None)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: HandleId = HandleId(1);
    const B: HandleId = HandleId(2);
    const C: HandleId = HandleId(3);

    #[test]
    fn one_writer_waits_for_readers_and_keeps_new_ones_out() {
        let mut locks = FileLocks::default();
        assert_eq!(locks.lock(A, Level::Shared), Ok(()));
        assert_eq!(locks.lock(B, Level::Shared), Ok(()));
        assert!(!locks.is_reserved());
        assert_eq!(locks.lock(A, Level::Reserved), Ok(()));
        assert!(locks.is_reserved());
        assert_eq!(locks.lock(B, Level::Reserved), Err(Busy));
        assert_eq!(locks.lock(C, Level::Shared), Ok(()), "readers may come");
        assert_eq!(locks.lock(A, Level::Exclusive), Err(Busy));
        assert_eq!(locks.level(A), Level::Pending);
        locks.unlock(C, Level::None);
        assert_eq!(locks.lock(C, Level::Shared), Err(Busy), "no longer");
        assert_eq!(
            locks.lock(A, Level::Exclusive),
            Err(Busy),
            "the other still reads"
        );
        locks.unlock(B, Level::None);
        assert_eq!(locks.lock(A, Level::Exclusive), Ok(()));
        assert_eq!(locks.lock(B, Level::Shared), Err(Busy));
        locks.unlock(A, Level::Shared);
        assert_eq!(locks.lock(B, Level::Shared), Ok(()));
    }

    #[test]
    fn a_reader_refused_exclusive_keeps_no_reader_out() {
        let mut locks = FileLocks::default();
        assert_eq!(locks.lock(A, Level::Shared), Ok(()));
        assert_eq!(locks.lock(B, Level::Shared), Ok(()));
        assert_eq!(locks.lock(A, Level::Exclusive), Err(Busy));
        assert_eq!(locks.level(A), Level::Shared);
        assert_eq!(locks.lock(C, Level::Shared), Ok(()));
    }
}
