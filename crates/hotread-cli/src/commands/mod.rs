//! What each command does, one module for those that belong together; here, what they share.

pub(crate) mod complete;
mod export;
mod files;
mod history;
mod import;
mod list;
mod man;
mod migrate;
mod past;
mod record;
mod serve;
mod status;
mod table;
mod token;
mod txn;
mod watch;

use crate::args::{Cli, Cmd, FormatArgs, Global, ListFormat, LsArgs, Needs, Place, Since};
use crate::backend::{Remote, Server, Tables};
use crate::exit::{self, Exit, Failure};
use crate::output::{List, Machine, Out, escape};
use anyhow::{Context, Result};
use hotread_proto::{Actor, Code, Position, TableName};
use hotread_store::{OpenError, Passphrase, SHORT_PASSPHRASE_BYTES, Store, StoreBuilder};
use serde::Serialize;
use std::fs::File;
use std::io::{self, IsTerminal, Read, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Mutex;
use std::thread;
use tokio::runtime::Runtime;

/// Runs a command. Its exit code is that of success but for some that have more to say.
pub(crate) fn run(cli: Cli, out: &mut Out) -> Result<ExitCode> {
    let needs = cli.command.needs();
    let session = &Session {
        place: cli.global.place(needs)?,
        global: cli.global,
        needs,
    };
    match cli.command {
        Cmd::Migrate(command) => migrate::run(session, &command, out)?,
        Cmd::Table(command) => table::run(session, command, out)?,
        Cmd::Set(args) => record::set(session, args, out)?,
        Cmd::Get(args) => record::get(session, &args, out)?,
        Cmd::Rm(args) => record::rm(session, args, out)?,
        Cmd::Txn(args) => txn::run(session, args, out)?,
        Cmd::Ls(args) => list::ls(session, args, out)?,
        Cmd::Keys(range) => {
            let keys_only = true;
            list::ls(session, LsArgs { range, keys_only }, out)?;
        }
        Cmd::Search(args) => list::search(session, args, out)?,
        Cmd::Import(args) => return import::run(session, args, out),
        Cmd::Export(args) => export::run(session, &args, out)?,
        Cmd::History(args) => history::run(session, &args, out)?,
        Cmd::Backup { file } => files::backup(session, &file, out)?,
        Cmd::Restore { from } => files::restore(session, &from, out)?,
        Cmd::Verify => files::verify(session, out)?,
        Cmd::Watch(args) => watch::run(session, &args, out)?,
        Cmd::Status => status::run(session, out)?,
        Cmd::Serve(args) => serve::run(session, args, out)?,
        Cmd::Token(command) => token::run(session, command, out)?,
        Cmd::Demo(args) => return crate::demo::run(session.json(), args, out),
        Cmd::Man { dir } => man::run(&dir, out)?,
        Cmd::Completions { shell } => completions(shell, out)?,
    }
    Ok(ExitCode::SUCCESS)
}

/// What the options for all commands say.
pub(crate) struct Session {
    global: Global,
    needs: Needs,
    place: Place,
}

/// What a database is opened for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Mode {
    /// Works while another process writes.
    Read,
    Write,
    /// And make it if it is not there.
    Create,
}

impl Session {
    pub(crate) fn json(&self) -> bool {
        self.global.json
    }

    /// Was more asked for than usual?
    pub(crate) fn verbose(&self) -> bool {
        self.global.verbose > 0
    }

    /// How much more than usual was asked for.
    fn verbosity(&self) -> u8 {
        self.global.verbose
    }

    /// Nobody said where the tables are, or only in the environment for other commands.
    fn unsaid(&self) -> Failure {
        Failure::usage(match self.needs {
            Needs::Server => "which server? give --url http://127.0.0.1:7400, or set HOTREAD_URL",
            Needs::Tables => {
                "which database? give --db FILE or --url URL, or set HOTREAD_DB or HOTREAD_URL"
            }
            Needs::File if self.global.url.is_some() => {
                "this works on the database itself, and not through the server of HOTREAD_URL; give \
                 --db FILE, or set HOTREAD_DB"
            }
            Needs::File | Needs::Nothing => "which database? give --db FILE, or set HOTREAD_DB",
        })
    }

    /// Somebody said where the tables are.
    pub(crate) fn check_place(&self) -> Result<()> {
        match self.place {
            Place::Unsaid => Err(self.unsaid().into()),
            Place::File(_) | Place::Server(_) => Ok(()),
        }
    }

    /// The database's path, if it is one that this process opens.
    pub(crate) fn file(&self) -> Option<&Path> {
        match &self.place {
            Place::File(path) => Some(path),
            Place::Server(_) | Place::Unsaid => None,
        }
    }

    /// The database's path.
    pub(crate) fn db(&self) -> Result<&Path> {
        Ok(self.file().ok_or_else(|| self.unsaid())?)
    }

    /// The server, if the tables are there.
    fn remote(&self) -> Option<Remote> {
        match &self.place {
            Place::Server(url) => Some(Remote::new(url.clone(), self.global.token())),
            Place::File(_) | Place::Unsaid => None,
        }
    }

    /// The server, which the command needs.
    pub(crate) fn server(&self) -> Result<Remote> {
        Ok(self.remote().ok_or_else(|| self.unsaid())?)
    }

    /// With what a configuration file says where nothing was given.
    fn or_file(&self, db: Option<PathBuf>, passphrase_file: Option<PathBuf>) -> Self {
        let given = &self.global;
        Self {
            place: match (&self.place, db) {
                (Place::Unsaid, Some(db)) => Place::File(db),
                (place, _) => place.clone(),
            },
            global: Global {
                db: None,
                url: given.url.clone(),
                token: None,
                passphrase_file: given.passphrase_file.clone().or(passphrase_file),
                ..*given
            },
            needs: self.needs,
        }
    }

    fn builder(&self, mode: Mode) -> Result<StoreBuilder> {
        let builder = Store::builder(self.db()?).create(mode == Mode::Create);
        // Whatever the program is called. Not the user's name: the environment's is what anyone says it
        // is, and a script's says nothing. A server tells people apart by their tokens.
        let builder = builder.actor(Actor::new("hotread").ok());
        Ok(builder.read_only(mode == Mode::Read).wait(self.global.wait))
    }

    /// The passphrase from the file that was named for it.
    fn passphrase(&self) -> Result<Option<Passphrase>> {
        self.global
            .passphrase_file
            .as_deref()
            .map(read_passphrase)
            .transpose()
    }

    /// Opens the database for what it does to no table in particular.
    pub(crate) fn store(&self, mode: Mode) -> Result<Store> {
        self.store_with(mode, self.passphrase()?)
    }

    fn store_with(&self, mode: Mode, passphrase: Option<Passphrase>) -> Result<Store> {
        let builder = self.builder(mode)?;
        let opened = match passphrase {
            Some(passphrase) => builder.passphrase(passphrase),
            None => builder,
        }
        .open();
        let opened = opened.inspect(|store| self.tell_damage(store));
        opened.map_err(|error| match &error {
            // Whoever has it open would do it as well.
            OpenError::InUse { path, holder } if self.needs == Needs::Tables => {
                let Some(url) = &holder.url else {
                    return error.into();
                };
                let url = url.escape_debug();
                let message = format!(
                    "{} is in use by {holder}; give --url {url} instead of --db",
                    path.display()
                );
                Failure::new(Code::InUse, message).into()
            }
            _ => error.into(),
        })
    }

    /// Says what is lost in a database that was opened: from now on no check finds it.
    fn tell_damage(&self, store: &Store) {
        if let Some(damage) = store.wal_damage() {
            let what = match damage.certain {
                true => {
                    "acknowledged transactions are lost; run `hotread verify`, and restore a backup"
                }
                false => "it was under way when power was lost, or it was acknowledged and is lost",
            };
            let message = format!("{}: {damage}; {what}", store.path().display());
            exit::warn(Code::Corrupt, &message, self.json());
        }
    }

    /// Opens the database to work with a table. If the table turns out to be sealed and no
    /// passphrase was given, it is asked for.
    pub(crate) fn store_for(&self, table: &TableName, mode: Mode) -> Result<Store> {
        let passphrase = self.passphrase()?;
        let given = passphrase.is_some();
        let store = self.store_with(mode, passphrase)?;
        let sealed = || {
            store
                .table_info(table)
                .is_ok_and(|info| info.options.sealed)
        };
        if given || !can_ask() || !sealed() {
            return Ok(store);
        }
        drop(store);
        let passphrase = ask_passphrase(&format!("Passphrase of table {table}: "))?;
        self.store_with(mode, Some(passphrase))
    }

    /// The tables, wherever they are; or what `store` opens, if they are in a file.
    fn tables_or(&self, store: impl FnOnce() -> Result<Store>) -> Result<Box<dyn Tables>> {
        self.check_place()?;
        Ok(match self.remote() {
            Some(remote) => Box::new(Server::new(remote)?),
            None => Box::new(store()?),
        })
    }

    /// The tables, for what it does to none in particular.
    pub(crate) fn tables(&self, mode: Mode) -> Result<Box<dyn Tables>> {
        self.tables_or(|| self.store(mode))
    }

    /// The tables, to work with one of them.
    pub(crate) fn tables_for(&self, table: &TableName, mode: Mode) -> Result<Box<dyn Tables>> {
        self.tables_or(|| self.store_for(table, mode))
    }

    /// The tables, to seal something anew. A server has a passphrase; here, one is needed.
    fn tables_to_seal(&self, mode: Mode) -> Result<Box<dyn Tables>> {
        self.tables_or(|| {
            let passphrase = match self.passphrase()? {
                Some(passphrase) => passphrase,
                None => new_passphrase("a passphrase is needed; give --passphrase-file FILE")?,
            };
            if mode == Mode::Create {
                self.warn_if_short(&passphrase);
            }
            self.store_with(mode, Some(passphrase))
        })
    }

    /// Says that a passphrase that is about to be used is easily guessed.
    pub(crate) fn warn_if_short(&self, passphrase: &Passphrase) {
        if passphrase.is_short() {
            self.note(&format!(
                "the passphrase has fewer than {SHORT_PASSPHRASE_BYTES} bytes, which can be guessed by \
                 who has the file; better six random words"
            ));
        }
    }

    /// The list that programs get; `None` where people get a table. `columns`: those of CSV.
    ///
    /// # Errors
    /// If JSON is to be indented, and there is none.
    fn list(&self, args: FormatArgs, columns: &'static [&'static str]) -> Result<Option<List>> {
        let machine = match args.format {
            Some(ListFormat::Table) => None,
            Some(ListFormat::Json) => Some(Machine::Json),
            Some(ListFormat::Ndjson) => Some(Machine::Ndjson),
            Some(ListFormat::Csv) => Some(Machine::Csv),
            None => self.json().then_some(Machine::Ndjson),
        };
        if args.pretty && !matches!(machine, Some(Machine::Json | Machine::Ndjson)) {
            let message = "--pretty indents JSON; give --json or --format json with it";
            return Err(Failure::usage(message).into());
        }
        Ok(machine.map(|machine| List::new(machine, args.pretty, columns)))
    }

    /// Says on stderr that a list is not whole. `after`: the key that the rest comes after.
    fn tell_cut(&self, text: &str, after: Option<&str>) {
        #[derive(Serialize)]
        struct Cut<'a> {
            truncated: bool,
            #[serde(skip_serializing_if = "Option::is_none")]
            after: Option<&'a str>,
            message: &'a str,
        }

        if !self.json() {
            return self.note(text);
        }
        let cut = Cut {
            truncated: true,
            after,
            message: text,
        };
        // A closed stderr is no reason to fail.
        let line = serde_json::to_string(&cut).unwrap_or_default();
        let _ = writeln!(io::stderr(), "{line}");
    }

    /// Something that is not the answer, for people only.
    pub(crate) fn note(&self, text: &str) {
        if !self.json() {
            // If nobody hears it, nothing is lost.
            let _ = writeln!(io::stderr(), "{}", escape(text));
        }
    }
}

/// The position that a table had after a transaction. A sequence number is one of the epoch that the
/// table has.
fn position(tables: &dyn Tables, table: &TableName, at: Since) -> Result<Position> {
    let seq = match at {
        Since::Position(position) => return Ok(position),
        Since::Seq(seq) => seq,
    };
    let head = tables.table(table)?.position;
    if seq > head.seq {
        let message = format!("the last transaction of table {table} is {}", head.seq);
        return Err(Failure::new(Code::BadRequest, message).into());
    }
    Ok(Position { seq, ..head })
}

/// Reads a file, or stdin where it is `-`, up to a byte more than the most that is of use.
fn read_input(file: &Path, most: u64) -> Result<Vec<u8>> {
    let mut input = Vec::new();
    if file == Path::new("-") {
        let read = io::stdin().lock().take(most + 1).read_to_end(&mut input);
        read.context("cannot read stdin")?;
    } else {
        let file_at = || format!("cannot read {}", file.display());
        let open = File::open(file).with_context(file_at)?;
        open.take(most + 1)
            .read_to_end(&mut input)
            .with_context(file_at)?;
    }
    Ok(input)
}

/// A word as a shell reads it.
fn shell_word(text: &str) -> String {
    format!("'{}'", text.replace('\'', r"'\''"))
}

/// Is there somebody to ask?
pub(crate) fn can_ask() -> bool {
    io::stdin().is_terminal() && io::stderr().is_terminal()
}

fn read_passphrase(path: &Path) -> Result<Passphrase> {
    Passphrase::read_file(path).map_err(no_passphrase)
}

fn no_passphrase(error: impl std::fmt::Display) -> anyhow::Error {
    Failure::new(Code::BadRequest, error).into()
}

fn ask_passphrase(prompt: &str) -> Result<Passphrase> {
    let text = rpassword::prompt_password(prompt).context("cannot read the passphrase")?;
    Passphrase::new(text).map_err(no_passphrase)
}

/// A passphrase that is not in use yet: asked for twice, since nobody sees what they type.
fn new_passphrase(otherwise: &str) -> Result<Passphrase> {
    if !can_ask() {
        return Err(Failure::usage(otherwise).into());
    }
    let read = |prompt| rpassword::prompt_password(prompt).context("cannot read the passphrase");
    let (one, other) = (read("New passphrase: ")?, read("The same again: ")?);
    if one != other {
        let message = "the two passphrases differ; nothing was done, try again";
        return Err(Failure::new(Code::BadRequest, message).into());
    }
    Passphrase::new(one).map_err(no_passphrase)
}

/// Asks before something is lost, unless `yes` was said already.
pub(crate) fn confirm(yes: bool, question: &str) -> Result<()> {
    if yes {
        return Ok(());
    }
    if !can_ask() {
        let message = format!("{question}; give --yes if that is meant");
        return Err(Failure::usage(message).into());
    }
    let ask = || -> io::Result<String> {
        let mut err = io::stderr();
        write!(err, "{}; go on? [y/N] ", escape(question))?;
        err.flush()?;
        let mut answer = String::new();
        io::stdin().read_line(&mut answer)?;
        Ok(answer)
    };
    let answer = ask().context("cannot ask")?;
    if matches!(answer.trim(), "y" | "Y" | "yes") {
        return Ok(());
    }
    let body = hotread_proto::ErrorBody::new(Code::BadRequest, "not confirmed; nothing was done");
    Err(Failure::with(Exit::Error, body).into())
}

/// A runtime with so many threads of its own. Tokio panics where the system refuses it one, so it is tried
/// first whether there are as many.
pub(crate) fn runtime(threads: usize) -> io::Result<Runtime> {
    let hold = Mutex::new(());
    thread::scope(|scope| {
        let _held = hold.lock();
        (0..threads).try_for_each(|_| {
            let started = thread::Builder::new().spawn_scoped(scope, || drop(hold.lock()));
            started.map(drop)
        })
    })?;
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(threads)
        .enable_all()
        .build()
}

fn completions(shell: clap_complete::Shell, out: &mut Out) -> Result<()> {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut crate::args::command(), "hotread", &mut script);
    out.text(&String::from_utf8_lossy(&script))
}
