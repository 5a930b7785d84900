//! How a store is opened.

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

/// Read connections unless something else is asked for: one for each call that a server runs at a
/// time. Each is opened when it is needed, and caches up to 2 MiB.
const DEFAULT_READERS: u32 = 16;

/// How a store is opened.
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

    /// Of a store that is deleted with its folder.
    pub(crate) fn temporary(folder: Folder) -> Self {
        let file = folder.path().join("store.db");
        Self {
            synchronous: Synchronous::Normal,
            folder: Some(folder),
            ..Self::new(&file)
        }
    }

    /// Whether to create the file if there is none. Yes, unless this says no.
    pub fn create(mut self, create: bool) -> Self {
        self.create = create;
        self
    }

    /// Only reads, beside a process that writes or without one. Live tables stand still: they are
    /// what they were when they were first asked for.
    pub fn read_only(mut self, read_only: bool) -> Self {
        self.read_only = read_only;
        self
    }

    /// When an acknowledged write is safe. [`Synchronous::Full`] unless this says otherwise.
    pub fn synchronous(mut self, synchronous: Synchronous) -> Self {
        self.synchronous = synchronous;
        self
    }

    /// The passphrase of the sealed tables. Keys are derived when a table is first used, which takes
    /// tenths of a second; a wrong passphrase is reported then, before anything is read.
    pub fn passphrase(mut self, passphrase: Passphrase) -> Self {
        self.passphrase = Some(passphrase);
        self
    }

    /// How long to wait for a process that has the file open for writing. One that serves it, as its lock
    /// file says, is not waited for. Zero unless this says otherwise.
    pub fn wait(mut self, wait: Duration) -> Self {
        self.wait = wait;
        self
    }

    /// The actor of what is written through the store: the history keeps it with each transaction, and
    /// followers get it. The file name of the running program unless this says otherwise, or no actor where
    /// that cannot be one; `None` for no actor. [`Store::acting_as`] gives another one to some of the
    /// writes. What no caller asks for, such as the deletion of expired records, has no actor.
    pub fn actor(mut self, actor: impl Into<Option<Actor>>) -> Self {
        self.actor = actor.into();
        self
    }

    /// Most read connections, at least one. 16 unless this says otherwise.
    pub fn readers(mut self, readers: u32) -> Self {
        self.readers = readers.max(1);
        self
    }

    /// An SQLite VFS other than the system's, by the name it is registered under: for tests that
    /// lose power.
    #[doc(hidden)]
    pub fn vfs(mut self, vfs: &str) -> Self {
        self.at.vfs = Some(vfs.to_owned());
        self
    }

    /// Tables that are sealed from now on get keys by the fewest rounds that a header may ask for, a sixth
    /// of what they get otherwise: for tests that derive many.
    #[doc(hidden)]
    pub fn quick_keys(mut self) -> Self {
        self.key_rounds = MIN_ROUNDS;
        self
    }

    /// Opens the file: creates it if there is none, and brings it to the newest schema if it is
    /// older. Reads the tokens and where each table stands; tables are loaded when they are first asked for.
    ///
    /// On a full disk it is opened if it has the newest schema: what is there is read, and writing begins
    /// when there is room ([`Store::check_writable`]).
    ///
    /// # Errors
    /// If it is not ours, too new, damaged, in use, or cannot be written. What was there is as it
    /// was then.
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
            // Under the name that the file has now: reading goes on if it is moved before the first read. A
            // simulated file system moves nothing, and its tests want the state of a store whose readers
            // have been closed for being idle.
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
            tracing::error!(%path, %cause, "the database is read, and not written until there is room");
            committer.halt(cause, Vec::new());
        }
        Ok((committer, opened.lock))
    }
}

/// The name of the running program.
fn program() -> Option<Actor> {
    let path = std::env::current_exe().ok()?;
    let name = path.file_name()?.to_str()?;
    let name = name.strip_suffix(EXE_SUFFIX).unwrap_or(name);
    // Linux adds this after the file was replaced, as by an update.
    let name = name.strip_suffix(" (deleted)").unwrap_or(name);
    Actor::new(name).ok()
}
