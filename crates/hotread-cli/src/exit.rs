//! How the command ends: exit codes, and the one line that says what went wrong. The codes are
//! explained to users in `args/help.rs`.

use crate::args;
use crate::output::{Out, colour, escape};
use anyhow::{Context, Error};
use hotread_proto::{Code, ErrorBody, InvalidName, InvalidTimestamp, InvalidValue};
use hotread_server::{OptionsError, ServeError};
use hotread_store::import::ImportError;
use hotread_store::migrate::MigrateError;
use hotread_store::{BackupError, CommitError, OpenError, ReadError, TableError, TokenError};
use std::error::Error as StdError;
use std::future::poll_fn;
use std::io::{self, Write};
use std::process::ExitCode;
use std::task::Poll;
use tokio::signal::unix::{SignalKind, signal};

/// What the exit code says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Exit {
    /// Something else than the following.
    Error = 1,
    /// The command line was not understood.
    Usage = 2,
    /// There is no such table, key or token.
    NotFound = 3,
    /// What was asked for contradicts what there is.
    Refused = 4,
    /// The database cannot be opened, or not for this; the server cannot be reached or started.
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
    /// The exit code of an error.
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
            | Code::ProtocolError
            | Code::AddressInUse
            | Code::BadConfig => Self::Unusable,
            Code::StorageFull | Code::StorageError | Code::Corrupt | Code::CommitUnknown => {
                Self::Storage
            }
            // Requests that are wrong in themselves, and what passes by waiting.
            _ => Self::Error,
        }
    }
}

/// An error that the command itself finds, or for which it knows better how to end.
#[derive(Debug)]
pub(crate) struct Failure {
    exit: Exit,
    body: ErrorBody,
}

impl Failure {
    /// With the exit code that belongs to the code.
    pub(crate) fn new(code: Code, message: impl std::fmt::Display) -> Self {
        ErrorBody::new(code, message).into()
    }

    /// A wrong command line.
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

/// With the exit code that belongs to its code.
impl From<ErrorBody> for Failure {
    fn from(body: ErrorBody) -> Self {
        Self::with(Exit::of(body.code), body)
    }
}

/// What is known of an error that stands somewhere in the chain of another: of the errors of the store,
/// the client and this crate, which say all that there is to say.
fn known(error: &(dyn StdError + 'static)) -> Option<(Exit, ErrorBody)> {
    if let Some(failure) = error.downcast_ref::<Failure>() {
        return Some((failure.exit, failure.body.clone()));
    }
    let mut body = of_library(error)?;
    body.message.push_str(hint(body.code));
    let exit = match error.downcast_ref() {
        Some(BackupError::Exists { .. }) => Exit::Refused,
        _ => Exit::of(body.code),
    };
    Some((exit, body))
}

/// An error of the libraries, in their words.
fn of_library(error: &(dyn StdError + 'static)) -> Option<ErrorBody> {
    macro_rules! coded {
        ($($kind:ty),*) => {
            $(if let Some(error) = error.downcast_ref::<$kind>() {
                return Some(ErrorBody::new(error.code(), error));
            })*
        };
    }
    macro_rules! code {
        ($($kind:ty => $code:ident),*) => {
            $(if error.is::<$kind>() {
                return Some(ErrorBody::new(Code::$code, error));
            })*
        };
    }

    if let Some(error) = error.downcast_ref::<CommitError>() {
        return Some(error.body());
    }
    if let Some(error) = error.downcast_ref::<hotread_client::Error>() {
        return Some(error.body());
    }
    if let Some(TableError::Commit(error)) = error.downcast_ref() {
        return Some(error.body());
    }
    coded!(
        OpenError,
        ReadError,
        TableError,
        BackupError,
        MigrateError,
        TokenError,
        ServeError,
        OptionsError
    );
    code!(
        ImportError => BadRequest,
        InvalidName => InvalidName,
        InvalidValue => InvalidValue,
        InvalidTimestamp => InvalidTime
    );
    None
}

/// The command line that does what an error of a library says, to be appended to it.
fn hint(code: Code) -> &'static str {
    match code {
        Code::Corrupt => " (`hotread verify`, `hotread restore`)",
        Code::OlderSchema => " (`hotread migrate up`)",
        Code::NewerSchema => " (its `hotread migrate down`)",
        Code::UnknownTable => " (`hotread table list`, `hotread table create`)",
        Code::NoSearch => " (`hotread table create --search`, `hotread import`)",
        Code::Sealed => " (`--passphrase-file FILE`)",
        _ => "",
    }
}

/// The exit code, and the error as it is reported.
fn describe(error: &Error) -> (Exit, ErrorBody) {
    let mut context = String::new();
    for cause in error.chain() {
        if let Some((exit, mut body)) = known(cause) {
            body.message.insert_str(0, &context);
            return (exit, body);
        }
        context.push_str(&format!("{cause}: "));
    }
    let message = context.trim_end_matches(": ").to_owned();
    // A file that the user named, and not the database: `known` has those.
    let missing = error.downcast_ref::<io::Error>().map(io::Error::kind);
    let code = match missing {
        Some(io::ErrorKind::NotFound) => Code::NoSuchFile,
        _ => Code::BadRequest,
    };
    (Exit::Error, ErrorBody::new(code, message))
}

/// The error as it is reported.
pub(crate) fn body(error: &Error) -> ErrorBody {
    describe(error).1
}

/// Waits for one of these signals from now on, and gives the first that comes.
pub(crate) fn signalled<const N: usize>(
    kinds: [SignalKind; N],
) -> anyhow::Result<impl Future<Output = SignalKind>> {
    let on = |kind| signal(kind).map(|signal| (kind, signal));
    let signals: io::Result<Vec<_>> = kinds.into_iter().map(on).collect();
    let mut signals = signals.context("signals cannot be waited for")?;
    Ok(poll_fn(move |cx| {
        let mut came = signals
            .iter_mut()
            .filter_map(|(kind, signal)| signal.poll_recv(cx).is_ready().then_some(*kind));
        came.next().map_or(Poll::Pending, Poll::Ready)
    }))
}

/// Nobody reads the output any more, as in `hotread ls | head -1`.
pub(crate) fn is_broken_pipe(error: &Error) -> bool {
    let broken = |cause: &(dyn StdError + 'static)| {
        cause
            .downcast_ref::<io::Error>()
            .is_some_and(|e| e.kind() == io::ErrorKind::BrokenPipe)
    };
    error.chain().any(broken)
}

/// Ends with an error: prints it, and gives the exit code.
pub(crate) fn report(error: &Error, json: bool) -> ExitCode {
    let (exit, body) = describe(error);
    print(&body, json);
    exit.into()
}

/// Says something that does not end the command, but that nobody may miss.
pub(crate) fn warn(code: Code, message: &str, json: bool) {
    print(&ErrorBody::new(code, message), json);
}

fn print(body: &ErrorBody, json: bool) {
    // If stderr is closed, the exit code has to do.
    let _ = if json {
        let line = serde_json::to_string(body).unwrap_or_default();
        writeln!(io::stderr(), "{line}")
    } else {
        let name = match colour::is_wanted(&io::stderr()) {
            true => colour::alarm("hotread:"),
            false => "hotread:".to_owned(),
        };
        writeln!(io::stderr(), "{name} {}", escape(&body.message))
    };
}

/// Ends with what the parser of the command line says: help and versions on stdout, errors in one
/// line.
pub(crate) fn usage(error: &clap::Error, command: clap::Command, json: bool) -> ExitCode {
    use clap::error::ErrorKind as Kind;
    match error.kind() {
        Kind::DisplayHelp | Kind::DisplayVersion => {
            let mut out = Out::stdout();
            let text = error.render();
            let text = match out.has_colour() {
                true => text.ansi().to_string(),
                false => text.to_string(),
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
        usage_line(&error.render().to_string())
    };
    print(&ErrorBody::new(code, message), json);
    Exit::Usage.into()
}

/// The help of the command that the arguments name as far as they go.
fn help_so_far(mut command: clap::Command) -> clap::builder::StyledStr {
    command.build();
    for arg in std::env::args_os().skip(1) {
        if let Some(next) = command.find_subcommand(&arg) {
            command = next.clone();
        }
    }
    command.render_help()
}

/// Several lines of the parser's as one.
fn usage_line(text: &str) -> String {
    let mut line = String::new();
    for part in text.lines().map(str::trim) {
        let part = part.strip_prefix("error: ").unwrap_or(part);
        let part = part
            .strip_prefix("Usage: ")
            .map_or(part.to_owned(), |usage| format!("usage: {usage}"));
        if part.is_empty() || part.starts_with("For more information") {
            continue;
        }
        if !line.is_empty() {
            line.push_str(if line.ends_with(':') || part.starts_with('<') {
                " "
            } else {
                "; "
            });
        }
        line.push_str(&part);
    }
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_code_but_those_of_wrong_requests_has_an_exit_code_of_its_own() {
        for code in Code::ALL {
            let general = matches!(
                code,
                Code::BadRequest
                    | Code::InvalidName
                    | Code::InvalidValue
                    | Code::InvalidTime
                    | Code::InvalidOptions
                    | Code::TooLarge
                    | Code::NoSearch
                    | Code::Busy
                    | Code::TookTooLong
                    | Code::ReadersStalled
                    | Code::Closed
                    | Code::RateLimited
                    | Code::TooManyConnections
                    | Code::UnknownRoute
                    | Code::MethodNotAllowed
                    | Code::UnsupportedMediaType
                    | Code::UnsupportedVersion
                    | Code::Timeout
                    | Code::Internal
            );
            assert_eq!(Exit::of(*code) == Exit::Error, general, "{code}");
        }
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
