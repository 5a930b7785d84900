//! Exit codes, and the one line that reports an error. `args/help.rs` explains the codes to users.

use crate::args;
use crate::output::colour::{self, Style};
use crate::output::{Out, escape};
use anyhow::{Context, Error};
use hotread_proto::{Code, ErrorBody, InvalidName, InvalidTimestamp, InvalidValue};
use hotread_server::{OptionsError, ServeError};
use hotread_store::import::ImportError;
use hotread_store::migrate::MigrateError;
use hotread_store::{
    BackupError, CommitError, OpenError, PassphraseError, ReadError, TableError, TokenError,
};
use std::error::Error as StdError;
use std::future::poll_fn;
use std::io::{self, Write};
use std::process::ExitCode;
use std::task::Poll;
use tokio::signal::unix::{SignalKind, signal};

/// Meaning of an exit code.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Exit {
    /// Any other error.
    Error = 1,
    /// The command line is wrong.
    Usage = 2,
    /// There is no such table, key or token.
    NotFound = 3,
    /// The request conflicts with the state of the table or the database.
    Refused = 4,
    /// The database cannot be opened, or not for this command; or the server cannot be reached or
    /// started.
    Unusable = 5,
    /// The database is damaged, or the disk failed.
    Storage = 6,
    /// An import left rows out.
    Partial = 7,
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit as u8)
    }
}

impl Exit {
    /// Returns the exit code of an error code.
    fn of(code: Code) -> Self {
        match code {
            Code::NotFound | Code::UnknownTable | Code::UnknownToken => Self::NotFound,
            Code::PreconditionFailed
            | Code::TxnIdReused
            | Code::SchemaViolation
            | Code::UnusableSchema
            | Code::TableExists
            | Code::Gone
            | Code::EpochChanged
            | Code::Unauthenticated
            | Code::Forbidden
            | Code::HostNotAllowed
            | Code::OriginNotAllowed
            | Code::Rejected => Self::Refused,
            Code::NoSuchFile
            | Code::InUse
            | Code::ReadOnly
            | Code::Foreign
            | Code::NewerSchema
            | Code::OlderSchema
            | Code::Sealed
            | Code::WrongPassphrase
            | Code::Unreachable
            | Code::TlsFailed
            | Code::ProtocolError
            | Code::AddressInUse
            | Code::BadConfig => Self::Unusable,
            Code::StorageFull | Code::StorageError | Code::Corrupt | Code::CommitUnknown => {
                Self::Storage
            }
            // Malformed requests, and conditions that pass by waiting.
            _ => Self::Error,
        }
    }
}

/// An error found by the command itself, or one whose exit code it chooses.
#[derive(Debug)]
pub(crate) struct Failure {
    exit: Exit,
    body: ErrorBody,
}

impl Failure {
    /// Returns a failure with the exit code that belongs to `code`.
    pub(crate) fn new(code: Code, message: impl std::fmt::Display) -> Self {
        ErrorBody::new(code, message).into()
    }

    /// Returns a failure for a wrong command line.
    pub(crate) fn usage(message: impl std::fmt::Display) -> Self {
        Self::with(Exit::Usage, ErrorBody::new(Code::BadRequest, message))
    }

    pub(crate) fn with(exit: Exit, body: ErrorBody) -> Self {
        Self { exit, body }
    }
}

impl std::fmt::Display for Failure {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.body.fmt(f)
    }
}

impl StdError for Failure {}

/// Takes the exit code that belongs to the body's code.
impl From<ErrorBody> for Failure {
    fn from(body: ErrorBody) -> Self {
        Self::with(Exit::of(body.code), body)
    }
}

/// Returns the exit code and the body of an error of the store, the client or this crate. The message of
/// such an error needs none of its causes.
fn known(error: &(dyn StdError + 'static)) -> Option<(Exit, ErrorBody)> {
    if let Some(failure) = error.downcast_ref::<Failure>() {
        return Some((failure.exit, failure.body.clone()));
    }
    let mut body = of_library(error)?;
    match of_file(error) {
        Some(message) => body.message = message,
        None => body.message.push_str(hint(body.code)),
    }
    let exit = match error.downcast_ref() {
        Some(BackupError::Exists { .. }) => Exit::Refused,
        _ => Exit::of(body.code),
    };
    Some((exit, body))
}

/// Returns an error of a library, in the library's words.
fn of_library(error: &(dyn StdError + 'static)) -> Option<ErrorBody> {
    macro_rules! coded {
        ($($kind:ty => $code:expr),*) => {
            $(if let Some(error) = error.downcast_ref::<$kind>() {
                let code: fn(&$kind) -> Code = $code;
                return Some(ErrorBody::new(code(error), error));
            })*
        };
    }

    if let Some(error) = error.downcast_ref::<hotread_client::Error>() {
        return Some(error.body());
    }
    let commit = match error.downcast_ref() {
        Some(TableError::Commit(error)) => Some(error),
        _ => error.downcast_ref::<CommitError>(),
    };
    if let Some(error) = commit {
        return Some(error.body());
    }
    coded!(
        OpenError => OpenError::code,
        ReadError => ReadError::code,
        TableError => TableError::code,
        BackupError => BackupError::code,
        MigrateError => MigrateError::code,
        TokenError => TokenError::code,
        ServeError => ServeError::code,
        OptionsError => OptionsError::code,
        ImportError => |_| Code::BadRequest,
        PassphraseError => |_| Code::BadRequest,
        InvalidName => |_| Code::InvalidName,
        InvalidValue => |_| Code::InvalidValue,
        InvalidTimestamp => |_| Code::InvalidTime
    );
    None
}

/// Returns the message for a database that cannot be opened, where the library's message names calls
/// rather than commands.
fn of_file(error: &(dyn StdError + 'static)) -> Option<String> {
    let opening = match (error.downcast_ref(), error.downcast_ref()) {
        (Some(BackupError::Open(OpenError::NoFile { path })), _) => {
            return Some(format!("{} does not exist; check the path", path.display()));
        }
        (Some(BackupError::Open(error)), _) | (_, Some(MigrateError::Open(error))) => error,
        _ => error.downcast_ref::<OpenError>()?,
    };
    let message = match opening {
        OpenError::NoFile { path } => format!(
            "{} does not exist; check the path, or create a database (`hotread table create`)",
            path.display()
        ),
        OpenError::InUse { path, holder } => format!(
            "{} is in use by {holder}; try again when it has ended, or stop it",
            path.display()
        ),
        OpenError::LockFile { path, source } => format!(
            "{} could not be locked for writing ({source}); check the permissions of its directory",
            path.display()
        ),
        _ => return None,
    };
    Some(message)
}

/// Returns the command that does what a library's message advises, to append to the message.
fn hint(code: Code) -> &'static str {
    match code {
        Code::Corrupt => " (`hotread verify`, `hotread restore`)",
        Code::OlderSchema => " (`hotread migrate up`)",
        Code::NewerSchema => " (its `hotread migrate down`)",
        Code::UnknownTable => " (`hotread table list`, `hotread table create`)",
        Code::NoSearch => " (`hotread table alter TABLE --search`)",
        Code::Sealed => " (`--passphrase-file FILE`)",
        Code::Gone => " (`hotread export -v` prints it)",
        Code::UnknownToken => " (`hotread token list`)",
        Code::HostNotAllowed => " (`hotread serve --allowed-host`)",
        _ => "",
    }
}

/// Returns the exit code of an error, and the error as it is reported.
fn describe(error: &Error) -> (Exit, ErrorBody) {
    let mut context = String::new();
    for cause in error.chain() {
        if let Some((exit, mut body)) = known(cause) {
            body.message.insert_str(0, &context);
            return (exit, body);
        }
        context.push_str(&format!("{cause}: "));
    }
    // A file that the user named; errors of the database are those of `known`.
    let code = match error.downcast_ref().map(io::Error::kind) {
        Some(io::ErrorKind::NotFound) => Code::NoSuchFile,
        _ => Code::BadRequest,
    };
    let message = context.trim_end_matches(": ");
    (Exit::Error, ErrorBody::new(code, message))
}

/// Returns an error as it is reported.
pub(crate) fn body(error: &Error) -> ErrorBody {
    describe(error).1
}

/// Listens for these signals from now on; the future yields the first that arrives.
pub(crate) fn signalled<const N: usize>(
    kinds: [SignalKind; N],
) -> anyhow::Result<impl Future<Output = SignalKind>> {
    let on = |kind| signal(kind).map(|signal| (kind, signal));
    let signals: io::Result<Vec<_>> = kinds.into_iter().map(on).collect();
    let mut signals = signals.context("cannot wait for signals")?;
    Ok(poll_fn(move |cx| {
        let mut came = signals
            .iter_mut()
            .filter_map(|(kind, signal)| signal.poll_recv(cx).is_ready().then_some(*kind));
        came.next().map_or(Poll::Pending, Poll::Ready)
    }))
}

/// Returns `true` if stdout was closed by its reader, as in `hotread ls | head -1`.
pub(crate) fn is_broken_pipe(error: &Error) -> bool {
    let mut causes = error
        .chain()
        .filter_map(|cause| cause.downcast_ref::<io::Error>());
    causes.any(|error| error.kind() == io::ErrorKind::BrokenPipe)
}

/// Prints an error, and returns the exit code of the process.
pub(crate) fn report(error: &Error, json: bool) -> ExitCode {
    let (exit, body) = describe(error);
    print(&body, json);
    exit.into()
}

/// Prints an error, or another message that must not be missed, to stderr.
pub(crate) fn print(body: &ErrorBody, json: bool) {
    // If stderr is closed, the exit code is all that remains.
    let _ = if json {
        let line = serde_json::to_string(body).unwrap_or_default();
        writeln!(io::stderr(), "{line}")
    } else {
        let name = match colour::is_wanted(&io::stderr()) {
            true => Style::Alarm.paint("hotread:"),
            false => "hotread:".to_owned(),
        };
        writeln!(io::stderr(), "{name} {}", escape(&body.message))
    };
}

/// Prints the answer of the argument parser, and returns the exit code: help and versions go to stdout,
/// errors to stderr in one line.
pub(crate) fn usage(error: &clap::Error, command: clap::Command, json: bool) -> ExitCode {
    use clap::error::ErrorKind as Kind;
    match error.kind() {
        Kind::DisplayHelp | Kind::DisplayVersion => {
            let mut out = Out::stdout();
            let text = match out.has_colour() {
                true => error.render().ansi().to_string(),
                false => error.render().to_string(),
            };
            let done = out.text(&args::plain(&text));
            return match done.and_then(|()| out.finish()) {
                Err(e) if !is_broken_pipe(&e) => report(&e, json),
                _ => ExitCode::SUCCESS,
            };
        }
        Kind::DisplayHelpOnMissingArgumentOrSubcommand | Kind::MissingSubcommand if !json => {
            let text = help_so_far(command).to_string();
            let _ = write!(io::stderr(), "{}", args::plain(&text));
            return Exit::Usage.into();
        }
        _ => {}
    }
    let code = match error.source() {
        Some(source) if source.is::<InvalidName>() => Code::InvalidName,
        Some(source) if source.is::<InvalidTimestamp>() => Code::InvalidTime,
        _ => Code::BadRequest,
    };
    let message = if error.kind() == Kind::DisplayHelpOnMissingArgumentOrSubcommand {
        "a command is missing; `hotread --help` lists them".to_owned()
    } else {
        by_origin(error, command, usage_line(&error.render().to_string()))
    };
    let message = match code {
        // Only on a command line.
        Code::InvalidTime => message + ", or a date, such as 2026-11-21",
        _ => message,
    };
    print(&ErrorBody::new(code, message), json);
    Exit::Usage.into()
}

/// Names the environment variable instead of the option, if that is where a wrong value comes from.
fn by_origin(error: &clap::Error, command: clap::Command, message: String) -> String {
    use clap::error::{ContextKind, ContextValue};
    let Some(ContextValue::String(shown)) = error.get(ContextKind::InvalidArg) else {
        return message;
    };
    let flag = shown.split([' ', '=', '[']).next().unwrap_or_default();
    let is_given = std::env::args_os()
        .skip(1)
        .take_while(|arg| arg != "--")
        .filter_map(|arg| arg.into_string().ok())
        .any(|arg| {
            arg == flag
                || arg
                    .strip_prefix(flag)
                    .is_some_and(|rest| rest.starts_with('='))
        });
    let command = command_so_far(command);
    let mut args = command.get_arguments();
    let arg = args.find(|arg| {
        arg.get_long()
            .is_some_and(|long| flag == format!("--{long}"))
    });
    match arg.and_then(clap::Arg::get_env) {
        Some(variable) if !is_given && std::env::var_os(variable).is_some() => message.replacen(
            &format!("'{shown}'"),
            &format!("the variable {}", variable.to_string_lossy()),
            1,
        ),
        _ => message,
    }
}

/// Returns the help of the command that the valid arguments name.
fn help_so_far(command: clap::Command) -> clap::builder::StyledStr {
    command_so_far(command).render_help()
}

/// Returns the command that the valid arguments name.
fn command_so_far(mut command: clap::Command) -> clap::Command {
    command.build();
    for arg in std::env::args_os().skip(1) {
        if let Some(next) = command.find_subcommand(&arg) {
            command = next.clone();
        }
    }
    command
}

/// Joins the lines of a parser error into one.
fn usage_line(text: &str) -> String {
    let mut line = String::new();
    for part in text.lines().map(str::trim) {
        let part = part.strip_prefix("error: ").unwrap_or(part);
        if part.is_empty() || part.starts_with("For more information") {
            continue;
        }
        line += match line.chars().last() {
            None => "",
            Some(':') => " ",
            Some(_) if part.starts_with('<') => " ",
            Some(_) => "; ",
        };
        match part.strip_prefix("Usage: ") {
            Some(usage) => line += &format!("usage: {usage}"),
            None => line += part,
        }
    }
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_code_but_those_of_wrong_requests_has_an_exit_code_of_its_own() {
        let general = Code::ALL
            .iter()
            .filter(|code| Exit::of(**code) == Exit::Error);
        let general: Vec<_> = general.map(Code::to_string).collect();
        assert_eq!(
            general.join(" "),
            "BAD_REQUEST INVALID_NAME INVALID_VALUE INVALID_TIME INVALID_OPTIONS TOO_LARGE NO_SEARCH BUSY \
             TOOK_TOO_LONG READERS_STALLED CLOSED RATE_LIMITED TOO_MANY_CONNECTIONS UNKNOWN_ROUTE \
             METHOD_NOT_ALLOWED UNSUPPORTED_MEDIA_TYPE UNSUPPORTED_VERSION TIMEOUT INTERNAL"
        );
    }

    #[test]
    fn an_error_names_what_was_being_done_once() {
        let inner = hotread_store::StorageError::Full { detail: "x".into() };
        let error = Error::new(CommitError::Storage(inner)).context("batch 3");
        let (exit, body) = describe(&error);
        assert_eq!(exit, Exit::Storage);
        assert_eq!(
            body.message,
            "batch 3: the disk is full (x); make room and try again"
        );
    }

    #[test]
    fn the_command_says_what_to_type_for_an_error_of_a_library() {
        let table = hotread_proto::TableName::new("t").unwrap();
        let unknown = ReadError::UnknownTable { table };
        let said = "there is no table t; check its name, or create it";
        assert_eq!(unknown.to_string(), said, "the library names no command");
        let typed = format!("{said} (`hotread table list`, `hotread table create`)");
        assert_eq!(body(&Error::new(unknown)).message, typed);
        let own = Failure::new(Code::Corrupt, "3 records are damaged");
        assert_eq!(body(&own.into()).message, "3 records are damaged");
    }

    #[test]
    fn usage_errors_are_one_line() {
        let text = "error: the following required arguments were not provided:\n  <TABLE>\n  \
                    <KEY>\n\nUsage: hotread get <TABLE> <KEY>\n\nFor more information, try '--help'.\n";
        assert_eq!(
            usage_line(text),
            "the following required arguments were not provided: <TABLE> <KEY>; \
             usage: hotread get <TABLE> <KEY>"
        );
    }
}
