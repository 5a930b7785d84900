//! Errors that end an import, with the file and the line.

use super::files::{Files, Origin};
use super::load::RECORD_BYTES;
use crate::args::ImportArgs;
use crate::exit::Failure;
use crate::output::grouped;
use hotread_proto::Code;
use hotread_store::import::{ImportError, RowReason};
use std::fmt::Display;

/// Returns the error for a replacement without rows, or without good rows.
pub(super) fn would_empty(name: &str, rows: &str, args: &ImportArgs) -> anyhow::Error {
    let message = format!(
        "{name} has no {rows}, and replacing would empty table {}; nothing was changed; \
         give --allow-empty if that is meant",
        args.table
    );
    Failure::new(Code::BadRequest, message).into()
}

/// Returns the error after which no more rows can be read. `done` is empty if none were.
pub(super) fn unreadable(error: &ImportError, name: &str, done: &str) -> anyhow::Error {
    let (is_usage, option) = match error {
        ImportError::NoKey { columns } | ImportError::UnknownColumn { columns, .. } => {
            let or = match columns.first() {
                Some(first) if first.starts_with('#') => OR_COMMENT.to_owned(),
                _ => or_delimiter(columns),
            };
            (true, format!(" with --key COLUMN{or}"))
        }
        ImportError::NoArray { one_line, .. }
        | ImportError::NotObjects { one_line, .. }
        | ImportError::OwnKey { one_line, .. } => {
            let or_lines = if *one_line { " (--format ndjson)" } else { "" };
            (true, format!(" with --member NAME{or_lines}"))
        }
        ImportError::SecondArray { .. } => (true, " with --member NAME".to_owned()),
        ImportError::MoreText { of_lines: true, .. } => (true, " (--format ndjson)".to_owned()),
        ImportError::NulBytes => (true, " with --encoding NAME".to_owned()),
        ImportError::NoHeader => (true, " with --columns A,B,…".to_owned()),
        ImportError::TypeOfKey { .. } => (true, " with --keep-key".to_owned()),
        ImportError::InvalidOptions { .. } => (true, String::new()),
        ImportError::ColumnNotUtf8 { .. } => (false, WITH_ENCODING.to_owned()),
        ImportError::HeaderMisquoted { .. } => (false, WITHOUT_QUOTES.to_owned()),
        _ => (false, String::new()),
    };
    let message = format!("{name}: {error}{option}");
    match done.is_empty() {
        true if is_usage => Failure::usage(message).into(),
        true => Failure::new(Code::BadRequest, message).into(),
        false => Failure::new(Code::BadRequest, format!("{message} ({done})")).into(),
    }
}

const WITH_ENCODING: &str = " with --encoding, such as --encoding latin1";
const WITHOUT_QUOTES: &str = " with --quote none (--trim allows blanks after a closing quote)";

const OR_COMMENT: &str = "; if lines that begin with '#' are comments, give --comment '#'";

/// Returns the advice for columns whose names look like several that another delimiter separates.
fn or_delimiter(columns: &[String]) -> String {
    let is_in_a_name = |delimiter: &char| columns.iter().any(|name| name.contains(*delimiter));
    let Some(delimiter) = [';', '\t', '|', ','].into_iter().find(is_in_a_name) else {
        return String::new();
    };
    let typed = delimiter.escape_default();
    format!("; if '{typed}' separates the columns, give --delimiter '{typed}'")
}

/// Returns the error for a bad row at which the import stops.
pub(super) fn bad_row(
    reason: &RowReason,
    origin: Origin,
    files: &Files,
    done: &str,
) -> anyhow::Error {
    let (code, option) = match reason {
        RowReason::Name(_) => (Code::InvalidName, ""),
        RowReason::Value(_) => (Code::InvalidValue, ""),
        RowReason::Time(_) => (Code::InvalidTime, ""),
        RowReason::NotOfType { .. } => (Code::BadRequest, " with --types COLUMN=text"),
        RowReason::Fields { found: 1, .. } => (
            Code::BadRequest,
            " with --flexible; if another character separates the fields, give --delimiter CHAR",
        ),
        RowReason::Fields { .. } => (Code::BadRequest, " with --flexible"),
        RowReason::Misquoted => (Code::BadRequest, WITHOUT_QUOTES),
        RowReason::NotUtf8 { .. } | RowReason::RowNotUtf8 { .. } => {
            (Code::BadRequest, WITH_ENCODING)
        }
        RowReason::Separator { .. } => (Code::BadRequest, " with --key-separator"),
        RowReason::NoKey { .. }
        | RowReason::KeyType { .. }
        | RowReason::MissingField { .. }
        | RowReason::UnknownField { .. } => (Code::BadRequest, " with --key NAME"),
        _ => (Code::BadRequest, ""),
    };
    let or = match reason {
        RowReason::Fields { .. } if files.may_have_comments(origin) => OR_COMMENT,
        RowReason::NoKey { .. }
        | RowReason::MissingField { .. }
        | RowReason::UnknownField { .. }
            if files.may_be_array(origin) =>
        {
            "; if an array of the object has the rows, give --format json"
        }
        _ => "",
    };
    stopped(code, origin, files, &format!("{reason}{option}{or}"), done)
}

pub(super) fn stopped(
    code: Code,
    origin: Origin,
    files: &Files,
    reason: &dyn Display,
    done: &str,
) -> anyhow::Error {
    let place = files.place(origin);
    let message = format!("{place}: {reason} ({done}; --skip-bad leaves such rows out)");
    Failure::new(code, message).into()
}

/// Returns the error for a repeated key under `--unique`.
pub(super) fn not_unique(key: &str, origin: Origin, files: &Files, done: &str) -> anyhow::Error {
    let place = files.place(origin);
    let message =
        format!("{place}: the key {key:?} appeared before, which --unique refuses ({done})");
    Failure::new(Code::PreconditionFailed, message).into()
}

/// Returns the error for more rows than may be held in memory.
pub(super) fn too_many(name: &str, most_bytes: usize) -> anyhow::Error {
    let message = format!(
        "{name}: the rows take more than {} bytes of memory ({RECORD_BYTES} bytes per row included), \
         the limit of --replace; nothing was changed; import without --replace, into a new table if \
         it must equal the file",
        grouped(most_bytes as u64)
    );
    Failure::new(Code::TooLarge, message).into()
}

/// Returns the error for an import that a signal ended.
pub(super) fn interrupted(name: &str, done: &str) -> anyhow::Error {
    let message = format!("{name}: interrupted ({done})");
    Failure::new(Code::Closed, message).into()
}
