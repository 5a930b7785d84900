//! The options for opening a store.

use super::{Inner, Store, Writer};
use crate::committer::{Committer, Shared};
use crate::error::OpenError;
use crate::location::Location;
use crate::lock::WriterLock;
use crate::open::{self, Opened};
use crate::options::Synchronous;
use crate::read::{self, Opener};
use crate::seal::{MIN_ROUNDS, Passphrase, ROUNDS};
use crate::states::States;
use crate::temporary::Folder;
use hotread_proto::Actor;
use std::env::consts::EXE_SUFFIX;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// Default number of read connections: one for each call that a server runs at a time. Each is opened
/// when it is needed, and caches up to 2 MiB.
const DEFAULT_READERS: u32 = 16;

/// Options for opening a store.
#[derive(Debug)]
#[must_use = "a builder does nothing until `open` is called"]
pub struct StoreBuilder {
    at: Location,
    create: bool,
    read_only: bool,
    synchronous: Synchronous,
    passphrase: Option<Passphrase>,
    key_rounds: u32,
    readers: u32,
    wait: Duration,
    folder: Option<Folder>,
    actor: Option<Actor>,
}

impl StoreBuilder {
    pub(crate) fn new(path: &Path) -> Self {
        Self {
            at: Location::new(path),
            create: true,
            read_only: false,
            synchronous: Synchronous::Full,
            passphrase: None,
            key_rounds: ROUNDS,
            readers: DEFAULT_READERS,
            wait: Duration::ZERO,
            folder: None,
            actor: program(),
        }
    }

    /// Returns options of a store that is deleted with its folder.
    pub(crate) fn temporary(folder: Folder) -> Self {
        let file = folder.path().join("store.db");
        Self {
            synchronous: Synchronous::Normal,
            folder: Some(folder),
            ..Self::new(&file)
        }
    }

    /// Creates the file if it does not exist. Default: `true`.
    pub fn create(mut self, create: bool) -> Self {
        self.create = create;
        self
    }

    /// Opens for reading only, alongside a process that writes or without one. Live tables are not
    /// updated: they stay at the state of their first use.
    pub fn read_only(mut self, read_only: bool) -> Self {
        self.read_only = read_only;
        self
    }

    /// Sets the failures that an acknowledged write survives. Default: [`Synchronous::Full`].
    pub fn synchronous(mut self, synchronous: Synchronous) -> Self {
        self.synchronous = synchronous;
        self
    }

    /// Sets the passphrase of the sealed tables. The keys of a table are derived on its first use,
    /// which takes tenths of a second; a wrong passphrase is reported then, before anything is read.
    pub fn passphrase(mut self, passphrase: Passphrase) -> Self {
        self.passphrase = Some(passphrase);
        self
    }

    /// Sets the time to wait for a process that has the file open for writing. There is no wait for a process
    /// that serves the file, according to its lock file. Default: zero.
    pub fn wait(mut self, wait: Duration) -> Self {
        self.wait = wait;
        self
    }

    /// Sets the actor of the store's writes, which the history keeps with each transaction and
    /// followers receive. Default: the file name of the running program, or no actor if that name is
    /// not a valid one. `None` means no actor. [`Store::acting_as`] sets another actor for some of the
    /// writes. Changes that no caller requested, such as the deletion of expired records, have no
    /// actor.
    pub fn actor(mut self, actor: impl Into<Option<Actor>>) -> Self {
        self.actor = actor.into();
        self
    }

    /// Sets the maximum number of read connections, at least 1. Default: 16.
    pub fn readers(mut self, readers: u32) -> Self {
        self.readers = readers.max(1);
        self
    }

    /// Sets an SQLite VFS other than the system's, by its registered name: for tests that simulate
    /// power failures.
    #[doc(hidden)]
    pub fn vfs(mut self, vfs: &str) -> Self {
        self.at.vfs = Some(vfs.to_owned());
        self
    }

    /// Derives the keys of newly sealed tables with the fewest rounds that a header may have, a sixth
    /// of the usual ones: for tests that derive many keys.
    #[doc(hidden)]
    pub fn quick_keys(mut self) -> Self {
        self.key_rounds = MIN_ROUNDS;
        self
    }

    /// Opens the file: creates it if it does not exist, and migrates it to the newest schema if it is
    /// older. Reads the tokens and the head of each table; tables are loaded on first use.
    ///
    /// On a full disk, a file with the newest schema is opened for reading, and writing begins when
    /// there is space ([`Store::check_writable`]).
    ///
    /// # Errors
    /// If the file is not a HotRead database, or is too new, damaged, in use, or cannot be written. It
    /// is unchanged then.
    pub fn open(mut self) -> Result<Store, OpenError> {
        let shared = Shared::default();
        let (mut damage, mut created, mut committer) = (None, false, None);
        if self.read_only {
            open::check_readable(&self.at)?;
            self.at.hold()?;
        } else {
            let opened = open::writer(&mut self.at, self.create, self.synchronous, self.wait)?;
            (damage, created) = (opened.damage, opened.created);
            committer = Some(self.committer(opened, shared.clone())?);
        }
        let at = self.at;
        let opener = Opener::new().map_err(OpenError::Thread)?;
        let pool = read::pool(at.clone(), self.readers, &opener).map_err(|e| at.storage(e))?;
        let registry = shared.registry.clone();
        let start = |(committer, lock): (Committer, WriterLock)| -> Result<_, OpenError> {
            // Opens a connection while the file still has its name, so that reading continues if the
            // file is moved before the first read. A simulated file system moves nothing, and its tests
            // need the state of a store whose idle readers have been closed.
            if at.vfs.is_none() {
                drop(read::connection(&pool));
            }
            let thread = std::thread::Builder::new().name("hotread-commit".to_owned());
            let thread = thread.spawn(move || committer.run());
            Ok(Writer {
                shared,
                thread: Mutex::new(Some(thread.map_err(OpenError::Thread)?)),
                lock,
            })
        };
        let writer = committer.map(start).transpose()?;
        let inner = Inner {
            states: States::default(),
            at,
            passphrase: self.passphrase,
            key_rounds: self.key_rounds,
            registry,
            pool,
            _opener: opener,
            damage,
            created,
            writer,
            _folder: self.folder,
        };
        Ok(Store(Arc::new(inner), None, self.actor))
    }

    fn committer(
        &self,
        opened: Opened,
        shared: Shared,
    ) -> Result<(Committer, WriterLock), OpenError> {
        let path = self.at.path.display();
        if opened.created {
            tracing::info!(%path, "a new database was created");
        }
        let committer = Committer::new(self.at.clone(), self.synchronous, opened.db, shared);
        let mut committer = committer.map_err(|e| self.at.storage(e))?;
        if let Some(cause) = opened.full {
            tracing::error!(%path, %cause, "the database can be read, but not written until there is room");
            committer.halt(cause, Vec::new());
        }
        Ok((committer, opened.lock))
    }
}

/// Returns the file name of the running program.
fn program() -> Option<Actor> {
    let path = std::env::current_exe().ok()?;
    let name = path.file_name()?.to_str()?;
    let name = name.strip_suffix(EXE_SUFFIX).unwrap_or(name);
    // Linux appends this if the file was replaced since the start, as by an update.
    let name = name.strip_suffix(" (deleted)").unwrap_or(name);
    Actor::new(name).ok()
}
