//! The model of the disk: names, files, handles, and the effect of each operation on them. It knows
//! nothing of SQLite's types; `vfs` and `io` translate. The bytes of a file are in `file`, the
//! remains after a power failure in `image`.

use crate::fault::{Counts, Error, Fault, Faults, FileKind, Op};
use crate::file::File;
use crate::image::Failure;
use crate::locks::{Busy, FileLocks, HandleId, Level};
use crate::shm::{SharedMemory, ShmError, ShmMode};
use std::collections::{BTreeMap, BTreeSet};
use std::ffi::c_void;

/// Seed of the lengths that failing writes write. Fixed, so that tests that make the same calls get
/// the same disk.
const FAULT_SEED: u64 = 0x00d1_5c00;

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct FileId(u64);

/// An open file. The caller of [`Model::open`] returns it to [`Model::close`].
#[derive(Clone, Copy, Debug)]
pub(crate) struct Handle {
    id: HandleId,
    file: FileId,
    kind: FileKind,
    pub(crate) is_read_only: bool,
}

/// Mode in which a file is opened.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Opening {
    pub(crate) creates: bool,
    /// Together with `creates`: fails if the file exists already.
    pub(crate) is_exclusive: bool,
    pub(crate) is_read_only: bool,
}

/// Reason an operation was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Refusal {
    /// The power is off.
    Off,
    /// A [`Fault`] made it fail.
    Injected(Op, Error),
    /// The file does not exist.
    Absent,
    /// The file exists already, or the handle may only read.
    Forbidden,
    /// The file would become too long.
    Full,
    /// A lock excludes the operation.
    Busy,
    /// A request that SQLite never makes.
    Misuse,
}

impl From<Busy> for Refusal {
    fn from(Busy: Busy) -> Self {
        Refusal::Busy
    }
}

impl From<ShmError> for Refusal {
    fn from(error: ShmError) -> Self {
        match error {
            ShmError::Busy => Refusal::Busy,
            ShmError::Misuse => Refusal::Misuse,
        }
    }
}

/// A file and its open handles.
#[derive(Debug, Default)]
struct Node {
    /// Name under which the file was created; another file may have it since.
    name: Option<String>,
    file: File,
    handles: u32,
    locks: FileLocks,
    shm: SharedMemory,
}

/// Directory entry of a name.
#[derive(Debug, Default)]
struct Entry {
    current: Option<FileId>,
    durable: Option<FileId>,
    /// Values between `durable` and `current`, in order; the last is `current`.
    unsynced: Vec<(u64, Option<FileId>)>,
}

impl Entry {
    fn set(&mut self, seq: u64, file: Option<FileId>) {
        self.current = file;
        self.unsynced.push((seq, file));
    }

    fn settle(&mut self) {
        self.durable = self.current;
        self.unsynced.clear();
    }

    /// Makes the creation of `file` under this name durable, with all earlier changes but no later
    /// ones. Returns `false` if it was durable already.
    fn settle_creation(&mut self, file: FileId) -> bool {
        let created = self
            .unsynced
            .iter()
            .position(|&(_, entry)| entry == Some(file));
        if let Some(at) = created {
            self.durable = Some(file);
            self.unsynced.drain(..=at);
        }
        created.is_some()
    }

    /// Files that may have this name, now or after a power failure.
    fn possible(&self) -> impl Iterator<Item = FileId> {
        let unsynced = self.unsynced.iter().filter_map(|&(_, file)| file);
        self.durable.into_iter().chain(self.current).chain(unsynced)
    }
}

/// A disk. Operations take effect at once and one after another; users that share it lock it.
#[derive(Debug)]
pub(crate) struct Model {
    names: BTreeMap<String, Entry>,
    nodes: BTreeMap<FileId, Node>,
    /// The next sync through one of these handles also syncs the directory.
    directory_syncs: BTreeSet<HandleId>,
    faults: Faults,
    is_off: bool,
    /// Number of the next change, file or handle.
    next: u64,
    rng: fastrand::Rng,
}

impl Default for Model {
    fn default() -> Self {
        Model {
            names: BTreeMap::new(),
            nodes: BTreeMap::new(),
            directory_syncs: BTreeSet::new(),
            faults: Faults::default(),
            is_off: false,
            next: 0,
            rng: fastrand::Rng::with_seed(FAULT_SEED),
        }
    }
}

impl Model {
    // Operations of tests on a disk.

    pub(crate) fn fail(&mut self, fault: Fault) {
        self.faults.add(fault);
    }

    pub(crate) fn heal(&mut self) {
        self.faults.heal();
    }

    pub(crate) fn counts(&self) -> Counts {
        self.faults.counts()
    }

    pub(crate) fn power_off(&mut self) {
        self.is_off = true;
    }

    /// Returns the disk that a power failure now would leave.
    pub(crate) fn crash(&self, seed: u64) -> Model {
        let file_changes = self.nodes.values().flat_map(|node| node.file.unsynced());
        let name_changes = self.names.values().flat_map(|entry| &entry.unsynced);
        let oldest = file_changes
            .map(|change| change.seq)
            .chain(name_changes.map(|&(seq, _)| seq))
            .min()
            .unwrap_or(self.next);
        let mut failure = Failure::new(seed, oldest..self.next);
        let mut image = Model::default();
        for (name, entry) in &self.names {
            let survival = failure.survival();
            let changes = entry.unsynced.iter().map(|&(seq, _)| seq);
            let survivors = failure.name_changes(survival, changes);
            let file = match survivors.checked_sub(1) {
                Some(last) => entry.unsynced[last].1,
                None => entry.durable,
            };
            if let Some(node) = file.and_then(|file| self.nodes.get(&file)) {
                image.place(name, failure.bytes(survival, &node.file));
            }
        }
        image
    }

    /// Puts a file in place, durably, as if it had been renamed to `name`.
    pub(crate) fn place(&mut self, name: &str, bytes: Vec<u8>) {
        let id = FileId(self.number());
        let node = Node {
            name: Some(name.to_owned()),
            file: File::settled(bytes),
            ..Node::default()
        };
        self.nodes.insert(id, node);
        let entry = Entry {
            current: Some(id),
            durable: Some(id),
            unsynced: Vec::new(),
        };
        self.names.insert(name.to_owned(), entry);
        self.sweep();
    }

    /// Files that have a name, in order of their names.
    pub(crate) fn files(&self) -> impl Iterator<Item = (&str, &[u8])> {
        self.names.iter().filter_map(|(name, entry)| {
            let node = self.nodes.get(&entry.current?)?;
            Some((name.as_str(), node.file.content()))
        })
    }

    pub(crate) fn content(&self, name: &str) -> Option<&[u8]> {
        let node = self.nodes.get(&self.names.get(name)?.current?)?;
        Some(node.file.content())
    }

    // Operations of SQLite on a disk.

    /// Opens `name`, or a new file without a name.
    pub(crate) fn open(&mut self, name: Option<&str>, how: Opening) -> Result<Handle, Refusal> {
        let kind = FileKind::of(name);
        self.meet(Op::Open, kind)?;
        let current = name
            .and_then(|name| self.names.get(name))
            .and_then(|entry| entry.current);
        let file = match current {
            Some(_) if how.creates && how.is_exclusive => return Err(Refusal::Forbidden),
            Some(file) => file,
            None if name.is_none() || how.creates => self.create(name),
            None => return Err(Refusal::Absent),
        };
        let id = HandleId(self.number());
        let handle = Handle {
            id,
            file,
            kind,
            is_read_only: how.is_read_only,
        };
        self.node(handle).handles += 1;
        if how.creates && matches!(kind, FileKind::Wal | FileKind::Journal) {
            self.directory_syncs.insert(id);
        }
        Ok(handle)
    }

    /// Closes a file and releases its locks; works with the power off too.
    pub(crate) fn close(&mut self, handle: Handle) {
        let node = self.node(handle);
        node.handles -= 1;
        node.locks.unlock(handle.id, Level::None);
        node.shm.unmap(handle.id);
        self.directory_syncs.remove(&handle.id);
        self.sweep();
    }

    /// Fills `into`, with zeros behind the end of the file; returns the number of bytes that were
    /// read.
    pub(crate) fn read(
        &mut self,
        handle: Handle,
        offset: usize,
        into: &mut [u8],
    ) -> Result<usize, Refusal> {
        self.meet(Op::Read, handle.kind)?;
        Ok(self.node(handle).file.read(offset, into))
    }

    pub(crate) fn write(
        &mut self,
        handle: Handle,
        offset: usize,
        data: &[u8],
    ) -> Result<(), Refusal> {
        if handle.is_read_only {
            return Err(Refusal::Forbidden);
        }
        let outcome = self.meet(Op::Write, handle.kind);
        let written = match outcome {
            Ok(()) => data,
            Err(Refusal::Injected(..)) => &data[..self.failed_write_len(data.len())],
            Err(refusal) => return Err(refusal),
        };
        let seq = self.number();
        if !self.node(handle).file.write(seq, offset, written) {
            return outcome.and(Err(Refusal::Full));
        }
        outcome
    }

    pub(crate) fn truncate(&mut self, handle: Handle, len: usize) -> Result<(), Refusal> {
        if handle.is_read_only {
            return Err(Refusal::Forbidden);
        }
        self.meet(Op::Truncate, handle.kind)?;
        let seq = self.number();
        if self.node(handle).file.truncate(seq, len) {
            Ok(())
        } else {
            Err(Refusal::Full)
        }
    }

    /// Makes a file and its creation durable.
    ///
    /// The first sync of a log or a journal through a handle that may have created it syncs the
    /// directory, as SQLite's unix VFS does.
    pub(crate) fn sync(&mut self, handle: Handle) -> Result<(), Refusal> {
        let outcome = self.meet(Op::Sync, handle.kind);
        let node = open_node(&mut self.nodes, handle);
        match outcome {
            Ok(()) => node.file.sync(),
            Err(Refusal::Injected(..)) => {
                node.file.fail_sync();
                return outcome;
            }
            Err(_) => return outcome,
        }
        if self.directory_syncs.remove(&handle.id) {
            self.sync_directory();
            return Ok(());
        }
        let entry = node.name.as_ref().and_then(|name| self.names.get_mut(name));
        if entry.is_some_and(|entry| entry.settle_creation(handle.file)) {
            self.sweep();
        }
        Ok(())
    }

    pub(crate) fn len(&mut self, handle: Handle) -> Result<usize, Refusal> {
        self.powered()?;
        Ok(self.node(handle).file.content().len())
    }

    /// Deletes `name`; durably, if `syncs_directory`.
    pub(crate) fn delete(&mut self, name: &str, syncs_directory: bool) -> Result<(), Refusal> {
        let outcome = self.meet(Op::Delete, FileKind::of(Some(name)));
        let deletes = match outcome {
            Ok(()) => true,
            Err(Refusal::Injected(..)) => syncs_directory && self.rng.bool(),
            Err(_) => false,
        };
        if !deletes {
            return outcome;
        }
        let seq = self.number();
        let entry = self
            .names
            .get_mut(name)
            .filter(|entry| entry.current.is_some());
        let Some(entry) = entry else {
            return outcome.and(Err(Refusal::Absent));
        };
        entry.set(seq, None);
        if syncs_directory && outcome.is_ok() {
            self.sync_directory();
        }
        self.sweep();
        outcome
    }

    /// Returns the length of the file with this name, if it exists.
    pub(crate) fn len_of(&self, name: &str) -> Result<Option<usize>, Refusal> {
        self.powered()?;
        Ok(self.content(name).map(<[u8]>::len))
    }

    pub(crate) fn lock(&mut self, handle: Handle, level: Level) -> Result<(), Refusal> {
        self.powered()?;
        Ok(self.node(handle).locks.lock(handle.id, level)?)
    }

    /// Lowers a lock; works with the power off too.
    pub(crate) fn unlock(&mut self, handle: Handle, level: Level) {
        self.node(handle).locks.unlock(handle.id, level);
    }

    pub(crate) fn is_reserved(&mut self, handle: Handle) -> Result<bool, Refusal> {
        self.powered()?;
        Ok(self.node(handle).locks.is_reserved())
    }

    /// See [`SharedMemory::map`].
    pub(crate) fn shm_map(
        &mut self,
        handle: Handle,
        index: usize,
        bytes: usize,
        extend: bool,
    ) -> Result<*mut c_void, Refusal> {
        self.meet(Op::Map, handle.kind)?;
        Ok(self.node(handle).shm.map(handle.id, index, bytes, extend)?)
    }

    /// See [`SharedMemory::lock`].
    pub(crate) fn shm_lock(
        &mut self,
        handle: Handle,
        first: u32,
        count: u32,
        mode: ShmMode,
    ) -> Result<(), Refusal> {
        self.powered()?;
        Ok(self.node(handle).shm.lock(handle.id, first, count, mode)?)
    }

    /// Releases locks of the shared memory; works with the power off too.
    pub(crate) fn shm_unlock(
        &mut self,
        handle: Handle,
        first: u32,
        count: u32,
    ) -> Result<(), Refusal> {
        Ok(self.node(handle).shm.unlock(handle.id, first, count)?)
    }

    /// Releases the shared memory; works with the power off too.
    pub(crate) fn shm_unmap(&mut self, handle: Handle) {
        self.node(handle).shm.unmap(handle.id);
    }

    fn powered(&self) -> Result<(), Refusal> {
        if self.is_off {
            Err(Refusal::Off)
        } else {
            Ok(())
        }
    }

    fn meet(&mut self, op: Op, kind: FileKind) -> Result<(), Refusal> {
        self.powered()?;
        match self.faults.meet(op, kind) {
            Some(error) => Err(Refusal::Injected(op, error)),
            None => Ok(()),
        }
    }

    fn number(&mut self) -> u64 {
        let number = self.next;
        self.next += 1;
        number
    }

    fn create(&mut self, name: Option<&str>) -> FileId {
        let id = FileId(self.number());
        let node = Node {
            name: name.map(str::to_owned),
            ..Node::default()
        };
        self.nodes.insert(id, node);
        if let Some(name) = name {
            let seq = self.number();
            self.names
                .entry(name.to_owned())
                .or_default()
                .set(seq, Some(id));
        }
        id
    }

    fn node(&mut self, handle: Handle) -> &mut Node {
        open_node(&mut self.nodes, handle)
    }

    fn sync_directory(&mut self) {
        self.names.values_mut().for_each(Entry::settle);
        self.sweep();
    }

    /// Draws a length: 0, `len`, or one in between.
    fn failed_write_len(&mut self, len: usize) -> usize {
        match self.rng.u32(..3) {
            0 => 0,
            1 => len,
            _ => self.rng.usize(..=len),
        }
    }

    /// Removes files that are neither open nor reachable by a name.
    fn sweep(&mut self) {
        let possible: BTreeSet<FileId> = self.names.values().flat_map(Entry::possible).collect();
        self.nodes
            .retain(|id, node| node.handles > 0 || possible.contains(id));
        self.names.retain(|_, entry| {
            entry.current.is_some() || entry.durable.is_some() || !entry.unsynced.is_empty()
        });
    }
}

fn open_node(nodes: &mut BTreeMap<FileId, Node>, handle: Handle) -> &mut Node {
    // `sweep` spares files that are open, and a handle is not used after `close`.
    nodes.get_mut(&handle.file).expect("an open file exists")
}

#[cfg(test)]
mod tests;
