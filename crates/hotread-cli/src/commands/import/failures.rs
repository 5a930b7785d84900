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

/// Returns the error after which no more rows can be read.
pub(super) fn unreadable(error: &ImportError, name: &str, done: &str) -> anyhow::Error {
    let usage = match error {
        ImportError::NoKey { .. } | ImportError::UnknownColumn { .. } => Some(" with --key COLUMN"),
        ImportError::NoArray { .. } | ImportError::SecondArray { .. } => {
            Some(" with --member NAME")
        }
        ImportError::NulBytes => Some(" with --encoding NAME"),
        ImportError::NoHeader => Some(" with --columns A,B,…"),
        ImportError::InvalidOptions { .. } => Some(""),
        _ => None,
    };
    match usage {
        Some(option) if done.is_empty() => {
            Failure::usage(format!("{name}: {error}{option}")).into()
        }
        _ if done.is_empty() => Failure::new(Code::BadRequest, format!("{name}: {error}")).into(),
        _ => Failure::new(Code::BadRequest, format!("{name}: {error} ({done})")).into(),
    }
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
        RowReason::Fields { .. } => (Code::BadRequest, " with --flexible"),
        RowReason::Separator { .. } => (Code::BadRequest, " with --key-separator"),
        RowReason::NoKey { .. }
        | RowReason::KeyType { .. }
        | RowReason::MissingField { .. }
        | RowReason::UnknownField { .. } => (Code::BadRequest, " with --key NAME"),
        _ => (Code::BadRequest, ""),
    };
    stopped(code, origin, files, &format!("{reason}{option}"), done)
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
    Failure::new(Code::BadRequest, message).into()
}
