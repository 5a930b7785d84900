//! What an import ends with, said of the file and the line.

use crate::args::ImportArgs;
use crate::exit::Failure;
use hotread_proto::Code;
use hotread_store::import::{ImportError, RowError, RowReason};

/// A replacement without rows, or without good ones.
pub(super) fn would_empty(name: &str, rows: &str, args: &ImportArgs) -> anyhow::Error {
    let message = format!(
        "{name} has no {rows}, and replacing would empty table {}; nothing was changed; \
         give --allow-empty if that is meant",
        args.table
    );
    Failure::new(Code::BadRequest, message).into()
}

/// An error after which there are no more rows.
pub(super) fn unreadable(error: &ImportError, name: &str, done: &str) -> anyhow::Error {
    match error {
        ImportError::NoKey { .. } | ImportError::UnknownKey { .. } => {
            Failure::usage(format!("{name}: {error} with --key COLUMN")).into()
        }
        ImportError::InvalidOptions { .. } | ImportError::NoHeader => {
            Failure::usage(format!("{name}: {error}")).into()
        }
        _ if done.is_empty() => Failure::new(Code::BadRequest, format!("{name}: {error}")).into(),
        _ => Failure::new(Code::BadRequest, format!("{name}: {error} ({done})")).into(),
    }
}

/// Stops at a bad row.
pub(super) fn bad_row(error: &RowError, name: &str, done: &str) -> anyhow::Error {
    let code = match &error.reason {
        RowReason::Name(_) => Code::InvalidName,
        RowReason::Value(_) => Code::InvalidValue,
        RowReason::Time(_) => Code::InvalidTime,
        _ => Code::BadRequest,
    };
    stopped(code, name, error.line, &error.reason, done)
}

pub(super) fn stopped(
    code: Code,
    name: &str,
    line: u64,
    reason: &dyn std::fmt::Display,
    done: &str,
) -> anyhow::Error {
    let message =
        format!("{name}, line {line}: {reason} ({done}; --skip-bad leaves such rows out)");
    Failure::new(code, message).into()
}
