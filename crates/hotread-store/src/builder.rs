//! How a store is opened.

use crate::committer::Committer;
use crate::error::OpenError;
use crate::open::{self, Location, Opened};
use crate::options::Synchronous;
use crate::queue::Queue;
use crate::read::{self, Opener};
use crate::seal::{MIN_ROUNDS, Passphrase, ROUNDS};
use crate::stats::Counters;
use crate::store::{Inner, Store, Writer};
use crate::table::Registry;
use crate::temporary::Folder;
use crate::token::Tokens;
use crate::typed::Typed;
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
            at: Location::new(path, None),
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
    pub fn open(self) -> Result<Store, OpenError> {
        let Self {
            mut at,
            create,
            read_only,
            synchronous,
            passphrase,
            key_rounds,
            readers,
            wait,
            folder,
            actor,
        } = self;
        let path = at.path.clone();
        let failed = |source| OpenError::Storage {
            path: path.clone(),
            source,
        };
        if read_only {
            open::check_readable(&at)?;
            at.hold()?;
            let opener = Opener::new().map_err(OpenError::Thread)?;
            let pool = read::pool(at.clone(), readers, &opener).map_err(failed)?;
            let registry = Arc::new(Registry::default());
            let inner = Inner {
                typed: Typed::default(),
                at,
                passphrase,
                key_rounds,
                registry,
                pool,
                damage: None,
                created: false,
                writer: None,
                _folder: folder,
            };
            return Ok(Store(Arc::new(inner), None, actor));
        }
        let Opened {
            db,
            lock,
            damage,
            created,
            full,
        } = open::writer(&mut at, create, synchronous, wait)?;
        if created {
            tracing::info!(path = %at.path.display(), "a new database was created");
        }
        let (queue, registry) = (Arc::new(Queue::default()), Arc::new(Registry::default()));
        let (counters, tokens) = (Arc::<Counters>::default(), Arc::<Tokens>::default());
        let mut committer = Committer::new(
            at.clone(),
            synchronous,
            db,
            queue.clone(),
            registry.clone(),
            counters.clone(),
            tokens.clone(),
        )
        .map_err(failed)?;
        if let Some(cause) = full {
            tracing::error!(path = %at.path.display(), %cause, "the database is read, and not written until there is room");
            committer.halt(cause, Vec::new());
        }
        let opener = Opener::new().map_err(OpenError::Thread)?;
        let pool = read::pool(at.clone(), readers, &opener).map_err(failed)?;
        // Under the name that the file has now: reading goes on if it is moved before the first read. A
        // simulated file system moves nothing, and its tests want the state of a store whose readers
        // have been closed for being idle.
        if at.vfs.is_none() {
            drop(read::connection(&pool));
        }
        let thread = std::thread::Builder::new()
            .name("hotread-commit".to_owned())
            .spawn(move || committer.run())
            .map_err(OpenError::Thread)?;
        let writer = Some(Writer {
            queue,
            registry: registry.clone(),
            counters,
            tokens,
            opener,
            thread: Mutex::new(Some(thread)),
            lock,
        });
        let inner = Inner {
            typed: Typed::default(),
            at,
            passphrase,
            key_rounds,
            registry,
            pool,
            damage,
            created,
            writer,
            _folder: folder,
        };
        Ok(Store(Arc::new(inner), None, actor))
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
