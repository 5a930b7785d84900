//! Bounds of what is read, so that memory stays bounded whatever a file holds.

/// Longest row, in bytes of its text: the largest value, with every character of it
/// escaped as JSON or doubled as CSV allow, and the other fields. A longer one is skipped, and
/// reported as a [`RowError`](super::RowError).
pub const MAX_ROW_BYTES: usize = 4 << 20;
/// Most bytes that are skipped in search of the end of a row or of a comment. A file without line
/// ends is not a file of rows; this tells it from one with a row that is too long.
pub const MAX_SKIPPED_BYTES: usize = 64 << 20;
/// Most columns of a file of fields: more than spreadsheets and databases are used with, and few
/// enough that an error can be told from a header.
pub const MAX_COLUMNS: usize = 4_096;
/// Text from which the types of columns are told where it cannot be read twice, in bytes: some ten
/// thousand rows, kept in memory until the rows are read.
pub const SAMPLE_BYTES: usize = 8 << 20;
