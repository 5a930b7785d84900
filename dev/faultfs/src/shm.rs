//! The shared memory of a database in WAL mode: regions whose address never changes, and eight
//! locks, each shared or exclusive. Both live only while a connection uses them: a power failure
//! removes them, and so does the last connection that releases them.

use crate::locks::{Busy, HandleId};
use std::collections::BTreeMap;
use std::ffi::c_void;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;

/// Number of locks, as `SQLITE_SHM_NLOCK`.
pub(crate) const SLOTS: u32 = 8;

/// Atomics, since their memory may be written through a shared reference; an `Arc`, since moving it
/// does not invalidate the pointers that SQLite has.
type Region = Arc<[AtomicU64]>;

const WORD_BYTES: usize = size_of::<AtomicU64>();

/// Reason a region or a lock was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ShmError {
    /// Another handle holds a lock that excludes the one requested.
    Busy,
    /// The lock does not exist, or was requested before any region.
    Misuse,
}

impl From<Busy> for ShmError {
    fn from(Busy: Busy) -> Self {
        ShmError::Busy
    }
}

/// Mode of a lock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ShmMode {
    Shared,
    Exclusive,
}

/// Locks of a handle: bit `n` of each field for lock `n`.
#[derive(Clone, Copy, Debug, Default)]
struct Held {
    shared: u8,
    exclusive: u8,
}

/// The shared memory of one database file.
#[derive(Debug, Default)]
pub(crate) struct SharedMemory {
    regions: Vec<Region>,
    users: BTreeMap<HandleId, Held>,
}

impl SharedMemory {
    /// Returns the region at `index`, of `bytes`, zeros at first; null if it does not exist and
    /// `extend` is false. Valid until [`unmap`](Self::unmap) is called for `handle`.
    pub(crate) fn map(
        &mut self,
        handle: HandleId,
        index: usize,
        bytes: usize,
        extend: bool,
    ) -> Result<*mut c_void, ShmError> {
        let words = bytes.div_ceil(WORD_BYTES);
        if self
            .regions
            .first()
            .is_some_and(|region| region.len() != words)
        {
            return Err(ShmError::Misuse);
        }
        self.users.entry(handle).or_default();
        while extend && self.regions.len() <= index {
            self.regions
                .push((0..words).map(|_| AtomicU64::new(0)).collect());
        }
        let region = self.regions.get(index);
        Ok(region.map_or(std::ptr::null_mut(), |region| {
            region.as_ptr().cast_mut().cast()
        }))
    }

    /// Takes the `count` locks from `first` on, all or none of them.
    pub(crate) fn lock(
        &mut self,
        handle: HandleId,
        first: u32,
        count: u32,
        mode: ShmMode,
    ) -> Result<(), ShmError> {
        let mask = mask(first, count).ok_or(ShmError::Misuse)?;
        let own = *self.users.get(&handle).ok_or(ShmError::Misuse)?;
        if mode == ShmMode::Shared && own.shared & mask == mask {
            return Ok(());
        }
        let conflicts = self.users.values().any(|held| match mode {
            ShmMode::Shared => held.exclusive & mask != 0,
            ShmMode::Exclusive => (held.shared | held.exclusive) & mask != 0,
        });
        if conflicts {
            return Err(Busy.into());
        }
        let own = self.users.entry(handle).or_default();
        match mode {
            ShmMode::Shared => own.shared |= mask,
            ShmMode::Exclusive => own.exclusive |= mask,
        }
        Ok(())
    }

    /// Releases the `count` locks from `first` on, whether held or not.
    pub(crate) fn unlock(
        &mut self,
        handle: HandleId,
        first: u32,
        count: u32,
    ) -> Result<(), ShmError> {
        let mask = mask(first, count).ok_or(ShmError::Misuse)?;
        let own = self.users.get_mut(&handle).ok_or(ShmError::Misuse)?;
        own.shared &= !mask;
        own.exclusive &= !mask;
        Ok(())
    }

    /// Releases the locks of `handle`, and the memory if `handle` was the last to use it.
    pub(crate) fn unmap(&mut self, handle: HandleId) {
        self.users.remove(&handle);
        if self.users.is_empty() {
            self.regions.clear();
        }
    }
}

fn mask(first: u32, count: u32) -> Option<u8> {
    let end = first.checked_add(count)?;
    if count == 0 || end > SLOTS {
        return None;
    }
    u8::try_from((1_u32 << end) - (1 << first)).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: HandleId = HandleId(1);
    const B: HandleId = HandleId(2);

    #[test]
    fn regions_stay_where_they_are_while_more_are_added() {
        let mut shm = SharedMemory::default();
        assert!(shm.map(A, 0, 32_768, false).unwrap().is_null());
        let first = shm.map(A, 0, 32_768, true).unwrap();
        assert!(!first.is_null());
        for index in 1..100 {
            shm.map(A, index, 32_768, true).unwrap();
        }
        assert_eq!(shm.map(B, 0, 32_768, false).unwrap(), first);
        assert_eq!(shm.map(B, 0, 4096, false), Err(ShmError::Misuse));
        shm.unmap(A);
        assert_eq!(
            shm.map(B, 0, 32_768, false).unwrap(),
            first,
            "another handle uses it"
        );
        shm.unmap(B);
        assert!(
            shm.map(A, 0, 32_768, false).unwrap().is_null(),
            "no longer in use"
        );
    }

    #[test]
    fn locks_are_shared_or_exclusive() {
        let mut shm = SharedMemory::default();
        assert_eq!(
            shm.lock(A, 0, 1, ShmMode::Shared),
            Err(ShmError::Misuse),
            "not mapped"
        );
        shm.map(A, 0, 32_768, true).unwrap();
        shm.map(B, 0, 32_768, true).unwrap();
        assert_eq!(shm.lock(A, 3, 1, ShmMode::Shared), Ok(()));
        assert_eq!(shm.lock(B, 3, 1, ShmMode::Shared), Ok(()));
        assert_eq!(shm.lock(A, 0, 1, ShmMode::Exclusive), Ok(()));
        assert_eq!(shm.lock(B, 0, 1, ShmMode::Shared), Err(ShmError::Busy));
        assert_eq!(
            shm.lock(B, 1, 7, ShmMode::Exclusive),
            Err(ShmError::Busy),
            "3 is shared"
        );
        assert_eq!(shm.lock(A, 1, 1, ShmMode::Exclusive), Ok(()), "all or none");
        assert_eq!(shm.unlock(A, 3, 1), Ok(()));
        assert_eq!(shm.lock(A, 3, 1, ShmMode::Exclusive), Err(ShmError::Busy));
        shm.unmap(B);
        assert_eq!(shm.lock(A, 3, 1, ShmMode::Exclusive), Ok(()));
        assert_eq!(shm.lock(A, 7, 2, ShmMode::Exclusive), Err(ShmError::Misuse));
        assert_eq!(
            shm.lock(A, u32::MAX, 2, ShmMode::Exclusive),
            Err(ShmError::Misuse)
        );
    }
}
