//! The commands, one module for those that belong together, and the code that they share.

pub(crate) mod complete;
mod config;
mod export;
mod files;
mod history;
mod import;
mod list;
mod man;
mod migrate;
mod past;
mod record;
mod reload;
mod serve;
mod status;
mod table;
mod token;
mod txn;
mod watch;

use crate::args::{Cli, Cmd, FormatArgs, Global, ListFormat, LsArgs, Needs, Place, Since};
use crate::backend::{Remote, Server, Tables};
use crate::exit::{self, Failure};
use crate::output::{List, Machine, Out, escape};
use anyhow::{Context, Result};
use hotread_proto::{Actor, Code, ErrorBody, Position, TableInfo, TableName, Timestamp};
use hotread_store::{OpenError, Passphrase, SHORT_PASSPHRASE_BYTES, Store, StoreBuilder};
use serde::Serialize;
use std::fs::File;
use std::io::{self, IsTerminal, Read, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Mutex;
use std::thread;
use std::time::{Duration, SystemTime};
use tokio::runtime::Runtime;

/// Note in place of an empty list of tables.
const NO_TABLES: &str = "there are no tables; `hotread table create` creates one";

/// Runs a command. Its exit code is that of success, except for commands with outcomes of their own.
pub(crate) fn run(cli: Cli, out: &mut Out) -> Result<ExitCode> {
    let needs = cli.command.needs();
    let session = &mut Session {
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
        Cmd::Config(command) => config::run(session, command, out)?,
        Cmd::Token(command) => token::run(session, command, out)?,
        Cmd::Demo(args) => return crate::demo::run(session.json(), args, out),
        Cmd::Man { dir } => man::run(&dir, out)?,
        Cmd::Completions { shell } => completions(shell, out)?,
    }
    Ok(ExitCode::SUCCESS)
}

/// The options for all commands, and the needs of the command.
pub(crate) struct Session {
    global: Global,
    needs: Needs,
    place: Place,
}

/// Purpose for which a database is opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Mode {
    /// Reading, which works while another process writes.
    Read,
    Write,
    /// Writing; the database is created if it does not exist.
    Create,
}

impl Session {
    pub(crate) fn json(&self) -> bool {
        self.global.json
    }

    /// Returns `true` if `-v` is given.
    pub(crate) fn verbose(&self) -> bool {
        self.global.verbose > 0
    }

    /// Prints an answer: as JSON, or as a line for people.
    fn answer(&self, json: &impl Serialize, line: &str, out: &mut Out) -> Result<()> {
        match self.json() {
            true => out.json(json),
            false => out.line(line),
        }
    }

    /// Prints a whole list: for programs, or for people as a table; an empty table is replaced by a
    /// note.
    fn print<T: Serialize>(
        &self,
        list: Option<List>,
        items: &[T],
        none: &str,
        heading: &[&str],
        row: impl Fn(&T) -> Vec<String>,
        out: &mut Out,
    ) -> Result<()> {
        if let Some(mut list) = list {
            list.rows(items, out)?;
            return list.end(out);
        }
        if items.is_empty() {
            self.note(none);
            return Ok(());
        }
        out.table(heading, items.iter().map(row))
    }

    /// Returns the error for a location that is not given, or only by a variable for other commands.
    fn unsaid(&self) -> Failure {
        Failure::usage(match self.needs {
            Needs::Server => {
                "no server is named; give --url http://127.0.0.1:7400, or set HOTREAD_URL"
            }
            Needs::Tables => {
                "no database is named; give --db FILE or --url URL, or set HOTREAD_DB or HOTREAD_URL"
            }
            Needs::File if self.global.url.is_some() => {
                "this works on the database itself, and not through the server of HOTREAD_URL; give \
                 --db FILE, or set HOTREAD_DB"
            }
            Needs::File | Needs::Nothing => {
                "no database is named; give --db FILE, or set HOTREAD_DB"
            }
        })
    }

    /// Checks that the location of the tables is given.
    pub(crate) fn check_place(&self) -> Result<()> {
        match self.place {
            Place::Unsaid => Err(self.unsaid().into()),
            Place::File(_) | Place::Server(_) => Ok(()),
        }
    }

    /// Returns the path of the database, if this process is to open one.
    pub(crate) fn file(&self) -> Option<&Path> {
        match &self.place {
            Place::File(path) => Some(path),
            Place::Server(_) | Place::Unsaid => None,
        }
    }

    /// Returns `true` if the command is about to create the database. Its request is checked before, so that
    /// a refusal leaves no database behind.
    pub(crate) fn begins(&self) -> bool {
        self.file().is_some_and(|file| !file.exists())
    }

    /// Returns the path of the database.
    pub(crate) fn db(&self) -> Result<&Path> {
        Ok(self.file().ok_or_else(|| self.unsaid())?)
    }

    /// Returns the server, which the command needs.
    pub(crate) fn server(&self) -> Result<Remote> {
        match self.place.clone() {
            Place::Server(url) => {
                let tls = self.global.tls(&url)?;
                Ok(Remote::new(url, self.global.token(), tls))
            }
            Place::File(_) | Place::Unsaid => Err(self.unsaid().into()),
        }
    }

    /// Applies the paths of a configuration file where no option is given.
    fn or_file(&mut self, db: Option<PathBuf>, passphrase_file: Option<PathBuf>) {
        match db {
            Some(db) if self.place == Place::Unsaid => self.place = Place::File(db),
            _ => {}
        }
        let given = &mut self.global.passphrase_file;
        *given = given.take().or(passphrase_file);
    }

    fn builder(&self, mode: Mode, passphrase: Option<Passphrase>) -> Result<StoreBuilder> {
        let builder = Store::builder(self.db()?).create(mode == Mode::Create);
        // The actor is the program, under any file name. The user's name would come from the
        // environment, which anyone can set. A server tells callers apart by their tokens.
        let builder = builder.actor(Actor::new("hotread").ok());
        let builder = builder.read_only(mode == Mode::Read).wait(self.global.wait);
        Ok(match passphrase {
            Some(passphrase) => builder.passphrase(passphrase),
            None => builder,
        })
    }

    /// Reads the passphrase from the file that is given for it.
    fn passphrase(&self) -> Result<Option<Passphrase>> {
        let file = self.global.passphrase_file.as_deref();
        Ok(file.map(Passphrase::read_file).transpose()?)
    }

    /// Opens the database for work that needs no passphrase.
    pub(crate) fn store(&self, mode: Mode) -> Result<Store> {
        self.store_with(mode, self.passphrase()?)
    }

    fn store_with(&self, mode: Mode, passphrase: Option<Passphrase>) -> Result<Store> {
        let opened = self.builder(mode, passphrase)?.open();
        let opened = opened.inspect(|store| self.tell_damage(store));
        opened.map_err(|error| match &error {
            // A server that has the database open could run this command.
            OpenError::InUse { path, holder } if self.needs == Needs::Tables => {
                let Some(url) = &holder.url else {
                    return error.into();
                };
                let (path, url) = (path.display(), url.escape_debug());
                let message =
                    format!("{path} is in use by {holder}; give --url {url} instead of --db");
                Failure::new(Code::InUse, message).into()
            }
            _ => error.into(),
        })
    }

    /// Reports damage that opening the database found: later checks no longer see it.
    fn tell_damage(&self, store: &Store) {
        if let Some(damage) = store.wal_damage() {
            let what = match damage.certain {
                true => {
                    "acknowledged transactions are lost; run `hotread verify`, and restore a backup"
                }
                false => "it was under way when power was lost, or it was acknowledged and is lost",
            };
            let message = format!("{}: {damage}; {what}", store.path().display());
            exit::print(&ErrorBody::new(Code::Corrupt, message), self.json());
        }
    }

    /// Opens the database to work with a table. Asks for the passphrase if the table is sealed and no
    /// passphrase was given.
    pub(crate) fn store_for(&self, table: &TableName, mode: Mode) -> Result<Store> {
        let passphrase = self.passphrase()?;
        let given = passphrase.is_some();
        let store = self.store_with(mode, passphrase)?;
        let sealed = |info: TableInfo| info.options.sealed;
        if given || !can_ask() || !store.table_info(table).is_ok_and(sealed) {
            return Ok(store);
        }
        drop(store);
        let passphrase = ask_passphrase(&format!("Passphrase of table {table}: "))?;
        self.store_with(mode, Some(Passphrase::new(passphrase)?))
    }

    /// Returns the tables of the server, or of the database that `store` opens.
    fn tables_or(&self, store: impl FnOnce() -> Result<Store>) -> Result<Tables> {
        Ok(match self.place {
            Place::File(_) => Tables::File(store()?),
            Place::Server(_) | Place::Unsaid => Tables::Server(Server::new(self.server()?)?),
        })
    }

    /// Returns the tables, for work that needs no passphrase.
    pub(crate) fn tables(&self, mode: Mode) -> Result<Tables> {
        self.tables_or(|| self.store(mode))
    }

    /// Returns the tables, to work with one of them.
    pub(crate) fn tables_for(&self, table: &TableName, mode: Mode) -> Result<Tables> {
        self.tables_or(|| self.store_for(table, mode))
    }

    /// Returns the tables, to create a sealed one. A server has a passphrase; a database needs one here.
    fn tables_to_seal(&self) -> Result<Tables> {
        self.tables_or(|| {
            let passphrase = match self.passphrase()? {
                Some(passphrase) => passphrase,
                None => new_passphrase("a passphrase is needed; give --passphrase-file FILE")?,
            };
            self.warn_if_short(&passphrase);
            self.store_with(Mode::Create, Some(passphrase))
        })
    }

    /// Warns about a passphrase that is easily guessed.
    pub(crate) fn warn_if_short(&self, passphrase: &Passphrase) {
        if passphrase.is_short() {
            self.note(&format!(
                "the passphrase has fewer than {SHORT_PASSPHRASE_BYTES} bytes, which can be guessed from \
                 the file; use six random words instead"
            ));
        }
    }

    /// Returns the list for programs, or `None` if a table is to be printed. `columns` are those of CSV.
    ///
    /// # Errors
    /// If `--pretty` is given and the format is not JSON.
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

    /// Reports on stderr that a list is cut. `after` is the key to continue after.
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

    /// Prints a note on stderr, for people only.
    pub(crate) fn note(&self, text: &str) {
        if !self.json() {
            // If stderr is closed, the note is lost.
            let _ = writeln!(io::stderr(), "{}", escape(text));
        }
    }
}

/// Returns the position of a table after a transaction. A sequence number belongs to the current epoch.
fn position(tables: &Tables, table: &TableName, at: Since) -> Result<Position> {
    let seq = match at {
        Since::Position(position) => return Ok(position),
        Since::Seq(seq) => seq,
    };
    let head = tables.table(table)?.position;
    if seq > head.seq {
        let message = format!(
            "table {table} has no transaction {seq} yet, the last one is {}; give that or an earlier one",
            head.seq
        );
        // The code for a position that a table was never at.
        return Err(Failure::new(Code::EpochChanged, message).into());
    }
    Ok(Position { seq, ..head })
}

/// Reads a file, or stdin for `-`, up to `most` bytes and one more.
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

/// Quotes a word for a shell, if needed.
fn shell_word(text: &str) -> String {
    format!("'{}'", text.replace('\'', r"'\''"))
}

/// Returns `true` if a person can be asked.
pub(crate) fn can_ask() -> bool {
    io::stdin().is_terminal() && io::stderr().is_terminal()
}

fn ask_passphrase(prompt: &str) -> Result<String> {
    rpassword::prompt_password(prompt).context("cannot read the passphrase")
}

/// Asks twice for a new passphrase, since it is not shown while it is typed.
fn new_passphrase(otherwise: &str) -> Result<Passphrase> {
    if !can_ask() {
        return Err(Failure::usage(otherwise).into());
    }
    let first = ask_passphrase("New passphrase: ")?;
    if first != ask_passphrase("The same again: ")? {
        let message = "the two passphrases differ; nothing was done, try again";
        return Err(Failure::new(Code::BadRequest, message).into());
    }
    Ok(Passphrase::new(first)?)
}

/// Asks for confirmation before data is lost, unless `yes` is given.
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
        write!(err, "{}; continue? [y/N] ", escape(question))?;
        err.flush()?;
        let mut answer = String::new();
        io::stdin().read_line(&mut answer)?;
        Ok(answer)
    };
    match ask().context("cannot ask")?.trim() {
        "y" | "Y" | "yes" => Ok(()),
        _ => Err(Failure::new(Code::BadRequest, "not confirmed; nothing was done").into()),
    }
}

/// Returns the time at which `ttl` will have passed.
fn from_now(ttl: Duration) -> Timestamp {
    Timestamp::from(SystemTime::now()).saturating_add(ttl)
}

/// Creates a runtime with `threads` worker threads. Tokio panics if the system refuses it a thread, so
/// starting as many threads is tried first.
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
