//! Limits of the input, which bound the memory for any file.

/// Longest row, in bytes of its text: the largest value, with every character of it escaped as JSON or
/// doubled as CSV allow, and the other fields. A longer row is skipped, and reported as a
/// [`RowError`](super::RowError).
pub const MAX_ROW_BYTES: usize = 4 << 20;
/// Maximum number of bytes that are skipped in search of the end of a row or of a comment. The limit tells a
/// file without line ends, which is not a file of rows, from one with a row that is too long.
pub const MAX_SKIPPED_BYTES: usize = 64 << 20;
/// Maximum number of columns of a file of fields: more than are usual in spreadsheets and databases, and few
/// enough that a row of data is recognized as a wrong header.
pub const MAX_COLUMNS: usize = 4_096;
/// Maximum text, in bytes, from which types of columns are detected where a file cannot be read twice:
/// some ten thousand rows, kept in memory until the rows are read.
pub const SAMPLE_BYTES: usize = 8 << 20;
